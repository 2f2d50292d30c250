//! A kubeconfig: for an agent beside its cluster. Credential plugins and their refresh are the `kube` crate's.

mod plugin;

use std::path::PathBuf;
use std::sync::Arc;

use kube::client::ConfigExt;
use kube::config::{AuthInfo, Cluster, KubeConfigOptions, Kubeconfig, KubeconfigError};

use super::credentials::{Authorization, Error, Loaded};
use super::endpoint::Endpoint;
use super::tls;
pub use plugin::Plugin;

/// A kubeconfig file, and the context to take from it: its current one when none is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    pub file: PathBuf,
    pub context: Option<String>,
}

impl Selection {
    /// Loads the file and what it names. A plugin runs meanwhile, so this is done on a thread that may block.
    pub(super) async fn load(self) -> Result<Loaded, Error> {
        let file = self.file.clone();
        let runtime = tokio::runtime::Handle::current();
        let load = move || runtime.block_on(self.load_blocking());
        match tokio::task::spawn_blocking(load).await {
            Ok(loaded) => loaded,
            Err(panic) => Err(Error::Plugin {
                file,
                reason: panic.to_string(),
            }),
        }
    }

    /// The file, and the files it names: those that a rotation replaces.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let mut files = vec![self.file.clone()];
        if let Ok(config) = Kubeconfig::read_from(&self.file)
            && let Ok((cluster, user)) = self.select(&config)
        {
            let named = [
                &cluster.certificate_authority,
                &user.client_certificate,
                &user.client_key,
                &user.token_file,
            ];
            files.extend(named.into_iter().flatten().map(PathBuf::from));
        }
        files
    }

    async fn load_blocking(self) -> Result<Loaded, Error> {
        let kubeconfig =
            Kubeconfig::read_from(&self.file).map_err(|error| self.unreadable(error))?;
        let (cluster, user) = self.select(&kubeconfig)?;
        self.check(&cluster, &user)?;
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .map_err(|error| self.unusable("kubeconfig", &error))?;
        let endpoint = self.endpoint(&config)?;
        let tls = match &endpoint.server_name {
            Some(_) => Some(Arc::new(self.tls(&config, &cluster, &user)?)),
            None => None,
        };
        Ok(Loaded {
            endpoint,
            tls,
            authorization: self.authorization(&config, &user)?,
        })
    }

    fn select(&self, config: &Kubeconfig) -> Result<(Cluster, AuthInfo), Error> {
        let missing = |what: &str, name: &str| {
            self.unusable("kubeconfig", &format!("has no {what} {name:?}"))
        };
        let wanted = self
            .context
            .as_ref()
            .or(config.current_context.as_ref())
            .filter(|name| !name.is_empty());
        let wanted = wanted.ok_or_else(|| {
            self.unusable(
                "kubeconfig",
                &"has no current-context: name one in upstream.context",
            )
        })?;
        let context = config
            .contexts
            .iter()
            .find(|context| &context.name == wanted);
        let context = context
            .and_then(|context| context.context.as_ref())
            .ok_or_else(|| missing("context", wanted))?;
        let cluster = config
            .clusters
            .iter()
            .find(|cluster| cluster.name == context.cluster);
        let cluster = cluster.and_then(|cluster| cluster.cluster.clone());
        let cluster = cluster.ok_or_else(|| missing("cluster", &context.cluster))?;
        let Some(name) = &context.user else {
            return Ok((cluster, AuthInfo::default()));
        };
        let user = config
            .auth_infos
            .iter()
            .find(|user| &user.name == name)
            .and_then(|user| user.auth_info.clone());
        Ok((cluster, user.ok_or_else(|| missing("user", name))?))
    }

    /// What a kubeconfig may hold that the agent does not do is refused, not skipped.
    fn check(&self, cluster: &Cluster, user: &AuthInfo) -> Result<(), Error> {
        let refused = [
            (
                cluster.insecure_skip_tls_verify == Some(true),
                "insecure-skip-tls-verify",
                "is not supported: write certificate-authority or certificate-authority-data",
            ),
            (
                cluster.proxy_url.is_some(),
                "proxy-url",
                "is not supported: the agent needs a direct way to its API server",
            ),
            (
                user.username.is_some() || user.password.is_some(),
                "username",
                "basic authentication is not supported",
            ),
            (
                user.impersonate.is_some() || user.impersonate_groups.is_some(),
                "as",
                "is not supported: the server decides whom the agent impersonates",
            ),
        ];
        match refused.into_iter().find(|(found, ..)| *found) {
            Some((_, field, reason)) => Err(self.unusable(field, &reason)),
            None => Ok(()),
        }
    }

    fn endpoint(&self, config: &kube::Config) -> Result<Endpoint, Error> {
        let url = &config.cluster_url;
        let host = url
            .host()
            .ok_or_else(|| self.unusable("server", &"names no host"))?;
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let (server_name, port) = match url.scheme_str() {
            Some("https") => (
                Some(
                    config
                        .tls_server_name
                        .clone()
                        .unwrap_or_else(|| host.clone()),
                ),
                443,
            ),
            Some("http") => (None, 80),
            _ => {
                return Err(self.unusable(
                    "server",
                    &"must begin with https:// (or http://, for a local proxy)",
                ));
            }
        };
        let port = url.port_u16().unwrap_or(port);
        let prefix = url.path().trim_end_matches('/').to_owned();
        Endpoint::new(host, port, server_name, prefix)
            .ok_or_else(|| self.unusable("server", &"names no host"))
    }

    fn tls(
        &self,
        config: &kube::Config,
        cluster: &Cluster,
        user: &AuthInfo,
    ) -> Result<super::credentials::Tls, Error> {
        let made = config
            .rustls_client_config()
            .map_err(|error| self.unusable("kubeconfig", &error))?;
        if user.exec.is_some() {
            // A plugin may have given another client certificate: there is no telling.
            return Ok(tls::finish(made, None));
        }
        let mut inputs = Vec::new();
        let files = [
            &cluster.certificate_authority,
            &user.client_certificate,
            &user.client_key,
        ];
        for file in files.into_iter().flatten() {
            inputs.extend(std::fs::read(file).unwrap_or_default());
        }
        let texts = [
            cluster.certificate_authority_data.as_deref(),
            user.client_certificate_data.as_deref(),
        ];
        texts
            .into_iter()
            .flatten()
            .for_each(|text| inputs.extend_from_slice(text.as_bytes()));
        Ok(tls::finish(made, Some(inputs)))
    }

    fn authorization(
        &self,
        config: &kube::Config,
        user: &AuthInfo,
    ) -> Result<Authorization, Error> {
        let others = user.token.is_some() || user.exec.is_some() || user.auth_provider.is_some();
        if let (false, Some(file)) = (others, &user.token_file) {
            return Ok(Authorization::Header(tls::bearer_file(
                "tokenFile",
                file.as_ref(),
            )?));
        }
        let plugin = Plugin::of(&self.file, config)?;
        Ok(plugin.map_or(Authorization::None, Authorization::Plugin))
    }

    /// A parser's own message may quote the file, secrets included.
    fn unreadable(&self, error: KubeconfigError) -> Error {
        let KubeconfigError::Parse(error) = error else {
            return self.unusable("kubeconfig", &error);
        };
        let line = error.location().map_or(0, |location| location.line());
        self.unusable(
            "kubeconfig",
            &format!("is not a kubeconfig: look at line {line}"),
        )
    }

    fn unusable(&self, field: &'static str, reason: &dyn std::fmt::Display) -> Error {
        Error::Unusable {
            field,
            file: self.file.clone(),
            reason: reason.to_string(),
        }
    }
}
