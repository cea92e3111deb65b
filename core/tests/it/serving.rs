//! Fused operators and ways of serving, against sums made by hand.

use accel_core::trace::{Kind, Trace};
use accel_core::workload::ModelRef;
use accel_core::workload::config::ModelConfig;
use accel_core::workload::model_run::{ModelRun, Task};
use accel_core::workload::requests::Requests;

// Sizes of the model below, and bytes of an element.
const H: u64 = 64;
const INNER: u64 = 160;
const HEADS: u64 = 4;
const KV: u64 = 32;
const LAYERS: u64 = 2;
const B: u64 = 2;

fn run(prompt: u64, decode: u64) -> ModelRun {
    let config = format!(
        r#"{{"model_type":"llama","hidden_size":{H},"intermediate_size":{INNER},"num_hidden_layers":{LAYERS},
        "num_attention_heads":{HEADS},"num_key_value_heads":2,"vocab_size":100,"max_position_embeddings":256,
        "torch_dtype":"float16"}}"#
    );
    ModelRun {
        model: ModelRef::Config(Box::new(ModelConfig::from_json("c", config.as_bytes()).unwrap())),
        prompt_tokens: Some(prompt),
        decode_tokens: Some(decode),
        ..ModelRun::default()
    }
}

/// Bytes of all accesses.
fn moved(trace: &Trace) -> u64 {
    trace.accesses().iter().map(|tensor| trace.tensors()[*tensor as usize].bytes).sum()
}

fn flops(trace: &Trace) -> f64 {
    (0..trace.accesses().len()).map(|now| trace.flops(now)).sum()
}

#[test]
fn fused_operators_move_less_by_what_is_between_them() {
    let rows = 8;
    let plain = run(rows, 0).trace(0, u64::MAX).unwrap();
    let with = |fusion: &str| ModelRun { fusion: fusion.parse().unwrap(), ..run(rows, 0) };
    let of = |fusion: &str| with(fusion).trace(0, u64::MAX).unwrap();
    assert_eq!(moved(&of("attention")), moved(&plain));
    // What comes in is read once in place of three times, and of twice.
    let saved = |fusion: &str| moved(&plain) as i64 - moved(&of(fusion)) as i64;
    assert_eq!(saved("attention,qkv"), (LAYERS * 2 * H * rows * B) as i64);
    // Of two projections in one, the activation makes a result of another shape, which it cannot write in place.
    assert_eq!(saved("attention,gate-up"), LAYERS as i64 * (H as i64 - INNER as i64) * (rows * B) as i64);
    // A sum is not read again by the norm behind it; the last one meets its norm behind a choice of rows.
    assert_eq!(saved("attention,norm"), ((2 * LAYERS - 1) * H * rows * B) as i64);
    // What comes in is read once; two projections are neither written nor made one in place (an access each), and what comes
    // of them is not read.
    assert_eq!(saved("attention,mlp"), (LAYERS * (H + 2 * INNER + 2 * INNER + INNER) * rows * B) as i64);
    // Scores are written, made a distribution in place, and read; keys and values are read for each of both.
    let scores = HEADS * rows * rows;
    assert_eq!(saved("none"), -((LAYERS * (3 * scores + 2 * KV * rows) * B) as i64));
    for fusion in ["none", "attention,qkv,gate-up,norm,mlp"] {
        let trace = of(fusion);
        assert!((flops(&trace) / flops(&plain) - 1.0).abs() < 1e-6, "{fusion}");
        let weights = |trace: &Trace| -> u64 {
            trace.tensors().iter().filter(|t| t.kind == Kind::Weights).map(|t| t.bytes).sum()
        };
        assert_eq!(weights(&trace), weights(&plain), "{fusion}");
    }
    // In training the distribution alone is kept, in each layer, with its gradient.
    let trained = |fusion: &str| ModelRun { task: Task::Training, decode_tokens: None, ..with(fusion) };
    let trace = trained("none").trace(0, u64::MAX).unwrap();
    let scores = trace.tensors().iter().filter(|t| t.name.starts_with("scores") && !t.name.contains("grad"));
    assert_eq!(scores.map(|t| t.bytes).collect::<Vec<_>>(), [HEADS * rows * rows * B; 2]);
    assert_eq!(trained("attention,mlp").trace(0, u64::MAX).unwrap_err().field_name(), Some("fusion"));
    let resnet = ModelRun { fusion: "none".parse().unwrap(), ..ModelRun::preset("resnet-50") };
    assert_eq!(resnet.facts().unwrap_err().field_name(), Some("fusion"));
}

/// Tokens of each pass: the rows that it looks up.
fn passes(trace: &Trace, prefix: &str, hidden: u64, bytes: u64) -> Vec<u64> {
    let start = format!("{prefix}embed_tokens.rows[");
    let rows = trace.tensors().iter().filter(|tensor| tensor.name.starts_with(&start));
    // A tensor of several tiles has a name for each.
    let mut all: Vec<(u64, u64)> = Vec::new();
    for tensor in rows {
        let number = tensor.name[start.len()..].split(']').next().unwrap().parse().unwrap();
        match all.last_mut() {
            Some((last, sum)) if *last == number => *sum += tensor.bytes,
            _ => all.push((number, tensor.bytes)),
        }
    }
    all.into_iter().map(|(_, sum)| sum / (hidden * bytes)).collect()
}

#[test]
fn chunks_fill_each_step() {
    let requests = Some(Requests::parse("10+3, 6+2").unwrap());
    let plain = ModelRun { requests, batch_size: 2, prompt_tokens: None, decode_tokens: None, ..run(1, 1) };
    let chunked = ModelRun { serving: "chunk=4".parse().unwrap(), ..plain.clone() };
    let trace = chunked.trace(0, u64::MAX).unwrap();
    // 4 and 4 of the first prompt, its last 2 with 2 of the second; then a token of the first beside 3 and 1 of the second;
    // and each decodes on.
    assert_eq!(passes(&trace, "", H, B), [4, 4, 4, 4, 2, 2, 1]);
    let whole = plain.trace(0, u64::MAX).unwrap();
    let kv =
        |trace: &Trace| -> u64 { trace.tensors().iter().filter(|t| t.kind == Kind::KvCache).map(|t| t.bytes).sum() };
    assert_eq!(kv(&trace), kv(&whole));
    assert_eq!(kv(&trace), (13 + 8) * LAYERS * 2 * KV * B);
    let decoding = trace.decoding().unwrap();
    assert_eq!((decoding.steps, decoding.tokens), (4, 5));
    // A chunk that holds everything is a step for all prompts, as without chunks.
    let large = ModelRun { serving: "chunk=1000".parse().unwrap(), ..plain.clone() };
    assert_eq!(large.trace(0, u64::MAX).unwrap().accesses(), whole.accesses());
}

#[test]
fn blocks_of_finished_requests_are_used_again() {
    // 64 elements of keys and values of 2 bytes: eight positions in a block of 1 KiB.
    let plain = ModelRun {
        requests: Some(Requests::parse("4x8+8").unwrap()),
        prompt_tokens: None,
        decode_tokens: None,
        tile_bytes: Some(1024),
        ..run(1, 1)
    };
    let kv = |run: &ModelRun| -> u64 {
        let trace = run.trace(0, u64::MAX).unwrap();
        trace.tensors().iter().filter(|t| t.kind == Kind::KvCache).map(|t| t.bytes).sum()
    };
    let reused = |batch_size| ModelRun { serving: "reuse=blocks".parse().unwrap(), batch_size, ..plain.clone() };
    assert_eq!(kv(&plain), 4 * LAYERS * 2 * 1024);
    assert_eq!(kv(&reused(1)), LAYERS * 2 * 1024);
    assert_eq!(kv(&reused(2)), 2 * LAYERS * 2 * 1024);
    assert_eq!(moved(&reused(1).trace(0, u64::MAX).unwrap()), moved(&plain.trace(0, u64::MAX).unwrap()));
}

#[test]
fn guesses_are_checked_in_one_pass() {
    let run = |serving: &str| ModelRun {
        serving: serving.parse().unwrap(),
        prompt_tokens: Some(16),
        decode_tokens: Some(10),
        tile_bytes: Some(64 << 20),
        ..ModelRun::preset("llama-3-8b")
    };
    // All are accepted: five tokens of each pass over five positions, and what the small model has not seen it reads first.
    let trace = run("draft=llama-3.2-1b,guess=4,accept=1").trace(0, u64::MAX).unwrap();
    assert_eq!(passes(&trace, "", 4096, 2), [16, 5, 5]);
    assert_eq!(passes(&trace, "draft.", 2048, 2), [16, 1, 1, 1, 1, 2, 1, 1, 1]);
    let decoding = trace.decoding().unwrap();
    assert_eq!((decoding.steps, decoding.tokens), (2, 10));
    // None is accepted: a token of each pass, which checks no more guesses than tokens are wanted.
    let trace = run("draft=llama-3.2-1b,guess=2,accept=0").trace(0, u64::MAX).unwrap();
    assert_eq!(passes(&trace, "", 4096, 2), [16, 3, 3, 3, 3, 3, 3, 3, 3, 2, 1]);
    // Of guesses that are accepted in half of all cases a pass of three positions gives 1 + 1/2 + 1/4 tokens.
    let trace = run("draft=llama-3.2-1b,guess=2,accept=0.5").trace(0, u64::MAX).unwrap();
    // 1, 2 (of 2.5), 2 (of 2.25), 2 (2.0), 1 (1.75); the last two tokens are checked with one guess: 1.5 + 0.75.
    assert_eq!(passes(&trace, "", 4096, 2), [16, 3, 3, 3, 3, 3, 2]);
    let facts = run("draft=llama-3.2-1b").facts().unwrap();
    assert_eq!(facts.weight_bytes, 2 * 8_030_261_248);
    assert!(facts.notes[0].ends_with("its weights take 2471628800 bytes"), "{:?}", facts.notes);
    // Keys and values of both models.
    let kv: u64 = trace.tensors().iter().filter(|t| t.kind == Kind::KvCache).map(|t| t.bytes).sum();
    let small = (16 + 10) * 16 * 2 * 8 * 64 * 2;
    assert!(kv > 26 * 32 * 2 * 1024 * 2 && kv <= 26 * 32 * 2 * 1024 * 2 + small);
    for (serving, model, wanted) in [
        ("draft=mistral-7b", "llama-3-8b", "another vocabulary"),
        ("draft=llama-3.2-1b", "bert-base", "only a decoder in inference"),
        ("chunk=8", "t5-base", "an encoder reads every prompt whole"),
    ] {
        let run = ModelRun { serving: serving.parse().unwrap(), ..ModelRun::preset(model) };
        let error = run.facts().unwrap_err();
        assert!(error.field_name() == Some("serving") && error.to_string().contains(wanted), "{error}");
    }
}
