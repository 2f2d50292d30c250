//! Tokens that are good, and all the ways for one not to be.

mod attacks;
mod signer;
mod times;

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::authn::provider::Providers;
pub(super) use signer::Signer;

use super::discovery::{self, Found};
use super::keys::{Document, KeySet};
use super::refresh::Source;

pub(super) const ISSUER: &str = "https://gitlab.example.com";
const OTHER_ISSUER: &str = "https://token.actions.githubusercontent.com";
const AUDIENCE: &str = "https://ci-tunnel.example.com";

/// What a provider is that says nothing but what it must.
pub(super) fn config() -> Config {
    serde_json::from_value(json!({"audiences": [AUDIENCE]})).unwrap()
}

/// Publishes these keys for ever.
struct Fixed(Vec<Value>);

impl Source for Fixed {
    async fn fetch(&self) -> Result<Found, discovery::Error> {
        let document: Document = serde_json::from_value(json!({"keys": self.0})).unwrap();
        Ok(Found {
            keys: KeySet::read(&document, &everything()).unwrap(),
            date: None,
        })
    }
}

/// Of all algorithms, so that each key is there that a test publishes.
fn everything() -> Config {
    let algorithms = json!(["RS256", "PS256", "ES256", "EdDSA"]);
    serde_json::from_value(json!({"audiences": [AUDIENCE], "algorithms": algorithms})).unwrap()
}

/// A GitLab and a GitHub. The GitLab is as `oidc` says besides what it must be.
fn issuers_with(gitlab: &[Value], github: &[Value], oidc: Value) -> Issuers {
    let mut settings = json!({"audiences": [AUDIENCE]});
    for (name, value) in oidc.as_object().unwrap() {
        settings[name] = value.clone();
    }
    let providers: Providers = serde_json::from_value(json!([
        {"name": "gitlab", "type": "gitlab", "url": ISSUER, "oidc": settings},
        {"name": "github", "type": "github", "oidc": {"audiences": [AUDIENCE]}},
    ]))
    .unwrap();
    let issuers = Issuers::new(&providers, &watch::Sender::new(0));
    for (issuer, keys) in issuers.issuers.iter().zip([gitlab, github]) {
        issuer.with_source(Fixed(keys.to_vec()));
    }
    issuers
}

fn issuers(gitlab: &[Value]) -> Issuers {
    issuers_with(gitlab, &[Signer::rsa("github").jwk()], json!({}))
}

fn now() -> u64 {
    super::super::signed::seconds(SystemTime::now())
}

fn claims() -> Value {
    json!({
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "project_path:evil/evil:ref_type:branch:ref:evil",
        "jti": "one",
        "iat": now(),
        "nbf": now() - 5,
        "exp": now() + 300,
        "project_path": "acme/team/shop",
        "project_id": "7",
        "namespace_path": "acme/team",
        "namespace_id": "3",
        "job_id": "4711",
    })
}

fn with(mut claims: Value, name: &str, value: impl Into<Value>) -> Value {
    claims[name] = value.into();
    claims
}

async fn verify(issuers: &Issuers, token: &str) -> Result<Verified, Error> {
    issuers.verify(token, SystemTime::now()).await
}

#[tokio::test]
async fn a_good_token_says_whose_job_it_is() {
    let signer = Signer::rsa("a");
    let issuers = issuers(&[signer.jwk()]);
    let verified = verify(&issuers, &signer.sign(&claims())).await.unwrap();
    let job = verified.identity;
    assert_eq!(job.provider, "gitlab");
    assert_eq!(job.identity_prefix.as_deref(), Some("gitlab"));
    assert_eq!(job.project.path.as_str(), "acme/team/shop");
    assert_eq!(verified.token.as_str(), "one");
    assert!(verified.key.is_published());
    let ends = job.expires_at.unwrap();
    assert_eq!(verified.good_until, ends + Duration::from_secs(30));
}

#[tokio::test]
async fn each_algorithm_that_is_configured() {
    let signers = [Signer::rsa("r"), Signer::ec("e"), Signer::ed("d")];
    let keys: Vec<_> = signers.iter().map(Signer::jwk).collect();
    let github = [Signer::rsa("github").jwk()];
    let all = json!({"algorithms": ["RS256", "PS256", "ES256", "EdDSA"]});
    let all = issuers_with(&keys, &github, all);
    let usual = issuers_with(&keys, &github, json!({}));
    for signer in &signers {
        let token = signer.sign(&claims());
        verify(&all, &token).await.unwrap();
        let refused = verify(&usual, &token).await;
        assert_eq!(refused.is_ok(), signer.algorithm() == "RS256");
    }
    let pss = signers[0].pss();
    let token = pss.sign(&claims());
    // The issuer says that the key is for RS256 alone.
    assert!(matches!(
        verify(&all, &token).await.unwrap_err(),
        Error::UnknownKey { .. }
    ));
    let all = json!({"algorithms": ["PS256"]});
    let all = issuers_with(&[pss.jwk()], &github, all);
    verify(&all, &token).await.unwrap();
}

#[tokio::test]
async fn a_token_without_an_id_has_one_of_what_is_signed() {
    let signer = Signer::ec("e");
    let algorithms = json!({"algorithms": ["ES256"]});
    let github = [Signer::rsa("github").jwk()];
    let issuers = issuers_with(&[signer.jwk()], &github, algorithms);
    let mut ids = Vec::new();
    for jti in [
        Value::Null,
        json!(""),
        json!(7),
        json!("a b"),
        json!("x".repeat(256)),
    ] {
        let claims = with(claims(), "jti", jti);
        // Two signatures of one text, as only EC keys make them.
        let (first, second) = (signer.sign(&claims), signer.sign(&claims));
        assert_ne!(first, second);
        let id = async |token| verify(&issuers, token).await.unwrap().token;
        let (first, second) = (id(&first).await, id(&second).await);
        assert_eq!(first, second);
        assert!(first.as_str().starts_with("sha256:"), "{first}");
        ids.push(first);
    }
    ids.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    ids.dedup();
    assert_eq!(ids.len(), 5);
}
