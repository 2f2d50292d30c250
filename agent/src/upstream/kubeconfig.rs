//! A kubeconfig: for an agent beside its cluster. Credential plugins and their refresh are the `kube` crate's.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, Response, header};
use http_body_util::Empty;
use kube::client::ConfigExt;
use kube::config::{AuthInfo, Cluster, KubeConfigOptions, Kubeconfig};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Layer, ServiceExt};

use super::credentials::{Authorization, Endpoint, Error, Loaded};
use super::tls;

/// A kubeconfig file, and the context to take from it: its current one when none is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    pub file: PathBuf,
    pub context: Option<String>,
}

type Probe = Request<Empty<bytes::Bytes>>;

/// A credential plugin: run by `kube` when its last answer expires.
#[derive(Clone)]
pub struct Plugin {
    file: PathBuf,
    service: BoxCloneSyncService<Probe, Response<Option<HeaderValue>>, BoxError>,
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
        let kubeconfig = Kubeconfig::read_from(&self.file)
            .map_err(|error| self.unusable("kubeconfig", &error))?;
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
        Ok(Endpoint {
            host,
            port: url.port_u16().unwrap_or(port),
            server_name,
            prefix: url.path().trim_end_matches('/').to_owned(),
        })
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
        let layer = config
            .auth_layer()
            .map_err(|error| plugin_error(&self.file, &error))?;
        let Some(layer) = layer else {
            return Ok(Authorization::None);
        };
        let read = |request: Probe| {
            let header = request.headers().get(header::AUTHORIZATION).cloned();
            std::future::ready(Ok::<_, BoxError>(Response::new(header)))
        };
        let service = layer.layer(tower::service_fn(read));
        Ok(Authorization::Plugin(Plugin {
            file: self.file.clone(),
            service: BoxCloneSyncService::new(service),
        }))
    }

    fn unusable(&self, field: &'static str, reason: &dyn std::fmt::Display) -> Error {
        Error::Unusable {
            field,
            file: self.file.clone(),
            reason: reason.to_string(),
        }
    }
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

impl Plugin {
    pub(super) async fn header(&self) -> Result<HeaderValue, Error> {
        let answer = self
            .service
            .clone()
            .oneshot(Request::new(Empty::new()))
            .await;
        let header =
            answer.map_err(
                |error| match error.downcast_ref::<kube::client::AuthError>() {
                    Some(error) => auth_error(&self.file, error),
                    None => Error::Plugin {
                        file: self.file.clone(),
                        reason: error.to_string(),
                    },
                },
            )?;
        header.into_body().ok_or_else(|| Error::Plugin {
            file: self.file.clone(),
            reason: "gave no token".to_owned(),
        })
    }

    pub(super) fn timed_out(&self, deadline: Duration) -> Error {
        Error::Plugin {
            file: self.file.clone(),
            reason: format!("gave no answer in {} s", deadline.as_secs()),
        }
    }
}

fn plugin_error(file: &std::path::Path, error: &kube::Error) -> Error {
    match error {
        kube::Error::Auth(error) => auth_error(file, error),
        other => Error::Plugin {
            file: file.to_owned(),
            reason: other.to_string(),
        },
    }
}

/// `kube`'s own text of a failed plugin holds the command's environment and everything it printed, tokens included.
fn auth_error(file: &std::path::Path, error: &kube::client::AuthError) -> Error {
    let reason = match error {
        kube::client::AuthError::AuthExecRun { status, .. } => {
            format!("the command failed with {status}")
        }
        kube::client::AuthError::AuthExecParse(_) => {
            "the command printed no ExecCredential".to_owned()
        }
        other => other.to_string(),
    };
    Error::Plugin {
        file: file.to_owned(),
        reason,
    }
}
