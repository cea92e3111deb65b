//! What CONTRIBUTING.md adds, reached by its names. Compiled only into the copy that the additions are made in.

use crate::import::input::Input;
use crate::import::{Format, detect, read};
use crate::memory::device;
use crate::policy::{PolicyKind, Setup};
use crate::progress::Unattended;
use crate::recipe::Recipe;
use crate::recipe::fields::FIELDS;
use crate::sim::audit::audit;
use crate::sim::simulate;
use crate::trace::Mode;
use crate::workload::config::ModelConfig;

#[test]
fn the_policy_runs_by_its_name() {
    let order: Vec<u32> = (0..1000).map(|i| i * i % 7).collect();
    let trace = crate::trace::testing::trace(&[10, 20, 30, 40, 50, 60, 70], &order);
    let sizes = trace.sizes();
    let setup = Setup { seed: 1, ..Setup::new(&sizes, 70) };
    let policy = PolicyKind::from_name("2-random").unwrap();
    let report = simulate(policy, &setup, &trace).unwrap();
    assert_eq!(audit(policy, &setup, &trace).unwrap().hits, report.hits);
    assert_eq!(report.hits + report.misses, 1000);
    assert!(report.hits > 0 && report.evictions > 0);
}

#[test]
fn the_format_is_detected_and_read() {
    let file = b"==7== Lackey, an example Valgrind tool\nI  04001000,3\n L 1ffeff00,8\n S 1ffeff3c,4\n M 1ffeff40,8\n";
    let input = Input::new("gemm.lackey", file);
    let format = detect(&input).unwrap();
    assert_eq!((format.name(), format.info().has_extension("gemm.lackey")), ("lackey", true));
    let trace = read(format, &input, None, &mut Unattended).unwrap();
    assert_eq!((trace.tensors().len(), trace.accesses()), (2, &[0, 0, 1][..]));
    assert_eq!((trace.mode(0), trace.mode(1)), (Mode::Read, Mode::Update));
    let broken = Input::new("b", b"==7== Lackey, an example Valgrind tool\n L here,8\n");
    let error = read(Format::from_name("lackey").unwrap(), &broken, None, &mut Unattended).unwrap_err();
    assert!(error.to_string().starts_with("b, line 2: "), "{error}");
}

/// arcee-ai/AFM-4.5B: transformers builds 4,619,184,640 parameters of its configuration.
#[test]
fn the_family_is_read_from_a_configuration() {
    let file = br#"{"model_type":"arcee","hidden_size":2560,"intermediate_size":18432,"num_hidden_layers":36,
        "num_attention_heads":20,"num_key_value_heads":4,"head_dim":128,"vocab_size":128004,
        "max_position_embeddings":65536,"torch_dtype":"bfloat16"}"#;
    let config = ModelConfig::from_json("config.json", file).unwrap();
    assert_eq!(config.parameters(), 4_619_184_640);
}

#[test]
fn the_field_is_set_and_changes_the_trace() {
    let row = FIELDS.iter().find(|row| row.flag == "carry").unwrap();
    let mut recipe = row.part.recipe();
    let before = recipe.to_json().unwrap();
    assert!(!before.contains("carry"), "{before}");
    row.set(&mut recipe, "0.9").unwrap();
    recipe.check().unwrap();
    let after = recipe.to_json().unwrap();
    assert!(after.contains("\"carry\":0.9"), "{after}");
    assert_eq!(Recipe::from_json("r", after.as_bytes()).unwrap(), recipe);
    let order = |recipe: &Recipe| match &recipe.workload {
        crate::recipe::Workload::Synthetic(synthetic) => synthetic.trace(1).unwrap().accesses().to_vec(),
        _ => Vec::new(),
    };
    assert_ne!(order(&row.part.recipe()), order(&recipe));
}

#[test]
fn the_device_is_known() {
    let row = device::find("a10").unwrap();
    row.device().check().unwrap();
    assert_eq!(row.on_chip_bytes, Some(6 << 20));
}
