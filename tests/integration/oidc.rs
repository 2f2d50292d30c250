//! ID tokens, with a stand-in GitLab and a stand-in GitHub at once: whose jobs get in and as whom, which tokens do not and
//! why, and what becomes of both while keys change and issuers are away.

mod attacks;
mod jobs;
mod keys;
mod outages;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use ci_tunnel_tests::client::{Client, Http, full};
use ci_tunnel_tests::deadline::within_time;
use ci_tunnel_tests::issuer::Issuer;
use http::Response;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::rig::Rig;

/// A server that takes the word of two issuers, and a stand-in API server behind its agent.
struct Bed {
    rig: Rig,
    gitlab: Issuer,
    github: Issuer,
    /// Holds the issuers' authorities.
    _files: TempDir,
}

/// The projects of GitLab, and one of GitHub that is called as one of GitLab's.
const CONFIG: &str = "
ci_access:
  projects:
  - id: acme/team/shop
    access_as: { ci_job: {} }
    environments: [staging, review/*]
  - id: acme/team/other
    access_as: { ci_job: {} }
    environments: [production]
  - id: acme/open
    access_as: { ci_job: {} }
  - id: acme/careful
    access_as: { ci_job: {} }
    protected_branches_only: true
  - id: acme/shop
    provider: github
    access_as: { ci_job: {} }
  groups:
  - id: group
    access_as: { ci_job: {} }
";

impl Bed {
    async fn start() -> Result<Self> {
        Self::with(json!({})).await
    }

    /// With these settings of both providers' `oidc`.
    async fn with(oidc: Value) -> Result<Self> {
        Self::of(Issuer::gitlab().await?, oidc).await
    }

    /// With this GitLab.
    async fn of(gitlab: Issuer, oidc: Value) -> Result<Self> {
        let (github, files) = (Issuer::github().await?, tempfile::tempdir()?);
        let provider = |name, issuer: &Issuer| -> Result<Value> {
            let mut provider = issuer.provider(name, &issuer.ca_file(files.path())?);
            for (key, value) in oidc.as_object().context("settings")? {
                provider["oidc"][key] = value.clone();
            }
            Ok(provider)
        };
        let mut providers = vec![provider("gitlab", &gitlab)?, provider("github", &github)?];
        // Only a GitLab has forks in this sense.
        providers[1]["oidc"]["forks"] = json!("deny");
        let yaml = json!({
            "authn": {"providers": providers},
            "config_repositories": [{"directory": "$REPOSITORIES", "provider": "gitlab"}],
            "limits": {"address": {"rejected_per_second": 1_000_000}},
        });
        let rig = Rig::configured(CONFIG, &yaml.to_string(), "").await?;
        Ok(Self {
            rig,
            gitlab,
            github,
            _files: files,
        })
    }

    fn client(&self, token: &str) -> Result<Client> {
        self.rig.client_as(Http::Two, &self.rig.bearer_of(token))
    }

    async fn get(&self, token: &str) -> Result<Response<Bytes>> {
        self.client(token)?.get("/small").await
    }

    /// Whom the API server takes the job for.
    async fn whoami(&self, token: &str) -> Result<Value> {
        let client = self.client(token)?;
        let review = json!({"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"});
        let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        let response = client.post(path, full(review.to_string())).await?;
        let body: Value = serde_json::from_slice(response.body())?;
        ensure!(response.status() == 201, "{}: {body}", response.status());
        Ok(body["status"]["userInfo"].clone())
    }

    /// That a token is refused with this code; the message.
    async fn refused(&self, token: &str, code: u16) -> Result<String> {
        let response = self.get(token).await?;
        let status: Value = serde_json::from_slice(response.body()).unwrap_or_default();
        let message = status["message"].as_str().unwrap_or_default().to_owned();
        ensure!(
            response.status() == code,
            "{} instead of {code}: {message}",
            response.status()
        );
        let again = response.headers().contains_key("retry-after");
        ensure!(again == (code == 503), "Retry-After of {code}");
        let asks = response.headers().contains_key("www-authenticate");
        ensure!(asks == (code == 401), "WWW-Authenticate of {code}");
        let signature = token.rsplit('.').next().unwrap_or_default();
        ensure!(
            signature.len() < 20 || !message.contains(signature),
            "the token is in {message}"
        );
        println!("{code}: {message}");
        Ok(message)
    }

    /// Waits until a request with this token has this code.
    async fn becomes(&self, token: &str, code: u16) -> Result<()> {
        let what = format!("an answer of {code}");
        let reached = async {
            while self.get(token).await?.status() != code {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            anyhow::Ok(())
        };
        within_time(Duration::from_secs(40), &what, reached).await?
    }
}
