//! The stand-in itself.

use std::time::Duration;

use anyhow::Result;
use http::StatusCode;
use serde_json::{Value, json};

use super::{Issuer, Mode, json_response};
use crate::client::{Client, Http};

async fn ask(issuer: &Issuer, path: &str) -> Result<(u16, Value)> {
    let client = Client::new(issuer.addr, issuer.ca_pem(), Http::Two, "")?;
    let response = client.get(path).await?;
    let body = serde_json::from_slice(response.body()).unwrap_or_default();
    Ok((response.status().as_u16(), body))
}

#[tokio::test]
async fn publishes_its_keys() -> Result<()> {
    let issuer = Issuer::gitlab().await?;
    let (_, document) = ask(&issuer, "/.well-known/openid-configuration").await?;
    assert_eq!(document["issuer"], issuer.url());
    let path = document["jwks_uri"].as_str().unwrap();
    let path = path.strip_prefix(issuer.url()).unwrap();
    let first = issuer.key();
    issuer.rotate()?;
    let (_, set) = ask(&issuer, path).await?;
    assert_eq!(set["keys"], json!([issuer.key().jwk(), first.jwk()]));
    issuer.withdraw(first.kid());
    let (_, set) = ask(&issuer, path).await?;
    assert_eq!(set["keys"], json!([issuer.key().jwk()]));
    assert_eq!(issuer.keys_asked(), 2);
    Ok(())
}

#[tokio::test]
async fn has_outages() -> Result<()> {
    let mut issuer = Issuer::github().await?;
    issuer.on("/extra", |_| json_response(StatusCode::CREATED, &json!(1)));
    assert_eq!(ask(&issuer, "/extra").await?, (201, json!(1)));
    issuer.set_mode(Mode::Status(503));
    assert_eq!(ask(&issuer, "/extra").await?.0, 503);
    issuer.set_mode(Mode::Hang);
    let hangs = tokio::time::timeout(Duration::from_millis(200), ask(&issuer, "/extra"));
    assert!(hangs.await.is_err());
    issuer.stop().await;
    assert!(ask(&issuer, "/extra").await.is_err());
    issuer.set_mode(Mode::Good);
    issuer.restart().await?;
    assert_eq!(ask(&issuer, "/extra").await?, (201, json!(1)));
    Ok(())
}
