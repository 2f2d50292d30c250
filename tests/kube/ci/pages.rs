//! The examples in the pages: what stands there is run as it stands, with the server's address of the test in it.

use std::path::Path;

use anyhow::{Context as _, Result};
use ci_tunnel_tests::issuer::Issuer;
use serde_json::Value;

use super::script;
use super::{Place, allow};
use crate::ring::Ring;

/// What the pages call the server.
const SERVER: &str = "https://tunnel.example.com:8154";
/// What the jobs there do in the end.
const WORK: &str = "kubectl apply -f deploy/";

/// The blocks of this language in a page, as YAML.
fn blocks(page: &str, language: &str) -> Result<Vec<Value>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(page);
    let text = std::fs::read_to_string(path)?;
    let begin = format!("```{language}\n");
    let block = |rest: &str| -> Result<Value> {
        let (block, _) = rest.split_once("```").context("the end of a block")?;
        serde_yaml::from_str(block).with_context(|| format!("{page}: {block}"))
    };
    text.split(&begin).skip(1).map(block).collect()
}

/// The scripts of the jobs and steps in a page that end in [`WORK`] and begin by asking the server.
fn scripts(page: &str) -> Result<Vec<String>> {
    let mut scripts = Vec::new();
    for block in blocks(page, "yaml")? {
        gather(&block, &mut scripts);
    }
    let asks = |script: &String| script.contains(SERVER) && script.contains(WORK);
    Ok(scripts.into_iter().filter(asks).collect())
}

fn gather(value: &Value, scripts: &mut Vec<String>) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                match (key.as_str(), value) {
                    ("script", Value::Array(lines)) => {
                        let lines = lines.iter().filter_map(Value::as_str);
                        scripts.push(lines.map(|line| format!("{line}\n")).collect());
                    }
                    ("run" | "command", Value::String(script)) => scripts.push(script.clone()),
                    _ => gather(value, scripts),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| gather(item, scripts)),
        _ => {}
    }
}

/// Programs that only the CI systems have.
const PROGRAMS: &str = r#"
buildkite-agent() { [ "$*" = "oidc request-token --audience $SERVER" ] && echo "$TOKEN"; }
circleci() { [ "$*" = "run oidc get --claims {\"aud\": \"$SERVER\"}" ] && echo "$TOKEN"; }
"#;

#[tokio::test]
async fn every_example_does_what_the_page_says() -> Result<()> {
    let Some(place) = Place::get("the pages' examples", Issuer::gitlab().await?).await? else {
        return Ok(());
    };
    let ring = Ring::get("the pages' examples")
        .await
        .context("a cluster")?;
    allow(ring.cluster, "gitlab:project:7").await?;
    let token = place.issuer.token().sign();
    super::github::serve_tokens(&place, token.clone());
    let request = format!("{}/token?api-version=2.0", place.issuer.url());
    let variables = [
        ("SERVER", place.server()),
        ("TOKEN", token.clone()),
        ("CI_TUNNEL_ID_TOKEN", token),
        ("ACTIONS_ID_TOKEN_REQUEST_URL", request),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "request-token".to_owned()),
    ];
    for (page, expected) in [("README.md", 1), ("docs/ci/README.md", 4)] {
        let scripts = scripts(page)?;
        assert_eq!(scripts.len(), expected, "{page}: {scripts:#?}");
        for script in scripts {
            let script = script
                .replace("$$", "$")
                .replace(SERVER, &place.server())
                .replace(
                    WORK,
                    "kubectl auth whoami -o jsonpath='{.status.userInfo.username}'",
                );
            let shell = ["bash", "-eo", "pipefail"];
            let ran = script::run(
                &shell,
                &(PROGRAMS.to_owned() + &script),
                place.path(),
                &variables,
            )
            .await?;
            assert_eq!(
                (ran.code, ran.stderr.as_str()),
                (Some(0), ""),
                "{page}: {script}\n{ran:?}"
            );
            assert!(
                ran.stdout.ends_with("gitlab:ci_job:4711"),
                "{page}: {script}\n{ran:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn pages_have_good_yaml() -> Result<()> {
    for page in [
        "README.md",
        "docs/ci/README.md",
        "docs/migration-from-gitlab-agent.md",
        "docs/config-yaml.md",
    ] {
        blocks(page, "yaml")?;
    }
    Ok(())
}
