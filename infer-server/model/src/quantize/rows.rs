//! Floats to a quantised type, some rows at a time on all cores.

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Result, Tensor};
use rayon::prelude::*;

/// The elements that one task takes from f32 to a quantised type: 512 KiB of f32, so that many tasks share a tensor and
/// together hold little.
const TASK_ELEMENTS: usize = 1 << 17;

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

    #[test]
    fn tasks_together_give_what_one_gives() {
        let (columns, rows) = (1024, 300);
        let values = numbers(rows * columns);
        let whole = Tensor::from_slice(&values, (rows, columns), &Device::Cpu).unwrap();
        let whole = QTensor::quantize(&whole, GgmlDType::Q8_0).unwrap();
        assert_eq!(whole.data().unwrap(), quantize_rows(&values, columns, GgmlDType::Q8_0).unwrap());
    }
}
