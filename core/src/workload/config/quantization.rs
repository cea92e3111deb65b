//! How the weights of a model are stored: module by module, in the dialects that quantisers write.
//!
//! What a quantiser leaves alone (embeddings, head, norms, routers, convolutions, and what the file names) keeps the
//! model's own width. Scales and zeros are counted as the tools store them; the sources stand beside each dialect.

use serde_json::Value;

use super::ggml::{GgmlType, Stored};
use super::keys::{Keys, show};
use super::layers::{Layer, Linear, Model, Place, Stack};
use super::pattern::Pattern;
use crate::error::Error;
use crate::workload::dtype::Dtype;

/// What belongs to the elements of a matrix besides themselves, in bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scales {
    None,
    /// For each group of inputs of an output.
    Groups {
        size: u64,
        bits: u64,
    },
    /// For each block of inputs and outputs.
    Blocks {
        inputs: u64,
        outputs: u64,
        bits: u64,
    },
    /// For each run of elements, whatever row they belong to.
    Runs {
        size: u64,
        bits: u64,
    },
    /// For each output.
    Outputs {
        bits: u64,
    },
    /// For the matrix.
    Whole,
}

/// How a matrix is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Width {
    /// Bits of an element.
    pub(crate) bits: u64,
    scales: Scales,
    /// Bits for each input besides (the order of GPTQ), and for the matrix.
    by_input: u64,
    whole: u64,
}

impl Width {
    /// Elements of `bits` bits, and nothing else.
    pub(crate) fn plain(bits: u64) -> Self {
        Self { bits, scales: Scales::None, by_input: 0, whole: 0 }
    }

    /// Blocks of ggml, each with its scales.
    fn ggml(of: GgmlType) -> Self {
        let (bits, shared) = of.split();
        let scales = if shared > 0 { Scales::Groups { size: of.elements, bits: shared } } else { Scales::None };
        Self { scales, ..Self::plain(bits) }
    }

    /// Bits of scales, zeros and the like of a matrix.
    pub(crate) fn scale_bits(&self, inputs: u64, outputs: u64) -> u64 {
        let scales = match self.scales {
            Scales::None => 0,
            Scales::Groups { size, bits } => outputs * inputs.div_ceil(size) * bits,
            Scales::Blocks { inputs: wide, outputs: high, bits } => {
                inputs.div_ceil(wide) * outputs.div_ceil(high) * bits
            }
            Scales::Runs { size, bits } => (inputs * outputs).div_ceil(size) * bits,
            Scales::Outputs { bits } => outputs * bits,
            Scales::Whole => F32,
        };
        scales + inputs * self.by_input + self.whole
    }
}

/// The most bytes beside the matrices: those of a file of weights.
const MOST_BESIDE: u64 = 1 << 50;
const F32: u64 = 32;
const F16: u64 = 16;

/// Modules of one width.
#[derive(Debug, Clone)]
struct Group {
    /// What it means: all linear modules where there are none.
    targets: Vec<Pattern>,
    experts_only: bool,
    width: Width,
}

/// How the weights of a model are stored.
#[derive(Debug, Clone)]
pub(crate) struct Quantization {
    /// Bits of what is not quantised.
    own: u64,
    groups: Vec<Group>,
    /// Modules that keep their own width.
    kept: Vec<Pattern>,
    /// Whether the head, or the embeddings as well, are quantised unless they are named.
    head: bool,
    embeddings: bool,
    /// The modules of a GGUF file, and bytes of it that belong to none.
    stored: Option<Stored>,
    beside: u64,
    /// Bits of keys and values, where the file says.
    pub(crate) kv: Option<u64>,
    /// What the file says besides, and is not read.
    pub(crate) notes: Vec<String>,
}

/// Keys of a `quantization_config` that change no size, or that are read.
const KNOWN: &[&str] = &[
    "quant_method",
    "bits",
    "group_size",
    "sym",
    "zero_point",
    "desc_act",
    "version",
    "backend",
    "checkpoint_format",
    "modules_to_not_convert",
    "ignore",
    "ignored_layers",
    "exclude_modules",
    "weight_block_size",
    "activation_scheme",
    "fmt",
    "scale_fmt",
    "kv_cache_scheme",
    "kv_cache_quant_algo",
    "quant_algo",
    "config_groups",
    "format",
    "producer",
    "quantization_status",
    "load_in_4bit",
    "load_in_8bit",
    "_load_in_4bit",
    "_load_in_8bit",
    "bnb_4bit_quant_type",
    "bnb_4bit_use_double_quant",
    "bnb_4bit_compute_dtype",
    "llm_int8_skip_modules",
    "llm_int8_threshold",
    "llm_int8_enable_fp32_cpu_offload",
    "llm_int8_has_fp16_weight",
    "damp_percent",
    "dataset",
    "model_seqlen",
    "meta",
    "static_groups",
    "true_sequential",
    "tokenizer",
    "block_name_to_quantize",
    "cache_block_outputs",
    "max_input_length",
    "batch_size",
    "exllama_config",
    "use_exllama",
    "use_cuda_fp16",
    "module_name_preceding_first_block",
    "pad_token_id",
    "disable_exllama",
    "do_fuse",
    "fuse_max_seq_len",
    "modules_to_fuse",
    "lm_head",
    "mode",
    "activation_scale_ub",
    "global_compression_ratio",
    "modules_in_block_to_quantize",
    "weights",
    "activations",
    "quantized_layers",
    "dequantize",
    "model_name_or_path",
    "model_file_base_name",
    "is_marlin_format",
    "quantizer",
    "packing_bits",
    "bnb_4bit_quant_storage",
    "transform_config",
    "sparsity_config",
    "version_config",
    "hf_quant_config",
    "awq_marlin",
    "modules",
    "beside_bytes",
];

impl Quantization {
    /// Reads `quantization_config`, or MLX's `quantization`.
    pub(super) fn from_keys(keys: &Keys<'_>, own: Dtype) -> Result<Self, Error> {
        let own = own.bits().max(if keys.value("quantization_config").is_some() { F16 } else { 0 });
        let mut all = Self {
            own,
            groups: Vec::new(),
            kept: Vec::new(),
            head: false,
            embeddings: false,
            stored: None,
            beside: 0,
            kv: None,
            notes: Vec::new(),
        };
        // DeepSeek-V4 names the width of experts beside: e8m0 scales for 32 elements, as MXFP4.
        if matches!(keys.text("expert_dtype")?.as_deref(), Some("fp4")) {
            all.groups.push(Group { targets: Vec::new(), experts_only: true, width: mxfp4() });
        }
        let (name, value) = match (keys.value("quantization_config"), keys.value("quantization")) {
            (Some(value), _) => ("quantization_config", value),
            (None, Some(value)) => ("quantization", value),
            (None, None) => return Ok(all),
        };
        let Value::Object(map) = value else {
            return Err(keys.bad(
                name,
                format!("the value is {}", show(value)),
                "Write an object, as the quantiser does",
            ));
        };
        let file = File { keys, name, value };
        if name == "quantization" {
            all.mlx(&file)?;
            return Ok(all);
        }
        all.dialect(&file)?;
        for list in ["modules_to_not_convert", "ignore", "ignored_layers", "exclude_modules", "llm_int8_skip_modules"] {
            all.kept.extend(file.patterns(list)?);
        }
        for key in ["kv_cache_scheme", "kv_cache_quant_algo"] {
            all.kv = all.kv.or(file.kv(key)?);
        }
        let unread: Vec<&str> =
            map.keys().map(String::as_str).filter(|key| !KNOWN.contains(key) && !map[*key].is_null()).collect();
        if !unread.is_empty() {
            let unread = unread.join(", ");
            all.notes.push(format!("{name} has keys that are not read and may change sizes: {unread}"));
        }
        Ok(all)
    }

    fn all_linear(&mut self, width: Width) {
        self.groups.push(Group { targets: Vec::new(), experts_only: false, width });
    }

    fn dialect(&mut self, file: &File<'_>) -> Result<(), Error> {
        let method = file.text("quant_method").unwrap_or_default();
        let bits = file.number("bits");
        let group = match file.get("group_size").and_then(Value::as_i64) {
            Some(size) => u64::try_from(size).ok().filter(|size| *size > 0),
            None => Some(128),
        };
        let on = |key: &str| file.get(key).and_then(Value::as_bool) == Some(true);
        // One group for all inputs where the size is -1.
        let grouped = |bits, each| match group {
            Some(size) => Width { scales: Scales::Groups { size, bits: each }, ..Width::plain(bits) },
            None => Width { scales: Scales::Outputs { bits: each }, ..Width::plain(bits) },
        };
        if file.get("config_groups").is_some() && !matches!(file.text("quant_algo"), Some("NVFP4")) {
            return self.groups_of(file);
        }
        match (method, file.text("quant_algo")) {
            // AutoAWQ: float16 scales and packed zeros for each group.
            ("awq", _) => {
                let bits = file.bits(bits, &[4, 8])?;
                let zeros = if file.get("zero_point").and_then(Value::as_bool) == Some(false) { 0 } else { bits };
                self.all_linear(grouped(bits, F16 + zeros));
            }
            // AutoGPTQ and GPTQModel: float16 scales, packed zeros, and for each input the 32-bit number of its group.
            ("gptq" | "gptq_v2" | "auto-round" | "autoround" | "intel/auto-round", _) => {
                let bits = file.bits(bits, &[2, 3, 4, 5, 6, 8])?;
                let order = if method.starts_with("gptq") { F32 } else { 0 };
                self.all_linear(Width { by_input: order, ..grouped(bits, F16 + bits) });
                self.head = on("lm_head");
                if let Some(Value::Array(lists)) = file.get("modules_in_block_to_quantize") {
                    let names = lists.iter().flat_map(|list| list.as_array().into_iter().flatten());
                    let targets: Vec<Pattern> = names.filter_map(Value::as_str).map(Pattern::new).collect();
                    self.groups.iter_mut().for_each(|group| group.targets.clone_from(&targets));
                }
            }
            // bitsandbytes: absolute maxima of 64 elements in float32, or doubly quantised to 8 bits, whose own are
            // those of 256 (Dettmers et al. 2023, section 3). In 8 bits, a float32 for each output.
            ("bitsandbytes" | "bnb" | "", _) if on("load_in_4bit") || on("_load_in_4bit") => {
                let scales = match on("bnb_4bit_use_double_quant") {
                    true => Scales::Runs { size: 64 * 256, bits: 256 * 8 + F32 },
                    false => Scales::Runs { size: 64, bits: F32 },
                };
                self.all_linear(Width { scales, ..Width::plain(4) });
            }
            ("bitsandbytes" | "bnb" | "", _) if on("load_in_8bit") || on("_load_in_8bit") => {
                self.all_linear(Width { scales: Scales::Outputs { bits: F32 }, ..Width::plain(8) });
            }
            ("fbgemm_fp8", _) => {
                self.all_linear(Width { scales: Scales::Outputs { bits: F32 }, ..Width::plain(8) });
            }
            // DeepSeek-V3 and transformers: a float32 for each block, or for each matrix.
            ("fp8", _) => {
                let scales = match file.get("weight_block_size").and_then(Value::as_array).map(Vec::as_slice) {
                    Some([outputs, inputs]) => Scales::Blocks {
                        inputs: file.positive("weight_block_size", inputs)?,
                        outputs: file.positive("weight_block_size", outputs)?,
                        bits: F32,
                    },
                    _ => Scales::Whole,
                };
                self.all_linear(Width { scales, ..Width::plain(8) });
            }
            // gpt-oss: experts alone.
            ("mxfp4", _) => self.groups.push(Group { targets: Vec::new(), experts_only: true, width: mxfp4() }),
            // NVIDIA's Model Optimizer: float8 scales of 16 elements with a float32 for each matrix, or that alone; and
            // a float32 for the scale of what comes in.
            (_, Some("NVFP4")) => {
                let scales = Scales::Groups { size: 16, bits: 8 };
                self.all_linear(Width { scales, whole: 2 * F32, ..Width::plain(4) });
            }
            (_, Some("FP8")) => {
                self.all_linear(Width { scales: Scales::Whole, whole: F32, ..Width::plain(8) });
            }
            (_, Some("W4A16_AWQ" | "INT4_AWQ")) => self.all_linear(grouped(4, F16)),
            ("eetq", _) => self.all_linear(Width { scales: Scales::Outputs { bits: F16 }, ..Width::plain(8) }),
            ("quanto", _) => {
                let bits = match file.text("weights") {
                    Some("int8" | "float8") => 8,
                    Some("int4") => 4,
                    Some("int2") => 2,
                    _ => return Err(file.unknown()),
                };
                self.all_linear(Width { scales: Scales::Outputs { bits: F16 }, ..Width::plain(bits) });
            }
            // As GGUF names the type of each matrix. Norms and biases are of 32 bits, keys and values of 16 (llama.cpp).
            ("gguf", _) => {
                let modules = file.get("modules").unwrap_or(&Value::Null);
                let stored = Stored::read(modules).map_err(|name| {
                    let problem = format!("the type of {name} is not one of ggml's");
                    file.keys.bad(file.name, problem, "Read the GGUF file anew, or correct it to such as Q4_K")
                })?;
                self.stored = Some(stored);
                self.beside = file.number("beside_bytes").unwrap_or(0).min(MOST_BESIDE);
                (self.own, self.kv) = (F32, Some(F16));
                if self.beside > 0 {
                    self.notes.push(format!(
                        "{} bytes of the GGUF file belong to no matrix of the layers, and count among the weights alone",
                        self.beside
                    ));
                }
            }
            // Without a method, whole bits alone.
            ("", None) if bits.is_some() => {
                let bits = file.bits(bits, &[4, 8])?;
                self.all_linear(Width::plain(bits));
            }
            _ => return Err(file.unknown()),
        }
        Ok(())
    }

    /// The groups of compressed-tensors, which NVIDIA's files use too.
    fn groups_of(&mut self, file: &File<'_>) -> Result<(), Error> {
        let Some(Value::Object(groups)) = file.get("config_groups") else { return Err(file.unknown()) };
        for group in groups.values() {
            let Some(weights) = group.get("weights").filter(|of| !of.is_null()) else { continue };
            let number = |key: &str| weights.get(key).and_then(Value::as_u64).filter(|n| *n > 0);
            let bits = file.bits(number("num_bits"), &[2, 3, 4, 8])?;
            let text = |of: &Value, key: &str| of.get(key).and_then(Value::as_str).map(str::to_owned);
            let float = text(weights, "type").as_deref() == Some("float");
            let format = text(group, "format").or_else(|| file.text("format").map(str::to_owned)).unwrap_or_default();
            let zeros = if weights.get("symmetric").and_then(Value::as_bool) == Some(false) { bits } else { 0 };
            // Scales are as wide as the model, but for float4.
            let own = match (format.as_str(), float && bits == 4) {
                ("nvfp4-pack-quantized", _) => 8,
                (format, true) if format.starts_with("mxfp4") => 8,
                (_, true) => 8,
                _ => self.own,
            };
            let whole = if format == "nvfp4-pack-quantized" { 2 * F32 } else { 0 };
            let block = weights.get("block_structure").and_then(Value::as_array).map(Vec::as_slice);
            let scales = match (text(weights, "strategy").as_deref(), block, number("group_size")) {
                (Some("block"), Some([outputs, inputs]), _) => Scales::Blocks {
                    inputs: file.positive("block_structure", inputs)?,
                    outputs: file.positive("block_structure", outputs)?,
                    bits: own,
                },
                (Some("tensor"), ..) => Scales::Whole,
                (Some("channel"), ..) => Scales::Outputs { bits: own + zeros },
                (_, _, Some(size)) => Scales::Groups { size, bits: own + zeros },
                _ if file.text("quant_algo").is_some() => Scales::Whole,
                _ => Scales::Outputs { bits: own + zeros },
            };
            let named = group.get("targets").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
            let named: Vec<&str> = named.collect();
            // All modules of the class, or those that are named.
            let targets = match named.contains(&"Linear") {
                true => Vec::new(),
                false => named.into_iter().map(Pattern::new).collect(),
            };
            self.groups.push(Group {
                targets,
                experts_only: false,
                width: Width { scales, whole, ..Width::plain(bits) },
            });
        }
        // A model without groups for its weights stays as wide as it is. The head is a linear module like any other, and
        // named where it is left out.
        self.head = true;
        Ok(())
    }

    /// MLX quantises embeddings too; scales and biases are as wide as the model. A module may differ.
    fn mlx(&mut self, file: &File<'_>) -> Result<(), Error> {
        let width = |of: &Value| -> Result<Width, Error> {
            let number = |key: &str| of.get(key).and_then(Value::as_u64).filter(|n| *n > 0);
            let bits = file.bits(number("bits"), &[2, 3, 4, 5, 6, 8])?;
            Ok(match of.get("mode").and_then(Value::as_str) {
                Some("mxfp4") => mxfp4(),
                _ => {
                    let size = number("group_size").unwrap_or(64);
                    Width { scales: Scales::Groups { size, bits: 2 * self.own }, ..Width::plain(bits) }
                }
            })
        };
        let all = width(file.value)?;
        for (name, of) in file.value.as_object().into_iter().flatten() {
            match of {
                Value::Bool(false) => self.kept.push(Pattern::new(name)),
                Value::Object(_) => {
                    let width = width(of)?;
                    self.groups.push(Group { targets: vec![Pattern::new(name)], experts_only: false, width });
                }
                _ => {}
            }
        }
        self.all_linear(all);
        (self.head, self.embeddings) = (true, true);
        Ok(())
    }

    /// How the matrix of this name is stored.
    pub(crate) fn width(&self, name: &str, place: Place) -> Width {
        let own = Width::plain(self.own);
        if let Some(stored) = &self.stored {
            return stored.of(name).map_or(own, Width::ggml);
        }
        let touched = match place {
            Place::Kept => false,
            Place::Layer | Place::Expert => true,
            Place::Head => self.head,
            Place::Embedding => self.embeddings,
        };
        if self.groups.is_empty() || self.kept.iter().any(|kept| kept.matches(name)) {
            return own;
        }
        let means = |group: &&Group| {
            let named = group.targets.iter().any(|target| target.matches(name));
            named || (group.targets.is_empty() && touched && (!group.experts_only || place == Place::Expert))
        };
        self.groups.iter().find(means).map_or(own, |group| group.width)
    }

    /// Bits of all elements that are neither matrices nor quantised.
    pub(crate) fn own(&self) -> u64 {
        self.own
    }

    /// Whether all weights are as wide as the model.
    pub(crate) fn is_plain(&self) -> bool {
        self.groups.is_empty() && self.stored.is_none()
    }

    /// Bytes of all weights.
    pub(crate) fn bytes(&self, model: &Model) -> u64 {
        let matrix = |name: &str, place: Place, linear: &Linear| {
            let width = self.width(name, place);
            let bias = u64::from(linear.bias) * linear.outputs * self.own;
            linear.inputs * linear.outputs * width.bits + width.scale_bits(linear.inputs, linear.outputs) + bias
        };
        let of_layer = |(stack, at, layer): (&Stack, usize, &Layer)| {
            let matrices = layer.placed().into_iter().map(|(linear, times, place)| {
                let name = match place {
                    Place::Expert => stack.name(at, &format!("mlp.experts.0.{}", linear.name)),
                    _ => stack.name(at, linear.name),
                };
                times * matrix(&name, place, &linear).div_ceil(8)
            });
            matrices.sum::<u64>() + (layer.small() * self.own).div_ceil(8)
        };
        let layers: u64 = model.layers().map(of_layer).sum();
        let table = Linear::new("embed_tokens", model.vocabulary.width, model.vocabulary.rows);
        let mut outside = matrix("model.embed_tokens", Place::Embedding, &table);
        let head = model.head.filter(|_| !model.tied);
        outside += head.map_or(0, |head| matrix("lm_head", Place::Head, &head));
        outside += model.head.filter(|head| model.tied && head.bias).map_or(0, |head| head.outputs * self.own);
        outside += model.inputs.iter().chain(&model.outputs).map(|of| matrix(of.name, Place::Kept, of)).sum::<u64>();
        let tables: u64 = model.tables.iter().map(|table| table.rows * table.width).sum();
        outside += (tables + model.learned_tokens * model.hidden + model.small()) * self.own;
        layers + outside.div_ceil(8) + self.beside
    }
}

/// Elements of 4 bits with an 8-bit exponent for each 32 of them (OCP Microscaling Formats 1.0, section 5.3).
fn mxfp4() -> Width {
    Width { scales: Scales::Groups { size: 32, bits: 8 }, ..Width::plain(4) }
}

/// The object of a quantiser in a file.
struct File<'a> {
    keys: &'a Keys<'a>,
    name: &'static str,
    value: &'a Value,
}

impl File<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.value.get(key).filter(|value| !value.is_null())
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.get(key).and_then(Value::as_u64)
    }

    fn unknown(&self) -> Error {
        let method = self.text("quant_method").or(self.text("quant_algo")).unwrap_or_default();
        let method = if method.is_empty() { String::new() } else { format!(" (\"{method}\")") };
        let problem = format!("the width of the weights cannot be inferred from it{method}");
        let cure = "Remove the key and choose the number format of the weights (weight_dtype) yourself";
        self.keys.bad(self.name, problem, cure)
    }

    fn bits(&self, bits: Option<u64>, widths: &[u64]) -> Result<u64, Error> {
        bits.filter(|bits| widths.contains(bits)).ok_or_else(|| self.unknown())
    }

    fn positive(&self, key: &str, value: &Value) -> Result<u64, Error> {
        value.as_u64().filter(|n| (1..=1 << 20).contains(n)).ok_or_else(|| {
            let problem = format!("{key} has the value {}", show(value));
            self.keys.bad(self.name, problem, "Write whole numbers from 1, such as [128, 128]")
        })
    }

    fn patterns(&self, key: &str) -> Result<Vec<Pattern>, Error> {
        match self.get(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(names)) => Ok(names.iter().filter_map(Value::as_str).map(Pattern::new).collect()),
            Some(other) => {
                let problem = format!("{key} is {}", show(other));
                Err(self.keys.bad(self.name, problem, "Write a list of names of modules"))
            }
        }
    }

    /// The width of keys and values: a scheme with its bits, or the name of a format.
    fn kv(&self, key: &str) -> Result<Option<u64>, Error> {
        let bits = match self.get(key) {
            None => return Ok(None),
            Some(Value::String(name)) if name.eq_ignore_ascii_case("fp8") || name.eq_ignore_ascii_case("int8") => {
                Some(8)
            }
            Some(Value::String(name)) if name.eq_ignore_ascii_case("nvfp4") => Some(4),
            Some(value) => value.get("num_bits").and_then(Value::as_u64).filter(|bits| [4, 8, 16].contains(bits)),
        };
        bits.map(Some).ok_or_else(|| {
            let problem = format!("the width of keys and values cannot be inferred from {key}");
            self.keys.bad(self.name, problem, "Remove it and choose kv_dtype yourself")
        })
    }
}
