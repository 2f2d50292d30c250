//! The ready-made pieces for CI systems (`docs/ci/`): the lines of their scripts as those systems run them, against a
//! server that takes the tokens of stand-in issuers, with the real `kubectl` and `helm`.

mod github;
mod gitlab;
mod pages;
mod script;

use std::path::Path;

use anyhow::{Context as _, Result};
use ci_tunnel_tests::cluster::Cluster;
use ci_tunnel_tests::issuer::Issuer;
use ci_tunnel_tests::tunnel::{Tunnel, grant};
use serde_json::json;

use script::Ran;

const AGENT: &str = "acme/infra:prod";

/// A tunnel to the real cluster whose server takes the tokens of one issuer.
struct Place {
    issuer: Issuer,
    tunnel: Tunnel,
    /// For whatever a job keeps; also holds the CAs that its `curl` trusts.
    folder: tempfile::TempDir,
}

impl Place {
    /// `None`, said aloud, where there can be no cluster.
    async fn get(test: &str, issuer: Issuer) -> Result<Option<Self>> {
        let Some(cluster) = Cluster::shared_or_skip(test).await else {
            return Ok(None);
        };
        let folder = tempfile::tempdir()?;
        let provider = issuer.provider("ci", &issuer.ca_file(folder.path())?);
        let config =
            "ci_access: { groups: [{ id: acme, refs: [main], access_as: { ci_job: {} } }] }";
        let tunnel = Tunnel::builder()
            .server_yaml(&json!({"authn": {"providers": [provider]}}).to_string())
            .agent(AGENT, config)
            .cluster(cluster)
            .start()
            .await?;
        let trusted = tunnel.ca_pem().to_owned() + issuer.ca_pem();
        std::fs::write(folder.path().join("ca.pem"), trusted)?;
        Ok(Some(Self {
            issuer,
            tunnel,
            folder,
        }))
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// What the jobs' files name.
    fn server(&self) -> String {
        format!("https://localhost:{}", self.tunnel.api_addr().port())
    }

    /// What the operator is told of a refused job: the request that its log names.
    async fn explained(&self, ran: &Ran) -> Result<String> {
        let (_, rest) = ran
            .all()
            .split_once("(request ")
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .context("a request id")?;
        let (id, _) = rest.split_once(')').context("a request id")?;
        self.tunnel
            .audited(|line| line["request_id"] == *id)
            .await?;
        let (code, text) = self.tunnel.cli_ran(&["explain", "--request", id]).await?;
        assert_eq!(code, Some(1), "{text}");
        Ok(text)
    }
}

/// Every job of the provider may read what a release needs.
async fn allow(cluster: &Cluster, group: &str) -> Result<()> {
    grant(cluster, group, "edit").await
}
