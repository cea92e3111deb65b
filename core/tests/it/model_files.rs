//! Models from files: graphs that ONNX's own tools made and measured (tests/fixtures/onnx_graphs.py), topologies, and
//! what happens to broken ones.

use accel_core::error::Error;
use accel_core::import::Format;
use accel_core::import::input::Input;
use accel_core::progress::Unattended;
use accel_core::recipe::{FileSource, Workload};
use accel_core::trace::{Kind, Trace};
use accel_core::workload::ModelRef;
use accel_core::workload::model_run::{ModelRun, Task};
use accel_core::workload::plan::Dataflow;
use proptest::prelude::*;
use serde_json::Value;

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/../tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn read(name: &str, bytes: &[u8], run: ModelRun) -> Result<(Trace, Format), Error> {
    let run = ModelRun { model: ModelRef::File { file: name.into() }, ..run };
    Workload::Model(run).trace_with((1, u64::MAX), &Input::new(name, bytes), &mut Unattended)
}

fn flops(trace: &Trace) -> f64 {
    (0..trace.accesses().len()).map(|now| trace.flops(now)).sum()
}

fn weights(trace: &Trace) -> u64 {
    trace.tensors().iter().filter(|t| t.kind == Kind::Weights).map(|t| t.bytes).sum()
}

#[test]
fn graphs_have_the_work_that_numpy_counts() {
    let expected: Value = serde_json::from_slice(&fixture("onnx/expected.json")).unwrap();
    for (name, facts) in expected.as_object().unwrap() {
        let (trace, format) = read(name, &fixture(&format!("onnx/{name}")), ModelRun::default()).unwrap();
        assert_eq!(format, Format::Onnx);
        let macs = facts["total_macs"].as_f64().unwrap();
        assert!((flops(&trace) - 2.0 * macs).abs() < 1e-3 * macs, "{name}: {} for {macs}", flops(&trace));
        // Scalars and shapes are parameters of the graph, but nothing moves them.
        let bytes = facts["parameter_bytes"].as_u64().unwrap();
        assert!(weights(&trace) <= bytes && weights(&trace) + 64 >= bytes, "{name}: {} of {bytes}", weights(&trace));
    }
}

/// Exports of torch.onnx without shapes of what they compute: every tensor is as large as the exporter said, and the work
/// and the weights are those of the whole file (tests/fixtures/onnx_exports.py).
#[test]
fn exports_have_the_shapes_that_their_exporter_found() {
    let expected: Value = serde_json::from_slice(&fixture("onnx_exports/expected.json")).unwrap();
    for (name, facts) in expected.as_object().unwrap() {
        let run = ModelRun { tile_bytes: Some(1 << 40), ..ModelRun::default() };
        let (trace, _) = read(name, &fixture(&format!("onnx_exports/{name}.onnx.gz")), run).unwrap();
        let mut compared = 0;
        for tensor in trace.tensors().iter().filter(|tensor| tensor.kind == Kind::Activations) {
            if let Some(bytes) = facts["values"].get(&tensor.name) {
                assert_eq!(tensor.bytes, bytes.as_u64().unwrap(), "{name}: {}", tensor.name);
                compared += 1;
            }
        }
        assert!(compared > 0, "{name}");
        assert!(trace.warnings().iter().all(|w| !w.contains("another shape")), "{name}: {:?}", trace.warnings());
        let macs = facts["macs"].as_f64().unwrap();
        assert!((flops(&trace) - 2.0 * macs).abs() <= 1e-6 * macs, "{name}: {} for {macs}", flops(&trace));
    }
}

/// Activations are as large as ONNX's shape inference says.
#[test]
fn shapes_without_a_statement_are_worked_out() {
    let (stated, _) = read("a", &fixture("onnx/tiny_cnn.onnx"), ModelRun::default()).unwrap();
    let (inferred, _) = read("a", &fixture("onnx/tiny_cnn_noshapes.onnx"), ModelRun::default()).unwrap();
    assert_eq!(stated, inferred);
    let run = |task, dataflow| {
        let run = ModelRun { task, dataflow, tile_bytes: Some(1024), ..ModelRun::default() };
        read("a", &fixture("onnx/tiny_cnn.onnx"), run).unwrap().0
    };
    let once = flops(&run(Task::Inference, None));
    assert!((flops(&run(Task::Inference, Some(Dataflow::WeightStationary))) / once - 1.0).abs() < 1e-4);
    // The gradient of the image is not wanted.
    let trained = flops(&run(Task::Training, None)) / once;
    assert!((2.0..=3.0).contains(&trained), "{trained}");
}

#[test]
fn free_dimensions_are_filled_and_fixed_ones_kept() {
    let bytes = fixture("onnx/symbolic_batch.onnx");
    let with = |batch_size| read("s", &bytes, ModelRun { batch_size, ..ModelRun::default() });
    let (one, _) = with(1).unwrap();
    let (eight, _) = with(8).unwrap();
    assert!((flops(&eight) / flops(&one) - 8.0).abs() < 1e-6);
    assert!(eight.warnings()[0].contains("batch = 8"), "{:?}", eight.warnings());
    let fixed = read("f", &fixture("onnx/tiny_mlp.onnx"), ModelRun { batch_size: 8, ..ModelRun::default() });
    assert_eq!(fixed.unwrap_err().field_name(), Some("batch_size"));
}

const CONV: &str = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,\n\
                    c1, 10, 10, 3, 3, 4, 8, 1,\nc2,8,8,1,1,8,16,2,\n,,,,\n";

#[test]
fn topologies_have_scale_sims_sizes() {
    let (trace, format) = read("t.csv", CONV.as_bytes(), ModelRun::default()).unwrap();
    assert_eq!(format, Format::ScaleSim);
    // 8 x 8 positions of 3 x 3 x 4 for 8 filters, then 4 x 4 of 8 for 16: ceil((8 - 1 + 2) / 2) = 5, as SCALE-Sim rounds.
    assert_eq!(flops(&trace), 2.0 * (64.0 * 36.0 * 8.0 + 25.0 * 8.0 * 16.0));
    assert_eq!(weights(&trace), 4 * (36 * 8 + 8 * 16));
    // The second layer reads what the first made.
    assert_eq!(trace.tensors().iter().filter(|t| t.name.starts_with("ifmap")).count(), 1);
    // A second stride, a depthwise layer, and a sparsity that is stated: 8 x 5 positions of 3 x 3 for each of 4 channels.
    let more = "Layer name,IFMAP Height,IFMAP Width,Filter Height,Filter Width,Channels,Num Filter,Stride H,Stride W,Sparsity,\n\
                DP1,10,10,3,3,4,1,1,2,1:1,\nc2,8,5,1,1,4,16,1,1,2:4,\n";
    let (trace, _) = read("t.csv", more.as_bytes(), ModelRun::default()).unwrap();
    assert_eq!(flops(&trace), 2.0 * (40.0 * 9.0 * 4.0 + 40.0 * 4.0 * 16.0));
    assert_eq!(weights(&trace), 4 * (9 * 4 + 4 * 16));
    assert_eq!(trace.tensors().iter().filter(|t| t.name.starts_with("ifmap")).count(), 1);
    assert_eq!(trace.warnings(), ["these columns are not read: sparsity; filters count whole"]);
    let gemm = "Layer, M, N, K,\ng1,100,30,20,\ng2,100,7,30,\n";
    let (trace, _) = read("g.csv", gemm.as_bytes(), ModelRun { batch_size: 2, ..ModelRun::default() }).unwrap();
    assert_eq!(flops(&trace), 2.0 * 2.0 * (100.0 * 30.0 * 20.0 + 100.0 * 7.0 * 30.0));
    let file = FileSource::named("g.csv");
    let plain =
        Workload::File(file).trace_with((1, u64::MAX), &Input::new("g.csv", gemm.as_bytes()), &mut Unattended).unwrap();
    assert_eq!(plain.1, Format::ScaleSim);
}

#[test]
fn columns_of_topologies_are_found_by_name() {
    let trace = |text: &str| read("t.csv", text.as_bytes(), ModelRun::default()).unwrap().0;
    let wanted = trace("Layer, M, N, K,\nL1,128,32,64,\n");
    assert_eq!(flops(&wanted), 2.0 * 128.0 * 32.0 * 64.0);
    for text in [
        "Layer,M,K,N,\nL1,128,64,32,\n",
        "L,M,N,K\nL1,128,32,64\n",
        "L;M;N;K\nL1;128;32;64\n",
        "Layer\tK\tN\tM\nL1\t64\t32\t128\n",
        "\u{feff}# Layer name,M,N,K\r\nL1,128,32,64\r\n",
        "K,M,N,Layer\n64,128,32,L1\n",
    ] {
        assert_eq!(trace(text), wanted, "{text}");
    }
    // Layers without names are numbered.
    assert_eq!(flops(&trace("M,N,K\n128,32,64\n")), flops(&wanted));
    let names = "Layer name\tStrides\tIFMAP Height\tIFMAP Width\tFilter Height\tFilter Width\tNum Filter\tChannels";
    let reordered = trace(&format!("{names}\nc1\t1\t10\t10\t3\t3\t8\t4\nc2\t2\t8\t8\t1\t1\t16\t8\n"));
    assert_eq!(reordered, trace(CONV));
    let layout = "Layer name, IFMAP Height Intraline Factor, IFMAP Width Intraline Factor, Num Filter Interline Order,\n\
                  c1, 2, 2, 4,\n";
    let error = read("t.csv", layout.as_bytes(), ModelRun::default()).unwrap_err().to_string();
    assert!(error.contains("it is a SCALE-Sim layout file") && error.contains("Give the topology"), "{error}");
    let error = read("t.csv", b"Layer,IFMAP Height,M\na,1,2\n", ModelRun::default()).unwrap_err().to_string();
    assert!(error.contains("there is no column \"IFMAP Width\" (found: Layer,IFMAP Height,M)"), "{error}");
    // As it is published, where it lies beside the checkout.
    let published = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/scalesim/layout_conv_test.csv");
    if let Ok(bytes) = std::fs::read(published) {
        let error = read("t.csv", &bytes, ModelRun::default()).unwrap_err().to_string();
        assert!(error.contains("it is a SCALE-Sim layout file"), "{error}");
    }
    // A table of measurements is none.
    let error = read("t.csv", b"op,M,N,K,ms\nmm,1,2,3,4\n", ModelRun::default()).unwrap_err().to_string();
    assert!(error.contains("cannot be detected"), "{error}");
}

/// A tensor without elements has none; a reader must not make one of it.
#[test]
fn a_dimension_of_zero_stays_zero() {
    // ir_version 8; graph: Relu of x (0 x 3) gives y.
    let dims =
        |name: u8, rows: u8| vec![0x0a, 1, name, 0x12, 14, 0x0a, 12, 8, 1, 0x12, 8, 0x0a, 2, 8, rows, 0x0a, 2, 8, 3];
    let graph = |rows: u8| {
        let node = [&[0x0a, 1, b'x', 0x12, 1, b'y', 0x22, 4][..], b"Relu"].concat();
        let part = |tag: u8, content: Vec<u8>| [vec![tag, content.len() as u8], content].concat();
        let graph = [part(0x0a, node), part(0x5a, dims(b'x', rows)), part(0x62, dims(b'y', rows))].concat();
        [vec![8, 8, 0x3a, graph.len() as u8], graph].concat()
    };
    let (trace, _) = read("o", &graph(2), ModelRun::default()).unwrap();
    assert_eq!(trace.sizes(), [24, 24]);
    let error = read("o", &graph(0), ModelRun::default()).unwrap_err().to_string();
    assert!(error.contains("its tensors have no elements, because a dimension is 0"), "{error}");
}

#[test]
fn broken_topologies_name_the_line() {
    let head = CONV.lines().next().unwrap();
    for (text, wanted) in [
        (format!("{head}\n"), "whole input: the topology has no layers"),
        (format!("{head}\nc1,10,10,3,3,4,8\n"), "line 2: 7 fields where 8 are needed"),
        (format!("{head}\nc1,10,10,3,3,4,8,0,\n"), "line 2: Strides is \"0\""),
        (format!("{head}\nc1,-10,10,3,3,4,8,1,\n"), "line 2: IFMAP Height is \"-10\""),
        (format!("{head}\nc1,2,2,3,3,4,8,1,\n"), "line 2: the filter of 3 x 3 is larger than the image"),
        (format!("{head}\nc1,1e9,10,3,3,4,8,1,\n"), "line 2: IFMAP Height is \"1e9\""),
        (format!("{head}\nc,4294967296,4294967296,1,1,4294967296,4294967296,1,\n"), "more than 2^64"),
        ("Layer, M, N, K,\ng,1,2,x,\n".into(), "line 2: K is \"x\""),
    ] {
        let error = read("t.csv", text.as_bytes(), ModelRun::default()).unwrap_err().to_string();
        assert!(error.contains(wanted), "{text} gave {error}");
    }
}

/// Just enough protobuf to write broken graphs.
mod write {
    pub(super) fn varint(mut value: u64) -> Vec<u8> {
        let mut out = Vec::new();
        while value >= 128 {
            out.push(value as u8 | 128);
            value >>= 7;
        }
        out.push(value as u8);
        out
    }
    pub(super) fn number(field: u64, value: i64) -> Vec<u8> {
        [varint(field << 3), varint(value as u64)].concat()
    }
    pub(super) fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
        [varint(field << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
    }
    pub(super) fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> Vec<u8> {
        let mut node: Vec<u8> = inputs.iter().flat_map(|name| bytes(1, name.as_bytes())).collect();
        node.extend(outputs.iter().flat_map(|name| bytes(2, name.as_bytes())));
        node.extend(bytes(4, op.as_bytes()));
        bytes(1, &node)
    }
    pub(super) fn tensor(field: u64, name: &str, kind: i64, dims: &[i64]) -> Vec<u8> {
        let mut tensor: Vec<u8> = dims.iter().flat_map(|d| number(1, *d)).collect();
        tensor.extend(number(2, kind));
        tensor.extend(bytes(8, name.as_bytes()));
        bytes(field, &tensor)
    }
    pub(super) fn with(op: &str, inputs: &[&str], outputs: &[&str], attributes: &[(&str, &[i64])]) -> Vec<u8> {
        let mut node: Vec<u8> = inputs.iter().flat_map(|name| bytes(1, name.as_bytes())).collect();
        node.extend(outputs.iter().flat_map(|name| bytes(2, name.as_bytes())));
        node.extend(bytes(4, op.as_bytes()));
        for (name, values) in attributes {
            // A number as a list of one reads the same.
            let values: Vec<u8> = values.iter().flat_map(|n| [number(3, *n), number(8, *n)].concat()).collect();
            node.extend(bytes(5, &[bytes(1, name.as_bytes()), values].concat()));
        }
        bytes(1, &node)
    }
    /// An initializer of whole numbers.
    pub(super) fn whole(name: &str, values: &[i64]) -> Vec<u8> {
        let raw: Vec<u8> = values.iter().flat_map(|n| n.to_le_bytes()).collect();
        let tensor = [number(1, values.len() as i64), number(2, 7), bytes(8, name.as_bytes()), bytes(9, &raw)];
        bytes(5, &tensor.concat())
    }
    /// An input of floats whose dimensions have these names; a number is a size.
    pub(super) fn free(name: &str, dims: &[&str]) -> Vec<u8> {
        let dim = |d: &&str| d.parse().map_or_else(|_| bytes(2, d.as_bytes()), |n| number(1, n));
        let dims: Vec<u8> = dims.iter().flat_map(|d| bytes(1, &dim(d))).collect();
        let tensor = [number(1, 1), bytes(2, &dims)].concat();
        bytes(11, &[bytes(1, name.as_bytes()), bytes(2, &bytes(1, &tensor))].concat())
    }
    pub(super) fn input(name: &str, kind: i64, dims: &[i64]) -> Vec<u8> {
        let dims: Vec<u8> = dims.iter().flat_map(|d| bytes(1, &number(1, *d))).collect();
        let tensor = [number(1, kind), bytes(2, &dims)].concat();
        bytes(11, &[bytes(1, name.as_bytes()), bytes(2, &bytes(1, &tensor))].concat())
    }
    pub(super) fn model(parts: &[Vec<u8>]) -> Vec<u8> {
        [number(1, 8), bytes(7, &parts.concat())].concat()
    }
}

/// Matrices and filters may be inputs of the graph.
#[test]
fn matrices_may_come_from_outside() {
    use write::{input, model, node};
    let matrix = model(&[node("MatMul", &["x", "w"], &["y"]), input("x", 1, &[2, 4]), input("w", 1, &[4, 8])]);
    let conv = [input("x", 1, &[1, 3, 8, 8]), input("w", 1, &[4, 3, 3, 3])];
    let conv = model(&[vec![node("Conv", &["x", "w"], &["y"])], conv.to_vec()].concat());
    for (bytes, work) in [(matrix, 2.0 * 2.0 * 4.0 * 8.0), (conv, 2.0 * 36.0 * 27.0 * 4.0)] {
        for dataflow in [None, Some(Dataflow::OutputStationary), Some(Dataflow::WeightStationary)] {
            let (trace, _) = read("g", &bytes, ModelRun { dataflow, steps: 2, ..ModelRun::default() }).unwrap();
            assert!((flops(&trace) - 2.0 * work).abs() < 1e-3 * work, "{dataflow:?}");
            assert_eq!(weights(&trace), 0);
        }
    }
}

/// A free dimension is what its name says; without a name, what its place says, each for itself.
#[test]
fn free_dimensions_are_told_by_name() {
    use write::{free, model, node, tensor};
    let run = || ModelRun { batch_size: 3, prompt_tokens: Some(5), ..ModelRun::default() };
    for (dims, stated, rows) in [
        (&["seq", "batch", "4"][..], "batch = 3, seq = 5", 15.0),
        (&["N", "sequence_length", "4"], "N = 3, sequence_length = 5", 15.0),
        (&["", "", "4"], "x[0] = 3, x[1] = 5", 15.0),
        (&["a", "", "4"], "a = 3, x[1] = 5", 15.0),
    ] {
        let bytes = model(&[node("MatMul", &["x", "w"], &["y"]), tensor(5, "w", 1, &[4, 8]), free("x", dims)]);
        let (trace, _) = read("g", &bytes, run()).unwrap();
        assert_eq!(flops(&trace), 2.0 * rows * 4.0 * 8.0);
        assert_eq!(trace.warnings(), [format!("free dimensions were filled in: {stated}")]);
    }
    let image = model(&[node("Relu", &["x"], &["y"]), free("x", &["", "3", "", ""])]);
    let (trace, _) = read("g", &image, run()).unwrap();
    assert!(trace.warnings()[0].ends_with("x[0] = 3, x[2] = 5, x[3] = 5"), "{:?}", trace.warnings());
    let fixed = model(&[node("Relu", &["x"], &["y"]), free("x", &["batch", "8"])]);
    assert_eq!(read("g", &fixed, run()).unwrap_err().field_name(), Some("prompt_tokens"));
    let fixed = model(&[node("Relu", &["x"], &["y"]), free("x", &["seq", "8"])]);
    assert_eq!(read("g", &fixed, run()).unwrap_err().field_name(), Some("batch_size"));
}

/// Graphs that were stripped of their weights fill tensors instead; scalars and indices are no weights.
#[test]
fn weights_are_what_moves() {
    use write::{input, model, node, tensor, whole, with};
    let x = || input("x", 1, &[2, 4]);
    let filled =
        [whole("shape", &[4, 8]), node("ConstantOfShape", &["shape"], &["w"]), node("MatMul", &["x", "w"], &["y"])];
    let filled = model(&[&filled[..], &[x()]].concat());
    let (trace, _) = read("g", &filled, ModelRun { steps: 2, ..ModelRun::default() }).unwrap();
    assert_eq!((weights(&trace), flops(&trace)), (4 * 32, 2.0 * 2.0 * 2.0 * 32.0));
    // A matrix that is computed on the way does not move, but its work counts.
    let computed = [
        input("z", 1, &[4, 8]),
        node("Shape", &["z"], &["shape"]),
        node("ConstantOfShape", &["shape"], &["w"]),
        node("MatMul", &["x", "w"], &["y"]),
        x(),
    ];
    let (trace, _) = read("g", &model(&computed), ModelRun::default()).unwrap();
    assert_eq!(flops(&trace), 2.0 * 2.0 * 32.0);
    let clipped = [
        node("Clip", &["x", "low", "high"], &["c"]),
        with("Slice", &["c", "from", "to"], &["y"], &[]),
        tensor(5, "low", 1, &[]),
        tensor(5, "high", 1, &[]),
        whole("from", &[0, 0]),
        whole("to", &[1, 4]),
        input("x", 1, &[2, 4]),
        // Its shape is stated.
        write::bytes(12, &input("y", 1, &[1, 4])[2..]),
    ];
    let (trace, _) = read("g", &model(&clipped), ModelRun::default()).unwrap();
    assert_eq!(weights(&trace), 0);
    // The second output of a pool is there for whoever reads it.
    let window: &[(&str, &[i64])] = &[("kernel_shape", &[2, 2]), ("strides", &[2, 2])];
    let pool = |more: &[Vec<u8>]| {
        let parts = [with("MaxPool", &["x"], &["y", "at"], window), input("x", 1, &[1, 2, 8, 8])];
        read("g", &model(&[&parts[..], more].concat()), ModelRun::default()).unwrap().0
    };
    assert_eq!(pool(&[]).tensors().iter().filter(|t| t.name.starts_with("at")).count(), 0);
    let read_again = pool(&[with("Cast", &["at"], &["z"], &[("to", &[1])])]);
    assert_eq!(read_again.tensors().iter().find(|t| t.name == "at").unwrap().bytes, 8 * 2 * 16);
}

#[test]
fn shapes_that_contradict_the_file_are_told() {
    use write::{input, model, node};
    let stated = write::bytes(12, &input("y", 1, &[9, 4])[2..]);
    let (trace, _) =
        read("g", &model(&[node("Relu", &["x"], &["y"]), input("x", 1, &[2, 4]), stated]), ModelRun::default())
            .unwrap();
    assert!(trace.warnings()[0].contains("(y: [9, 4] stated, [2, 4] made)"), "{:?}", trace.warnings());
}

#[test]
fn broken_graphs_name_the_operator() {
    use write::{input, model, node, tensor, with};
    let x = || input("x", 1, &[2, 4]);
    let w = || tensor(5, "w", 1, &[4, 8]);
    let conv = |filters: &[i64], attributes: &[(&str, &[i64])]| {
        let parts = [with("Conv", &["x", "f"], &["y"], attributes), tensor(5, "f", 1, filters)];
        model(&[&parts[..], &[input("x", 1, &[1, 4, 8, 8])]].concat())
    };
    let good = model(&[node("MatMul", &["x", "w"], &["y"]), w(), x()]);
    assert_eq!(flops(&read("g", &good, ModelRun::default()).unwrap().0), 2.0 * 2.0 * 4.0 * 8.0);
    for (bytes, wanted) in [
        (good[..good.len() - 5].to_vec(), "not an ONNX model"),
        (model(&[]), "the model has no operators"),
        (model(&[node("Relu", &["b"], &["a"]), node("Relu", &["a"], &["b"])]), "has a cycle through this operator"),
        (model(&[node("Relu", &["x"], &["a"]), node("Relu", &["x"], &["a"]), x()]), "the tensor a is made twice"),
        (model(&[node("MatMul", &["x", "w"], &["y"]), x()]), "its input w is made nowhere"),
        (model(&[node("MatMul", &["x"], &["y"]), x()]), "it has 1 inputs, and 2 are needed"),
        (model(&[node("MatMul", &["x", "w"], &["y"]), w(), input("x", 1, &[2, 5])]), "do not multiply"),
        (model(&[node("MatMul", &["x", "w"], &["y"]), w(), input("x", 1, &[2, -4])]), "a dimension is -4"),
        (model(&[node("MatMul", &["x", "w"], &["y"]), x(), tensor(5, "w", 1, &[4, -8])]), "a dimension is -8"),
        (
            model(&[node("MatMul", &["x", "w"], &["y"]), x(), tensor(5, "w", 8, &[4, 8])]),
            "the element type 8 is unknown",
        ),
        (model(&[node("MatMul", &["x", "w"], &["y"]), x(), tensor(5, "w", 999, &[4, 8])]), "the element type 999"),
        (
            model(&[node("MatMul", &["x", "w"], &["y"]), x(), tensor(5, "w", 1, &[4, 1_000_000_000_000_000_000])]),
            "g.onnx: y has more than 2^61 bytes",
        ),
        (
            model(&[node("MatMul", &["x", "w"], &["y"]), x(), tensor(5, "w", 1, &[i64::MAX, i64::MAX])]),
            "more than 2^64 - 1 elements",
        ),
        (model(&[node("If", &["x"], &["y"]), x()]), "decided only while it runs"),
        (model(&[node("Unheard", &["x"], &["y"]), x()]), "is not stated, and not worked out here"),
        (model(&[node("Add", &["x", "z"], &["y"]), x(), input("z", 1, &[3, 4])]), "do not go together"),
        (
            model(&[with("Concat", &["x", "z"], &["y"], &[("axis", &[0])]), x(), input("z", 1, &[2, 5])]),
            "shapes [2, 4] and [2, 5] do not go together",
        ),
        (conv(&[8, 3, 3, 3], &[]), "filters of shape [8, 3, 3, 3] in 1 groups for an input of 4 channels"),
        (conv(&[8, 4, 3, 3], &[("group", &[0])]), "in 0 groups"),
        (conv(&[8, 4, 3, 3], &[("group", &[-1])]), "in -1 groups"),
        (conv(&[7, 2, 3, 3], &[("group", &[2])]), "in 2 groups for an input of 4 channels"),
        (conv(&[8, 4, 3, 3], &[("kernel_shape", &[5, 5])]), "for a kernel_shape of [5, 5]"),
        (
            model(&[node("LayerNormalization", &["x"], &["y", "mean"]), node("Relu", &["mean"], &["z"]), x()]),
            "the shape of its input mean, an output of LayerNormalization, is not stated",
        ),
        (model(&[node("Identity", &["x"], &["y"]), x()]), "no operator moves a tensor"),
        (model(&[node("MaxPool", &["x"], &["y"]), x()]), "it has no kernel_shape"),
        (model(&[node("Relu", &["x"], &["y"]), input("x", 1, &[1; 65])]), "more than 64 dimensions"),
    ] {
        let error = match read("g.onnx", &bytes, ModelRun::default()) {
            Ok(_) => panic!("{wanted}: was read"),
            Err(error) => error.to_string(),
        };
        assert!(error.contains(wanted), "wanted {wanted}, got {error}");
    }
}

#[test]
fn a_trace_is_no_model_and_a_config_is_one() {
    let error = read("t.csv", b"tensor_id,size_mb,reuse_distance,stride,op,model_type\n", ModelRun::default());
    assert!(error.unwrap_err().to_string().contains("it is a trace (prototype-csv), not a model"));
    let config = br#"{"architectures":["BertModel"],"model_type":"bert","hidden_size":64,"intermediate_size":128,
        "num_hidden_layers":2,"num_attention_heads":2,"vocab_size":100,"max_position_embeddings":128}"#;
    for config in [config.to_vec(), [&b"\xef\xbb\xbf"[..], config].concat()] {
        let (_, format) = read("config.json", &config, ModelRun::default()).unwrap();
        assert_eq!(format, Format::Config);
    }
    let (trace, _) = read("config.json", config, ModelRun::default()).unwrap();
    assert_eq!(trace.model_type(), "Transformer");
}

/// A routing log decides which experts are read.
#[test]
fn routing_follows_a_log() {
    let mut log = String::new();
    for token in 0..5 {
        for layer in 0..32 {
            log += &format!("{{\"token\":{token},\"layer\":{layer},\"experts\":[{},7]}}\n", token % 2);
        }
    }
    let mut run = ModelRun { prompt_tokens: Some(3), decode_tokens: Some(2), ..ModelRun::preset("mixtral-8x7b") };
    run.routing.log = Some("log.jsonl".into());
    let trace = |run: &ModelRun, log: &str| {
        Workload::Model(run.clone()).trace_with(
            (1, u64::MAX),
            &Input::new("log.jsonl", log.as_bytes()),
            &mut Unattended,
        )
    };
    let (made, format) = trace(&run, &log).unwrap();
    assert_eq!(format, Format::MoeRouting);
    let used = |expert: u32| made.tensors().iter().any(|t| t.name.contains(&format!("experts.{expert}.")));
    assert_eq!((0..8).filter(|e| used(*e)).collect::<Vec<_>>(), [0, 1, 7]);
    run.decode_tokens = Some(3);
    let error = trace(&run, &log).unwrap_err().to_string();
    assert!(error.contains("record 5: the log, of 5 tokens, has no experts for token 5 in layer 0"), "{error}");
    let foreign = log.replace("[0,7]", "[0,8]");
    let error = trace(&run, &foreign).unwrap_err().to_string();
    assert!(error.contains("goes to expert 8 of layer 0, which has 8"), "{error}");
    let alone = log.replace(",7]", "]");
    let error = trace(&run, &alone).unwrap_err().to_string();
    assert!(error.contains("token 0 goes to 1 experts in layer 0, and the model sends it to 2"), "{error}");
    run.model = ModelRef::Preset("mistral-7b".into());
    assert_eq!(run.check().unwrap_err().field_name(), Some("routing"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Any change to a good file is read or refused, and nothing panics.
    #[test]
    fn mutations_never_panic(which in 0usize..3, at in any::<prop::sample::Index>(), byte: u8, cut in any::<prop::sample::Index>()) {
        let name = ["onnx/tiny_cnn_noshapes.onnx", "onnx/tiny_attention.onnx", "onnx/int8_weights.onnx"][which];
        let mut bytes = fixture(name);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let cut = cut.index(bytes.len());
        for bytes in [&bytes[..], &bytes[..cut]] {
            let run = ModelRun { tile_bytes: Some(1 << 20), ..ModelRun::default() };
            let _ = read("m", bytes, run);
        }
    }
}
