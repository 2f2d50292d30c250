//! `GET /kubeconfig`: a job's credential in exchange for a KUBECONFIG with a context for each agent it may use.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ci_tunnel::config::value::parse_duration;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response};
use hyper::body::Incoming;

use super::client::Client;
use super::reject::Reject;
use super::{Proxy, request};
use crate::access::Denied;
use crate::agents::directory::Directory;
use crate::audit::{Ending, Record};
use crate::authn::exchange::{self, Allowed, Wishes};
use crate::authn::{self, Authenticated, JobCredential, TokenId};
use crate::configrepo::Snapshot;
use crate::identity::Agent;
use crate::kubeconfig::Format;

const PATH: &str = "/kubeconfig";

/// Whether this request is for the endpoint: no API server has such a path.
pub fn is_asked<B>(request: &Request<B>, prefix: &str) -> bool {
    let path = request.uri().path();
    path.strip_prefix(prefix.trim_end_matches('/')) == Some(PATH)
}

/// Whether a refusal is to be plain text: a job's `curl` shows it in the job's log. Who asks for JSON gets a `Status`.
pub fn wants_text<B>(request: &Request<B>) -> bool {
    let accept = request.headers().get_all(ACCEPT).iter();
    let names_json = |value: &HeaderValue| value.as_bytes().windows(4).any(|word| word == b"json");
    let json = request
        .uri()
        .query()
        .is_some_and(|query| query.contains("format=json"));
    !json && !accept.into_iter().any(names_json)
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
    let who = proxy.authenticator.authenticate_job(&credential).await?;
    client.authenticated();
    let parents = who.parents.iter().map(TokenId::as_str);
    record.job(&who.identity, who.token.as_str(), parents);
    let _slots = proxy.limits.admit(&who, None)?;
    let wishes = wishes(request.uri().query().unwrap_or_default())?;
    let rules = Arc::clone(&proxy.rules.borrow());
    if let Some(agent) = wishes
        .context
        .as_deref()
        .and_then(|asked| proxy.directory.named(asked))
    {
        record.agent(&agent, rules.revision(&agent));
        check(&who, &agent, &rules)?;
    }
    let allowed = judged(&who, &proxy.directory, &rules).await?;
    let made = proxy
        .authenticator
        .kubeconfig(&who, &allowed, &proxy.cluster, &wishes)
        .map_err(|error| rejected(&error))?;
    record.issued(made.issued);
    record.end(Ending::Complete, None);
    Ok(response(made.document, wishes.format))
}

/// The agents that a job may use, by id.
pub fn allowed(who: &Authenticated, directory: &Directory, rules: &Snapshot) -> Vec<Allowed> {
    let agents = directory.all();
    let permitted = agents.iter().filter_map(|agent| {
        let judged = judge(who, agent, rules);
        judged.ok()
    });
    permitted.collect()
}

/// The same; where there is none, the rules that name the job's project are told, if there are any. Others get the thread
/// meanwhile.
async fn judged(
    who: &Authenticated,
    directory: &Directory,
    rules: &Snapshot,
) -> Result<Vec<Allowed>, Reject> {
    let (mut allowed, mut near) = (Vec::new(), Vec::new());
    for batch in directory.all().chunks(BATCH) {
        for agent in batch {
            match judge(who, agent, rules) {
                Ok(permitted) => allowed.push(permitted),
                Err(denied) if near.len() < MAX_NEAR && !denied.is_secret() => {
                    near.push(format!("; {agent}: {denied}"));
                }
                Err(_) => {}
            }
        }
        tokio::task::yield_now().await;
    }
    if allowed.is_empty() {
        let (project, near) = (&who.identity.project.path, near.concat());
        return Err(Reject::Forbidden(format!(
            "no agent's configuration lets this job of {project} in{near}"
        )));
    }
    Ok(allowed)
}

fn judge(who: &Authenticated, agent: &Agent, rules: &Snapshot) -> Result<Allowed, Denied> {
    let permit = who.decide(agent, &rules.in_force(agent))?;
    Ok(Allowed {
        agent: agent.clone(),
        namespace: permit.default_namespace().map(str::to_owned),
    })
}

/// The agent that the job names may be one that it may use under other conditions: then these are told, as they are for
/// a request.
fn check(who: &Authenticated, agent: &Agent, rules: &Snapshot) -> Result<(), Reject> {
    match judge(who, agent, rules) {
        Err(denied) if !denied.is_secret() => Err(Reject::denied(agent, denied)),
        _ => Ok(()),
    }
}

/// So many agents are judged before others get the thread.
const BATCH: usize = 256;
/// So many agents are told of.
const MAX_NEAR: usize = 3;

fn wishes(query: &str) -> Result<Wishes, Reject> {
    let mut wishes = Wishes::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decode(value)?;
        match name {
            // What a template left open.
            "context" | "ttl" | "format" if value.is_empty() => {}
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_words_for_people_and_json_for_programs() {
        let of = |target: &str, accept: Option<&str>| {
            let mut request = Request::get(target);
            if let Some(accept) = accept {
                request = request.header(ACCEPT, accept);
            }
            wants_text(&request.body(()).unwrap())
        };
        assert!(of("/kubeconfig", None) && of("/kubeconfig?context=a:b", Some("*/*")));
        assert!(!of("/kubeconfig", Some("application/json")));
        assert!(!of("/kubeconfig?ttl=1h&format=json", Some("*/*")));
    }

    #[test]
    fn wishes_are_read_and_others_refused() {
        let wished = wishes("context=acme%2Finfra:prod&ttl=90s&format=json").unwrap();
        assert_eq!(wished.context.as_deref(), Some("acme/infra:prod"));
        assert_eq!(
            (wished.lifetime, wished.format),
            (Some(Duration::from_secs(90)), Format::Json)
        );
        assert_eq!(wishes("context=&ttl=").unwrap(), Wishes::default());
        for wrong in [
            "contexts=a",
            "ttl=soon",
            "format=xml",
            "context=%ff",
            "context=%00",
        ] {
            assert!(wishes(wrong).is_err(), "{wrong}");
        }
    }
}
