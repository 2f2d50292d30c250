//! Every refusal as its client sees it: code, reason, headers, and a message that says what to do and how to find the request again.

mod jobs;
mod ways;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use ci_tunnel_tests::client::{Client, empty};
use http::header::HeaderMap;
use http::{Method, Response};
use serde_json::Value;

use crate::rig::Rig;

/// A refusal in all its parts, and the audit's line of it.
#[derive(Debug)]
struct Refused {
    message: String,
    retry_after: Option<u64>,
    headers: HeaderMap,
    audit: Value,
}

/// Checks the form that all refusals have.
async fn refused(rig: &Rig, response: Response<Bytes>, code: u16, reason: &str) -> Result<Refused> {
    let (head, body) = response.into_parts();
    let status: Value = serde_json::from_slice(&body)
        .with_context(|| format!("{} is no Status: {body:?}", head.status))?;
    ensure!(
        head.status.as_u16() == code,
        "{} instead of {code}: {status}",
        head.status
    );
    assert_eq!(head.headers["content-type"], "application/json");
    let wanted = ("Status", "v1", "Failure", reason, u64::from(code));
    let text = |key: &str| status[key].as_str().unwrap_or_default();
    let got = (
        text("kind"),
        text("apiVersion"),
        text("status"),
        text("reason"),
        status["code"].as_u64().unwrap_or(0),
    );
    assert_eq!(got, wanted, "{status}");

    let cause = &status["details"]["causes"][0];
    assert_eq!(cause["reason"], "RequestID", "{status}");
    let id = cause["message"].as_str().context("a request id")?;
    let message = text("message").to_owned();
    ensure!(message.starts_with("ci-tunnel: "), "who says it? {message}");
    ensure!(
        message.contains(id),
        "clients print the message alone: {message}"
    );

    let audit = rig.tunnel.audited(|line| line["request_id"] == id).await?;
    assert_eq!(audit["status"], code, "{audit}");
    let logged = |line: &str| line.contains(id);
    rig.tunnel
        .server()
        .wait_for_line("the request's id in the log", logged)
        .await?;

    let retry_after = match head.headers.get("retry-after") {
        Some(seconds) => Some(seconds.to_str()?.parse::<u64>()?),
        None => None,
    };
    assert_eq!(
        status["details"]["retryAfterSeconds"].as_u64(),
        retry_after,
        "{status}"
    );
    println!("{code} {reason}: {message}");
    Ok(Refused {
        message,
        retry_after,
        headers: head.headers,
        audit,
    })
}

impl Refused {
    /// Its message tells all of this.
    fn says(self, words: &[&str]) -> Result<Self> {
        for word in words {
            ensure!(
                self.message.contains(word),
                "nothing of {word:?} in {:?}",
                self.message
            );
        }
        Ok(self)
    }

    fn retry(self, wanted: bool) -> Result<Self> {
        ensure!(
            self.retry_after.is_some() == wanted,
            "Retry-After: {:?}",
            self.retry_after
        );
        Ok(self)
    }
}

async fn with_header(client: &Client, name: &str, value: &str) -> Result<Response<Bytes>> {
    let mut connection = client.connect().await?;
    let request = connection
        .request(Method::GET, "/small")
        .header(name, value);
    connection.whole(request.body(empty())?).await
}
