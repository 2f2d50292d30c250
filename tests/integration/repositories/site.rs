//! A git host, and a tunnel whose rules are there.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ci_tunnel_tests::client::{Http, empty, full};
use ci_tunnel_tests::githost::GitHost;
use http::{Method, Response};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::rig::{AGENT, CONFIG, Rig};

/// The project of [`AGENT`].
pub const PROJECT: &str = "acme/infra";
/// What webhooks are signed with.
pub const SECRET: &str = "h00k-s3cret-of-a-length";
/// A key as GitLab makes them.
pub const SIGNING_TOKEN: &str = "whsec_dGVzdHRlc3R0ZXN0dGVzdHRlc3R0ZXN0dGVzdHQ=";
/// Lets the jobs of another project in.
pub const OTHER: &str = "ci_access: { projects: [{ id: acme/other }] }";
/// How soon what a webhook tells is in force.
pub const SOON: Duration = Duration::from_secs(5);

/// Over HTTPS, asked for news by webhooks alone.
pub fn https(host: &GitHost) -> Value {
    json!({"git": {
        "url": host.https_url(),
        "username": GitHost::USER,
        "password": GitHost::PASSWORD,
        "ca_file": host.file("ca.pem"),
        "poll": "1h",
        "webhook_secrets": ["another-of-a-length", SECRET, SIGNING_TOKEN],
    }})
}

/// Over SSH, asked for news each second.
pub fn ssh(host: &GitHost) -> Value {
    json!({"git": {
        "url": host.ssh_url(),
        "ssh_key_file": host.file("client_key"),
        "known_hosts_file": host.file("known_hosts"),
        "poll": "1s",
    }})
}

/// A tunnel whose rules are in these repositories.
pub async fn rig(repositories: &[Value]) -> Result<Rig> {
    Rig::with(
        &json!({"config_repositories": repositories}).to_string(),
        "",
    )
    .await
}

/// The same once the rules of [`AGENT`] let its job in.
pub async fn ready(repositories: &[Value]) -> Result<Rig> {
    let rig = rig(repositories).await?;
    // Registered after the server started, so that it is read only now.
    let read = wait_revision(&rig, "").await;
    read.with_context(|| rig.tunnel.last_words())?;
    ensure!(get(&rig).await? == 200, "the job is not let in");
    Ok(rig)
}

/// A host with one commit that lets the job in.
pub async fn host() -> Result<(GitHost, String)> {
    let host = GitHost::start().await?;
    let commit = host
        .repository(PROJECT)
        .await?
        .commit("main", &[("prod", CONFIG)])
        .await?;
    Ok((host, commit))
}

/// What the job gets.
pub async fn get(rig: &Rig) -> Result<u16> {
    Ok(rig
        .client(Http::Two)?
        .get("/small")
        .await?
        .status()
        .as_u16())
}

/// What `/status` says of the configuration of an agent.
pub fn configuration<'a>(status: &'a Value, agent: &str) -> &'a Value {
    let agents = status["agents"].as_array().into_iter().flatten();
    let found = agents.into_iter().find(|found| found["name"] == agent);
    found.map_or(&Value::Null, |agent| &agent["configuration"])
}

/// Waits for another commit than `before` to be in force; which one it is.
pub async fn wait_revision(rig: &Rig, before: &str) -> Result<String> {
    let commit = |status: &Value| {
        let commit = configuration(status, AGENT)["commit"].as_str();
        commit.unwrap_or_default().to_owned()
    };
    rig.tunnel
        .wait_status("another commit", |status| commit(status) != before)
        .await?;
    Ok(commit(&rig.tunnel.status().await?))
}

/// Waits for a problem of [`AGENT`]'s configuration that says `words`.
pub async fn wait_problem(rig: &Rig, words: &str) -> Result<()> {
    let says = |status: &Value| {
        let problem = configuration(status, AGENT)["problem"].as_str();
        problem.is_some_and(|problem| problem.contains(words))
    };
    rig.tunnel
        .wait_status(&format!("a problem that says {words:?}"), says)
        .await
}

/// How a webhook proves where it comes from.
#[derive(Debug, Clone, Copy)]
pub enum Form {
    /// GitLab's secret token.
    Token,
    /// GitLab's signing token.
    Signed,
    /// GitHub's signature.
    Hub,
}

/// Tells of a push to `branch` of `project`.
pub async fn push(
    rig: &Rig,
    form: Form,
    secret: &str,
    project: &str,
    branch: &str,
) -> Result<Response<Bytes>> {
    let body = match form {
        Form::Hub => json!({"ref": format!("refs/heads/{branch}"),
            "repository": {"full_name": project, "default_branch": "main"}}),
        _ => json!({"object_kind": "push", "ref": format!("refs/heads/{branch}"),
            "project": {"path_with_namespace": project, "default_branch": "main"}}),
    };
    let body = body.to_string();
    let headers = match form {
        Form::Token => vec![
            ("x-gitlab-event", "Push Hook".to_owned()),
            ("x-gitlab-token", secret.to_owned()),
        ],
        Form::Signed => {
            let key = STANDARD.decode(secret.trim_start_matches("whsec_"))?;
            let signature = sign(&key, format!("id-1.1700000000.{body}").as_bytes());
            vec![
                ("webhook-id", "id-1".to_owned()),
                ("webhook-timestamp", "1700000000".to_owned()),
                (
                    "webhook-signature",
                    format!("v1,{}", STANDARD.encode(signature)),
                ),
            ]
        }
        Form::Hub => {
            let signature = sign(secret.as_bytes(), body.as_bytes());
            let hex: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
            vec![
                ("x-github-event", "push".to_owned()),
                ("x-hub-signature-256", format!("sha256={hex}")),
            ]
        }
    };
    post(rig, &headers, &body).await
}

fn sign(key: &[u8], message: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, message).as_ref().to_vec()
}

/// Sends a webhook.
pub async fn post(rig: &Rig, headers: &[(&str, String)], body: &str) -> Result<Response<Bytes>> {
    let client = rig.client_as(Http::One, "none")?;
    let mut request = client.request(Method::POST, "/-/webhook/config");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let body = if body.is_empty() {
        empty()
    } else {
        full(body.to_owned())
    };
    let (parts, body) = client.send(request.body(body)?).await?.into_parts();
    Ok(Response::from_parts(
        parts,
        body.collect().await?.to_bytes(),
    ))
}
