use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::error::Error;
use crate::trace::{Kind, Mode, Op, Trace};
use crate::units::MIB;
use crate::workload::ModelRef;
use crate::workload::dtype::Dtype;
use crate::workload::plan::Dataflow;
use crate::workload::presets::{self, PRESETS};
use crate::workload::requests::Requests;
use crate::workload::routing::Routing;
use crate::workload::train::Optimizer;

fn bytes_by_kind(trace: &Trace) -> BTreeMap<Kind, u64> {
    let mut sums = BTreeMap::new();
    for tensor in trace.tensors() {
        *sums.entry(tensor.kind).or_insert(0) += tensor.bytes;
    }
    sums
}

fn flops(trace: &Trace) -> f64 {
    (0..trace.accesses().len()).map(|now| trace.flops(now)).sum()
}

fn with(model: &str) -> ModelRun {
    ModelRun { model: ModelRef::Config(Box::new(serde_json::from_str(model).unwrap())), ..ModelRun::default() }
}

/// Every preset makes a trace for both tasks, and its tiles keep to their size. The largest are of families of which there
/// are smaller ones.
#[test]
fn every_preset_runs_and_trains() {
    let small = |preset: &&presets::Preset| preset.config().unwrap().parameters() < 40_000_000_000;
    for preset in PRESETS.iter().filter(small) {
        for task in Task::ALL {
            let decodes = preset.config().unwrap().transformer().is_some_and(|t| !t.encodes_only());
            let run = ModelRun {
                task,
                prompt_tokens: decodes.then_some(16),
                decode_tokens: (decodes && task == Task::Inference).then_some(2),
                tile_bytes: Some(64 * MIB),
                ..ModelRun::preset(preset.name)
            };
            let trace = run.trace(1, u64::MAX).unwrap();
            assert!(
                trace.tensors().iter().all(|t| (1..=run.tile_bytes.unwrap()).contains(&t.bytes)),
                "{}",
                preset.name
            );
            let names: BTreeSet<&str> = trace.tensors().iter().map(|t| t.name.as_str()).collect();
            assert_eq!(names.len(), trace.tensors().len(), "{}: two tensors of one name", preset.name);
            assert_eq!(trace.model_type(), preset.family);
            assert!(trace.knows_flops());
        }
    }
}

#[test]
fn weights_and_kv_of_the_trace_equal_the_facts() {
    for preset in PRESETS.iter().filter(|p| p.family == "Transformer") {
        let config = preset.config().unwrap();
        let model = config.transformer().unwrap();
        let run = ModelRun {
            batch_size: 3,
            decode_tokens: (!model.encodes_only()).then_some(3),
            ..ModelRun::preset(preset.name)
        };
        let facts = run.facts().unwrap();
        let trace = run.trace(0, u64::MAX).unwrap();
        let sums = bytes_by_kind(&trace);
        assert_eq!(
            sums.get(&Kind::KvCache).copied().unwrap_or(0),
            facts.kv_bytes + facts.state_bytes,
            "{}",
            preset.name
        );
        // Of the tables, only the rows of the tokens are read; a tied table is read whole by the head.
        let rows: u64 = trace.tensors().iter().filter(|t| t.name.contains("rows[")).map(|t| t.bytes).sum();
        let class = model.model.learned_tokens * model.model.hidden;
        let unread = (model.model.table_elements() - class) * run.bits(&config).weights / 8;
        assert_eq!(sums[&Kind::Weights] - rows, facts.weight_bytes - unread, "{}", preset.name);
    }
}

/// Of the experts, a trace holds those that were used; with many tokens that is all of them.
#[test]
fn a_mixture_reads_the_experts_it_chose() {
    let run = ModelRun { prompt_tokens: Some(512), decode_tokens: Some(1), ..ModelRun::preset("mixtral-8x7b") };
    let trace = run.trace(3, u64::MAX).unwrap();
    let facts = run.facts().unwrap();
    let rows: u64 = trace.tensors().iter().filter(|t| t.name.contains("rows[")).map(|t| t.bytes).sum();
    let table = 32_000 * 4096 * 2;
    assert_eq!(bytes_by_kind(&trace)[&Kind::Weights] - rows, facts.weight_bytes - table);
    // The decoded token reads two experts in each of the 32 layers.
    let decode = trace.marks()[1].at as usize;
    let experts: BTreeSet<(u32, &str)> = trace.accesses()[decode..]
        .iter()
        .map(|t| &trace.tensors()[*t as usize])
        .filter(|t| t.name.contains("mlp.experts."))
        .map(|t| (t.layer.unwrap(), t.name.split("experts.").nth(1).unwrap().split('.').next().unwrap()))
        .collect();
    assert_eq!(experts.len(), 64);
    assert_eq!(run.trace(3, u64::MAX).unwrap(), trace);
    assert_ne!(run.trace(4, u64::MAX).unwrap().accesses(), trace.accesses());
}

#[test]
fn decode_reads_every_weight_once_per_token() {
    let run = ModelRun { decode_tokens: Some(5), ..ModelRun::default() };
    let trace = run.trace(0, u64::MAX).unwrap();
    let mut uses = vec![0; trace.tensors().len()];
    trace.accesses().iter().for_each(|t| uses[*t as usize] += 1);
    for (tensor, uses) in trace.tensors().iter().zip(uses) {
        if tensor.kind == Kind::Weights && !tensor.name.contains("rows") {
            assert_eq!(uses, 6, "{}", tensor.name);
        }
    }
    let labels: Vec<&str> = trace.marks().iter().map(|m| m.label.as_str()).collect();
    assert_eq!(labels, ["prefill", "decode"]);
}

/// Published rule: two FLOPs per parameter and token, and attention on top.
#[test]
fn flops_are_two_per_parameter_and_token_plus_attention() {
    for name in ["mistral-7b", "llama-2-7b", "gpt2-large", "opt-6.7b", "qwen3-8b", "mixtral-8x7b"] {
        let run = ModelRun { prompt_tokens: Some(64), decode_tokens: Some(3), batch_size: 2, ..ModelRun::preset(name) };
        let config = run.check().unwrap();
        let model = config.transformer().unwrap();
        // The head multiplies the last position of each of the four steps only; look-ups multiply nothing.
        let head = model.model.vocabulary.rows * model.model.vocabulary.width;
        let body = config.active_parameters() - head;
        let matmul = 2.0 * 2.0 * (67 * body + 4 * head) as f64;
        let pairs = (67 * 68 / 2) as f64;
        let heads = model.model.layers().flat_map(|(.., layer)| layer.attentions());
        let width: u64 = heads.map(|heads| heads.heads * heads.qk_dim).sum();
        let attention = 2.0 * 4.0 * width as f64 * pairs;
        let got = flops(&run.trace(0, u64::MAX).unwrap());
        assert!((got / (matmul + attention) - 1.0).abs() < 2e-3, "{name}: {got} for {}", matmul + attention);
    }
    // An image through ResNet-50 takes 4.1 billion multiplications (He et al. 2016 count 3.8, without the stride in
    // the 3 x 3 convolutions that all libraries have today; torchvision publishes 4.09).
    let got = flops(&ModelRun::preset("resnet-50").trace(0, u64::MAX).unwrap());
    assert!((got / 2.0 / 4.09e9 - 1.0).abs() < 0.01, "{got}");
    let got = flops(&ModelRun::preset("vgg-16").trace(0, u64::MAX).unwrap());
    assert!((got / 2.0 / 15.47e9 - 1.0).abs() < 0.01, "{got}");
}

/// The backward pass takes twice the work of the forward pass, and the optimizer reads and writes its 12 bytes per
/// weight.
#[test]
fn training_takes_three_times_the_work_and_keeps_its_states() {
    for (name, bytes) in [("gpt2-large", 4), ("resnet-50", 4), ("dlrm-top-mlp", 4), ("llama-3.2-1b", 2), ("t5-base", 4)]
    {
        let decodes = !["resnet-50", "dlrm-top-mlp"].contains(&name);
        let answer = ModelRun {
            task: Task::Training,
            prompt_tokens: decodes.then_some(32),
            batch_size: 2,
            ..ModelRun::preset(name)
        };
        let config = answer.check().unwrap();
        let trace = answer.trace(0, u64::MAX).unwrap();
        let marks: Vec<(&str, usize)> = trace.marks().iter().map(|m| (m.label.as_str(), m.at as usize)).collect();
        assert_eq!([marks[0].0, marks[1].0, marks[2].0], ["forward", "backward", "optimizer"], "{name}");
        let forward: f64 = (0..marks[1].1).map(|now| trace.flops(now)).sum();
        let backward: f64 = (marks[1].1..marks[2].1).map(|now| trace.flops(now)).sum();
        // No gradient is wanted of the input of the first layer, a fifth of the work of the MLP.
        let least = if name == "dlrm-top-mlp" { 1.7 } else { 1.9 };
        assert!((least..=2.0001).contains(&(backward / forward)), "{name}: {}", backward / forward);
        let parameters = config.parameters();
        let sums = bytes_by_kind(&trace);
        // Narrow weights have a wide copy besides the two moments.
        let states = if bytes == 2 { 12 } else { 8 };
        assert_eq!(sums[&Kind::Optimizer], states * parameters, "{name}");
        let written: BTreeSet<u32> = (marks[2].1..trace.accesses().len())
            .filter(|now| trace.mode(*now) == Mode::Write && trace.op(*now) == Op::Optimizer)
            .map(|now| trace.accesses()[now])
            .filter(|t| trace.tensors()[*t as usize].kind == Kind::Weights)
            .collect();
        let updated: u64 = written.iter().map(|t| trace.tensors()[*t as usize].bytes).sum();
        assert_eq!(updated, bytes * parameters, "{name}");
    }
}

const TINY: &str = r#"{"model_type":"mistral","hidden_size":64,"intermediate_size":128,"num_hidden_layers":2,
    "num_attention_heads":4,"num_key_value_heads":2,"vocab_size":100,"max_position_embeddings":512,
    "torch_dtype":"bfloat16"}"#;

/// A position takes 2 x 2 heads x 16 x 2 B = 128 B per layer: 8 positions fill a tile of 1 KiB.
#[test]
fn a_sliding_window_limits_the_blocks_read() {
    let reads = |window: &str| {
        let model = TINY.replace("\"vocab_size\"", &format!("\"sliding_window\":{window},\"vocab_size\""));
        let run = ModelRun { prompt_tokens: Some(64), decode_tokens: Some(1), tile_bytes: Some(1024), ..with(&model) };
        let trace = run.trace(0, u64::MAX).unwrap();
        let decode = trace.marks()[1].at as usize;
        let kv = trace.accesses()[decode..].iter().filter(|t| trace.tensors()[**t as usize].kind == Kind::KvCache);
        kv.count()
    };
    // Two layers: one block written, and 9 of 9 read, or those of the ring that hold the window.
    assert_eq!(reads("null"), 2 * (1 + 9));
    assert_eq!(reads("20"), 2 * (1 + 3));
    assert_eq!(reads("8"), 2 * (1 + 1));
    assert_eq!(reads("1"), 2 * (1 + 1));
}

/// Prompts that begin alike: the beginning is computed and kept once, in whole blocks, and read by all.
#[test]
fn prompts_share_their_beginning() {
    let serve = |requests: &str| {
        let requests = Some(Requests::parse(requests).unwrap());
        let run = ModelRun { requests, batch_size: 8, tile_bytes: Some(1024), ..with(TINY) };
        (run.facts().unwrap(), run.trace(0, u64::MAX).unwrap())
    };
    let (alone, apart) = serve("2x20+4, 24+2@2");
    let (facts, trace) = serve("2x16/20+4, 18/24+2@2");
    assert_eq!(bytes_by_kind(&trace)[&Kind::KvCache], facts.kv_bytes);
    assert_eq!(facts.kv_bytes, 2 * 128 * (18 + 2 * (4 + 4) + (6 + 2)));
    assert_eq!(alone.kv_bytes - facts.kv_bytes, 2 * 128 * (2 * 16 + 18 - 18));
    // The first reads 20 tokens, the second 4, and the third, which shares two more, 8.
    let flops = |trace: &Trace| (0..trace.accesses().len()).map(|now| trace.flops(now)).sum::<f64>();
    assert!(flops(&trace) < 0.6 * flops(&apart), "{} {}", flops(&trace), flops(&apart));
    let uses = |name: &str| {
        let is = |t: &u32| trace.tensors()[*t as usize].name.starts_with(name);
        trace.accesses().iter().filter(|t| is(t)).count()
    };
    assert!(uses("kv.0.common.block0") > uses("kv.0.request0.block0"));
    let error = ModelRun { requests: Some(Requests::parse("4/8+2").unwrap()), ..ModelRun::preset("t5-base") };
    assert!(error.facts().unwrap_err().to_string().contains("Leave the shared tokens out"));
}

/// Requests of their own lengths: each keeps its own blocks, and those that come later are read when there is room.
#[test]
fn requests_come_and_go() {
    let serve = |requests: &str, together| {
        let requests = Some(Requests::parse(requests).unwrap());
        let run = ModelRun { requests, batch_size: together, tile_bytes: Some(1024), ..with(TINY) };
        (run.facts().unwrap(), run.trace(0, u64::MAX).unwrap())
    };
    let (facts, trace) = serve("20+4, 9+3@2, 5+0", 2);
    assert_eq!(bytes_by_kind(&trace)[&Kind::KvCache], facts.kv_bytes);
    assert_eq!(facts.kv_bytes, 2 * 128 * (24 + 12 + 5));
    let passes = |trace: &Trace| {
        let rows = trace.tensors().iter().filter(|t| t.name.starts_with("embed_tokens.rows"));
        rows.map(|t| t.name.split('#').next()).collect::<BTreeSet<_>>().len()
    };
    // Prefill 1 and 3; tokens 1, 2 of request 1; prefill 2; tokens 3, 4 with request 2; its third token.
    assert_eq!(passes(&trace), 1 + 2 + 1 + 2 + 1);
    // One at a time takes longer.
    let (_, trace) = serve("20+4, 9+3@2, 5+0", 1);
    assert_eq!(passes(&trace), 3 + 4 + 3);
}

/// Under each dataflow the tiles of a product are read as often as the dataflow says, and the work is the same.
#[test]
fn dataflows_read_tiles_as_often_as_they_say() {
    let gemm = r#"{"model_type":"gemm","m":64,"n":96,"k":160}"#;
    // Tiles of 16 x 16 floats: 4 x 6 x 10 tile products.
    let (m, n, k) = (4u64, 6, 10);
    let counts = |dataflow| {
        let run = ModelRun { dataflow, tile_bytes: Some(1024), ..with(gemm) };
        let trace = run.trace(0, u64::MAX).unwrap();
        assert!((flops(&trace) - 2.0 * 64.0 * 96.0 * 160.0).abs() < 1.0);
        let mut counts = BTreeMap::new();
        for t in trace.accesses() {
            *counts.entry(trace.tensors()[*t as usize].name.split('#').next().unwrap().to_owned()).or_insert(0u64) += 1;
        }
        (counts["A"], counts["B"], counts["C"])
    };
    assert_eq!(counts(Some(Dataflow::OutputStationary)), (m * k * n, k * n * m, m * n));
    assert_eq!(counts(Some(Dataflow::WeightStationary)), (m * k * n, k * n, m * n * k));
    assert_eq!(counts(Some(Dataflow::InputStationary)), (m * k, k * n * m, m * n * k));
    // Without one, each byte once.
    assert_eq!(counts(None), (64 * 160 * 4 / 1024, 160 * 96 * 4 / 1024, 64 * 96 * 4 / 1024));
}

/// Accesses of the tiles of tensors named `name`, by operation and mode.
fn uses(trace: &Trace, name: &str, op: Op) -> Vec<Mode> {
    let of = |t: u32| trace.tensors()[t as usize].name.split('#').next().unwrap() == name;
    let accesses = trace.accesses().iter().enumerate();
    accesses.filter(|(now, t)| of(**t) && trace.op(*now) == op).map(|(now, _)| trace.mode(now)).collect()
}

const SMALL_LLAMA: &str = r#"{"model_type":"llama","hidden_size":128,"intermediate_size":128,"num_hidden_layers":1,
    "num_attention_heads":2,"vocab_size":2048,"max_position_embeddings":512,"tie_word_embeddings":true}"#;

/// The gradient of a tied head is stored as the table is: 2048 rows of 128, in tiles of 64 x 64.
#[test]
fn the_gradient_of_a_tied_head_is_walked_as_the_table_is_stored() {
    for (dataflow, wanted) in [
        // dB' = dY' X over 128 tokens: 32 x 2 tiles of the table, and 2 parts of the sum.
        (Dataflow::OutputStationary, 32 * 2),
        (Dataflow::WeightStationary, 32 * 2 * 2),
        (Dataflow::InputStationary, 32 * 2 * 2),
    ] {
        let run = ModelRun {
            task: Task::Training,
            prompt_tokens: Some(128),
            dataflow: Some(dataflow),
            tile_bytes: Some(64 * 64 * 4),
            ..with(SMALL_LLAMA)
        };
        assert_eq!(
            uses(&run.trace(0, u64::MAX).unwrap(), "embed_tokens.grad", Op::Matmul).len(),
            wanted,
            "{dataflow:?}"
        );
    }
}

/// A batch that comes in lies where nothing lay before.
#[test]
fn every_step_has_its_own_input() {
    let run = ModelRun { steps: 3, batch_size: 32, ..with(r#"{"model_type":"mlp","layers":[256,256,256]}"#) };
    let trace = run.trace(0, u64::MAX).unwrap();
    let mut seen = BTreeSet::new();
    for (now, tensor) in trace.accesses().iter().enumerate() {
        let first = seen.insert(*tensor);
        let input = trace.tensors()[*tensor as usize].name.starts_with("input");
        assert!(first || !input, "{now}");
        // All else is written before it is read, but for weights.
        let kind = trace.tensors()[*tensor as usize].kind;
        assert!(!first || input || kind == Kind::Weights || trace.mode(now) != Mode::Read, "{now}");
    }
    assert_eq!(trace.tensors().iter().filter(|t| t.name.starts_with("input")).count(), 3);
}

/// 64 images of 7 x 7 x 128 flattened: 6272 columns in tiles of 128 x 128, laid out once and then read for each of
/// 32 columns of tiles.
#[test]
fn flattening_lays_tiles_out_anew() {
    let config = r#"{"model_type":"cnn","image_size":7,"num_channels":128,
        "layers":[{"conv":{"filters":128,"size":1}},{"linear":4096}]}"#;
    let run = ModelRun {
        batch_size: 64,
        dataflow: Some(Dataflow::OutputStationary),
        tile_bytes: Some(64 * 1024),
        ..with(config)
    };
    let trace = run.trace(0, u64::MAX).unwrap();
    let flat = uses(&trace, "active.flat", Op::Matmul);
    assert_eq!(flat.len(), 49 * 32);
    assert!(flat.iter().all(|mode| *mode == Mode::Read));
    assert_eq!(uses(&trace, "active.flat", Op::Copy), vec![Mode::Write; 49]);
    // 3136 rows of positions in 25 tiles.
    assert_eq!(uses(&trace, "features", Op::Copy).len() + uses(&trace, "active", Op::Copy).len(), 25);
    // The backward pass: the gradient is flattened, and laid out as the images are.
    let learned = ModelRun { task: Task::Training, ..run }.trace(0, u64::MAX).unwrap();
    assert_eq!(uses(&learned, "active.grad", Op::Copy), vec![Mode::Write; 25]);
}

/// 192 channels in tiles of 128: slabs of 128 columns straddle positions of the filter (22 tiles for 14 slabs).
#[test]
fn a_direct_convolution_reads_all_channels_that_it_needs() {
    let config = r#"{"model_type":"cnn","image_size":18,"num_channels":192,
        "layers":[{"conv":{"filters":128,"size":3}}]}"#;
    let run = ModelRun { dataflow: Some(Dataflow::OutputStationary), tile_bytes: Some(64 * 1024), ..with(config) };
    let reads = uses(&run.trace(0, u64::MAX).unwrap(), "image", Op::Conv).len();
    // 256 positions make two rows of tiles; 324 of the image make three: each row of tiles reads two of them.
    assert_eq!(reads, 22 * 2 * 2);
}

/// Parts of a gradient that fall on the same tile are added up, not written anew.
#[test]
fn the_gradient_of_an_image_is_written_once_and_then_updated() {
    let config = r#"{"model_type":"cnn","image_size":32,"num_channels":32,"layers":[
        {"conv":{"filters":32,"size":3,"padding":1}},{"conv":{"filters":32,"size":3,"padding":1}}]}"#;
    // 32 tiles of the image, one for each position of the filter, and 9 tiles for the gradients of either filter,
    // which are sums of 32 parts where the output does not stay in place.
    let filters = 2 * 9;
    for (dataflow, parts) in
        [(Dataflow::OutputStationary, 1), (Dataflow::WeightStationary, 32), (Dataflow::InputStationary, 32)]
    {
        let run = ModelRun {
            task: Task::Training,
            optimizer: Optimizer::Sgd,
            dataflow: Some(dataflow),
            tile_bytes: Some(4096),
            ..with(config)
        };
        let trace = run.trace(0, u64::MAX).unwrap();
        let back = trace.marks().iter().find(|mark| mark.label == "backward").unwrap().at as usize;
        let tiled = |now: usize| trace.tensors()[trace.accesses()[now] as usize].name.contains('#');
        let count = |mode| {
            let all = back..trace.accesses().len();
            all.filter(|now| trace.op(*now) == Op::Conv && trace.mode(*now) == mode && tiled(*now)).count()
        };
        let (written, updated) = (count(Mode::Write), count(Mode::Update));
        assert_eq!((written, updated), (32 + filters, 32 * 8 + filters * (parts - 1)), "{dataflow:?}");
    }
}

/// The loads of experts vary by chance; their buffers do not multiply with them.
#[test]
fn experts_share_buffers() {
    let run = ModelRun { prompt_tokens: Some(512), decode_tokens: Some(0), ..ModelRun::preset("mixtral-8x7b") };
    let trace = run.trace(0, u64::MAX).unwrap();
    let bytes: u64 = trace.tensors().iter().filter(|t| t.name.starts_with("mlp")).map(|t| t.bytes).sum();
    // All experts of a layer at once need 512 x 2 x 14336 x 2 bytes.
    assert!(bytes < 4 * 512 * 2 * 14336 * 2, "{bytes}");
}

#[test]
fn fields_that_do_not_apply_are_refused() {
    let decoder = || ModelRun { prompt_tokens: Some(8), ..with(SMALL_LLAMA) };
    let cnn = || ModelRun::preset("resnet-18");
    let requests = || Some(Requests::parse("10+2").unwrap());
    let training = || ModelRun { task: Task::Training, ..decoder() };
    for (run, field) in [
        (ModelRun { decode_tokens: Some(5), ..training() }, "decode_tokens"),
        (ModelRun { kv_dtype: Some(Dtype::Int8), ..training() }, "kv_dtype"),
        (ModelRun { kv_dtype: Some(Dtype::Int8), ..cnn() }, "kv_dtype"),
        (ModelRun { optimizer: Optimizer::Sgd, ..decoder() }, "optimizer"),
        (ModelRun { routing: Routing { zipf: 2.0, ..Routing::default() }, ..decoder() }, "routing"),
        (ModelRun { convolution: Convolution::Im2col, ..decoder() }, "convolution"),
        (ModelRun { requests: requests(), ..decoder() }, "prompt_tokens"),
        (ModelRun { requests: requests(), ..cnn() }, "requests"),
    ] {
        let error = run.trace(0, u64::MAX).unwrap_err();
        assert_eq!(error.field_name(), Some(field), "{error}");
        assert!(error.to_string().to_lowercase().contains("leave it out"), "{error}");
    }
}

/// The token of the class is learned; only patches are multiplied.
#[test]
fn the_class_token_is_no_patch() {
    let config = r#"{"model_type":"vit","hidden_size":96,"intermediate_size":192,"num_hidden_layers":1,
        "num_attention_heads":3,"image_size":32,"patch_size":8,"num_labels":10}"#;
    let trace = with(config).trace(0, u64::MAX).unwrap();
    let patches = 2.0 * 16.0 * (3.0 * 64.0) * 96.0;
    let layer = 17.0 * (2.0 * (4.0 * 96.0 * 96.0 + 2.0 * 96.0 * 192.0) + 4.0 * 17.0 * 96.0);
    assert_eq!(flops(&trace).round(), patches + layer + 2.0 * 96.0 * 10.0);
    let facts = with(config).facts().unwrap();
    let learned = ModelRun { task: Task::Training, ..with(config) }.trace(0, u64::MAX).unwrap();
    assert_eq!(bytes_by_kind(&learned)[&Kind::Optimizer], 2 * 4 * facts.parameters);
}

#[test]
fn requests_at_different_positions_read_their_rows() {
    let config = r#"{"model_type":"gpt2","n_embd":64,"n_layer":1,"n_head":2,"n_positions":64,"vocab_size":100}"#;
    let run = ModelRun { batch_size: 2, requests: Some(Requests::parse("10+1, 20+1").unwrap()), ..with(config) };
    let trace = run.trace(0, u64::MAX).unwrap();
    let rows: Vec<u64> =
        trace.tensors().iter().filter(|t| t.name.contains("embed_positions.rows")).map(|t| t.bytes).collect();
    assert_eq!(rows, [20 * 256, 2 * 256]);
}

#[test]
fn every_model_runs_under_every_dataflow() {
    for name in ["resnet-18", "alexnet", "bert-base", "llama-3.2-1b", "switch-base-8", "dlrm-top-mlp"] {
        for dataflow in Dataflow::ALL {
            let convolves = matches!(name, "resnet-18" | "alexnet");
            let im2col = if convolves { Convolution::Im2col } else { Convolution::Direct };
            for (task, convolution) in [(Task::Inference, im2col), (Task::Training, Convolution::Direct)] {
                let run = |dataflow| ModelRun {
                    task,
                    convolution,
                    dataflow,
                    tile_bytes: Some(16 * MIB),
                    ..ModelRun::preset(name)
                };
                let (plain, tiled) =
                    (run(None).trace(0, u64::MAX).unwrap(), run(Some(dataflow)).trace(0, u64::MAX).unwrap());
                let ratio = flops(&tiled) / flops(&plain);
                assert!((ratio - 1.0).abs() < 1e-3, "{name} {dataflow:?} {task:?}: {ratio}");
            }
        }
    }
}

/// Batch size and sequence length matter: the work grows with both, the weights with neither.
#[test]
fn batch_and_length_matter() {
    let run = |batch_size, prompt| ModelRun {
        batch_size,
        prompt_tokens: Some(prompt),
        decode_tokens: Some(0),
        ..ModelRun::preset("bert-base")
    };
    let facts = |run: ModelRun| {
        let trace = run.trace(0, u64::MAX).unwrap();
        let sums = bytes_by_kind(&trace);
        (flops(&trace), sums[&Kind::Activations])
    };
    let (one, two, long) = (facts(run(1, 128)), facts(run(2, 128)), facts(run(1, 256)));
    assert!((two.0 / one.0 - 2.0).abs() < 0.01 && long.0 > 2.0 * one.0);
    assert!(two.1 > one.1 && long.1 > one.1);
}

/// Backward passes need what the forward pass made: inference reuses its buffers, and training keeps them.
#[test]
fn training_keeps_activations() {
    let activations = |task| {
        let run = ModelRun { task, decode_tokens: None, ..ModelRun::preset("resnet-50") };
        bytes_by_kind(&run.trace(0, u64::MAX).unwrap())[&Kind::Activations]
    };
    let (inference, training) = (activations(Task::Inference), activations(Task::Training));
    assert!(training > 5 * inference, "{inference} {training}");
}

#[test]
fn fields_out_of_range_are_refused() {
    let gpt2 = |prompt, decode| ModelRun {
        prompt_tokens: Some(prompt),
        decode_tokens: Some(decode),
        ..ModelRun::preset("gpt2-large")
    };
    assert!(gpt2(1000, 24).trace(0, u64::MAX).is_ok());
    let field = |run: ModelRun| run.trace(0, u64::MAX).unwrap_err().field_name().unwrap_or("none").to_owned();
    assert_eq!(field(gpt2(1000, 25)), "decode_tokens");
    assert_eq!(field(gpt2(1025, 0)), "prompt_tokens");
    assert_eq!(field(ModelRun { decode_tokens: Some(1), ..ModelRun::preset("bert-base") }), "decode_tokens");
    assert_eq!(field(ModelRun { prompt_tokens: Some(1), ..ModelRun::preset("resnet-50") }), "prompt_tokens");
    assert_eq!(field(ModelRun { prompt_tokens: Some(1), ..ModelRun::preset("vit-b-16") }), "prompt_tokens");
    assert_eq!(field(ModelRun { steps: 2, ..ModelRun::default() }), "steps");
    let routing = Routing { zipf: f64::NAN, ..Routing::default() };
    assert_eq!(field(ModelRun { routing, ..ModelRun::default() }), "zipf");
    let many = ModelRun { tile_bytes: Some(1024), ..ModelRun::default() };
    assert!(matches!(many.trace(0, u64::MAX).unwrap_err(), Error::TooLarge { .. }));
    let small =
        ModelRun { tile_bytes: Some(1024), batch_size: 4096, prompt_tokens: Some(30_000), ..ModelRun::default() };
    assert!(matches!(small.trace(0, u64::MAX).unwrap_err(), Error::TooLarge { .. }));
    let huge = ModelRun { batch_size: 4096, prompt_tokens: Some(32_000), ..ModelRun::preset("mixtral-8x7b") };
    assert!(matches!(huge.trace(0, u64::MAX).unwrap_err(), Error::TooLarge { .. }));
}
