//! Keys that change: new ones are found, old ones end, and unknown ones cost nothing.

use anyhow::{Context as _, Result, ensure};
use ci_tunnel_tests::client::Http;
use ci_tunnel_tests::deadline::within;
use http_body_util::BodyExt as _;
use serde_json::json;

use super::Bed;

#[tokio::test]
async fn a_new_key_is_taken_when_its_first_token_comes() -> Result<()> {
    let bed = Bed::start().await?;
    let old = bed.gitlab.token().with("environment", "staging").sign();
    bed.whoami(&old).await?;
    bed.gitlab.rotate()?;
    let new = bed.gitlab.token().with("environment", "staging").sign();
    bed.whoami(&new).await?;
    // Both are published.
    bed.whoami(&old).await?;
    assert_eq!(bed.gitlab.keys_asked(), 2);
    let fetched = r#"ci_tunnel_server_oidc_key_fetches_total{provider="gitlab",result="ok"}"#;
    assert_eq!(bed.rig.tunnel.metric(fetched).await?, 2.0);
    let keys = r#"ci_tunnel_server_oidc_keys{provider="gitlab"}"#;
    assert_eq!(bed.rig.tunnel.metric(keys).await?, 2.0);
    Ok(())
}

#[tokio::test]
async fn a_withdrawn_key_ends_its_tokens_and_what_runs_with_them() -> Result<()> {
    let bed = Bed::with(json!({"refresh": "1s", "min_refresh": "1s"})).await?;
    let stolen = bed.gitlab.key();
    let token = bed.gitlab.token().with("environment", "staging").sign();
    let client = bed.rig.client_as(Http::Two, &bed.rig.bearer_of(&token))?;
    let watching = client.request(http::Method::GET, "/watch");
    let mut watch = client
        .send(watching.body(ci_tunnel_tests::client::empty())?)
        .await?;
    assert_eq!(watch.status(), 200);
    bed.gitlab.rotate()?;
    bed.gitlab.withdraw(stolen.kid());
    let cut = async { while let Some(Ok(_)) = watch.body_mut().frame().await {} };
    within("the running request to be cut", cut).await?;
    let message = bed.refused(&token, 401).await?;
    ensure!(message.contains("withdrawn"), "{message}");
    let line = bed
        .rig
        .tunnel
        .audited(|line| line.to_string().contains("/watch"))
        .await?;
    ensure!(line.to_string().contains("withdrawn"), "{line}");
    // Another of that key, which was never here.
    let unseen = bed.gitlab.token().with("environment", "staging");
    let unseen = unseen.header("kid", stolen.kid()).forged_by(&stolen);
    let message = bed.refused(&unseen.sign(), 401).await?;
    ensure!(message.contains("does not publish"), "{message}");
    let good = bed.gitlab.token().with("environment", "staging").sign();
    bed.whoami(&good).await?;
    Ok(())
}

#[tokio::test]
async fn all_that_a_stolen_key_signed_can_be_revoked() -> Result<()> {
    let bed = Bed::start().await?;
    let token = bed.gitlab.token().with("environment", "staging").sign();
    let file = bed.rig.tunnel.kubeconfig(&token, "").await?;
    let text = std::fs::read_to_string(file)?;
    let session = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("token: "))
        .context("a token in the KUBECONFIG")?;
    let client = bed.rig.client_as(Http::Two, session.trim_matches('"'))?;
    assert_eq!(client.get("/small").await?.status(), 200);
    // The server's log tells the name of each key.
    let lines = bed.rig.tunnel.server().lines();
    let line = lines
        .iter()
        .find(|line| line.contains(bed.gitlab.key().kid()))
        .context("the key in the log")?;
    let line: serde_json::Value = serde_json::from_str(line)?;
    let id = line["id"].as_str().context("the key's id")?;
    let revoke = ["job-token", "revoke", id, "--unlisted"];
    bed.rig.tunnel.cli(&revoke).await?;
    let refused = async {
        while client.get("/small").await?.status() != 401 {}
        anyhow::Ok(())
    };
    within("the session to be revoked", refused).await??;
    bed.becomes(&token, 401).await
}

#[tokio::test]
async fn ten_thousand_unknown_keys_ask_the_issuer_once() -> Result<()> {
    let bed = Bed::start().await?;
    let good = bed.gitlab.token().with("environment", "staging");
    bed.whoami(&good.sign()).await?;
    let signed = good.sign();
    let (_, rest) = signed.split_once('.').context("a header")?;
    let mut raw = bed.rig.raw().await?;
    for number in 0..10_000 {
        use base64::Engine as _;
        let header = json!({"alg": "RS256", "kid": format!("unknown-{number}")}).to_string();
        let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(header);
        let bearer = bed.rig.bearer_of(&format!("{header}.{rest}"));
        let request =
            format!("GET /small HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {bearer}\r\n\r\n");
        raw.write(request).await?;
        let answer = raw.response().await?.context("an answer")?;
        ensure!(answer.status == 401, "{number}: {}", answer.status);
    }
    // The first keys, and those that were looked at for all of these.
    assert_eq!(bed.gitlab.keys_asked(), 2);
    assert_eq!(bed.github.keys_asked(), 1);
    bed.whoami(&good.sign()).await?;
    Ok(())
}
