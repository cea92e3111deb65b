//! What the body of a request asks for: a workload, the records of a trace, a recipe.

use std::ops::RangeInclusive;

use accel_core::error::{Error, Place};
use accel_core::import::prototype_csv::{FromRecords, Record};
use accel_core::recipe::fields::Part;
use accel_core::recipe::{Recipe, default_seed};
use accel_core::trace::Trace;
use accel_core::workload::synthetic::{self, ModelType, Pattern, Synthetic};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::ApiError;

/// A workload to make, or the records of a trace that `/generate-trace` or a file gave.
pub(crate) struct TraceInput {
    pub(crate) trace: Trace,
    /// The probability that the request claims; none for records.
    pub(crate) reuse_probability: Option<f64>,
}

impl TraceInput {
    pub(crate) fn read(body: &[u8]) -> Result<Self, ApiError> {
        // An empty body asks for the defaults, as `{}` does.
        let value = if body.trim_ascii().is_empty() { Value::Object(Map::new()) } else { json(body)? };
        match value {
            Value::Object(fields) => {
                let (synthetic, seed) = trace_request(&fields).map_err(ApiError::body)?;
                let trace = synthetic.trace(seed).map_err(ApiError::body)?;
                Ok(Self { trace, reuse_probability: Some(synthetic.reuse_probability) })
            }
            Value::Array(rows) => {
                Ok(Self { trace: from_records(rows).map_err(ApiError::body)?, reuse_probability: None })
            }
            other => Err(ApiError::body(Error::input(
                "body",
                Place::Whole,
                format!("expected an object or a list of records, found {other}"),
                "Send {\"model_type\":\"Transformer\",…} or the answer of /generate-trace",
            ))),
        }
    }
}

/// Reads JSON of any shape.
pub(crate) fn json(body: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(body).map_err(|e| {
        let place = Place::LineColumn(e.line() as u64, e.column() as u64);
        ApiError::body(Error::input("body", place, format!("not JSON: {e}"), "Send a JSON object, such as {}"))
    })
}

fn from_records(rows: Vec<Value>) -> Result<Trace, Error> {
    let mut trace: Option<FromRecords<'_>> = None;
    for (i, row) in rows.into_iter().enumerate() {
        let place = Place::Item(i as u64);
        let record: Record = serde_json::from_value(row).map_err(|e| {
            let cure = "Send records as /generate-trace answers them";
            Error::input("body", place.clone(), format!("not a record: {e}"), cure)
        })?;
        trace.get_or_insert_with(|| FromRecords::new("body", &record.model_type)).push(&record, place)?;
    }
    trace.unwrap_or_else(|| FromRecords::new("body", "")).finish()
}

/// Reads a TraceRequest field by field, so that a refusal names the field, its value and the allowed range.
fn trace_request(fields: &Map<String, Value>) -> Result<(Synthetic, u64), Error> {
    let known: Vec<&str> = Part::Synthetic.fields().map(|row| row.name).chain(["seed"]).collect();
    if let Some((field, value)) = fields.iter().find(|(name, _)| !known.contains(&name.as_str())) {
        return Err(Error::field(field, value, "unknown field", format!("The fields are {}", known.join(", "))));
    }
    let text = |name: &str| match fields.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(other) => Err(Error::field(name, other, "not a string", "Send a JSON string")),
    };
    let whole = |name: &str, slot: &mut u32, range: RangeInclusive<u32>| {
        let Some(value) = fields.get(name) else { return Ok(()) };
        let number = value.as_u64().and_then(|n| u32::try_from(n).ok());
        *slot = number.ok_or_else(|| {
            let cure = format!("Choose a whole number from {} to {}", range.start(), range.end());
            Error::field(name, value, "out of range", cure)
        })?;
        Ok(())
    };
    let mut spec = Synthetic::default();
    if let Some(name) = text("model_type")? {
        spec.model_type = ModelType::from_name(name)?;
    }
    if let Some(name) = text("pattern")? {
        spec.pattern = Pattern::from_name(name)?;
    }
    whole("num_layers", &mut spec.num_layers, synthetic::NUM_LAYERS)?;
    whole("batch_size", &mut spec.batch_size, synthetic::BATCH_SIZE)?;
    whole("seq_length", &mut spec.seq_length, synthetic::SEQ_LENGTH)?;
    whole("max_tensors_per_layer", &mut spec.max_tensors_per_layer, synthetic::MAX_TENSORS_PER_LAYER)?;
    if let Some(value) = fields.get("reuse_probability") {
        spec.reuse_probability = value
            .as_f64()
            .ok_or_else(|| Error::field("reuse_probability", value, "not a number", "Choose a value from 0 to 1"))?;
    }
    let seed = match fields.get("seed") {
        None => default_seed(),
        Some(value) => value.as_u64().ok_or_else(|| {
            Error::field("seed", value, "not a whole number", "Choose a value from 0 to 18446744073709551615")
        })?,
    };
    spec.check()?;
    Ok((spec, seed))
}

/// Reads a body of one type.
pub(crate) fn typed<'a, T: Deserialize<'a>>(body: &'a [u8], cure: &str) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|e| {
        let place = Place::LineColumn(e.line() as u64, e.column() as u64);
        ApiError::body(Error::input("body", place, e.to_string(), cure))
    })
}

/// What a recipe, a workload or records read.
pub(crate) fn trace_of(body: &[u8]) -> Result<Trace, ApiError> {
    let recipe = match json(body) {
        Ok(Value::Object(mut fields)) if fields.contains_key("recipe") => {
            if fields.len() > 1 {
                let cure = "Send either {\"recipe\":…} or the fields of a workload";
                let problem = "a recipe with other fields beside it";
                return Err(ApiError::body(Error::input("body", Place::Whole, problem, cure)));
            }
            fields.remove("recipe").map(|recipe| recipe.to_string())
        }
        // Of anything else, the prototype's reader knows what is wrong.
        _ => None,
    };
    match recipe {
        Some(recipe) => {
            let recipe = Recipe::from_json("body.recipe", recipe.as_bytes()).map_err(ApiError::body)?;
            refuse_files(&recipe)?;
            recipe.workload.trace(recipe.seed).map_err(ApiError::body)
        }
        None => Ok(TraceInput::read(body)?.trace),
    }
}

/// A request cannot carry a file.
pub(crate) fn refuse_files(recipe: &Recipe) -> Result<(), ApiError> {
    let Some(file) = recipe.workload.file() else { return Ok(()) };
    let problem = "the recipe names a file, which a request cannot carry";
    let cure = "Send the records of a trace to /simulate, or use the page or `accel simulate`";
    Err(ApiError::body(Error::input(file, Place::Whole, problem, cure)))
}
