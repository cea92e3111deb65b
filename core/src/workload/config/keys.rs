//! The keys of a `config.json`, with errors that name them.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::families::supported;
use crate::error::{Error, Place};
use crate::workload::dtype::Dtype;

/// A JSON value in few words: what stands in a refused file may be long.
fn show(value: &Value) -> String {
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

/// The keys of one file, with errors that name it.
pub(super) struct Keys<'a> {
    pub(super) input: &'a str,
    pub(super) keys: &'a Map<String, Value>,
}

impl Keys<'_> {
    pub(super) fn bad(&self, key: &str, problem: String, cure: &str) -> Error {
        Error::input(self.input, Place::Key(key.to_owned()), problem, cure)
    }

    /// The first of `names` that is present and not null.
    pub(super) fn find(&self, names: &[&'static str]) -> Option<(&'static str, &Value)> {
        names.iter().find_map(|n| self.keys.get(*n).filter(|v| !v.is_null()).map(|v| (*n, v)))
    }

    pub(super) fn optional(&self, names: &[&'static str], most: u64) -> Result<Option<u64>, Error> {
        let Some((name, value)) = self.find(names) else { return Ok(None) };
        let number = value.as_u64().filter(|n| (1..=most).contains(n));
        number.map(Some).ok_or_else(|| {
            self.bad(name, format!("the value is {}", show(value)), &format!("Write a whole number from 1 to {most}"))
        })
    }

    pub(super) fn required(&self, names: &[&'static str], most: u64) -> Result<u64, Error> {
        self.optional(names, most)?
            .ok_or_else(|| self.bad(names[0], "the key is missing".into(), "Give the model's complete config.json"))
    }

    pub(super) fn flag(&self, name: &'static str, default: bool) -> Result<bool, Error> {
        match self.find(&[name]) {
            None => Ok(default),
            Some((_, Value::Bool(flag))) => Ok(*flag),
            Some((_, other)) => Err(self.bad(name, format!("the value is {}", show(other)), "Write true or false")),
        }
    }

    /// The value of `name`, where it is present and not null.
    pub(super) fn value(&self, name: &str) -> Option<&Value> {
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

    /// Classes of a classifier: a number, or the names that it gives them.
    pub(super) fn labels(&self, default: u64) -> Result<u64, Error> {
        if let Some(Value::Object(names)) = self.value("id2label") {
            return Ok((names.len() as u64).max(1));
        }
        Ok(self.optional(&["num_labels"], 1 << 24)?.unwrap_or(default))
    }

    /// The number format of the weights; float32 where the file names none, as in transformers.
    pub(super) fn dtype(&self) -> Result<Dtype, Error> {
        if self.value("quantization_config").is_some() {
            return self.quantized_dtype();
        }
        match self.find(&["torch_dtype", "dtype"]) {
            None => Ok(Dtype::Float32),
            Some((name, Value::String(dtype))) => crate::closed::from_name(name, dtype),
            Some((name, other)) => {
                Err(self.bad(name, format!("the value is {}", show(other)), "Write a name such as \"bfloat16\""))
            }
        }
    }

    /// The width that a `quantization_config` (GPTQ, AWQ, bitsandbytes, FP8) gives the weights; all of them are
    /// counted at it, embeddings included.
    fn quantized_dtype(&self) -> Result<Dtype, Error> {
        const NAME: &str = "quantization_config";
        let value = self.keys.get(NAME);
        let find = |key: &str| value.and_then(|v| v.get(key));
        let on = |key: &str| find(key).and_then(Value::as_bool) == Some(true);
        match (find("bits").and_then(Value::as_u64), find("quant_method").and_then(Value::as_str)) {
            (Some(4), _) => Ok(Dtype::Int4),
            (Some(8), _) => Ok(Dtype::Int8),
            (None, Some("fp8" | "fbgemm_fp8")) => Ok(Dtype::Float8),
            (None, _) if on("load_in_4bit") || on("_load_in_4bit") => Ok(Dtype::Int4),
            (None, _) if on("load_in_8bit") || on("_load_in_8bit") => Ok(Dtype::Int8),
            _ => Err(self.bad(
                NAME,
                "the width of the weights cannot be inferred from it".into(),
                "Remove the key and choose the number format of the weights (weight_dtype) yourself",
            )),
        }
    }

    /// The family: `model_type`, or else the first of the `architectures`.
    pub(super) fn model_type(&self) -> Result<String, Error> {
        match (self.value("model_type"), self.keys.get("architectures").and_then(|a| a.get(0))) {
            (Some(Value::String(name)), _) => Ok(name.clone()),
            (Some(other), _) => Err(self.bad(
                "model_type",
                format!("the value is {}", show(other)),
                &format!("Write one of {}", supported()),
            )),
            (_, Some(Value::String(architecture))) => {
                let name = ["For", "LMHead", "Model"]
                    .iter()
                    .fold(architecture.as_str(), |name, end| name.split(end).next().unwrap_or_default());
                Ok(name.to_ascii_lowercase())
            }
            _ => Err(self.bad(
                "model_type",
                "the key is missing".into(),
                &format!("Give the model's complete config.json; supported are {}", supported()),
            )),
        }
    }
}
