//! What requests and answers hold, as JSON Schema: made of core's own tables, so that the documentation says what is
//! read.
//!
//! [`fields`]: the parts of a recipe, row by row; [`requests`]: what is sent; [`answers`]: what comes back.

mod answers;
mod fields;
mod requests;

use accel_core::closed::Closed;
use accel_core::tuned::{Parameter, Tuned};
use serde_json::{Map, Value, json};
use utoipa::openapi::schema::Schema;
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

/// Names of schemas that routes refer to: [`all`] has what they mean.
macro_rules! named {
    ($($name:ident)*) => {
        $(
            #[doc = concat!("The schema `", stringify!($name), "`.")]
            pub(crate) struct $name;

            impl PartialSchema for $name {
                fn schema() -> RefOr<Schema> {
                    Ref::from_schema_name(stringify!($name)).into()
                }
            }

            impl ToSchema for $name {}
        )*
    };
}

named! {
    Admission Capacity CodeFeatures CompileRequest EvictionsRequest Fit FitQuestion JobEvents JobRequest ModelInfo
    ModelPhase Outcome Policy PriceList PriceQuestion Profile Realism Recipe ScoredRecord ScorerName TraceInput
    TraceRecord Traffic TrafficCurve
}

/// The largest whole number that is read.
const MOST_WHOLE: u64 = u64::MAX;

/// Every schema by its name in `#/components/schemas`.
pub(crate) fn all() -> Map<String, Value> {
    requests::all().into_iter().chain(answers::all()).map(|(name, schema)| (name.to_owned(), schema)).collect()
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// A schema that says what the value is for.
fn about(description: &str, mut schema: Value) -> Value {
    set(&mut schema, "description", description);
    schema
}

fn set(schema: &mut Value, key: &str, value: impl Into<Value>) {
    if let Value::Object(schema) = schema {
        schema.insert(key.to_owned(), value.into());
    }
}

fn with_example(mut schema: Value, example: Value) -> Value {
    set(&mut schema, "examples", vec![example]);
    schema
}

fn with_default(mut schema: Value, default: impl Into<Value>) -> Value {
    set(&mut schema, "default", default);
    schema
}

/// The same, or null. A list of names or a reference cannot have null among its types.
fn nullable(mut schema: Value) -> Value {
    match schema.get_mut("type") {
        Some(kind) if *kind == "string" || *kind == "object" => {}
        Some(kind) => {
            *kind = json!([kind.take(), "null"]);
            return schema;
        }
        None => {}
    }
    any_of([schema, json!({ "type": "null" })])
}

fn any_of<const N: usize>(schemas: [Value; N]) -> Value {
    json!({ "anyOf": schemas.to_vec() })
}

fn list(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn number() -> Value {
    json!({ "type": "number" })
}

fn integer(least: u64, most: u64) -> Value {
    json!({ "type": "integer", "minimum": least, "maximum": most })
}

fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> Value {
    json!({ "type": "string", "enum": names.into_iter().collect::<Vec<_>>() })
}

fn closed<T: Closed>() -> Value {
    names(T::ALL.iter().map(|value| value.name()))
}

/// Sizes with a unit, as `accel_core::units::parse_bytes` reads them.
const WITH_UNIT: &str = "[1-9][0-9]{0,5}([kMG]B|[KMG]iB)";

/// What a parameter may be, as a pattern: the numbers of its range that have fewer digits than its end, or its end has one.
fn values(parameter: &Parameter) -> String {
    let [least, most] = parameter.range;
    let [first, last] = [least, most].map(|bound| bound.to_string().len());
    let fraction = if parameter.whole { "" } else { "(\\.[0-9]{1,6})?" };
    match last {
        1 if parameter.whole => format!("[{least}-{most}]"),
        1 => format!("([{least}-{}]{fraction}|{most})", most - 1.0),
        _ => {
            let plain = format!("[1-9][0-9]{{{},{}}}{fraction}", first - 1, last - 2);
            if parameter.bytes { format!("({plain}|{WITH_UNIT})") } else { plain }
        }
    }
}

/// The name of something tuned with values of its parameters: some of them, in their order.
fn form(name: &str, parameters: &[Parameter]) -> Option<String> {
    let pairs: Vec<String> = parameters.iter().map(|one| format!("{}={}", one.name, values(one))).collect();
    let from = |first: usize| {
        let (pair, later) = pairs.split_at(first).1.split_first()?;
        Some(pair.to_owned() + &later.iter().map(|pair| format!("(,{pair})?")).collect::<String>())
    };
    let ways: Vec<String> = (0..pairs.len()).filter_map(from).collect();
    (!ways.is_empty()).then(|| format!("{name}\\(({})\\)", ways.join("|")))
}

/// A name of the list, alone or with values of its parameters.
fn tuned<T: Tuned>() -> Value {
    let forms: Vec<String> = T::ALL.iter().filter_map(|value| form(value.name(), value.parameters())).collect();
    let with_values = json!({ "type": "string", "pattern": format!("^({})$", forms.join("|")) });
    any_of([closed::<T>(), about("The name with values of its parameters.", with_values)])
}

/// An object that has these properties and no others.
fn object<const N: usize>(required: &[&str], properties: [(&str, Value); N]) -> Value {
    let properties = properties.map(|(name, schema)| (name.to_owned(), schema));
    json!({
        "type": "object",
        "required": required,
        "properties": Map::from_iter(properties),
        "additionalProperties": false,
    })
}

/// An answer's object: all of these are there, and more may come.
fn answer<const N: usize>(properties: [(&str, Value); N]) -> Value {
    let required: Vec<&str> = properties.iter().map(|(name, _)| *name).collect();
    let properties = properties.map(|(name, schema)| (name.to_owned(), schema));
    json!({ "type": "object", "required": required, "properties": Map::from_iter(properties) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_become_patterns() {
        let row = |whole: bool, bytes: bool, range: [f64; 2]| Parameter {
            name: "p",
            default: 0.0,
            range,
            whole,
            bytes,
            about: "",
        };
        assert_eq!(values(&row(true, false, [1.0, 8.0])), "[1-8]");
        assert_eq!(values(&row(false, false, [0.0, 1.0])), "([0-0](\\.[0-9]{1,6})?|1)");
        assert_eq!(values(&row(false, false, [0.0, 100.0])), "[1-9][0-9]{0,1}(\\.[0-9]{1,6})?");
        assert_eq!(values(&row(true, false, [100.0, 1e9])), "[1-9][0-9]{2,8}");
        let two = [row(true, false, [1.0, 3.0]), row(true, false, [0.0, 2.0])];
        assert_eq!(form("x", &two).unwrap(), "x\\((p=[1-3](,p=[0-2])?|p=[0-2])\\)");
        assert_eq!(form("lru", &[]), None);
    }
}
