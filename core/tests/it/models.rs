//! Parameter counts against those that transformers builds (tests/fixtures/parameters.py).

use accel_core::score::prompt::{Questions, items};
use accel_core::workload::config::ModelConfig;
use accel_core::workload::model_run::ModelRun;
use serde_json::Value;

#[test]
fn every_model_has_the_parameters_that_transformers_gives_it() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/parameters.json");
    let models: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let models = models.as_array().unwrap();
    assert!(models.len() > 30);
    for model in models {
        let name = model["name"].as_str().unwrap();
        let config = ModelConfig::from_json(name, model["config"].to_string().as_bytes()).unwrap();
        assert_eq!(Some(config.parameters()), model["parameters"].as_u64(), "{name}");
        let again = serde_json::to_vec(&config).unwrap();
        assert_eq!(ModelConfig::from_json(name, &again).unwrap(), config, "{name}");
    }
}

/// A run of a model asks a scorer few different questions.
#[test]
fn questions_repeat() {
    let trace = ModelRun { decode_tokens: Some(16), ..ModelRun::preset("mistral-7b") }.trace(0, u64::MAX).unwrap();
    let questions = Questions::of(&trace);
    let (asked, all) = (questions.items.len(), trace.accesses().len());
    assert!(all > 50_000 && asked < 1000, "{asked} of {all}");
    let numbers: Vec<usize> = (0..asked).collect();
    let lines = questions.of_accesses(&numbers).unwrap();
    assert!(lines.iter().map(|at| &questions.items[*at]).eq(&items(&trace)));
    assert!(questions.of_accesses(&numbers[1..]).is_err());
}
