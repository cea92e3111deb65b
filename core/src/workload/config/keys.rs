//! The keys of a `config.json`, with errors that name them, and which of them were asked for.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::error::{Error, Place};
use crate::workload::dtype::Dtype;

/// A JSON value in few words: what stands in a refused file may be long.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(n), ..) => n.to_string(),
            (_, Some(n), _) => n.to_string(),
            // With its point: 64.0 is refused where 64 is not.
            (.., n) => format!("{:?}", n.unwrap_or(f64::NAN)),
        },
        Value::String(text) => format!("\"{}\"", text.chars().take(40).collect::<String>()),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
    }
}

/// Keys that hold a model of text inside one of text and images, in the order in which they are looked for.
const INNER: [&str; 5] = ["text_config", "llm_config", "language_config", "thinker_config", "decoder_config"];
/// Keys of the outer file that are meant for the inner model too.
const OUTER: [&str; 6] =
    ["torch_dtype", "dtype", "quantization_config", "quantization", "tie_word_embeddings", "architectures"];
/// Keys of what is around a model of text.
const AROUND: [&str; 5] = ["vision_config", "audio_config", "vision_tower", "vision_encoder", "encoder_config"];

/// The keys of one file, with errors that name it.
pub(super) struct Keys<'a> {
    pub(super) input: &'a str,
    pub(super) keys: Map<String, Value>,
    /// Whether they stood inside another model's, where what equals the default of its class is left out.
    pub(super) nested: bool,
    /// What is around the model of text, and is not counted.
    pub(super) around: Option<&'static str>,
    seen: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Keys<'a> {
    pub(super) fn new(input: &'a str, keys: &Map<String, Value>) -> Self {
        Self { input, keys: keys.clone(), nested: false, around: None, seen: RefCell::default() }
    }

    /// The keys of the model of text inside, where the file describes one of text and images.
    pub(super) fn innermost(mut self) -> Self {
        // Two are enough: a model that speaks has a thinker, whose text is one of its parts.
        for _ in 0..2 {
            let Some(Value::Object(text)) = INNER.iter().find_map(|name| self.keys.get(*name)) else { break };
            let mut inner = text.clone();
            for key in OUTER {
                if let (None, Some(value)) = (text.get(key).filter(|v| !v.is_null()), self.value(key)) {
                    inner.insert(key.into(), value.clone());
                }
            }
            if inner.get("model_type").is_none_or(Value::is_null)
                && let Some(name) = self.value("model_type")
            {
                inner.insert("model_type".into(), name.clone());
            }
            self.around = self.around.or(AROUND.into_iter().find(|key| self.value(key).is_some()));
            self.nested = true;
            self.keys = inner;
        }
        self
    }

    /// Fills in what a file may leave out.
    pub(super) fn default(&mut self, key: &str, value: Value) {
        self.keys.entry(key).or_insert(value);
    }

    /// The keys that were asked for and are there, with their values.
    pub(super) fn read(&self) -> Map<String, Value> {
        let seen = self.seen.borrow();
        seen.iter().filter_map(|key| self.keys.get(*key).map(|value| ((*key).to_owned(), value.clone()))).collect()
    }

    pub(super) fn bad(&self, key: &str, problem: String, cure: &str) -> Error {
        Error::input(self.input, Place::Key(key.to_owned()), problem, cure)
    }

    /// The first of `names` that is present and not null.
    pub(super) fn find(&self, names: &[&'static str]) -> Option<(&'static str, &Value)> {
        names.iter().find_map(|name| self.value(name).map(|value| (*name, value)))
    }

    pub(super) fn optional(&self, names: &[&'static str], most: u64) -> Result<Option<u64>, Error> {
        let Some((name, value)) = self.find(names) else { return Ok(None) };
        let number = value.as_u64().filter(|n| (1..=most).contains(n));
        number.map(Some).ok_or_else(|| {
            self.bad(name, format!("the value is {}", show(value)), &format!("Write a whole number from 1 to {most}"))
        })
    }

    /// The same where 0 is a value too, and stands for none.
    pub(super) fn count(&self, names: &[&'static str], most: u64) -> Result<Option<u64>, Error> {
        match self.find(names) {
            Some((_, value)) if value.as_u64() == Some(0) => Ok(Some(0)),
            _ => self.optional(names, most),
        }
    }

    pub(super) fn required(&self, names: &[&'static str], most: u64) -> Result<u64, Error> {
        self.optional(names, most)?.ok_or_else(|| {
            let name = names.first().copied().unwrap_or_default();
            self.bad(name, "the key is missing".into(), "Give the model's complete config.json")
        })
    }

    pub(super) fn flag(&self, name: &'static str, default: bool) -> Result<bool, Error> {
        match self.find(&[name]) {
            None => Ok(default),
            Some((_, Value::Bool(flag))) => Ok(*flag),
            Some((_, other)) => Err(self.bad(name, format!("the value is {}", show(other)), "Write true or false")),
        }
    }

    /// The value of `name`, where it is present and not null.
    pub(super) fn value(&self, name: &'static str) -> Option<&Value> {
        self.seen.borrow_mut().insert(name);
        self.keys.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn text(&self, name: &'static str) -> Result<Option<String>, Error> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(self.bad(name, format!("the value is {}", show(other)), "Write a string")),
        }
    }

    /// A list of whole numbers from 1 to `most`.
    pub(super) fn list(&self, name: &'static str, length: RangeInclusive<usize>, most: u64) -> Result<Vec<u64>, Error> {
        let cure = format!("Write {} to {} whole numbers from 1 to {most}", length.start(), length.end());
        let Some(value) = self.value(name) else { return Err(self.bad(name, "the key is missing".into(), &cure)) };
        let refuse = |shown: &Value| self.bad(name, format!("the value is {}", show(shown)), &cure);
        let Value::Array(items) = value else { return Err(refuse(value)) };
        if !length.contains(&items.len()) {
            return Err(self.bad(name, format!("the list has {} elements", items.len()), &cure));
        }
        let number = |item: &Value| item.as_u64().filter(|n| (1..=most).contains(n)).ok_or_else(|| refuse(item));
        items.iter().map(number).collect()
    }

    /// The element of a list that stands for layer `layer` of `layers`; none where there is no list. A list may go on
    /// behind the last layer, for layers that predict further tokens.
    pub(super) fn of_layer(&self, name: &'static str, layer: u64, layers: u64) -> Result<Option<&Value>, Error> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let cure = "Write a list with an element for each layer";
        let Value::Array(items) = value else {
            return Err(self.bad(name, format!("the value is {}", show(value)), cure));
        };
        if (items.len() as u64) < layers {
            return Err(self.bad(name, format!("the list has {} elements for {layers} layers", items.len()), cure));
        }
        Ok(items.get(layer as usize))
    }

    /// Classes of a classifier: a number, or the names that it gives them.
    pub(super) fn labels(&self, default: u64) -> Result<u64, Error> {
        if let Some(Value::Object(names)) = self.value("id2label") {
            return Ok((names.len() as u64).max(1));
        }
        Ok(self.optional(&["num_labels"], 1 << 24)?.unwrap_or(default))
    }

    /// The number format that the file names; float32 where it names none, as in transformers.
    pub(super) fn dtype(&self) -> Result<Dtype, Error> {
        match self.find(&["torch_dtype", "dtype"]) {
            None => Ok(Dtype::Float32),
            Some((name, Value::String(dtype))) => crate::closed::from_name(name, dtype),
            Some((name, other)) => {
                Err(self.bad(name, format!("the value is {}", show(other)), "Write a name such as \"bfloat16\""))
            }
        }
    }

    /// The first of the `architectures`.
    pub(super) fn architecture(&self) -> Option<&str> {
        self.value("architectures").and_then(|all| all.get(0)).and_then(Value::as_str)
    }

    /// The family: `model_type`, or else the class of diffusers, or the first of the `architectures`.
    pub(super) fn model_type(&self) -> Result<String, Error> {
        if let (None, Some(Value::String(class))) = (self.value("model_type"), self.keys.get("_class_name")) {
            return Ok(class.clone());
        }
        match (self.value("model_type"), self.architecture()) {
            (Some(Value::String(name)), _) => Ok(name.clone()),
            (Some(other), _) => {
                Err(self.bad("model_type", format!("the value is {}", show(other)), "Write the name of a family"))
            }
            (_, Some(architecture)) => {
                let name = ["For", "LMHead", "Model"]
                    .iter()
                    .fold(architecture, |name, end| name.split(end).next().unwrap_or_default());
                Ok(name.to_ascii_lowercase())
            }
            _ => Err(self.bad("model_type", "the key is missing".into(), "Give the model's complete config.json")),
        }
    }
}
