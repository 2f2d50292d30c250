//! Tokens that `kube` has or fetches: credential plugins, providers, and tokens in the file itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderValue, Request, Response, header};
use http_body_util::Empty;
use kube::client::{AuthError, ConfigExt};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Layer, ServiceExt};

use crate::upstream::credentials::Error;

type Probe = Request<Empty<bytes::Bytes>>;

/// A credential plugin: run by `kube` when its last answer expires.
#[derive(Clone)]
pub struct Plugin {
    file: PathBuf,
    service: BoxCloneSyncService<Probe, Response<Option<HeaderValue>>, BoxError>,
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

impl Plugin {
    /// What gives `config`'s token, if it has one. A plugin runs meanwhile.
    pub(super) fn of(file: &Path, config: &kube::Config) -> Result<Option<Self>, Error> {
        let layer = config.auth_layer().map_err(|error| match error {
            kube::Error::Auth(error) => auth_error(file, &error),
            other => failed(file, other.to_string()),
        })?;
        let read = |request: Probe| {
            let header = request.headers().get(header::AUTHORIZATION).cloned();
            std::future::ready(Ok::<_, BoxError>(Response::new(header)))
        };
        Ok(layer.map(|layer| Self {
            file: file.to_owned(),
            service: BoxCloneSyncService::new(layer.layer(tower::service_fn(read))),
        }))
    }

    /// The header for one request.
    pub(in crate::upstream) async fn header(&self) -> Result<HeaderValue, Error> {
        let answer = self
            .service
            .clone()
            .oneshot(Request::new(Empty::new()))
            .await;
        let answer = answer.map_err(|error| match error.downcast_ref() {
            Some(error) => auth_error(&self.file, error),
            None => failed(&self.file, error.to_string()),
        })?;
        let header = answer.into_body();
        header.ok_or_else(|| failed(&self.file, "gave no token".to_owned()))
    }

    pub(in crate::upstream) fn timed_out(&self, deadline: Duration) -> Error {
        failed(
            &self.file,
            format!("gave no answer in {} s", deadline.as_secs()),
        )
    }
}

/// `kube`'s own text of a failed plugin holds the command's environment and everything it printed, tokens included.
fn auth_error(file: &Path, error: &AuthError) -> Error {
    failed(
        file,
        match error {
            AuthError::AuthExecRun { status, .. } => format!("the command failed with {status}"),
            AuthError::AuthExecParse(_) => "the command printed no ExecCredential".to_owned(),
            other => other.to_string(),
        },
    )
}

fn failed(file: &Path, reason: String) -> Error {
    Error::Plugin {
        file: file.to_owned(),
        reason,
    }
}
