//! Brings a tensor of a type without fast kernels into one that has them.
//!
//! candle packs Q4_K, Q6_K and Q8_0 for its matrix products on CPUs; the other quantised types run an order of magnitude
//! slower (Q4_0 took 31 s where Q4_K took 1.6 s).

use std::borrow::Cow;

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{Device, Result, Tensor};
use rayon::prelude::*;

/// The elements that one task takes from f32 to a quantised type: 512 KiB of f32, so that many tasks share a tensor and
/// together hold little.
const TASK_ELEMENTS: usize = 1 << 17;

/// The type in which a tensor of `dtype` with rows of `columns` elements runs fast, or `None` where it does already or
/// is not quantised. Types of 5 bits go up to Q6_K, those of 4 and fewer to Q4_K, so that little is lost; where blocks of 256
/// do not fit a row, both go to Q8_0, whose blocks have 32 elements as theirs.
pub fn fast_type(dtype: GgmlDType, columns: usize) -> Option<GgmlDType> {
    let fits = columns.is_multiple_of(GgmlDType::Q4K.block_size());
    match dtype {
        GgmlDType::F32 | GgmlDType::F16 | GgmlDType::BF16 => None,
        GgmlDType::Q8_0 | GgmlDType::Q4K | GgmlDType::Q6K => None,
        GgmlDType::Q8_1 | GgmlDType::Q8K => Some(GgmlDType::Q8_0),
        _ if !fits => Some(GgmlDType::Q8_0),
        GgmlDType::Q5_0 | GgmlDType::Q5_1 | GgmlDType::Q5K => Some(GgmlDType::Q6K),
        GgmlDType::Q4_0 | GgmlDType::Q4_1 | GgmlDType::Q2K | GgmlDType::Q3K => Some(GgmlDType::Q4K),
    }
}

/// Rows of `columns` elements of type `from`, in type `to`; some rows at a time on all cores.
///
/// # Errors
/// Where candle cannot read the data or make one of its shape.
pub fn requantize(data: &[u8], columns: usize, from: GgmlDType, to: GgmlDType) -> Result<Vec<u8>> {
    let row_bytes = columns / from.block_size() * from.type_size();
    let parts: Vec<Vec<u8>> = data
        .par_chunks(rows_a_task(columns) * row_bytes)
        .map(|part| {
            let storage = QStorage::from_data(Cow::Borrowed(part), &Device::Cpu, from)?;
            let rows = part.len() / row_bytes;
            let values = QTensor::new(storage, (rows, columns))?.dequantize(&Device::Cpu)?;
            Ok(QTensor::quantize(&values, to)?.data()?.into_owned())
        })
        .collect::<Result<_>>()?;
    Ok(parts.concat())
}

/// The bytes of `values`, rows of `columns` elements, in type `dtype`.
///
/// # Errors
/// Where a row does not divide into the type's blocks.
pub(super) fn quantize_rows(values: &[f32], columns: usize, dtype: GgmlDType) -> Result<Vec<u8>> {
    let parts: Vec<Vec<u8>> = values
        .par_chunks(rows_a_task(columns) * columns)
        .map(|part| {
            let part = Tensor::from_slice(part, (part.len() / columns, columns), &Device::Cpu)?;
            Ok(QTensor::quantize(&part, dtype)?.data()?.into_owned())
        })
        .collect::<Result<_>>()?;
    Ok(parts.concat())
}

fn rows_a_task(columns: usize) -> usize {
    (TASK_ELEMENTS / columns).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of both signs that repeat late: a linear congruential generator.
    fn numbers(count: usize) -> Vec<f32> {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state) / f64::from(u32::MAX) - 0.5
        };
        (0..count).map(|_| (next() + next() + next()) as f32).collect()
    }

    fn quantized(columns: usize, rows: usize, dtype: GgmlDType) -> QTensor {
        let values = Tensor::from_vec(numbers(rows * columns), (rows, columns), &Device::Cpu).unwrap();
        QTensor::quantize(&values, dtype).unwrap()
    }

    fn largest_difference(a: &QTensor, b: &QTensor) -> f32 {
        let flat = |t: &QTensor| t.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        flat(a).iter().zip(flat(b)).fold(0.0, |most, (a, b)| most.max((a - b).abs()))
    }

    #[test]
    fn a_tensor_without_fast_kernels_gets_one_that_has_them() {
        for (from, columns, to) in [
            (GgmlDType::Q4_0, 512, GgmlDType::Q4K),
            (GgmlDType::Q4_0, 96, GgmlDType::Q8_0),
            (GgmlDType::Q4_1, 256, GgmlDType::Q4K),
            (GgmlDType::Q5_0, 256, GgmlDType::Q6K),
            (GgmlDType::Q5_1, 32, GgmlDType::Q8_0),
            (GgmlDType::Q2K, 256, GgmlDType::Q4K),
            (GgmlDType::Q5K, 256, GgmlDType::Q6K),
        ] {
            let tensor = quantized(columns, 5, from);
            assert_eq!(fast_type(from, columns), Some(to));
            let data = requantize(&tensor.data().unwrap(), columns, from, to).unwrap();
            let storage = QStorage::from_data(Cow::Owned(data), &Device::Cpu, to).unwrap();
            let fast = QTensor::new(storage, tensor.shape()).unwrap();
            // Steps of the 4-bit types are a sixteenth of a range of at most 3.
            assert!(largest_difference(&tensor, &fast) < 3.0 / 16.0, "{from:?}");
        }
    }

    #[test]
    fn a_tensor_with_fast_kernels_stays_as_it_is() {
        for dtype in [GgmlDType::Q4K, GgmlDType::Q6K, GgmlDType::Q8_0, GgmlDType::F32, GgmlDType::F16] {
            assert_eq!(fast_type(dtype, 256), None);
        }
    }

    #[test]
    fn tasks_together_give_what_one_gives() {
        let (columns, rows) = (1024, 300);
        let values = numbers(rows * columns);
        let whole = Tensor::from_slice(&values, (rows, columns), &Device::Cpu).unwrap();
        let whole = QTensor::quantize(&whole, GgmlDType::Q8_0).unwrap();
        assert_eq!(whole.data().unwrap(), quantize_rows(&values, columns, GgmlDType::Q8_0).unwrap());
        let slow = quantized(columns, rows, GgmlDType::Q4_0);
        let once = QTensor::quantize(&slow.dequantize(&Device::Cpu).unwrap(), GgmlDType::Q4K).unwrap();
        let parts = requantize(&slow.data().unwrap(), columns, GgmlDType::Q4_0, GgmlDType::Q4K).unwrap();
        assert_eq!(parts, *once.data().unwrap());
    }
}
