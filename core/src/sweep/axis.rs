//! An axis: one field of the recipe and its values, or several fields that vary together.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Number, Value};

use super::counts_bytes;
use crate::check::check_range;
use crate::closed;
use crate::error::Error;
use crate::math::power;
use crate::recipe::Recipe;
use crate::recipe::fields::FieldInfo;
use crate::units::parse_bytes;

/// Values of an axis, at most (ours: as many as a sweep has cells).
const MOST_POINTS: u64 = super::MOST_CELLS;

/// Fields of the recipe by their JSON pointers ([RFC 6901](https://www.rfc-editor.org/rfc/rfc6901)), each with a list of
/// values or a range. Several fields in one axis vary together: the first value of each, then the second of each.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis(pub Vec<(String, Value)>);

impl Serialize for Axis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(pointer, values)| (pointer, values)))
    }
}

/// Keeps what a map would lose: the order, and a pointer that is given twice.
impl<'de> Deserialize<'de> for Axis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Axis;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an axis such as {{\"/seed\": [1, 2, 3]}}")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Axis, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Axis(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

closed! {
    /// How the values of a range follow each other.
    pub enum Scale("scale", "scale") {
        /// In equal steps.
        Linear = "linear",
        /// In equal ratios.
        Log = "log",
    }
}

/// A range of numbers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Range {
    from: Value,
    to: Value,
    points: u64,
    scale: Option<Scale>,
}

fn refuse(pointer: &str, value: impl fmt::Display, problem: impl Into<String>, cure: impl Into<String>) -> Error {
    Error::field(format!("axis {pointer}"), value, problem, cure)
}

impl Axis {
    /// The values of each field, as many of each.
    pub(super) fn values(&self) -> Result<Vec<(String, Vec<Value>)>, Error> {
        let Some((first, _)) = self.0.first() else {
            let cure = "Name a field, such as {\"/seed\": [1, 2, 3]}, or leave the axis out";
            return Err(Error::field("axes", "{}", "an axis varies nothing", cure));
        };
        let mut fields: Vec<(String, Vec<Value>)> = Vec::new();
        for (pointer, written) in &self.0 {
            if !pointer.starts_with('/') {
                let cure =
                    format!("Write a JSON pointer into the recipe, such as /{pointer} or /memory/capacity_bytes");
                return Err(refuse(pointer, "no JSON pointer", "a pointer begins with /", cure));
            }
            fields.push((pointer.clone(), values(pointer, written)?));
        }
        let lengths: Vec<usize> = fields.iter().map(|(_, values)| values.len()).collect();
        match fields.iter().find(|(_, values)| values.len() != lengths[0]) {
            None => Ok(fields),
            Some((pointer, values)) => {
                let problem = format!("{first} has {}, and both vary together", lengths[0]);
                let cure = "Give them as many values, or an axis each";
                Err(refuse(pointer, format!("{} values", values.len()), problem, cure))
            }
        }
    }
}

/// What stands between the ends of a range that a person writes, and before its number of values.
const TO: &str = " to ";
const IN: &str = " in ";

/// The axis on which `row` of `recipe` takes the values that `text` lists: `32MB, 64MB`, with semicolons where values hold
/// commas, or `32MB to 1GB in 6`.
pub(super) fn typed(recipe: &Recipe, row: &FieldInfo, text: &str) -> Result<Axis, Error> {
    let value = |text: &str| -> Result<Value, Error> {
        let mut with = recipe.clone();
        row.set(&mut with, text)?;
        let json = serde_json::to_value(&with).map_err(|e| Error::Internal(e.to_string()))?;
        // What has its default is not written.
        let plain = || serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
        Ok(json.pointer(row.pointer).cloned().unwrap_or_else(plain))
    };
    let range = text.split_once(TO).and_then(|(from, rest)| Some((from, rest.split_once(IN)?)));
    let values = match range {
        Some((from, (to, points))) => {
            let points: u64 = points.trim().parse().map_err(|_| {
                refuse(
                    row.pointer,
                    points.trim(),
                    "it is no number of values",
                    "Write a range such as 32MB to 1GB in 6",
                )
            })?;
            serde_json::json!({"from": value(from.trim())?, "to": value(to.trim())?, "points": points})
        }
        None => {
            let between = if text.contains(';') { ';' } else { ',' };
            let texts = text.split(between).map(str::trim).filter(|text| !text.is_empty());
            Value::Array(texts.map(value).collect::<Result<_, _>>()?)
        }
    };
    Ok(Axis(vec![(row.pointer.to_owned(), values)]))
}

/// The values that are written for one field.
fn values(pointer: &str, written: &Value) -> Result<Vec<Value>, Error> {
    let values = match written {
        Value::Array(values) => values.iter().map(|value| sized(pointer, value)).collect::<Result<Vec<_>, _>>()?,
        Value::Object(_) => {
            let range = Range::deserialize(written).map_err(|error| {
                refuse(pointer, written, error.to_string(), "Write {\"from\": 1, \"to\": 9, \"points\": 5} or a list")
            })?;
            range.values(pointer)?
        }
        other => {
            let cure = "Write a list such as [1, 2, 3], or {\"from\": 1, \"to\": 9, \"points\": 5}";
            return Err(refuse(pointer, other, "it is neither a list nor a range", cure));
        }
    };
    if values.is_empty() {
        return Err(refuse(pointer, "[]", "the axis is empty", "Give at least one value, or leave the axis out"));
    }
    // Short lists need no order, long ones come from ranges, which rise.
    let twice = values.iter().enumerate().find(|(i, value)| values[i.saturating_sub(1_000)..*i].contains(value));
    if let Some((_, value)) = twice {
        return Err(refuse(pointer, value, "this value comes twice", "Give each value once, or fewer points"));
    }
    Ok(values)
}

/// A value, in bytes where it is a size with a unit.
fn sized(pointer: &str, value: &Value) -> Result<Value, Error> {
    match value {
        Value::String(text) if counts_bytes(pointer) => {
            parse_bytes(&format!("axis {pointer}"), text).map(|bytes| Value::Number(bytes.into()))
        }
        other => Ok(other.clone()),
    }
}

impl Range {
    fn values(&self, pointer: &str) -> Result<Vec<Value>, Error> {
        let end = |value: &Value| sized(pointer, value);
        let (from, to) = (end(&self.from)?, end(&self.to)?);
        let number = |value: &Value| {
            let cure = "Write a number; a size such as 64MiB where the field counts bytes";
            value.as_f64().ok_or_else(|| refuse(pointer, value, "an end of a range is no number", cure))
        };
        let (low, high) = (number(&from)?, number(&to)?);
        check_range(&format!("axis {pointer}, points"), self.points, 2..=MOST_POINTS)?;
        if low >= high {
            let problem = format!("a range rises, and this one ends at {to}");
            return Err(refuse(pointer, &from, problem, "Exchange its ends, or write a list"));
        }
        let usual = if counts_bytes(pointer) { Scale::Log } else { Scale::Linear };
        let scale = self.scale.unwrap_or(usual);
        if scale == Scale::Log && low <= 0.0 {
            let cure = "Begin above 0, or write \"scale\": \"linear\"";
            return Err(refuse(pointer, &from, "equal ratios need numbers above 0", cure));
        }
        let steps = self.points - 1;
        let at = |i: u64| {
            let share = i as f64 / steps as f64;
            match scale {
                Scale::Linear => low + (high - low) * share,
                Scale::Log => low * power(high / low, share),
            }
        };
        // The ends are what was written, to the last digit.
        let between = (1..steps).map(at);
        let between: Vec<Value> = match (from.as_i64().or(from.as_u64().map(|_| 0)), to.is_u64() || to.is_i64()) {
            (Some(_), true) if low >= 0.0 => between.map(|x| Value::from(x.round() as u64)).collect(),
            (Some(_), true) => between.map(|x| Value::from(x.round() as i64)).collect(),
            _ => between.map(|x| Number::from_f64(x).map_or(Value::Null, Value::Number)).collect(),
        };
        Ok([from].into_iter().chain(between).chain([to]).collect())
    }
}
