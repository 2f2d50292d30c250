//! The API server, which tests may stop and start again at the same address.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use tokio::{
    sync::Mutex,
    time::{sleep, timeout},
};

use super::{Cluster, component::Component, kubectl::Kubectl, ports};

/// How to start it, and the running process if there is one.
#[derive(Debug)]
pub(super) struct Apiserver {
    program: PathBuf,
    args: Vec<String>,
    log: PathBuf,
    port: u16,
    running: Mutex<Option<Component>>,
}

impl Cluster {
    /// Kills the API server: its port refuses, open connections are reset.
    pub async fn stop_apiserver(&self) {
        self.apiserver.stop().await;
    }

    /// Starts the API server again at the same port, and returns when it is ready.
    pub async fn start_apiserver(&self) -> Result<()> {
        self.apiserver.start(&self.kubectl()).await
    }

    /// The process to send `SIGSTOP` to, for tests of an API server that hangs.
    pub async fn apiserver_pid(&self) -> Option<u32> {
        self.apiserver
            .running
            .lock()
            .await
            .as_ref()
            .map(Component::pid)
    }
}

impl Apiserver {
    pub(super) fn new(program: PathBuf, args: Vec<String>, log: PathBuf, port: u16) -> Self {
        Self {
            program,
            args,
            log,
            port,
            running: Mutex::new(None),
        }
    }

    pub(super) async fn start(&self, admin: &Kubectl) -> Result<()> {
        let mut running = self.running.lock().await;
        if running.is_some() {
            return Ok(());
        }
        self.wait_for_port().await?;
        let (args, log) = (&self.args, self.log.clone());
        let mut process = Component::spawn("kube-apiserver", &self.program, args, log)?;
        let ready = async || match admin.output(READY).await {
            Ok(output) => output.status.success(),
            Err(_) => false,
        };
        process.wait_until(READY_WITHIN, ready).await?;
        *running = Some(process);
        Ok(())
    }

    async fn stop(&self) {
        self.running.lock().await.take();
    }

    /// A short-lived connection of somebody else may have borrowed the port meanwhile.
    async fn wait_for_port(&self) -> Result<()> {
        let free = async {
            while !ports::is_free(self.port) {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(Duration::from_secs(10), free)
            .await
            .with_context(|| {
                format!(
                    "port {} of the API server: address already in use",
                    self.port
                )
            })
    }
}

const READY: [&str; 4] = ["get", "--raw", "/readyz", "--request-timeout=5s"];
const READY_WITHIN: Duration = Duration::from_secs(60);
