//! LoRA: the adapter of a model that stays as it is, learned from questions and how often each label was the answer.
//!
//! - `compute`: the forward pass so that gradients flow; `graph`: kernels in candle's graph.
//! - `variables`: what is learned, and the optimizer; `store`: what is kept between runs.

mod compute;
mod graph;
mod store;
#[cfg(test)]
mod tests;
mod variables;

use std::path::Path;
use std::sync::Arc;

use candle_core::Tensor;
use candle_nn::ops::log_softmax;

pub use super::lora::LoraSettings;
use super::{LocalModel, TextTokenizer, lora};
use crate::error::ModelError;
use crate::{ModelInfo, Prompt};
use compute::{Blocks, Dropout, Frozen, Learning};
pub use store::About;
use variables::Variables;

/// How far the answers to some questions were off, in nats per question.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Loss {
    /// Cross-entropy over the whole vocabulary: what is learned from. It is the sum of the one among labels, which is
    /// what is served, and of minus the logarithm of the labels' mass.
    pub all: f64,
    /// Cross-entropy among the labels.
    pub labels: f64,
}

/// A model and the adapter that it learns.
pub struct Learner {
    model: LocalModel,
    settings: LoraSettings,
    frozen: Frozen,
    variables: Variables,
    steps: u64,
}

impl Learner {
    /// Begins with the adapter that `model` has, or with one that changes nothing.
    ///
    /// # Errors
    /// [`ModelError::Adapter`] where the model's adapter is of another rank.
    pub fn new(model: LocalModel, settings: LoraSettings) -> Result<Self, ModelError> {
        let shape = (settings.rank, settings.alpha / settings.rank as f64);
        let config = &model.llama.config;
        let variables = Variables::new(config, shape, settings.seed, model.adapter.as_ref(), &model.device)?;
        let frozen = Frozen::new(&model.llama, model.info.parameters)?;
        Ok(Self { model, settings, frozen, variables, steps: 0 })
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> Arc<TextTokenizer> {
        self.model.tokenizer()
    }

    /// The model that stays as it is.
    pub fn info(&self) -> ModelInfo {
        self.model.info()
    }

    /// Steps so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Numbers that are learned.
    pub fn parameters(&self) -> usize {
        self.variables.all.iter().map(|variable| variable.value.elem_count()).sum()
    }

    /// One step at a rate: `wanted` are the shares of each label for each item.
    ///
    /// # Errors
    /// What is wrong with the prompt or the shares, or a loss that is no number.
    pub fn learn(&mut self, prompt: &Prompt, wanted: &[Vec<f32>], rate: f64) -> Result<Loss, ModelError> {
        let seed = self.settings.seed.wrapping_mul(1 << 32).wrapping_add(self.steps);
        let dropout = (self.settings.dropout > 0.0).then_some(Dropout { share: self.settings.dropout, seed });
        let (loss, gradients) = self.gradients(prompt, wanted, dropout)?;
        if !loss.all.is_finite() {
            let place = format!("step {}", self.steps + 1);
            return Err(ModelError::Prompt { place, problem: "the loss is no number. Learn at a lower rate".into() });
        }
        self.steps += 1;
        self.variables.step(&gradients, rate, self.steps)?;
        Ok(loss)
    }

    /// The adapter as PEFT has it, in half precision or whole, into a folder.
    ///
    /// # Errors
    /// [`ModelError::Adapter`] where the folder cannot be written.
    pub fn save(&self, dir: &Path, half: bool) -> Result<(), ModelError> {
        let pairs = self.variables.all.chunks_exact(2).map(|pair| {
            let (layer, projection, _) = pair[0].place;
            (layer, projection, pair[0].value.as_detached_tensor(), pair[1].value.as_detached_tensor())
        });
        lora::save(dir, &self.model.llama.config, &self.settings, &self.model.info.name, pairs, half)
    }

    /// The loss and its gradients, one for each variable.
    fn gradients(
        &self,
        prompt: &Prompt,
        wanted: &[Vec<f32>],
        dropout: Option<Dropout>,
    ) -> Result<(Loss, Vec<Tensor>), ModelError> {
        let logits = self.logits(prompt, dropout)?;
        let (loss, of_labels) = self.loss(&logits, prompt, wanted)?;
        let gradients = loss.backward()?;
        let of = |variable: &variables::Variable| {
            let gradient = gradients.get(&variable.value).cloned();
            gradient.ok_or_else(|| ModelError::Internal(format!("no gradient for {:?}", variable.place)))
        };
        let all = self.variables.all.iter().map(of).collect::<Result<_, _>>()?;
        Ok((Loss { all: f64::from(loss.to_scalar::<f32>()?), labels: of_labels }, all))
    }

    /// What follows each item, in candle's graph: `[items, vocabulary]`.
    fn logits(&self, prompt: &Prompt, dropout: Option<Dropout>) -> Result<Tensor, ModelError> {
        self.model.check(prompt)?;
        if prompt.prefix.is_empty() || prompt.items.is_empty() {
            let problem = "a step needs a prefix and an item at least".into();
            return Err(ModelError::Prompt { place: "prompt".into(), problem });
        }
        let blocks = Blocks::new(&prompt.prefix, &prompt.items);
        let (llama, frozen, variables) = (&self.model.llama, &self.frozen, &self.variables);
        let by = Learning { llama, frozen, variables, blocks: &blocks, dropout };
        Ok(llama.logits_by(&by, &blocks.pass, &blocks.ends)?)
    }

    /// The cross-entropy over the vocabulary, in the graph, and the one among labels.
    fn loss(&self, logits: &Tensor, prompt: &Prompt, wanted: &[Vec<f32>]) -> Result<(Tensor, f64), ModelError> {
        let (items, labels) = (prompt.items.len(), prompt.labels.len());
        let fits = |shares: &Vec<f32>| shares.len() == labels && (shares.iter().sum::<f32>() - 1.0).abs() < 1e-3;
        if wanted.len() != items || !wanted.iter().all(fits) {
            let problem = format!("{items} items of {labels} labels need as many shares, which sum to 1");
            return Err(ModelError::Prompt { place: "wanted".into(), problem });
        }
        let wanted = Tensor::from_vec(wanted.concat(), (items, labels), logits.device())?;
        let log = log_softmax(logits, 1)?;
        let log = log.index_select(&Tensor::new(&prompt.labels[..], logits.device())?, 1)?;
        let loss = ((&wanted * &log)?.sum_all()? * (-1.0 / items as f64))?;
        let among = log_softmax(&log.detach(), 1)?;
        let of_labels = (wanted * among)?.sum_all()?.to_scalar::<f32>()?;
        Ok((loss, -f64::from(of_labels) / items as f64))
    }
}
