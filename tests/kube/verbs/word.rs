//! What the API server tells of itself and of the job: the same as without the tunnel, to the byte.

use anyhow::Result;
use serde_json::Value;

use super::Bench;
use crate::ring::USER;

#[tokio::test]
async fn discovery_and_explain() -> Result<()> {
    let Some(bench) = Bench::new("discovery, explain").await? else {
        return Ok(());
    };
    for line in [
        "api-resources --sort-by=name -o wide --cached=false",
        "api-versions",
        "explain deployment.spec.strategy --recursive",
        "get --raw /openapi/v3",
        "get --raw /apis?a=b%2Fc&d",
    ] {
        let words: Vec<&str> = line.split_whitespace().collect();
        let through = bench.job.run(&words).await?;
        assert!(through.len() > 100, "{line}: {through}");
        assert_eq!(through, bench.admin.run(&words).await?, "{line}");
    }
    Ok(())
}

#[tokio::test]
async fn auth_config_and_version() -> Result<()> {
    let Some(bench) = Bench::new("auth, config, version").await? else {
        return Ok(());
    };
    let who = bench.run("auth whoami").await?;
    assert!(
        who.contains(USER) && who.contains("gitlab:project:5"),
        "{who}"
    );
    assert_eq!(bench.run("auth can-i delete nodes").await?, "yes\n");
    let listed = bench.run("auth can-i --list").await?;
    assert!(listed.contains("*.*"), "{listed}");
    let contexts = bench.run("config get-contexts --no-headers").await?;
    assert!(
        contexts.starts_with('*') && contexts.contains(" acme/infra:prod   ci-tunnel   agent:1"),
        "{contexts}"
    );
    let version: Value = serde_json::from_str(&bench.run("version -o json").await?)?;
    let (server, client) = (&version["serverVersion"], &version["clientVersion"]);
    assert_eq!(server["gitVersion"], client["gitVersion"]);
    Ok(())
}
