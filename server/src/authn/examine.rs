//! A credential looked at by an operator: what it says of its job, also after its time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Authenticated, Authenticator, Error, JobCredential, TokenId, job_token, oidc, signed};

/// A credential whose signature is good.
#[derive(Debug)]
pub struct Examined {
    pub who: Authenticated,
    /// Why requests with it are refused all the same: it has expired, or it was revoked.
    pub problem: Option<Error>,
}

impl Authenticator {
    /// What `credential` says, judged as a request's would be, but for its end and revocations, which are told instead.
    /// The end of a job token is its GitLab's to tell, and so is then who had it.
    ///
    /// # Errors
    /// It was never good, or it can no longer be known whether it was.
    pub async fn examine(&self, credential: &JobCredential) -> Result<Examined, Error> {
        if job_token::is_job_token(credential.expose()) {
            let who = self.authenticate_job(credential).await?;
            return Ok(Examined {
                who: (*who).clone(),
                problem: None,
            });
        }
        let token = credential.expose();
        let who = match self.verify(token, SystemTime::now()).await {
            Err(Error::Expired | Error::IdToken(oidc::Error::Expired { .. })) => {
                self.verify(token, last_moment(token)?).await?
            }
            judged => judged?,
        };
        let problem = who.still_valid().err();
        Ok(Examined { who, problem })
    }

    /// Whether the token of this id was revoked.
    pub fn is_revoked(&self, token: &TokenId) -> bool {
        self.revocations.hold_any(std::iter::once(token))
    }
}

/// The last moment of a token's time, by its own word: that is verified with the rest of it.
fn last_moment(token: &str) -> Result<SystemTime, Error> {
    let exp = signed::claimed_end(token).ok_or(Error::Expired)?;
    let before = Duration::from_secs(exp.saturating_sub(1));
    UNIX_EPOCH.checked_add(before).ok_or(Error::Expired)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::Config;
    use crate::store::Store;

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn an_ended_token_still_says_whose_it_was() {
        let store = Store::in_memory().await.unwrap();
        let authenticator = Authenticator::new(Config::default(), store).await.unwrap();
        let job = serde_json::json!({"provider": "local", "project": {"path": "acme/shop"}});
        let job = serde_json::from_value(job).unwrap();
        let now = SystemTime::now();
        let claims = authenticator.local.claims(&job, now - 2 * HOUR, now - HOUR);
        let token = authenticator.local.sign(&claims).unwrap();
        let examined = authenticator.examine(&token).await.unwrap();
        assert_eq!(examined.who.identity.project.path.as_str(), "acme/shop");
        assert_eq!(examined.problem, Some(Error::Expired));

        let forged = format!("{}x", token.expose());
        let forged = JobCredential::new(&forged).unwrap();
        let refused = authenticator.examine(&forged).await.unwrap_err();
        assert_eq!(refused, Error::Signature);
    }
}
