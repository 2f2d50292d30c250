//! What each kind of CI system's claims become, and which make a token void.

mod generic;
mod github;
mod gitlab;

use serde_json::{Value, json};

use super::*;
use crate::authn::provider::Providers;

/// Reads the claims of one provider with these settings.
fn identify(provider: Value) -> Identify {
    let providers: Providers = serde_json::from_value(json!([provider])).unwrap();
    let provider = providers.only().unwrap();
    Identify::new(provider, provider.oidc.as_ref().unwrap())
}

fn read(identify: &Identify, claims: &Value) -> Result<JobIdentity, Error> {
    identify.job(&Claims(claims.as_object().unwrap()))
}

fn with(claims: &Value, name: &str, value: impl Into<Value>) -> Value {
    let mut claims = claims.clone();
    claims[name] = value.into();
    claims
}

fn without(claims: &Value, name: &str) -> Value {
    let mut claims = claims.clone();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

/// That these claims make a token void because of this one.
fn void(identify: &Identify, claims: &Value, name: &str) {
    match read(identify, claims) {
        Err(Error::Claim { claim, .. }) => assert_eq!(claim, name, "{claims}"),
        other => panic!("{name} of {claims}: {other:?}"),
    }
}

fn groups(job: &JobIdentity) -> Vec<(&str, Option<u64>)> {
    job.groups
        .iter()
        .map(|group| (group.path.as_str(), group.id))
        .collect()
}

/// Texts that are no path of a project: other alphabets that look alike, dots, spaces, other separators.
const NO_PATHS: [&str; 14] = [
    "аcme/team/shop",
    "acme/team/shоp",
    "acme/team/ｓhop",
    "acme/team/shop\u{200b}",
    "acme/team/ßhop",
    "acme//shop",
    "/acme/team/shop",
    "acme/team/shop/",
    "acme/../shop",
    "acme/./shop",
    "acme\\team\\shop",
    "acme/team/shop ",
    "acme%2Fshop",
    "acme/team/shop\n",
];
