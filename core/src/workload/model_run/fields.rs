//! The fields of a run, what each means to a model, and their checks.

use serde::{Deserialize, Serialize};

use crate::check::check_range;
use crate::closed;
use crate::error::Error;
use crate::units::MIB;
use crate::workload::ModelRef;
use crate::workload::config::layers::{Model, Tokens};
use crate::workload::config::{Facts, ModelConfig, ReadAs, Transformer};
use crate::workload::dtype::{Bits, Dtype, product};
use crate::workload::fusion::Fusion;
use crate::workload::parallel::Parallel;
use crate::workload::plan::{Dataflow, Order, Purpose, Tiles};
use crate::workload::requests::{Request, Requests};
use crate::workload::routing::Routing;
use crate::workload::serving::Serving;
use crate::workload::train::Optimizer;

closed! {
    /// What the model does.
    #[derive(Default)]
    pub enum Task("task", "task") {
        /// A decoder reads prompts and decodes tokens, the others make one forward pass per step.
        #[default]
        Inference = "inference",
        /// The forward pass, the backward pass and the optimizer.
        Training = "training",
    }
}

closed! {
    /// How a convolution is computed.
    #[derive(Default)]
    pub enum Convolution("convolution", "method of convolution") {
        /// From the image itself.
        #[default]
        Direct = "direct",
        /// From a matrix in which every position of the filter has its elements in a row: it is written first.
        Im2col = "im2col",
    }
}

closed! {
    /// How operators are cut into tiles.
    pub enum Tiling("tiling", "tiling") {
        /// By a mapper, which looks for the tiles and the order that move the least through fast memory.
        Auto = "auto" titled "best mapping",
        /// Into tiles of tile_bytes, each used once, or in the order of the dataflow.
        Fixed = "fixed" titled "fixed tiles",
    }
}

/// Which fields of a run apply to its model; the others are refused where they are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fields {
    /// [`ModelRun::prompt_tokens`].
    pub prompt_tokens: bool,
    /// [`ModelRun::decode_tokens`].
    pub decode_tokens: bool,
    /// [`ModelRun::requests`].
    pub requests: bool,
    /// [`ModelRun::steps`].
    pub steps: bool,
    /// [`ModelRun::kv_dtype`].
    pub kv_dtype: bool,
    /// [`ModelRun::convolution`].
    pub convolution: bool,
    /// [`ModelRun::optimizer`].
    pub optimizer: bool,
    /// [`ModelRun::routing`].
    pub routing: bool,
    /// [`ModelRun::parallel`].
    pub parallel: bool,
    /// [`ModelRun::fusion`].
    pub fusion: bool,
    /// [`ModelRun::serving`].
    pub serving: bool,
}

impl Fields {
    /// Those of a run of `config`.
    pub fn of(config: &ModelConfig, task: Task) -> Self {
        if let ModelConfig::Unknown(unknown) = config {
            // What it would be read as, if that is asked for.
            return unknown.read_as(ReadAs::Llama).map_or_else(|_| Self::of_file(task), |known| Self::of(&known, task));
        }
        let transformer = config.transformer();
        let training = task == Task::Training;
        let decoder = transformer.filter(|model| !model.encodes_only());
        let serves = decoder.is_some() && !training;
        Self {
            prompt_tokens: transformer.is_some(),
            decode_tokens: serves || decoder.is_some_and(Transformer::two_stacks),
            requests: serves,
            steps: !serves,
            kv_dtype: serves,
            convolution: matches!(config, ModelConfig::Resnet(_) | ModelConfig::Cnn(_)),
            optimizer: training,
            routing: transformer.is_some_and(|model| model.experts.is_some()),
            parallel: transformer.is_some(),
            fusion: transformer.is_some(),
            serving: serves,
        }
    }

    /// Those of a model whose file was not read yet: it may be any.
    pub fn of_file(task: Task) -> Self {
        Self {
            prompt_tokens: true,
            decode_tokens: false,
            requests: false,
            steps: true,
            kv_dtype: false,
            convolution: true,
            optimizer: task == Task::Training,
            routing: false,
            parallel: false,
            fusion: false,
            serving: false,
        }
    }
}

/// One run of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelRun {
    /// The model.
    pub model: ModelRef,
    /// The family whose layout a file of an unknown family is read with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_as: Option<ReadAs>,
    /// What it does.
    #[serde(skip_serializing_if = "is_default")]
    pub task: Task,
    /// How devices share it.
    #[serde(skip_serializing_if = "is_default")]
    pub parallel: Parallel,
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
    /// How requests are served.
    #[serde(skip_serializing_if = "is_default")]
    pub serving: Serving,
    /// Batches one after the other, 1..=1000: of images or rows, or of training.
    #[serde(skip_serializing_if = "is_one")]
    pub steps: u64,
    /// Number format of the weights, where it is not the model's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_dtype: Option<Dtype>,
    /// Number format of the KV cache, where it is not that of the activations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_dtype: Option<Dtype>,
    /// How operators are cut into tiles; where absent, by the mapper, unless tile_bytes or dataflow are given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tiling: Option<Tiling>,
    /// The largest block that moves as one, 1 KiB..=1 TiB; where absent, 4 MiB or a third of fast memory, if that is less.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tile_bytes: Option<u64>,
    /// The order in which matrix multiplications walk over their tiles; each tile once where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataflow: Option<Dataflow>,
    /// Which operators are computed as one.
    #[serde(skip_serializing_if = "is_default")]
    pub fusion: Fusion,
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

/// Refuses a field that was given and does not apply; `problem` says why.
pub(crate) fn refuse_field(field: &'static str, given: bool, problem: &str) -> Result<(), Error> {
    if given { Err(Error::field(field, "given", problem, "Leave it out")) } else { Ok(()) }
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
            read_as: None,
            task: Task::Inference,
            parallel: Parallel::default(),
            batch_size: 1,
            prompt_tokens: None,
            decode_tokens: None,
            requests: None,
            serving: Serving::default(),
            steps: 1,
            weight_dtype: None,
            kv_dtype: None,
            tiling: None,
            tile_bytes: None,
            dataflow: None,
            fusion: Fusion::default(),
            convolution: Convolution::Direct,
            optimizer: Optimizer::Adam,
            routing: Routing::default(),
        }
    }
}

/// Bytes that `elements` of `bits` bits take, rounded up.
fn bytes(elements: u64, bits: u64) -> Result<u64, Error> {
    product(&[elements, bits]).map(|bits| bits.div_ceil(8))
}

/// The largest block by default.
const TILE_BYTES: u64 = 4 * MIB;
/// Tiles of a product that are in fast memory at once: one of each operand.
const TILES_AT_ONCE: u64 = 3;

/// Tokens of a prompt by default.
const PROMPT_TOKENS: u64 = 128;
/// Decoded tokens by default.
const DECODE_TOKENS: u64 = 16;

impl ModelRun {
    /// A run of the preset `name`.
    pub fn preset(name: &str) -> Self {
        Self { model: ModelRef::Preset(name.into()), ..Self::default() }
    }

    /// Fails on the first field that is out of range or does not apply to this model.
    pub fn check_fields(&self) -> Result<(), Error> {
        check_range("batch_size", self.batch_size, 1..=4096)?;
        check_range("prompt_tokens", self.prompt_tokens.unwrap_or(1), 1..=131_072)?;
        check_range("decode_tokens", self.decode_tokens.unwrap_or(0), 0..=131_072)?;
        check_range("steps", self.steps, 1..=1000)?;
        check_range("tile_bytes", self.tile_bytes.unwrap_or(1024), 1024..=1 << 40)?;
        if self.tiling == Some(Tiling::Auto) {
            let problem = "the mapper chooses the tiles and their order (tiling: auto)";
            refuse_field("tile_bytes", self.tile_bytes.is_some(), problem)?;
            refuse_field("dataflow", self.dataflow.is_some(), problem)?;
        }
        self.routing.check()?;
        self.parallel.check()?;
        self.serving.check()?;
        match &self.model {
            // What does not apply to it is known once the file is read.
            ModelRef::File { .. } => Ok(()),
            _ => self.check_model(&self.model_config()?),
        }
    }

    /// The tiles for a memory of `capacity_bytes`. Fails where given ones do not fit it: a tile, or under a dataflow one of
    /// each operand.
    pub(crate) fn tiles(&self, capacity_bytes: u64) -> Result<Tiles, Error> {
        let order = match (self.tiling, self.dataflow) {
            (_, Some(dataflow)) => Order::Dataflow(dataflow),
            (Some(Tiling::Fixed), None) => Order::Once,
            (None, None) if self.tile_bytes.is_some() => Order::Once,
            (Some(Tiling::Auto) | None, None) => Order::Mapped,
        };
        let at_once = if self.dataflow.is_some() { TILES_AT_ONCE } else { 1 };
        if let Some(given) = self.tile_bytes
            && given > capacity_bytes / at_once
        {
            let fits = capacity_bytes / at_once;
            let what = if at_once == 1 { "a tile does" } else { "the tiles of three operands do" };
            let problem = format!("{what} not fit the {capacity_bytes} bytes of fast memory");
            let cure = match fits {
                1024.. => format!("Choose at most {fits}, or leave it out for tiles that fit"),
                _ => "Leave it out for tiles that fit".to_owned(),
            };
            return Err(Error::field("tile_bytes", given, problem, cure));
        }
        let fits = TILE_BYTES.min(capacity_bytes / TILES_AT_ONCE).max(1);
        Ok(Tiles { tile_bytes: self.tile_bytes.unwrap_or(fits), order, capacity_bytes, purpose: Purpose::Trace })
    }

    /// Checks the same fields; returns the configuration of a model that the recipe describes.
    pub fn check(&self) -> Result<ModelConfig, Error> {
        self.check_fields()?;
        self.model_config()
    }

    /// The configuration of a model that the recipe describes.
    pub(crate) fn model_config(&self) -> Result<ModelConfig, Error> {
        match &self.model {
            ModelRef::Config(config) => self.known((**config).clone()),
            model => self.known(model.config()?),
        }
    }

    /// The configuration as one of a family that is known.
    pub(super) fn known(&self, config: ModelConfig) -> Result<ModelConfig, Error> {
        match (config, self.read_as) {
            (ModelConfig::Unknown(unknown), Some(family)) => unknown.read_as(family),
            (config, Some(family)) => {
                let problem = format!("the model is of a family that is known ({})", config.family());
                Err(Error::field("read_as", family.name(), problem, "Leave it out"))
            }
            (config, None) => config.check().map(|()| config),
        }
    }

    pub(super) fn check_model(&self, config: &ModelConfig) -> Result<(), Error> {
        let means = Fields::of(config, self.task);
        let im2col = self.convolution == Convolution::Im2col;
        refuse_field("routing", self.routing != Routing::default() && !means.routing, "the model has no experts")?;
        refuse_field("convolution", im2col && !means.convolution, "the model has no convolutions")?;
        refuse_field("kv_dtype", self.kv_dtype.is_some() && !means.kv_dtype, "nothing is kept in a KV cache here")?;
        let shared = self.parallel != Parallel::default();
        refuse_field(
            "parallel",
            shared && !means.parallel,
            "only models with layers of attention or states are shared",
        )?;
        self.check_serving(config, means)?;
        let fused = self.fusion != Fusion::default();
        refuse_field("fusion", fused && !means.fusion, "only layers of attention, states and MLPs are fused")?;
        if self.task == Task::Training && (self.fusion.mlp || self.fusion.norm) {
            let problem = "the backward pass needs what is between the operators of an MLP, or a sum and its norm";
            return Err(Error::field("fusion", self.fusion, problem, "Leave mlp and norm out in training"));
        }
        self.check_optimizer()?;
        match config.transformer() {
            Some(transformer) => self.check_tokens(transformer, means),
            None => {
                let problem = format!("a model of type {} has no tokens", config.family());
                refuse_field("prompt_tokens", self.prompt_tokens.is_some(), &problem)?;
                refuse_field("decode_tokens", self.decode_tokens.is_some(), &problem)?;
                refuse_field("requests", self.requests.is_some(), &problem)
            }
        }
    }

    /// The configuration of the draft model, where there is one.
    pub(super) fn draft_config(&self) -> Result<Option<ModelConfig>, Error> {
        self.serving.draft.as_ref().map(|draft| ModelRef::Preset(draft.model.clone()).config()).transpose()
    }

    fn check_serving(&self, config: &ModelConfig, means: Fields) -> Result<(), Error> {
        let bad = |problem: &str| {
            let cure = "Leave that out, or choose a decoder of text in inference, alone on its device";
            Err(Error::field("serving", &self.serving, problem, cure))
        };
        if self.serving == Serving::default() {
            return Ok(());
        }
        if !means.serving {
            return bad("only a decoder in inference serves requests");
        }
        if config.transformer().is_some_and(Transformer::two_stacks) {
            return bad("an encoder reads every prompt whole, and its decoder is not served in other ways");
        }
        let Some(draft) = self.draft_config()? else { return Ok(()) };
        if self.parallel != Parallel::default() {
            return bad("a draft model is not shared between devices");
        }
        match (draft.transformer(), config.transformer()) {
            (Some(small), _) if small.encodes_only() || small.two_stacks() => bad("the draft model decodes no text"),
            (Some(small), Some(large)) if small.model.vocabulary.rows != large.model.vocabulary.rows => {
                bad("the draft model has another vocabulary, so that its guesses cannot be checked")
            }
            (Some(_), Some(_)) => Ok(()),
            _ => bad("the draft model decodes no text"),
        }
    }

    pub(super) fn check_optimizer(&self) -> Result<(), Error> {
        let given = self.optimizer != Optimizer::default() && self.task == Task::Inference;
        refuse_field("optimizer", given, "inference updates no weights")
    }

    fn check_tokens(&self, model: &Transformer, means: Fields) -> Result<(), Error> {
        if let Some(decode @ 1..) = self.decode_tokens
            && !means.decode_tokens
        {
            let problem =
                if model.encodes_only() { "this model only encodes" } else { "a model in training decodes nothing" };
            return Err(Error::field("decode_tokens", decode, problem, "Choose 0, or leave it out"));
        }
        if self.requests.is_some() {
            let problem = "the requests say how many tokens they have";
            refuse_field("prompt_tokens", self.prompt_tokens.is_some(), problem)?;
            refuse_field("decode_tokens", self.decode_tokens.is_some(), problem)?;
        }
        if self.steps != 1 && !means.steps {
            let cure = "Leave it out: each decoded token is a step";
            return Err(Error::field("steps", self.steps, "a decoder counts its steps in tokens", cure));
        }
        let served = self.requests.is_some() && !means.requests;
        refuse_field("requests", served, "only a decoder in inference serves requests")?;
        if let (Tokens::Image { all: tokens, .. }, Some(given)) = (model.model.tokens, self.prompt_tokens)
            && given != tokens
        {
            let problem = format!("the image makes {tokens} tokens");
            return Err(Error::field("prompt_tokens", given, problem, "Leave it out"));
        }
        let longest = model.positions();
        let two = model.two_stacks();
        if let Some(requests) = self.requests.as_ref().filter(|all| two && all.0.iter().any(|r| r.shared_tokens > 0)) {
            let problem = "an encoder reads every prompt whole, and keeps nothing of its beginning for others";
            return Err(Error::field("requests", requests.text(), problem, "Leave the shared tokens out"));
        }
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
                    format!(
                        "the model has {longest} positions, and prompt and decoded tokens together take {}",
                        prompt + decode
                    ),
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
        let two = model.two_stacks();
        let prompt_tokens = match model.model.tokens {
            Tokens::Image { all, .. } => all,
            Tokens::Chosen => self.prompt_tokens.unwrap_or_else(|| PROMPT_TOKENS.min(model.positions())),
        };
        let decode_tokens = match (self.task, self.decode_tokens) {
            _ if model.encodes_only() => 0,
            (Task::Training, tokens) => {
                if two {
                    tokens.unwrap_or(prompt_tokens)
                } else {
                    0
                }
            }
            (Task::Inference, Some(tokens)) => tokens,
            (Task::Inference, None) if two => DECODE_TOKENS,
            (Task::Inference, None) => DECODE_TOKENS.min(model.positions().saturating_sub(prompt_tokens)),
        };
        let request = Request { prompt_tokens, shared_tokens: 0, decode_tokens, arrival: 0 };
        (0..self.batch_size).map(|_| request).collect()
    }

    /// Activations keep the model's own format, at least 16 bits wide.
    fn activation_dtype(config: &ModelConfig) -> Dtype {
        if config.dtype().bits() >= 16 { config.dtype() } else { Dtype::Bfloat16 }
    }

    pub(crate) fn bits(&self, config: &ModelConfig) -> Bits {
        let activations = Self::activation_dtype(config);
        let scheme = config.transformer().and_then(|model| model.quantization.kv);
        Bits {
            weights: self.weight_dtype.unwrap_or(config.dtype()).bits(),
            activations: activations.bits(),
            kv: self.kv_dtype.map(Dtype::bits).or(scheme).unwrap_or(activations.bits()),
        }
    }

    /// Bytes of all weights, scales and zeros included.
    pub(crate) fn weight_bytes(&self, config: &ModelConfig) -> Result<u64, Error> {
        match (config.transformer(), self.weight_dtype) {
            (Some(model), None) if !model.quantization.is_plain() => Ok(model.quantization.bytes(&model.model)),
            _ => bytes(config.parameters(), self.bits(config).weights),
        }
    }

    /// Bytes of the weights of a share of the model.
    pub(crate) fn weight_bytes_of(&self, config: &ModelConfig, share: &Model) -> u64 {
        match (config.transformer(), self.weight_dtype) {
            (Some(model), None) => model.quantization.bytes(share),
            _ => bytes(share.parameters(), self.bits(config).weights).unwrap_or(u64::MAX),
        }
    }

    /// Parameters and bytes, from the shapes alone.
    pub fn facts(&self) -> Result<Facts, Error> {
        let config = self.check()?;
        let bits = self.bits(&config);
        let mut facts = Facts {
            parameters: config.parameters(),
            active_parameters: config.active_parameters(),
            weight_bytes: self.weight_bytes(&config)?,
            ..Facts::default()
        };
        if let Some(whole) = config.transformer() {
            facts.notes.clone_from(&whole.notes);
            if let (Some(small), Some(draft)) = (self.draft_config()?, &self.serving.draft) {
                let bytes = self.weight_bytes(&small)?;
                facts
                    .notes
                    .push(format!("the draft model {} is not counted: its weights take {bytes} bytes", draft.model));
            }
            let shared;
            let mut model = whole;
            if self.parallel != Parallel::default() {
                let cuts = self.parallel.cuts();
                shared = whole.share(cuts, whole.fullest_stage(cuts));
                facts.weight_bytes = self.weight_bytes_of(&config, &shared.model);
                model = &shared;
            }
            if self.task == Task::Inference {
                let layers = &model.model;
                facts.kv_bytes_per_token = bytes(layers.kept_per_token(), bits.kv)?;
                let requests = self.requests_of(model);
                // What prompts have in common is kept once.
                let kept: Vec<(u64, u64)> =
                    requests.iter().map(|r| (r.prompt_tokens + r.decode_tokens, r.shared_tokens)).collect();
                facts.kv_bytes = bytes(layers.kept_elements(&kept), bits.kv)?;
                facts.state_bytes = product(&[layers.state_bits(bits.activations).div_ceil(8), requests.len() as u64])?;
            }
        }
        Ok(facts)
    }

    /// The name that errors and charts show.
    pub fn name(&self) -> &str {
        match &self.model {
            ModelRef::Preset(name) | ModelRef::File { file: name } => name,
            ModelRef::Config(_) => "config.json",
        }
    }
}
