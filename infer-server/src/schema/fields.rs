//! The parts of a recipe, made of the table of its fields. Which types a field may have is asked of its reader.

use accel_core::recipe::Recipe;
use accel_core::recipe::fields::{Domain, Field, FieldInfo, Part};
use serde_json::{Map, Value, json};

use super::{MOST_WHOLE, reference};

/// A recipe with `part`, everything as it is where nothing is said.
fn bare(part: Part) -> Value {
    let workload = if part == Part::Synthetic { "synthetic" } else { "model" };
    json!({ "workload": { workload: {} }, "memory": { "cost": { "physical": {} } }, "curve": {} })
}

/// Whether the reader takes `value` for the field.
fn takes(row: &FieldInfo, value: &Value) -> bool {
    let mut recipe = bare(row.part);
    let mut at = &mut recipe;
    for key in row.pointer.split('/').skip(1) {
        let Value::Object(fields) = at else { return false };
        at = fields.entry(key).or_insert_with(|| json!({}));
    }
    *at = value.clone();
    serde_json::from_value::<Recipe>(recipe).is_ok()
}

/// What a field holds where nothing is said: as text, and as recipes have it where they do not leave it out.
fn defaults(row: &FieldInfo) -> (String, Option<Value>) {
    let recipe: Option<Recipe> = serde_json::from_value(bare(row.part)).ok();
    let text = recipe.as_ref().and_then(|recipe| row.get(recipe)).unwrap_or_default();
    let written = recipe.and_then(|recipe| serde_json::to_value(recipe).ok()?.pointer(row.pointer).cloned());
    (text, written)
}

/// A field of a recipe.
fn field(row: &FieldInfo) -> Value {
    let (default, written) = defaults(row);
    let mut schema = Map::new();
    let mut set = |key: &str, value: Value| schema.insert(key.to_owned(), value);
    set("description", row.field.help().into());
    let kinds = [("boolean", json!(true)), ("array", json!([])), ("number", json!(0.5)), ("integer", json!(1024))];
    let kind = kinds.into_iter().find(|(_, value)| takes(row, value)).map_or("string", |(kind, _)| kind);
    let mut types = vec![Value::from(kind)];
    // A share of the objects is a number, so many objects are a text.
    types.extend((row.field == Field::Sample).then_some("string".into()));
    let nullable = takes(row, &Value::Null);
    types.extend(nullable.then_some("null".into()));
    match (kind, row.value) {
        ("string", Domain::Tuned(_)) => {
            let mut admission = reference("Admission");
            super::set(&mut admission, "description", row.field.help());
            return admission;
        }
        ("string", Domain::Choice(choices)) => {
            let mut choice = super::names(choices().into_iter().map(|choice| choice.name));
            choice = if nullable { super::nullable(choice) } else { choice };
            let default = Some(default).filter(|default| !default.is_empty());
            default.into_iter().for_each(|default| super::set(&mut choice, "default", default));
            return super::about(row.field.help(), choice);
        }
        ("number" | "integer", Domain::Number(Some(range))) => {
            for (key, bound) in ["minimum", "maximum"].into_iter().zip(range) {
                set(key, serde_json::from_str(bound).unwrap_or_default());
            }
        }
        ("integer", _) => {
            set("minimum", 1.into());
            set("maximum", MOST_WHOLE.into());
        }
        ("array", _) => {
            set("items", json!({ "type": "string", "minLength": 1 }));
        }
        _ => {}
    }
    let of_text =
        || (!default.is_empty()).then(|| serde_json::from_str(&default).unwrap_or_else(|_| default.clone().into()));
    if let Some(default) = written.or_else(of_text) {
        set("default", default);
    }
    set("type", if types.len() > 1 { types.into() } else { kind.into() });
    schema.into()
}

/// Puts `schema` at a path below an object.
pub(super) fn place(object: &mut Value, path: &[&str], schema: Value) {
    let (Value::Object(object), [name, rest @ ..]) = (object, path) else { return };
    let Value::Object(properties) = object.entry("properties").or_insert_with(|| json!({})) else { return };
    if rest.is_empty() {
        properties.insert((*name).to_owned(), schema);
        return;
    }
    let inner = properties.entry(*name).or_insert_with(|| json!({ "type": "object", "additionalProperties": false }));
    place(inner, rest, schema);
}

/// The object of a part that lies at `pointer` of a recipe. A request carries no files, so what names one is left out.
pub(super) fn part(part: Part, pointer: &str, description: &str) -> Value {
    let mut object = json!({ "type": "object", "description": description, "additionalProperties": false });
    for row in part.fields().filter(|row| row.field != Field::RoutingLog) {
        if let Some(path) = row.pointer.strip_prefix(pointer) {
            place(&mut object, &path.split('/').skip(1).collect::<Vec<_>>(), field(row));
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_ranges_and_defaults_are_the_readers() {
        let at = |part: Part, name: &str| field(part.fields().find(|row| row.name == name).unwrap());
        let layers = at(Part::Synthetic, "num_layers");
        assert_eq!((&layers["type"], &layers["default"]), (&json!("integer"), &json!(12)));
        assert_eq!((&layers["minimum"], &layers["maximum"]), (&json!(1), &json!(1024)));
        assert_eq!(at(Part::Synthetic, "reuse_probability")["type"], "number");
        assert_eq!(at(Part::Model, "prompt_tokens")["type"], json!(["integer", "null"]));
        assert_eq!(at(Part::Model, "parallel")["type"], "string");
        assert_eq!(at(Part::Model, "task")["enum"], json!(["inference", "training"]));
        assert_eq!(at(Part::Memory, "watermark")["type"], "number");
        assert_eq!(at(Part::Memory, "capacity_bytes")["default"], 64_000_000);
        assert_eq!(at(Part::Memory, "pinned")["type"], "array");
        assert_eq!(at(Part::Measure, "ignore_size")["type"], "boolean");
        assert_eq!(at(Part::Measure, "sample")["type"], json!(["number", "string", "null"]));
    }
}
