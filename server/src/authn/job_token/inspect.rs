//! Asking a GitLab, on behalf of `check`, whether it is there.

use serde_json::Value;

use crate::authn::http::{BuildError, Error};
use crate::authn::provider;

/// Why a GitLab could not be asked about job tokens now.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    #[error(transparent)]
    Client(#[from] BuildError),
    #[error("job tokens: {0}")]
    Ask(#[from] Error),
    #[error("job tokens: {0}: answered without a token; is this a GitLab?")]
    Open(String),
}

/// The address that job tokens would be shown to, when it refuses to answer without one; none: no job tokens are taken.
pub async fn inspect(provider: &provider::Config) -> Option<Result<String, InspectError>> {
    provider.job_tokens.as_ref()?;
    let url = format!("{}/api/v4/job", provider.url());
    let ask = async {
        match provider.http()?.get::<Value>(&url, None).await {
            Err(Error::Status { status: 401, .. }) => Ok(url),
            Err(error) => Err(error.into()),
            Ok(_) => Err(InspectError::Open(url)),
        }
    };
    Some(ask.await)
}
