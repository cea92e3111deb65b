//! Quantised weights without fast kernels, said in a type that has them, without another rounding.
//!
//! Blocks of the older types are a scale times whole numbers of up to eight bits, which Q8_0 holds as they are; those of
//! K-quants are a scale times a finer one times whole numbers of up to six bits, which Q6_K holds. What some add to each
//! block is kept beside them: [`Recoded::added`]. Layouts: `ggml-common.h` and `ggml-quants.c` of ggml.

use candle_core::quantized::GgmlDType;
use half::f16;
use rayon::prelude::*;

use super::dtype::{Dtype, LEVELS};

/// Elements of a block of the older types.
const BLOCK: usize = 32;
/// Elements of a block of K-quants.
const SUPER: usize = 256;
/// Bytes of a block of Q8_0.
const Q8_0_BYTES: usize = 34;

/// Weights in another type.
pub struct Recoded {
    /// In the type of [`fast_type`].
    pub data: Vec<u8>,
    /// What is added to each number of a group, group by group; empty where nothing is.
    pub added: Vec<f32>,
}

/// The type in which a weight of `dtype` runs fast, and the elements of a group to which the same is added, if anything
/// is; `None` where it runs fast already or is not quantised. candle packs Q4_K, Q6_K and Q8_0 for its matrix products on
/// CPUs; the other types run an order of magnitude slower (Q4_0 took 31 s where Q4_K took 1.6 s).
pub fn fast_type(dtype: Dtype) -> Option<(GgmlDType, Option<usize>)> {
    match dtype {
        Dtype::Iq4Nl | Dtype::Iq4Xs => Some((GgmlDType::Q8_0, None)),
        Dtype::Candle(dtype) => match dtype {
            GgmlDType::Q4_0 | GgmlDType::Q5_0 => Some((GgmlDType::Q8_0, None)),
            GgmlDType::Q4_1 | GgmlDType::Q5_1 => Some((GgmlDType::Q8_0, Some(BLOCK))),
            GgmlDType::Q3K => Some((GgmlDType::Q6K, None)),
            GgmlDType::Q2K => Some((GgmlDType::Q6K, Some(16))),
            GgmlDType::Q5K => Some((GgmlDType::Q6K, Some(32))),
            _ => None,
        },
    }
}

/// Whole blocks of type `from` in the type of [`fast_type`], on all cores; none where there is no such type.
pub fn recode(data: &[u8], from: Dtype) -> Option<Recoded> {
    let (to, group) = fast_type(from)?;
    let (elements, bytes) = from.block();
    let out = elements / Dtype::Candle(to).block().0 * Dtype::Candle(to).block().1;
    let groups = group.map_or(0, |group| elements / group);
    let blocks = data.len() / bytes;
    let (mut recoded, mut added) = (vec![0u8; blocks * out], vec![0f32; blocks * groups]);
    // One group a block where nothing is added, so that both go in step.
    let mut none = vec![0f32; if groups == 0 { blocks } else { 0 }];
    let sums = if groups == 0 { &mut none } else { &mut added };
    recoded
        .par_chunks_exact_mut(out)
        .zip(sums.par_chunks_exact_mut(groups.max(1)))
        .zip(data.par_chunks_exact(bytes))
        .for_each(|((to, sums), block)| match from {
            Dtype::Iq4Nl => iq4_nl(block, to),
            Dtype::Iq4Xs => iq4_xs(block, to),
            Dtype::Candle(GgmlDType::Q2K) => q2_k(block, to, sums),
            Dtype::Candle(GgmlDType::Q3K) => q3_k(block, to),
            Dtype::Candle(GgmlDType::Q5K) => q5_k(block, to, sums),
            Dtype::Candle(dtype) => older(block, dtype, to, sums),
        });
    Some(Recoded { data: recoded, added })
}

fn half(bytes: &[u8]) -> f32 {
    f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}

/// Q4_0, Q4_1, Q5_0 and Q5_1: a scale, what is added in those that end in 1, fifth bits in those of five, lower and upper
/// halves of bytes. Those that end in 0 have their middle taken off.
fn older(block: &[u8], dtype: GgmlDType, to: &mut [u8], added: &mut [f32]) {
    let five = matches!(dtype, GgmlDType::Q5_0 | GgmlDType::Q5_1);
    let adds = matches!(dtype, GgmlDType::Q4_1 | GgmlDType::Q5_1);
    let middle: i8 = if five { 16 } else { 8 };
    let (head, rest) = block.split_at(if adds { 4 } else { 2 });
    let (fifth, levels) = rest.split_at(if five { 4 } else { 0 });
    let fifth = fifth.iter().rev().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
    to[..2].copy_from_slice(&head[..2]);
    if adds {
        added[0] = half(&head[2..]) + f32::from(middle) * half(head);
    }
    for (j, byte) in levels.iter().enumerate() {
        let bit = |at: usize| ((fifth >> at & 1) << 4) as i8;
        let [low, high] = [(byte & 15) as i8 | bit(j), (byte >> 4) as i8 | bit(j + 16)];
        to[2 + j] = (low - middle) as u8;
        to[2 + 16 + j] = (high - middle) as u8;
    }
}

/// Levels of a table times a scale.
fn iq4_nl(block: &[u8], to: &mut [u8]) {
    to[..2].copy_from_slice(&block[..2]);
    levels(&block[2..], &mut to[2..]);
}

/// Eight blocks, whose scales are products: half precision rounds those by a part in 4096.
fn iq4_xs(block: &[u8], to: &mut [u8]) {
    let (head, rest) = block.split_at(8);
    let high = u16::from_le_bytes([head[2], head[3]]);
    for (group, (bytes, to)) in rest.chunks_exact(16).zip(to.chunks_exact_mut(Q8_0_BYTES)).enumerate() {
        let low = (head[4 + group / 2] >> (4 * (group % 2))) & 15;
        let finer = u16::from(low) | ((high >> (2 * group)) & 3) << 4;
        let scale = half(head) * (f32::from(finer) - 32.0);
        to[..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
        levels(bytes, &mut to[2..]);
    }
}

fn levels(bytes: &[u8], to: &mut [u8]) {
    for (j, byte) in bytes.iter().enumerate() {
        to[j] = LEVELS[usize::from(byte & 15)] as u8;
        to[16 + j] = LEVELS[usize::from(byte >> 4)] as u8;
    }
}

/// A block of Q6_K: whole numbers from -32 to 31, a scale for each 16, one for all.
struct SixBits<'t>(&'t mut [u8]);

impl SixBits<'_> {
    fn scales(&mut self, of_all: &[u8], each: impl Iterator<Item = i8>) {
        for (to, scale) in self.0[192..208].iter_mut().zip(each) {
            *to = scale as u8;
        }
        self.0[208..210].copy_from_slice(&of_all[..2]);
    }

    /// Four bits of 64 numbers lie in 64 bytes' lower halves, those of the next 64 in their upper; two bits in 32 bytes.
    fn put(&mut self, at: usize, value: i8) {
        let bits = (value + 32) as u8;
        let (half, row, column) = (at / 128, at % 128 / 32, at % 32);
        self.0[64 * half + 32 * (row % 2) + column] |= (bits & 15) << (4 * (row / 2));
        self.0[128 + 32 * half + column] |= (bits >> 4) << (2 * row);
    }
}

/// Two bits of element `at` of Q2_K and Q3_K: four rows of 32 share 32 bytes.
fn two_bits(bytes: &[u8], at: usize) -> i8 {
    let (half, row, column) = (at / 128, at % 128 / 32, at % 32);
    ((bytes[32 * half + column] >> (2 * row)) & 3) as i8
}

/// A scale of four bits for each 16 numbers, and four bits of what is taken off.
fn q2_k(block: &[u8], to: &mut [u8], added: &mut [f32]) {
    let (scales, rest) = block.split_at(16);
    let (quants, heads) = rest.split_at(64);
    let mut six = SixBits(to);
    six.scales(heads, scales.iter().map(|scale| (scale & 15) as i8));
    (0..SUPER).for_each(|at| six.put(at, two_bits(quants, at)));
    for (added, scale) in added.iter_mut().zip(scales) {
        *added = -half(&heads[2..]) * f32::from(scale >> 4);
    }
}

/// Third bits lie apart, and so do the upper two bits of the scales.
fn q3_k(block: &[u8], to: &mut [u8]) {
    let (third, rest) = block.split_at(32);
    let (quants, rest) = rest.split_at(64);
    let (scales, head) = rest.split_at(12);
    let scale = |i: usize| {
        let low = if i < 8 { scales[i] & 15 } else { scales[i - 8] >> 4 };
        let high = (scales[8 + i % 4] >> (2 * (i / 4))) & 3;
        (low | high << 4) as i8 - 32
    };
    let mut six = SixBits(to);
    six.scales(head, (0..16).map(scale));
    for at in 0..SUPER {
        let there = third[at % 32] >> (at / 32) & 1 == 1;
        six.put(at, two_bits(quants, at) - if there { 0 } else { 4 });
    }
}

/// Scales and what is taken off have six bits each for 32 numbers, eight of both in twelve bytes.
fn q5_k(block: &[u8], to: &mut [u8], added: &mut [f32]) {
    let (head, rest) = block.split_at(4);
    let (scales, rest) = rest.split_at(12);
    let (fifth, quants) = rest.split_at(32);
    let both = |i: usize| {
        if i < 4 {
            [scales[i] & 63, scales[i + 4] & 63]
        } else {
            let high = |at: usize| (scales[at] >> 6) << 4;
            [scales[i + 4] & 15 | high(i - 4), scales[i + 4] >> 4 | high(i)]
        }
    };
    let mut six = SixBits(to);
    six.scales(head, (0..16).map(|i| both(i / 2)[0] as i8));
    for at in 0..SUPER {
        let (row, column) = (at / 32, at % 32);
        let low = (quants[32 * (row / 2) + column] >> (4 * (row % 2))) & 15;
        six.put(at, (low | (fifth[column] >> row & 1) << 4) as i8);
    }
    for (i, added) in added.iter_mut().enumerate() {
        *added = -half(&head[2..]) * f32::from(both(i)[1]);
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use candle_core::Device;
    use candle_core::quantized::{QStorage, QTensor};

    use super::*;

    const GROUP: usize = 32;

    /// The numbers of whole blocks of IQ4_NL: a scale in half precision, then the lower and the upper four bits of 16 bytes.
    fn numbers_nl(data: &[u8]) -> Vec<f32> {
        let mut values = Vec::with_capacity(data.len() / 18 * GROUP);
        for block in data.chunks_exact(18) {
            let (scale, levels) = block.split_at(2);
            extend(&mut values, half(scale), levels);
        }
        values
    }

    /// The numbers of whole blocks of IQ4_XS: the upper two bits of the finer scales lie apart from their lower four.
    fn numbers_xs(data: &[u8]) -> Vec<f32> {
        let mut values = Vec::with_capacity(data.len() / 136 * 8 * GROUP);
        for block in data.chunks_exact(136) {
            let (head, levels) = block.split_at(8);
            let (scale, high) = (half(head), u16::from_le_bytes([head[2], head[3]]));
            for (group, levels) in levels.chunks_exact(GROUP / 2).enumerate() {
                let low = (head[4 + group / 2] >> (4 * (group % 2))) & 15;
                let finer = u16::from(low) | (((high >> (2 * group)) & 3) << 4);
                extend(&mut values, scale * (f32::from(finer) - 32.0), levels);
            }
        }
        values
    }

    fn extend(values: &mut Vec<f32>, scale: f32, levels: &[u8]) {
        let level = |bits: u8| scale * f32::from(LEVELS[usize::from(bits & 15)]);
        values.extend(levels.iter().map(|byte| level(*byte)));
        values.extend(levels.iter().map(|byte| level(*byte >> 4)));
    }

    /// A scale of a half, then bytes that go through all bits.
    fn block(bytes: u32) -> Vec<u8> {
        [0x00, 0x38].into_iter().chain((0..bytes - 2).map(|i| (i * 37 + 11) as u8)).collect()
    }

    /// What `gguf.quants.dequantize` of the package gguf 0.19.0 says of the same blocks.
    #[test]
    fn numbers_of_iq4_are_those_of_the_gguf_package() {
        let values = numbers_nl(&block(18));
        assert_eq!([0, 1, 15, 16, 31].map(|i| values[i]), [19.0, -63.5, -11.0, -63.5, -32.5]);
        assert_eq!((values.len(), values.iter().sum::<f32>()), (32, -207.5));
        let values = numbers_xs(&block(136));
        let some = [0, 1, 15, 16, 31, 32, 100, 200, 255].map(|i| values[i]);
        assert_eq!(some, [136.5, 934.5, -514.5, 934.5, -1092.0, 32.5, -862.5, -1040.0, 490.0]);
        assert_eq!((values.len(), values.iter().sum::<f32>()), (256, 7933.0));
    }

    fn numbers(data: &[u8], dtype: GgmlDType, elements: usize) -> Vec<f32> {
        let storage = QStorage::from_data(Cow::Borrowed(data), &Device::Cpu, dtype).unwrap();
        let tensor = QTensor::new(storage, elements).unwrap().dequantize(&Device::Cpu).unwrap();
        tensor.to_vec1().unwrap()
    }

    /// Where the halves lie that scale a block, which must not be infinite.
    fn halves(dtype: Dtype) -> &'static [usize] {
        match dtype {
            Dtype::Candle(GgmlDType::Q2K) => &[80, 82],
            Dtype::Candle(GgmlDType::Q3K) => &[108],
            Dtype::Candle(GgmlDType::Q4_1 | GgmlDType::Q5_1 | GgmlDType::Q5K) => &[0, 2],
            _ => &[0],
        }
    }

    #[test]
    fn nothing_is_rounded_again() {
        for (name, _, dtype) in Dtype::ALL {
            let Some((to, group)) = fast_type(dtype) else { continue };
            let (elements, bytes) = dtype.block();
            let blocks = 64;
            // Bits of all kinds: a linear congruential generator.
            let mut state = 1u32;
            let mut data: Vec<u8> = (0..blocks * bytes)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 24) as u8
                })
                .collect();
            for (i, block) in data.chunks_mut(bytes).enumerate() {
                for at in halves(dtype) {
                    let scale = f16::from_f32((i as f32 - 20.0) / 300.0 + *at as f32 / 7000.0);
                    block[*at..at + 2].copy_from_slice(&scale.to_le_bytes());
                }
            }
            let count = blocks * elements;
            let wanted = match dtype {
                Dtype::Iq4Nl => numbers_nl(&data),
                Dtype::Iq4Xs => numbers_xs(&data),
                Dtype::Candle(dtype) => numbers(&data, dtype, count),
            };
            let recoded = recode(&data, dtype).unwrap();
            let mut got = numbers(&recoded.data, to, count);
            if let Some(group) = group {
                got.chunks_mut(group).zip(&recoded.added).for_each(|(group, more)| {
                    group.iter_mut().for_each(|number| *number += more);
                });
                assert_eq!(recoded.added.len(), count / group);
            }
            let most = wanted.iter().fold(0f32, |most, number| most.max(number.abs()));
            // The order of sums in single precision; half precision in the products of IQ4_XS.
            let rounding = if dtype == Dtype::Iq4Xs { 1.0 / 2048.0 } else { 1e-6 };
            for (got, wanted) in got.iter().zip(&wanted) {
                assert!((got - wanted).abs() <= rounding * most, "{name}: {got} for {wanted}, {most}");
            }
        }
    }

    #[test]
    fn types_with_fast_kernels_stay() {
        for dtype in [GgmlDType::Q4K, GgmlDType::Q6K, GgmlDType::Q8_0, GgmlDType::F32, GgmlDType::F16] {
            assert!(fast_type(Dtype::Candle(dtype)).is_none() && recode(&[], Dtype::Candle(dtype)).is_none());
        }
    }
}
