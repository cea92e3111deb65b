//! The prototype's random workload: a few tensors per layer, sizes and reuses drawn by chance.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::check::check_range;
use crate::closed;
use crate::error::Error;
use crate::order;
use crate::rng::Rng;
use crate::trace::{Kind, Op, Tensor, Trace, TraceBuilder};
use crate::units::MB;

/// Sizes drawn for a tensor, in MB, each with the same probability (the prototype's).
pub const SIZES_MB: [u64; 4] = [4, 8, 16, 32];
/// Strides drawn for a tensor of a CNN (the prototype's); 1 for every other model.
pub const CNN_STRIDES: [u32; 3] = [1, 2, 4];
/// Reuses of a tensor are Binomial(`MAX_REUSES`, reuse_probability) (the prototype's).
pub const MAX_REUSES: u32 = 5;
/// Operations drawn for an access (the prototype's).
pub const OPS: [Op; 5] = [Op::Matmul, Op::Attention, Op::Conv, Op::Relu, Op::Gating];
/// Allowed numbers of layers.
pub const NUM_LAYERS: RangeInclusive<u32> = 1..=1024;
/// Allowed batch sizes.
pub const BATCH_SIZE: RangeInclusive<u32> = 1..=4096;
/// Allowed sequence lengths.
pub const SEQ_LENGTH: RangeInclusive<u32> = 1..=131_072;
/// Allowed reuse probabilities.
pub const REUSE_PROBABILITY: RangeInclusive<f64> = 0.0..=1.0;
/// Allowed limits of tensors taken of each layer.
pub const MAX_TENSORS_PER_LAYER: RangeInclusive<u32> = 1..=1024;

/// Probability that a reuse waits for one layer more in the interleaved pattern (ours: half of the
/// reuses stay in their layer, a quarter fall in the next one, and so on).
const CARRY: f64 = 0.5;

closed! {
    /// A family of models, as the prototype names it.
    #[derive(Default)]
    pub enum ModelType("model_type", "model type") {
        /// Q, K, V and output of each layer.
        #[default]
        Transformer = "Transformer",
        /// Weights, activations and output of each layer.
        Cnn = "CNN",
        /// Weights and activations of each layer.
        Mlp = "MLP",
        /// Expert weights and activations of each layer.
        MoE = "MoE",
    }
}

impl ModelType {
    /// The tensors of a layer.
    fn tensors(self) -> &'static [(&'static str, Kind)] {
        match self {
            Self::Transformer => &[
                ("Q", Kind::Activations),
                ("K", Kind::Activations),
                ("V", Kind::Activations),
                ("output", Kind::Activations),
            ],
            Self::Cnn => {
                &[("weights", Kind::Weights), ("activations", Kind::Activations), ("output", Kind::Activations)]
            }
            Self::Mlp => &[("weights", Kind::Weights), ("activations", Kind::Activations)],
            Self::MoE => &[("expert_weights", Kind::Weights), ("activations", Kind::Activations)],
        }
    }
}

closed! {
    /// In which order reuses come.
    #[derive(Default)]
    pub enum Pattern("pattern", "pattern") {
        /// Reuses fall later in the layer and in following layers.
        #[default]
        Interleaved = "interleaved",
        /// A tensor's accesses come back to back, as the prototype wrote them: every policy gets the same hits.
        Burst = "burst",
    }
}

/// The prototype's sliders.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Synthetic {
    /// Family of models.
    pub model_type: ModelType,
    /// Layers, [`NUM_LAYERS`].
    pub num_layers: u32,
    /// Batch size, [`BATCH_SIZE`]. Recorded for compatibility: the prototype's generator does not use it.
    pub batch_size: u32,
    /// Sequence length, [`SEQ_LENGTH`]. Recorded for compatibility: the prototype's generator does not use it.
    pub seq_length: u32,
    /// Probability of each of five possible reuses of a tensor, [`REUSE_PROBABILITY`].
    pub reuse_probability: f64,
    /// The most tensors taken of each layer, [`MAX_TENSORS_PER_LAYER`].
    pub max_tensors_per_layer: u32,
    /// In which order reuses come.
    pub pattern: Pattern,
}

impl Default for Synthetic {
    fn default() -> Self {
        Self {
            model_type: ModelType::Transformer,
            num_layers: 12,
            batch_size: 32,
            seq_length: 128,
            reuse_probability: 0.3,
            max_tensors_per_layer: 16,
            pattern: Pattern::Interleaved,
        }
    }
}

impl Synthetic {
    /// Fails on the first field that is out of range.
    pub fn check(&self) -> Result<(), Error> {
        check_range("num_layers", self.num_layers, NUM_LAYERS)?;
        check_range("batch_size", self.batch_size, BATCH_SIZE)?;
        check_range("seq_length", self.seq_length, SEQ_LENGTH)?;
        check_range("reuse_probability", self.reuse_probability, REUSE_PROBABILITY)?;
        check_range("max_tensors_per_layer", self.max_tensors_per_layer, MAX_TENSORS_PER_LAYER)
    }

    /// Draws the trace of `seed`.
    pub fn trace(&self, seed: u64) -> Result<Trace, Error> {
        self.check()?;
        let mut rng = Rng::new(seed, "synthetic");
        let mut builder = TraceBuilder::new(self.model_type.name());
        let kinds = self.model_type.tensors();
        let kinds = &kinds[..kinds.len().min(self.max_tensors_per_layer as usize)];
        let layers = self.num_layers as usize;
        // For each layer, its accesses with their position within the layer (0..1).
        let mut slots: Vec<Vec<(f64, u32)>> = vec![Vec::new(); layers];
        for layer in 0..layers {
            for (i, &(name, kind)) in kinds.iter().enumerate() {
                let tensor = builder.tensor(Tensor {
                    name: format!("{name}_{layer}"),
                    bytes: rng.pick(&SIZES_MB) * MB,
                    layer: Some(layer as u32),
                    stride: if self.model_type == ModelType::Cnn { rng.pick(&CNN_STRIDES) } else { 1 },
                    kind,
                })?;
                let first = i as f64 / kinds.len() as f64;
                slots[layer].push((first, tensor));
                let reuses = (0..MAX_REUSES).filter(|_| rng.unit() < self.reuse_probability).count();
                for _ in 0..reuses {
                    let (at, position) = match self.pattern {
                        Pattern::Burst => (layer, first),
                        Pattern::Interleaved => {
                            let mut at = layer;
                            while at + 1 < layers && rng.unit() < CARRY {
                                at += 1;
                            }
                            let earliest = if at == layer { first } else { 0.0 };
                            (at, earliest + rng.unit() * (1.0 - earliest))
                        }
                    };
                    slots[at].push((position, tensor));
                }
            }
        }
        for slot in slots {
            // A first use stays before reuses at the same position, and a burst stays together.
            for index in order::by_key(slot.iter().map(|(position, _)| order::bits(*position))) {
                builder.access(slot[index as usize].1, rng.pick(&OPS))?;
            }
        }
        builder.finish("synthetic workload")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FROZEN: [&str; 13] = [
        "weights_0 16 4 relu",
        "activations_0 8 1 gating",
        "activations_0 8 1 conv",
        "output_0 16 4 relu",
        "weights_1 16 2 conv",
        "weights_1 16 2 conv",
        "activations_0 8 1 relu",
        "activations_1 32 2 relu",
        "output_0 16 4 attention",
        "output_1 8 2 matmul",
        "output_1 8 2 conv",
        "output_1 8 2 attention",
        "output_0 16 4 attention",
    ];

    #[test]
    fn burst_keeps_a_tensor_together() {
        let synthetic = Synthetic { pattern: Pattern::Burst, reuse_probability: 0.9, ..Synthetic::default() };
        let trace = synthetic.trace(1).unwrap();
        let mut runs = trace.accesses().to_vec();
        runs.dedup();
        assert_eq!(runs.len(), trace.tensors().len());
    }

    /// A recipe gives the same bytes for ever: this string may never change.
    #[test]
    fn the_trace_of_a_seed_is_frozen() {
        let spec = Synthetic { model_type: ModelType::Cnn, num_layers: 2, ..Synthetic::default() };
        let trace = spec.trace(7).unwrap();
        let show = |(now, t): (usize, &u32)| {
            let tensor = &trace.tensors()[*t as usize];
            format!("{} {} {} {}", tensor.name, tensor.bytes / MB, tensor.stride, trace.op(now).name())
        };
        let lines: Vec<String> = trace.accesses().iter().enumerate().map(show).collect();
        assert_eq!(lines, FROZEN);
    }

    #[test]
    fn interleaved_and_burst_draw_reuses_from_the_same_law() {
        for pattern in Pattern::ALL {
            let synthetic = Synthetic { num_layers: 1024, pattern, ..Synthetic::default() };
            let trace = synthetic.trace(3).unwrap();
            let reuses = trace.accesses().len() - trace.tensors().len();
            let mean = reuses as f64 / trace.tensors().len() as f64;
            assert!((mean - 1.5).abs() < 0.08, "{mean}");
        }
    }

    #[test]
    fn every_family_has_the_prototypes_tensors() {
        for (model_type, names) in [
            (ModelType::Transformer, "Q_0 K_0 V_0 output_0"),
            (ModelType::Cnn, "weights_0 activations_0 output_0"),
            (ModelType::Mlp, "weights_0 activations_0"),
            (ModelType::MoE, "expert_weights_0 activations_0"),
        ] {
            let trace = Synthetic { model_type, num_layers: 1, ..Synthetic::default() }.trace(0).unwrap();
            let got: Vec<&str> = trace.tensors().iter().map(|t| t.name.as_str()).collect();
            assert_eq!(got.join(" "), names);
        }
    }

    #[test]
    fn out_of_range_names_field_and_range() {
        let error = Synthetic { num_layers: 0, ..Synthetic::default() }.trace(0).unwrap_err();
        assert_eq!(error.to_string(), "num_layers is 0: out of range. Choose a value from 1 to 1024");
        for p in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert!(Synthetic { reuse_probability: p, ..Synthetic::default() }.trace(0).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_request_in_range_makes_a_trace(
            layers in 1u32..40, p in 0.0f64..=1.0, seed: u64, most in 1u32..6, which in 0usize..4, burst: bool,
        ) {
            let synthetic = Synthetic {
                model_type: ModelType::ALL[which],
                num_layers: layers,
                reuse_probability: p,
                max_tensors_per_layer: most,
                pattern: Pattern::ALL[usize::from(burst)],
                ..Synthetic::default()
            };
            let trace = synthetic.trace(seed).unwrap();
            prop_assert_eq!(&trace, &synthetic.trace(seed).unwrap());
            let mut uses = vec![0u32; trace.tensors().len()];
            for t in trace.accesses() {
                uses[*t as usize] += 1;
            }
            prop_assert!(uses.iter().all(|u| (1..=MAX_REUSES + 1).contains(u)));
            prop_assert!(trace.tensors().iter().all(|t| SIZES_MB.contains(&(t.bytes / MB))));
        }
    }
}
