//! Steps of a layer that candle does in several, on one core, or on threads of a pool of its own, which wait for work where
//! the products of floats want the core: here each in one, on rayon's. On other devices than a CPU they are candle's.

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};
use candle_nn::ops::softmax_last_dim;
use rayon::prelude::*;

/// The columns that a row of attention sees: of what is before the pass, and of the pass itself.
pub(super) type Seen = [Range<usize>; 2];

/// The weights of attention: scores `[heads, rows, columns]` times `scale`, and the softmax over what each row sees.
pub(super) fn attention_weights(scores: &Tensor, seen: &[Seen], scale: f64) -> Result<Tensor> {
    if scores.device().is_cpu() {
        return scores.apply_op1_no_bwd(&Weights { seen, scale: scale as f32 });
    }
    let (_, rows, columns) = scores.dims3()?;
    let mut mask = vec![f32::NEG_INFINITY; rows * columns];
    for (mask, seen) in mask.chunks_exact_mut(columns).zip(seen) {
        seen.iter().for_each(|seen| mask[seen.clone()].fill(0.0));
    }
    let mask = Tensor::from_vec(mask, (rows, columns), scores.device())?;
    softmax_last_dim(&(scores * scale)?.broadcast_add(&mask)?)
}

/// The gate's numbers through SiLU, or GELU's approximation by tanh, times what it opens.
pub(super) fn gated(gate: &Tensor, up: &Tensor, gelu: bool) -> Result<Tensor> {
    if gate.device().is_cpu() {
        return gate.apply_op2_no_bwd(up, &Gated { gelu });
    }
    (if gelu { gate.gelu()? } else { gate.silu()? }) * up
}

/// `x` and `scale` times `y`, which has the shape of `x` or is one row of it.
pub(super) fn added(x: &Tensor, y: &Tensor, scale: f64) -> Result<Tensor> {
    if x.device().is_cpu() {
        return x.apply_op2_no_bwd(y, &Added { scale: scale as f32 });
    }
    x.broadcast_add(&if scale == 1.0 { y.clone() } else { (y * scale)? })
}

/// The numbers of a tensor that lie one after the other.
fn numbers<'s>(storage: &'s CpuStorage, layout: &Layout) -> Result<&'s [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(numbers), Some((start, end))) => Ok(&numbers[start..end]),
        _ => bail!("numbers that are no f32, or do not lie one after the other"),
    }
}

struct Weights<'s> {
    seen: &'s [Seen],
    scale: f32,
}

impl CustomOp1 for Weights<'_> {
    fn name(&self) -> &'static str {
        "attention-weights"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let scores = numbers(storage, layout)?;
        let (_, rows, columns) = layout.shape().dims3()?;
        let mut weights = vec![0f32; scores.len()];
        let each = weights.par_chunks_exact_mut(columns).zip(scores.par_chunks_exact(columns)).enumerate();
        each.for_each(|(at, (weights, scores))| {
            let seen = &self.seen[at % rows];
            let all = || seen.iter().flat_map(|seen| &scores[seen.clone()]);
            let most = all().fold(f32::NEG_INFINITY, |most, score| most.max(score * self.scale));
            let mut sum = 0.0;
            for seen in seen {
                for (weight, score) in weights[seen.clone()].iter_mut().zip(&scores[seen.clone()]) {
                    *weight = (score * self.scale - most).exp();
                    sum += *weight;
                }
            }
            for seen in seen {
                weights[seen.clone()].iter_mut().for_each(|weight| *weight /= sum);
            }
        });
        Ok((CpuStorage::F32(weights), layout.shape().clone()))
    }
}

struct Gated {
    gelu: bool,
}

/// Numbers that one core takes at once.
const PIECE: usize = 4096;

impl CustomOp2 for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        of_gate: &Layout,
        up: &CpuStorage,
        of_up: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (gate, up) = (numbers(gate, of_gate)?, numbers(up, of_up)?);
        let mut out = vec![0f32; gate.len()];
        out.par_chunks_mut(PIECE).zip(gate.par_chunks(PIECE)).zip(up.par_chunks(PIECE)).for_each(
            |((out, gate), up)| {
                let all = out.iter_mut().zip(gate).zip(up);
                if self.gelu {
                    // Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016.
                    let root = std::f32::consts::FRAC_2_PI.sqrt();
                    all.for_each(|((out, x), up)| {
                        *out = 0.5 * x * (1.0 + (root * x * (1.0 + 0.044_715 * x * x)).tanh()) * up;
                    });
                } else {
                    all.for_each(|((out, x), up)| *out = x / (1.0 + (-x).exp()) * up);
                }
            },
        );
        Ok((CpuStorage::F32(out), of_gate.shape().clone()))
    }
}

struct Added {
    scale: f32,
}

impl CustomOp2 for Added {
    fn name(&self) -> &'static str {
        "added"
    }

    fn cpu_fwd(&self, x: &CpuStorage, of_x: &Layout, y: &CpuStorage, of_y: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, y) = (numbers(x, of_x)?, numbers(y, of_y)?);
        let columns = of_x.dims().last().copied().unwrap_or(1).max(1);
        if y.len() != x.len() && y.len() != columns {
            bail!("{} numbers and {}, where rows have {columns}", x.len(), y.len());
        }
        let mut out = vec![0f32; x.len()];
        let rows = out.par_chunks_mut(columns).zip(x.par_chunks(columns)).enumerate();
        rows.with_min_len(PIECE.div_ceil(columns)).for_each(|(row, (out, x))| {
            let y = if y.len() == columns { y } else { &y[row * columns..][..x.len()] };
            out.iter_mut().zip(x).zip(y).for_each(|((out, x), y)| *out = x + self.scale * y);
        });
        Ok((CpuStorage::F32(out), of_x.shape().clone()))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// Numbers around zero, some of them large.
    fn some(shape: &[usize]) -> Tensor {
        let count = shape.iter().product::<usize>();
        let numbers: Vec<f32> = (0..count).map(|i| ((i * 7919 % 1009) as f32 - 504.0) / 60.0).collect();
        Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap()
    }

    fn apart(a: &Tensor, b: &Tensor) -> f32 {
        (a - b).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
    }

    #[test]
    fn gates_are_those_of_candle() {
        let (gate, up) = (some(&[37, 300]), (some(&[37, 300]) + 0.5).unwrap());
        for gelu in [false, true] {
            let plain = (if gelu { gate.gelu() } else { gate.silu() }.unwrap() * &up).unwrap();
            assert!(apart(&gated(&gate, &up, gelu).unwrap(), &plain) < 1e-5);
        }
    }

    #[test]
    fn sums_are_those_of_candle() {
        let (x, row) = (some(&[37, 300]), some(&[300]));
        for (y, scale) in [(&(&x * 0.3).unwrap(), 1.0), (&x, 0.22), (&row, 1.0), (&row, -3.0)] {
            let plain = x.broadcast_add(&(y * scale).unwrap()).unwrap();
            assert!(apart(&added(&x, y, scale).unwrap(), &plain) < 1e-6);
        }
        assert!(added(&x, &some(&[299]), 1.0).is_err());
    }

    #[test]
    fn weights_are_those_of_a_mask() {
        let scores = some(&[3, 4, 10]);
        let seen = [[0..6, 6..7], [2..6, 6..8], [0..0, 8..9], [0..6, 8..10]];
        let mask = Tensor::from_vec(
            seen.iter()
                .flat_map(|seen| (0..10).map(|at| if seen.iter().any(|it| it.contains(&at)) { 0.0 } else { f32::MIN }))
                .collect(),
            (4, 10),
            &Device::Cpu,
        );
        let plain = softmax_last_dim(&(&scores * 0.25).unwrap().broadcast_add(&mask.unwrap()).unwrap()).unwrap();
        assert!(apart(&attention_weights(&scores, &seen, 0.25).unwrap(), &plain) < 1e-6);
    }
}
