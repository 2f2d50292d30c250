//! Asking GitLab whose a token is: `GET /api/v4/job/allowed_agents` and, once a token, `GET /api/v4/job`.
//!
//! The first tells ids alone, and rules speak of paths: the second has the job's address, which holds the project's path.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ci_tunnel::config::value::Secret;
use http::header::HeaderName;
use serde::de::DeserializeOwned;

use super::answer::{Allowed, AllowedAnswer, JobAnswer};
use super::{Standing, shape};
use crate::authn::{Error, http as client};

/// One GitLab.
#[derive(Debug)]
pub(super) struct Gitlab {
    client: client::Client,
    url: String,
    /// What it calls itself in the addresses that it answers.
    own_url: String,
    /// Asks what only this server's rules need.
    for_rules: bool,
}

/// Why GitLab did not say whose a token is.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("it does not know the token")]
    Refused,
    #[error("{0}")]
    Unreachable(String),
    #[error("{0}")]
    Unusable(String),
    /// It found fault with the question.
    #[error("{0}")]
    Wrong(String),
}

impl Failure {
    pub(super) fn late(deadline: Duration) -> Self {
        Self::Unreachable(format!("no whole answer within {}s", deadline.as_secs()))
    }

    /// For metrics.
    fn label(&self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable(_) => "unreachable",
            Self::Unusable(_) | Self::Wrong(_) => "unusable",
        }
    }
}

/// How an ask ended, for metrics.
pub(super) fn label<T>(asked: &Result<T, Failure>) -> &'static str {
    asked.as_ref().err().map_or("good", Failure::label)
}

const JOB_TOKEN: HeaderName = HeaderName::from_static("job-token");

impl Gitlab {
    /// `for_rules`: what GitLab tells only by further endpoints is asked for too.
    pub(super) fn new(client: client::Client, url: &str, own_url: &str, for_rules: bool) -> Self {
        Self {
            for_rules,
            client,
            url: url.to_owned(),
            own_url: own_url.trim_end_matches('/').to_owned(),
        }
    }

    /// Whether `token` may be shown to this GitLab: one that names another would tell it that one's secret.
    pub(super) fn check_issuer(&self, token: &str, now: SystemTime) -> Result<(), Error> {
        let Some(claimed) = shape::claimed(token) else {
            return Ok(());
        };
        let own = |issuer: &String| {
            host(&self.own_url).eq_ignore_ascii_case(issuer)
                || host(&self.url).eq_ignore_ascii_case(issuer)
        };
        if !claimed.iss.as_ref().is_none_or(own) {
            return Err(Error::Malformed("it is a job token of another GitLab"));
        }
        if claimed.has_expired(now) {
            return Err(Error::Expired);
        }
        Ok(())
    }

    /// Whose `token` is; `known`: what it was before, whose job is not asked about again.
    pub(super) async fn ask(
        &self,
        token: &Secret,
        known: Option<&Standing>,
    ) -> Result<Allowed, Failure> {
        let allowed = self.get::<AllowedAnswer>("job/allowed_agents", token);
        let unusable = Failure::Unusable;
        if let Some(known) = known {
            let job = Arc::clone(&known.job);
            return allowed.await?.of(job).map_err(unusable);
        }
        let (allowed, job) = tokio::join!(allowed, self.get::<JobAnswer>("job", token));
        let job = job?.job(&self.own_url).map_err(unusable)?;
        let mut allowed = allowed?.of(Arc::new(job)).map_err(unusable)?;
        if self.for_rules {
            let details = self.details(token, &allowed).await?;
            allowed.job = Arc::new(allowed.job.with(details));
        }
        Ok(allowed)
    }

    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        token: &Secret,
    ) -> Result<T, Failure> {
        let url = format!("{}/api/v4/{path}", self.url);
        match self.client.get(&url, Some((JOB_TOKEN, token))).await {
            Ok(answer) => Ok(answer.value),
            // A firewall or a wrong route in front of GitLab says 403 and 404 too, and must end no job.
            Err(client::Error::Status { status: 401, .. }) => Err(Failure::Refused),
            Err(client::Error::Status {
                status: 403,
                own_words: true,
                ..
            }) => Err(Failure::Refused),
            Err(client::Error::Status { url, status, .. }) if status != 429 && status < 500 => {
                Err(Failure::Wrong(format!("{url}: answered {status}")))
            }
            Err(error @ client::Error::Unreachable { .. }) => {
                Err(Failure::Unreachable(error.to_string()))
            }
            Err(error) => Err(Failure::Unusable(error.to_string())),
        }
    }
}

/// The host of an address, without its port.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default();
    host.rsplit_once(':').map_or(host, |(host, _)| host)
}
