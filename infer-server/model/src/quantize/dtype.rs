//! The types of weights in GGUF files that run here: those that candle computes with, and two of llama.cpp's that it
//! does not know, which are recoded at load.
//!
//! Numbers and layouts: `ggml.h`, `ggml-common.h` and `ggml-quants.c` of ggml.

use candle_core::quantized::GgmlDType;

/// The levels of both types of IQ4 (`kvalues_iq4nl` of ggml-common.h): closer where weights are more.
pub(super) const LEVELS: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
/// Elements that share a scale.
const GROUP: usize = 32;

/// The type of a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// One of candle's.
    Candle(GgmlDType),
    /// Blocks of 32: a scale, and levels of 4 bits.
    Iq4Nl,
    /// Blocks of 256: a scale, eight finer ones of 6 bits, and levels of 4 bits.
    Iq4Xs,
}

impl Dtype {
    /// All, by ggml's names and numbers.
    pub const ALL: [(&'static str, u32, Self); 15] = [
        ("F32", 0, Self::Candle(GgmlDType::F32)),
        ("F16", 1, Self::Candle(GgmlDType::F16)),
        ("BF16", 30, Self::Candle(GgmlDType::BF16)),
        ("Q8_0", 8, Self::Candle(GgmlDType::Q8_0)),
        ("Q6_K", 14, Self::Candle(GgmlDType::Q6K)),
        ("Q5_K", 13, Self::Candle(GgmlDType::Q5K)),
        ("Q4_K", 12, Self::Candle(GgmlDType::Q4K)),
        ("Q3_K", 11, Self::Candle(GgmlDType::Q3K)),
        ("Q2_K", 10, Self::Candle(GgmlDType::Q2K)),
        ("Q5_0", 6, Self::Candle(GgmlDType::Q5_0)),
        ("Q5_1", 7, Self::Candle(GgmlDType::Q5_1)),
        ("Q4_0", 2, Self::Candle(GgmlDType::Q4_0)),
        ("Q4_1", 3, Self::Candle(GgmlDType::Q4_1)),
        ("IQ4_NL", 20, Self::Iq4Nl),
        ("IQ4_XS", 23, Self::Iq4Xs),
    ];

    /// The type of a number in a file.
    pub fn of_number(number: u32) -> Option<Self> {
        Self::ALL.iter().find(|(_, other, _)| *other == number).map(|(.., dtype)| *dtype)
    }

    /// ggml's name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(.., dtype)| *dtype == self).map_or("?", |(name, ..)| name)
    }

    /// Elements of a block, and its bytes.
    pub fn block(self) -> (usize, usize) {
        match self {
            Self::Candle(dtype) => (dtype.block_size(), dtype.type_size()),
            Self::Iq4Nl => (GROUP, 2 + GROUP / 2),
            Self::Iq4Xs => (8 * GROUP, 2 + 2 + 4 + 8 * GROUP / 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_lead_to_one_type() {
        for (name, number, dtype) in Dtype::ALL {
            assert_eq!((Dtype::of_number(number), dtype.name()), (Some(dtype), name));
        }
        assert_eq!(Dtype::of_number(4), None);
    }
}
