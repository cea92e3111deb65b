//! The parts of onnx.proto that are read, with its field numbers.

use prost::bytes::Bytes;
use prost::encoding::{WireType, decode_key, decode_varint};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Model {
    #[prost(int64, tag = "1")]
    pub(super) ir_version: i64,
    #[prost(message, optional, tag = "7")]
    pub(super) graph: Option<Graph>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Graph {
    #[prost(message, repeated, tag = "1")]
    pub(super) nodes: Vec<Node>,
    #[prost(string, tag = "2")]
    pub(super) name: String,
    #[prost(message, repeated, tag = "5")]
    pub(super) initializers: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    pub(super) inputs: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "12")]
    pub(super) outputs: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "13")]
    pub(super) values: Vec<ValueInfo>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Node {
    #[prost(string, repeated, tag = "1")]
    pub(super) inputs: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub(super) outputs: Vec<String>,
    #[prost(string, tag = "3")]
    pub(super) name: String,
    #[prost(string, tag = "4")]
    pub(super) op_type: String,
    #[prost(message, repeated, tag = "5")]
    pub(super) attributes: Vec<Attribute>,
}

impl Node {
    /// The attribute of that name.
    pub(super) fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }

    /// The whole number of an attribute.
    pub(super) fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).map_or(default, |attribute| attribute.i)
    }

    /// The whole numbers of an attribute.
    pub(super) fn ints(&self, name: &str) -> Option<&[i64]> {
        self.attribute(name).map(|attribute| attribute.ints.as_slice())
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Attribute {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(int64, tag = "3")]
    pub(super) i: i64,
    #[prost(bytes = "bytes", tag = "4")]
    pub(super) s: Bytes,
    #[prost(message, optional, tag = "5")]
    pub(super) t: Option<Tensor>,
    #[prost(float, repeated, tag = "7")]
    pub(super) floats: Vec<f32>,
    #[prost(int64, repeated, tag = "8")]
    pub(super) ints: Vec<i64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Tensor {
    #[prost(int64, repeated, tag = "1")]
    pub(super) dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    pub(super) data_type: i32,
    /// Packed numbers: only short lists of them are ever decoded.
    #[prost(bytes = "bytes", tag = "4")]
    pub(super) float_data: Bytes,
    #[prost(bytes = "bytes", tag = "5")]
    pub(super) int32_data: Bytes,
    #[prost(bytes = "bytes", tag = "7")]
    pub(super) int64_data: Bytes,
    #[prost(string, tag = "8")]
    pub(super) name: String,
    #[prost(bytes = "bytes", tag = "9")]
    pub(super) raw_data: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ValueInfo {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(message, optional, tag = "2")]
    pub(super) kind: Option<Type>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Type {
    #[prost(message, optional, tag = "1")]
    pub(super) tensor: Option<TensorType>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TensorType {
    #[prost(int32, tag = "1")]
    pub(super) elem_type: i32,
    #[prost(message, optional, tag = "2")]
    pub(super) shape: Option<Dims>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Dims {
    #[prost(message, repeated, tag = "1")]
    pub(super) dims: Vec<Dim>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Dim {
    #[prost(int64, optional, tag = "1")]
    pub(super) value: Option<i64>,
    #[prost(string, tag = "2")]
    pub(super) name: String,
}

/// The messages of the file, by the fields that hold others, to count their parts before they are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    ValueInfo,
    Type,
    TensorType,
    Dims,
    Leaf,
}

impl Message {
    /// What a field holds; none where it is passed over.
    fn field(self, tag: u32) -> Option<Self> {
        Some(match (self, tag) {
            (Self::Model, 7) => Self::Graph,
            (Self::Graph, 1) => Self::Node,
            (Self::Graph, 5) | (Self::Attribute, 5) => Self::Tensor,
            (Self::Graph, 11..=13) => Self::ValueInfo,
            (Self::Node, 5) => Self::Attribute,
            (Self::ValueInfo, 2) => Self::Type,
            (Self::Type, 1) => Self::TensorType,
            (Self::TensorType, 2) => Self::Dims,
            (Self::Node, 1 | 2) | (Self::Attribute, 7 | 8) | (Self::Tensor, 1) | (Self::Dims, 1) => Self::Leaf,
            _ => return None,
        })
    }

    /// Takes the parts of a message from `left`; none where there are more. What is no protobuf is left to the decoder.
    pub(super) fn count(self, mut bytes: &[u8], left: &mut usize) -> Option<()> {
        while !bytes.is_empty() {
            let Ok((tag, wire)) = decode_key(&mut bytes) else { return Some(()) };
            let length = match wire {
                WireType::LengthDelimited => decode_varint(&mut bytes).ok().and_then(|n| usize::try_from(n).ok()),
                WireType::Varint => decode_varint(&mut bytes).ok().map(|_| 0),
                WireType::SixtyFourBit => Some(8),
                WireType::ThirtyTwoBit => Some(4),
                WireType::StartGroup | WireType::EndGroup => None,
            };
            let Some((content, rest)) = length.and_then(|n| bytes.split_at_checked(n)) else { return Some(()) };
            bytes = rest;
            if let Some(inner) = self.field(tag) {
                // Numbers that are packed take a byte each at least.
                let packed = inner == Self::Leaf && matches!(self, Self::Attribute | Self::Tensor);
                *left = left.checked_sub(if packed { content.len().max(1) } else { 1 })?;
                inner.count(if inner == Self::Leaf { &[] } else { content }, left)?;
            }
        }
        Some(())
    }
}

/// Bits of an element, by the numbers of onnx.proto's TensorProto.DataType.
pub(super) fn bits(data_type: i32) -> Option<u64> {
    Some(match data_type {
        1 | 6 | 12 => 32,       // float, int32, uint32
        2 | 3 | 9 => 8,         // uint8, int8, bool
        4 | 5 | 10 | 16 => 16,  // uint16, int16, float16, bfloat16
        7 | 11 | 13 | 14 => 64, // int64, double, uint64, complex64
        15 => 128,              // complex128
        17..=20 | 24 => 8,      // the 8-bit floats
        21..=23 => 4,           // uint4, int4, float4e2m1
        25 | 26 => 2,           // uint2, int2
        _ => return None,
    })
}

/// int64 and int32, whose values shapes are made of.
pub(super) const INT64: i32 = 7;
pub(super) const INT32: i32 = 6;
pub(super) const BOOL: i32 = 9;
pub(super) const UINT8: i32 = 2;
/// What a constant is made of where nothing else is said.
pub(super) const FLOAT: i32 = 1;
