//! A model at work: its shapes, its load, and how its tensors are stored.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::config::{Facts, ModelConfig, Network, Tokens, Transformer, product};
use super::dtype::Dtype;
use super::plan::{Dataflow, Plan, Step, Val};
use super::requests::{Request, Requests};
use super::routing::{ExpertLog, Routing};
use super::train::{Optimizer, train};
use super::transformer::{Experts, Passes};
use super::{ModelRef, check_range, cnn, mlp};
use crate::error::Error;
use crate::trace::Trace;
use crate::units::MIB;

/// What the model does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// It answers: a decoder reads prompts and decodes tokens, the others run forwards once a step.
    #[default]
    Inference,
    /// It learns: forwards, backwards and the optimizer.
    Training,
}

impl Task {
    /// Every task.
    pub const ALL: [Self; 2] = [Self::Inference, Self::Training];

    /// The name in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inference => "inference",
            Self::Training => "training",
        }
    }

    /// The task of that name.
    pub fn from_name(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|known| known.name().eq_ignore_ascii_case(name)).ok_or_else(|| {
            Error::field("task", format!("\"{name}\""), "no such task", "Choose inference or training")
        })
    }
}

/// How a convolution is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Convolution {
    /// From the image itself.
    #[default]
    Direct,
    /// From a matrix in which every position of the filter has its elements in a row: it is written first.
    Im2col,
}

impl Convolution {
    /// Every way.
    pub const ALL: [Self; 2] = [Self::Direct, Self::Im2col];

    /// The name in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Im2col => "im2col",
        }
    }

    /// The way of that name.
    pub fn from_name(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|known| known.name().eq_ignore_ascii_case(name)).ok_or_else(|| {
            Error::field("convolution", format!("\"{name}\""), "no such way", "Choose direct or im2col")
        })
    }
}

/// One run of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelRun {
    /// The model.
    pub model: ModelRef,
    /// What it does.
    #[serde(skip_serializing_if = "is_default")]
    pub task: Task,
    /// Sequences, images or rows worked on together, 1..=4096. Of requests that come at different times, as many run
    /// at once.
    pub batch_size: u64,
    /// Tokens of each prompt, or of each sequence in training, 1..=131072; 128 where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<u64>,
    /// Tokens decoded after the prompt, 0..=131072; 16 where absent and the model decodes. In the training of a model
    /// with two stacks, the length of the answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode_tokens: Option<u64>,
    /// Requests of different lengths and arrivals, in place of equal ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<Requests>,
    /// Batches one after the other, 1..=1000: of images or rows, or of training.
    #[serde(skip_serializing_if = "is_one")]
    pub steps: u64,
    /// Number format of the weights, where it is not the model's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_dtype: Option<Dtype>,
    /// Number format of the KV cache, where it is not that of the activations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_dtype: Option<Dtype>,
    /// The largest block that moves as one, 1 KiB..=1 TiB.
    pub tile_bytes: u64,
    /// The order in which matrix multiplications walk over their tiles; each tile once where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataflow: Option<Dataflow>,
    /// How convolutions are computed.
    #[serde(skip_serializing_if = "is_default")]
    pub convolution: Convolution,
    /// How weights are updated in training.
    #[serde(skip_serializing_if = "is_default")]
    pub optimizer: Optimizer,
    /// Which experts tokens are sent to.
    #[serde(skip_serializing_if = "is_default")]
    pub routing: Routing,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn is_one(value: &u64) -> bool {
    *value == 1
}

impl Default for ModelRun {
    fn default() -> Self {
        Self {
            model: ModelRef::Preset("mistral-7b".into()),
            task: Task::Inference,
            batch_size: 1,
            prompt_tokens: None,
            decode_tokens: None,
            requests: None,
            steps: 1,
            weight_dtype: None,
            kv_dtype: None,
            tile_bytes: 4 * MIB,
            dataflow: None,
            convolution: Convolution::Direct,
            optimizer: Optimizer::Adam,
            routing: Routing::default(),
        }
    }
}

/// Tokens of a prompt where nobody says otherwise.
const PROMPT_TOKENS: u64 = 128;
/// Decoded tokens where nobody says otherwise.
const DECODE_TOKENS: u64 = 16;

/// Widths of elements in bits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bits {
    pub(crate) weights: u64,
    pub(crate) activations: u64,
    pub(crate) kv: u64,
}

impl ModelRun {
    /// A run of the preset `name`.
    pub fn preset(name: &str) -> Self {
        Self { model: ModelRef::Preset(name.into()), ..Self::default() }
    }

    /// Fails on the first field that is out of range or means nothing to this model; returns its configuration.
    pub fn check(&self) -> Result<ModelConfig, Error> {
        check_range("batch_size", self.batch_size, 1..=4096)?;
        check_range("prompt_tokens", self.prompt_tokens.unwrap_or(1), 1..=131_072)?;
        check_range("decode_tokens", self.decode_tokens.unwrap_or(0), 0..=131_072)?;
        check_range("steps", self.steps, 1..=1000)?;
        check_range("tile_bytes", self.tile_bytes, 1024..=1 << 40)?;
        self.routing.check()?;
        let config = self.model.config()?;
        match config.transformer() {
            Some(transformer) => self.check_tokens(transformer)?,
            None => {
                let family = config.family();
                let none = |field, given: bool| {
                    let problem = format!("a model of type {family} has no tokens");
                    if given { Err(Error::field(field, "given", problem, "Leave it out")) } else { Ok(()) }
                };
                none("prompt_tokens", self.prompt_tokens.is_some())?;
                none("decode_tokens", self.decode_tokens.is_some())?;
                none("requests", self.requests.is_some())?;
            }
        }
        Ok(config)
    }

    fn check_tokens(&self, model: &Transformer) -> Result<(), Error> {
        let decodes = !model.encodes_only();
        if !decodes && self.decode_tokens.is_some_and(|tokens| tokens > 0) {
            let decode = self.decode_tokens.unwrap_or(0);
            return Err(Error::field("decode_tokens", decode, "this model only encodes", "Choose 0, or leave it out"));
        }
        let serves = decodes && self.task == Task::Inference;
        if serves && self.steps != 1 {
            let cure = "Leave it out: each decoded token is a step";
            return Err(Error::field("steps", self.steps, "a decoder counts its steps in tokens", cure));
        }
        if self.requests.is_some() && !serves {
            let problem = "only a decoder that answers serves requests";
            return Err(Error::field("requests", "given", problem, "Leave it out"));
        }
        if let (Tokens::Image(tokens), Some(given)) = (model.tokens(), self.prompt_tokens)
            && given != tokens
        {
            let problem = format!("the image makes {tokens} tokens");
            return Err(Error::field("prompt_tokens", given, problem, "Leave it out"));
        }
        let longest = model.max_position_embeddings;
        let two = model.num_decoder_layers.is_some();
        for Request { prompt_tokens: prompt, decode_tokens: decode, .. } in self.requests_of(model) {
            let (first, second) = (prompt.min(longest + 1), if two { decode } else { prompt.saturating_add(decode) });
            if first > longest || second > longest {
                let field = match (&self.requests, first > longest) {
                    (Some(_), _) => "requests",
                    (None, true) => "prompt_tokens",
                    (None, false) => "decode_tokens",
                };
                return Err(Error::field(
                    field,
                    if first > longest { prompt } else { decode },
                    format!("the model has {longest} positions, and prompt and decoded tokens together take {}", prompt + decode),
                    "Choose fewer tokens",
                ));
            }
        }
        Ok(())
    }

    /// The requests that the run serves, or the sequences it learns from.
    pub(crate) fn requests_of(&self, model: &Transformer) -> Vec<Request> {
        if let Some(Requests(requests)) = &self.requests {
            return requests.clone();
        }
        let two = model.num_decoder_layers.is_some();
        let prompt_tokens = match model.tokens() {
            Tokens::Image(tokens) => tokens,
            Tokens::Chosen => {
                self.prompt_tokens.unwrap_or_else(|| PROMPT_TOKENS.min(model.max_position_embeddings))
            }
        };
        let decode_tokens = match (self.task, self.decode_tokens) {
            _ if model.encodes_only() => 0,
            (Task::Training, tokens) => if two { tokens.unwrap_or(prompt_tokens) } else { 0 },
            (Task::Inference, Some(tokens)) => tokens,
            (Task::Inference, None) if two => DECODE_TOKENS,
            (Task::Inference, None) => DECODE_TOKENS.min(model.max_position_embeddings.saturating_sub(prompt_tokens)),
        };
        let request = Request { prompt_tokens, decode_tokens, arrival: 0 };
        (0..self.batch_size).map(|_| request).collect()
    }

    /// Activations keep the model's own format, at least 16 bits wide.
    fn activation_dtype(config: &ModelConfig) -> Dtype {
        if config.dtype().bits() >= 16 { config.dtype() } else { Dtype::Bfloat16 }
    }

    fn bits(&self, config: &ModelConfig) -> Bits {
        let activations = Self::activation_dtype(config);
        Bits {
            weights: self.weight_dtype.unwrap_or(config.dtype()).bits(),
            activations: activations.bits(),
            kv: self.kv_dtype.unwrap_or(activations).bits(),
        }
    }

    /// Parameters and bytes, from the shapes alone.
    pub fn facts(&self) -> Result<Facts, Error> {
        let config = self.check()?;
        let bits = self.bits(&config);
        let bytes = |elements: u64, bits: u64| product(&[elements, bits]).map(|bits| bits.div_ceil(8));
        let (mut kv_bytes_per_token, mut kv_bytes) = (0, 0);
        if let Some(model) = config.transformer()
            && self.task == Task::Inference
        {
            kv_bytes_per_token = bytes(product(&[model.cached_layers(), model.kv_elements_per_layer()])?, bits.kv)?;
            let tokens = self.requests_of(model).iter().map(|r| r.prompt_tokens + r.decode_tokens).sum();
            kv_bytes = product(&[kv_bytes_per_token, tokens])?;
        }
        Ok(Facts {
            parameters: config.parameters(),
            active_parameters: config.active_parameters(),
            weight_bytes: bytes(config.parameters(), bits.weights)?,
            kv_bytes_per_token,
            kv_bytes,
        })
    }

    /// The name that errors and charts show.
    pub fn name(&self) -> &str {
        match &self.model {
            ModelRef::Preset(name) => name,
            ModelRef::Config(_) => "config.json",
        }
    }

    /// The trace of the run.
    pub fn trace(&self, seed: u64) -> Result<Trace, Error> {
        self.trace_with(seed, None)
    }

    /// The same, with the experts of each token from a log.
    pub(crate) fn trace_with(&self, seed: u64, log: Option<&dyn ExpertLog>) -> Result<Trace, Error> {
        let config = self.check()?;
        let bits = self.bits(&config);
        let mut plan = Plan::new(config.family(), self.tile_bytes, self.dataflow);
        match &config {
            ModelConfig::Transformer(model) => {
                let experts = Experts::new(self, model, seed, log)?;
                let mut passes = Passes::new(&mut plan, model, self, bits, experts);
                let requests = self.requests_of(model);
                if self.task == Task::Inference && !model.encodes_only() {
                    passes.serve(&requests, self.batch_size)?;
                } else {
                    let mut states = BTreeMap::new();
                    for _ in 0..self.steps {
                        let step = passes.whole(&requests)?;
                        self.finish_step(passes.plan, step, &mut states)?;
                    }
                }
            }
            ModelConfig::Resnet(resnet) => self.images(&mut plan, &resnet.network()?, bits)?,
            ModelConfig::Cnn(cnn) => self.images(&mut plan, &cnn.network()?, bits)?,
            ModelConfig::Mlp(model) => {
                let chain = mlp::Chain::new(&mut plan, model, bits);
                self.repeat(&mut plan, |_| chain.step(self.batch_size))?;
            }
            ModelConfig::Gemm(gemm) => {
                let weights = mlp::store_gemm(&mut plan, gemm, bits);
                self.repeat(&mut plan, |_| mlp::gemm(gemm, weights, self.batch_size, bits))?;
            }
        }
        plan.finish(self.name())
    }

    fn images(&self, plan: &mut Plan, network: &Network, bits: Bits) -> Result<(), Error> {
        let images = cnn::Images::new(plan, network, bits, self.convolution);
        self.repeat(plan, |_| images.step(self.batch_size))
    }

    /// The same step again and again.
    fn repeat(&self, plan: &mut Plan, mut make: impl FnMut(u64) -> Result<Step, Error>) -> Result<(), Error> {
        let mut states = BTreeMap::new();
        (0..self.steps).try_for_each(|step| self.finish_step(plan, make(step)?, &mut states))
    }

    /// Runs a forward pass, and in training what follows from it.
    fn finish_step(
        &self,
        plan: &mut Plan,
        mut step: Step,
        states: &mut BTreeMap<Val, Vec<Val>>,
    ) -> Result<(), Error> {
        if self.task == Task::Training {
            step.marks.insert(0, (0, "forward"));
            train(plan, &mut step, self.optimizer, states);
        }
        plan.run(&step)
    }
}
