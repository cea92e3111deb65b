//! Weights that bitsandbytes keeps in 4 bits (NF4 and FP4), with or without double quantisation, as floats again.
//!
//! A weight is a list of bytes, the first of two elements in the upper half. An element is an index into `quant_map`,
//! times the largest absolute value (`absmax`) of its block of 64 or so elements. With double quantisation `absmax` is
//! quantised as well: an index of 8 bits into `nested_quant_map`, times `nested_absmax` of its block of 256, plus
//! `nested_offset`. The product is rounded to the type that the model was saved from. All of it in the order and the
//! precision of `dequantize_4bit` of bitsandbytes, so that the floats are the same bit for bit
//! (<https://github.com/bitsandbytes-foundation/bitsandbytes/blob/main/bitsandbytes/functional.py>).

use half::{bf16, f16};
use serde::Deserialize;

/// The end of the key under which a weight's state is kept, before the name of the type.
pub(super) const STATE: &str = ".quant_state.bitsandbytes__";

/// What `quant_state` holds, as JSON.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct State {
    pub(super) blocksize: usize,
    pub(super) dtype: String,
    pub(super) shape: Vec<usize>,
    pub(super) nested_blocksize: Option<usize>,
    #[serde(default)]
    pub(super) nested_offset: f64,
}

/// The type to which a weight is rounded.
#[derive(Debug, Clone, Copy)]
enum Rounding {
    F32,
    F16,
    Bf16,
}

/// A weight in 4 bits.
#[derive(Debug)]
pub(super) struct Weight {
    packed: Vec<u8>,
    code: Vec<f32>,
    /// One value per block.
    absmax: Vec<f32>,
    blocksize: usize,
    rounding: Rounding,
}

/// `absmax` as it is stored.
pub(super) enum Absmax {
    /// As it is.
    Plain(Vec<f32>),
    /// Quantised itself.
    Nested {
        /// One index a block of the weight.
        indices: Vec<u8>,
        /// What each index means, 256 values.
        code: Vec<f32>,
        /// The largest absolute value of each block of indices.
        absmax: Vec<f32>,
    },
}

impl Weight {
    /// Puts a weight together; `Err` says what does not fit.
    pub(super) fn new(state: &State, packed: Vec<u8>, code: Vec<f32>, absmax: Absmax) -> Result<Self, String> {
        let rounding = match state.dtype.as_str() {
            "float32" => Rounding::F32,
            "float16" => Rounding::F16,
            "bfloat16" => Rounding::Bf16,
            other => return Err(format!("its floats are of type {other}, not float32, float16 or bfloat16")),
        };
        let elements = state
            .shape
            .iter()
            .try_fold(1usize, |product, dim| product.checked_mul(*dim))
            .ok_or_else(|| format!("its shape {:?} is too large", state.shape))?;
        let expect = |what: &str, is: usize, should: usize| {
            if is == should { Ok(()) } else { Err(format!("{what} has {is} elements, not {should}")) }
        };
        if state.blocksize == 0 {
            return Err("its blocks have 0 elements".to_owned());
        }
        expect("the packed weight", packed.len(), elements.div_ceil(2))?;
        expect("quant_map", code.len(), 16)?;
        let blocks = elements.div_ceil(state.blocksize);
        let absmax = match absmax {
            Absmax::Plain(absmax) => absmax,
            Absmax::Nested { indices, code, absmax } => {
                let blocksize = state.nested_blocksize.filter(|size| *size > 0).ok_or("it has no nested_blocksize")?;
                expect("nested_quant_map", code.len(), 256)?;
                expect("nested_absmax", absmax.len(), indices.len().div_ceil(blocksize))?;
                let offset = state.nested_offset as f32;
                let mut values: Vec<f32> = indices.iter().map(|index| code[usize::from(*index)]).collect();
                for (block, largest) in values.chunks_mut(blocksize).zip(&absmax) {
                    block.iter_mut().for_each(|value| *value = *value * largest + offset);
                }
                values
            }
        };
        expect("absmax", absmax.len(), blocks)?;
        Ok(Self { packed, code, absmax, blocksize: state.blocksize, rounding })
    }

    /// The elements from `first` on, as many as `out` takes.
    pub(super) fn dequantize(&self, first: usize, out: &mut [f32]) {
        for (element, value) in (first..).zip(out) {
            let byte = self.packed[element / 2];
            let index = if element.is_multiple_of(2) { byte >> 4 } else { byte & 15 };
            let exact = self.code[usize::from(index)] * self.absmax[element / self.blocksize];
            *value = match self.rounding {
                Rounding::F32 => exact,
                Rounding::F16 => f16::from_f32(exact).to_f32(),
                Rounding::Bf16 => bf16::from_f32(exact).to_f32(),
            };
        }
    }
}
