//! HTTP/2 over TCP in the place of QUIC: chosen, fallen back to, and left again.

mod basics;
mod fallback;
mod proxy;

use anyhow::Result;
use serde_json::Value;

use crate::rig::{AGENT, Rig};

/// What carries the agent's usable sessions, as `/status` tells.
fn carriers(status: &Value) -> Vec<&str> {
    let agents = status["agents"].as_array().into_iter().flatten();
    agents
        .filter(|agent| agent["name"] == AGENT)
        .filter_map(|agent| agent["sessions"].as_array())
        .flatten()
        .filter(|session| session["draining"] == false)
        .filter_map(|session| session["transport"].as_str())
        .collect()
}

/// Waits until exactly this carries the agent's requests.
async fn carried_by(rig: &Rig, transport: &str) -> Result<()> {
    let what = format!("the agent to be reached by {transport}");
    let wanted = |status: &Value| carriers(status) == [transport];
    rig.tunnel.wait_status(&what, wanted).await
}
