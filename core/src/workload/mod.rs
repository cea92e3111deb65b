//! What is read, in which order: workloads that make a [`Trace`].

mod cnn;
pub mod config;
pub mod dtype;
pub mod file;
mod mlp;
pub mod model_run;
mod onnx;
pub mod plan;
pub mod presets;
pub mod requests;
pub mod routing;
mod scale_sim;
pub mod scenarios;
pub mod synthetic;
pub mod tenants;
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
use tenants::Tenants;

/// Where an experiment's trace comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Workload {
    /// The prototype's random workload.
    Synthetic(Synthetic),
    /// A model at work.
    #[serde(alias = "inference")]
    Model(ModelRun),
    /// Several workloads on one memory.
    Tenants(Tenants),
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
    /// Fails on the first field that is out of range, without making the trace.
    pub fn check(&self) -> Result<(), Error> {
        match self {
            Self::Synthetic(synthetic) => synthetic.check(),
            Self::Model(run) => run.check_fields(),
            Self::Tenants(tenants) => tenants.check(),
            Self::File(_) => Ok(()),
        }
    }

    /// Checks every field and makes the trace. A workload that needs a file has no trace without it: an error says so.
    pub fn trace(&self, seed: u64) -> Result<Trace, Error> {
        if let Some(file) = self.file() {
            return Err(Error::input(
                file,
                Place::Whole,
                "the recipe names this file, and a recipe does not carry the file itself",
                "Give the file along with the recipe",
            ));
        }
        match self {
            Self::Synthetic(synthetic) => synthetic.trace(seed),
            Self::Model(run) => run.trace(seed),
            Self::Tenants(tenants) => tenants.trace(seed),
            Self::File(_) => Err(Error::Internal("a trace file without a name".into())),
        }
    }

    /// Facts of the model, where the workload is one that the recipe describes.
    pub fn model_facts(&self) -> Result<Option<config::Facts>, Error> {
        match self {
            Self::Model(run) if !matches!(run.model, ModelRef::File { .. }) => run.facts().map(Some),
            Self::Model(_) | Self::Synthetic(_) | Self::Tenants(_) | Self::File(_) => Ok(None),
        }
    }
}

/// A model by the name of a preset, by a file, or by its `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ModelRef {
    /// The name of one of [`presets::PRESETS`].
    Preset(String),
    /// A file that describes it (ONNX, a SCALE-Sim topology, a `config.json`): `{"file":"resnet18.onnx"}`. The recipe
    /// names it; whoever runs the recipe brings the bytes.
    File {
        /// The name of the file.
        file: String,
    },
    /// The keys of a Hugging Face `config.json` that matter.
    Config(Box<ModelConfig>),
}

/// By hand, because an untagged enum would hide what is wrong with a configuration.
impl<'de> Deserialize<'de> for ModelRef {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(name) => Ok(Self::Preset(name)),
            serde_json::Value::Object(keys) if keys.len() == 1 && keys.contains_key("file") => match &keys["file"] {
                serde_json::Value::String(file) => Ok(Self::File { file: file.clone() }),
                _ => Err(serde::de::Error::custom("file is not a text; write the name of a file")),
            },
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
            Self::File { file } => Err(Error::Internal(format!("the shapes of {file} are in the file"))),
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
