//! Models by the header of a GGUF file, against what transformers and gguf say of them (tests/fixtures/gguf_models.py).

use accel_core::import::input::Input;
use accel_core::import::model_of_weights;
use accel_core::progress::Unattended;
use accel_core::recipe::Workload;
use accel_core::trace::Kind;
use accel_core::workload::ModelRef;
use accel_core::workload::config::ModelConfig;
use accel_core::workload::model_run::ModelRun;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

fn models() -> Vec<(String, Vec<u8>, Value)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/gguf_models.json");
    let models: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let of = |model: Value| {
        let header = BASE64_STANDARD.decode(model["header"].as_str().unwrap()).unwrap();
        (model["name"].as_str().unwrap().to_owned(), header, model)
    };
    models.into_iter().map(of).collect()
}

fn run(config: ModelConfig) -> ModelRun {
    ModelRun { model: ModelRef::Config(Box::new(config)), ..ModelRun::default() }
}

#[test]
fn a_header_is_a_model() {
    for (name, header, model) in models() {
        let config = model_of_weights(&name, &header).unwrap();
        let facts = run(config.clone()).facts().unwrap();
        assert_eq!(Some(facts.parameters), model["parameters"].as_u64(), "{name}");
        assert_eq!(Some(facts.weight_bytes), model["bytes"].as_u64(), "{name}");
        // llama.cpp keeps keys and values in 16 bits.
        let kept = 2 * 2 * model["kv_width"].as_u64().unwrap() * model["layers"].as_u64().unwrap();
        assert_eq!(facts.kv_bytes_per_token, kept, "{name}");
        assert_eq!(facts.notes.is_empty(), !name.contains("angles"), "{name}: {:?}", facts.notes);
        // A recipe carries it.
        let again: ModelRun = serde_json::from_str(&serde_json::to_string(&run(config.clone())).unwrap()).unwrap();
        assert_eq!(again.facts().unwrap(), facts, "{name}");
        let trace = again.trace(0, u64::MAX).unwrap();
        let weights: u64 = trace.tensors().iter().filter(|t| t.kind == Kind::Weights).map(|t| t.bytes).sum();
        // All but the table of tokens, unless the head reads it, and what no layer reads.
        assert!(weights <= facts.weight_bytes + 256 * 1024 && weights > facts.weight_bytes / 2, "{name}");
        // A recipe may name the file as well.
        let file = ModelRun { model: ModelRef::File { file: name.clone() }, ..ModelRun::default() };
        let (by_file, _) =
            Workload::Model(file).trace_with((0, u64::MAX), &Input::new(&name, &header), &mut Unattended).unwrap();
        assert_eq!(by_file.accesses(), trace.accesses(), "{name}");
    }
}

#[test]
fn a_cut_or_changed_header_is_refused_or_read() {
    let (name, header, _) = models().remove(0);
    for end in (0..header.len()).step_by(7) {
        model_of_weights(&name, &header[..end]).unwrap_err();
    }
    for at in 0..header.len() {
        let mut changed = header.clone();
        changed[at] ^= 0x55;
        if let Err(error) = model_of_weights(&name, &changed) {
            assert!(error.to_string().contains(". "), "{error}");
        }
    }
}

/// Files that gguf wrote, with their weights (tests/fixtures/mistral.py), and one of another architecture.
#[test]
fn files_of_gguf() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/");
    let read = |name: &str| std::fs::read(format!("{folder}{name}")).unwrap();
    for name in ["mistral/f32.gguf", "mistral/q4_k.gguf", "mistral/q8_0.gguf"] {
        let bytes = read(name);
        let config = model_of_weights(name, &bytes).unwrap();
        let facts = run(config).facts().unwrap();
        assert!(facts.weight_bytes < bytes.len() as u64 && facts.weight_bytes > bytes.len() as u64 / 2, "{name}");
        assert_eq!(facts.notes, Vec::<String>::new(), "{name}");
    }
    // A vocabulary alone.
    let error = model_of_weights("v", &read("mistral/qwen2.gguf")).unwrap_err();
    assert!(error.to_string().contains("Give"), "{error}");
}
