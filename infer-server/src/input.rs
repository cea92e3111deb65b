//! What the body of a request asks for: a workload, the records of a trace, a recipe.

use accel_core::error::{Error, Place};
use accel_core::import::prototype_csv::{FromRecords, Record, Records as _};
use accel_core::recipe::fields::{self, Part};
use accel_core::recipe::{Recipe, Workload, default_seed};
use accel_core::trace::Trace;
use accel_core::workload::synthetic::Synthetic;
use serde::Deserialize;
use serde_json::{Map, Number, Value};

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

/// JSON knows one kind of number: 12.0 is 12.
fn whole(number: Number) -> Number {
    // Up to 2^53 every whole number has its own.
    let value = number.as_f64().filter(|value| number.is_f64() && value.fract() == 0.0 && value.abs() < 9e15);
    value.map_or(number, |value| Number::from(value as i64))
}

fn from_records(rows: Vec<Value>) -> Result<Trace, Error> {
    let mut trace = FromRecords::new("body");
    for (i, mut row) in rows.into_iter().enumerate() {
        let place = Place::Item(i as u64);
        for value in row.as_object_mut().into_iter().flat_map(Map::values_mut) {
            if let Value::Number(number) = value {
                *number = whole(number.clone());
            }
        }
        let record: Record = serde_json::from_value(row).map_err(|e| {
            let cure = "Send records as /generate-trace answers them";
            Error::input("body", place.clone(), format!("not a record: {e}"), cure)
        })?;
        trace.push(&record, place)?;
    }
    trace.finish()
}

/// Reads a TraceRequest field by field, so that a refusal names the field, its value and the allowed range.
fn trace_request(given: &Map<String, Value>) -> Result<(Synthetic, u64), Error> {
    let known: Vec<&str> = Part::Synthetic.fields().map(|row| row.name).chain(["seed"]).collect();
    if let Some((field, value)) = given.iter().find(|(name, _)| !known.contains(&name.as_str())) {
        return Err(Error::field(field, value, "unknown field", format!("The fields are {}", known.join(", "))));
    }
    let mut recipe = Recipe { workload: Workload::Synthetic(Synthetic::default()), ..Recipe::default() };
    for row in Part::Synthetic.fields() {
        let Some(value) = given.get(row.name) else { continue };
        let text = match (row.value, value) {
            (fields::Domain::Number(_), Value::Number(number)) => whole(number.clone()).to_string(),
            (fields::Domain::Number(range), other) => {
                let [least, most] = range.unwrap_or(["0", "18446744073709551615"]);
                let cure = format!("Choose a value from {least} to {most}");
                return Err(Error::field(row.name, other, "not a number", cure));
            }
            (_, Value::String(text)) => text.clone(),
            (_, other) => return Err(Error::field(row.name, other, "not a string", "Send a JSON string")),
        };
        // The error shows the value as it was sent.
        row.set(&mut recipe, &text).map_err(|error| match error {
            Error::Field { field, problem, cure, .. } => Error::field(field, value, problem, cure),
            other => other,
        })?;
    }
    let seed = match given.get("seed") {
        None => default_seed(),
        Some(value) => value.as_u64().ok_or_else(|| {
            Error::field("seed", value, "not a whole number", "Choose a value from 0 to 18446744073709551615")
        })?,
    };
    match recipe.workload {
        Workload::Synthetic(spec) => spec.check().map(|()| (spec, seed)),
        _ => Err(Error::Internal("a trace request became another workload".into())),
    }
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
            recipe.trace(None).map_err(ApiError::body)
        }
        None => Ok(TraceInput::read(body)?.trace),
    }
}

/// A request cannot carry a file.
pub(crate) fn refuse_files(recipe: &Recipe) -> Result<(), ApiError> {
    refuse_file(&recipe.workload)
}

/// Nor can one that names a workload alone.
pub(crate) fn refuse_file(workload: &Workload) -> Result<(), ApiError> {
    let Some(file) = workload.file() else { return Ok(()) };
    let problem = "the recipe names a file, which a request cannot carry";
    let cure = "Send the records of a trace to /simulate, or use the page or `accel simulate`";
    Err(ApiError::body(Error::input(file, Place::Whole, problem, cure)))
}
