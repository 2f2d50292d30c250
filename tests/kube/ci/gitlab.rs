//! The GitLab CI/CD component, in every shell.

use anyhow::{Context as _, Result};
use ci_tunnel_tests::issuer::{Issuer, Mode};
use serde_json::Value;

use super::script::{self, Ran};
use super::{AGENT, Place, allow};
use crate::ring::Ring;

/// The job of a user: what it does with the KUBECONFIG, and where that was.
const JOB: &str = r#"
kubectl auth whoami -o jsonpath='{.status.userInfo.username}{"\n"}'
kubectl config current-context
helm list --namespace default
stat -c %a "$KUBECONFIG"
echo "$KUBECONFIG" > file
"#;

/// `before_script` with inputs, as GitLab fills them in.
fn before_script(server: &str, agent: &str) -> Result<String> {
    let documents = script::documents("gitlab/templates/kubeconfig.yml")?;
    let [spec, config] = documents.as_slice() else {
        anyhow::bail!("a component has a header and a body");
    };
    let job = &config[".ci-tunnel"];
    assert_eq!(
        job["id_tokens"]["CI_TUNNEL_ID_TOKEN"]["aud"],
        "$[[ inputs.server ]]"
    );
    let lines = job["before_script"].as_array().context("before_script")?;
    let mut text: String = lines
        .iter()
        .filter_map(Value::as_str)
        .map(|line| format!("{line}\n"))
        .collect();
    let inputs = spec["spec"]["inputs"].as_object().context("inputs")?;
    for (name, input) in inputs {
        let value = match name.as_str() {
            "server" => server,
            "agent" => agent,
            _ => input["default"].as_str().context("a default")?,
        };
        text = text.replace(&format!("$[[ inputs.{name} ]]"), value);
    }
    assert!(!text.contains("$[["), "{text}");
    Ok(text)
}

async fn run(place: &Place, shell: &[&str], agent: &str, token: String) -> Result<Ran> {
    let script = before_script(&place.server(), agent)? + JOB;
    script::run(
        shell,
        &script,
        place.path(),
        &[("CI_TUNNEL_ID_TOKEN", token)],
    )
    .await
}

async fn place(test: &str) -> Result<Option<Place>> {
    let Some(place) = Place::get(test, Issuer::gitlab().await?).await? else {
        return Ok(None);
    };
    let ring = Ring::get(test)
        .await
        .context("there was a cluster a moment ago")?;
    allow(ring.cluster, "gitlab:project:7").await?;
    Ok(Some(place))
}

#[tokio::test]
async fn a_job_has_a_kubeconfig_in_every_shell() -> Result<()> {
    let Some(place) = place("the GitLab component").await? else {
        return Ok(());
    };
    for (shell, agent) in script::shells().into_iter().zip([AGENT, "", AGENT]) {
        let ran = run(&place, &shell, agent, place.issuer.token().sign()).await?;
        assert_eq!(ran.code, Some(0), "{shell:?}: {ran:?}");
        let expected = format!("gitlab:ci_job:4711\n{AGENT}\nNAME\tNAMESPACE");
        assert!(
            ran.stdout.starts_with(&expected) && ran.stdout.ends_with("\n600\n"),
            "{shell:?}: {ran:?}"
        );
        assert_eq!(
            ran.stderr, "",
            "{shell:?}: helm warns of files that others can read"
        );
        let file = std::fs::read_to_string(place.path().join("file"))?;
        assert!(
            !std::path::Path::new(file.trim()).exists(),
            "{shell:?}: {file} is left"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_job_that_may_not_is_told_why() -> Result<()> {
    let Some(place) = place("a refused job of the GitLab component").await? else {
        return Ok(());
    };
    let token = || {
        place
            .issuer
            .token()
            .with("ref", "topic")
            .with("ref_path", "refs/heads/topic")
            .sign()
    };
    for shell in script::shells() {
        for agent in [AGENT, ""] {
            let ran = run(&place, &shell, agent, token()).await?;
            assert_eq!(
                (ran.code, ran.stdout.as_str()),
                (Some(1), ""),
                "{shell:?}: {ran:?}"
            );
            let says = "ref \"topic\" matches none of \"main\"";
            assert!(
                ran.stderr
                    .starts_with("ci-tunnel gave no KUBECONFIG: 403\nci-tunnel: ")
                    && ran.stderr.contains(says),
                "{shell:?}: {ran:?}"
            );
            let explained = place.explained(&ran).await?;
            assert!(explained.contains(says), "{explained}");
        }
    }
    let ran = run(&place, &["bash", "-e"], AGENT, "rubbish".to_owned()).await?;
    assert!(
        ran.stderr
            .starts_with("ci-tunnel gave no KUBECONFIG: 401\nci-tunnel: "),
        "{ran:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_job_waits_out_a_short_outage() -> Result<()> {
    let Some(place) = place("an outage under the GitLab component").await? else {
        return Ok(());
    };
    place.issuer.set_mode(Mode::Status(500));
    let token = place.issuer.token().sign();
    let job = run(&place, &["bash", "-e"], AGENT, token);
    let back = async {
        while place.issuer.asked("/.well-known/openid-configuration") == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        place.issuer.set_mode(Mode::Good);
    };
    let (ran, ()) = tokio::join!(job, back);
    let ran = ran?;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    Ok(())
}
