//! The service account that Kubernetes mounts into a pod.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::credentials::{Authorization, Error, Loaded};
use super::endpoint::Endpoint;
use super::tls;

/// Where Kubernetes mounts it.
pub const DEFAULT_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Where the API server's host stands in a pod's environment.
pub const HOST_VARIABLE: &str = "KUBERNETES_SERVICE_HOST";
/// Where the API server's port stands in a pod's environment.
pub const PORT_VARIABLE: &str = "KUBERNETES_SERVICE_PORT";

/// A mounted service account, and the API server that the environment names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAccount {
    dir: PathBuf,
    host: String,
    port: u16,
}

impl ServiceAccount {
    /// Looks for the API server with `variable`, which reads the environment.
    pub fn find(
        dir: &Path,
        variable: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Self, Error> {
        let required = |name| {
            variable(name)
                .filter(|value| !value.is_empty())
                .ok_or(Error::NotInCluster { variable: name })
        };
        let port = required(PORT_VARIABLE)?;
        let port = port.parse().map_err(|_| Error::Address {
            variable: PORT_VARIABLE,
            reason: format!("{port:?} is not a port"),
        })?;
        Ok(Self {
            dir: dir.to_owned(),
            host: required(HOST_VARIABLE)?,
            port,
        })
    }

    pub(super) fn files(&self) -> Vec<PathBuf> {
        vec![self.token(), self.ca()]
    }

    pub(super) fn load(&self) -> Result<Loaded, Error> {
        let pem = tls::read("service account CA", &self.ca())?;
        let config = tls::trusting("service account CA", &self.ca(), &pem)?;
        let host = self.host.clone();
        let endpoint = Endpoint::new(host.clone(), self.port, Some(host), String::new());
        let bad_host = || Error::Address {
            variable: HOST_VARIABLE,
            reason: format!("{:?} is not a host", self.host),
        };
        Ok(Loaded {
            endpoint: endpoint.ok_or_else(bad_host)?,
            tls: Some(Arc::new(tls::finish(config, Some(pem)))),
            authorization: Authorization::Header(tls::bearer_file(
                "service account token",
                &self.token(),
            )?),
        })
    }

    fn token(&self) -> PathBuf {
        self.dir.join("token")
    }

    fn ca(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }
}
