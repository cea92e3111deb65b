//! Workloads of random shapes to learn from: no published model is among them.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use accel_core::error::Error;
use accel_core::recipe::Workload;
use accel_core::recipe::tenants::{Tenant, Tenants};
use accel_core::rng::Rng;
use accel_core::trace::Trace;
use accel_core::workload::ModelRef;
use accel_core::workload::config::ModelConfig;
use accel_core::workload::model_run::{ModelRun, Task};
use accel_core::workload::presets::PRESETS;
use accel_core::workload::requests::Requests;
use accel_core::workload::routing::Routing;
use accel_core::workload::synthetic::{ModelType, Synthetic};
use accel_core::workload::train::Optimizer;

use crate::points::points;
use crate::storage::Storage;

/// Traces that are longer are left out.
const LONGEST: usize = 250_000;
/// Kinds of workloads, as often as they are drawn.
const KINDS: [Kind; 26] = [
    Kind::Decode,
    Kind::Decode,
    Kind::Decode,
    Kind::Requests,
    Kind::Requests,
    Kind::Experts,
    Kind::Experts,
    Kind::Experts,
    Kind::Experts,
    Kind::Encoder,
    Kind::Encoder,
    Kind::Pair,
    Kind::Pair,
    Kind::Images,
    Kind::Images,
    Kind::Images,
    Kind::Training,
    Kind::Training,
    Kind::Training,
    Kind::Training,
    Kind::Training,
    Kind::Tenants,
    Kind::Tenants,
    Kind::Synthetic,
    Kind::Storage,
    Kind::Storage,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Decode,
    Requests,
    Experts,
    Encoder,
    Pair,
    Images,
    Training,
    Tenants,
    Synthetic,
    Storage,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Requests => "requests",
            Self::Experts => "moe",
            Self::Encoder => "encoder",
            Self::Pair => "encoder-decoder",
            Self::Images => "cnn",
            Self::Training => "training",
            Self::Tenants => "tenants",
            Self::Synthetic => "synthetic",
            Self::Storage => "storage",
        }
    }
}

/// The family of workload number `number`, whatever the seed.
pub fn family(number: u64) -> &'static str {
    KINDS[(number % KINDS.len() as u64) as usize].name()
}

/// All families.
pub fn families() -> BTreeSet<&'static str> {
    KINDS.into_iter().map(Kind::name).collect()
}

/// The trace of workload number `number` of `seed`; none where it would be too long or its shape makes no model.
pub fn trace(seed: u64, number: u64) -> Option<Trace> {
    let mut rng = Rng::new(seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15), "workload");
    let trace = draw(&mut rng, number).ok()?;
    (2_000..=LONGEST).contains(&trace.accesses().len()).then_some(trace)
}

fn draw(rng: &mut Rng, number: u64) -> Result<Trace, Error> {
    let kind = KINDS[(number % KINDS.len() as u64) as usize];
    let seed = u64::from(rng.below(u32::MAX));
    match kind {
        Kind::Storage => {
            let objects = between(rng, 500, 20_000) as u32;
            let zipf = 0.6 + 0.6 * rng.unit();
            let (scans, drift) = (rng.pick(&[0.0, 0.1, 0.3]), rng.pick(&[0.0, 0.2, 1.0]));
            Storage { objects, requests: between(rng, 20_000, 100_000) as u32, zipf, scans, drift }.trace(seed)
        }
        Kind::Synthetic => {
            let model_type = rng.pick(&[ModelType::Transformer, ModelType::Cnn, ModelType::Mlp, ModelType::MoE]);
            let num_layers = 400 + rng.below(600);
            let reuse_probability = 0.2 + 0.7 * rng.unit();
            Synthetic { model_type, num_layers, reuse_probability, ..Synthetic::default() }.trace(seed)
        }
        Kind::Tenants => {
            let kinds = [Kind::Decode, Kind::Encoder, Kind::Images, Kind::Training];
            let tenants = (0..2 + rng.below(2)).map(|i| {
                let kind = rng.pick(&kinds);
                let workload = Workload::Model(model(rng, kind)?);
                Ok(Tenant { name: i.to_string(), workload, slice: between(rng, 10, 400) })
            });
            let tenants = tenants.collect::<Result<_, Error>>()?;
            Workload::Tenants(Tenants { tenants }).trace(seed, CAPACITY_BYTES)
        }
        kind => Workload::Model(model(rng, kind)?).trace(seed, CAPACITY_BYTES),
    }
}

/// Published models, and whatever is measured: nothing of their shape is learned from.
static REFUSED: LazyLock<Vec<ModelConfig>> = LazyLock::new(|| {
    let published = PRESETS.iter().filter_map(|preset| preset.config().ok());
    published.chain(points().filter_map(|point| point.row.models().ok()).flatten()).collect()
});

/// Large enough for every tile; nothing else looks at it.
const CAPACITY_BYTES: u64 = 1 << 40;

/// A whole number from `least` to `most`, small ones as often as large ones.
fn between(rng: &mut Rng, least: u64, most: u64) -> u64 {
    let doublings = (most / least).max(1).ilog2() + 1;
    let from = least << rng.below(doublings);
    (from + u64::from(rng.below(from.min(u64::from(u32::MAX)) as u32))).min(most)
}

fn model(rng: &mut Rng, kind: Kind) -> Result<ModelRun, Error> {
    let shape = match kind {
        Kind::Training => {
            rng.pick(&[Kind::Decode, Kind::Encoder, Kind::Images, Kind::Images, Kind::Experts, Kind::Pair])
        }
        Kind::Requests => Kind::Decode,
        kind => kind,
    };
    let json = match shape {
        Kind::Images => images(rng),
        Kind::Encoder => encoder(rng),
        Kind::Pair => pair(rng),
        Kind::Experts => experts(rng),
        _ => decoder(rng),
    };
    let config = ModelConfig::from_json("random", json.as_bytes())?;
    if REFUSED.contains(&config) {
        return Err(Error::Internal("the shape of a published model, or of one that is measured".into()));
    }
    let tile_bytes = Some(between(rng, 1 << 16, 1 << 21) / 4096 * 4096);
    let mut run = ModelRun { model: ModelRef::Config(Box::new(config)), tile_bytes, ..ModelRun::default() };
    run.batch_size = between(rng, 1, 16);
    let tokens = between(rng, 16, 512);
    if run.model.config()?.transformer().is_some_and(|model| model.experts.is_some()) {
        let (zipf, stickiness) = (rng.unit(), 0.4 * rng.unit());
        run.routing = Routing { zipf, stickiness, log: None };
    }
    let takes_tokens = shape != Kind::Images && !json.contains("\"vit\"");
    match (kind, shape) {
        (Kind::Training, _) => {
            run.task = Task::Training;
            run.steps = 2 + u64::from(rng.below(4));
            run.optimizer = rng.pick(&[Optimizer::Sgd, Optimizer::Momentum, Optimizer::Adam]);
            run.prompt_tokens = takes_tokens.then_some(tokens);
        }
        (Kind::Requests, _) => {
            let parts = 2 + rng.below(4);
            let mut step = 0;
            let text = (0..parts).map(|_| {
                step += rng.below(16);
                let (count, prompt, decode) = (1 + rng.below(4), between(rng, 16, 512), between(rng, 8, 48));
                format!("{count}x{prompt}+{decode}@{step}")
            });
            run.requests = Some(Requests::parse(&text.collect::<Vec<_>>().join(","))?);
        }
        (_, Kind::Decode | Kind::Experts | Kind::Pair) => {
            run.prompt_tokens = Some(tokens);
            run.decode_tokens = Some(between(rng, 8, 64));
        }
        (_, Kind::Encoder) => {
            run.prompt_tokens = takes_tokens.then_some(tokens);
            run.steps = between(rng, 3, 16);
        }
        _ => run.steps = between(rng, 3, 16),
    }
    Ok(run)
}

/// GPT-2-like, or Llama-like with grouped heads, tied embeddings and biases.
fn decoder(rng: &mut Rng) -> String {
    let heads = 4 + u64::from(rng.below(20));
    let (width, layers) = (64 * heads, 3 + rng.below(22));
    let vocabulary = between(rng, 2_000, 60_000);
    if rng.below(3) == 0 {
        return format!(
            r#"{{"model_type":"gpt2","n_embd":{width},"n_layer":{layers},"n_head":{heads},"n_positions":2048,"vocab_size":{vocabulary}}}"#
        );
    }
    let groups = rng.pick(&[1, 2, 4, heads]);
    let groups = if heads.is_multiple_of(groups) { groups } else { 1 };
    let inner = width * (5 + u64::from(rng.below(8))) / 2;
    let family = rng.pick(&["llama", "mistral", "qwen2"]);
    let tied = rng.below(2) == 0;
    format!(
        r#"{{"model_type":"{family}","hidden_size":{width},"intermediate_size":{inner},"num_hidden_layers":{layers},
        "num_attention_heads":{heads},"num_key_value_heads":{groups},"vocab_size":{vocabulary},
        "max_position_embeddings":4096,"tie_word_embeddings":{tied},"torch_dtype":"bfloat16"}}"#
    )
}

/// A mixture of 8 to 64 experts.
fn experts(rng: &mut Rng) -> String {
    let heads = 4 + u64::from(rng.below(12));
    let (width, layers) = (64 * heads, 3 + rng.below(14));
    let experts = rng.pick(&[8u64, 16, 32, 64]);
    let per_token = rng.pick(&[1u64, 2, 4, 8]).min(experts / 2);
    let (inner, vocabulary) = (width * (1 + u64::from(rng.below(5))) / 2, between(rng, 2_000, 40_000));
    if rng.below(2) == 0 {
        return format!(
            r#"{{"model_type":"mixtral","hidden_size":{width},"intermediate_size":{inner},"num_hidden_layers":{layers},
            "num_attention_heads":{heads},"num_key_value_heads":{heads},"vocab_size":{vocabulary},
            "max_position_embeddings":4096,"num_local_experts":{experts},"num_experts_per_tok":{per_token},"torch_dtype":"bfloat16"}}"#
        );
    }
    format!(
        r#"{{"model_type":"qwen3_moe","hidden_size":{width},"intermediate_size":{inner},"num_hidden_layers":{layers},
        "num_attention_heads":{heads},"num_key_value_heads":{heads},"head_dim":64,"vocab_size":{vocabulary},
        "max_position_embeddings":4096,"num_experts":{experts},"num_experts_per_tok":{per_token},
        "moe_intermediate_size":{inner},"torch_dtype":"bfloat16"}}"#
    )
}

/// An encoder and a decoder, with experts or without.
fn pair(rng: &mut Rng) -> String {
    let heads = 3 + u64::from(rng.below(10));
    let (width, layers, vocabulary) = (64 * heads, 2 * (1 + rng.below(8)), between(rng, 2_000, 40_000));
    let shape = format!(
        r#""d_model":{width},"d_ff":{},"d_kv":64,"num_heads":{heads},"num_layers":{layers},"vocab_size":{vocabulary}"#,
        width * (2 + u64::from(rng.below(4)))
    );
    if rng.below(3) == 0 {
        return format!(r#"{{"model_type":"t5",{shape}}}"#);
    }
    let (experts, sparse) = (rng.pick(&[4, 8, 16, 32]), layers / 2);
    format!(
        r#"{{"model_type":"switch_transformers",{shape},"num_decoder_layers":{layers},"num_experts":{experts},
        "num_sparse_encoder_layers":{sparse},"num_sparse_decoder_layers":{sparse}}}"#
    )
}

/// Of texts or of images.
fn encoder(rng: &mut Rng) -> String {
    let heads = 3 + u64::from(rng.below(14));
    let (width, layers, inner) = (64 * heads, 3 + rng.below(14), 64 * heads * (2 + u64::from(rng.below(4))));
    if rng.below(3) == 0 {
        return format!(
            r#"{{"model_type":"vit","hidden_size":{width},"intermediate_size":{inner},"num_hidden_layers":{layers},
            "num_attention_heads":{heads},"image_size":{},"patch_size":16,"num_channels":3,"num_labels":{}}}"#,
            16 * (4 + rng.below(11)),
            10 * (1 + rng.below(99))
        );
    }
    format!(
        r#"{{"model_type":"bert","hidden_size":{width},"intermediate_size":{inner},"num_hidden_layers":{layers},
        "num_attention_heads":{heads},"vocab_size":{},"max_position_embeddings":1024,"type_vocab_size":2}}"#,
        between(rng, 1_000, 40_000)
    )
}

/// A residual network, a plain convolutional one, or linear layers.
fn images(rng: &mut Rng) -> String {
    match rng.below(4) {
        0 => {
            let depth = 3 + rng.below(6);
            let widths: Vec<String> = (0..=depth).map(|_| (64 * between(rng, 2, 32)).to_string()).collect();
            format!(r#"{{"model_type":"mlp","layers":[{}]}}"#, widths.join(","))
        }
        1 => {
            let mut layers = Vec::new();
            let mut filters = 16 * (2 + u64::from(rng.below(4)));
            for _ in 0..3 + rng.below(2) {
                for _ in 0..1 + rng.below(3) {
                    layers.push(format!(r#"{{"conv":{{"filters":{filters},"size":3,"padding":1}}}}"#));
                }
                layers.push(r#"{"pool":{"size":2,"stride":2}}"#.to_owned());
                filters *= 2;
            }
            for _ in 0..1 + rng.below(2) {
                layers.push(format!(r#"{{"linear":{}}}"#, 128 * between(rng, 2, 16)));
            }
            let side = rng.pick(&[64, 96, 128, 160]);
            format!(r#"{{"model_type":"cnn","image_size":{side},"num_channels":3,"layers":[{}]}}"#, layers.join(","))
        }
        _ => {
            let width = 16 * (2 + u64::from(rng.below(5)));
            let depths: Vec<String> = (0..4).map(|_| (1 + rng.below(5)).to_string()).collect();
            let (kind, factor) = rng.pick(&[("basic", 1), ("bottleneck", 4)]);
            let widths: Vec<String> = (0..4).map(|i| ((width << i) * factor).to_string()).collect();
            format!(
                r#"{{"model_type":"resnet","layer_type":"{kind}","depths":[{}],"hidden_sizes":[{}],
                "embedding_size":{width},"num_labels":{}}}"#,
                depths.join(","),
                widths.join(","),
                100 * (1 + rng.below(9))
            )
        }
    }
}
