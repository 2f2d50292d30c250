//! What a path below `/api/v1` names, and which objects a query selects.

use serde_json::Value;

use super::super::State;
use super::super::discovery::KINDS;
use super::super::reply::{self, Reply};
use super::super::routes::Call;
use super::super::store;

/// What a path below `/api/v1` names.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) resource: String,
    pub(super) kind: &'static str,
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
}

impl Place {
    pub(super) fn read(segments: &[&str]) -> Option<Self> {
        let text = |text: &&str| Some((*text).to_owned());
        let (namespace, resource, name) = match segments {
            ["namespaces"] => (None, "namespaces", None),
            ["namespaces", name] => (None, "namespaces", text(name)),
            ["namespaces", namespace, resource] => (text(namespace), *resource, None),
            ["namespaces", namespace, resource, name] => (text(namespace), *resource, text(name)),
            [resource] => (None, *resource, None),
            _ => return None,
        };
        let known = KINDS.iter().find(|kind| kind.resource == resource)?;
        Some(Self {
            resource: resource.to_owned(),
            kind: known.kind,
            namespace,
            name,
        })
    }

    pub(super) fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or_default()
    }

    pub(super) fn put(&self, state: &State, name: &str, mut object: Value) -> Value {
        object["kind"] = self.kind.into();
        object["metadata"]["name"] = name.into();
        if let Some(namespace) = &self.namespace {
            object["metadata"]["namespace"] = namespace.as_str().into();
        }
        // Its pods run as soon as they are there.
        if self.resource == "pods" && object["status"].is_null() {
            object["status"] = store::running();
        }
        state.store.put(&self.resource, object)
    }

    pub(super) fn missing(&self, name: &str) -> Reply {
        reply::not_found(&format!("{} {name:?}", self.resource))
    }
}

/// The selectors that kubectl's commands need: one name, labels that are equal.
pub(super) struct Selector {
    name: Option<String>,
    labels: Vec<(String, String)>,
}

impl Selector {
    pub(super) fn of(call: &Call) -> Self {
        let field = call.text("fieldSelector").unwrap_or_default();
        let labels = call.text("labelSelector").unwrap_or_default();
        let pair = |term: &str| {
            term.split_once('=')
                .map(|(key, value)| (key.to_owned(), value.trim_start_matches('=').to_owned()))
        };
        Self {
            name: field.strip_prefix("metadata.name=").map(str::to_owned),
            labels: labels.split(',').filter_map(pair).collect(),
        }
    }

    pub(super) fn selects(&self, object: &Value) -> bool {
        let metadata = &object["metadata"];
        self.name
            .as_deref()
            .is_none_or(|name| metadata["name"] == name)
            && self
                .labels
                .iter()
                .all(|(key, value)| metadata["labels"][key] == value.as_str())
    }
}
