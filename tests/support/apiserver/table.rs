//! Objects as the tables that `kubectl get` asks for.

use http::HeaderMap;
use http::header::ACCEPT;
use serde_json::{Value, json};

/// Whether the client prefers a table.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let accept = headers
        .get(ACCEPT)
        .map(|value| String::from_utf8_lossy(value.as_bytes()));
    accept.is_some_and(|accept| accept.contains("as=Table"))
}

pub(super) fn of(resource: &str, objects: &[Value], version: u64) -> Value {
    let columns: &[&str] = match resource {
        "pods" => &["Name", "Ready", "Status", "Restarts", "Age"],
        "namespaces" => &["Name", "Status", "Age"],
        _ => &["Name", "Data", "Age"],
    };
    let definitions: Vec<Value> = columns
        .iter()
        .map(|name| {
            let format = if *name == "Name" { "name" } else { "" };
            json!({"name": name, "type": "string", "format": format, "description": "", "priority": 0})
        })
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": version.to_string()},
        "columnDefinitions": definitions,
        "rows": objects.iter().map(|object| row(resource, object)).collect::<Vec<_>>(),
    })
}

fn row(resource: &str, object: &Value) -> Value {
    let (name, age) = (object["metadata"]["name"].clone(), Value::from(age(object)));
    let phase = object["status"]["phase"].clone();
    let cells = match resource {
        "pods" => json!([name, "1/1", phase, 0, age]),
        "namespaces" => json!([name, phase, age]),
        _ => json!([
            name,
            object["data"].as_object().map_or(0, serde_json::Map::len),
            age
        ]),
    };
    let metadata = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]});
    json!({"cells": cells, "object": metadata})
}

fn age(object: &Value) -> String {
    let created = object["metadata"]["creationTimestamp"]
        .as_str()
        .and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let Some(created) = created else {
        return "<unknown>".to_owned();
    };
    match jiff::Timestamp::now().as_second() - created.as_second() {
        seconds @ ..120 => format!("{seconds}s"),
        seconds @ ..7200 => format!("{}m", seconds / 60),
        seconds @ ..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}
