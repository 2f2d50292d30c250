//! How an agent is told of its API server.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::cluster::Cluster;

/// What goes into its file, and before its command line.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) upstream: Value,
    pub(super) environment: Vec<String>,
}

impl Told {
    /// `env`, which starts the agent, takes a command behind the variables.
    pub(super) fn through(mut self, command: &[String]) -> Self {
        self.environment.extend_from_slice(command);
        self
    }

    pub(super) fn kubeconfig(file: &Path) -> Self {
        Self {
            upstream: json!({"kubeconfig": file}),
            environment: Vec::new(),
        }
    }

    pub(super) fn service_account(cluster: &Cluster, directory: &Path) -> Result<Self> {
        let url = cluster.api_url();
        let address = url.trim_start_matches("https://").rsplit_once(':');
        let (host, port) = address.context("an API server without a port")?;
        Ok(Self {
            upstream: json!({"service_account_dir": directory}),
            environment: vec![
                format!("KUBERNETES_SERVICE_HOST={host}"),
                format!("KUBERNETES_SERVICE_PORT={port}"),
            ],
        })
    }
}
