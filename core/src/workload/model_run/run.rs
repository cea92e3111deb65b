//! The run: steps of the model, and the trace they make.

use std::collections::BTreeMap;

use super::cnn;
use super::fields::{ModelRun, Task, refuse_field};
use super::file::ModelFile;
use super::mlp;
use super::transformer::{Experts, Passes};
use crate::error::Error;
use crate::trace::Trace;
use crate::workload::config::{ModelConfig, Network};
use crate::workload::dtype::Bits;
use crate::workload::plan::{Plan, Step, Val};
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
                let mut plan = Plan::new(model.family(), self.tile_bytes, self.dataflow);
                let stored = model.store(&mut plan, self)?;
                let mut states = BTreeMap::new();
                for pass in 0..self.steps {
                    let step = stored.step(&mut plan, pass)?;
                    self.finish_step(&mut plan, step, &mut states)?;
                }
                plan.finish(self.name())
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
        let mut plan = Plan::new(config.family(), self.tile_bytes, self.dataflow);
        match config {
            ModelConfig::Transformer(model) => {
                let experts = Experts::new(self, model, seed, log)?;
                let mut passes = Passes::new(&mut plan, model, self, bits, experts);
                let requests = self.requests_of(model);
                if self.task == Task::Inference && !model.encodes_only() {
                    let together = self.batch_size;
                    if self.requests.is_some() && together == 1 && requests.len() > 1 {
                        let all = requests.len();
                        passes.plan.warn(format!(
                            "the {all} requests run one after the other; with batch_size {all} they all run at once"
                        ));
                    }
                    passes.serve(&requests, together)?;
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
    fn finish_step(&self, plan: &mut Plan, mut step: Step, states: &mut BTreeMap<Val, Vec<Val>>) -> Result<(), Error> {
        if self.task == Task::Training {
            step.marks.insert(0, (0, "forward"));
            train(plan, &mut step, self.optimizer, states);
        }
        plan.run(&step)
    }
}
