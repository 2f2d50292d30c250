//! What a request is about, read exactly as the API server's `RequestInfoFactory` reads it.

use std::borrow::Cow;

use http::Method;

use super::query;

/// What a request does, and to what. Empty text stands for what the request does not name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attributes {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, `proxy`; empty for other
    /// methods on a resource. The method in lower case when `non_resource`.
    pub verb: Cow<'static, str>,
    /// The API group; empty for the core group.
    pub api_group: String,
    /// The version within the group.
    pub version: String,
    /// The resource, in the plural.
    pub resource: String,
    /// The subresource, as `exec` or `status`.
    pub subresource: String,
    /// The namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// The path, its escapes decoded.
    pub path: String,
    /// Whether the path names no resource, as `/healthz` and `/apis`.
    pub non_resource: bool,
}

/// First path parts that are verbs of their own.
const SPECIAL_VERBS: [&str; 2] = ["proxy", "watch"];
/// What follows `namespaces/{name}` without being a resource in that namespace.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];
/// Subresources over which an upgrade gives a channel for commands, whatever the method.
const INTERACTIVE: [&str; 4] = ["attach", "exec", "portforward", "proxy"];

impl Attributes {
    /// Reads a request. `path` and `query` are as the client wrote them; `upgrade` says that it asks for another
    /// protocol: a `get` of an interactive subresource then counts as `create`, since a WebSocket can only be opened
    /// by GET and gives what POST gives.
    ///
    /// Query parameters that make the API server refuse a list (a bad label selector) are not looked for: a name from
    /// `fieldSelector` is then reported here and not there.
    #[must_use]
    pub fn of(method: &Method, path: &str, query: Option<&str>, upgrade: bool) -> Self {
        let path = query::decode(path, false)
            .unwrap_or(Cow::Borrowed(path))
            .into_owned();
        let mut attributes = Self {
            verb: lower_case(method),
            non_resource: true,
            ..Self::default()
        };
        let trimmed = path.trim_matches('/');
        let parts: Vec<&str> = if trimmed.is_empty() {
            Vec::new()
        } else {
            trimmed.split('/').collect()
        };
        if let Some(parts) = attributes.read_group(&parts)
            && attributes.read_resource(method, parts)
        {
            attributes.refine_verb(query.unwrap_or_default(), upgrade);
        }
        attributes.path = path;
        attributes
    }

    /// Reads prefix, group and version; what is left of a resource path, never empty.
    fn read_group<'p>(&mut self, parts: &'p [&'p str]) -> Option<&'p [&'p str]> {
        let (group, version, rest) = match parts {
            ["api", version, rest @ ..] => ("", version, rest),
            ["apis", group, version, rest @ ..] => (*group, version, rest),
            _ => return None,
        };
        if rest.is_empty() {
            return None;
        }
        group.clone_into(&mut self.api_group);
        (*version).clone_into(&mut self.version);
        self.non_resource = false;
        Some(rest)
    }

    /// Whether there is a resource: the API server answers `/api/v1/watch` alone with an error.
    fn read_resource(&mut self, method: &Method, parts: &[&str]) -> bool {
        let parts = match parts {
            [special] if SPECIAL_VERBS.contains(special) => return false,
            [special, rest @ ..] if SPECIAL_VERBS.contains(special) => {
                self.verb = if *special == "proxy" {
                    "proxy".into()
                } else {
                    "watch".into()
                };
                rest
            }
            parts => {
                self.verb = verb_of(method).into();
                parts
            }
        };
        let parts = match parts {
            ["namespaces", namespace, rest @ ..] => {
                (*namespace).clone_into(&mut self.namespace);
                let own = rest
                    .first()
                    .is_none_or(|next| NAMESPACE_SUBRESOURCES.contains(next));
                if own { parts } else { rest }
            }
            parts => parts,
        };
        let part = |index: usize| parts.get(index).copied().unwrap_or_default().to_owned();
        self.resource = part(0);
        self.name = part(1);
        if self.verb != "proxy" {
            self.subresource = part(2);
        }
        true
    }

    fn refine_verb(&mut self, query: &str, upgrade: bool) {
        if self.name.is_empty() && self.verb == "get" {
            let watch = query::value(query, "watch")
                .is_some_and(|value| value != "0" && !value.eq_ignore_ascii_case("false"));
            self.verb = if watch { "watch".into() } else { "list".into() };
            let selector = query::value(query, "fieldSelector");
            self.name = selector
                .and_then(|selector| query::selected_name(&selector))
                .unwrap_or_default();
        }
        if self.name.is_empty() && self.verb == "delete" {
            self.verb = "deletecollection".into();
        }
        if upgrade && self.verb == "get" && INTERACTIVE.contains(&self.subresource.as_str()) {
            self.verb = "create".into();
        }
    }
}

fn verb_of(method: &Method) -> &'static str {
    match method.as_str() {
        "POST" => "create",
        "GET" | "HEAD" => "get",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "",
    }
}

fn lower_case(method: &Method) -> Cow<'static, str> {
    match method.as_str() {
        "GET" => "get".into(),
        "POST" => "post".into(),
        other => other.to_ascii_lowercase().into(),
    }
}

#[cfg(test)]
mod tests;
