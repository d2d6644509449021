//! The description of the REST API (OpenAPI 3.1), made from the table of routes and `openapi/parts.json`, which says of
//! each route what it takes and gives. Tests compare it with the answers.

use std::sync::LazyLock;

use axum::http::Method;
use serde_json::{Map, Value, json};

use super::answer::{Answer, Problem};
use super::router::{Route, routes};

/// What the table of routes does not say.
const PARTS: &str = include_str!("openapi/parts.json");

/// The document; the same for everybody.
pub(super) async fn document() -> Result<Answer, Problem> {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(made);
    Ok(Answer::json(&*DOCUMENT)?)
}

pub(super) fn made() -> Value {
    let parts: Value = serde_json::from_str(PARTS).unwrap_or_default();
    let mut paths = Map::new();
    for route in routes() {
        let operation = operation(&route, &parts);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(route.method.as_str().to_ascii_lowercase(), operation);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "offhook",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            "description": part(&parts, "description"),
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": part(&parts, "schemas"),
            "parameters": part(&parts, "parameters"),
            "responses": part(&parts, "responses"),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn part(parts: &Value, name: &str) -> Value {
    parts.get(name).cloned().unwrap_or_default()
}

/// One route: what its part says, and what all of its kind have.
fn operation(route: &Route, parts: &Value) -> Value {
    let name = format!("{} {}", route.method, route.path);
    let own = parts.get("operations").and_then(|all| all.get(&name)).cloned().unwrap_or_default();
    let changes = route.method != Method::GET;
    let mut parameters: Vec<Value> =
        own.get("parameters").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut common: Vec<&str> = Vec::new();
    common.extend(route.path.contains("{mac}").then_some("mac"));
    if changes {
        common.push("idempotency_key");
        common.extend(route.path.contains("{mac}").then_some("if_match"));
    }
    parameters.extend(common.iter().map(|name| json!({ "$ref": format!("#/components/parameters/{name}") })));
    let mut responses = Map::new();
    let content = json!({ "application/json": { "schema": part(&own, "answer") } });
    let done = json!({ "description": part(&own, "gives"), "content": content });
    // What goes on in the background is accepted; what is only planned is done.
    let own_status = own.get("status").and_then(Value::as_str).unwrap_or("200");
    for status in own_status.split(' ') {
        responses.insert(status.to_owned(), done.clone());
    }
    for status in statuses(route, changes, &own) {
        responses.insert(status.to_owned(), json!({ "$ref": "#/components/responses/problem" }));
    }
    let mut operation = json!({
        "operationId": part(&own, "name"),
        "summary": part(&own, "summary"),
        "parameters": parameters,
        "responses": responses,
        "security": route.scope.map_or_else(|| json!([]), |scope| json!([{ "token": [scope.as_str()] }])),
    });
    if let (Some(body), Some(operation)) = (own.get("body"), operation.as_object_mut()) {
        let content = json!({ "application/json": { "schema": body } });
        operation.insert("requestBody".to_owned(), json!({ "required": false, "content": content }));
    }
    if let (Some(file), Some(operation)) = (own.get("file"), operation.as_object_mut()) {
        let content = json!({ "application/octet-stream": {} });
        let body = json!({ "description": file, "required": true, "content": content });
        operation.insert("requestBody".to_owned(), body);
    }
    operation
}

/// The problems that a route may answer with.
fn statuses<'a>(route: &Route, changes: bool, own: &'a Value) -> Vec<&'a str> {
    let mut statuses = vec!["421", "503"];
    if route.scope.is_some() {
        statuses.extend(["401", "403", "422", "429", "500"]);
    }
    if changes {
        statuses.extend(["400", "408", "409", "413", "415"]);
        statuses.extend(route.path.contains("{mac}").then_some("412"));
    }
    statuses.extend(route.path.contains('{').then_some("404"));
    statuses
        .extend(own.get("also").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str));
    statuses
}

#[cfg(test)]
pub(in crate::admin) mod tests;
