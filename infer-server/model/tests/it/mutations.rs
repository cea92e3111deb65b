//! Damaged files: each is read and asked, or refused with a cause, and nothing breaks.

use std::fs;
use std::path::{Path, PathBuf};

use accel_model::quantize::{self, Type};
use accel_model::{LoadOptions, LocalModel, ModelError, Prompt};

use crate::mutant::{each, mutant};

/// Mutants of each kind of file.
const MUTANTS: u64 = 500;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures")
}

/// A cause is a sentence, with the place and what to do.
fn has_a_cause(error: &impl ToString) {
    let text = error.to_string();
    assert!(text.len() > 20 && text.contains(": "), "no cause: {text:?}");
    assert!(!text.starts_with("internal error"), "{text}");
}

/// Asks a model that was loaded from damaged files: for numbers, or why there are none.
fn ask(model: &mut LocalModel) {
    let prompt = Prompt { prefix: vec![1, 5, 9], items: vec![vec![7, 8], vec![30]], labels: vec![0, 4] };
    match model.warm_up().and_then(|()| model.score(&prompt, &|| false)) {
        Ok(rows) => assert!(rows.iter().flatten().all(|p| p.is_finite() && *p < 1e-3), "{rows:?}"),
        // The place is an item's number.
        Err(ModelError::NotFinite { .. } | ModelError::TooLong { .. }) => {}
        Err(error) => has_a_cause(&error),
    }
    for text in ["", "seven: ", "\u{1F600} é\n\n  x"] {
        if let Err(error) = model.tokenizer().encode(text, true) {
            has_a_cause(&error);
        }
        if let Err(error) = model.tokenizer().label_tokens(text, &["0".into(), "1".into()]) {
            has_a_cause(&error);
        }
    }
}

#[test]
fn damaged_model_files_are_refused_or_answer() {
    let valid = ["mistral/f32.gguf", "mistral/q4_k.gguf", "mistral/smollm.gguf"]
        .map(|name| fs::read(fixtures().join(name)).unwrap());
    let folder = tempfile::tempdir().unwrap();
    each(MUTANTS, move |number| {
        let path = folder.path().join("model.gguf");
        fs::write(&path, mutant(number, &valid[number as usize % valid.len()])).unwrap();
        match LocalModel::load(&path, &LoadOptions::default()) {
            Ok(mut model) => ask(&mut model),
            Err(error) => has_a_cause(&error),
        }
    });
}

#[test]
fn damaged_tokenizers_are_refused_or_read() {
    let valid = fs::read(fixtures().join("mistral/tokenizer.json")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    each(MUTANTS, move |number| {
        let path = folder.path().join("tokenizer.json");
        fs::write(&path, mutant(number, &valid)).unwrap();
        let options = LoadOptions { tokenizer: Some(path), ..LoadOptions::default() };
        match LocalModel::load(&fixtures().join("mistral/f32.gguf"), &options) {
            Ok(mut model) => ask(&mut model),
            Err(error) => has_a_cause(&error),
        }
    });
}

/// A copy of a folder of fixtures of which one file is spoilt, each in turn.
fn spoilt(number: u64, from: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut paths: Vec<PathBuf> = fs::read_dir(fixtures().join(from)).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    let chosen = number as usize % paths.len();
    for (place, path) in paths.iter().enumerate() {
        let bytes = fs::read(path).unwrap();
        let bytes = if place == chosen { mutant(number, &bytes) } else { bytes };
        fs::write(folder.path().join(path.file_name().unwrap()), bytes).unwrap();
    }
    folder
}

#[test]
fn damaged_adapters_are_refused_or_answer() {
    let model = LocalModel::load(&fixtures().join("mistral/f32.gguf"), &LoadOptions::default()).unwrap();
    let model = std::sync::Mutex::new(model);
    each(MUTANTS, move |number| {
        let folder = spoilt(number, "mistral/plain");
        let mut model = model.lock().unwrap();
        match model.set_adapter(Some(folder.path())) {
            Ok(()) => ask(&mut model),
            Err(error) => has_a_cause(&error),
        }
    });
}

#[test]
fn damaged_checkpoints_are_refused_or_quantised() {
    each(MUTANTS, |number| {
        // Each kind has other numbers of files, so that all of them come up.
        let from = ["checkpoints/mistral", "checkpoints/mistral_nf4"][(number / 8) as usize % 2];
        let folder = spoilt(number, from);
        let output = folder.path().join("out.gguf");
        let args = quantize::Args { input: folder.path().to_owned(), output, kind: Type::Q8_0, force: false };
        if let Err(error) = quantize::run(&args) {
            has_a_cause(&error);
        }
    });
}
