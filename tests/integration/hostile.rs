//! Runs hostile requests against a front, and looks at what arrived at the API server behind it.
//!
//! One invariant holds for every case, whatever its own expectation: nothing arrives but the case's own target, byte for byte,
//! and what arrives carries exactly the identity that an honest request of the same job carries.

mod groups;
mod send;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use ci_tunnel_tests::apiserver::{ApiServer, Received};
use ci_tunnel_tests::client::{Client, Http};

use self::send::{Outcome, send};

/// Where hostile requests go.
#[derive(Debug)]
pub struct Front<'a> {
    pub addr: SocketAddr,
    pub ca_pem: &'a str,
    /// A bearer token that is allowed, with a permit that is not `agent`.
    pub token: &'a str,
    /// A bearer token of the same job that names an agent which the job may not use.
    pub other_agent_token: &'a str,
    /// How long the front waits for a request head.
    pub head_timeout: Duration,
    /// The API server behind the front.
    pub api: &'a ApiServer,
}

/// One hostile request, or an honest one as a control.
#[derive(Debug)]
pub struct Case {
    pub name: &'static str,
    pub wire: Wire,
    /// The only target that may arrive, as it must arrive.
    pub target: String,
    pub expect: Expect,
    /// What must not stand in any line `name: value`, trailer, or upgraded byte that arrives. Lower case.
    pub never: &'static [&'static str],
}

/// What is written. `{token}`, `{other}` and `{host}` stand for values of the [`Front`].
#[derive(Debug)]
pub enum Wire {
    /// These bytes, then an answer is awaited.
    H1(String),
    /// These bytes, then an end: what they began may never be complete.
    H1Cut(String),
    /// These bytes, then nothing: the front must lose patience.
    H1Silence(String),
    H2(Vec<H2>),
}

/// A part of an HTTP/2 request.
#[derive(Debug)]
pub enum H2 {
    Headers(Vec<(String, String)>),
    Data(&'static str),
}

/// How the front must take it.
#[derive(Debug, Clone, Copy)]
pub enum Expect {
    /// This answer; a refusal must be a Kubernetes `Status`.
    Status(u16),
    /// One of these refusals, as a Kubernetes `Status`.
    OneOf(&'static [u16]),
    /// Success; and the request arrives.
    Passes,
    /// This answer, or the connection or stream is closed: a parser's refusal.
    Refused(u16),
    /// Any answer or none: only what arrives counts.
    Harmless,
}

/// Runs all cases and reports every failure.
pub async fn run_all(front: &Front<'_>, cases: &[Case]) -> Result<()> {
    let runner = Runner::new(front).await?;
    let mut failures = String::new();
    for case in cases {
        if let Err(error) = runner.run(case).await {
            writeln!(failures, "* {}: {error:#}", case.name)?;
        }
    }
    ensure!(
        failures.is_empty(),
        "hostile requests taken wrongly:\n{failures}"
    );
    Ok(())
}

/// Sends cases through one front.
#[derive(Debug)]
pub struct Runner<'a> {
    front: &'a Front<'a>,
    client: Client,
    /// How an honest request of the same job arrives.
    honest: Received,
}

impl<'a> Runner<'a> {
    pub async fn new(front: &'a Front<'a>) -> Result<Self> {
        let client = Client::new(front.addr, front.ca_pem, Http::One, front.token)?;
        let honest = honest(front, &client, BEFORE).await?;
        Ok(Self {
            front,
            client,
            honest,
        })
    }

    pub async fn run(&self, case: &Case) -> Result<()> {
        let recorder = self.front.api.recorder();
        recorder.forget();
        let outcome = send(self.front, &case.wire).await?;
        // Through the same front and agent, after the hostile connection has ended: what that one caused has arrived by now.
        honest(self.front, &self.client, AFTER).await?;
        let mut arrived = recorder.received();
        arrived.retain(|request| request.target != AFTER);
        case.check_outcome(&outcome)
            .with_context(|| format!("arrived: {}", render(&arrived)))?;
        case.check_arrived(&arrived, &self.honest)
            .with_context(|| format!("answered: {:?}", outcome.status))
    }
}

const BEFORE: &str = "/small?honest=before";
const AFTER: &str = "/small?honest=after";

async fn honest(front: &Front<'_>, client: &Client, target: &str) -> Result<Received> {
    // Not a kept connection: a silent case outlasts what the front keeps idle ones for.
    let response = client.connect().await?.get(target).await?;
    ensure!(
        response.status() == 200,
        "an honest request got {}: {:?}",
        response.status(),
        response.body()
    );
    front
        .api
        .recorder()
        .wait_for("the honest request", |request| request.target == target)
        .await
}

impl Case {
    fn check_outcome(&self, outcome: &Outcome) -> Result<()> {
        match (self.expect, outcome.status) {
            (Expect::Harmless, _)
            | (Expect::Refused(_), None)
            | (Expect::Passes, Some(101 | 200..300)) => Ok(()),
            (Expect::Refused(wanted), Some(status)) if status == wanted => Ok(()),
            (Expect::Status(wanted), Some(status)) if status == wanted => {
                outcome.check_wording(status, self.is_answered_behind())
            }
            (Expect::OneOf(wanted), Some(status)) if wanted.contains(&status) => {
                outcome.check_wording(status, false)
            }
            (expected, got) => bail!("expected {expected:?}, got {got:?}"),
        }
    }

    /// The API server itself answers this target with a refusal.
    fn is_answered_behind(&self) -> bool {
        self.target.starts_with("/upgrade/") || self.target.starts_with("/status/")
    }

    fn check_arrived(&self, arrived: &[Received], honest: &Received) -> Result<()> {
        for request in arrived {
            ensure!(
                request.target == self.target,
                "{} arrived",
                render(std::slice::from_ref(request))
            );
            ensure!(
                identity(request) == identity(honest),
                "arrived with the identity {:?} instead of {:?}",
                identity(request),
                identity(honest)
            );
            let text = text(request);
            for never in self.never {
                ensure!(!text.contains(never), "{never:?} arrived in\n{text}");
            }
        }
        ensure!(arrived.len() < 2, "arrived {} times", arrived.len());
        let refused = matches!(self.expect, Expect::Status(400..500) | Expect::OneOf(_))
            && !self.is_answered_behind();
        ensure!(
            !refused || arrived.is_empty(),
            "refused, and arrived all the same"
        );
        ensure!(
            !matches!(self.expect, Expect::Passes) || arrived.len() == 1,
            "did not arrive"
        );
        Ok(())
    }
}

/// The headers by which an API server knows who asks, sorted.
fn identity(request: &Received) -> Vec<String> {
    let is_identity = |name: &str| {
        let name = name.replace('_', "-");
        name == "authorization" || name.starts_with("impersonate-") || name.starts_with("x-remote-")
    };
    let known = request.headers.iter().filter(|(name, _)| is_identity(name));
    let mut lines: Vec<String> = known
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value)))
        .collect();
    lines.sort();
    lines
}

/// All of a request that `never` is looked for in.
fn text(request: &Received) -> String {
    let lines = request.headers.iter().chain(&request.trailers);
    let mut text: String = lines
        .map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value)))
        .collect();
    text.push_str(&String::from_utf8_lossy(&request.upgraded));
    text.to_lowercase()
}

fn render(requests: &[Received]) -> String {
    requests.iter().fold(String::new(), |all, request| {
        format!(
            "{all}{} {}\n{}",
            request.method,
            request.target,
            text(request)
        )
    })
}
