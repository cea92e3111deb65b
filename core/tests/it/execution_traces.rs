//! Execution traces of real frameworks: figures that scripts of their own gave from the same files.

use accel_core::error::Error;
use accel_core::import::input::Input;
use accel_core::import::{Format, detect, read, write};
use accel_core::progress::{Flow, Progress, Unattended};
use accel_core::recipe::{FileSource, Workload};
use accel_core::trace::{Kind, Trace};
use proptest::prelude::*;
use serde_json::Value;

use crate::common::{fixture, long_trace, unpacked};

/// Reads a file in the format that is detected.
fn open(name: &str, bytes: &[u8], format: Format) -> Result<Trace, Error> {
    let input = Input::new(name, bytes);
    assert_eq!(detect(&input).unwrap(), format, "{name}");
    read(format, &input, None, &mut Unattended)
}

/// Number and bytes of the tensors of a kind.
fn of_kind(trace: &Trace, kind: Kind) -> (u64, u64) {
    let tensors = trace.tensors().iter().filter(|t| t.kind == kind);
    tensors.fold((0, 0), |(count, bytes), t| (count + 1, bytes + t.bytes))
}

fn flops(trace: &Trace) -> f64 {
    (0..trace.accesses().len()).map(|now| trace.flops(now)).sum()
}

/// Accesses, tensors, requested and unique bytes.
fn figures(trace: &Trace) -> [u64; 4] {
    let summary = trace.summary();
    [summary.accesses, summary.tensors, summary.requested_bytes, summary.unique_bytes]
}

/// File, facts of the live model, and figures that a script gave which follows the rules by the letter: sets of
/// storages for each call instead of counters, every access compared.
const TRACES: [(&str, &str, [u64; 4]); 9] = [
    ("mlp_train", "mlp_train", [203, 83, 460_768, 148_064]),
    ("mlp_train_schema_1_0_1", "mlp_train", [233, 112, 507_276, 171_076]),
    ("mlp_train_schema_1_0_2", "mlp_train", [203, 83, 460_764, 148_064]),
    ("mlp_train_schema_1_1_0", "mlp_train", [203, 77, 460_772, 148_024]),
    ("mlp_train_schema_1_1_1", "mlp_train", [203, 83, 460_756, 148_056]),
    ("cnn_train", "cnn_train", [293, 125, 560_552, 198_176]),
    // Two look-ups each of 1536 bytes on average, and of 768, in place of their tables, which the optimizer uses whole.
    ("transformer_train", "transformer_train", [566, 254, 1_570_348, 663_756]),
    ("dlrm_train", "dlrm_train", [230, 86, 76_100, 28_920]),
    // Ten look-ups; the table of positions is never read whole.
    ("decode_infer", "decode_infer", [396, 175, 404_488, 101_184]),
];

#[test]
fn pytorch_traces_have_the_weights_and_the_work_of_their_models() {
    let expected: Value = serde_json::from_slice(&fixture("et/expected.json")).unwrap();
    for (file, model, counts) in TRACES {
        let bytes = fixture(&format!("et/{file}.json.gz"));
        let trace = open(file, &bytes, Format::PytorchEt).unwrap();
        assert_eq!(figures(&trace), counts, "{file}");
        let model = &expected[model];
        let weights = [&model["parameter_tensors"], &model["parameter_bytes"]].map(|v| v.as_u64().unwrap());
        let rows: Vec<u64> = trace.tensors().iter().filter(|t| t.name.contains(" rows[")).map(|t| t.bytes).collect();
        let (count, bytes) = of_kind(&trace, Kind::Weights);
        let unread = if file == "decode_infer" { [1, 2048] } else { [0, 0] };
        let whole = [count - rows.len() as u64 + unread[0], bytes - rows.iter().sum::<u64>() + unread[1]];
        assert_eq!(whole, weights, "{file}");
        let work = model.get("forward_backward_flops").unwrap_or(&model["forward_flops"]);
        assert_eq!(flops(&trace), work.as_f64().unwrap(), "{file}");
        // Unpacked it is the same.
        let plain = unpacked(&format!("et/{file}.json.gz"));
        assert_eq!(open(file, &plain, Format::PytorchEt).unwrap(), trace);
        let error = write(Format::PytorchEt, &trace).unwrap_err().to_string();
        assert!(error.contains("this format is read, not written"), "{error}");
    }
    // Running statistics and the optimizer's momentum are neither weights nor activations.
    let trace = open("cnn", &fixture("et/cnn_train.json.gz"), Format::PytorchEt).unwrap();
    let facts = &expected["cnn_train"];
    let state = facts["buffer_bytes"].as_u64().unwrap() + facts["optimizer_state_bytes"].as_u64().unwrap();
    assert_eq!(of_kind(&trace, Kind::Object).1, state);
    let marks: Vec<_> = trace.marks().iter().map(|mark| (mark.at, mark.label.as_str())).collect();
    assert_eq!(marks, [(0, "forward"), (80, "backward"), (195, "optimizer step")]);
}

#[test]
fn profiles_and_chakra_traces_of_the_same_step() {
    let whole = open("mlp", &fixture("et/mlp_train.json.gz"), Format::PytorchEt).unwrap();
    let chakra = open("mlp.et.gz", &fixture("chakra/mlp_train.et.gz"), Format::Chakra).unwrap();
    assert_eq!(chakra.accesses(), whole.accesses());
    assert_eq!(chakra.tensors(), whole.tensors());
    assert_eq!(flops(&chakra), flops(&whole));

    let tiny = open("tiny.et", &fixture("chakra/tiny.et"), Format::Chakra).unwrap();
    assert_eq!(figures(&tiny), [10, 5, 3840, 1536]);
    assert_eq!(tiny.accesses(), [0, 1, 0, 2, 1, 3, 4, 4, 4, 0]);

    let profile = open("mlp", &fixture("kineto/mlp_train.json.gz"), Format::Kineto).unwrap();
    assert_eq!(figures(&profile), [149, 149, 298_676, 298_676]);
    assert_eq!(flops(&profile), flops(&whole));
    assert!(profile.warnings()[0].starts_with("Reuse cannot be known from this file"));
    let error = open("mlp", &fixture("kineto/mlp_noshapes.json.gz"), Format::Kineto).unwrap_err().to_string();
    assert!(error.ends_with("its 41 operators have no shapes. Profile again with record_shapes=True"), "{error}");
}

/// The archives that Chakra's authors publish, where they lie beside the checkout: counts are those of a script that looks for
/// strongly connected components and groups operators by `rf_id`.
#[test]
fn published_chakra_archives_are_read_or_named() {
    let read = |name: &str| {
        let path = format!("{}/../../shared/data/chakra/{name}.tar.gz", env!("CARGO_MANIFEST_DIR"));
        let Ok(bytes) = std::fs::read(&path) else {
            println!("published_chakra_archives_are_read_or_named: there is no {name}.tar.gz beside the checkout");
            return None;
        };
        let source = FileSource::named(name);
        Some(Workload::File(source).trace_with((1, u64::MAX), &Input::new(name, &bytes), &mut Unattended))
    };
    if let Some(trace) = read("feeder_tests_trace") {
        let (trace, format) = trace.unwrap();
        assert_eq!(format, Format::Chakra);
        let warnings = trace.warnings().join("\n");
        for told in [
            "982 control dependencies are part of a cycle and do not count",
            "1277 dependencies name nodes that are not in the file",
            "1216 parts of operators that launch several kernels",
        ] {
            assert!(warnings.contains(told), "{warnings}");
        }
    }
    if let Some(trace) = read("json_trace") {
        // Times and dependencies are all that these nodes have.
        let error = trace.unwrap_err().to_string();
        let told = "it is a Chakra execution trace, and none of its 3664 nodes names a tensor or has a size";
        assert!(error.starts_with("json_trace/jsonData/chakra.0.json") && error.contains(told), "{error}");
    }
}

/// As the fuzz target asks of any trace.
#[test]
fn what_is_written_is_read_back() {
    for (name, format) in [
        ("et/mlp_train.json.gz", Format::PytorchEt),
        ("et/decode_infer.json.gz", Format::PytorchEt),
        ("kineto/mlp_train.json.gz", Format::Kineto),
        ("chakra/mlp_train.et.gz", Format::Chakra),
        ("chakra/tiny.et", Format::Chakra),
    ] {
        let trace = open(name, &fixture(name), format).unwrap();
        for writable in Format::all().filter(|format| format.writable()) {
            let bytes = write(writable, &trace).unwrap();
            let again = read(writable, &Input::new("again", &bytes), None, &mut Unattended).unwrap();
            assert_eq!(again.accesses(), trace.accesses(), "{name} as {}", writable.name());
            assert_eq!(again.sizes(), trace.sizes(), "{name} as {}", writable.name());
        }
    }
}

#[test]
fn reading_can_be_cancelled_at_any_report() {
    struct After(u32);
    impl Progress for After {
        fn report(&mut self, done: u64, total: u64, _: &str) -> Flow {
            assert!(done <= total);
            self.0 = self.0.saturating_sub(1);
            if self.0 == 0 { Flow::Cancel } else { Flow::Continue }
        }
    }
    let bytes = long_trace(2_000_000);
    for after in 1..7 {
        let result = read(Format::PytorchEt, &Input::new("t", &bytes), None, &mut After(after));
        assert_eq!(result.unwrap_err(), Error::Cancelled, "{after}");
    }
}

/// Formats by name, with a small good file of each: cut and changed, they must give a trace or an error.
fn small_files() -> Vec<(Format, Vec<u8>)> {
    let step: Value = serde_json::from_slice(&unpacked("et/mlp_train_schema_1_0_1.json.gz")).unwrap();
    let mut flat = step.clone();
    flat["nodes"].as_array_mut().unwrap().truncate(30);
    let mut nested: Value = serde_json::from_slice(&unpacked("et/mlp_train.json.gz")).unwrap();
    nested["nodes"].as_array_mut().unwrap().truncate(20);
    let mut profile: Value = serde_json::from_slice(&unpacked("kineto/mlp_train.json.gz")).unwrap();
    profile["traceEvents"].as_array_mut().unwrap().truncate(30);
    vec![
        (Format::PytorchEt, flat.to_string().into_bytes()),
        (Format::PytorchEt, nested.to_string().into_bytes()),
        (Format::Kineto, profile.to_string().into_bytes()),
        (Format::Chakra, fixture("chakra/tiny.et")),
        (Format::Chakra, unpacked("chakra/mlp_train.et.gz")),
    ]
}

#[test]
fn no_cut_and_no_changed_byte_panics() {
    let files = small_files();
    let formats = [Format::PytorchEt, Format::Kineto, Format::Chakra];
    let config = ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let changes = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let digits = proptest::sample::select(b"0123456789-.[]{},:\"eE'".to_vec());
    let strategy = (0..files.len(), any::<prop::sample::Index>(), any::<bool>(), changes, digits, any::<bool>());
    runner
        .run(&strategy, |(file, end, cut, changes, digit, as_digit)| {
            let (format, bytes) = &files[file];
            let mut bytes = bytes.clone();
            if cut {
                bytes.truncate(end.index(bytes.len()));
            }
            if !bytes.is_empty() {
                for (at, byte) in &changes {
                    let at = at.index(bytes.len());
                    bytes[at] = if as_digit { digit } else { *byte };
                }
            }
            let input = Input::new("t", &bytes);
            let _ = detect(&input);
            if let Err(error) = read(*format, &input, None, &mut Unattended) {
                let text = error.to_string();
                prop_assert!(text.starts_with("t, ") || text.contains("more than"), "{text}");
                prop_assert!(text.trim_end().chars().count() > 10 && text.contains(". "), "{text}");
            }
            Ok(())
        })
        .unwrap();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    runner
        .run(&proptest::collection::vec(any::<u8>(), 0..300), |bytes| {
            let input = Input::new("t", &bytes);
            let _ = detect(&input);
            for format in formats {
                let _ = read(format, &input, None, &mut Unattended);
            }
            Ok(())
        })
        .unwrap();
}
