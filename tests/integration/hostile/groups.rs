//! The hostile requests, group by group, against the server and the agent as programs.

use std::time::Duration;

use anyhow::Result;

use super::{Case, Front, run_all};
use crate::hostile_cases::{controls, credentials, framing, heads, identity, paths, upgrades};
use crate::rig::Rig;

/// The cases come faster than strangers may.
const SERVER: &str =
    "timeouts: { request_head: 1s }\nlimits: { address: { rejected_per_second: 0 } }";

/// Runs a group against a tunnel of its own.
async fn run(cases: &[Case]) -> Result<()> {
    let rig = Rig::with(SERVER, "").await?;
    let other = rig.another_agent("acme/infra:other").await?;
    let front = Front {
        addr: rig.tunnel.api_addr(),
        ca_pem: rig.tunnel.ca_pem(),
        token: &rig.bearer(),
        other_agent_token: &format!("ci:{other}:{}", rig.job),
        head_timeout: Duration::from_secs(1),
        api: &rig.api,
    };
    run_all(&front, cases).await
}

#[tokio::test]
async fn honest_requests() -> Result<()> {
    run(&controls()).await
}

#[tokio::test]
async fn without_a_credential() -> Result<()> {
    run(&credentials::cases()).await
}

#[tokio::test]
async fn with_an_identity_of_their_own() -> Result<()> {
    run(&identity::forged()).await?;
    run(&identity::dropped()).await?;
    run(&identity::harmless()).await
}

#[tokio::test]
async fn with_ambiguous_paths() -> Result<()> {
    run(&paths::ambiguous()).await?;
    run(&paths::passed()).await
}

#[tokio::test]
async fn with_two_ends_or_two_beginnings() -> Result<()> {
    run(&framing::cases()).await
}

#[tokio::test]
async fn with_heads_without_end() -> Result<()> {
    run(&heads::cases()).await
}

#[tokio::test]
async fn behind_upgrades() -> Result<()> {
    run(&upgrades::cases()).await
}
