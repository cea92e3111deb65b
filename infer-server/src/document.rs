//! The OpenAPI document: what the routes say of themselves, with what they have in common.

use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::SecurityRequirement;

use crate::http::is_versioned;
use crate::schema;

/// The bodies that need not be sent: nothing asks for the defaults.
const OPTIONAL: [&str; 2] = ["/TraceInput", "/EvictionsRequest"];
/// The name of the way to show a key.
const KEY: &str = "key";

/// Has every operation of `openapi` ask for a key, or take one where the server has none.
pub(crate) fn guard(openapi: &mut OpenApi, has_key: bool) {
    let key = SecurityRequirement::new::<_, [&str; 0], &str>(KEY, []);
    let ways = if has_key { vec![key] } else { vec![SecurityRequirement::default(), key] };
    for item in openapi.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            operation.security = Some(ways.clone());
        }
    }
}

/// The document as it is served.
pub(crate) fn complete(openapi: &OpenApi) -> Value {
    let mut document = serde_json::to_value(openapi).unwrap_or_else(|problem| {
        tracing::error!(%problem, "the OpenAPI document cannot be written");
        Value::Null
    });
    let mut schemas = schema::all();
    if let Some(Value::Object(paths)) = document.get_mut("paths") {
        for (path, item) in paths {
            let operations = item.as_object_mut().into_iter().flat_map(Map::values_mut);
            operations.for_each(|operation| finish(operation, is_versioned(path), &schemas));
        }
    }
    if let Some(Value::Object(components)) = document.get_mut("components") {
        let scheme = json!({
            "type": "http",
            "scheme": "bearer",
            "description": "The key that the server was started with (`ACCEL_API_KEY`), where it was given one.",
        });
        components.insert("securitySchemes".to_owned(), json!({ KEY: scheme }));
        if let Some(Value::Object(named)) = components.get_mut("schemas") {
            named.append(&mut schemas);
        }
    }
    document
}

/// What every operation has: refusals in the shape of its version, and an example of its body.
fn finish(operation: &mut Value, versioned: bool, schemas: &Map<String, Value>) {
    let guarded = operation.get("security").is_some();
    let optional = |name: &str| OPTIONAL.iter().any(|optional| name.ends_with(optional));
    if let Some(Value::Object(body)) = operation.get_mut("requestBody") {
        let name = body.get("content").and_then(|content| content.pointer("/application~1json/schema/$ref"));
        let required = !name.and_then(Value::as_str).is_some_and(optional);
        body.insert("required".to_owned(), required.into());
    }
    let body = operation.pointer_mut("/requestBody/content/application~1json");
    let sends = body.is_some();
    if let Some(Value::Object(content)) = body
        && let Some(name) = content.get("schema").and_then(|schema| schema.get("$ref")).and_then(Value::as_str)
        && let Some(example) = name.rsplit('/').next().and_then(|name| schemas.get(name)?.pointer("/examples/0"))
    {
        content.insert("example".to_owned(), example.clone());
    }
    let Some(Value::Object(responses)) = operation.get_mut("responses") else { return };
    let common = [
        ("400", sends),
        ("401", guarded),
        ("403", guarded),
        ("413", sends),
        ("415", sends),
        ("422", sends),
        ("429", guarded),
        ("500", true),
    ];
    for (status, _) in common.into_iter().filter(|(_, applies)| *applies) {
        responses.entry(status).or_insert_with(|| json!({}));
    }
    for (status, response) in responses {
        let Some(usual) = usual(status) else { continue };
        let Value::Object(response) = response else { continue };
        if response.get("description").and_then(Value::as_str).is_none_or(str::is_empty) {
            response.insert("description".to_owned(), usual.into());
        }
        // The state of health is no refusal.
        if response.contains_key("content") {
            continue;
        }
        let (kind, schema) =
            if versioned { ("application/problem+json", "Problem") } else { ("application/json", "Refusal") };
        let schema = json!({ "$ref": format!("#/components/schemas/{schema}") });
        response.insert("content".to_owned(), json!({ kind: { "schema": schema } }));
        let header = match status.as_str() {
            "401" => Some(("www-authenticate", "How to show the key.", "string")),
            "429" | "503" => Some(("retry-after", "After how many seconds to try again.", "integer")),
            _ => None,
        };
        if let Some((name, about, kind)) = header {
            let header = json!({ name: { "description": about, "schema": { "type": kind } } });
            response.insert("headers".to_owned(), header);
        }
    }
}

/// What a refusal means where its route does not say; none for answers that are none.
fn usual(status: &str) -> Option<&'static str> {
    Some(match status {
        "400" => "The request cannot be read",
        "401" => "No key, or a wrong one",
        "403" => "From there, or with this key, it may not be asked",
        "404" => "There is no such thing, or no longer",
        "413" => "The request is larger than the server takes",
        "415" => "The body is not sent as JSON",
        "422" => "The request cannot be answered as it is: the refusal names the place, what is wrong and the cure",
        "429" => "The server is busy: try again after Retry-After",
        "500" => "The server is at fault",
        "501" => "The server is not set up for it",
        "502" => "Another server that is asked for it does not answer",
        "503" => "The server is shutting down, or the model is being loaded or broken",
        "504" => "No answer of the model within the deadline",
        _ => return None,
    })
}
