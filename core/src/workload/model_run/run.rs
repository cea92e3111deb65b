//! The run: steps of the model, and the trace they make.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::cnn;
use super::fields::{ModelRun, Task, refuse_field};
use super::file::ModelFile;
use super::mlp;
use super::transformer::{DRAFT, ExpertChoice, Passes};
use crate::error::Error;
use crate::tiling::Group;
use crate::trace::{Sink, Tensor, Trace};
use crate::workload::config::{ModelConfig, Network, Transformer};
use crate::workload::dtype::{Bits, Dtype};
use crate::workload::parallel::{Parallel, Recompute};
use crate::workload::plan::listing::Listing;
use crate::workload::plan::{Planner, Purpose, Step, Tiles, Val};
use crate::workload::routing::{ExpertLog, Routing};
use crate::workload::train::train;

/// A model whose run is asked for, with the experts of each token from a log, if given.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    /// By its configuration.
    Config(&'a ModelConfig, Option<&'a dyn ExpertLog>),
    /// From a file.
    File(&'a ModelFile),
}

impl ModelRun {
    /// The trace of the run of a model that the recipe describes, through a memory of `capacity_bytes`.
    pub fn trace(&self, seed: u64, capacity_bytes: u64) -> Result<Trace, Error> {
        self.trace_of(Source::Config(&self.check()?, None), seed, capacity_bytes)
    }

    /// Hands the accesses of that trace to `sink` as they are made; the tensors, and what their reader should know.
    pub fn stream(&self, seed: u64, capacity_bytes: u64, sink: Sink) -> Result<(Vec<Tensor>, Vec<String>), Error> {
        let model = &self.check()?;
        let tiles = self.tiles(capacity_bytes)?;
        self.plan(Source::Config(model, None), seed, tiles, Some(sink))?.finish_handing(self.name())
    }

    /// The trace of the run of `model`.
    pub(crate) fn trace_of(&self, model: Source<'_>, seed: u64, capacity_bytes: u64) -> Result<Trace, Error> {
        self.plan(model, seed, self.tiles(capacity_bytes)?, None)?.finish(self.name())
    }

    /// What the operators of the run of a model that the recipe describes move, one group after the other.
    pub fn groups(&self, seed: u64) -> Result<Vec<Group>, Error> {
        self.groups_of(Source::Config(&self.check()?, None), seed)
    }

    /// The same for `model`.
    pub(crate) fn groups_of(&self, model: Source<'_>, seed: u64) -> Result<Vec<Group>, Error> {
        let tiles = Tiles { purpose: Purpose::Groups, ..self.tiles(u64::MAX)? };
        Ok(self.plan(model, seed, tiles, None)?.into_census().groups())
    }

    /// The operators of the run of a model that the recipe describes, of one layer or of all.
    pub fn list(&self, seed: u64, layer: Option<u32>) -> Result<Listing, Error> {
        self.list_of(Source::Config(&self.check()?, None), seed, layer)
    }

    /// The same for `model`.
    pub(crate) fn list_of(&self, model: Source<'_>, seed: u64, layer: Option<u32>) -> Result<Listing, Error> {
        let tiles = Tiles { purpose: Purpose::List(layer), ..self.tiles(u64::MAX)? };
        self.plan(model, seed, tiles, None)?.into_listing(layer)
    }

    /// The operators of the run; where there is a sink, it takes their accesses.
    fn plan(&self, model: Source<'_>, seed: u64, tiles: Tiles, sink: Option<Sink>) -> Result<Planner, Error> {
        let file = match model {
            Source::Config(config, log) => return self.plan_by(config, seed, log, (tiles, sink)),
            Source::File(file) => file,
        };
        self.check_fields()?;
        if !matches!(file, ModelFile::Config(_)) {
            let problem = "this file describes no decoder";
            refuse_field("decode_tokens", self.decode_tokens.is_some(), problem)?;
            refuse_field("requests", self.requests.is_some(), problem)?;
            refuse_field("kv_dtype", self.kv_dtype.is_some(), problem)?;
            refuse_field("routing", self.routing != Routing::default(), "this file describes no experts")?;
            refuse_field("parallel", self.parallel != Parallel::default(), "a graph is not cut into shares")?;
            self.check_optimizer()?;
        }
        match file {
            ModelFile::Config(config) => {
                let config = self.known((**config).clone())?;
                self.check_model(&config)?;
                self.plan_by(&config, seed, None, (tiles, sink))
            }
            ModelFile::Operators(model) => {
                model.check(self)?;
                let mut planner = Planner::handing(model.family(), tiles, sink);
                let stored = model.store(&mut planner, self)?;
                let mut states = BTreeMap::new();
                for pass in 0..self.steps {
                    let step = stored.step(&mut planner, pass)?;
                    self.finish_step(&mut planner, step, &mut states)?;
                }
                drop(stored);
                Ok(planner)
            }
        }
    }

    fn plan_by(
        &self,
        config: &ModelConfig,
        seed: u64,
        log: Option<&dyn ExpertLog>,
        (tiles, sink): (Tiles, Option<Sink>),
    ) -> Result<Planner, Error> {
        let bits = self.bits(config);
        let mut planner = Planner::handing(config.family(), tiles, sink);
        match config {
            ModelConfig::Transformer(whole) => {
                let model = &*self.share_of(whole)?;
                let experts = ExpertChoice::new(self, model, seed, log)?;
                let chosen = self.weight_dtype.map(Dtype::bits);
                for note in &model.notes {
                    planner.warn(note.clone());
                }
                let scratch = &mut Planner::new(config.family(), tiles);
                let drafted = self.draft_config()?;
                let mut draft = match (&drafted, &self.serving.draft) {
                    (Some(config), Some(how)) if let Some(small) = config.transformer() => {
                        // The plan is handed to whoever works; the draft model stores its weights first.
                        std::mem::swap(&mut planner, scratch);
                        scratch.names_begin(DRAFT);
                        let experts = ExpertChoice::new(self, small, seed, None)?;
                        let of = (self.task, tiles.tile_bytes, chosen, self.fusion);
                        let mut passes = Passes::new(scratch, small, of, self.bits(config), experts);
                        passes.planner.names_begin("");
                        passes.reuse = self.serving.reuse;
                        std::mem::swap(&mut planner, passes.planner);
                        Some((passes, how))
                    }
                    _ => None,
                };
                let mut passes =
                    Passes::new(&mut planner, model, (self.task, tiles.tile_bytes, chosen, self.fusion), bits, experts);
                passes.parallel = self.parallel;
                passes.reuse = self.serving.reuse;
                let requests = self.requests_of(model);
                if self.task == Task::Inference && !model.encodes_only() {
                    let together = self.batch_size;
                    if self.requests.is_some() && together == 1 && requests.len() > 1 {
                        let all = requests.len();
                        passes.planner.warn(format!(
                            "the {all} requests run one after the other; with batch_size {all} they all run at once"
                        ));
                    }
                    match self.serving.chunk {
                        Some(most) => passes.serve_in_chunks(&requests, together, most)?,
                        None => {
                            let draft = draft.as_mut().map(|(passes, how)| (passes, &***how));
                            passes.serve(&requests, together, draft)?;
                        }
                    }
                } else {
                    let mut states = BTreeMap::new();
                    for _ in 0..self.steps {
                        let step = passes.whole(&requests)?;
                        self.finish_step(passes.planner, step, &mut states)?;
                    }
                }
            }
            ModelConfig::Resnet(resnet) => self.images(&mut planner, &resnet.network()?, bits)?,
            ModelConfig::Cnn(cnn) => self.images(&mut planner, &cnn.network()?, bits)?,
            ModelConfig::Graph(graph) => self.images(&mut planner, &graph.network, bits)?,
            ModelConfig::Mlp(model) => {
                let layers = mlp::MlpLayers::new(&mut planner, model, bits);
                self.repeat(&mut planner, |_| layers.step(self.batch_size))?;
            }
            ModelConfig::Unknown(_) => config.check()?,
            ModelConfig::Gemm(gemm) => {
                let weights = mlp::store_gemm(&mut planner, gemm, bits);
                self.repeat(&mut planner, |_| mlp::gemm(gemm, weights, self.batch_size, bits))?;
            }
        }
        Ok(planner)
    }

    /// The share of a model that a device has, of the stage that holds most.
    fn share_of<'a>(&self, whole: &'a Transformer) -> Result<Cow<'a, Transformer>, Error> {
        let parallel = self.parallel;
        if parallel == Parallel::default() {
            return Ok(Cow::Borrowed(whole));
        }
        let training = self.task == Task::Training;
        for (given, what) in [
            (parallel.context > 1, "context"),
            (training && parallel.replicas() > 1, "data"),
            (parallel.zero > 0, "zero"),
            (parallel.recompute != Recompute::default(), "recompute"),
            (parallel.offload, "offload"),
        ] {
            let problem = format!("a trace knows nothing of {what}");
            let cure = format!("Leave {what} out, or ask whether it fits: there it is counted");
            if given {
                return Err(Error::field("parallel", parallel, problem, cure));
            }
        }
        let cuts = parallel.cuts();
        Ok(Cow::Owned(whole.share(cuts, whole.fullest_stage(cuts))))
    }

    fn images(&self, planner: &mut Planner, network: &Network, bits: Bits) -> Result<(), Error> {
        let images = cnn::Images::new(planner, network, bits, (self.convolution, self.batch_size));
        self.repeat(planner, |_| images.step(self.batch_size))
    }

    /// The same step again and again.
    fn repeat(&self, planner: &mut Planner, mut make: impl FnMut(u64) -> Result<Step, Error>) -> Result<(), Error> {
        let mut states = BTreeMap::new();
        (0..self.steps).try_for_each(|step| self.finish_step(planner, make(step)?, &mut states))
    }

    /// Runs a forward pass, and in training what follows from it.
    fn finish_step(
        &self,
        planner: &mut Planner,
        mut step: Step,
        states: &mut BTreeMap<Val, Vec<Val>>,
    ) -> Result<(), Error> {
        if self.task == Task::Training {
            step.marks.insert(0, (0, "forward"));
            train(planner, &mut step, self.optimizer, states);
        }
        planner.run(&step)
    }
}
