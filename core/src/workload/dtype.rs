//! Number formats.

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// A number format, by the width of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// 32 bits.
    Float32,
    /// 16 bits.
    Float16,
    /// 16 bits.
    Bfloat16,
    /// 8 bits.
    Float8,
    /// 8 bits.
    Int8,
    /// 4 bits, without the scales of a block format.
    Int4,
}

impl Dtype {
    /// Every format.
    pub const ALL: [Self; 6] = [Self::Float32, Self::Float16, Self::Bfloat16, Self::Float8, Self::Int8, Self::Int4];

    /// Other names in use: shorthand, and those of PyTorch.
    const ALIASES: [(&str, Self); 12] = [
        ("f32", Self::Float32),
        ("f16", Self::Float16),
        ("half", Self::Float16),
        ("bf16", Self::Bfloat16),
        ("fp8", Self::Float8),
        ("float8_e4m3fn", Self::Float8),
        ("float8_e5m2", Self::Float8),
        ("i8", Self::Int8),
        ("q8", Self::Int8),
        ("i4", Self::Int4),
        ("q4", Self::Int4),
        ("fp4", Self::Int4),
    ];

    /// The name in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::Float16 => "float16",
            Self::Bfloat16 => "bfloat16",
            Self::Float8 => "float8",
            Self::Int8 => "int8",
            Self::Int4 => "int4",
        }
    }

    /// The format of that name, as `config.json` or common shorthand writes it; `field` is named in the error.
    pub fn from_name(field: &str, name: &str) -> Result<Self, Error> {
        let plain = name.strip_prefix("torch.").unwrap_or(name);
        let named = Self::ALL.into_iter().map(|dtype| (dtype.name(), dtype)).chain(Self::ALIASES);
        let found = named.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(plain));
        found.map(|(_, dtype)| dtype).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::field(field, format!("\"{name}\""), "no such number format", format!("Choose one of {names}"))
        })
    }

    /// Bits an element takes.
    pub fn bits(self) -> u64 {
        match self {
            Self::Float32 => 32,
            Self::Float16 | Self::Bfloat16 => 16,
            Self::Float8 | Self::Int8 => 8,
            Self::Int4 => 4,
        }
    }

    /// Bytes that `elements` take, rounded up.
    pub fn bytes(self, elements: u64) -> Result<u64, Error> {
        product(&[elements, self.bits()]).map(|bits| bits.div_ceil(8))
    }
}

impl Serialize for Dtype {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Dtype {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::from_name("dtype", &name).map_err(serde::de::Error::custom)
    }
}

/// Widths of the elements of a run in bits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bits {
    pub(crate) weights: u64,
    pub(crate) activations: u64,
    pub(crate) kv: u64,
}

/// The product of `factors`, or an error where it passes 64 bits.
pub(crate) fn product(factors: &[u64]) -> Result<u64, Error> {
    factors.iter().try_fold(1u64, |p, f| p.checked_mul(*f)).ok_or_else(|| Error::TooLarge {
        problem: "a tensor of this model has more than 2^64 - 1 bytes".into(),
        cure: "Check the sizes in the configuration, the batch size and the token counts".into(),
    })
}
