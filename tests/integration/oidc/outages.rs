//! Issuers that are away, broken, or say something else than they must.

use anyhow::{Result, ensure};
use ci_tunnel_tests::client::Http;
use ci_tunnel_tests::connect::ConnectProxy;
use ci_tunnel_tests::issuer::{Issuer, Mode};
use serde_json::json;

use super::Bed;
use crate::rig::Rig;

fn good(bed: &Bed) -> String {
    bed.gitlab.token().with("environment", "staging").sign()
}

#[tokio::test]
async fn a_server_starts_without_its_issuers() -> Result<()> {
    let mut gitlab = Issuer::gitlab().await?;
    gitlab.stop().await;
    let mut bed = Bed::of(gitlab, json!({})).await?;
    let message = bed.refused(&good(&bed), 503).await?;
    ensure!(
        message.contains("gitlab") && message.contains("try again"),
        "{message}"
    );
    // The other one is not concerned, and the server is ready.
    bed.whoami(&bed.github.token().sign()).await?;
    bed.rig.tunnel.wait_connected(crate::rig::AGENT).await?;
    bed.gitlab.restart().await?;
    bed.becomes(&good(&bed), 200).await?;
    Ok(())
}

#[tokio::test]
async fn known_keys_go_on_and_unknown_ones_wait_for_the_issuer() -> Result<()> {
    let mut bed = Bed::start().await?;
    let known = good(&bed);
    bed.whoami(&known).await?;
    bed.gitlab.rotate()?;
    let unknown = good(&bed);
    bed.gitlab.stop().await;
    for _ in 0..3 {
        bed.refused(&unknown, 503).await?;
        bed.whoami(&known).await?;
    }
    bed.gitlab.restart().await?;
    bed.becomes(&unknown, 200).await?;
    bed.whoami(&known).await?;
    let failed = r#"ci_tunnel_server_oidc_key_fetches_total{provider="gitlab",result="failed"}"#;
    ensure!(
        bed.rig.tunnel.metric(failed).await? >= 1.0,
        "no failure is counted"
    );
    Ok(())
}

#[tokio::test]
async fn an_issuer_that_answers_nonsense_takes_no_key_away() -> Result<()> {
    for mode in [
        Mode::Status(500),
        Mode::Status(302),
        Mode::Garbage("<html>maintenance</html>"),
        Mode::Garbage("{}"),
        Mode::Hang,
    ] {
        let bed = Bed::start().await?;
        let known = good(&bed);
        bed.whoami(&known).await?;
        bed.gitlab.set_mode(mode.clone());
        bed.gitlab.rotate()?;
        let unknown = good(&bed);
        bed.refused(&unknown, 503).await?;
        bed.whoami(&known).await?;
        bed.gitlab.set_mode(Mode::Good);
        bed.becomes(&unknown, 200).await?;
    }
    Ok(())
}

#[tokio::test]
async fn discovery_is_believed_about_the_issuer_alone() -> Result<()> {
    for (document, reason) in [
        (
            json!({"issuer": "https://evil.example"}),
            "https://evil.example",
        ),
        (
            json!({"jwks_uri": "https://evil.example/keys"}),
            "key_hosts",
        ),
        (json!({"jwks_uri": "http://127.0.0.1:1/keys"}), "key_hosts"),
        (
            json!({"jwks_uri": "https://user@127.0.0.1/keys"}),
            "key_hosts",
        ),
    ] {
        let gitlab = Issuer::gitlab().await?;
        gitlab.set_document(document.clone());
        let bed = Bed::of(gitlab, json!({})).await?;
        bed.refused(&good(&bed), 503).await?;
        let said = |line: &str| line.contains("could not be fetched") && line.contains(reason);
        let server = bed.rig.tunnel.server();
        server.wait_for_line("the reason in the log", said).await?;
    }
    Ok(())
}

#[tokio::test]
async fn check_says_how_the_issuers_are() -> Result<()> {
    let mut bed = Bed::start().await?;
    let report = bed.rig.tunnel.cli(&["check"]).await?;
    for provider in ["gitlab", "github"] {
        let issuer = if provider == "gitlab" {
            bed.gitlab.url()
        } else {
            bed.github.url()
        };
        let line = format!("ok      provider {provider}: ID tokens of {issuer}, 1 keys");
        ensure!(report.contains(&line), "{report}");
    }
    ensure!(report.contains("oidc.clock_skew is 30s"), "{report}");
    bed.gitlab.stop().await;
    let error = bed.rig.tunnel.cli(&["check"]).await.unwrap_err();
    println!("{error:#}");
    Ok(())
}

/// GitHub's projects would be an error where there is no GitHub.
const GITLAB_ALONE: &str =
    "ci_access: { projects: [{ id: acme/team/shop, access_as: { ci_job: {} } }] }";

#[tokio::test]
async fn an_issuer_behind_a_proxy() -> Result<()> {
    let (gitlab, proxy) = (Issuer::gitlab().await?, ConnectProxy::start().await?);
    let files = tempfile::tempdir()?;
    let mut provider = gitlab.provider("gitlab", &gitlab.ca_file(files.path())?);
    provider["proxy"] = json!(proxy.url());
    let yaml = json!({"authn": {"providers": [provider]}});
    let rig = Rig::configured(GITLAB_ALONE, &yaml.to_string(), "").await?;
    let token = gitlab.token().with("environment", "staging").sign();
    let client = rig.client_as(Http::Two, &rig.bearer_of(&token))?;
    assert_eq!(client.get("/small").await?.status(), 200);
    let address = gitlab.url().trim_start_matches("https://");
    let asked = proxy.asked();
    ensure!(
        !asked.is_empty() && asked.iter().all(|to| to == address),
        "{asked:?}"
    );
    Ok(())
}

#[tokio::test]
async fn an_authority_that_is_not_trusted() -> Result<()> {
    let (gitlab, other) = (Issuer::gitlab().await?, Issuer::github().await?);
    let files = tempfile::tempdir()?;
    let provider = gitlab.provider("gitlab", &other.ca_file(files.path())?);
    let yaml = json!({"authn": {"providers": [provider]}});
    let rig = Rig::configured(GITLAB_ALONE, &yaml.to_string(), "").await?;
    let token = gitlab.token().with("environment", "staging").sign();
    let client = rig.client_as(Http::Two, &rig.bearer_of(&token))?;
    assert_eq!(client.get("/small").await?.status(), 503);
    let said = |line: &str| line.contains("could not be fetched") && line.contains("certificate");
    rig.tunnel
        .server()
        .wait_for_line("the reason", said)
        .await?;
    Ok(())
}
