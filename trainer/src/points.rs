//! Where policies are measured: named models, published shapes, and traces of PyTorch, none of which is trained on, at
//! capacities where policies differ; whatever fits comes in, or may pass by.
//!
//! There are two halves, split by model. [`SEEN`] was looked at while the rule, the contexts and the training were chosen.
//! [`NEVER_SEEN`] was written down before anything of it was measured, and has not been changed since.

use accel_core::error::Error;
use accel_core::import::{self, input::Input};
use accel_core::policy::Admission;
use accel_core::progress::Unattended;
use accel_core::recipe::{FileSource, Workload};
use accel_core::trace::{Trace, TraceBuilder};
use accel_core::units::{MB, format_bytes};
use accel_core::workload::config::ModelConfig;
use anyhow::Context as _;

use crate::storage::Storage;

/// A workload, and the memories in which it is run.
#[derive(Debug)]
pub struct Row {
    /// The family, for means.
    pub family: &'static str,
    /// A name.
    pub name: &'static str,
    /// Where its accesses come from.
    pub source: Source,
    /// The memories.
    pub at: &'static [Place],
}

/// Where the accesses come from.
#[derive(Debug)]
pub enum Source {
    /// A workload as in a recipe.
    Recipe(&'static str),
    /// Requests to objects.
    Storage(Storage),
    /// One step that PyTorch has recorded, a file of `tests/fixtures/et`, so many times: a loop that is running already
    /// finds its memory where the step before it left it.
    Recorded(&'static [u8], u32),
}

/// A memory: its capacity in bytes, and whether whatever fits comes in or may pass by.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Capacity in bytes.
    pub capacity_bytes: u64,
    /// Which missed tensors come in.
    pub admission: Admission,
}

const KB: u64 = 1_000;

const fn always(capacity_bytes: u64) -> Place {
    Place { capacity_bytes, admission: Admission::Always }
}

const fn bypass(capacity_bytes: u64) -> Place {
    Place { capacity_bytes, admission: Admission::Bypass }
}

/// A workload in one memory.
#[derive(Debug, Clone, Copy)]
pub struct Point {
    /// The workload.
    pub row: &'static Row,
    /// Whether it is one of [`SEEN`].
    pub seen: bool,
    /// The memory.
    pub place: Place,
}

/// All points of both halves.
pub fn points() -> impl Iterator<Item = Point> {
    [(SEEN, true), (NEVER_SEEN, false)].into_iter().flat_map(|(rows, seen)| {
        rows.iter().flat_map(move |row| row.at.iter().map(move |place| Point { row, seen, place: *place }))
    })
}

/// The seed of every trace that is measured; training has others.
pub const SEED: u64 = 42;

impl Row {
    /// The workload as in a recipe; one that no recipe can tell is a file.
    pub fn workload(&self) -> anyhow::Result<Workload> {
        match &self.source {
            Source::Recipe(json) => serde_json::from_str(json).with_context(|| self.name.to_owned()),
            Source::Storage(_) | Source::Recorded(..) => Ok(Workload::File(FileSource::named(self.name))),
        }
    }

    /// The models that work in it.
    pub fn models(&self) -> anyhow::Result<Vec<ModelConfig>> {
        let mut found = Vec::new();
        let mut left = vec![self.workload()?];
        while let Some(workload) = left.pop() {
            match workload {
                Workload::Model(run) => found.push(run.model.config()?),
                Workload::Tenants(tenants) => left.extend(tenants.tenants.into_iter().map(|tenant| tenant.workload)),
                Workload::Synthetic(_) | Workload::File(_) => {}
            }
        }
        Ok(found)
    }

    /// The trace for a memory of `capacity_bytes`.
    pub fn trace(&self, capacity_bytes: u64) -> anyhow::Result<Trace> {
        let trace = match &self.source {
            Source::Recipe(_) => self.workload()?.trace(SEED, capacity_bytes),
            Source::Storage(storage) => storage.trace(SEED),
            Source::Recorded(file, steps) => recorded(self.name, file, *steps),
        };
        trace.with_context(|| self.name.to_owned())
    }
}

impl Point {
    /// Its name.
    pub fn name(&self) -> String {
        let Place { capacity_bytes, admission } = self.place;
        let passing = if admission == Admission::Bypass { ", bypass" } else { "" };
        format!("{} {} {}{passing}", self.row.family, self.row.name, format_bytes(capacity_bytes))
    }
}

/// The recorded step `steps` times.
fn recorded(name: &str, file: &[u8], steps: u32) -> Result<Trace, Error> {
    let input = Input::new(name, file);
    let step = import::read(import::detect(&input)?, &input, None, &mut Unattended)?;
    let mut builder = TraceBuilder::new(step.model_type());
    for tensor in step.tensors() {
        builder.tensor(tensor.clone())?;
    }
    for _ in 0..steps {
        for (now, (tensor, bytes)) in step.sized().enumerate() {
            builder.resize(tensor, bytes)?;
            builder.access_with(tensor, step.op(now), step.mode(now), step.flops(now))?;
        }
    }
    builder.finish(name)
}

const fn row(family: &'static str, name: &'static str, json: &'static str, at: &'static [Place]) -> Row {
    Row { family, name, source: Source::Recipe(json), at }
}

const fn storage(name: &'static str, storage: Storage, at: &'static [Place]) -> Row {
    Row { family: "storage", name, source: Source::Storage(storage), at }
}

const fn recorded_row(name: &'static str, file: &'static [u8], steps: u32, at: &'static [Place]) -> Row {
    Row { family: "pytorch", name, source: Source::Recorded(file, steps), at }
}

/// Looked at while rule, contexts and training were chosen: a validation set.
pub const SEEN: &[Row] = &[
    row(
        "decode",
        "gpt2-large",
        r#"{"model":{"model":"gpt2-large","decode_tokens":32,"tile_bytes":1048576}}"#,
        &[always(500 * MB), always(1500 * MB)],
    ),
    row(
        "decode",
        "llama-3.2-1b",
        r#"{"model":{"model":"llama-3.2-1b","decode_tokens":32,"tile_bytes":4194304}}"#,
        &[always(1000 * MB), always(2000 * MB)],
    ),
    row(
        "decode",
        "mistral-7b int4",
        r#"{"model":{"model":"mistral-7b","weight_dtype":"int4","decode_tokens":32,"batch_size":4,"tile_bytes":2097152}}"#,
        &[always(2000 * MB)],
    ),
    row(
        "decode",
        "gemma-2b",
        r#"{"model":{"model":"gemma-2b","decode_tokens":64,"prompt_tokens":512,"tile_bytes":4194304}}"#,
        &[always(3000 * MB)],
    ),
    row(
        "encoder",
        "bert-base",
        r#"{"model":{"model":"bert-base","steps":8,"batch_size":4,"tile_bytes":262144}}"#,
        &[always(100 * MB), always(250 * MB)],
    ),
    row(
        "encoder",
        "vit-b-16",
        r#"{"model":{"model":"vit-b-16","steps":8,"batch_size":8,"tile_bytes":524288}}"#,
        &[always(100 * MB)],
    ),
    row(
        "cnn",
        "resnet-50",
        r#"{"model":{"model":"resnet-50","steps":8,"batch_size":4,"tile_bytes":262144}}"#,
        &[always(40 * MB), always(80 * MB)],
    ),
    row(
        "cnn",
        "vgg-16",
        r#"{"model":{"model":"vgg-16","steps":4,"batch_size":4,"tile_bytes":1048576}}"#,
        &[always(100 * MB), always(300 * MB)],
    ),
    row(
        "cnn",
        "alexnet",
        r#"{"model":{"model":"alexnet","steps":16,"batch_size":16,"tile_bytes":524288}}"#,
        &[always(100 * MB)],
    ),
    row(
        "training",
        "resnet-50",
        r#"{"model":{"model":"resnet-50","task":"training","steps":3,"batch_size":8,"tile_bytes":524288}}"#,
        &[always(200 * MB), always(600 * MB)],
    ),
    row(
        "training",
        "bert-base adam",
        r#"{"model":{"model":"bert-base","task":"training","steps":3,"batch_size":4,"tile_bytes":1048576}}"#,
        &[always(500 * MB), always(1000 * MB)],
    ),
    row(
        "training",
        "gpt2-large sgd",
        r#"{"model":{"model":"gpt2-large","task":"training","optimizer":"sgd","steps":3,"prompt_tokens":256,"tile_bytes":2097152}}"#,
        &[always(2000 * MB)],
    ),
    row(
        "training",
        "vit-b-16 momentum",
        r#"{"model":{"model":"vit-b-16","task":"training","optimizer":"momentum","steps":4,"batch_size":4,"tile_bytes":1048576}}"#,
        &[always(400 * MB)],
    ),
    row(
        "training",
        "alexnet",
        r#"{"model":{"model":"alexnet","task":"training","steps":5,"batch_size":16,"tile_bytes":524288}}"#,
        &[always(300 * MB)],
    ),
    row(
        "moe",
        "mixtral-8x7b",
        r#"{"model":{"model":"mixtral-8x7b","weight_dtype":"int4","decode_tokens":32,"prompt_tokens":32,"tile_bytes":4194304}}"#,
        &[always(12000 * MB), always(20000 * MB)],
    ),
    row(
        "moe",
        "qwen3-30b-a3b zipf",
        r#"{"model":{"model":"qwen3-30b-a3b","decode_tokens":64,"prompt_tokens":32,"tile_bytes":4194304,"routing":{"zipf":0.6,"stickiness":0.15}}}"#,
        &[always(20000 * MB), always(40000 * MB)],
    ),
    row(
        "moe",
        "switch-base-8",
        r#"{"model":{"model":"switch-base-8","decode_tokens":48,"prompt_tokens":64,"tile_bytes":1048576,"routing":{"zipf":0.5,"stickiness":0.2}}}"#,
        &[always(600 * MB)],
    ),
    row(
        "requests",
        "llama-3.2-1b",
        r#"{"model":{"model":"llama-3.2-1b","batch_size":4,"requests":"3x256+32,128+64@8,512+16@12,3x64+48@20","tile_bytes":4194304}}"#,
        &[always(1500 * MB), always(2200 * MB)],
    ),
    row(
        "requests",
        "qwen2.5-7b int8",
        r#"{"model":{"model":"qwen2.5-7b","weight_dtype":"int8","batch_size":8,"requests":"6x1024+32,4x256+64@10,8x128+16@24","tile_bytes":4194304}}"#,
        &[always(5000 * MB)],
    ),
    row(
        "tenants",
        "bert + resnet",
        r#"{"tenants":{"tenants":[{"name":"a","workload":{"model":{"model":"bert-base","steps":8,"tile_bytes":262144}}},{"name":"b","workload":{"model":{"model":"resnet-50","steps":8,"batch_size":4,"tile_bytes":262144}}}]}}"#,
        &[always(150 * MB), always(300 * MB)],
    ),
    row(
        "tenants",
        "gpt2 + vit + mlp",
        r#"{"tenants":{"tenants":[{"name":"a","slice":200,"workload":{"model":{"model":"gpt2-large","decode_tokens":16,"tile_bytes":1048576}}},{"name":"b","slice":100,"workload":{"model":{"model":"vit-b-16","steps":12,"tile_bytes":524288}}},{"name":"c","slice":20,"workload":{"model":{"model":"dlrm-top-mlp","steps":60,"batch_size":128,"tile_bytes":131072}}}]}}"#,
        &[always(800 * MB)],
    ),
    row(
        "synthetic",
        "Transformer",
        r#"{"synthetic":{"model_type":"Transformer","num_layers":1024,"reuse_probability":0.6}}"#,
        &[always(20 * MB), always(64 * MB)],
    ),
    row(
        "synthetic",
        "MoE",
        r#"{"synthetic":{"model_type":"MoE","num_layers":1024,"reuse_probability":0.4}}"#,
        &[always(20 * MB)],
    ),
    storage(
        "zipf .9",
        Storage { objects: 20_000, requests: 120_000, zipf: 0.9, scans: 0.1, drift: 0.0 },
        &[always(100 * MB), always(400 * MB)],
    ),
    storage(
        "zipf .7 drifting",
        Storage { objects: 30_000, requests: 120_000, zipf: 0.7, scans: 0.2, drift: 0.5 },
        &[always(300 * MB)],
    ),
];

/// Models and workloads that no choice has looked at. Shapes that are not presets are those of the models' own
/// `config.json`: the names say whose.
pub const NEVER_SEEN: &[Row] = &[
    row(
        "decode",
        "qwen3-8b int8",
        r#"{"model":{"model":"qwen3-8b","weight_dtype":"int8","prompt_tokens":64,"decode_tokens":24,"tile_bytes":4194304}}"#,
        &[always(4000 * MB), bypass(2500 * MB)],
    ),
    row(
        "decode",
        "llama-3-8b",
        r#"{"model":{"model":"llama-3-8b","decode_tokens":24,"tile_bytes":8388608}}"#,
        &[always(6000 * MB)],
    ),
    row(
        "decode",
        "gemma-2-9b bf16",
        r#"{"model":{"model":"gemma-2-9b","weight_dtype":"bfloat16","decode_tokens":16,"tile_bytes":8388608}}"#,
        &[bypass(9000 * MB)],
    ),
    row(
        "decode",
        "opt-6.7b",
        r#"{"model":{"model":"opt-6.7b","batch_size":2,"decode_tokens":16,"tile_bytes":4194304}}"#,
        &[always(8000 * MB)],
    ),
    // Qwen/Qwen2.5-0.5B
    row(
        "decode",
        "qwen2.5-0.5b",
        r#"{"model":{"model":{"model_type":"qwen2","hidden_size":896,"intermediate_size":4864,"num_hidden_layers":24,
        "num_attention_heads":14,"num_key_value_heads":2,"vocab_size":151936,"max_position_embeddings":32768,
        "tie_word_embeddings":true,"torch_dtype":"bfloat16"},"decode_tokens":48,"tile_bytes":1048576}}"#,
        &[always(300 * MB)],
    ),
    row(
        "prefill",
        "llama-2-7b",
        r#"{"model":{"model":"llama-2-7b","requests":"2x512+1,3x768+1@2,1024+1@4","tile_bytes":4194304}}"#,
        &[always(5000 * MB), bypass(3000 * MB)],
    ),
    // Qwen/Qwen3-0.6B
    row(
        "prefill",
        "qwen3-0.6b",
        r#"{"model":{"model":{"model_type":"qwen3","hidden_size":1024,"intermediate_size":3072,"num_hidden_layers":28,
        "num_attention_heads":16,"num_key_value_heads":8,"head_dim":128,"vocab_size":151936,
        "max_position_embeddings":40960,"tie_word_embeddings":true,"torch_dtype":"bfloat16"},
        "requests":"4x1024+1,8x512+1@3","tile_bytes":1048576}}"#,
        &[always(400 * MB)],
    ),
    // facebook/opt-125m
    row(
        "prefill",
        "opt-125m output-stationary",
        r#"{"model":{"model":{"model_type":"opt","hidden_size":768,"ffn_dim":3072,"num_hidden_layers":12,
        "num_attention_heads":12,"vocab_size":50272,"max_position_embeddings":2048,"do_layer_norm_before":true,
        "torch_dtype":"float16"},"prompt_tokens":512,"decode_tokens":0,"dataflow":"output_stationary",
        "tile_bytes":131072}}"#,
        &[always(4 * MB), bypass(2 * MB)],
    ),
    // google-bert/bert-large-uncased
    row(
        "encoder",
        "bert-large",
        r#"{"model":{"model":{"model_type":"bert","hidden_size":1024,"intermediate_size":4096,"num_hidden_layers":24,
        "num_attention_heads":16,"vocab_size":30522,"max_position_embeddings":512,"type_vocab_size":2},
        "steps":6,"batch_size":4,"tile_bytes":1048576}}"#,
        &[always(400 * MB), bypass(800 * MB)],
    ),
    // google/vit-large-patch16-224
    row(
        "encoder",
        "vit-l-16",
        r#"{"model":{"model":{"model_type":"vit","hidden_size":1024,"intermediate_size":4096,"num_hidden_layers":24,
        "num_attention_heads":16,"image_size":224,"patch_size":16,"num_channels":3,"num_labels":1000},
        "steps":8,"batch_size":4,"tile_bytes":1048576}}"#,
        &[always(500 * MB)],
    ),
    row(
        "encoder",
        "t5-base with its decoder",
        r#"{"model":{"model":"t5-base","prompt_tokens":256,"decode_tokens":24,"tile_bytes":1048576}}"#,
        &[always(300 * MB)],
    ),
    row(
        "cnn",
        "resnet-18",
        r#"{"model":{"model":"resnet-18","steps":12,"batch_size":8,"tile_bytes":131072}}"#,
        &[always(15 * MB), bypass(30 * MB)],
    ),
    // microsoft/resnet-152
    row(
        "cnn",
        "resnet-152",
        r#"{"model":{"model":{"model_type":"resnet","layer_type":"bottleneck","depths":[3,8,36,3],
        "hidden_sizes":[256,512,1024,2048],"embedding_size":64,"num_labels":1000},
        "steps":5,"batch_size":4,"tile_bytes":524288}}"#,
        &[always(100 * MB)],
    ),
    // microsoft/resnet-34
    row(
        "cnn",
        "resnet-34 im2col",
        r#"{"model":{"model":{"model_type":"resnet","layer_type":"basic","depths":[3,4,6,3],
        "hidden_sizes":[64,128,256,512],"embedding_size":64,"num_labels":1000},
        "convolution":"im2col","steps":6,"batch_size":2,"tile_bytes":262144}}"#,
        &[always(50 * MB)],
    ),
    row(
        "training",
        "resnet-18 momentum",
        r#"{"model":{"model":"resnet-18","task":"training","optimizer":"momentum","steps":4,"batch_size":8,"tile_bytes":262144}}"#,
        &[always(100 * MB), bypass(60 * MB)],
    ),
    // openai-community/gpt2
    row(
        "training",
        "gpt2 adam",
        r#"{"model":{"model":{"model_type":"gpt2","n_embd":768,"n_layer":12,"n_head":12,"n_positions":1024,
        "vocab_size":50257},"task":"training","steps":4,"batch_size":2,"prompt_tokens":128,"tile_bytes":1048576}}"#,
        &[always(800 * MB)],
    ),
    // google-t5/t5-small
    row(
        "training",
        "t5-small sgd",
        r#"{"model":{"model":{"model_type":"t5","d_model":512,"d_ff":2048,"d_kv":64,"num_heads":8,"num_layers":6,
        "vocab_size":32128},"task":"training","optimizer":"sgd","steps":5,"batch_size":4,"prompt_tokens":128,
        "decode_tokens":32,"tile_bytes":524288}}"#,
        &[always(200 * MB)],
    ),
    // google-bert/bert-large-uncased
    row(
        "training",
        "bert-large adam",
        r#"{"model":{"model":{"model_type":"bert","hidden_size":1024,"intermediate_size":4096,"num_hidden_layers":24,
        "num_attention_heads":16,"vocab_size":30522,"max_position_embeddings":512,"type_vocab_size":2},
        "task":"training","steps":3,"batch_size":2,"tile_bytes":2097152}}"#,
        &[bypass(2000 * MB)],
    ),
    row(
        "training",
        "lenet-300-100",
        r#"{"model":{"model":"lenet-300-100","task":"training","steps":60,"batch_size":64,"tile_bytes":16384}}"#,
        &[always(2 * MB)],
    ),
    // Qwen/Qwen1.5-MoE-A2.7B
    row(
        "moe",
        "qwen1.5-moe-a2.7b zipf",
        r#"{"model":{"model":{"model_type":"qwen2_moe","hidden_size":2048,"intermediate_size":5632,"num_hidden_layers":24,
        "num_attention_heads":16,"num_key_value_heads":16,"vocab_size":151936,"max_position_embeddings":8192,
        "num_experts":60,"num_experts_per_tok":4,"moe_intermediate_size":1408,"shared_expert_intermediate_size":5632,
        "torch_dtype":"bfloat16"},"prompt_tokens":32,"decode_tokens":48,"tile_bytes":4194304,
        "routing":{"zipf":0.6,"stickiness":0.15}}}"#,
        &[always(8000 * MB), bypass(15000 * MB)],
    ),
    // google/switch-base-16
    row(
        "moe",
        "switch-base-16 zipf",
        r#"{"model":{"model":{"model_type":"switch_transformers","d_model":768,"d_ff":3072,"d_kv":64,"num_heads":12,
        "num_layers":12,"num_decoder_layers":12,"vocab_size":32128,"num_experts":16,"num_sparse_encoder_layers":6,
        "num_sparse_decoder_layers":6},"prompt_tokens":64,"decode_tokens":48,"tile_bytes":1048576,
        "routing":{"zipf":1.0,"stickiness":0.1}}}"#,
        &[always(800 * MB)],
    ),
    // mistralai/Mixtral-8x22B-v0.1
    row(
        "moe",
        "mixtral-8x22b int4",
        r#"{"model":{"model":{"model_type":"mixtral","hidden_size":6144,"intermediate_size":16384,"num_hidden_layers":56,
        "num_attention_heads":48,"num_key_value_heads":8,"vocab_size":32000,"max_position_embeddings":65536,
        "num_local_experts":8,"num_experts_per_tok":2,"torch_dtype":"bfloat16"},"weight_dtype":"int4",
        "prompt_tokens":16,"decode_tokens":32,"tile_bytes":16777216}}"#,
        &[always(30000 * MB)],
    ),
    row(
        "requests",
        "llama-2-7b int8",
        r#"{"model":{"model":"llama-2-7b","weight_dtype":"int8","batch_size":4,"requests":"4x256+24,64+40@6,3x128+16@12","tile_bytes":4194304}}"#,
        &[always(3000 * MB)],
    ),
    // google/gemma-7b
    row(
        "requests",
        "gemma-7b int4",
        r#"{"model":{"model":{"model_type":"gemma","hidden_size":3072,"intermediate_size":24576,"num_hidden_layers":28,
        "num_attention_heads":16,"num_key_value_heads":16,"head_dim":256,"vocab_size":256000,
        "max_position_embeddings":8192,"torch_dtype":"bfloat16"},"weight_dtype":"int4","batch_size":6,
        "requests":"2x512+24,4x128+48@8,2x1024+16@20","tile_bytes":4194304}}"#,
        &[bypass(1500 * MB)],
    ),
    // google/gemma-3-1b-it
    row(
        "requests",
        "gemma-3-1b",
        r#"{"model":{"model":{"model_type":"gemma3_text","hidden_size":1152,"intermediate_size":6912,
        "num_hidden_layers":26,"num_attention_heads":4,"num_key_value_heads":1,"head_dim":256,"vocab_size":262144,
        "max_position_embeddings":32768,"sliding_window":512,"sliding_window_pattern":6,"torch_dtype":"bfloat16"},
        "batch_size":8,"requests":"6x512+24,2x128+64@10","tile_bytes":2097152}}"#,
        &[always(800 * MB)],
    ),
    row(
        "tenants",
        "resnet-18 + bert-large",
        r#"{"tenants":{"tenants":[{"name":"a","slice":50,"workload":{"model":{"model":"resnet-18","steps":30,"batch_size":4,"tile_bytes":262144}}},
        {"name":"b","slice":100,"workload":{"model":{"model":{"model_type":"bert","hidden_size":1024,
        "intermediate_size":4096,"num_hidden_layers":24,"num_attention_heads":16,"vocab_size":30522,
        "max_position_embeddings":512,"type_vocab_size":2},"steps":6,"tile_bytes":1048576}}}]}}"#,
        &[always(500 * MB)],
    ),
    row(
        "tenants",
        "gpt2 in training + t5-base",
        r#"{"tenants":{"tenants":[{"name":"a","slice":120,"workload":{"model":{"model":{"model_type":"gpt2","n_embd":768,
        "n_layer":12,"n_head":12,"n_positions":1024,"vocab_size":50257},"task":"training","optimizer":"sgd","steps":4,
        "prompt_tokens":128,"tile_bytes":1048576}}},
        {"name":"b","slice":60,"workload":{"model":{"model":"t5-base","decode_tokens":24,"tile_bytes":1048576}}}]}}"#,
        &[always(700 * MB), bypass(400 * MB)],
    ),
    row(
        "tenants",
        "vit-l-16 + opt-125m + lenet",
        r#"{"tenants":{"tenants":[{"name":"a","slice":200,"workload":{"model":{"model":{"model_type":"vit",
        "hidden_size":1024,"intermediate_size":4096,"num_hidden_layers":24,"num_attention_heads":16,"image_size":224,
        "patch_size":16,"num_channels":3,"num_labels":1000},"steps":6,"tile_bytes":1048576}}},
        {"name":"b","slice":80,"workload":{"model":{"model":{"model_type":"opt","hidden_size":768,"ffn_dim":3072,
        "num_hidden_layers":12,"num_attention_heads":12,"vocab_size":50272,"max_position_embeddings":2048,
        "do_layer_norm_before":true,"torch_dtype":"float16"},"decode_tokens":48,"tile_bytes":524288}}},
        {"name":"c","slice":20,"workload":{"model":{"model":"lenet-300-100","steps":200,"batch_size":32,"tile_bytes":65536}}}]}}"#,
        &[always(600 * MB)],
    ),
    row(
        "synthetic",
        "CNN",
        r#"{"synthetic":{"model_type":"CNN","num_layers":1024,"reuse_probability":0.5}}"#,
        &[always(48 * MB), bypass(96 * MB)],
    ),
    row(
        "synthetic",
        "MLP",
        r#"{"synthetic":{"model_type":"MLP","num_layers":1024,"reuse_probability":0.8}}"#,
        &[always(64 * MB)],
    ),
    storage(
        "zipf 1.1",
        Storage { objects: 10_000, requests: 120_000, zipf: 1.1, scans: 0.0, drift: 0.0 },
        &[always(50 * MB)],
    ),
    storage(
        "zipf .8 with scans",
        Storage { objects: 25_000, requests: 120_000, zipf: 0.8, scans: 0.3, drift: 0.0 },
        &[always(200 * MB), bypass(100 * MB)],
    ),
    storage(
        "zipf 1 drifting",
        Storage { objects: 15_000, requests: 120_000, zipf: 1.0, scans: 0.0, drift: 1.0 },
        &[always(150 * MB)],
    ),
    recorded_row(
        "a transformer in training",
        include_bytes!("../../tests/fixtures/et/transformer_train.json.gz"),
        16,
        &[always(250 * KB)],
    ),
    recorded_row(
        "a CNN in training",
        include_bytes!("../../tests/fixtures/et/cnn_train.json.gz"),
        24,
        &[always(70 * KB)],
    ),
    recorded_row(
        "DLRM in training",
        include_bytes!("../../tests/fixtures/et/dlrm_train.json.gz"),
        24,
        &[always(10 * KB)],
    ),
    recorded_row(
        "a decoder at inference",
        include_bytes!("../../tests/fixtures/et/decode_infer.json.gz"),
        16,
        &[always(35 * KB), bypass(50 * KB)],
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_table_is_large_and_has_every_family_and_both_admissions() {
        let all: Vec<Point> = points().collect();
        let never: Vec<&Point> = all.iter().filter(|point| !point.seen).collect();
        assert!(all.len() >= 60 && never.len() >= 25, "{} {}", all.len(), never.len());
        assert_eq!(all.iter().map(Point::name).collect::<BTreeSet<_>>().len(), all.len());
        let families = [
            "cnn",
            "decode",
            "encoder",
            "moe",
            "prefill",
            "pytorch",
            "requests",
            "storage",
            "synthetic",
            "tenants",
            "training",
        ];
        assert_eq!(never.iter().map(|point| point.row.family).collect::<BTreeSet<_>>(), families.into());
        for admission in [Admission::Always, Admission::Bypass] {
            assert!(never.iter().filter(|point| point.place.admission == admission).count() >= 10);
        }
    }

    /// Neither a model nor a workload without one is in both halves.
    #[test]
    fn the_halves_share_no_model() {
        let [seen, never] = [SEEN, NEVER_SEEN].map(|rows| {
            let of = |row: &Row| {
                let models = row.models().unwrap();
                if models.is_empty() {
                    vec![row.name.to_owned()]
                } else {
                    models.iter().map(|model| format!("{model:?}")).collect()
                }
            };
            rows.iter().flat_map(of).collect::<BTreeSet<String>>()
        });
        assert!(seen.len() > 15 && never.len() > 25, "{} {}", seen.len(), never.len());
        assert_eq!(seen.intersection(&never).collect::<Vec<_>>(), Vec::<&String>::new());
    }

    /// A step that was recorded comes back with the same tensors.
    #[test]
    fn recorded_steps_are_repeated() {
        let file = include_bytes!("../../tests/fixtures/et/mlp_train.json.gz");
        let [one, three] = [1, 3].map(|steps| recorded("mlp", file, steps).unwrap());
        assert_eq!(three.accesses(), one.accesses().repeat(3));
        assert_eq!(three.summary().unique_bytes, one.summary().unique_bytes);
        let sized: Vec<_> = one.sized().collect();
        assert_eq!(three.sized().collect::<Vec<_>>(), sized.repeat(3));
        assert!(three.ops().eq(one.ops().chain(one.ops()).chain(one.ops())));
    }
}
