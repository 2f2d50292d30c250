//! The GitHub composite action, with a stand-in for GitHub's own endpoint that gives jobs their tokens.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use ci_tunnel_tests::issuer::{Issuer, json_response};
use http::StatusCode;
use http::header::AUTHORIZATION;
use serde_json::{Value, json};

use super::script::{self, Ran};
use super::{AGENT, Place, allow};
use crate::ring::Ring;

const SHELL: [&str; 4] = ["bash", "--noprofile", "--norc", "-eo"];

/// The action's only step, and its inputs' defaults where `given` says nothing else.
async fn run(place: &Place, given: &[(&str, &str)], request: Option<&str>) -> Result<Ran> {
    let documents = script::documents("github/action.yml")?;
    let action = &documents[0];
    assert_eq!(action["runs"]["using"], "composite");
    let step = &action["runs"]["steps"][0];
    assert_eq!(step["shell"], "bash");
    let mut variables = vec![
        ("RUNNER_TEMP", place.path().display().to_string()),
        (
            "GITHUB_ENV",
            place.path().join("github_env").display().to_string(),
        ),
    ];
    for (name, expression) in step["env"].as_object().context("env")? {
        let expression = expression.as_str().context("an expression")?;
        let input = expression
            .trim_start_matches("${{ inputs.")
            .trim_end_matches(" }}");
        let default = action["inputs"][input]["default"].as_str();
        let given = given
            .iter()
            .find(|(name, _)| *name == input)
            .map(|(_, value)| *value);
        variables.push((name, given.or(default).context("an input")?.to_owned()));
    }
    if let Some(token) = request {
        let url = format!("{}/token?api-version=2.0", place.issuer.url());
        variables.push(("ACTIONS_ID_TOKEN_REQUEST_URL", url));
        variables.push(("ACTIONS_ID_TOKEN_REQUEST_TOKEN", token.to_owned()));
    }
    let script = step["run"].as_str().context("run")?;
    let shell = [&SHELL[..], &["pipefail"]].concat();
    script::run(&shell, script, place.path(), &variables).await
}

/// The token of a job for this branch.
fn token(place: &Place, branch: &str) -> String {
    let git_ref = format!("refs/heads/{branch}");
    place.issuer.token().with("ref", git_ref).sign()
}

/// GitHub's endpoint: the job's own token in exchange for an ID token for the audience, which is `token`.
pub(super) fn serve_tokens(place: &Place, token: String) {
    let audience = place.server().replace(':', "%3A").replace('/', "%2F");
    place.issuer.on("/token", move |request| {
        let shown = request
            .headers
            .get(AUTHORIZATION)
            .map(|value| value.as_bytes());
        let query = format!("api-version=2.0&audience={audience}");
        let asked = request.uri.query().unwrap_or_default();
        let good = shown == Some(b"Bearer request-token") && asked.eq_ignore_ascii_case(&query);
        match good {
            true => json_response(StatusCode::OK, &json!({"count": 1, "value": token})),
            false => json_response(
                StatusCode::UNAUTHORIZED,
                &json!({"asked": request.uri.to_string()}),
            ),
        }
    });
}

async fn place(test: &str) -> Result<Option<Place>> {
    let Some(place) = Place::get(test, Issuer::github().await?).await? else {
        return Ok(None);
    };
    let ring = Ring::get(test)
        .await
        .context("there was a cluster a moment ago")?;
    allow(ring.cluster, "github:ci_job").await?;
    Ok(Some(place))
}

#[tokio::test]
async fn the_steps_after_it_have_a_kubeconfig() -> Result<()> {
    let Some(place) = place("the GitHub action").await? else {
        return Ok(());
    };
    serve_tokens(&place, token(&place, "main"));
    let server = place.server();
    let ran = run(&place, &[("server", &server)], Some("request-token")).await?;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");

    let exported = std::fs::read_to_string(place.path().join("github_env"))?;
    let file = exported
        .strip_prefix("KUBECONFIG=")
        .context("KUBECONFIG")?
        .trim();
    let kubeconfig: Value = serde_yaml::from_str(&std::fs::read_to_string(PathBuf::from(file))?)?;
    let token = kubeconfig["users"][0]["user"]["token"].as_str().unwrap();
    let masked: Vec<_> = ran
        .stdout
        .lines()
        .map(|line| line.strip_prefix("::add-mask::"))
        .collect();
    assert!(
        masked.len() == 2 && masked.iter().all(Option::is_some),
        "{ran:?}"
    );
    assert_eq!(masked[1], Some(token));

    let step =
        "kubectl auth whoami -o jsonpath='{.status.userInfo.groups[0]}'; helm list -n default";
    let variables = [("KUBECONFIG", file.to_owned())];
    let ran = script::run(&["bash", "-e"], step, place.path(), &variables).await?;
    assert!(ran.stdout.starts_with("github:ci_job"), "{ran:?}");
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    Ok(())
}

#[tokio::test]
async fn what_is_missing_is_said() -> Result<()> {
    let Some(place) = place("a refused job of the GitHub action").await? else {
        return Ok(());
    };
    serve_tokens(&place, token(&place, "topic"));
    let server = place.server();
    let inputs = [("server", server.as_str()), ("agent", AGENT)];
    let ran = run(&place, &inputs, None).await?;
    assert!(
        ran.code != Some(0)
            && ran
                .stderr
                .contains("the job needs the permission id-token: write\n"),
        "{ran:?}"
    );

    let ran = run(&place, &inputs, Some("another")).await?;
    assert!(
        ran.code == Some(1)
            && ran
                .stdout
                .starts_with("::error::ci-tunnel: 401: {\"asked\""),
        "{ran:?}"
    );

    let ran = run(&place, &inputs, Some("request-token")).await?;
    let says = "ref \"topic\" matches none of \"main\"";
    let last = ran.stdout.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("::error::ci-tunnel: 403: ci-tunnel: ") && last.contains(says),
        "{ran:?}"
    );
    assert!(place.explained(&ran).await?.contains(says));
    Ok(())
}
