//! Writes a GGUF file, version 3, one tensor after another.
//!
//! The layout is that of <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>: a header, the metadata, a table of
//! tensors whose offsets follow from their shapes and types, and their data, each aligned to 32 bytes. The header needs
//! no data, so no more than a part of one tensor is in memory at a time.

use std::io::{self, Write};

use candle_core::quantized::GgmlDType;

/// What aligns each tensor's data, in bytes: the format's default, which needs no key.
const ALIGNMENT: u64 = 32;

/// A metadata value, of the types that a llama model needs.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    U32(u32),
    F32(f32),
    Bool(bool),
    String(String),
    I32s(Vec<i32>),
    F32s(Vec<f32>),
    Strings(Vec<String>),
}

/// Metadata in the order in which it is written.
pub(super) type Metadata = Vec<(String, Value)>;

/// One row of the table of tensors.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TensorInfo {
    pub(super) name: String,
    /// Outermost dimension first, as Hugging Face has it.
    pub(super) shape: Vec<usize>,
    pub(super) dtype: GgmlDType,
}

impl TensorInfo {
    /// The bytes of its data, without what aligns the next.
    pub(super) fn bytes(&self) -> u64 {
        let elements: usize = self.shape.iter().product();
        (elements / self.dtype.block_size() * self.dtype.type_size()) as u64
    }
}

/// The bytes that align what comes after `bytes`.
pub(super) fn padding(bytes: u64) -> u64 {
    bytes.next_multiple_of(ALIGNMENT) - bytes
}

/// Writes everything before the data; the data follow in the order of `tensors`, each with its [`padding`].
pub(super) fn write_header(out: &mut impl Write, metadata: &Metadata, tensors: &[TensorInfo]) -> io::Result<()> {
    let mut head = Vec::new();
    head.extend_from_slice(b"GGUF");
    head.extend_from_slice(&3u32.to_le_bytes());
    put_u64(&mut head, tensors.len());
    put_u64(&mut head, metadata.len());
    for (key, value) in metadata {
        put_string(&mut head, key);
        put_value(&mut head, value);
    }
    let mut offset = 0u64;
    for tensor in tensors {
        put_string(&mut head, &tensor.name);
        head.extend_from_slice(&(tensor.shape.len() as u32).to_le_bytes());
        for dim in tensor.shape.iter().rev() {
            put_u64(&mut head, *dim);
        }
        head.extend_from_slice(&type_number(tensor.dtype).to_le_bytes());
        head.extend_from_slice(&offset.to_le_bytes());
        offset += tensor.bytes() + padding(tensor.bytes());
    }
    let align = padding(head.len() as u64);
    head.resize(head.len() + align as usize, 0);
    out.write_all(&head)
}

/// `ggml_type` of ggml.h.
fn type_number(dtype: GgmlDType) -> u32 {
    match dtype {
        GgmlDType::F32 => 0,
        GgmlDType::F16 => 1,
        GgmlDType::Q4_0 => 2,
        GgmlDType::Q4_1 => 3,
        GgmlDType::Q5_0 => 6,
        GgmlDType::Q5_1 => 7,
        GgmlDType::Q8_0 => 8,
        GgmlDType::Q8_1 => 9,
        GgmlDType::Q2K => 10,
        GgmlDType::Q3K => 11,
        GgmlDType::Q4K => 12,
        GgmlDType::Q5K => 13,
        GgmlDType::Q6K => 14,
        GgmlDType::Q8K => 15,
        GgmlDType::BF16 => 30,
    }
}

fn put_u64(out: &mut Vec<u8>, value: usize) {
    out.extend_from_slice(&(value as u64).to_le_bytes());
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    put_u64(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// The number of each value's type is that of `gguf_metadata_value_type`.
fn put_value(out: &mut Vec<u8>, value: &Value) {
    let mut array = |kind: u32, len: usize| {
        out.extend_from_slice(&9u32.to_le_bytes());
        out.extend_from_slice(&kind.to_le_bytes());
        put_u64(out, len);
    };
    match value {
        Value::I32s(values) => {
            array(5, values.len());
            values.iter().for_each(|v| out.extend_from_slice(&v.to_le_bytes()));
        }
        Value::F32s(values) => {
            array(6, values.len());
            values.iter().for_each(|v| out.extend_from_slice(&v.to_le_bytes()));
        }
        Value::Strings(values) => {
            array(8, values.len());
            values.iter().for_each(|v| put_string(out, v));
        }
        Value::U32(value) => {
            out.extend_from_slice(&4u32.to_le_bytes());
            out.extend_from_slice(&value.to_le_bytes());
        }
        Value::F32(value) => {
            out.extend_from_slice(&6u32.to_le_bytes());
            out.extend_from_slice(&value.to_le_bytes());
        }
        Value::Bool(value) => {
            out.extend_from_slice(&7u32.to_le_bytes());
            out.push(u8::from(*value));
        }
        Value::String(value) => {
            out.extend_from_slice(&8u32.to_le_bytes());
            put_string(out, value);
        }
    }
}
