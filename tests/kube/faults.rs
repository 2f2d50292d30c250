//! An agent that is killed and comes back, as the jobs of a real cluster see it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use ci_tunnel_tests::cluster::Cluster;
use ci_tunnel_tests::deadline::within_time;
use ci_tunnel_tests::tunnel::{Tunnel, grant};

const AGENT: &str = "acme/faults:prod";
const GET: [&str; 4] = ["get", "namespaces", "-o=name", "--request-timeout=1s"];

/// With the limits that people run with: the killed agent's connection counts as alive for 15 seconds more.
#[tokio::test]
async fn kubectl_in_a_loop_works_again_soon_after_its_agent_is_back() -> Result<()> {
    let Some(cluster) = Cluster::shared_or_skip("kubectl while its agent is away").await else {
        return Ok(());
    };
    grant(cluster, "gitlab:ci_job", "cluster-admin").await?;
    let config = "ci_access: { projects: [{ id: acme/faults, access_as: { ci_job: {} } }] }";
    let builder = Tunnel::builder().agent(AGENT, config).cluster(cluster);
    let tunnel = builder.start().await?;
    let job = ["--project", "acme/faults", "--job-id", "4712"];
    let token = tunnel.job_token(&job).await?;
    let kubeconfig = tunnel.kubeconfig(&token, "").await?;
    let kubectl = tunnel.kubectl(&kubeconfig)?;
    // Fills the caches that kubectl keeps.
    kubectl.run(GET).await?;

    let agent = tunnel.agent(0);
    agent.kill();
    let output = kubectl.output(GET).await?;
    ensure!(!output.status.success(), "kubectl works without an agent");
    agent.start().await?;
    let connected = |line: &str| line.contains("connected to the server");
    agent.wait_for_line("the agent's return", connected).await?;
    let begin = Instant::now();
    let mut attempts = 1;
    let works = async {
        while !kubectl.output(GET).await?.status.success() {
            attempts += 1;
        }
        anyhow::Ok(())
    };
    within_time(Duration::from_secs(15), "kubectl to work", works).await??;
    let took = begin.elapsed();
    println!("agent back: kubectl works after {took:?}, attempt {attempts}");
    // An attempt that fails takes a second and a process; other tests load the machine.
    ensure!(took < Duration::from_secs(6), "{took:?}");
    Ok(())
}
