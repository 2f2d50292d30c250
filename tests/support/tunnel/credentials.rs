//! What a job gets from the server: tokens and KUBECONFIGs.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::{Tunnel, files};
use crate::client::{Client, Http};
use crate::cluster::{Kubectl, binaries};
use crate::process::in_path;

impl Tunnel {
    /// A job token for the job that flags of `job-token issue` describe.
    pub async fn job_token(&self, job: &[&str]) -> Result<String> {
        let arguments = [&["job-token", "issue"], job].concat();
        Ok(self.cli(&arguments).await?.trim().to_owned())
    }

    /// Asks the server for the KUBECONFIG of a job and writes it to a file. The context is that of the tunnel's first
    /// agent, unless the query names another.
    pub async fn kubeconfig(&self, token: &str, query: &str) -> Result<PathBuf> {
        let context = match (query.contains("context="), self.names.first()) {
            (false, Some(name)) => format!("context={name}&"),
            _ => String::new(),
        };
        let client = self.client(token)?;
        let response = client.get(&format!("/kubeconfig?{context}{query}")).await?;
        let text = String::from_utf8(response.body().to_vec())?;
        ensure!(
            response.status().is_success(),
            "/kubeconfig: {} {text}",
            response.status()
        );
        let file = self.temp("kubeconfig");
        files::write_secret(&file, &text)?;
        Ok(file)
    }

    /// `kubectl` with this KUBECONFIG.
    pub fn kubectl(&self, kubeconfig: &Path) -> Result<Kubectl> {
        self.program("kubectl", kubeconfig)
    }

    /// `helm` with this KUBECONFIG.
    pub fn helm(&self, kubeconfig: &Path) -> Result<Kubectl> {
        self.program("helm", kubeconfig)
    }

    /// A client of the Kubernetes API front, over HTTP/1.1, with this bearer token.
    pub fn client(&self, token: &str) -> Result<Client> {
        Client::new(self.api_addr(), self.ca_pem(), Http::One, token)
    }

    /// A client of the Kubernetes API front that sends what `kubectl` would with this KUBECONFIG.
    pub fn client_of(&self, kubeconfig: &Path, http: Http) -> Result<Client> {
        let token = bearer(kubeconfig)?;
        Client::new(self.api_addr(), self.ca_pem(), http, &token)
    }

    fn program(&self, name: &str, kubeconfig: &Path) -> Result<Kubectl> {
        let program = match (in_path(name), binaries()) {
            (_, Ok(assets)) => assets.bin(name),
            (Some(program), Err(_)) => program,
            (None, Err(missing)) => return Err(missing.into()),
        };
        Ok(Kubectl::new(program, kubeconfig, &self.folder.path("home")))
    }
}

/// The token of a KUBECONFIG's current context.
fn bearer(kubeconfig: &Path) -> Result<String> {
    let text = std::fs::read_to_string(kubeconfig).context("the KUBECONFIG")?;
    let file: serde_json::Value = serde_yaml::from_str(&text)?;
    let named = |list: &str, name: &serde_json::Value| {
        let entries = file[list].as_array().into_iter().flatten();
        let mut entries = entries.filter(|entry| entry["name"] == *name);
        entries
            .next()
            .cloned()
            .with_context(|| format!("no {name} in {list}"))
    };
    let context = named("contexts", &file["current-context"])?;
    let user = named("users", &context["context"]["user"])?;
    let token = user["user"]["token"].as_str();
    Ok(token.context("its user has no token")?.to_owned())
}
