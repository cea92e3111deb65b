//! Chains of linear layers, and single matrix multiplications.

use serde::Serialize;

use super::keys::Keys;
use crate::error::Error;
use crate::workload::dtype::Dtype;

/// A chain of linear layers with an activation between them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "model_type", rename = "mlp")]
pub struct Mlp {
    /// Widths, from the input to the output.
    pub layers: Vec<u64>,
    /// Whether the layers have biases.
    pub bias: bool,
    /// Number format of the weights.
    pub torch_dtype: Dtype,
}

impl Mlp {
    pub(super) fn from_keys(keys: &Keys<'_>) -> Result<Self, Error> {
        let layers = keys.list("layers", 2..=4096, 1 << 24)?;
        Ok(Self { layers, bias: keys.flag("bias", true)?, torch_dtype: keys.dtype()? })
    }

    pub(super) fn parameters(&self) -> u64 {
        let bias = u64::from(self.bias);
        // At most 2^12 layers of 2^48 elements.
        self.layers.windows(2).map(|w| (w[0] + bias) * w[1]).sum()
    }
}

/// C = A x B, where A has m rows and k columns, and B has n columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "model_type", rename = "gemm")]
pub struct Gemm {
    /// Rows of A and C.
    pub m: u64,
    /// Columns of B and C.
    pub n: u64,
    /// Columns of A and rows of B.
    pub k: u64,
    /// Number format of all three.
    pub torch_dtype: Dtype,
}

impl Gemm {
    pub(super) fn from_keys(keys: &Keys<'_>) -> Result<Self, Error> {
        let side = |name| keys.required(&[name], 1 << 24);
        Ok(Self { m: side("m")?, n: side("n")?, k: side("k")?, torch_dtype: keys.dtype()? })
    }
}
