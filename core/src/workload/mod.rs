//! What is read, in which order: workloads that make a [`Trace`].

mod cnn;
pub mod config;
pub mod dtype;
mod mlp;
pub mod model_run;
mod onnx;
pub mod plan;
pub mod presets;
pub mod requests;
pub mod routing;
pub mod synthetic;
pub mod train;
mod transformer;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Place};
use crate::trace::Trace;
use crate::trace::format::Format;
use crate::trace::format::cache_csv::Columns;
use config::ModelConfig;
use model_run::ModelRun;
use synthetic::Synthetic;

/// Where an experiment's trace comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Workload {
    /// The prototype's random workload.
    Synthetic(Synthetic),
    /// A model at work.
    #[serde(alias = "inference")]
    Model(ModelRun),
    /// A trace file. The recipe names it; whoever runs the recipe brings the bytes.
    File(FileSource),
}

/// A trace file as a recipe names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSource {
    /// Its name.
    pub name: String,
    /// Its format; told from the content where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Which columns of a CSV file hold what; told from the file where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Columns>,
}

impl Workload {
    /// Checks every field and makes the trace. A file workload has no trace of its own: an error says so.
    pub fn trace(&self, seed: u64) -> Result<Trace, Error> {
        match self {
            Self::Synthetic(synthetic) => synthetic.trace(seed),
            Self::Model(run) => run.trace(seed),
            Self::File(file) => Err(Error::input(
                &file.name,
                Place::Whole,
                "the recipe names this trace file, and a recipe does not carry the file itself",
                "Give the file along with the recipe",
            )),
        }
    }

    /// Facts of the model, where the workload is one.
    pub fn model_facts(&self) -> Result<Option<config::Facts>, Error> {
        match self {
            Self::Model(run) => run.facts().map(Some),
            Self::Synthetic(_) | Self::File(_) => Ok(None),
        }
    }
}

/// A model by the name of a preset, or by its `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ModelRef {
    /// The name of one of [`presets::PRESETS`].
    Preset(String),
    /// The keys of a Hugging Face `config.json` that matter.
    Config(Box<ModelConfig>),
}

/// By hand, because an untagged enum would hide what is wrong with a configuration.
impl<'de> Deserialize<'de> for ModelRef {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(name) => Ok(Self::Preset(name)),
            config => {
                ModelConfig::deserialize(config).map(|c| Self::Config(Box::new(c))).map_err(serde::de::Error::custom)
            }
        }
    }
}

impl ModelRef {
    /// The configuration behind the name.
    pub fn config(&self) -> Result<ModelConfig, Error> {
        match self {
            Self::Preset(name) => presets::find(name)?.config(),
            Self::Config(config) => config.check().map(|()| (**config).clone()),
        }
    }
}

/// Fails unless `value` lies in `range`; `field` is named in the error.
pub(crate) fn check_range<T>(field: &str, value: T, range: std::ops::RangeInclusive<T>) -> Result<(), Error>
where
    T: PartialOrd + std::fmt::Display,
{
    if range.contains(&value) {
        return Ok(());
    }
    let (low, high) = (range.start(), range.end());
    Err(Error::field(field, value, "out of range", format!("Choose a value from {low} to {high}")))
}
