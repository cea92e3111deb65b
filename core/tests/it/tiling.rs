//! Traces of tiled operators: their traffic falls with the memory, never below the operators' own bound.

use std::collections::BTreeSet;

use accel_core::import::input::Input;
use accel_core::memory::Memory;
use accel_core::policy::{Admission, PolicyKind, PolicySpec};
use accel_core::progress::Unattended;
use accel_core::recipe::{Recipe, Workload};
use accel_core::run::{Outcome, run, run_with};
use accel_core::tiling::Product;
use accel_core::workload::ModelRef;
use accel_core::workload::config::ModelConfig;
use accel_core::workload::model_run::{ModelRun, Task, Tiling};
use accel_core::workload::plan::Dataflow;
use proptest::prelude::*;

fn recipe(run: ModelRun, capacity_bytes: u64, admission: Admission) -> Recipe {
    let memory = Memory { admission: admission.into(), ..Memory::new(capacity_bytes) };
    let policies = PolicySpec::plain([PolicyKind::Lru, PolicyKind::Belady]);
    Recipe { workload: Workload::Model(run), memory, policies, bounds: false, ..Recipe::default() }
}

fn gemm(m: u64, n: u64, k: u64) -> ModelRun {
    let config = format!(r#"{{"model_type":"gemm","m":{m},"n":{n},"k":{k}}}"#);
    let config = ModelConfig::from_json("gemm", config.as_bytes()).unwrap();
    ModelRun { model: ModelRef::Config(Box::new(config)), ..ModelRun::default() }
}

fn missed(outcome: &Outcome) -> Vec<u64> {
    outcome.runs.iter().map(|run| run.miss_bytes).collect()
}

/// A product in memories that hold a part of it: LRU misses what its tiles move, Belady no more, and neither goes below the
/// bound.
#[test]
fn a_product_that_does_not_fit_moves_what_its_mapping_moves() {
    let product = Product::matrix(192, 192, 192, 32);
    let mut last = [u64::MAX; 2];
    for half in 20..=40 {
        let capacity = 2f64.powf(f64::from(half) / 2.0) as u64;
        let outcome = run(&recipe(gemm(192, 192, 192), capacity, Admission::Always), &mut Unattended).unwrap();
        let least = product.least(capacity).unwrap();
        let tiles = product.map_tiles(capacity, u64::MAX).unwrap().moved_bytes;
        let misses = missed(&outcome);
        assert_eq!(outcome.io_bound_bytes, least.bound_bytes);
        assert!(misses.iter().all(|bytes| *bytes >= least.bound_bytes), "{capacity}: {misses:?} {least:?}");
        assert!(misses[0] as f64 <= 1.02 * tiles as f64 && misses[1] <= tiles, "{capacity}: {misses:?} {tiles}");
        assert!(misses[0] <= last[0] && misses[1] <= last[1], "{capacity}: {misses:?} {last:?}");
        last = [misses[0], misses[1]];
    }
    assert_eq!(last, [product.compulsory_bytes(); 2]);
}

#[test]
fn dataflows_take_tiles_that_fit_and_refuse_those_that_do_not() {
    for dataflow in Dataflow::ALL {
        let plain = ModelRun { dataflow: Some(dataflow), ..gemm(128, 128, 128) };
        let outcome = run(&recipe(plain.clone(), 4096, Admission::Bypass), &mut Unattended).unwrap();
        let misses = missed(&outcome);
        assert!(misses.iter().all(|bytes| *bytes >= outcome.io_bound_bytes), "{dataflow:?}: {misses:?}");
        let given = recipe(ModelRun { tile_bytes: Some(2048), ..plain }, 4096, Admission::Always);
        let error = run(&given, &mut Unattended).unwrap_err();
        assert_eq!(error.field_name(), Some("tile_bytes"));
        assert!(error.to_string().contains("Choose at most 1365"), "{error}");
    }
    let large = ModelRun { tile_bytes: Some(1 << 20), ..gemm(128, 128, 128) };
    let error = run(&recipe(large, 1000, Admission::Always), &mut Unattended).unwrap_err().to_string();
    assert!(error.contains("Leave it out for tiles that fit"), "{error}");
    let both = ModelRun { tiling: Some(Tiling::Auto), tile_bytes: Some(1024), ..gemm(128, 128, 128) };
    assert_eq!(
        run(&recipe(both, 1 << 20, Admission::Always), &mut Unattended).unwrap_err().field_name(),
        Some("tile_bytes")
    );
}

/// The second layer of ResNet-18 in SCALE-Sim's own topology: 1.81 MB are compulsory, and 64 KiB cannot do with them.
#[test]
fn a_convolution_moves_more_in_less_memory() {
    let text = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,\n\
                conv2, 58, 58, 3, 3, 64, 64, 1,\n";
    let mut last = u64::MAX;
    for shift in [12, 14, 16, 17, 18, 22] {
        let run = ModelRun { model: ModelRef::File { file: "t.csv".into() }, ..ModelRun::default() };
        let recipe = recipe(run, 1 << shift, Admission::Always);
        let input = Input::new("t.csv", text.as_bytes());
        let trace = recipe.workload.trace_with((0, 1 << shift), &input, &mut Unattended).unwrap().0;
        let outcome = run_with(&recipe, Some(trace), &mut Unattended).unwrap();
        let misses = missed(&outcome);
        assert!(misses.iter().all(|bytes| *bytes >= outcome.io_bound_bytes), "{shift}: {misses:?}");
        assert!(misses[0] <= last, "{shift}: {misses:?}");
        last = misses[0];
        if shift == 16 {
            assert!(last > 1_811_200, "{last}");
        }
    }
    assert_eq!(last, 4 * (58 * 58 * 64 + 9 * 64 * 64 + 56 * 56 * 64));
}

/// The distinct layers of SCALE-Sim's own ResNet-18 where it is there, else a few of He et al. 2016, table 1: sides of image
/// and filter, channels, filters, stride.
fn layers_of_resnet_18() -> BTreeSet<String> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/scalesim/resnet18_conv.csv");
    let text = std::fs::read_to_string(file).unwrap_or_else(|_| {
        "\n1,230,230,7,7,3,64,2,\n2,58,58,3,3,64,64,1,\n3,58,58,3,3,64,128,2,\n4,56,56,1,1,64,128,2,\n5,9,9,3,3,512,512,1,"
            .into()
    });
    let layers = text.lines().skip(1).filter_map(|line| line.split_once(','));
    layers.map(|(_, layer)| layer.trim().to_owned()).filter(|layer| !layer.is_empty()).collect()
}

/// What LRU misses in a layer, and the layer's bound.
fn layer(name: &str, layer: &str, run: ModelRun, capacity: u64) -> (u64, Outcome) {
    let text = format!(
        "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,\n{name},{layer}\n"
    );
    let run = ModelRun { model: ModelRef::File { file: "t.csv".into() }, ..run };
    let recipe = recipe(run, capacity, Admission::Always);
    let input = Input::new("t.csv", text.as_bytes());
    let trace = recipe.workload.trace_with((0, capacity), &input, &mut Unattended).unwrap().0;
    let outcome = run_with(&recipe, Some(trace), &mut Unattended).unwrap();
    (missed(&outcome)[0], outcome)
}

/// From 64 KiB to 4 MiB, tiled as the mapper says, a layer moves at most 1.3 times what the best of three dataflows does.
#[test]
fn layers_of_resnet_move_no_more_than_under_the_best_dataflow() {
    let layers = layers_of_resnet_18();
    assert!(layers.len() >= 5);
    for shape in layers {
        for capacity in [1 << 16, 1 << 18, 1 << 20, 1 << 22] {
            let (mapped, outcome) = layer("conv", &shape, ModelRun::default(), capacity);
            let under = |dataflow: &Dataflow| {
                layer("conv", &shape, ModelRun { dataflow: Some(*dataflow), ..ModelRun::default() }, capacity).0
            };
            let (best, bound) = (Dataflow::ALL.iter().map(under).min().unwrap(), outcome.io_bound_bytes);
            println!("{shape} {capacity}: {bound} at least, {mapped} mapped, {best} under the best dataflow");
            assert!(
                mapped >= bound && mapped as f64 <= 1.3 * best as f64,
                "{shape} {capacity}: {mapped} {best} {bound}"
            );
        }
    }
}

/// A depthwise convolution and the backward pass of one are walked over too, never below their bounds.
#[test]
fn groups_and_gradients_of_convolutions_are_walked() {
    let mut last = u64::MAX;
    for shift in 9..20 {
        let (misses, outcome) = layer("DP", "58,58,3,3,64,1,1,", ModelRun::default(), 1 << shift);
        assert!(misses >= outcome.io_bound_bytes && outcome.io_bound_bytes > 0 && outcome.warnings.is_empty());
        assert!(misses <= last, "{shift}: {misses} {last}");
        last = misses;
    }
    assert_eq!(last, 4 * 64 * (58 * 58 + 9 + 56 * 56));
    let config = r#"{"model_type":"cnn","image_size":16,"num_channels":4,"layers":[
        {"conv":{"filters":16,"size":3,"padding":1}},{"conv":{"filters":16,"size":3,"padding":1,"groups":4}}]}"#;
    let config = ModelConfig::from_json("cnn", config.as_bytes()).unwrap();
    let model = ModelRef::Config(Box::new(config));
    let mut last = u64::MAX;
    for shift in [11, 13, 15, 20] {
        let run_of = ModelRun { model: model.clone(), task: Task::Training, ..ModelRun::default() };
        let outcome = run(&recipe(run_of, 1 << shift, Admission::Bypass), &mut Unattended).unwrap();
        let misses = missed(&outcome);
        assert!(misses.iter().all(|bytes| *bytes >= outcome.io_bound_bytes), "{shift}: {misses:?}");
        assert!(misses[0] <= last && outcome.io_bound_bytes > 0, "{shift}: {misses:?} {last}");
        assert!(!outcome.warnings.iter().any(|warning| warning.contains("not tiled")), "{:?}", outcome.warnings);
        last = misses[0];
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// No policy in either mode goes below the bound of the operators, however they are tiled.
    #[test]
    fn no_policy_goes_below_the_operators_bound(
        m in 1u64..80, n in 1u64..80, k in 1u64..80, capacity in 12u64..20_000, bypass: bool,
        dataflow in prop::option::of(prop::sample::select(Dataflow::ALL.to_vec())), steps in 1u64..3,
    ) {
        let admission = if bypass { Admission::Bypass } else { Admission::Always };
        let run_of = ModelRun { dataflow, steps, ..gemm(m, n, k) };
        let outcome = run(&recipe(run_of, capacity, admission), &mut Unattended).unwrap();
        for bytes in missed(&outcome) {
            prop_assert!(bytes >= outcome.io_bound_bytes, "{} < {}", bytes, outcome.io_bound_bytes);
        }
    }
}
