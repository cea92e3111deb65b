//! Which model is meant.

use serde::{Deserialize, Serialize};

use super::config::ModelConfig;
use super::presets;
use crate::error::Error;

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
                _ => Err(serde::de::Error::custom("file is not a string; write the name of a file")),
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
