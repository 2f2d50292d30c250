//! The API server behind the agent: away, back, replaced by a stranger.

use std::time::Instant;

use anyhow::{Result, ensure};
use ci_tunnel_tests::client::Http;

use super::watching::Watching;
use crate::rig::{Rig, SOON};

#[tokio::test]
async fn away_and_back() -> Result<()> {
    let mut rig = Rig::start().await?;
    let watching = Watching::begin(&rig, &rig.job).await?;
    let client = rig.client(Http::Two)?;
    assert_eq!(client.get("/small").await?.status(), 200);
    let begin = Instant::now();
    rig.stop_api().await;
    let cut = watching.until_cut(begin).await?;
    ensure!(cut < SOON, "cut after {cut:?}");
    assert_eq!(client.get("/small").await?.status(), 502);
    rig.api.restart().await?;
    let begin = Instant::now();
    // Kept connections to the one before are no obstacle, nor is it remembered as away.
    assert_eq!(client.get("/small").await?.status(), 200);
    println!(
        "API server gone: watch cut after {cut:?}; back: works after {:?}",
        begin.elapsed()
    );
    Watching::begin(&rig, &rig.job).await.map(drop)
}

#[tokio::test]
async fn a_stranger_in_its_place() -> Result<()> {
    let mut rig = Rig::start().await?;
    let client = rig.client(Http::Two)?;
    assert_eq!(client.get("/small").await?.status(), 200);
    rig.replace_api().await?;
    for _ in 0..3 {
        assert_eq!(client.get("/small").await?.status(), 502);
    }
    ensure!(rig.api.recorder().count() == 0, "a stranger got a request");
    Ok(())
}
