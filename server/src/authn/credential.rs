//! `Authorization: Bearer ci:<agent id>:<job credential>` → its parts. Nothing is judged here.

use std::fmt;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};

use crate::identity::AgentId;

/// The longest value of the header, in bytes. ID tokens with many groups come to some KiB.
pub const MAX_LENGTH: usize = 16 * 1024;

/// A job's credential, for one agent.
#[derive(Debug, Clone)]
pub struct Credential {
    pub agent: AgentId,
    pub job: JobCredential,
}

/// What proves which job it is: a token of some kind. Only [`JobCredential::expose`] shows it.
#[derive(Clone)]
pub struct JobCredential(String);

/// Why a request carries no credential that could be judged. Never holds a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "the Authorization header is garbled: {0}; it must be `Bearer ci:<agent id>:<job credential>`"
    )]
    Garbled(&'static str),
    #[error(
        "the request has no Authorization header: send `Authorization: Bearer ci:<agent id>:<job credential>`"
    )]
    Missing,
    #[error(
        "send `Authorization: Bearer <the job's ID token>`: {0}; is the variable that holds the token set in this job?"
    )]
    NoToken(&'static str),
    #[error("the request has several Authorization headers: send exactly one")]
    Several,
    #[error("the Authorization header is longer than {MAX_LENGTH} bytes")]
    TooLong,
    #[error(
        "personal access tokens (`pat:`) are not accepted: use a job's credential, `ci:<agent id>:<job credential>`"
    )]
    UnsupportedKind,
}

impl Credential {
    /// What the request's headers carry for an agent.
    ///
    /// # Errors
    /// There is no such header, more than one, or its value has another form.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, Error> {
        let value = bearer(headers)?;
        let mut parts = value.splitn(3, ':');
        match (parts.next(), parts.next(), parts.next()) {
            (Some("ci"), Some(agent), Some(job)) => Ok(Self {
                agent: agent
                    .parse()
                    .map_err(|_| Error::Garbled("the agent id is not a whole number over 0"))?,
                job: JobCredential::new(job)?,
            }),
            (Some("pat"), Some(_), _) => Err(Error::UnsupportedKind),
            (Some("ci"), ..) => Err(Error::Garbled("the job credential is missing")),
            _ => Err(Error::Garbled("the token does not begin with `ci:`")),
        }
    }
}

impl JobCredential {
    /// # Errors
    /// `text` is empty, too long, or has other characters than a header's token may have.
    pub fn new(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            Err(Error::Garbled("the job credential is empty"))
        } else if text.len() > MAX_LENGTH {
            Err(Error::TooLong)
        } else if text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::Garbled(
                "the job credential has spaces, control or non-ASCII characters",
            ))
        }
    }

    /// What a request that is for no agent carries: `Authorization: Bearer <job credential>`.
    ///
    /// # Errors
    /// There is no such header, more than one, or its value has another form.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, Error> {
        let token = bearer(headers).and_then(Self::new);
        token.map_err(|error| match error {
            Error::Missing => Error::NoToken("there is no Authorization header"),
            Error::Garbled(why) => Error::NoToken(why),
            other => other,
        })
    }

    pub fn expose(&self) -> &str {
        &self.0
    }

    /// By what a cache knows the credential, so that it holds none.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }
}

impl fmt::Debug for JobCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JobCredential(***)")
    }
}

/// The token of the only `Authorization` header.
fn bearer(headers: &HeaderMap) -> Result<&str, Error> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Error::Missing)?;
    if values.next().is_some() {
        return Err(Error::Several);
    }
    if value.len() > MAX_LENGTH {
        return Err(Error::TooLong);
    }
    let value = value
        .to_str()
        .map_err(|_| Error::Garbled("it has control or non-ASCII characters"))?;
    let (scheme, token) = value
        .split_once(' ')
        .ok_or(Error::Garbled("no token follows the scheme"))?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Error::Garbled("its scheme is not Bearer"));
    }
    Ok(token.trim_matches(' '))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        values
            .iter()
            .map(|value| {
                (
                    AUTHORIZATION,
                    HeaderValue::from_bytes(value.as_bytes()).unwrap(),
                )
            })
            .collect()
    }

    fn parse(value: &str) -> Result<(u64, String), Error> {
        let credential = Credential::from_headers(&headers(&[value]))?;
        Ok((credential.agent.0, credential.job.expose().to_owned()))
    }

    #[test]
    fn reads_what_gitlab_writes() {
        for (value, agent, job) in [
            ("Bearer ci:7:glcbt-64_x", 7, "glcbt-64_x"),
            ("bearer ci:7:x", 7, "x"),
            ("BEARER  ci:18446744073709551615:a.b.c ", u64::MAX, "a.b.c"),
            ("Bearer ci:7:with:colons:", 7, "with:colons:"),
        ] {
            assert_eq!(parse(value), Ok((agent, job.to_owned())), "{value}");
        }
    }

    #[test]
    fn refuses_the_rest_without_repeating_it() {
        for value in [
            "",
            "Bearer",
            "Bearer ",
            "Basic ci:7:s3cret",
            "Bearer s3cret",
            "Bearer ci",
            "Bearer ci:",
            "Bearer ci:7",
            "Bearer ci:7:",
            "Bearer ci::s3cret",
            "Bearer ci:0:s3cret",
            "Bearer ci:07:s3cret",
            "Bearer ci:+7:s3cret",
            "Bearer ci:-7:s3cret",
            "Bearer ci: 7:s3cret",
            "Bearer ci:18446744073709551616:s3cret",
            "Bearer CI:7:s3cret",
            "Bearer ci:7:s3cret s3cret",
            "Bearer ci:7:s3cret\t",
            "Bearer ci:7:s3crét",
            "Bearer,ci:7:s3cret",
            "Bearer user:7:s3cret",
        ] {
            let error = parse(value).unwrap_err();
            assert!(matches!(error, Error::Garbled(_)), "{value}: {error}");
            assert!(!error.to_string().contains("s3cr"), "{error}");
        }
        assert_eq!(parse("Bearer pat:7:s3cret"), Err(Error::UnsupportedKind));
    }

    #[test]
    fn wants_exactly_one_header() {
        assert_eq!(
            Credential::from_headers(&headers(&[])).unwrap_err(),
            Error::Missing
        );
        let twice = headers(&["Bearer ci:7:a", "Bearer ci:7:a"]);
        assert_eq!(
            Credential::from_headers(&twice).unwrap_err(),
            Error::Several
        );
    }

    #[test]
    fn is_bounded() {
        let start = "Bearer ci:7:";
        let longest = format!("{start}{}", "x".repeat(MAX_LENGTH - start.len()));
        assert!(parse(&longest).is_ok());
        assert_eq!(parse(&format!("{longest}x")), Err(Error::TooLong));
        assert_eq!(
            JobCredential::new(&"x".repeat(MAX_LENGTH + 1)).unwrap_err(),
            Error::TooLong
        );
    }

    #[test]
    fn without_an_agent_it_is_the_job_credential_alone() {
        let job = JobCredential::from_headers(&headers(&["Bearer a.b.c"])).unwrap();
        assert_eq!(job.expose(), "a.b.c");
        for empty in [&["Bearer"][..], &["Bearer  "], &[]] {
            let error = JobCredential::from_headers(&headers(empty)).unwrap_err();
            assert!(matches!(error, Error::NoToken(_)), "{error}");
        }
    }

    #[test]
    fn debug_is_masked() {
        let credential = Credential::from_headers(&headers(&["Bearer ci:7:s3cret"])).unwrap();
        assert_eq!(
            format!("{credential:?}"),
            "Credential { agent: AgentId(7), job: JobCredential(***) }"
        );
    }
}
