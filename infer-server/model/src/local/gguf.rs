//! A GGUF file, or the files of one model: headers checked, values and weights taken from where they lie.
//!
//! A header goes through the reader that traces use (bounded, overflow and overlap checked); candle's then gives the
//! values. Layout: `docs/gguf.md` of ggml; several files: `gguf-split` of llama.cpp.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
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

use crate::quantize::dtype::Dtype;
use crate::quantize::recode::fast_type;

use super::mapped::{self, MappedFile};
use super::matrix::{FileRows, Matrix};
use crate::error::ModelError;

/// The longest header read: the largest vocabularies in use (256 k tokens) with their merges take some 20 MB.
const MOST_HEADER: usize = 64 << 20;
/// The most files of one model: several times what the largest are split into, 48.
const MOST_FILES: usize = 512;
/// The numbers that a row must be a multiple of for candle's packed products (`select` of its `repack_x86.rs`).
const PACKED_ROW: usize = 256;
/// The most numbers of a model that is said in f32 for its rows, 4 GB. Those in use with such rows have less: SmolLM2 of
/// 135M and 360M parameters (rows of 576 and 960), Qwen 2.5 of 0.5B (896).
const MOST_PLAIN: u64 = 1 << 30;

/// An open model.
pub(super) struct Gguf {
    /// The file, or the first of several.
    pub(super) path: PathBuf,
    /// The others.
    pub(super) further: Vec<PathBuf>,
    pub(super) files: Vec<Arc<MappedFile>>,
    metadata: HashMap<String, Value>,
    weights: BTreeMap<String, Weight>,
}

/// Where a weight lies, and what it is.
pub(super) struct Weight {
    file: usize,
    place: Range<usize>,
    /// The slowest dimension first.
    pub(super) shape: Vec<usize>,
    dtype: Dtype,
}

/// Rows of a matrix in a file, which may hold other matrices in further rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows {
    pub(super) first: usize,
    pub(super) count: usize,
    /// Of the whole matrix.
    pub(super) all: usize,
}

impl Rows {
    /// All of a matrix.
    pub(super) fn all(count: usize) -> Self {
        Self { first: 0, count, all: count }
    }
}

impl Gguf {
    /// Maps the file, and those that belong to it, and checks their headers.
    pub(super) fn open(path: &Path) -> Result<Self, ModelError> {
        let mut gguf = Self::open_one(path)?;
        let parts = gguf.whole("split.count")?.unwrap_or(1);
        if parts <= 1 {
            return Ok(gguf);
        }
        let refused = |problem: String, cure: String| ModelError::File { path: gguf.name(), problem, cure };
        let number = gguf.whole("split.no")?.unwrap_or(0);
        let stem = path
            .file_name()
            .and_then(|name| name.to_string_lossy().strip_suffix(&part_suffix(number, parts)).map(str::to_owned));
        let Some(stem) = stem.filter(|_| parts <= MOST_FILES) else {
            let problem = format!("it is part {} of {parts} of a model", number + 1);
            let cure = format!("Give its files the names that they had, which end in {}", part_suffix(number, parts));
            return Err(refused(problem, cure));
        };
        if number > 0 {
            let problem = format!("it is part {} of {parts} of a model", number + 1);
            let cure = format!("Name the first, {stem}{}, and keep the others beside it", part_suffix(0, parts));
            return Err(refused(problem, cure));
        }
        for number in 1..parts {
            let part = path.with_file_name(format!("{stem}{}", part_suffix(number, parts)));
            let part = Self::open_one(&part)?;
            if part.whole("split.no")? != Some(number) || part.whole("split.count")? != Some(parts) {
                let problem = format!("it does not say that it is part {} of {parts}", number + 1);
                let cure = "Take all parts from the same model".into();
                return Err(ModelError::File { path: part.name(), problem, cure });
            }
            for (name, weight) in part.weights {
                if gguf.weights.insert(name.clone(), Weight { file: number, ..weight }).is_some() {
                    return Err(gguf.damaged(format!("{name} is in two of its parts")));
                }
            }
            gguf.files.extend(part.files);
            gguf.further.push(part.path);
        }
        let (all, told) = (gguf.weights.len(), gguf.whole("split.tensors.count")?);
        match told.filter(|told| *told != all) {
            Some(told) => Err(gguf.damaged(format!("its parts have {all} weights, and {told} by split.tensors.count"))),
            None => Ok(gguf),
        }
    }

    fn open_one(path: &Path) -> Result<Self, ModelError> {
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
        let checked = header::header(&Input::new(&name, head), &mut Unattended)
            .map_err(|error| refused(error.to_string(), "Nothing of it was loaded"))?;
        let runs = Dtype::ALL.map(|(name, ..)| name);
        for weight in &checked.tensors {
            if !runs.contains(&weight.dtype.as_str()) {
                let problem = format!("{} has the type {}", weight.name, weight.dtype);
                let cure = format!("These run: {}. Take a Q4_K_M file of the model", runs.join(", "));
                return Err(ModelError::Unsupported { path: name.clone(), problem, cure });
            }
        }
        // candle reads a header as a whole or not at all, and not one with a type that it does not compute with; so it
        // reads the values of one without weights.
        let mut values = head.to_vec();
        if let Some(count) = values.get_mut(8..16) {
            count.fill(0);
        }
        let mut values = Cursor::new(&values);
        let content = Content::read(&mut values)
            .map_err(|error| refused(format!("its header cannot be read: {error}"), "Download it again"))?;
        let after = usize::try_from(values.position()).ok().and_then(|at| head.get(at..));
        let mut table = Table { bytes: after.unwrap_or_default() };
        let mut weights = BTreeMap::new();
        for _ in &checked.tensors {
            let (name, weight) = table
                .weight()
                .ok_or_else(|| refused("its table of weights cannot be read".into(), "Convert the model again"))?;
            weights.insert(name, weight);
        }
        let alignment = match content.metadata.get("general.alignment") {
            None => 32,
            Some(Value::U32(alignment)) if alignment.is_power_of_two() => *alignment as usize,
            Some(other) => {
                let problem = format!("general.alignment is {other:?}, and no power of two below 2^32");
                return Err(refused(problem, "Convert the model again"));
            }
        };
        let start = (head.len() - table.bytes.len()).next_multiple_of(alignment);
        let mut gguf = Self {
            path: path.to_owned(),
            further: Vec::new(),
            files: vec![Arc::new(file)],
            metadata: content.metadata,
            weights: BTreeMap::new(),
        };
        let length = gguf.files[0].bytes().len();
        for (name, weight) in &mut weights {
            let (from, to) = (weight.place.start.checked_add(start), weight.place.end.checked_add(start));
            weight.place = match (from, to) {
                (Some(from), Some(to)) if to <= length => from..to,
                _ => {
                    let end = to.map_or_else(|| "past 2^64".to_owned(), |to| to.to_string());
                    return Err(gguf.damaged(format!("{name} ends at byte {end}, and the file has {length}")));
                }
            };
        }
        gguf.weights = weights;
        Ok(gguf)
    }

    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }

    pub(super) fn damaged(&self, problem: String) -> ModelError {
        let cure = "The file is cut off or damaged: download it again, or convert the model again";
        ModelError::File { path: self.name(), problem, cure: cure.into() }
    }

    pub(super) fn unsupported(&self, problem: impl Into<String>, cure: impl Into<String>) -> ModelError {
        ModelError::Unsupported { path: self.name(), problem: problem.into(), cure: cure.into() }
    }

    /// All keys and values of the metadata.
    pub(super) fn values(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.metadata.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// A value; the one that all elements have, where it is a list of equal numbers (one per layer).
    pub(super) fn value(&self, key: &str) -> Option<&Value> {
        match self.metadata.get(key) {
            Some(Value::Array(list)) if !matches!(list.first(), Some(Value::String(_))) => match &list[..] {
                [first, rest @ ..] if rest.iter().all(|other| same(first, other)) => Some(first),
                _ => self.metadata.get(key),
            },
            value => value,
        }
    }

    /// A list of the metadata.
    pub(super) fn list(&self, key: &str) -> Option<&[Value]> {
        match self.metadata.get(key) {
            Some(Value::Array(list)) => Some(list),
            _ => None,
        }
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match self.metadata.get(key) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        match self.metadata.get(key) {
            Some(Value::Bool(flag)) => Some(*flag),
            _ => None,
        }
    }

    /// A whole number; none where the key is missing.
    pub(super) fn whole(&self, key: &str) -> Result<Option<usize>, ModelError> {
        let bad = || self.damaged(format!("{key} is not a whole number below 2^32"));
        let Some(value) = self.value(key) else { return Ok(None) };
        whole(value).map(|number| Some(number as usize)).ok_or_else(bad)
    }

    /// A whole number of at least 1 and at most `most`.
    pub(super) fn size(&self, key: &str, most: usize) -> Result<usize, ModelError> {
        match self.whole(key)? {
            Some(n) if (1..=most).contains(&n) => Ok(n),
            Some(n) => Err(self.damaged(format!("{key} is {n}, and 1 to {most} are possible"))),
            None => Err(self.damaged(format!("{key} is missing"))),
        }
    }

    /// A positive number; none where the key is missing.
    pub(super) fn number(&self, key: &str) -> Result<Option<f32>, ModelError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::F32(number)) if number.is_finite() && *number > 0.0 => Ok(Some(*number)),
            Some(_) => Err(self.damaged(format!("{key} is not a positive number"))),
        }
    }

    pub(super) fn wrong_shape(&self, name: &str, shape: &[usize], wanted: impl Display) -> ModelError {
        self.damaged(format!("{name} has the shape {shape:?}, and the metadata asks for {wanted}"))
    }

    /// A weight, if the file has it.
    pub(super) fn weight(&self, name: &str) -> Option<&Weight> {
        self.weights.get(name)
    }

    /// The names of all weights.
    pub(super) fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.weights.keys().map(String::as_str)
    }

    fn shaped(&self, name: &str, shape: &[usize]) -> Result<&Weight, ModelError> {
        match self.weights.get(name) {
            None => Err(self.damaged(format!("the weight {name} is missing"))),
            Some(weight) if weight.shape != shape => {
                Err(self.wrong_shape(name, &weight.shape, format_args!("{shape:?}")))
            }
            Some(weight) => Ok(weight),
        }
    }

    /// Some rows of a weight by which rows are multiplied, in the file's type where that is fast: `[rows, columns]`.
    pub(super) fn matrix(&self, name: &str, rows: Rows, columns: usize, device: &Device) -> Result<Matrix, ModelError> {
        let weight = self.shaped(name, &[rows.all, columns])?;
        let row_bytes = weight.place.len() / rows.all.max(1);
        let start = weight.place.start + rows.first * row_bytes;
        let place = start..start + rows.count * row_bytes;
        let file = &self.files[weight.file];
        let shape = [rows.count, columns];
        if device.is_cpu() && (weight.is_float() || self.is_plain()) {
            let rows = FileRows { file: Arc::clone(file), place, dtype: weight.dtype, shape };
            return Matrix::plain(rows)?.ok_or_else(|| self.without_type(name));
        }
        let bytes = &file.bytes()[place.clone()];
        let mapped = match (fast_type(weight.dtype), weight.dtype) {
            (None, Dtype::Candle(dtype)) if device.is_cpu() => mapped::blocks(file, place, dtype),
            _ => None,
        };
        match mapped {
            Some(blocks) => {
                let weight = QTensor::new(QStorage::Cpu(blocks), (rows.count, columns))?;
                Ok(Matrix::new(QMatMul::from_qtensor(weight)?, None))
            }
            None => Matrix::read(bytes, weight.dtype, shape, device)?.ok_or_else(|| self.without_type(name)),
        }
    }

    fn without_type(&self, name: &str) -> ModelError {
        ModelError::Internal(format!("{name}: no type to compute with"))
    }

    /// Whether all matrices are said in f32 on a CPU: where rows of one do not divide into the blocks that are packed, products
    /// of quantised numbers are slower than those of floats, and round activations to eight bits besides.
    fn is_plain(&self) -> bool {
        let packs = |weight: &Weight| weight.shape.last().is_some_and(|columns| columns.is_multiple_of(PACKED_ROW));
        self.parameters() <= MOST_PLAIN && !self.matrices().all(packs)
    }

    fn matrices(&self) -> impl Iterator<Item = &Weight> {
        self.weights.values().filter(|weight| weight.shape.len() > 1)
    }

    /// A vector of floats.
    pub(super) fn vector(&self, name: &str, length: usize, device: &Device) -> Result<Tensor, ModelError> {
        let weight = self.shaped(name, &[length])?;
        let Dtype::Candle(dtype @ (GgmlDType::F32 | GgmlDType::F16 | GgmlDType::BF16)) = weight.dtype else {
            let cure = "Take a file whose norms and biases are floats, as llama.cpp writes them";
            return Err(self.unsupported(format!("{name} has the type {}", weight.dtype.name()), cure));
        };
        // Through a buffer of its own, which is aligned wherever the weight begins in the file.
        let data = self.files[weight.file].bytes()[weight.place.clone()].to_vec();
        let storage = QStorage::from_data(Cow::Owned(data), &Device::Cpu, dtype)?;
        Ok(QTensor::new(storage, length)?.dequantize(device)?)
    }

    /// Weights that are recoded at load, by their type and that which they get: how many, and their bytes then.
    pub(super) fn slow_types(&self, device: &Device) -> BTreeMap<(&'static str, &'static str), (usize, usize)> {
        let mut slow = BTreeMap::new();
        let plain = device.is_cpu() && self.is_plain();
        for weight in self.matrices() {
            let floats = (plain && !weight.is_float()).then_some((GgmlDType::F32, None));
            if let Some((faster, group)) = floats.or_else(|| fast_type(weight.dtype)) {
                let faster = Dtype::Candle(faster);
                let row: &mut (usize, usize) = slow.entry((weight.dtype.name(), faster.name())).or_default();
                let (block, bytes) = faster.block();
                let added = group.map_or(0, |group| weight.elements() / group * size_of::<f32>());
                *row = (row.0 + 1, row.1 + weight.elements() / block * bytes + added);
            }
        }
        slow
    }

    /// All numbers of the model.
    pub(super) fn parameters(&self) -> u64 {
        self.weights.values().map(|weight| weight.elements() as u64).sum()
    }

    /// The types of the weights, those with the most bytes first: `Q4_K+Q6_K`. Norms stay F32 in every file and are
    /// left out where there are others.
    pub(super) fn quantization(&self) -> String {
        let mut bytes: BTreeMap<&str, usize> = BTreeMap::new();
        for weight in self.matrices() {
            *bytes.entry(weight.dtype.name()).or_default() += weight.place.len();
        }
        let mut names: Vec<_> = bytes.into_iter().collect();
        names.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        names.into_iter().map(|(name, _)| name).collect::<Vec<_>>().join("+")
    }

    /// The bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes().len() as u64).sum()
    }
}

impl Weight {
    fn is_float(&self) -> bool {
        matches!(self.dtype, Dtype::Candle(GgmlDType::F32 | GgmlDType::F16 | GgmlDType::BF16))
    }

    fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// How the names of a model's files end: `gguf-split` counts from 1.
fn part_suffix(number: usize, parts: usize) -> String {
    format!("-{:05}-of-{parts:05}.gguf", number + 1)
}

/// A whole number below 2^32 of any of the types of whole numbers.
pub(super) fn whole(value: &Value) -> Option<u32> {
    match value {
        Value::I8(n) => u32::try_from(*n).ok(),
        Value::I16(n) => u32::try_from(*n).ok(),
        Value::I32(n) => u32::try_from(*n).ok(),
        Value::I64(n) => u32::try_from(*n).ok(),
        Value::Bool(_) => None,
        other => other.to_u64().ok().and_then(|n| u32::try_from(n).ok()),
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::F32(a), Value::F32(b)) => a == b,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        _ => whole(a).is_some() && whole(a) == whole(b),
    }
}

/// The table of weights, which the reader before has seen to be whole.
struct Table<'h> {
    bytes: &'h [u8],
}

impl Table<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.bytes.split_first_chunk()?;
        self.bytes = rest;
        Some(*head)
    }

    fn size(&mut self) -> Option<usize> {
        usize::try_from(u64::from_le_bytes(self.take()?)).ok()
    }

    /// A name and its weight, whose place counts from where the weights begin.
    fn weight(&mut self) -> Option<(String, Weight)> {
        let length = self.size()?;
        let (name, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        let dimensions = u32::from_le_bytes(self.take()?);
        let mut shape = (0..dimensions).map(|_| self.size()).collect::<Option<Vec<_>>>()?;
        shape.reverse();
        let dtype = Dtype::of_number(u32::from_le_bytes(self.take()?))?;
        let offset = self.size()?;
        let elements = shape.iter().try_fold(1usize, |all, n| all.checked_mul(*n))?;
        let (block, bytes) = dtype.block();
        let end = (elements / block).checked_mul(bytes)?.checked_add(offset)?;
        Some((String::from_utf8(name.to_vec()).ok()?, Weight { file: 0, place: offset..end, shape, dtype }))
    }
}
