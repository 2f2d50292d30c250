use std::collections::HashSet;
use std::time::Duration;

use anyhow::Result;
use ci_tunnel_tests::apiserver::ApiServer;

use super::{Front, Runner, Wire, run_all};
use crate::hostile_cases::{all, controls, credentials, framing, heads, identity, paths, upgrades};

/// The bare stand-in, which protects nothing but by its token.
fn bare(api: &ApiServer) -> Front<'_> {
    Front {
        addr: api.addr(),
        ca_pem: api.ca_pem(),
        token: api.token(),
        other_agent_token: "another",
        head_timeout: Duration::from_secs(1),
        api,
    }
}

#[tokio::test]
async fn the_runner_catches_a_front_that_protects_nothing() -> Result<()> {
    let api = ApiServer::start().await?;
    let front = bare(&api);
    let runner = Runner::new(&front).await?;
    let unprotected = [
        credentials::cases(),
        identity::forged(),
        identity::dropped(),
        paths::ambiguous(),
        upgrades::second_requests(),
    ];
    for case in unprotected.iter().flatten() {
        assert!(
            runner.run(case).await.is_err(),
            "{} was not caught",
            case.name
        );
    }
    Ok(())
}

/// The same HTTP library serves the stand-in and the real front.
#[tokio::test]
async fn the_http_library_passes_the_honest_and_refuses_the_malformed() -> Result<()> {
    let api = ApiServer::start().await?;
    run_all(&bare(&api), &controls()).await?;
    run_all(&bare(&api), &framing::parsed()).await?;
    let mut heads = heads::cases();
    heads.retain(|case| !matches!(case.wire, Wire::H1Silence(_)));
    run_all(&bare(&api), &heads).await
}

#[test]
fn every_case_has_a_name_of_its_own() {
    let cases = all();
    let names: HashSet<_> = cases.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), cases.len());
}
