//! Transformers and their relatives: from the keys of a `config.json` and the row of its family to a table of layers.

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::keys::Keys;
use super::layers::{Layer, Model};
use super::layout::{Layout, Shapes};
use super::quantization::Quantization;
use super::shard::Cuts;
use crate::error::Error;
use crate::workload::dtype::Dtype;

/// Experts in place of MLPs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Experts {
    /// Experts of a layer.
    pub num_experts: u64,
    /// Experts that each token is sent to.
    pub num_experts_per_tok: u64,
}

/// A model by the keys of its `config.json` that decide what is read and written, and the layers that they describe.
///
/// It is written as these keys, and read from them again.
#[derive(Clone)]
pub struct Transformer {
    /// The family, by the `model_type` of its files.
    pub model_type: &'static str,
    /// Its type, in the prototype's words.
    kind: &'static str,
    /// The keys that were asked for.
    keys: Map<String, Value>,
    /// Experts, where there are some.
    pub experts: Option<Experts>,
    /// Number format of the activations, and of the weights that are not quantised.
    pub torch_dtype: Dtype,
    /// How its weights are quantised.
    pub(crate) quantization: Quantization,
    /// Its layers.
    pub(crate) model: Model,
    /// What is in the file and is not counted.
    pub(crate) notes: Vec<String>,
}

impl std::fmt::Debug for Transformer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Transformer").field(&self.keys).finish()
    }
}

impl PartialEq for Transformer {
    fn eq(&self, other: &Self) -> bool {
        self.keys == other.keys
    }
}

impl Serialize for Transformer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.keys.len()))?;
        for (key, value) in &self.keys {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// The most parameters of the layers.
const MOST_ELEMENTS: u128 = 1 << 58;

/// Prediction of further tokens: layers that a model has for training and speculation, and that a plain run never meets.
const FURTHER: [&str; 4] =
    ["num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules", "mtp_transformer_layers"];

impl Transformer {
    /// Reads a file of the family `name`.
    pub(super) fn from_keys(name: &'static str, layout: &'static Layout, keys: &mut Keys<'_>) -> Result<Self, Error> {
        keys.keys.insert("model_type".into(), Value::from(name));
        for (key, value) in layout.defaults {
            keys.default(key, Value::from(*value));
        }
        if keys.nested {
            for (key, value) in layout.class {
                keys.default(key, Value::from(*value));
            }
        }
        let keys = &*keys;
        let torch_dtype = keys.dtype()?;
        let quantization = Quantization::from_keys(keys, torch_dtype)?;
        let model = Shapes::new(layout, keys)?.model()?;
        let mut notes = Vec::new();
        if let Some(around) = keys.around {
            notes.push(format!("the model of text is what is counted; what {around} describes is not"));
        }
        if let Some((name, further)) = FURTHER.iter().find_map(|name| {
            keys.keys.get(*name).and_then(Value::as_u64).filter(|layers| *layers > 0).map(|layers| (name, layers))
        }) {
            notes.push(format!("{name} is {further}: layers that predict further tokens are not counted"));
        }
        notes.extend(quantization.notes.iter().cloned());
        let mixtures = model.layers().filter_map(|(.., layer)| layer.mixture());
        let experts = mixtures
            .map(|mixture| Experts { num_experts: mixture.experts, num_experts_per_tok: mixture.per_token })
            .max_by_key(|experts| experts.num_experts);
        keys.value("model_type");
        Ok(Self {
            model_type: name,
            kind: layout.kind(),
            keys: keys.read(),
            experts,
            torch_dtype,
            quantization,
            model,
            notes,
        })
    }

    /// Its type, in the prototype's words.
    pub(super) fn kind(&self) -> &'static str {
        self.kind
    }

    /// What a device of stage `stage` holds of it. Its experts are those that tokens may be sent to, wherever they are.
    pub(crate) fn share(&self, cuts: Cuts, stage: u64) -> Self {
        Self { model: self.model.share(cuts, stage), ..self.clone() }
    }

    /// The stage that holds most.
    pub(crate) fn fullest_stage(&self, cuts: Cuts) -> u64 {
        let held = |stage: &u64| (self.model.share(cuts, *stage).parameters(), std::cmp::Reverse(*stage));
        (0..cuts.pipeline).max_by_key(held).unwrap_or(0)
    }

    /// Whether the key was asked for.
    pub(super) fn reads(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    /// Whether nothing can be decoded with it.
    pub fn encodes_only(&self) -> bool {
        self.model.encodes_only()
    }

    /// Whether there is an encoder and a decoder.
    pub(crate) fn two_stacks(&self) -> bool {
        self.model.stacks.len() > 1
    }

    /// Longest sequence.
    pub(crate) fn positions(&self) -> u64 {
        self.model.positions
    }

    /// Fails where two values contradict each other.
    pub(super) fn check(&self) -> Result<(), Error> {
        let of_layer = |layer: &Layer| -> u128 {
            let matrices = layer.placed().into_iter();
            matrices.map(|(l, times, _)| u128::from(l.inputs + 1) * u128::from(l.outputs) * u128::from(times)).sum()
        };
        let all: u128 = self.model.layers().map(|(.., layer)| of_layer(layer)).sum();
        // Keeps every later count of bits within 64 bits.
        if all > MOST_ELEMENTS {
            return Err(Error::TooLarge {
                problem: format!("the model has {all} parameters, and at most {MOST_ELEMENTS} are counted"),
                cure: "Check the sizes in the configuration".into(),
            });
        }
        Ok(())
    }
}
