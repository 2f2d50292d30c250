//! Tokens that must not pass, and what is said of each.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::{Value, json};

use super::{HOUR, authenticator, job};
use crate::authn::{Authenticator, Error, JobCredential, local};

/// A token that is good but for what a test changes.
struct Forge {
    header: Value,
    claims: Value,
    key: Vec<u8>,
}

impl Forge {
    /// From a true token of `authenticator`, with its true key.
    async fn job(authenticator: &Authenticator) -> Self {
        let issued = authenticator.issue_job_token(&job(), HOUR).await.unwrap();
        let parts: Vec<&str> = issued.credential.expose().split('.').collect();
        let json =
            |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        let key = authenticator.store.secret(local::KEY).await.unwrap();
        Self {
            header: json(parts[0]),
            claims: json(parts[1]),
            key: key.expose().to_vec(),
        }
    }

    fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims[name] = value.into();
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.claims.as_object_mut().unwrap().remove(name).unwrap();
        self
    }

    fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header[name] = value.into();
        self
    }

    fn key(mut self, key: &[u8]) -> Self {
        self.key = key.to_vec();
        self
    }

    fn unsigned(&self) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}", part(&self.header), part(&self.claims))
    }

    fn signed(&self) -> String {
        let message = self.unsigned();
        let key = EncodingKey::from_secret(&self.key);
        let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
        format!("{message}.{signature}")
    }
}

async fn refusal(authenticator: &Authenticator, token: &str) -> Error {
    let credential = JobCredential::new(token).unwrap();
    let error = authenticator
        .authenticate_job(&credential)
        .await
        .unwrap_err();
    assert!(!error.to_string().contains(token), "{error}");
    error
}

#[tokio::test]
async fn the_forge_makes_good_tokens() {
    let authenticator = authenticator().await;
    let token = Forge::job(&authenticator).await.signed();
    authenticator
        .authenticate_job(&JobCredential::new(&token).unwrap())
        .await
        .unwrap();
}

#[tokio::test]
async fn another_algorithm() {
    let authenticator = authenticator().await;
    for alg in [
        "none", "None", "HS384", "HS512", "RS256", "ES256", "EdDSA", "hs256", "",
    ] {
        let forge = Forge::job(&authenticator).await.header("alg", alg);
        for token in [forge.signed(), format!("{}.", forge.unsigned())] {
            let error = refusal(&authenticator, &token).await;
            assert_eq!(
                error,
                Error::Malformed("its algorithm is not HS256"),
                "{alg}"
            );
        }
    }
}

#[tokio::test]
async fn another_key_or_none() {
    let authenticator = authenticator().await;
    let other = super::authenticator()
        .await
        .store
        .secret(local::KEY)
        .await
        .unwrap();
    for key in [other.expose().as_slice(), b"", &[0; 32]] {
        let token = Forge::job(&authenticator).await.key(key).signed();
        assert_eq!(refusal(&authenticator, &token).await, Error::Signature);
    }
    let unsigned = Forge::job(&authenticator).await.unsigned();
    for token in [format!("{unsigned}."), format!("{unsigned}.AAAA")] {
        assert_eq!(refusal(&authenticator, &token).await, Error::Signature);
    }
}

#[tokio::test]
async fn a_changed_claim() {
    let authenticator = authenticator().await;
    let forge = Forge::job(&authenticator).await;
    let signature = forge.signed().rsplit_once('.').unwrap().1.to_owned();
    let changed = forge.with("exp", 9_999_999_999_u64).unsigned();
    assert_eq!(
        refusal(&authenticator, &format!("{changed}.{signature}")).await,
        Error::Signature
    );
}

#[tokio::test]
async fn a_header_that_brings_its_own_key() {
    let authenticator = authenticator().await;
    let jwk = json!({"kty": "oct", "k": "AAAA"});
    for (name, value) in [
        ("jwk", jwk),
        ("jku", json!("https://evil.example/keys")),
        ("x5u", json!("https://evil.example/cert")),
        ("x5c", json!(["AAAA"])),
        ("kid", json!("../../dev/null")),
        ("crit", json!(["exp"])),
        ("cty", json!("JWT")),
    ] {
        let token = Forge::job(&authenticator)
            .await
            .header(name, value)
            .signed();
        assert_eq!(
            refusal(&authenticator, &token).await,
            Error::Malformed("its header is not ours"),
            "{name}"
        );
    }
}

#[tokio::test]
async fn another_type() {
    let authenticator = authenticator().await;
    for typ in ["JWT", "ci-tunnel-session+jwt", ""] {
        let token = Forge::job(&authenticator).await.header("typ", typ).signed();
        let error = refusal(&authenticator, &token).await;
        assert_eq!(
            error,
            Error::Malformed("its type is not that of its audience"),
            "{typ}"
        );
    }
}

#[tokio::test]
async fn another_issuer_or_audience() {
    let authenticator = authenticator().await;
    for (name, value) in [
        ("iss", json!(["ci-tunnel"])),
        ("aud", json!("ci-tunnel")),
        ("aud", json!("ci-tunnel/job ")),
        ("aud", json!(["ci-tunnel/job"])),
        ("aud", Value::Null),
    ] {
        let token = Forge::job(&authenticator)
            .await
            .with(name, value.clone())
            .signed();
        assert_eq!(
            refusal(&authenticator, &token).await,
            Error::Unknown,
            "{name}: {value}"
        );
    }
    for issuer in ["https://gitlab.example", "Ci-tunnel", "ci-tunnel "] {
        let forge = Forge::job(&authenticator).await.with("iss", issuer);
        let token = forge.signed();
        for token in [token, forge.header("typ", "JWT").signed()] {
            let error = refusal(&authenticator, &token).await;
            assert!(matches!(error, Error::IdToken(_)), "{issuer}: {error}");
        }
    }
}

#[tokio::test]
async fn times() {
    let authenticator = authenticator().await;
    let forged = async |name: &str, value: Value| {
        Forge::job(&authenticator).await.with(name, value).signed()
    };
    let past = forged("exp", json!(1_000_000_000)).await;
    assert_eq!(refusal(&authenticator, &past).await, Error::Expired);
    let future = forged("nbf", json!(9_999_999_999_u64)).await;
    assert_eq!(refusal(&authenticator, &future).await, Error::NotYetValid);
    for (name, value) in [
        ("exp", json!("9999999999")),
        ("exp", json!(-1)),
        ("exp", json!(1e300)),
        ("exp", Value::Null),
        ("nbf", json!("0")),
    ] {
        let token = forged(name, value.clone()).await;
        let error = refusal(&authenticator, &token).await;
        assert!(
            matches!(error, Error::Malformed(_)),
            "{name} {value}: {error}"
        );
    }
}

#[tokio::test]
async fn a_claim_missing_or_too_many() {
    let authenticator = authenticator().await;
    for name in ["exp", "jti", "iat", "job"] {
        let token = Forge::job(&authenticator).await.without(name).signed();
        let error = refusal(&authenticator, &token).await;
        assert!(matches!(error, Error::Malformed(_)), "{name}: {error}");
    }
    let token = Forge::job(&authenticator)
        .await
        .with("admin", true)
        .signed();
    assert!(matches!(
        refusal(&authenticator, &token).await,
        Error::Malformed(_)
    ));
}

#[tokio::test]
async fn a_session_as_a_job_token_and_a_job_token_as_a_session() {
    let authenticator = authenticator().await;
    let as_session = Forge::job(&authenticator)
        .await
        .with("aud", "ci-tunnel/session");
    let error = refusal(&authenticator, &as_session.signed()).await;
    assert_eq!(
        error,
        Error::Malformed("its type is not that of its audience")
    );
    let as_session = as_session
        .header("typ", "ci-tunnel-session+jwt")
        .with("agent", 7)
        .with("parents", json!(["x"]));
    assert_eq!(
        refusal(&authenticator, &as_session.signed()).await,
        Error::Signature
    );

    let bound = Forge::job(&authenticator).await.with("agent", 7);
    assert_eq!(
        refusal(&authenticator, &bound.signed()).await,
        Error::Malformed("a job token is bound to no agent")
    );
}

#[tokio::test]
async fn no_token_at_all() {
    let authenticator = authenticator().await;
    let good = Forge::job(&authenticator).await.signed();
    let deep = format!("e30.{}.x", URL_SAFE_NO_PAD.encode("[".repeat(9_000)));
    for token in [
        "x",
        "..",
        "a.b.c",
        "glcbt-64_abc",
        "e30.e30.",
        &format!("{good}.x"),
        &deep,
        &"x".repeat(16 * 1024),
    ] {
        assert_eq!(refusal(&authenticator, token).await, Error::Unknown);
    }
}
