//! An HTTP proxy between agent and server.

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ci_tunnel_tests::client::Http;
use ci_tunnel_tests::proxy::Proxy;

use super::carried_by;
use crate::rig::Rig;

#[tokio::test]
async fn the_proxy_carries_the_connection() -> Result<()> {
    let proxy = Proxy::start("agent", "s3cret").await?;
    let url = format!("http://agent:s3cret@{}", proxy.address());
    let yaml = format!("transport: http2\nserver_proxy: {url}");
    let rig = Rig::with("", &yaml).await?;
    carried_by(&rig, "http2").await?;
    assert_eq!(rig.client(Http::Two)?.get("/small").await?.status(), 200);
    assert_eq!(proxy.targets(), [rig.tunnel.agents_addr().to_string()]);
    Ok(())
}

#[tokio::test]
async fn wrong_credentials_are_told_and_not_shown() -> Result<()> {
    let proxy = Proxy::start("agent", "s3cret").await?;
    let url = format!("http://agent:wr0ng@{}", proxy.address());
    let yaml = format!("transport: http2\nserver_proxy: {url}\nlog: {{ level: trace }}");
    let rig = Rig::unconnected(&yaml).await?;
    let agent = rig.tunnel.agent(0);
    let told = |line: &str| line.contains("does not take these credentials (407)");
    agent.wait_for_line("what to do", told).await?;
    for secret in ["wr0ng", &STANDARD.encode("agent:wr0ng")] {
        let shows = agent.lines().into_iter().find(|line| line.contains(secret));
        assert_eq!(shows, None);
    }
    assert!(proxy.targets().is_empty());
    Ok(())
}
