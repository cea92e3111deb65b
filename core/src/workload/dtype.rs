//! Number formats.

use crate::closed;
use crate::error::Error;

closed! {
    /// A number format, by the width of an element. Its other names are shorthand and those of PyTorch.
    pub enum Dtype("dtype", "number format") {
        /// 32 bits.
        Float32 = "float32" or "f32" or "torch.float32" or "torch.f32",
        /// 16 bits.
        Float16 = "float16" or "f16" or "half" or "torch.float16" or "torch.half" or "torch.f16",
        /// 16 bits.
        Bfloat16 = "bfloat16" or "bf16" or "torch.bfloat16" or "torch.bf16",
        /// 8 bits.
        Float8 = "float8" or "fp8" or "float8_e4m3fn" or "float8_e5m2" or "torch.float8_e4m3fn" or "torch.float8_e5m2" or "torch.float8" or "torch.fp8",
        /// 8 bits.
        Int8 = "int8" or "i8" or "q8" or "torch.int8" or "torch.i8" or "torch.q8",
        /// 4 bits, without the scales of a block format.
        Int4 = "int4" or "i4" or "q4" or "fp4" or "torch.int4" or "torch.i4" or "torch.q4" or "torch.fp4",
    }
}

impl Dtype {
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
