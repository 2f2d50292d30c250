//! The same where UDP is blocked: server and agent speak HTTP/2 over TCP.

use anyhow::Result;

use super::{Wire, copy, exec, forward, logs};
use crate::ring::Ring;

#[tokio::test]
async fn exec_over_http2() -> Result<()> {
    match Ring::over_http2("exec where UDP is blocked").await {
        Some(ring) => exec::exit_codes_of(ring, Wire::WebSocket).await,
        None => Ok(()),
    }
}

#[tokio::test]
async fn followed_logs_over_http2() -> Result<()> {
    match Ring::over_http2("followed logs where UDP is blocked").await {
        Some(ring) => logs::follows(ring).await,
        None => Ok(()),
    }
}

#[tokio::test]
async fn port_forward_over_http2() -> Result<()> {
    match Ring::over_http2("port-forward where UDP is blocked").await {
        Some(ring) => forward::forwards(ring, Wire::Spdy).await,
        None => Ok(()),
    }
}

#[tokio::test]
async fn cp_over_http2() -> Result<()> {
    match Ring::over_http2("cp where UDP is blocked").await {
        Some(ring) => copy::copies_of(ring, Wire::WebSocket).await,
        None => Ok(()),
    }
}
