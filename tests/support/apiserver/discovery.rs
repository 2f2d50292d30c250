//! What kubectl reads before it asks for anything: versions, API groups, resources, and a scrap of OpenAPI.

use http::StatusCode;
use serde_json::{Value, json};

use super::reply::{self, Reply};

/// A kind of object that the stand-in keeps.
pub(super) struct Kind {
    pub(super) resource: &'static str,
    pub(super) kind: &'static str,
    short: &'static str,
    namespaced: bool,
}

pub(super) const KINDS: [Kind; 4] = [
    Kind {
        resource: "configmaps",
        kind: "ConfigMap",
        short: "cm",
        namespaced: true,
    },
    Kind {
        resource: "namespaces",
        kind: "Namespace",
        short: "ns",
        namespaced: false,
    },
    Kind {
        resource: "pods",
        kind: "Pod",
        short: "po",
        namespaced: true,
    },
    Kind {
        resource: "secrets",
        kind: "Secret",
        short: "",
        namespaced: true,
    },
];

pub(super) fn answer(segments: &[&str]) -> Reply {
    let value = match segments {
        ["readyz" | "livez" | "healthz", ..] => return reply::text(StatusCode::OK, "ok"),
        ["version"] => version(),
        ["api"] => {
            json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
        }
        ["api", "v1"] => core_resources(),
        ["apis"] => {
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": GROUPS.map(|(group, ..)| api_group(group))})
        }
        ["apis", group] if GROUPS.iter().any(|(known, ..)| known == group) => api_group(group),
        ["apis", group, "v1"] => match GROUPS.iter().find(|(known, ..)| known == group) {
            Some((group, resource, kind)) => review_resources(group, resource, kind),
            None => return reply::not_found("this API group"),
        },
        ["openapi", "v3"] => {
            json!({"paths": {"api/v1": {"serverRelativeURL": "/openapi/v3/api/v1?hash=stand-in"}}})
        }
        ["openapi", "v3", "api", "v1"] => openapi(),
        _ => return reply::not_found("this path"),
    };
    reply::json(StatusCode::OK, &value)
}

const GROUPS: [(&str, &str, &str); 2] = [
    (
        "authentication.k8s.io",
        "selfsubjectreviews",
        "SelfSubjectReview",
    ),
    (
        "authorization.k8s.io",
        "selfsubjectaccessreviews",
        "SelfSubjectAccessReview",
    ),
];

fn version() -> Value {
    json!({
        "major": "1", "minor": "32", "gitVersion": "v1.32.0+stand-in", "gitCommit": "stand-in",
        "gitTreeState": "clean", "buildDate": "2026-01-01T00:00:00Z", "goVersion": "none",
        "compiler": "rustc", "platform": "stand-in",
    })
}

fn api_group(group: &str) -> Value {
    let version = json!({"groupVersion": format!("{group}/v1"), "version": "v1"});
    json!({"kind": "APIGroup", "apiVersion": "v1", "name": group, "versions": [version], "preferredVersion": version})
}

fn core_resources() -> Value {
    let verbs = [
        "create", "delete", "get", "list", "patch", "update", "watch",
    ];
    let mut resources: Vec<Value> = KINDS
        .iter()
        .map(|kind| {
            let mut resource = json!({
                "name": kind.resource, "singularName": kind.kind.to_lowercase(), "kind": kind.kind,
                "namespaced": kind.namespaced, "verbs": verbs,
            });
            if !kind.short.is_empty() {
                resource["shortNames"] = json!([kind.short]);
            }
            resource
        })
        .collect();
    for (name, kind) in [("pods/exec", "PodExecOptions"), ("pods/log", "Pod")] {
        resources.push(json!({"name": name, "singularName": "", "kind": kind, "namespaced": true, "verbs": ["create", "get"]}));
    }
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "v1", "resources": resources})
}

fn review_resources(group: &str, resource: &str, kind: &str) -> Value {
    json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{group}/v1"),
        "resources": [{"name": resource, "singularName": kind.to_lowercase(), "kind": kind, "namespaced": false, "verbs": ["create"]}],
    })
}

/// Just enough for `kubectl apply` to see that the server checks fields itself.
fn openapi() -> Value {
    let mut paths = serde_json::Map::new();
    for kind in &KINDS {
        let place = if kind.namespaced {
            "namespaces/{namespace}/"
        } else {
            ""
        };
        let operation = json!({
            "parameters": [{"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}],
            "x-kubernetes-action": "patch",
            "x-kubernetes-group-version-kind": {"group": "", "version": "v1", "kind": kind.kind},
            "responses": {"200": {"description": "OK"}},
        });
        paths.insert(
            format!("/api/v1/{place}{}/{{name}}", kind.resource),
            json!({"patch": operation}),
        );
    }
    json!({"openapi": "3.0.0", "info": {"title": "stand-in", "version": "v1"}, "paths": paths})
}
