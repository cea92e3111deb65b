//! LoRA adapters as PEFT saves them, added at run time: y = W x + s B A x. The model's weights stay as they are.
//!
//! Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021; rank-stabilised scaling: Kalajdzievski, 2023.
//! Keys and their meaning: `LoraConfig` and `LoraModel` of huggingface/peft.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Result as CandleResult, Tensor};
use indexmap::IndexMap;
use regex::Regex;
use serde::Deserialize;
use serde_json::Value;

use super::config::LlamaConfig;
use super::projection::Projection;
use crate::error::ModelError;

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
/// What PEFT puts before a module's name.
const ROOT: &str = "base_model.model.";

/// The largest adapter file: rank 256 on all matrices of a 70B model takes some 6 GB.
const MOST_BYTES: u64 = 8 << 30;
/// Options that change what is computed and are not built: each is refused unless off.
const REFUSED: [&str; 12] = [
    "use_dora",
    "use_qalora",
    "use_bdlora",
    "kasa_config",
    "monteclora_config",
    "lora_bias",
    "modules_to_save",
    "layer_replication",
    "trainable_token_indices",
    "target_parameters",
    "alora_invocation_tokens",
    "arrow_config",
];

/// Ways to begin training that also change the model's own weights; PEFT writes `true` once that is undone
/// (`path_initial_model_for_weight_conversion`).
const CHANGE_THE_BASE: [&str; 5] = ["pissa", "olora", "corda", "loftq", "lora_ga"];

/// What one matrix of one layer is changed by.
pub(super) struct Delta {
    /// A transposed, `[inputs, rank]`.
    pub(super) down: Tensor,
    /// B transposed and scaled, `[rank, outputs]`.
    pub(super) up: Tensor,
}

impl Delta {
    pub(super) fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        x.matmul(&self.down)?.matmul(&self.up)
    }
}

/// An adapter that fits a model.
pub(super) struct Adapter {
    pub(super) name: String,
    deltas: HashMap<(usize, usize), Delta>,
}

impl Adapter {
    pub(super) fn delta(&self, layer: usize, projection: Projection) -> Option<&Delta> {
        self.deltas.get(&(layer, projection as usize))
    }
}

/// What kind of adapter is learned; all seven matrices of every layer have one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoraSettings {
    /// Rows of A.
    pub rank: usize,
    /// B is multiplied by this over the rank.
    pub alpha: f64,
    /// The share of what goes into A that is left out by chance.
    pub dropout: f64,
    /// Of the first values, and of what is left out.
    pub seed: u64,
}

/// `adapter_config.json`, as far as it is needed.
#[derive(Deserialize)]
struct PeftConfig {
    peft_type: String,
    r: usize,
    lora_alpha: f64,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    bias: Option<String>,
    #[serde(default)]
    rank_pattern: Option<IndexMap<String, usize>>,
    #[serde(default)]
    alpha_pattern: Option<IndexMap<String, f64>>,
    #[serde(default)]
    layers_to_transform: Option<Layers>,
    // `fan_in_fan_out` says how the base model's weight is stored. A and B are stored alike either way.
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Layers {
    One(usize),
    Several(Vec<usize>),
}

/// One number for all modules, or another for those whose name a pattern matches: the first that does.
struct ByModule<T> {
    otherwise: T,
    patterns: Vec<(Regex, T)>,
}

impl<T: Copy> ByModule<T> {
    fn new(otherwise: T, patterns: Option<IndexMap<String, T>>) -> Result<Self, String> {
        // As `get_pattern_key` of PEFT does: the pattern ends the name, and begins it or follows a dot.
        let compiled = patterns.unwrap_or_default().into_iter().map(|(key, value)| {
            Regex::new(&format!(r"^(?:.*\.)?(?:{key})$"))
                .map(|regex| (regex, value))
                .map_err(|error| format!("the pattern {key:?}: {error}"))
        });
        Ok(Self { otherwise, patterns: compiled.collect::<Result<_, _>>()? })
    }

    fn of(&self, module: &str) -> T {
        self.patterns.iter().find(|(regex, _)| regex.is_match(module)).map_or(self.otherwise, |(_, value)| *value)
    }
}

/// Reads `adapter_config.json` and `adapter_model.safetensors` of a folder.
pub(super) fn load(dir: &Path, config: &LlamaConfig, device: &Device) -> Result<Adapter, ModelError> {
    let bad = |file: &str, problem: String, cure: &str| {
        let path = if file.is_empty() { dir.to_owned() } else { dir.join(file) };
        ModelError::Adapter { path: path.display().to_string(), problem, cure: cure.into() }
    };
    let folder = "Name the folder that save_pretrained of PEFT has written";
    let text = std::fs::read(dir.join(CONFIG)).map_err(|e| bad(CONFIG, format!("cannot be read: {e}"), folder))?;
    let options: Value = serde_json::from_slice(&text).map_err(|e| bad(CONFIG, e.to_string(), folder))?;
    if let Some(option) = REFUSED.into_iter().find(|option| is_on(options.get(option))) {
        let cure = "Train it without that: plain LoRA, rank-stabilised or not, with patterns of ranks or without";
        return Err(bad(CONFIG, format!("{option} is not built"), cure));
    }
    let start = options.get("init_lora_weights").and_then(Value::as_str).unwrap_or_default();
    if CHANGE_THE_BASE.iter().any(|way| start.starts_with(way)) {
        let cure = "Save it as plain LoRA: save_pretrained with path_initial_model_for_weight_conversion";
        return Err(bad(CONFIG, format!("init_lora_weights is {start:?}, which changed the model's weights"), cure));
    }
    let peft: PeftConfig = serde_json::from_value(options).map_err(|e| bad(CONFIG, e.to_string(), folder))?;
    if peft.peft_type != "LORA" {
        return Err(bad(CONFIG, format!("peft_type is {}", peft.peft_type), "Only LORA is built"));
    }
    if let Some(bias) = peft.bias.filter(|bias| bias != "none") {
        return Err(bad(
            CONFIG,
            format!("bias is {bias:?}"),
            "Only \"none\" is built: an adapter's biases are not added",
        ));
    }
    let pattern = |problem| bad(CONFIG, problem, "Write it as a regular expression without look-around");
    let ranks = ByModule::new(peft.r, peft.rank_pattern).map_err(pattern)?;
    let alphas = ByModule::new(peft.lora_alpha, peft.alpha_pattern).map_err(pattern)?;
    let chosen = peft.layers_to_transform.map(|layers| match layers {
        Layers::One(layer) => vec![layer],
        Layers::Several(layers) => layers,
    });
    if let Some(layer) = chosen.iter().flatten().find(|layer| **layer >= config.layers) {
        let problem = format!("layers_to_transform names layer {layer} and the model has {}", config.layers);
        return Err(bad(CONFIG, problem, "Take an adapter of this model"));
    }

    let unread = |error: &dyn std::fmt::Display| bad(WEIGHTS, format!("cannot be read: {error}"), folder);
    let size = std::fs::metadata(dir.join(WEIGHTS)).map_err(|e| unread(&e))?.len();
    if size > MOST_BYTES {
        return Err(bad(WEIGHTS, format!("{size} bytes, and an adapter has at most {MOST_BYTES}"), folder));
    }
    let bytes = std::fs::read(dir.join(WEIGHTS)).map_err(|e| unread(&e))?;
    let mut weights = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).map_err(|e| unread(&e))?;
    let mut modules: Vec<String> = Vec::new();
    for key in weights.keys() {
        let module = key.strip_suffix(".lora_A.weight").or_else(|| key.strip_suffix(".lora_B.weight"));
        let Some(module) = module.and_then(|module| module.strip_prefix(ROOT)) else {
            return Err(bad(WEIGHTS, format!("{key} is not the A or B of a module"), "Only plain LoRA is built"));
        };
        modules.push(module.to_owned());
    }
    modules.sort_unstable();
    modules.dedup();
    if modules.is_empty() {
        return Err(bad(WEIGHTS, "it has no weights".into(), folder));
    }
    let fit = "Take an adapter of this model";
    let place = |module: &str| place(module, config.architecture.fused).filter(|(layer, _)| *layer < config.layers);
    let placed = modules.into_iter().map(|module| match place(&module) {
        Some((layer, _)) if chosen.as_ref().is_some_and(|chosen| !chosen.contains(&layer)) => {
            Err(bad(WEIGHTS, format!("{module} is not of the layers in layers_to_transform"), fit))
        }
        Some(place) => Ok((module, place)),
        None => {
            let problem = format!("{module} is no module of this model that can be adapted");
            let cure = "Modules: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj of the model's layers; \
                        qkv_proj and gate_up_proj where the model has these";
            Err(bad(WEIGHTS, problem, cure))
        }
    });
    let placed: Vec<_> = placed.collect::<Result<_, _>>()?;
    let neighbours = config.architecture.neighbours;
    let mut deltas = HashMap::new();
    for (module, (layer, projections)) in placed {
        let shapes = projections.iter().map(|projection| projection.shape(config));
        let (outputs, inputs) = shapes.fold((0, 0), |(all, _), [outputs, inputs]| (all + outputs, inputs));
        let rank = ranks.of(&module);
        if rank == 0 {
            return Err(bad(CONFIG, format!("the rank of {module} is 0"), "Give r and rank_pattern numbers from 1"));
        }
        let mut take = |part: &str, shape: (usize, usize)| {
            let key = format!("{ROOT}{module}.{part}.weight");
            let tensor = weights.remove(&key).ok_or_else(|| bad(WEIGHTS, format!("{key} is missing"), folder))?;
            if tensor.dims2().ok() != Some(shape) {
                let problem = format!("{key} has the shape {:?}, not {shape:?}", tensor.dims());
                return Err(bad(WEIGHTS, problem, fit));
            }
            Ok(tensor.to_dtype(DType::F32)?)
        };
        let (a, all) = (take("lora_A", (rank, inputs))?, take("lora_B", (outputs, rank))?);
        let down = a.t()?.contiguous()?.to_device(device)?;
        let divisor = if peft.use_rslora { (rank as f64).sqrt() } else { rank as f64 };
        let mut first = 0;
        for projection in projections {
            let rows = projection.shape(config)[0];
            let b = all.narrow(0, first, rows)?;
            first += rows;
            let b = match projection {
                Projection::Q if neighbours => pairs_beside_each_other(&b, config.heads)?,
                Projection::K if neighbours => pairs_beside_each_other(&b, config.kv_heads)?,
                _ => b,
            };
            let up = (b.t()?.contiguous()? * (alphas.of(&module) / divisor))?.to_device(device)?;
            deltas.insert((layer, projection as usize), Delta { down: down.clone(), up });
        }
    }
    let name = dir.file_name().map_or_else(|| dir.display().to_string(), |name| name.to_string_lossy().into_owned());
    Ok(Adapter { name, deltas })
}

/// Whether an option asks for anything.
fn is_on(option: Option<&Value>) -> bool {
    match option {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Array(list)) => !list.is_empty(),
        Some(Value::Object(map)) => !map.is_empty(),
        Some(_) => true,
    }
}

/// Layer and matrices of a module such as `model.layers.3.self_attn.q_proj`; one that is fused makes the rows of several, one
/// after the other.
fn place(module: &str, fused: bool) -> Option<(usize, Vec<Projection>)> {
    let (layer, name) = module.strip_prefix("model.layers.")?.split_once('.')?;
    let alone = || Projection::ALL.into_iter().find(|it| it.module() == name).map(|it| vec![it]);
    let of_several = || Projection::ALL.into_iter().map(|it| it.made_by(fused)).find(|(module, _)| *module == name);
    let projections = of_several().map(|(_, all)| all).or_else(alone)?;
    Some((layer.parse().ok()?, projections))
}

/// A head's numbers turn in pairs: Hugging Face has the first of all pairs and then the second, GGUF files of
/// Llama the two of a pair beside each other (`permute` in llama.cpp's `conversion`). B makes them, so its rows go the same way.
fn pairs_beside_each_other(b: &Tensor, heads: usize) -> CandleResult<Tensor> {
    let (outputs, rank) = b.dims2()?;
    b.reshape((heads, 2, outputs / heads / 2, rank))?.transpose(1, 2)?.contiguous()?.reshape((outputs, rank))
}

/// The way back.
fn pairs_apart(b: &Tensor, heads: usize) -> CandleResult<Tensor> {
    let (outputs, rank) = b.dims2()?;
    b.reshape((heads, outputs / heads / 2, 2, rank))?.transpose(1, 2)?.contiguous()?.reshape((outputs, rank))
}

/// A and B of a module that makes the rows of several matrices, of theirs as PEFT has them (`[rank, inputs]` and
/// `[outputs, rank]`): all A below each other, and each B in columns of its own, so that they stay apart.
fn fused(parts: &[(Tensor, Tensor)]) -> CandleResult<(Tensor, Tensor)> {
    let a = Tensor::cat(&parts.iter().map(|(a, _)| a).collect::<Vec<_>>(), 0)?;
    let mut rows = Vec::with_capacity(parts.len());
    let mut left = 0;
    for (_, b) in parts {
        let (_, rank) = b.dims2()?;
        rows.push(b.pad_with_zeros(1, left, a.dim(0)? - left - rank)?);
        left += rank;
    }
    Ok((a, Tensor::cat(&rows, 0)?))
}

impl Delta {
    /// A and B of `rank` for `projection`; none if it is of another, or what several matrices share. It is part of one that
    /// [`fused`] made where the columns of its neighbours are zero.
    pub(super) fn alone(&self, projection: Projection, rank: usize) -> CandleResult<Option<(Tensor, Tensor)>> {
        let all = self.down.dim(1)?;
        if all == rank {
            return Ok(Some((self.down.clone(), self.up.clone())));
        }
        let Some((_, several)) = projection.together().filter(|(_, several)| several.len() * rank == all) else {
            return Ok(None);
        };
        let first = rank * several.iter().take_while(|other| **other != projection).count();
        let (down, up) = (self.down.narrow(1, first, rank)?, self.up.narrow(0, first, rank)?);
        let sum = |tensor: &Tensor| tensor.abs()?.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>();
        let apart = sum(&self.up.narrow(0, 0, first)?)? == 0.0
            && sum(&self.up.narrow(0, first + rank, all - first - rank)?)? == 0.0;
        Ok(apart.then_some((down.contiguous()?, up.contiguous()?)))
    }
}

/// Writes what [`load`] reads, and PEFT: A, `[inputs, rank]`, and B, `[rank, outputs]` and not scaled, of each matrix, in the
/// order of [`Projection::ALL`]. Where a module makes several, its rank and alpha are so many times the others'.
pub(super) fn save(
    dir: &Path,
    config: &LlamaConfig,
    settings: &LoraSettings,
    base: &str,
    pairs: impl Iterator<Item = (usize, Projection, Tensor, Tensor)>,
    half: bool,
) -> Result<(), ModelError> {
    let bad = |error: &dyn std::fmt::Display| {
        let (path, problem) = (dir.display().to_string(), format!("cannot be written: {error}"));
        ModelError::Adapter { path, problem, cure: "Make room, or name another folder".into() }
    };
    let (neighbours, is_fused) = (config.architecture.neighbours, config.architecture.fused);
    let (mut tensors, mut parts) = (Vec::new(), Vec::new());
    for (layer, projection, down, up) in pairs {
        let b = up.t()?.contiguous()?;
        let b = match projection {
            Projection::Q if neighbours => pairs_apart(&b, config.heads)?,
            Projection::K if neighbours => pairs_apart(&b, config.kv_heads)?,
            _ => b,
        };
        parts.push((down.t()?.contiguous()?, b));
        let (module, together) = projection.made_by(is_fused);
        if parts.len() < together.len() {
            continue;
        }
        let (a, b) = fused(&std::mem::take(&mut parts))?;
        for (part, tensor) in [("lora_A", a), ("lora_B", b)] {
            let name = format!("{ROOT}model.layers.{layer}.{module}.{part}.weight");
            tensors.push((name, if half { tensor.to_dtype(DType::F16)? } else { tensor }));
        }
    }
    let made = Projection::ALL.map(|it| it.made_by(is_fused));
    let made: IndexMap<&str, usize> =
        made.iter().map(|(module, all)| (module.rsplit('.').next().unwrap_or_default(), all.len())).collect();
    let modules: Vec<&&str> = made.keys().collect();
    let mut options = serde_json::json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": settings.rank,
        "lora_alpha": settings.alpha,
        "lora_dropout": settings.dropout,
        "target_modules": modules,
        "bias": "none",
        "fan_in_fan_out": false,
        "init_lora_weights": true,
        "inference_mode": true,
        "use_dora": false,
        "use_rslora": false,
    });
    if is_fused {
        let several = || made.iter().filter(|(_, matrices)| **matrices > 1);
        let ranks: IndexMap<_, _> = several().map(|(module, matrices)| (*module, settings.rank * matrices)).collect();
        let alphas: IndexMap<_, _> =
            several().map(|(module, matrices)| (*module, settings.alpha * *matrices as f64)).collect();
        options["rank_pattern"] = serde_json::json!(ranks);
        options["alpha_pattern"] = serde_json::json!(alphas);
    }
    let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let weights = safetensors::serialize(tensors, Some(format)).map_err(|error| bad(&error))?;
    let options = serde_json::to_vec_pretty(&options).map_err(|error| bad(&error))?;
    std::fs::create_dir_all(dir).map_err(|error| bad(&error))?;
    replace(&dir.join(WEIGHTS), &weights).map_err(|error| bad(&error))?;
    replace(&dir.join(CONFIG), &options).map_err(|error| bad(&error))
}

/// Writes a file beside its place and moves it there, so that there is never half of one.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let beside = path.with_extension("part");
    let written = std::fs::write(&beside, bytes).and_then(|()| std::fs::File::open(&beside)?.sync_all());
    written.and_then(|()| std::fs::rename(&beside, path))
}
