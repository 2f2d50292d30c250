//! `kubectl cp`, to the pod and back.

use anyhow::Result;
use sha2::{Digest as _, Sha256};

use super::Wire;
use crate::ring::{Ring, finish};

const LEN: usize = 20_000_000;

#[tokio::test]
async fn copies_over_websocket() -> Result<()> {
    copies(Wire::WebSocket).await
}

#[tokio::test]
async fn copies_over_spdy() -> Result<()> {
    copies(Wire::Spdy).await
}

async fn copies(wire: Wire) -> Result<()> {
    match Ring::get("cp").await {
        Some(ring) => copies_of(ring, wire).await,
        None => Ok(()),
    }
}

pub(super) async fn copies_of(ring: &Ring, wire: Wire) -> Result<()> {
    let namespace = ring.pod("cp").await?;
    let folder = tempfile::tempdir()?;
    let here = folder.path().join("here.bin");
    std::fs::write(&here, noise())?;
    let kubectl = ring.kubectl()?;

    let there = format!("{namespace}/web:there.bin");
    let to = ["cp", here.to_str().unwrap(), &there];
    let output = finish(wire.command(&kubectl, &to), b"").await?;
    assert!(output.status.success(), "{output:?}");
    let arrived = ring.cluster.pod_files(&namespace, "web")?.join("there.bin");
    assert_eq!(
        hash(&std::fs::read(&arrived)?),
        hash(&std::fs::read(&here)?)
    );

    let back = folder.path().join("back.bin");
    let from = ["cp", &there, back.to_str().unwrap()];
    let output = finish(wire.command(&kubectl, &from), b"").await?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(hash(&std::fs::read(&back)?), hash(&std::fs::read(&here)?));
    wire.was_used(ring, &namespace, "exec").await
}

/// Bytes that nothing can compress, the same in every run.
fn noise() -> Vec<u8> {
    let blocks = (0_u64..).map(|block| Sha256::digest(block.to_be_bytes()));
    blocks.flatten().take(LEN).collect()
}

fn hash(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}
