//! The description against the table of routes; and a small validator, by which the other tests compare every answer
//! with it.

use serde_json::Value;

use super::*;

/// What of an answer is not as the description says.
pub(in crate::admin) fn misfits(method: &str, path: &str, status: u16, body: &Value) -> Vec<String> {
    let document = made();
    let path = path.split('?').next().unwrap_or_default();
    let paths = document["paths"].as_object().unwrap();
    let Some((_, item)) = paths.iter().find(|(pattern, _)| is_like(pattern, path)) else {
        return Vec::new();
    };
    let response = &item[&method.to_ascii_lowercase()]["responses"][&status.to_string()];
    if response.is_null() {
        // A method that there is not has no operation to be described in.
        return if status == 405 {
            Vec::new()
        } else {
            vec![format!("{method} {path}: {status} is not described")]
        };
    }
    let response = resolved(response, &document);
    let schema = response["content"].as_object().and_then(|content| content.values().next());
    let mut found = Vec::new();
    compare(&schema.unwrap()["schema"], body, &document, path, &mut found);
    found
}

fn is_like(pattern: &str, path: &str) -> bool {
    let (pattern, path) = (pattern.split('/'), path.split('/'));
    pattern.clone().count() == path.clone().count()
        && pattern.zip(path).all(|(pattern, path)| pattern.starts_with('{') || pattern == path)
}

fn resolved<'a>(value: &'a Value, document: &'a Value) -> &'a Value {
    value["$ref"].as_str().map_or(value, |place| {
        let found = document.pointer(place.trim_start_matches('#'));
        found.unwrap_or_else(|| panic!("{place} leads nowhere"))
    })
}

fn compare(schema: &Value, value: &Value, document: &Value, at: &str, found: &mut Vec<String>) {
    let schema = resolved(schema, document);
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => panic!("{at}: a schema without a type: {schema}"),
    };
    let is = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let among = schema["enum"].as_array().is_none_or(|words| words.contains(value));
    if !kinds.contains(&is) || !among {
        found.push(format!("{at}: {value} is not {schema}"));
    }
    for item in value.as_array().into_iter().flatten() {
        compare(&schema["items"], item, document, &format!("{at}[]"), found);
    }
    let Some(object) = value.as_object() else { return };
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !object.contains_key(name) {
            found.push(format!("{at}.{name} is missing"));
        }
    }
    for (name, value) in object {
        match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, Value::Null) if schema["properties"].is_null() => {}
            (Value::Null, Value::Null) => found.push(format!("{at}.{name} is not described")),
            (Value::Null, others) => compare(others, value, document, &format!("{at}.{name}"), found),
            (schema, _) => compare(schema, value, document, &format!("{at}.{name}"), found),
        }
    }
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let parts: Value = serde_json::from_str(PARTS).unwrap();
    let mut described: Vec<&String> = parts["operations"].as_object().unwrap().keys().collect();
    let mut served: Vec<String> =
        routes().iter().map(|route| format!("{} {}", route.method, route.path)).collect();
    described.sort();
    served.sort();
    assert_eq!(described, served.iter().collect::<Vec<_>>());
    let document = made();
    let mut names = Vec::new();
    for item in
        document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values())
    {
        names.push(item["operationId"].as_str().unwrap().to_owned());
        let done = ["200", "202"].iter().any(|status| item["responses"][status]["description"].is_string());
        assert!(item["summary"].is_string() && done, "{item}");
    }
    assert_eq!(names.len(), served.len());
    names.sort();
    names.dedup();
    assert_eq!(names.len(), served.len(), "{names:?}");
}

#[test]
fn every_reference_leads_somewhere() {
    fn follow(value: &Value, document: &Value, seen: &mut usize) {
        if value["$ref"].is_string() {
            *seen += 1;
            resolved(value, document);
        }
        let (items, fields) = (value.as_array(), value.as_object());
        for inner in items.into_iter().flatten().chain(fields.into_iter().flat_map(|fields| fields.values()))
        {
            follow(inner, document, seen);
        }
    }
    let (document, mut seen) = (made(), 0);
    follow(&document, &document, &mut seen);
    assert!(seen > 100, "{seen}");
}

#[test]
fn a_misfit_is_found() {
    let check = |body: Value, count: usize| {
        let found = misfits("GET", "/healthz", 200, &body);
        assert_eq!(found.len(), count, "{found:?}");
    };
    check(json!({ "status": "ok" }), 0);
    check(json!({ "status": "bad" }), 1);
    check(json!({ "status": "ok", "more": 1 }), 1);
    check(json!({}), 1);
    check(json!([]), 1);
    assert_eq!(misfits("GET", "/api/v1/devices/x", 418, &json!({})).len(), 1);
}
