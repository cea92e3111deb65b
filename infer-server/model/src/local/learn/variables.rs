//! What is learned: A and B of every matrix of every layer, and the optimizer's mean of their gradients and squares.

use accel_core::rng::Rng;
use candle_core::{DType, Device, Result, Tensor, Var};

use crate::error::ModelError;
use crate::local::config::LlamaConfig;
use crate::local::lora::Adapter;
use crate::local::projection::Projection;

/// AdamW as PyTorch has it (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019), without the decay.
const BETAS: [f64; 2] = [0.9, 0.999];
const EPSILON: f64 = 1e-8;
/// The longest step: gradients that are longer together are made this long.
const CLIP: f64 = 1.0;

/// A learned matrix, `[inputs, rank]` or `[rank, outputs]`, and what Adam keeps of it.
pub(super) struct Variable {
    /// Where it stands: layer, matrix, and whether it is B.
    pub(super) place: (usize, Projection, bool),
    pub(super) value: Var,
    /// Of gradients, and of their squares.
    pub(super) means: [Tensor; 2],
}

/// All of them: A and B of each matrix in turn.
pub(super) struct Variables {
    pub(super) all: Vec<Variable>,
    /// What B is multiplied by: alpha over rank.
    pub(super) scale: f64,
}

impl Variables {
    /// A uniform and B zero, as PEFT begins; or those of an adapter that has all of this rank.
    pub(super) fn new(
        config: &LlamaConfig,
        (rank, scale): (usize, f64),
        seed: u64,
        start: Option<&Adapter>,
        device: &Device,
    ) -> std::result::Result<Self, ModelError> {
        let mut rng = Rng::new(seed, "lora");
        let mut all = Vec::with_capacity(config.layers * Projection::ALL.len() * 2);
        for (layer, projection) in (0..config.layers).flat_map(|layer| Projection::ALL.map(|it| (layer, it))) {
            let [outputs, inputs] = projection.shape(config);
            let (down, up) = match start {
                Some(adapter) => {
                    match adapter.delta(layer, projection).map(|it| it.alone(projection, rank)).transpose()? {
                        Some(Some((down, up))) => (down, (up / scale)?),
                        _ => {
                            let problem = format!("{} of layer {layer} is not of rank {rank}", projection.module());
                            let cure = "Begin with an adapter of this rank on all seven modules, or with none".into();
                            return Err(ModelError::Adapter { path: adapter.name.clone(), problem, cure });
                        }
                    }
                }
                // `kaiming_uniform_(a=sqrt(5))` of PyTorch is uniform within 1/sqrt(inputs).
                None => {
                    let most = (inputs as f64).powf(-0.5);
                    let down = (0..inputs * rank).map(|_| ((2.0 * rng.unit() - 1.0) * most) as f32).collect();
                    let up = Tensor::zeros((rank, outputs), DType::F32, device)?;
                    (Tensor::from_vec(down, (inputs, rank), device)?, up)
                }
            };
            for (value, is_up) in [(down, false), (up, true)] {
                let means = [value.zeros_like()?, value.zeros_like()?];
                all.push(Variable { place: (layer, projection, is_up), value: Var::from_tensor(&value)?, means });
            }
        }
        Ok(Self { all, scale })
    }

    /// A and B of a matrix.
    pub(super) fn pair(&self, layer: usize, projection: Projection) -> (&Tensor, &Tensor) {
        let at = 2 * (layer * Projection::ALL.len() + projection as usize);
        (&self.all[at].value, &self.all[at + 1].value)
    }

    /// Step `number`, from 1, against `gradients`, one for each variable.
    pub(super) fn step(&mut self, gradients: &[Tensor], rate: f64, number: u64) -> Result<()> {
        let mut squares = 0.0;
        for gradient in gradients {
            squares += f64::from(gradient.sqr()?.sum_all()?.to_scalar::<f32>()?);
        }
        let shorter = (CLIP / (squares.sqrt() + 1e-6)).min(1.0);
        let unbiased = BETAS.map(|beta| 1.0 - beta.powf(number as f64));
        for (variable, gradient) in self.all.iter_mut().zip(gradients) {
            let gradient = (gradient * shorter)?;
            let news = [gradient.clone(), gradient.sqr()?];
            for ((mean, new), beta) in variable.means.iter_mut().zip(&news).zip(BETAS) {
                *mean = ((&*mean * beta)? + (new * (1.0 - beta))?)?;
            }
            let [mean, square] = &variable.means;
            let spread = ((square / unbiased[1])?.sqrt()? + EPSILON)?;
            let change = ((mean * (rate / unbiased[0]))? / spread)?;
            variable.value.set(&(variable.value.as_tensor() - change)?)?;
        }
        Ok(())
    }
}
