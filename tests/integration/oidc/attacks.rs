//! Tokens that must not pass, through the whole program: each is refused with its reason, and nothing reaches the cluster.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use ci_tunnel_tests::issuer::{Key, Token};
use serde_json::{Value, json};

use super::Bed;

/// A token, and a word of the reason for which it is refused.
type Attack = (String, &'static str);

#[tokio::test]
async fn each_is_refused_with_its_reason() -> Result<()> {
    let bed = Bed::start().await?;
    let good = bed.gitlab.token().with("environment", "staging");
    bed.whoami(&good.sign()).await?;
    bed.rig.api.recorder().forget();
    let mut attacks = headers(&good);
    attacks.extend(keys(&bed, &good)?);
    attacks.extend(claims(&good));
    for (token, reason) in &attacks {
        let message = bed.refused(token, 401).await.context(*reason)?;
        ensure!(message.contains(reason), "{reason:?} is not in {message:?}");
    }
    ensure!(
        bed.rig.api.recorder().received().is_empty(),
        "it reached the API server"
    );
    let lines = bed.rig.tunnel.server().lines();
    let leaked = attacks.iter().find(|(token, _)| {
        let signature = token.rsplit('.').next().unwrap_or_default();
        signature.len() > 20 && lines.iter().any(|line| line.contains(signature))
    });
    ensure!(leaked.is_none(), "a token is in the log");
    bed.whoami(&good.sign()).await?;
    Ok(())
}

fn headers(good: &Token) -> Vec<Attack> {
    let with = |name: &str, value: Value| good.clone().header(name, value).sign();
    let unsigned = |alg: &str| {
        let token = with("alg", json!(alg));
        format!("{}.", token.rsplit_once('.').unwrap().0)
    };
    vec![
        (unsigned("none"), "another algorithm"),
        (unsigned("NoNe"), "another algorithm"),
        (with("alg", json!("none")), "another algorithm"),
        (with("alg", json!("HS256")), "another algorithm"),
        (with("alg", json!("ES256")), "another algorithm"),
        (with("alg", json!("RS512")), "another algorithm"),
        (with("jku", json!("https://evil.example/keys")), "jku"),
        (with("x5u", json!("https://evil.example/cert")), "x5u"),
        (with("x5c", json!(["AAAA"])), "x5c"),
        (with("jwk", json!({"kty": "RSA"})), "jwk"),
        (with("crit", json!(["exp"])), "crit"),
        (with("typ", json!("at+jwt")), "another type"),
        (with("kid", json!(["a"])), "kid"),
        (
            with("kid", json!("../../../etc/passwd")),
            "does not publish",
        ),
    ]
}

fn keys(bed: &Bed, good: &Token) -> Result<Vec<Attack>> {
    let (stranger, github) = (Arc::new(Key::rsa()?), bed.github.key());
    let signed = good.sign();
    let (message, _) = signed.rsplit_once('.').context("a signature")?;
    let other = good.clone().with("project_id", "8").sign();
    let (_, stolen) = other.rsplit_once('.').context("a signature")?;
    let by_github = good.clone().forged_by(&github);
    Ok(vec![
        (good.clone().forged_by(&stranger).sign(), "signature"),
        (by_github.sign(), "signature"),
        (
            by_github.header("kid", github.kid()).sign(),
            "does not publish",
        ),
        (
            bed.github.token().forged_by(&bed.gitlab.key()).sign(),
            "signature",
        ),
        (format!("{message}.{stolen}"), "signature"),
        (format!("{message}."), "signature"),
        (format!("{signed}="), "no method of this server knows"),
        (format!("{signed}.x"), "no method of this server knows"),
    ])
}

fn claims(good: &Token) -> Vec<Attack> {
    let with = |name: &str, value: Value| good.clone().with(name, value).sign();
    let now = jiff::Timestamp::now().as_second();
    vec![
        (
            with("iss", json!("https://evil.example")),
            "no provider of this server has its issuer",
        ),
        (
            with("iss", json!("ci-tunnel")),
            "no method of this server knows",
        ),
        (
            with("aud", json!("https://vault.example.com")),
            "https://vault.example.com",
        ),
        (with("aud", json!(["a", "b"])), "audience"),
        (with("aud", Value::Null), "aud"),
        (with("exp", json!(now - 31)), "ended"),
        (with("exp", json!("never")), "whole number"),
        (good.clone().without("exp").sign(), "exp"),
        (with("nbf", json!(now + 60)), "valid only in"),
        (with("iat", json!(now + 60)), "valid only in"),
        (with("project_id", json!("7e0")), "project_id"),
        (with("ref_protected", json!("yes")), "ref_protected"),
        (with("namespace_path", json!("acme")), "namespace_path"),
        (good.clone().without("project_path").sign(), "project_path"),
    ]
}

#[tokio::test]
async fn claims_that_stand_twice() -> Result<()> {
    let bed = Bed::start().await?;
    let good = bed.gitlab.token().with("environment", "staging");
    let key = bed.gitlab.key();
    let header = json!({"alg": "RS256", "kid": key.kid()}).to_string();
    let claims = good.claims().to_string();
    bed.whoami(&good.sign_text(&header, &claims)).await?;
    let twice = claims.replacen('{', r#"{"project_path":"acme/open","#, 1);
    let deep = format!(r#"{{"a":{}{},"#, "[".repeat(3000), "]".repeat(3000));
    let deep = claims.replacen('{', &deep, 1);
    for text in [twice, deep, format!("{claims} {claims}")] {
        let token = good.sign_text(&header, &text);
        bed.refused(&token, 401).await?;
    }
    let long = claims.replacen('{', &format!(r#"{{"a":"{}","#, "a".repeat(16_000)), 1);
    bed.refused(&good.sign_text(&header, &long), 401).await?;
    Ok(())
}
