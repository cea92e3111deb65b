//! Models whose file says sizes, and whose family says which operators: vision models, pairs of towers, diffusion models.

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::keys::Keys;
use super::network::Network;
use crate::error::Error;
use crate::workload::dtype::Dtype;

/// Makes the operators of a family of its keys.
pub(super) type Build = fn(&Keys<'_>) -> Result<Network, Error>;

/// A model by the keys of its file, and the operators that they describe. It is written as these keys.
#[derive(Debug, Clone)]
pub struct Graph {
    /// The type of the model, in the prototype's words.
    pub(super) kind: &'static str,
    keys: Map<String, Value>,
    pub(super) torch_dtype: Dtype,
    pub(crate) network: Network,
}

impl PartialEq for Graph {
    fn eq(&self, other: &Self) -> bool {
        self.keys == other.keys
    }
}

impl Serialize for Graph {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.keys.len()))?;
        for (key, value) in &self.keys {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// More operators than any published model has.
const MOST_OPERATORS: usize = 100_000;

impl Graph {
    /// Reads a file of the family `name`.
    pub(super) fn from_keys(
        name: &'static str,
        (kind, build): (&'static str, Build),
        mut keys: Keys<'_>,
    ) -> Result<Self, Error> {
        keys.keys.remove("_class_name");
        keys.keys.insert("model_type".into(), Value::from(name));
        let torch_dtype = keys.dtype()?;
        let network = build(&keys)?;
        if network.blocks.is_empty() || network.blocks.len() > MOST_OPERATORS {
            return Err(Error::TooLarge {
                problem: format!(
                    "the model has {} operators, and 1 to {MOST_OPERATORS} are read",
                    network.blocks.len()
                ),
                cure: "Check the sizes in the configuration".into(),
            });
        }
        keys.value("model_type");
        Ok(Self { kind, keys: keys.read(), torch_dtype, network })
    }
}
