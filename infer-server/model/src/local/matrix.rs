//! A matrix of weights: in a type that is multiplied fast, and what its blocks have added.

use std::borrow::Cow;

use candle_core::quantized::{QMatMul, QStorage, QTensor};
use candle_core::{D, DType, Device, Module as _, Result, Tensor};
use rayon::prelude::*;

use crate::quantize::dtype::Dtype;
use crate::quantize::recode::{fast_type, recode};

/// Numbers that a thread says in f32 at a time: 256 kB, which stays in its core's cache until they are where they belong.
const PIECE: usize = 1 << 16;

/// `[outputs, inputs]`. Clones share it.
#[derive(Clone)]
pub(super) struct Matrix {
    weight: QMatMul,
    /// What each group of a row's numbers has added, `[outputs, groups]`.
    added: Option<Tensor>,
}

impl Matrix {
    pub(super) fn new(weight: QMatMul, added: Option<Tensor>) -> Self {
        Self { weight, added }
    }

    /// Quantised numbers as they lie in a file, `[outputs, inputs]`: in their own type where that is fast, else in another; none
    /// where there is none.
    pub(super) fn read(bytes: &[u8], dtype: Dtype, shape: [usize; 2], device: &Device) -> Result<Option<Self>> {
        let [rows, columns] = shape;
        let mut added = None;
        let storage = match (fast_type(dtype), dtype) {
            (Some((faster, group)), _) => {
                let Some(recoded) = recode(bytes, dtype) else { return Ok(None) };
                if let Some(group) = group {
                    added = Some(Tensor::from_vec(recoded.added, (rows, columns / group), device)?);
                }
                QStorage::from_data(Cow::Owned(recoded.data), device, faster)?
            }
            (None, Dtype::Candle(dtype)) => QStorage::from_data(Cow::Owned(bytes.to_vec()), device, dtype)?,
            (None, Dtype::Iq4Nl | Dtype::Iq4Xs) => return Ok(None),
        };
        let weight = QMatMul::from_qtensor(QTensor::new(storage, (rows, columns))?)?;
        Ok(Some(Self::new(weight, added)))
    }

    /// The same numbers in f32, said on all cores; none as in [`Matrix::read`].
    pub(super) fn plain(bytes: &[u8], dtype: Dtype, shape: [usize; 2]) -> Result<Option<Self>> {
        let [rows, columns] = shape;
        let mut numbers = vec![0f32; rows * columns];
        let at_once = (PIECE / columns.max(1)).clamp(1, rows.max(1));
        let row_bytes = bytes.len() / rows.max(1);
        let pieces =
            numbers.par_chunks_mut((at_once * columns).max(1)).zip(bytes.par_chunks((at_once * row_bytes).max(1)));
        let said = pieces.map(|(to, bytes)| -> Result<bool> {
            let Some(piece) = Self::read(bytes, dtype, [to.len() / columns, columns], &Device::Cpu)? else {
                return Ok(false);
            };
            to.copy_from_slice(&piece.numbers(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?);
            Ok(true)
        });
        if !said.try_reduce(|| true, |a, b| Ok(a && b))? {
            return Ok(None);
        }
        let weight = QMatMul::Tensor(Tensor::from_vec(numbers, (rows, columns), &Device::Cpu)?);
        Ok(Some(Self::new(weight, None)))
    }

    /// `x W^T`: `[T, inputs]` to `[T, outputs]`. What a group has added counts as often as the sum of its inputs.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.weight.forward(x)?;
        let Some(added) = &self.added else { return Ok(y) };
        let (rows, inputs) = x.dims2()?;
        let groups = added.dim(1)?;
        let sums = x.reshape((rows, groups, inputs / groups))?.sum(D::Minus1)?;
        y + sums.matmul(&added.t()?)?
    }

    /// Whether its numbers are quantised in memory.
    pub(super) fn is_quantised(&self) -> bool {
        matches!(self.weight, QMatMul::QTensor(_))
    }

    /// Some of its rows: `[ids, inputs]`.
    pub(super) fn rows(&self, ids: &Tensor) -> Result<Tensor> {
        let rows = self.weight.embedding(ids)?;
        let Some(added) = &self.added else { return Ok(rows) };
        widened(&rows, &added.index_select(ids, 0)?)
    }

    /// Its numbers, in f32.
    pub(super) fn numbers(&self, device: &Device) -> Result<Tensor> {
        let numbers = match &self.weight {
            QMatMul::QTensor(weight) => weight.dequantize(device)?,
            QMatMul::Tensor(weight) | QMatMul::TensorF16(weight) => weight.to_dtype(DType::F32)?,
        };
        let Some(added) = &self.added else { return Ok(numbers) };
        widened(&numbers, added)
    }
}

/// Rows with what their groups have added.
fn widened(rows: &Tensor, added: &Tensor) -> Result<Tensor> {
    let (count, columns) = rows.dims2()?;
    let groups = added.dim(1)?;
    let rows = rows.reshape((count, groups, columns / groups))?;
    rows.broadcast_add(&added.reshape((count, groups, 1))?)?.reshape((count, columns))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each piece as the whole, to the bit.
    #[test]
    fn numbers_said_by_pieces_are_those_of_the_whole() {
        use candle_core::quantized::GgmlDType::{Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
        // Two pieces of 256 rows and a part of one, or one that is not full.
        for (rows, columns) in [(600, 256), (3, 512)] {
            let numbers: Vec<f32> =
                (0..rows * columns).map(|i| (i as f32 * 0.37).sin() * (1.0 + (i % 7) as f32)).collect();
            let numbers = Tensor::from_vec(numbers, (rows, columns), &Device::Cpu).unwrap();
            for dtype in [Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0] {
                let bytes = QTensor::quantize(&numbers, dtype).unwrap().data().unwrap().into_owned();
                let (dtype, shape) = (Dtype::Candle(dtype), [rows, columns]);
                let read = |matrix: Option<Matrix>| {
                    let numbers = matrix.unwrap().numbers(&Device::Cpu).unwrap();
                    numbers.flatten_all().unwrap().to_vec1::<f32>().unwrap()
                };
                let whole = read(Matrix::read(&bytes, dtype, shape, &Device::Cpu).unwrap());
                let pieces = read(Matrix::plain(&bytes, dtype, shape).unwrap());
                assert!(whole.iter().zip(&pieces).all(|(a, b)| a.to_bits() == b.to_bits()), "{}", dtype.name());
                assert_eq!(whole.len(), pieces.len());
            }
        }
    }
}
