//! The run: steps of the model, and the trace they make.

use std::collections::BTreeMap;

use super::cnn;
use super::fields::{ModelRun, Task, refuse_field};
use super::file::ModelFile;
use super::mlp;
use super::transformer::{ExpertChoice, Passes};
use crate::error::Error;
use crate::trace::Trace;
use crate::workload::config::{ModelConfig, Network};
use crate::workload::dtype::Bits;
use crate::workload::plan::{Planner, Step, Val};
use crate::workload::routing::{ExpertLog, Routing};
use crate::workload::train::train;

impl ModelRun {
    /// The trace of the run of a model that the recipe describes.
    pub fn trace(&self, seed: u64) -> Result<Trace, Error> {
        self.trace_by(&self.check()?, seed, None)
    }

    /// The trace of the run of a model from a file.
    pub(crate) fn trace_of(&self, model: &ModelFile, seed: u64) -> Result<Trace, Error> {
        self.check_fields()?;
        if !matches!(model, ModelFile::Config(_)) {
            let problem = "this file describes no decoder";
            refuse_field("decode_tokens", self.decode_tokens.is_some(), problem)?;
            refuse_field("requests", self.requests.is_some(), problem)?;
            refuse_field("kv_dtype", self.kv_dtype.is_some(), problem)?;
            refuse_field("routing", self.routing != Routing::default(), "this file describes no experts")?;
            self.check_optimizer()?;
        }
        match model {
            ModelFile::Config(config) => {
                self.check_model(config)?;
                self.trace_by(config, seed, None)
            }
            ModelFile::Operators(model) => {
                model.check(self)?;
                let mut planner = Planner::new(model.family(), self.tile_bytes, self.dataflow);
                let stored = model.store(&mut planner, self)?;
                let mut states = BTreeMap::new();
                for pass in 0..self.steps {
                    let step = stored.step(&mut planner, pass)?;
                    self.finish_step(&mut planner, step, &mut states)?;
                }
                planner.finish(self.name())
            }
        }
    }

    /// The trace of the run of `config`, with the experts of each token from `log`, if given.
    pub(crate) fn trace_by(
        &self,
        config: &ModelConfig,
        seed: u64,
        log: Option<&dyn ExpertLog>,
    ) -> Result<Trace, Error> {
        let bits = self.bits(config);
        let mut planner = Planner::new(config.family(), self.tile_bytes, self.dataflow);
        match config {
            ModelConfig::Transformer(model) => {
                let experts = ExpertChoice::new(self, model, seed, log)?;
                let mut passes = Passes::new(&mut planner, model, self, bits, experts);
                let requests = self.requests_of(model);
                if self.task == Task::Inference && !model.encodes_only() {
                    let together = self.batch_size;
                    if self.requests.is_some() && together == 1 && requests.len() > 1 {
                        let all = requests.len();
                        passes.planner.warn(format!(
                            "the {all} requests run one after the other; with batch_size {all} they all run at once"
                        ));
                    }
                    passes.serve(&requests, together)?;
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
            ModelConfig::Mlp(model) => {
                let layers = mlp::MlpLayers::new(&mut planner, model, bits);
                self.repeat(&mut planner, |_| layers.step(self.batch_size))?;
            }
            ModelConfig::Gemm(gemm) => {
                let weights = mlp::store_gemm(&mut planner, gemm, bits);
                self.repeat(&mut planner, |_| mlp::gemm(gemm, weights, self.batch_size, bits))?;
            }
        }
        planner.finish(self.name())
    }

    fn images(&self, planner: &mut Planner, network: &Network, bits: Bits) -> Result<(), Error> {
        let images = cnn::Images::new(planner, network, bits, self.convolution);
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
