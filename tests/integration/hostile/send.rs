//! Puts a case on the wire and takes what comes back.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use ci_tunnel_tests::client::{Answer, Part, Raw, RawH2};
use serde_json::Value;

use super::{Front, H2, Wire};

/// What came back.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// None: closed or reset without an answer.
    pub(super) status: Option<u16>,
    /// None over HTTP/2, where the raw client reads the status alone.
    body: Option<Vec<u8>>,
    challenged: bool,
}

pub(super) async fn send(front: &Front<'_>, wire: &Wire) -> Result<Outcome> {
    match wire {
        Wire::H1(text) => send_h1(front, text, false, LIMIT).await,
        Wire::H1Cut(text) => send_h1(front, text, true, LIMIT).await,
        Wire::H1Silence(text) => send_h1(front, text, false, front.head_timeout + LIMIT).await,
        Wire::H2(parts) => send_h2(front, parts).await,
    }
}

const LIMIT: Duration = Duration::from_secs(5);

async fn send_h1(front: &Front<'_>, text: &str, cut: bool, limit: Duration) -> Result<Outcome> {
    let mut raw = Raw::connect(front.addr, front.ca_pem, "http/1.1").await?;
    // The front may refuse, and close, before it has read all.
    let _ = raw.write(front.fill(text)).await;
    if cut {
        let _ = raw.half_close().await;
    }
    let response = raw.response_within(limit).await?;
    let _ = raw.half_close().await;
    raw.rest(limit)
        .await
        .context("the connection stays open after its client has ended it")?;
    let Some(response) = response else {
        return Ok(Outcome::default());
    };
    Ok(Outcome {
        status: Some(response.status),
        challenged: response.header("www-authenticate").is_some(),
        body: Some(response.body),
    })
}

async fn send_h2(front: &Front<'_>, parts: &[H2]) -> Result<Outcome> {
    let mut raw = RawH2::connect(front.addr, front.ca_pem).await?;
    let parts: Vec<_> = parts.iter().map(|part| part.filled(front)).collect();
    let pairs: Vec<Vec<(&str, &str)>> = parts.iter().map(H2::pairs).collect();
    let borrowed = parts.iter().zip(&pairs).map(|(part, pairs)| match part {
        H2::Headers(_) => Part::Headers(pairs),
        H2::Data(data) => Part::Data(data.as_bytes()),
    });
    let Ok(stream) = raw.request(&borrowed.collect::<Vec<_>>()).await else {
        return Ok(Outcome::default());
    };
    let status = match raw.answer(stream).await? {
        Answer::Status(status) => Some(status),
        Answer::Reset(_) | Answer::Closed(_) => None,
    };
    Ok(Outcome {
        status,
        ..Outcome::default()
    })
}

impl Front<'_> {
    fn fill(&self, text: &str) -> String {
        let host = self.addr.to_string();
        text.replace("{token}", self.token)
            .replace("{other}", self.other_agent_token)
            .replace("{host}", &host)
    }
}

impl H2 {
    fn filled(&self, front: &Front<'_>) -> Self {
        match self {
            Self::Headers(pairs) => Self::Headers(
                pairs
                    .iter()
                    .map(|(name, value)| (name.clone(), front.fill(value)))
                    .collect(),
            ),
            Self::Data(data) => Self::Data(data),
        }
    }

    fn pairs(&self) -> Vec<(&str, &str)> {
        match self {
            Self::Headers(pairs) => pairs
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect(),
            Self::Data(_) => Vec::new(),
        }
    }
}

impl Outcome {
    /// Whether a refusal is worded as one of Kubernetes.
    pub(super) fn check_wording(&self, status: u16, answered_behind: bool) -> Result<()> {
        let (Some(body), false) = (&self.body, answered_behind || status < 400) else {
            return Ok(());
        };
        ensure!(
            status != 401 || self.challenged,
            "401 without WWW-Authenticate"
        );
        let body: Value = serde_json::from_slice(body).context("the refusal is no JSON")?;
        ensure!(
            body["kind"] == "Status" && body["code"] == status,
            "the refusal is no Kubernetes Status: {body}"
        );
        ensure!(
            body["message"]
                .as_str()
                .is_some_and(|message| !message.is_empty()),
            "the refusal says nothing: {body}"
        );
        Ok(())
    }
}
