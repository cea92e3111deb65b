//! A model from a file, or from a folder.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use accel_core::error::Error;
use accel_core::import::input::{Input, strip_mark};
use accel_core::import::weights_index::Index;
use accel_core::import::{self, Format};
use accel_core::workload::ModelRef;
use accel_core::workload::config::ModelConfig;
use anyhow::{Context as _, bail};

/// The model that a file or a folder describes, and what its reader should know: a configuration as it is read, or the name
/// of a file that holds more than a recipe carries. Of weights only the header is read.
///
/// # Errors
///
/// Where nothing there describes a model.
pub fn read(path: &Path) -> anyhow::Result<(ModelRef, Vec<String>)> {
    if path.is_dir() {
        return in_folder(path, "");
    }
    if is_index(path) {
        let parent = path.parent().unwrap_or(Path::new(""));
        return in_folder(parent, "it is the index of weights in several files, and ");
    }
    let name = path.display().to_string();
    let head = read_head(path)?;
    if import::detect(&Input::new(&name, &head)).ok() == Some(Format::Gguf) {
        return Ok((of_weights(&name, &head)?, Vec::new()));
    }
    let bytes = read_file(path)?;
    let input = Input::new(&name, &bytes);
    if import::detect(&input).ok() == Some(Format::Config) || path.extension().is_some_and(|e| e == "json") {
        input.check()?;
        let config = ModelConfig::of_any_family(&name, strip_mark(&bytes))?;
        return Ok((ModelRef::Config(Box::new(config)), Vec::new()));
    }
    Ok((ModelRef::File { file: name }, Vec::new()))
}

/// The model that the header of weights describes.
///
/// # Errors
///
/// Where it describes none.
pub fn of_weights(name: &str, header: &[u8]) -> Result<ModelRef, Error> {
    Ok(ModelRef::Config(Box::new(import::model_of_weights(name, header)?)))
}

/// Whether a file is the index of weights in several files.
fn is_index(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(".safetensors.index.json"))
}

/// The model whose `config.json` is in a folder, checked against the weights beside it; `what` was given in its place.
fn in_folder(folder: &Path, what: &str) -> anyhow::Result<(ModelRef, Vec<String>)> {
    let file = |name: &str| folder.join(name);
    let path = ["config.json", "params.json"].map(file).into_iter().find(|path| path.is_file());
    let Some(path) = path else {
        let folder = folder.display();
        bail!("{what}there is no config.json in \"{folder}\". Fetch the one of the model, or name the model");
    };
    let name = path.display().to_string();
    let config = ModelConfig::of_any_family(&name, strip_mark(&read_file(&path)?))?;
    let mut indices: Vec<PathBuf> = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
    indices.retain(|path| is_index(path));
    indices.sort();
    let mut notes = Vec::new();
    if let Some(index) = indices.first() {
        let of_file = |shard: &str| read_head(&folder.join(shard)).ok();
        let shown = index.display().to_string();
        let found = Index::parse(&shown, &read_file(index)?)?.check(&config, of_file)?;
        notes.extend(found.into_iter().map(|note| format!("{shown}: {note}")));
    }
    Ok((ModelRef::Config(Box::new(config)), notes))
}

/// As much of a file as is read of it: of weights the header.
fn read_head(path: &Path) -> anyhow::Result<Vec<u8>> {
    let cannot = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(cannot)?;
    let mut bytes = Vec::new();
    (&mut file).take(HEAD).read_to_end(&mut bytes).with_context(cannot)?;
    if let Some(all) = Format::bytes_to_read(&bytes) {
        file.take(all.saturating_sub(bytes.len() as u64)).read_to_end(&mut bytes).with_context(cannot)?;
    }
    Ok(bytes)
}

/// Enough of a file to detect its format.
const HEAD: u64 = 64 * 1024;

fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
