//! Rotary positions: by how much each position turns the pairs of a head's numbers.
//!
//! Su et al., "RoFormer", 2021. Longer contexts than trained for: positions divided (Chen et al., "Extending Context
//! Window of Large Language Models via Positional Interpolation", 2023), only those of long wavelengths (Peng et al.,
//! "YaRN", 2023), or by a factor per wavelength that the file gives (Llama 3, LongRoPE). The keys are read as
//! `llama-model.cpp` and `ggml_rope_ext` of llama.cpp read them.

use super::gguf::Gguf;
use crate::error::ModelError;

/// Turns per trained context above which YaRN leaves a wavelength as it is, and below which it divides positions
/// (`beta_fast`, `beta_slow` of the paper and of llama.cpp).
const YARN_TURNS: [f32; 2] = [32.0, 1.0];

/// How positions turn a head.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// The numbers of a head that are turned; those after them stay.
    pub turned: usize,
    /// The base of the wavelengths.
    pub base: f32,
    /// What positions are divided by; 1 for most.
    pub divisor: f32,
    /// The pairs between which YaRN goes over from positions as they are to divided ones; none: all are divided.
    pub yarn: Option<[f32; 2]>,
    /// What turned numbers are multiplied by; 1 for most.
    pub magnitude: f32,
}

impl Rope {
    /// Of a model that was trained with `context` tokens.
    pub(super) fn read(
        gguf: &Gguf,
        key: impl Fn(&str) -> String,
        turned: usize,
        context: usize,
    ) -> Result<Self, ModelError> {
        let base = gguf.number(&key("rope.freq_base"))?.unwrap_or(10_000.0);
        // The old name has no type beside it; without one, llama.cpp takes the scaling as linear.
        let factor = match gguf.number(&key("rope.scaling.factor"))? {
            None => gguf.number(&key("rope.scale_linear"))?,
            factor => factor,
        };
        let factor = factor.unwrap_or(1.0);
        let given = gguf.number(&key("rope.scaling.attn_factor"))?.unwrap_or(1.0);
        let trained = gguf.whole(&key("rope.scaling.original_context_length"))?.filter(|n| *n > 0).unwrap_or(context);
        let (divisor, yarn, magnitude) = match gguf.text(&key("rope.scaling.type")) {
            Some("none") => (1.0, None, given),
            None | Some("linear" | "longrope") => (factor, None, given),
            Some("yarn") => {
                let [fast, slow] = YARN_TURNS;
                let beta = |name, otherwise| Ok::<_, ModelError>(gguf.number(&key(name))?.unwrap_or(otherwise));
                let turns = [beta("rope.scaling.yarn_beta_fast", fast)?, beta("rope.scaling.yarn_beta_slow", slow)?];
                // The pair whose wavelength goes so often into the trained context.
                let pair = |turns: f32| {
                    let wavelength = trained as f32 / (turns * std::f32::consts::TAU);
                    turned as f32 * wavelength.ln() / (2.0 * base.ln())
                };
                let ramp = [pair(turns[0]).floor().max(0.0), pair(turns[1]).ceil().min(turned as f32 - 1.0)];
                (factor, Some(ramp), given * if factor > 1.0 { 1.0 + 0.1 * factor.ln() } else { 1.0 })
            }
            Some(other) => {
                let cure = "linear, yarn, longrope and none are built: take a file of the model with one of them";
                return Err(gguf.unsupported(format!("rope scaling {other} is not built"), cure));
            }
        };
        Ok(Self { turned, base, divisor, yarn, magnitude })
    }

    /// Radians a position turns each pair, with the file's factors of the wavelengths.
    pub(super) fn frequencies(&self, factors: &[f32]) -> Vec<f32> {
        let frequency = |(pair, factor): (usize, &f32)| {
            let plain = 1.0 / self.base.powf((2 * pair) as f32 / self.turned as f32) / factor;
            let divided = plain / self.divisor;
            match self.yarn {
                None => divided,
                Some([from, to]) => {
                    // The least width is llama.cpp's.
                    let share = 1.0 - ((pair as f32 - from) / (to - from).max(0.001)).clamp(0.0, 1.0);
                    divided * (1.0 - share) + plain * share
                }
            }
        };
        factors.iter().enumerate().map(frequency).collect()
    }
}
