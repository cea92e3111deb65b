//! Where policies are measured: named models, none of which is trained on, at capacities where policies differ; whatever
//! fits comes in.

use accel_core::recipe::Workload;
use accel_core::trace::Trace;
use accel_core::workload::presets::PRESETS;
use anyhow::Context as _;

use crate::storage::Storage;

/// A workload and the capacities in which it is run.
#[derive(Debug)]
pub struct Row {
    /// The family, for means.
    pub family: &'static str,
    /// A name.
    pub name: &'static str,
    /// The workload as in a recipe, or requests to a storage.
    pub source: Source,
    /// Capacities in MB.
    pub megabytes: &'static [u64],
}

/// Where the accesses come from.
#[derive(Debug)]
pub enum Source {
    /// A workload as in a recipe.
    Recipe(&'static str),
    /// Requests to objects.
    Storage(Storage),
}

/// The seed of every trace that is measured; training has others.
pub const SEED: u64 = 42;

impl Row {
    /// The trace for a memory of `capacity_bytes`.
    pub fn trace(&self, capacity_bytes: u64) -> anyhow::Result<Trace> {
        Ok(match &self.source {
            Source::Recipe(json) => {
                let workload: Workload = serde_json::from_str(json).with_context(|| self.name.to_owned())?;
                workload.trace(SEED, capacity_bytes).with_context(|| self.name.to_owned())?
            }
            Source::Storage(storage) => storage.trace(SEED)?,
        })
    }
}

const fn row(family: &'static str, name: &'static str, json: &'static str, megabytes: &'static [u64]) -> Row {
    Row { family, name, source: Source::Recipe(json), megabytes }
}

/// All of them.
pub const ROWS: &[Row] = &[
    row(
        "decode",
        "gpt2-large",
        r#"{"model":{"model":"gpt2-large","decode_tokens":32,"tile_bytes":1048576}}"#,
        &[500, 1500],
    ),
    row(
        "decode",
        "llama-3.2-1b",
        r#"{"model":{"model":"llama-3.2-1b","decode_tokens":32,"tile_bytes":4194304}}"#,
        &[1000, 2000],
    ),
    row(
        "decode",
        "mistral-7b int4",
        r#"{"model":{"model":"mistral-7b","weight_dtype":"int4","decode_tokens":32,"batch_size":4,"tile_bytes":2097152}}"#,
        &[2000],
    ),
    row(
        "decode",
        "gemma-2b",
        r#"{"model":{"model":"gemma-2b","decode_tokens":64,"prompt_tokens":512,"tile_bytes":4194304}}"#,
        &[3000],
    ),
    row(
        "encoder",
        "bert-base",
        r#"{"model":{"model":"bert-base","steps":8,"batch_size":4,"tile_bytes":262144}}"#,
        &[100, 250],
    ),
    row(
        "encoder",
        "vit-b-16",
        r#"{"model":{"model":"vit-b-16","steps":8,"batch_size":8,"tile_bytes":524288}}"#,
        &[100],
    ),
    row(
        "cnn",
        "resnet-50",
        r#"{"model":{"model":"resnet-50","steps":8,"batch_size":4,"tile_bytes":262144}}"#,
        &[40, 80],
    ),
    row("cnn", "vgg-16", r#"{"model":{"model":"vgg-16","steps":4,"batch_size":4,"tile_bytes":1048576}}"#, &[100, 300]),
    row("cnn", "alexnet", r#"{"model":{"model":"alexnet","steps":16,"batch_size":16,"tile_bytes":524288}}"#, &[100]),
    row(
        "training",
        "resnet-50",
        r#"{"model":{"model":"resnet-50","task":"training","steps":3,"batch_size":8,"tile_bytes":524288}}"#,
        &[200, 600],
    ),
    row(
        "training",
        "bert-base adam",
        r#"{"model":{"model":"bert-base","task":"training","steps":3,"batch_size":4,"tile_bytes":1048576}}"#,
        &[500, 1000],
    ),
    row(
        "training",
        "gpt2-large sgd",
        r#"{"model":{"model":"gpt2-large","task":"training","optimizer":"sgd","steps":3,"prompt_tokens":256,"tile_bytes":2097152}}"#,
        &[2000],
    ),
    row(
        "training",
        "vit-b-16 momentum",
        r#"{"model":{"model":"vit-b-16","task":"training","optimizer":"momentum","steps":4,"batch_size":4,"tile_bytes":1048576}}"#,
        &[400],
    ),
    row(
        "training",
        "alexnet",
        r#"{"model":{"model":"alexnet","task":"training","steps":5,"batch_size":16,"tile_bytes":524288}}"#,
        &[300],
    ),
    row(
        "moe",
        "mixtral-8x7b",
        r#"{"model":{"model":"mixtral-8x7b","weight_dtype":"int4","decode_tokens":32,"prompt_tokens":32,"tile_bytes":4194304}}"#,
        &[12000, 20000],
    ),
    row(
        "moe",
        "qwen3-30b-a3b zipf",
        r#"{"model":{"model":"qwen3-30b-a3b","decode_tokens":64,"prompt_tokens":32,"tile_bytes":4194304,"routing":{"zipf":0.6,"stickiness":0.15}}}"#,
        &[20000, 40000],
    ),
    row(
        "moe",
        "switch-base-8",
        r#"{"model":{"model":"switch-base-8","decode_tokens":48,"prompt_tokens":64,"tile_bytes":1048576,"routing":{"zipf":0.5,"stickiness":0.2}}}"#,
        &[600],
    ),
    row(
        "requests",
        "llama-3.2-1b",
        r#"{"model":{"model":"llama-3.2-1b","batch_size":4,"requests":"3x256+32,128+64@8,512+16@12,3x64+48@20","tile_bytes":4194304}}"#,
        &[1500, 2200],
    ),
    row(
        "requests",
        "qwen2.5-7b int8",
        r#"{"model":{"model":"qwen2.5-7b","weight_dtype":"int8","batch_size":8,"requests":"6x1024+32,4x256+64@10,8x128+16@24","tile_bytes":4194304}}"#,
        &[5000],
    ),
    row(
        "tenants",
        "bert + resnet",
        r#"{"tenants":{"tenants":[{"name":"a","workload":{"model":{"model":"bert-base","steps":8,"tile_bytes":262144}}},{"name":"b","workload":{"model":{"model":"resnet-50","steps":8,"batch_size":4,"tile_bytes":262144}}}]}}"#,
        &[150, 300],
    ),
    row(
        "tenants",
        "gpt2 + vit + mlp",
        r#"{"tenants":{"tenants":[{"name":"a","slice":200,"workload":{"model":{"model":"gpt2-large","decode_tokens":16,"tile_bytes":1048576}}},{"name":"b","slice":100,"workload":{"model":{"model":"vit-b-16","steps":12,"tile_bytes":524288}}},{"name":"c","slice":20,"workload":{"model":{"model":"dlrm-top-mlp","steps":60,"batch_size":128,"tile_bytes":131072}}}]}}"#,
        &[800],
    ),
    row(
        "synthetic",
        "Transformer",
        r#"{"synthetic":{"model_type":"Transformer","num_layers":1024,"reuse_probability":0.6}}"#,
        &[20, 64],
    ),
    row("synthetic", "MoE", r#"{"synthetic":{"model_type":"MoE","num_layers":1024,"reuse_probability":0.4}}"#, &[20]),
    Row {
        family: "storage",
        name: "zipf .9",
        source: Source::Storage(Storage { objects: 20_000, requests: 120_000, zipf: 0.9, scans: 0.1, drift: 0.0 }),
        megabytes: &[100, 400],
    },
    Row {
        family: "storage",
        name: "zipf .7 drifting",
        source: Source::Storage(Storage { objects: 30_000, requests: 120_000, zipf: 0.7, scans: 0.2, drift: 0.5 }),
        megabytes: &[300],
    },
];

/// The published models that are measured.
pub fn models() -> Vec<String> {
    let named = |row: &Row| match row.source {
        Source::Recipe(json) => {
            PRESETS.iter().filter(|preset| json.contains(&format!("\"{}\"", preset.name))).collect()
        }
        Source::Storage(_) => Vec::new(),
    };
    ROWS.iter().flat_map(named).map(|preset| preset.name.to_owned()).collect()
}
