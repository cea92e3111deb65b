//! Models as files describe them.

use super::fields::ModelRun;
use crate::error::Error;
use crate::workload::config::ModelConfig;
use crate::workload::plan::{Planner, Step};

/// A model as a file describes it.
pub(crate) enum ModelFile {
    /// By its shapes.
    Config(Box<ModelConfig>),
    /// By its operators.
    Operators(Box<dyn Operators>),
}

/// A model that a file describes operator by operator.
pub(crate) trait Operators {
    /// The family, as the prototype's records name it.
    fn family(&self) -> &'static str;

    /// Refuses fields of a run that do not apply to this model.
    fn check(&self, run: &ModelRun) -> Result<(), Error>;

    /// Adds the weights to a plan; passes are made with what this returns.
    fn store<'a>(&'a self, planner: &mut Planner, run: &'a ModelRun) -> Result<Box<dyn StoredModel + 'a>, Error>;
}

/// A model whose weights are part of a plan.
pub(crate) trait StoredModel {
    /// The operators of one forward pass; `pass` counts them from 0.
    fn step(&self, planner: &mut Planner, pass: u64) -> Result<Step, Error>;
}
