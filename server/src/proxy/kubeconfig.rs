//! `GET /kubeconfig`: a job's credential in exchange for a KUBECONFIG with a context for each agent it may use.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ci_tunnel::config::value::parse_duration;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response};
use hyper::body::Incoming;

use super::client::Client;
use super::reject::Reject;
use super::{Proxy, request};
use crate::agents::directory::Directory;
use crate::audit::{Ending, Record};
use crate::authn::exchange::{self, Allowed, Wishes};
use crate::authn::{self, Authenticated, JobCredential};
use crate::configrepo::Snapshot;
use crate::kubeconfig::Format;

const PATH: &str = "/kubeconfig";

/// Whether this request is for the endpoint: no API server has such a path.
pub fn is_asked<B>(request: &Request<B>, prefix: &str) -> bool {
    let path = request.uri().path();
    path.strip_prefix(prefix.trim_end_matches('/')) == Some(PATH)
}

/// Answers with the KUBECONFIG.
pub async fn answer(
    proxy: &Proxy,
    request: &Request<Incoming>,
    client: &Client,
    record: &mut Record,
) -> Result<Response<Bytes>, Reject> {
    if request.method() != Method::GET {
        return Err(Reject::Malformed(format!("{PATH} answers GET only")));
    }
    request::check_head(request)?;
    let credential = JobCredential::from_headers(request.headers()).map_err(authn::Error::from)?;
    client.may_show_credential()?;
    let who = proxy.authenticator.authenticate_job(&credential).await?;
    client.authenticated();
    record.job(&who.identity, who.token.as_str());
    let _slots = proxy.limits.admit(&who, None)?;
    let wishes = wishes(request.uri().query().unwrap_or_default())?;
    let allowed = allowed(&who, &proxy.directory, &proxy.rules.borrow());
    if allowed.is_empty() {
        let project = &who.identity.project.path;
        return Err(Reject::Forbidden(format!(
            "no agent's configuration lets this job of {project} in"
        )));
    }
    let document = proxy
        .authenticator
        .kubeconfig(&who, &allowed, &proxy.cluster, &wishes)
        .map_err(|error| rejected(&error))?;
    record.end(Ending::Complete, None);
    Ok(response(document, wishes.format))
}

/// The agents that a job may use, by id.
pub fn allowed(who: &Authenticated, directory: &Directory, rules: &Snapshot) -> Vec<Allowed> {
    let permitted = |agent: &Arc<crate::identity::Agent>| {
        let permit = who.decide(agent, &rules.in_force(agent)).ok()?;
        Some(Allowed {
            agent: (**agent).clone(),
            namespace: permit.default_namespace().map(str::to_owned),
        })
    };
    directory.all().iter().filter_map(permitted).collect()
}

fn wishes(query: &str) -> Result<Wishes, Reject> {
    let mut wishes = Wishes::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decode(value)?;
        match name {
            "context" => wishes.context = Some(value),
            "ttl" => wishes.lifetime = Some(ttl(&value)?),
            "format" => wishes.format = format(&value)?,
            other => {
                return Err(Reject::Malformed(format!(
                    "{PATH} knows `context`, `ttl` and `format`, not {other:?}"
                )));
            }
        }
    }
    Ok(wishes)
}

fn decode(value: &str) -> Result<String, Reject> {
    let spaced = value.replace('+', " ");
    match percent_encoding::percent_decode_str(&spaced).decode_utf8() {
        Ok(text) if !text.chars().any(char::is_control) => Ok(text.into_owned()),
        _ => Err(Reject::Malformed("the query is not text".to_owned())),
    }
}

fn ttl(value: &str) -> Result<Duration, Reject> {
    parse_duration(value).map_err(|error| Reject::Malformed(format!("ttl: {error}")))
}

fn format(value: &str) -> Result<Format, Reject> {
    match value {
        "yaml" => Ok(Format::Yaml),
        "json" => Ok(Format::Json),
        other => Err(Reject::Malformed(format!(
            "format is `yaml` or `json`, not {other:?}"
        ))),
    }
}

fn rejected(error: &exchange::Error) -> Reject {
    match error {
        exchange::Error::Issue(error) => Reject::Forbidden(error.to_string()),
        exchange::Error::Kubeconfig(error) => Reject::Forbidden(error.to_string()),
    }
}

fn response(document: String, format: Format) -> Response<Bytes> {
    let content_type = match format {
        Format::Yaml => "application/yaml",
        Format::Json => "application/json",
    };
    let mut response = Response::new(Bytes::from(document));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // It holds credentials.
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
