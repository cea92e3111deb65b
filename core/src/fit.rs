//! What one device of many holds and sends, whether that fits it, and how much more would.
//!
//! Weights, keys and values are those of the shapes. What training adds is counted as in Rajbhandari et al. 2020 (ZeRO):
//! gradients as wide as the weights (16 bits at least), and for each weight the states of the optimizer, 12 bytes with
//! Adam and narrow weights. Activations that the backward pass needs are counted matrix by matrix as in Korthikanti et al.
//! 2022, section 4, without the masks of dropouts. In inference, a step holds the token of each sequence before and behind
//! the widest matrix.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Place};
use crate::workload::ModelRef;
use crate::workload::config::layers::{Block, Heads, Layer, Linear, Mixing, Model};
use crate::workload::config::{ModelConfig, Transformer};
use crate::workload::dtype::Bits;
use crate::workload::model_run::{ModelRun, Task};
use crate::workload::parallel::{Parallel, Recompute};

/// A summand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// What is held.
    pub what: String,
    /// Bytes of it.
    pub bytes: u64,
}

/// What a device sends to others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// What for.
    pub what: String,
    /// How.
    pub algorithm: String,
    /// Bytes that it sends in a step: a pass over the prompts in inference, a batch in training.
    pub bytes: u64,
}

/// Whether a model fits a device, and how much of it would.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fit {
    /// Devices that share the model.
    pub devices: u64,
    /// The stage of the pipeline that holds most, from 0; what follows is of a device of that stage.
    pub stage: u64,
    /// Tokens of a sequence, and sequences at once.
    pub context: u64,
    /// Sequences at once on each replica.
    pub batch_size: u64,
    /// What the device holds.
    pub held: Vec<Held>,
    /// Its sum.
    pub bytes: u64,
    /// Bytes of the device.
    pub budget_bytes: u64,
    /// Whether the sum is within the budget.
    pub fits: bool,
    /// The longest context that fits with this batch, up to what the model has positions for; none where not even one token
    /// does.
    pub longest_context: Option<u64>,
    /// Positions of the model.
    pub positions: u64,
    /// The largest batch that fits with this context, up to 2^20.
    pub largest_batch: Option<u64>,
    /// What the device sends.
    pub sent: Vec<Sent>,
    /// What the configuration says and is not counted.
    pub notes: Vec<String>,
}

/// A run of a model, and the memory of a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The run.
    pub model: ModelRun,
    /// Bytes of the device.
    pub budget_bytes: u64,
}

impl Question {
    /// Reads a question as JSON; `input` is named in the errors.
    pub fn from_json(input: &str, text: &[u8]) -> Result<Self, Error> {
        serde_json::from_slice(text).map_err(|e| {
            let place = Place::LineColumn(e.line() as u64, e.column() as u64);
            let cure = "Write {\"model\": {\"model\": NAME, ...}, \"budget_bytes\": N}";
            Error::input(input, place, format!("not a question about a model: {e}"), cure)
        })
    }

    /// Its answer.
    pub fn answer(&self) -> Result<Fit, Error> {
        fit(&self.model, self.budget_bytes)
    }
}

/// The largest batch that is looked for.
const MOST_BATCH: u64 = 1 << 20;
/// Bytes of a state of the optimizer, and of the copy of a narrower weight.
const STATE_BYTES: u64 = 4;
/// Gradients are at least this wide.
const GRADIENT_BITS: u64 = 16;

/// Whether `run` fits a device of `budget_bytes`.
pub fn fit(run: &ModelRun, budget_bytes: u64) -> Result<Fit, Error> {
    run.check_fields()?;
    if let ModelRef::File { file } = &run.model {
        let cure = "Give the name of a preset, or the keys of a config.json";
        return Err(Error::field("model", format!("\"{file}\""), "a file of operators has no context", cure));
    }
    let config = run.model_config()?;
    let ModelConfig::Transformer(model) = &config else {
        let problem = format!("a model of type {} has no context", config.family());
        return Err(Error::field("model", run.name(), problem, "Choose one that reads tokens or patches"));
    };
    let requests = run.requests_of(model);
    let context = requests.iter().map(|request| request.prompt_tokens + request.decode_tokens).max().unwrap_or(1);
    let sum = Sum { run, config: &config, model, bits: run.bits(&config), parallel: run.parallel };
    let batch_size = if run.requests.is_some() { run.batch_size.min(requests.len() as u64) } else { run.batch_size };
    let (stage, held) = sum.fullest(context, batch_size)?;
    let bytes = total(&held);
    let within =
        |context: u64, batch: u64| sum.fullest(context, batch).is_ok_and(|(_, held)| total(&held) <= budget_bytes);
    Ok(Fit {
        devices: run.parallel.devices(),
        stage,
        context,
        batch_size,
        bytes,
        budget_bytes,
        fits: bytes <= budget_bytes,
        longest_context: largest(model.positions(), |context| within(context, batch_size)),
        positions: model.positions(),
        largest_batch: largest(MOST_BATCH, |batch| within(context, batch)),
        sent: sum.sent(context, batch_size, stage),
        notes: model.notes.clone(),
        held,
    })
}

fn total(held: &[Held]) -> u64 {
    held.iter().fold(0, |sum, part| sum.saturating_add(part.bytes))
}

/// The largest of 1..=`most` for which `holds`, where it holds for all below.
fn largest(most: u64, holds: impl Fn(u64) -> bool) -> Option<u64> {
    if !holds(1) {
        return None;
    }
    let (mut good, mut bad) = (1, most + 1);
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if holds(middle) { good = middle } else { bad = middle }
    }
    Some(good)
}

/// What is summed up.
struct Sum<'a> {
    run: &'a ModelRun,
    config: &'a ModelConfig,
    model: &'a Transformer,
    bits: Bits,
    parallel: Parallel,
}

/// Bytes of `elements` of `bits` bits, rounded up; what passes 64 bits is as much as there can be.
fn bytes(elements: u64, bits: u64) -> u64 {
    u64::try_from((u128::from(elements) * u128::from(bits)).div_ceil(8)).unwrap_or(u64::MAX)
}

impl Sum<'_> {
    /// The stage whose devices hold most, and what that is.
    fn fullest(&self, context: u64, batch: u64) -> Result<(u64, Vec<Held>), Error> {
        let mut most: Option<(u64, Vec<Held>)> = None;
        for stage in 0..self.parallel.pipeline {
            let held = self.held(context, batch, stage);
            if most.as_ref().is_none_or(|(_, most)| total(&held) > total(most)) {
                most = Some((stage, held));
            }
        }
        most.ok_or_else(|| Error::Internal("a pipeline without stages".into()))
    }

    /// The share of a stage.
    fn share(&self, stage: u64) -> Model {
        self.model.model.share(self.parallel.cuts(), stage)
    }

    fn held(&self, context: u64, batch: u64, stage: u64) -> Vec<Held> {
        let share = self.share(stage);
        let mut held = Vec::new();
        let mut add = |what: &str, bytes: u64| {
            if bytes > 0 {
                held.push(Held { what: what.to_owned(), bytes });
            }
        };
        let weights = self.run.weight_bytes_of(self.config, &share);
        let own = context.div_ceil(self.parallel.context);
        match self.run.task {
            Task::Inference => {
                add("weights", weights);
                let requests = vec![(own, 0)];
                let kept = share.kept_elements(&requests).saturating_mul(batch);
                add("keys and values", bytes(kept, self.bits.kv));
                add("states", bytes(share.state_bits(self.bits.activations), 1).saturating_mul(batch));
                add("activations", bytes(step_elements(&share).saturating_mul(batch), self.bits.activations));
            }
            Task::Training => {
                let all = share.parameters();
                let experts = expert_parameters(&share);
                // What devices with other batches share: experts among those that hold the same ones.
                let part = |stage: u64, elements: u64, experts: u64| match self.parallel.zero >= stage {
                    true => {
                        (elements - experts).div_ceil(self.parallel.replicas())
                            + experts.div_ceil(self.parallel.same_experts())
                    }
                    false => elements,
                };
                let gradient = self.bits.weights.max(GRADIENT_BITS);
                match self.parallel.zero {
                    3 => add("weights", bytes(part(3, all, experts), self.bits.weights)),
                    _ => add("weights", weights),
                }
                add("gradients", bytes(part(2, all, experts), gradient));
                let states = self.run.optimizer.states(self.bits.weights).len() as u64 * STATE_BYTES;
                if !self.parallel.offload {
                    add("states of the optimizer", part(1, all, experts).saturating_mul(states));
                }
                let tokens = batch.saturating_mul(own);
                let layers = share.layers().map(|(.., layer)| self.kept_activations(layer, context, share.hidden));
                let kept: u64 = layers.fold(0, u64::saturating_add);
                // As many micro-batches are under way as stages follow, the own one included (Narayanan et al. 2021).
                let under_way = self.parallel.pipeline - stage;
                add("activations", bytes(tokens.saturating_mul(kept).saturating_mul(under_way), self.bits.activations));
                let logits = share.head.map_or(0, |head| head.outputs);
                add("logits", bytes(tokens.saturating_mul(logits), self.bits.activations));
            }
        }
        held
    }

    /// Elements that a layer keeps of a token for its backward pass.
    fn kept_activations(&self, layer: &Layer, context: u64, hidden: u64) -> u64 {
        if self.parallel.recompute == Recompute::Full {
            return hidden;
        }
        let ups = |mlp: &crate::workload::config::layers::MlpShape| {
            mlp.ups().map(|up| up.outputs).sum::<u64>() + mlp.down.inputs
        };
        let scores = |heads: &Heads| match self.parallel.recompute {
            // The scores behind their softmax.
            Recompute::None => heads.heads * context.div_ceil(self.parallel.context),
            _ => 0,
        };
        let of_part = |part: &crate::workload::config::layers::Part| {
            let norms = part.norms.iter().filter(|norm| **norm > 0).count() as u64 * hidden;
            norms
                + match &part.block {
                    Block::Mix(mixer) | Block::Cross(mixer) => {
                        let made: u64 = mixer.makes.iter().map(|make| make.linear.outputs).sum();
                        let out: u64 = mixer.outs.iter().map(|out| out.inputs).sum();
                        hidden + made + out + mixer.heads().map_or(0, scores)
                    }
                    Block::Dense(mlp) => hidden + ups(mlp),
                    Block::Chain(chain) => hidden + chain.iter().map(|linear| linear.outputs).sum::<u64>(),
                    Block::Sparse(mixture) => {
                        let shared = mixture.shared.map_or(0, |(mlp, _)| ups(&mlp));
                        let each = mixture.expert.up.inputs + ups(&mixture.expert) + mixture.expert.down.outputs;
                        hidden + mixture.router.outputs + shared + mixture.per_token * each
                    }
                }
        };
        layer.parts.iter().map(of_part).sum()
    }

    fn sent(&self, context: u64, batch: u64, stage: u64) -> Vec<Sent> {
        let share = self.share(stage);
        let parallel = &self.parallel;
        let training = self.run.task == Task::Training;
        let tokens = batch.saturating_mul(context.div_ceil(parallel.context));
        let stream = bytes(tokens.saturating_mul(share.hidden), self.bits.activations);
        // Each sum forward is one backward too.
        let passes = if training { 2 } else { 1 };
        let mut sent = Vec::new();
        let mut add = |what: &str, algorithm: &str, bytes: u64| {
            if bytes > 0 {
                sent.push(Sent { what: what.to_owned(), algorithm: algorithm.to_owned(), bytes });
            }
        };
        // A ring passes all parts but one round, once to sum them up and once to hand them out (Patarasuk and Yuan 2009).
        let around = |bytes: u64, devices: u64| bytes / devices.max(1) * devices.saturating_sub(1);
        if parallel.tensor > 1 {
            let parts = share.layers().flat_map(|(.., layer)| &layer.parts);
            let sums = parts
                .filter(|part| !matches!(&part.block, Block::Sparse(of) if parallel.expert > 1 && of.shared.is_none()));
            let sums = sums.count() as u64;
            let bytes = 2 * around(stream, parallel.tensor);
            add("sums of attention and MLP", "ring all-reduce", bytes.saturating_mul(sums * passes));
        }
        if parallel.expert > 1 {
            let routed = |layer: &Layer| layer.mixture().map_or(0, |mixture| mixture.per_token);
            let routed: u64 = share.layers().map(|(.., layer)| routed(layer)).sum();
            let bytes = 2 * around(stream, parallel.expert);
            add("tokens of experts, there and back", "all-to-all", bytes.saturating_mul(routed * passes));
        }
        if parallel.pipeline > 1 && stage + 1 < parallel.pipeline {
            add("activations to the next stage", "send", stream.saturating_mul(passes));
        }
        if parallel.context > 1 {
            let kept = bytes(share.kept_per_token().saturating_mul(tokens), self.bits.kv);
            add("keys and values", "ring", kept.saturating_mul((parallel.context - 1) * passes));
        }
        if training && parallel.replicas() > 1 {
            let gradients = bytes(share.parameters(), self.bits.weights.max(GRADIENT_BITS));
            let once = around(gradients, parallel.replicas());
            match parallel.zero {
                // Rajbhandari et al. 2020, section 7: weights are gathered for both passes, gradients scattered.
                3 => add("weights and gradients", "all-gather twice, reduce-scatter", 3 * once),
                0 => add("gradients", "ring all-reduce", 2 * once),
                _ => add("gradients and weights", "reduce-scatter, all-gather", 2 * once),
            }
        }
        sent
    }
}

/// Parameters of experts among those of `model`.
fn expert_parameters(model: &Model) -> u64 {
    let mixtures = model.layers().filter_map(|(.., layer)| layer.mixture());
    mixtures
        .map(|mixture| mixture.experts * mixture.expert.matrices().map(|linear| linear.elements()).sum::<u64>())
        .sum()
}

/// Elements that one token takes before and behind the widest matrix, and in the residual stream.
fn step_elements(model: &Model) -> u64 {
    let wide = |linear: &Linear| linear.inputs + linear.outputs;
    let layers = model.layers().flat_map(|(.., layer)| layer.placed()).map(|(linear, ..)| wide(&linear));
    let states = model.layers().flat_map(|(.., layer)| layer.mixers()).map(|mixer| match mixer.mixing {
        Mixing::Attention(heads) => heads.heads * (heads.qk_dim + heads.v_dim),
        Mixing::State { .. } => 0,
    });
    model.hidden + layers.chain(states).chain(model.outside().map(wide)).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::dtype::Dtype;
    use crate::workload::presets::PRESETS;

    const GB: u64 = 1_000_000_000;

    fn shared(name: &str, parallel: &str) -> ModelRun {
        ModelRun { parallel: parallel.parse().unwrap(), ..ModelRun::preset(name) }
    }

    fn held(fit: &Fit, what: &str) -> u64 {
        fit.held.iter().find(|held| held.what == what).map_or(0, |held| held.bytes)
    }

    /// Llama-3.1-70B over 8 devices (Shoeybi et al. 2019, section 3): each has an eighth of every matrix, of 8 heads of keys
    /// and values one, and all of the 161 norms.
    #[test]
    fn tensor_parallel_llama_3_1_70b() {
        let fit = fit(
            &ModelRun { prompt_tokens: Some(1000), decode_tokens: Some(0), ..shared("llama-3.1-70b", "tensor=8") },
            80 * GB,
        )
        .unwrap();
        let (h, kv, inner, vocabulary) = (8192u64, 1024, 28_672, 128_256);
        let layer = (2 * h * h + 2 * h * kv + 3 * h * inner) / 8 + 2 * h;
        let parameters = 80 * layer + 2 * vocabulary * h / 8 + h;
        assert_eq!(held(&fit, "weights"), 2 * parameters);
        assert_eq!(held(&fit, "keys and values"), 1000 * 80 * 2 * 128 * 2);
        assert_eq!(fit.devices, 8);
        // Two sums a layer, each sent twice but for the own part (Patarasuk and Yuan 2009).
        assert_eq!(fit.sent[0].bytes, 80 * 2 * 2 * (1000 * h * 2) / 8 * 7);
    }

    /// DeepSeek-V3 over 8 devices that deal out 256 experts (DeepSpeed-MoE): all but the experts, and 32 of each of 58 layers.
    #[test]
    fn expert_parallel_deepseek_v3() {
        let run = ModelRun { weight_dtype: Some(Dtype::Bfloat16), ..shared("deepseek-v3", "expert=8") };
        let fit = fit(&run, 141 * GB).unwrap();
        let expert = 3 * 7168 * 2048;
        assert_eq!(held(&fit, "weights"), 2 * (671_026_404_352 - 58 * (256 - 32) * expert));
        // A token goes to 8 experts of each of 58 layers and comes back, seven eighths of the ways to other devices.
        assert_eq!(fit.sent[0].bytes, 58 * 8 * 2 * (144 * 7168 * 2) / 8 * 7);
    }

    /// Training Llama-3-8B with Adam in bfloat16 over 64 devices: (2 + 2 + 12) bytes a weight, of which the stages share the
    /// states, the gradients and the weights (Rajbhandari et al. 2020, section 5 and figure 1).
    #[test]
    fn zero_llama_3_8b() {
        let weights = 8_030_261_248u64;
        for (stage, wanted) in [
            (0, 16 * weights),
            (1, 4 * weights + 12 * weights / 64),
            (2, 2 * weights + 14 * weights / 64),
            (3, 16 * weights / 64),
        ] {
            let run = ModelRun { task: Task::Training, ..shared("llama-3-8b", &format!("data=64,zero={stage}")) };
            let fit = fit(&run, 80 * GB).unwrap();
            let states = held(&fit, "weights") + held(&fit, "gradients") + held(&fit, "states of the optimizer");
            assert_eq!(states, wanted, "stage {stage}");
            // Section 7: twice the gradients, and three times in stage 3.
            let sent = fit.sent.iter().map(|sent| sent.bytes).sum::<u64>();
            assert_eq!(sent, if stage == 3 { 3 } else { 2 } * (2 * weights / 64 * 63), "stage {stage}");
        }
        let run = ModelRun { task: Task::Training, ..shared("llama-3-8b", "offload=optimizer") };
        assert_eq!(held(&fit(&run, 80 * GB).unwrap(), "states of the optimizer"), 0);
    }

    /// Korthikanti et al. 2022, equation 1, without dropout: 34 bytes less two masks for each channel of a token, and of the
    /// 5 for each score the 2 behind the softmax. With all computed again, the 2 of what comes into the layer.
    #[test]
    fn activations_are_as_published() {
        let (h, s, b, a, layers) = (128u64, 64, 4, 8, 3);
        let config = format!(
            r#"{{"model_type":"gpt2","n_embd":{h},"n_layer":{layers},"n_head":{a},"n_positions":{s},"vocab_size":100,"torch_dtype":"bfloat16"}}"#
        );
        let config = ModelConfig::from_json("c", config.as_bytes()).unwrap();
        for (recompute, wanted) in
            [("none", s * b * h * 32 + 2 * a * s * s * b), ("selective", s * b * h * 32), ("full", 2 * s * b * h)]
        {
            let run = ModelRun {
                model: ModelRef::Config(Box::new(config.clone())),
                task: Task::Training,
                prompt_tokens: Some(s),
                batch_size: b,
                parallel: format!("recompute={recompute}").parse().unwrap(),
                ..ModelRun::default()
            };
            assert_eq!(held(&fit(&run, GB).unwrap(), "activations"), layers * wanted, "{recompute}");
        }
    }

    /// Each by hand: weights, keys and values of n tokens, and the step of one token before and behind the output head.
    #[test]
    fn longest_contexts() {
        let step = |hidden: u64, vocabulary: u64| 2 * (hidden + hidden + vocabulary);
        // Parameters: 62 layers of q and o of 32 heads, k and v of 16, norms on heads of 128 and four of 5376.
        let gemma =
            262_208 * 5376 + 62 * (5376 * 128 * (2 * 32 + 2 * 16) + 3 * 5376 * 21_504 + 2 * 128 + 4 * 5376) + 5376;
        type Kept = fn(u64) -> u64;
        let cases: [(&str, u64, Kept, u64); 3] = [
            ("llama-3.1-8b", 2 * 8_030_261_248 + step(4096, 128_256), |n| n * 2 * 8 * 128 * 2 * 32, 131_072),
            (
                "gemma-3-27b",
                2 * gemma + step(5376, 262_208),
                |n| 2 * 16 * 128 * 2 * (10 * n + 52 * n.min(1024)),
                131_072,
            ),
            ("mixtral-8x7b", 2 * 46_702_792_704 + step(4096, 32_000), |n| n * 2 * 8 * 128 * 2 * 32, 32_768),
        ];
        for (name, fixed, kept, positions) in cases {
            for memory in [24 * GB, 80 * GB, 141 * GB] {
                let found = fit(&shared(name, ""), memory).unwrap();
                let wanted = (1..=positions).rev().find(|n| fixed + kept(*n) <= memory);
                assert_eq!(found.longest_context, wanted, "{name} on {memory}");
            }
        }
        // DeepSeek-V3 as it is stored takes 8-bit weights and a float32 for each 128 x 128 of them: no single device
        // holds it, and neither do 8 of 80 GB; 8 of 141 GB do, where each keeps the 576 numbers of 61 layers.
        for (parallel, memory, some) in
            [("", 24, false), ("", 80, false), ("", 141, false), ("tensor=8", 80, false), ("tensor=8", 141, true)]
        {
            let found = fit(&shared("deepseek-v3", parallel), memory * GB).unwrap();
            assert_eq!(found.longest_context.is_some(), some, "{parallel} on {memory}");
            if some {
                let fixed = found.bytes - held(&found, "keys and values");
                let wanted = ((memory * GB - fixed) / (61 * 576 * 2)).min(163_840);
                assert_eq!(found.longest_context, Some(wanted));
                // An eighth of each matrix that is split: with its scales, and what every device holds.
                let by_hand = deepseek_share();
                assert_eq!(held(&found, "weights"), by_hand);
            }
        }
    }

    /// Bytes of a device of eight: matrices of 8 bits with 4 bytes for each block of 128 x 128, all else of 16 bits.
    fn deepseek_share() -> u64 {
        let blocks = |rows: u64, cols: u64| rows * cols + rows.div_ceil(128) * cols.div_ceil(128) * 4;
        let attention = blocks(7168, 1536)
            + blocks(1536, 128 / 8 * 192)
            + blocks(7168, 576)
            + blocks(512, 128 / 8 * 256)
            + blocks(128 / 8 * 128, 7168);
        let mlp = |inner: u64| 2 * blocks(7168, inner) + blocks(inner, 7168);
        let small = 2 * (2 * 7168 + 1536 + 512);
        let sparse = 256 * mlp(2048 / 8) + mlp(2048 / 8) + 2 * 7168 * 256;
        61 * (attention + small) + 3 * mlp(18_432 / 8) + 58 * sparse + 2 * 2 * 129_280 / 8 * 7168 + 2 * 7168
    }

    /// Stages hold runs of layers, and the shares of all stages add up to the model.
    #[test]
    fn shares_add_up() {
        for preset in PRESETS.iter().filter(|preset| preset.config().unwrap().transformer().is_some()) {
            let config = preset.config().unwrap();
            let model = &config.transformer().unwrap().model;
            let whole = model.parameters();
            let of = |text: &str| {
                let parallel: Parallel = text.parse().unwrap();
                (0..parallel.pipeline).map(|stage| model.share(parallel.cuts(), stage).parameters()).sum::<u64>()
            };
            assert_eq!(of(""), whole, "{}", preset.name);
            // A tied table is on both ends.
            let twice =
                if model.tied && model.head.is_some() { model.vocabulary.rows * model.vocabulary.width } else { 0 };
            assert_eq!(of("pipeline=2"), whole + twice, "{}", preset.name);
            let eighth = of("tensor=8");
            assert!(eighth >= whole / 8 && eighth < whole, "{}: {eighth} of {whole}", preset.name);
            let run = ModelRun { parallel: "tensor=2".parse().unwrap(), ..ModelRun::preset(preset.name) };
            let found = fit(&run, 80 * GB).unwrap();
            assert_eq!(found.bytes, total(&found.held));
        }
    }
}
