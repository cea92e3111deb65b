//! A matrix of weights: in a type that is multiplied fast, and what its blocks have added.

use candle_core::quantized::QMatMul;
use candle_core::{D, DType, Device, Module as _, Result, Tensor};

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

    /// `x W^T`: `[T, inputs]` to `[T, outputs]`. What a group has added counts as often as the sum of its inputs.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.weight.forward(x)?;
        let Some(added) = &self.added else { return Ok(y) };
        let (rows, inputs) = x.dims2()?;
        let groups = added.dim(1)?;
        let sums = x.reshape((rows, groups, inputs / groups))?.sum(D::Minus1)?;
        y + sums.matmul(&added.t()?)?
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
