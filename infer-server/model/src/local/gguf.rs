//! A GGUF file of Llama architecture: its header checked, its shape read, its weights taken from where they lie.
//!
//! The header goes through the reader that traces use (bounded, overflow and overlap checked); candle's then gives the
//! values. Keys: `docs/gguf.md` of ggml.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::Cursor;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use accel_core::import::gguf as header;
use accel_core::import::input::Input;
use accel_core::progress::Unattended;
use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor};
use candle_core::{Device, Tensor};

use crate::quantize::requantize::{fast_type, requantize};

use super::mapped::{self, MappedFile};
use crate::error::ModelError;

/// The longest header read: the largest vocabularies in use (256 k tokens) with their merges take some 20 MB.
const MOST_HEADER: usize = 64 << 20;

/// The sizes of a Llama, from the file's metadata.
#[derive(Debug, Clone, PartialEq)]
pub struct LlamaConfig {
    /// Blocks of attention and MLP.
    pub layers: usize,
    /// Numbers of the residual stream.
    pub hidden: usize,
    /// Numbers inside the MLP.
    pub feed_forward: usize,
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values, each shared by `heads / kv_heads` heads of queries.
    pub kv_heads: usize,
    /// Numbers per head.
    pub head_dim: usize,
    /// Tokens that the model knows.
    pub vocabulary: usize,
    /// The longest prompt in tokens.
    pub context: usize,
    /// The base of the rotary position embedding's wavelengths.
    pub rope_base: f32,
    /// What positions are divided by (`linear` scaling); 1 for most.
    pub rope_divisor: f32,
    /// Added to the mean square before its root.
    pub norm_epsilon: f32,
    /// Tokens that see each other: a token sees itself and the `window - 1` before it. None: all before it.
    pub window: Option<usize>,
}

/// An open file.
pub(super) struct Gguf {
    pub(super) path: PathBuf,
    pub(super) file: Arc<MappedFile>,
    pub(super) content: Content,
}

impl Gguf {
    /// Maps the file and checks its header.
    pub(super) fn open(path: &Path) -> Result<Self, ModelError> {
        let name = path.display().to_string();
        let refused = |problem: String, cure: &str| ModelError::File { path: name.clone(), problem, cure: cure.into() };
        let file = MappedFile::open(path).map_err(|error| {
            refused(format!("cannot be read: {error}"), "Name a GGUF file, or fetch one with `infer-server fetch`")
        })?;
        let bytes = file.bytes();
        let head = &bytes[..bytes.len().min(MOST_HEADER)];
        if !header::matches(head) {
            return Err(refused("is not a GGUF file".into(), "Convert a model with `infer-server quantize`"));
        }
        let weights = header::header(&Input::new(&name, head), &mut Unattended)
            .map_err(|error| refused(error.to_string(), "Nothing of it was loaded"))?;
        for weight in &weights.tensors {
            if !RUNNABLE.contains(&weight.dtype.as_str()) {
                let problem = format!("{} has the type {}", weight.name, weight.dtype);
                let cure = format!("These run: {}. Take a Q4_K_M file of the model", RUNNABLE.join(", "));
                return Err(ModelError::Unsupported { path: name.clone(), problem, cure });
            }
        }
        let content = Content::read(&mut Cursor::new(head))
            .map_err(|error| refused(format!("its header cannot be read: {error}"), "Download it again"))?;
        let gguf = Self { path: path.to_owned(), file: Arc::new(file), content };
        for name in gguf.content.tensor_infos.keys() {
            gguf.place(name)?;
        }
        Ok(gguf)
    }

    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn damaged(&self, problem: String) -> ModelError {
        let cure = "The file is cut off or damaged: download it again, or convert the model again";
        ModelError::File { path: self.name(), problem, cure: cure.into() }
    }

    fn unsupported(&self, problem: impl Into<String>, cure: impl Into<String>) -> ModelError {
        ModelError::Unsupported { path: self.name(), problem: problem.into(), cure: cure.into() }
    }

    /// The bytes of a weight.
    fn place(&self, name: &str) -> Result<Range<usize>, ModelError> {
        let info = self.content.tensor_infos.get(name);
        let info = info.ok_or_else(|| self.damaged(format!("the weight {name} is missing")))?;
        let blocks = info.shape.elem_count() / info.ggml_dtype.block_size();
        let bytes = (blocks * info.ggml_dtype.type_size()) as u64;
        let start = self.content.tensor_data_offset.saturating_add(info.offset);
        let end = start.saturating_add(bytes);
        let length = self.file.bytes().len();
        if end > length as u64 {
            return Err(self.damaged(format!("{name} ends at byte {end}, and the file has {length}")));
        }
        Ok(start as usize..end as usize)
    }

    pub(super) fn value(&self, key: &str) -> Option<&Value> {
        self.content.metadata.get(key)
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match self.value(key) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        match self.value(key) {
            Some(Value::Bool(flag)) => Some(*flag),
            _ => None,
        }
    }

    /// A whole number; none where the key is missing.
    pub(super) fn whole(&self, key: &str) -> Result<Option<usize>, ModelError> {
        let bad = || self.damaged(format!("{key} is not a whole number below 2^32"));
        let number = match self.value(key) {
            None => return Ok(None),
            Some(Value::I32(n)) => u64::try_from(*n).map_err(|_| bad())?,
            Some(value) => value.to_u64().map_err(|_| bad())?,
        };
        u32::try_from(number).map(|n| Some(n as usize)).map_err(|_| bad())
    }

    /// A whole number of at least 1 and at most `most`.
    fn size(&self, key: &str, most: usize) -> Result<usize, ModelError> {
        match self.whole(key)? {
            Some(n) if (1..=most).contains(&n) => Ok(n),
            Some(n) => Err(self.damaged(format!("{key} is {n}, and 1 to {most} are possible"))),
            None => Err(self.damaged(format!("{key} is missing"))),
        }
    }

    fn number(&self, key: &str) -> Result<Option<f32>, ModelError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::F32(number)) if number.is_finite() && *number > 0.0 => Ok(Some(*number)),
            Some(_) => Err(self.damaged(format!("{key} is not a positive number"))),
        }
    }

    /// The model's sizes; an architecture that this program does not build is refused by name.
    pub(super) fn config(&self) -> Result<LlamaConfig, ModelError> {
        const CURE: &str = "Take a model of Llama architecture, such as Mistral-7B-Instruct-v0.2";
        match self.text("general.architecture") {
            Some("llama") => {}
            Some(other) => return Err(self.unsupported(format!("the architecture is {other}"), CURE)),
            None => return Err(self.damaged("general.architecture is missing".into())),
        }
        if self.whole("llama.expert_count")?.is_some_and(|experts| experts > 0) {
            return Err(self.unsupported("it is a mixture of experts", CURE));
        }
        let heads = self.size("llama.attention.head_count", 1 << 12)?;
        let hidden = self.size("llama.embedding_length", 1 << 20)?;
        let kv_heads = match self.value("llama.attention.head_count_kv") {
            None => heads,
            Some(Value::Array(_)) => return Err(self.unsupported("its layers differ in their heads", CURE)),
            Some(_) => self.size("llama.attention.head_count_kv", heads)?,
        };
        let head_dim = self.whole("llama.attention.key_length")?.unwrap_or(hidden / heads);
        if !heads.is_multiple_of(kv_heads) || head_dim == 0 || !head_dim.is_multiple_of(2) || head_dim > 1 << 12 {
            let problem = format!("{heads} heads of {head_dim} cannot share {kv_heads} heads of keys and values");
            return Err(self.damaged(problem));
        }
        for (key, what) in [
            ("llama.attention.value_length", "values as long as keys"),
            ("llama.rope.dimension_count", "rotary positions over whole heads"),
        ] {
            if let Some(n) = self.whole(key)?.filter(|n| *n != head_dim) {
                let problem = format!("{key} is {n} and heads have {head_dim}");
                return Err(self.unsupported(problem, format!("Only {what} are built. {CURE}")));
            }
        }
        let rope_divisor = match self.text("llama.rope.scaling.type") {
            None | Some("none") => 1.0,
            Some("linear") => self.number("llama.rope.scaling.factor")?.unwrap_or(1.0),
            Some(other) => return Err(self.unsupported(format!("rope scaling {other} is not built"), CURE)),
        };
        let embedding = self.content.tensor_infos.get("token_embd.weight").map(|info| info.shape.dims().to_vec());
        let vocabulary = match embedding.as_deref() {
            Some([rows, columns]) if *columns == hidden && *rows > 0 => *rows,
            Some(shape) => {
                return Err(self.wrong_shape("token_embd.weight", shape, format_args!("[tokens, {hidden}]")));
            }
            None => return Err(self.damaged("the weight token_embd.weight is missing".into())),
        };
        Ok(LlamaConfig {
            layers: self.size("llama.block_count", 1 << 12)?,
            hidden,
            feed_forward: self.size("llama.feed_forward_length", 1 << 22)?,
            heads,
            kv_heads,
            head_dim,
            vocabulary,
            context: self.size("llama.context_length", 1 << 24)?,
            rope_base: self.number("llama.rope.freq_base")?.unwrap_or(10_000.0),
            rope_divisor,
            norm_epsilon: self
                .number("llama.attention.layer_norm_rms_epsilon")?
                .ok_or_else(|| self.damaged("llama.attention.layer_norm_rms_epsilon is missing".into()))?,
            window: self.whole("llama.attention.sliding_window")?.filter(|window| *window > 0),
        })
    }

    fn wrong_shape(&self, name: &str, shape: &[usize], wanted: impl Display) -> ModelError {
        self.damaged(format!("{name} has the shape {shape:?}, and the metadata asks for {wanted}"))
    }

    /// Whether the file has the weight.
    pub(super) fn has(&self, name: &str) -> bool {
        self.content.tensor_infos.contains_key(name)
    }

    /// A weight by which rows are multiplied: `[rows, columns]`, in the file's type where that is fast.
    pub(super) fn matrix(&self, name: &str, shape: [usize; 2], device: &Device) -> Result<QMatMul, ModelError> {
        let place = self.place(name)?;
        let info = &self.content.tensor_infos[name];
        if info.shape.dims() != shape {
            return Err(self.wrong_shape(name, info.shape.dims(), format_args!("{shape:?}")));
        }
        let dtype = info.ggml_dtype;
        let storage = match fast_type(dtype, shape[1]) {
            Some(faster) => {
                let data = requantize(&self.file.bytes()[place], shape[1], dtype, faster)?;
                QStorage::from_data(Cow::Owned(data), device, faster)?
            }
            None if device.is_cpu() => match mapped::blocks(&self.file, place.clone(), dtype) {
                Some(blocks) => QStorage::Cpu(blocks),
                None => self.copied(place, dtype, device)?,
            },
            None => self.copied(place, dtype, device)?,
        };
        // Floats become a plain tensor here, so that they are multiplied in f32.
        Ok(QMatMul::from_qtensor(QTensor::new(storage, &shape[..])?)?)
    }

    /// A vector of floats.
    pub(super) fn vector(&self, name: &str, length: usize, device: &Device) -> Result<Tensor, ModelError> {
        let place = self.place(name)?;
        let info = &self.content.tensor_infos[name];
        if info.shape.dims() != [length] {
            return Err(self.wrong_shape(name, info.shape.dims(), format_args!("[{length}]")));
        }
        let storage = self.copied(place, info.ggml_dtype, &Device::Cpu)?;
        Ok(QTensor::new(storage, length)?.dequantize(device)?)
    }

    /// Through a buffer of its own, which is aligned wherever the weight begins in the file.
    fn copied(&self, place: Range<usize>, dtype: GgmlDType, device: &Device) -> Result<QStorage, ModelError> {
        Ok(QStorage::from_data(Cow::Owned(self.file.bytes()[place].to_vec()), device, dtype)?)
    }

    /// Weights that are re-quantised at load: how many of which type, and to which.
    pub(super) fn slow_types(&self) -> BTreeMap<(String, String), usize> {
        let mut slow = BTreeMap::new();
        for info in self.content.tensor_infos.values() {
            if let [_, columns] = info.shape.dims()
                && let Some(faster) = fast_type(info.ggml_dtype, *columns)
            {
                *slow.entry((type_name(info.ggml_dtype).into(), type_name(faster).into())).or_default() += 1;
            }
        }
        slow
    }

    /// All numbers of the model.
    pub(super) fn parameters(&self) -> u64 {
        self.content.tensor_infos.values().map(|info| info.shape.elem_count() as u64).sum()
    }

    /// The types of the weights, those with the most bytes first: `Q4_K+Q6_K`. Norms stay F32 in every file and are
    /// left out where there are others.
    pub(super) fn quantization(&self) -> String {
        let mut bytes: BTreeMap<&str, usize> = BTreeMap::new();
        for info in self.content.tensor_infos.values().filter(|info| info.shape.rank() > 1) {
            let blocks = info.shape.elem_count() / info.ggml_dtype.block_size();
            *bytes.entry(type_name(info.ggml_dtype)).or_default() += blocks * info.ggml_dtype.type_size();
        }
        let mut names: Vec<_> = bytes.into_iter().collect();
        names.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        names.into_iter().map(|(name, _)| name).collect::<Vec<_>>().join("+")
    }
}

/// The types that candle 0.11 computes with.
const RUNNABLE: [&str; 13] =
    ["F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q3_K", "Q2_K", "Q5_0", "Q5_1", "Q4_0", "Q4_1"];

fn type_name(dtype: GgmlDType) -> &'static str {
    match dtype {
        GgmlDType::F32 => "F32",
        GgmlDType::F16 => "F16",
        GgmlDType::BF16 => "BF16",
        GgmlDType::Q4_0 => "Q4_0",
        GgmlDType::Q4_1 => "Q4_1",
        GgmlDType::Q5_0 => "Q5_0",
        GgmlDType::Q5_1 => "Q5_1",
        GgmlDType::Q8_0 => "Q8_0",
        GgmlDType::Q8_1 => "Q8_1",
        GgmlDType::Q2K => "Q2_K",
        GgmlDType::Q3K => "Q3_K",
        GgmlDType::Q4K => "Q4_K",
        GgmlDType::Q5K => "Q5_K",
        GgmlDType::Q6K => "Q6_K",
        GgmlDType::Q8K => "Q8_K",
    }
}
