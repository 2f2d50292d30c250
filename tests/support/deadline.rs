//! The deadline that every wait of the harness has, so that a test that hangs fails and says what it waited for.

use std::time::Duration;

use anyhow::{Context as _, Result};

/// How long a test waits for something that should happen at once.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// Waits for `future`, at most [`DEADLINE`].
pub async fn within<F: Future>(what: &str, future: F) -> Result<F::Output> {
    within_time(DEADLINE, what, future).await
}

/// Waits for `future`, at most `limit`.
pub async fn within_time<F: Future>(limit: Duration, what: &str, future: F) -> Result<F::Output> {
    tokio::time::timeout(limit, future)
        .await
        .with_context(|| format!("waited {limit:?} in vain for {what}"))
}
