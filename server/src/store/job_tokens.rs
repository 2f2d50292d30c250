//! Job tokens that this server issued, and tokens of any kind that are void before their time.

use std::time::SystemTime;

use super::{Error, JobTokenRecord, Revocation, Store};

impl Store {
    /// Notes an issued job token, so that it can be listed and revoked.
    ///
    /// # Errors
    /// The store fails.
    pub async fn record_job_token(&self, token: &JobTokenRecord) -> Result<(), Error> {
        self.backend.insert_job_token(token).await
    }

    /// The job tokens issued here, the latest first. Ended ones leave the list after a month.
    ///
    /// # Errors
    /// The store fails.
    pub async fn job_tokens(&self) -> Result<Vec<JobTokenRecord>, Error> {
        self.backend.job_tokens().await
    }

    /// # Errors
    /// The store fails.
    pub async fn job_token(&self, jti: &str) -> Result<Option<JobTokenRecord>, Error> {
        self.backend.job_token(jti).await
    }

    /// Makes a token, and all that descends from it, void. `until`: when all of it has ended anyway.
    ///
    /// # Errors
    /// The store fails.
    pub async fn revoke_job_token(&self, jti: &str, until: SystemTime) -> Result<(), Error> {
        let revocation = Revocation {
            jti: jti.to_owned(),
            until,
        };
        self.backend.insert_revocation(&revocation).await?;
        self.changed().await;
        Ok(())
    }

    /// # Errors
    /// The store fails.
    pub async fn revocations(&self) -> Result<Vec<Revocation>, Error> {
        self.backend.revocations().await
    }
}
