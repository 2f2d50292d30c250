//! What a job token looks like: enough to send GitLab nothing that cannot be one.
//!
//! `glcbt-` begins all since GitLab 16.9, after the instance's own prefix where it has one (`acme-glcbt-`). What follows is
//! a random text (`64_…`), or a JWT that names GitLab's host as its issuer and not an address, as ID tokens do.

use std::time::SystemTime;

use serde::Deserialize;

use crate::authn::{jwt, signed};

const MARK: &str = "glcbt-";
/// The longest prefix that an instance may set, with its hyphen.
const MAX_PREFIX: usize = 41;
const MAX_TOKEN: usize = 4096;
const MIN_SECRET: usize = 16;

/// What a JWT claims. Unverified: good for refusing to send it, for nothing else.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Claimed {
    pub(super) iss: Option<String>,
    pub(super) exp: Option<u64>,
}

/// Whether this can be a job token of some GitLab, and cannot be anything else that a method here knows.
pub(in crate::authn) fn is_job_token(token: &str) -> bool {
    let Some((prefix, secret)) = token.split_once(MARK) else {
        return false;
    };
    let dots = secret.bytes().filter(|byte| *byte == b'.').count();
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let prefixed = prefix.is_empty() || (prefix.ends_with('-') && prefix.len() <= MAX_PREFIX);
    prefixed
        // The header of any JWT begins so: `{"`.
        && !prefix.starts_with("eyJ")
        && prefix.bytes().all(word)
        && (MIN_SECRET..=MAX_TOKEN).contains(&secret.len())
        && secret.bytes().all(|byte| word(byte) || byte == b'.')
        && (dots == 0 || (dots == 2 && claimed(token).is_some()))
}

/// What a job token that is a JWT claims; none for the other kind.
pub(super) fn claimed(token: &str) -> Option<Claimed> {
    let (_, jwt) = token.split_once(MARK)?;
    let parts = jwt::parse(jwt).ok()?;
    if parts.signature.is_empty() {
        return None;
    }
    jwt::read(parts.claims)
}

impl Claimed {
    pub(super) fn has_expired(&self, now: SystemTime) -> bool {
        self.exp
            .is_some_and(|end| end + SKEW < signed::seconds(now))
    }
}

/// Clocks of GitLab and of this server may differ by so many seconds.
const SKEW: u64 = 300;

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    fn jwt(payload: &str) -> String {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.c2ln", part(r#"{"alg":"RS256"}"#), part(payload))
    }

    #[test]
    fn job_tokens_are_recognized() {
        let claims = r#"{"iss":"gitlab.example.com","exp":7,"sub":"gid://gitlab/Ci::Build/7"}"#;
        for token in [
            "glcbt-64_aBcDeFgHiJkLmNoPqRsT".to_owned(),
            "acme-glcbt-64_aBcDeFgHiJkLmNoPqRsT".to_owned(),
            format!("glcbt-{}", jwt(claims)),
            format!("acme-glcbt-{}", jwt(claims)),
        ] {
            assert!(is_job_token(&token), "{token}");
        }
        let claimed = claimed(&format!("glcbt-{}", jwt(claims))).unwrap();
        assert_eq!(claimed.iss.as_deref(), Some("gitlab.example.com"));
        assert!(claimed.has_expired(SystemTime::now()));
    }

    #[test]
    fn what_is_something_else_is_not_sent() {
        let id_token = jwt(r#"{"iss":"https://gitlab.example.com"}"#);
        let long = format!("glcbt-{}", "a".repeat(MAX_TOKEN + 1));
        for token in [
            "",
            "glcbt-",
            "glcbt-short",
            "glpat-aBcDeFgHiJkLmNoPqRsT",
            "64_aBcDeFgHiJkLmNoPqRsT",
            "glcbt-aBcDeFgHiJkLmNoPqRs!",
            "glcbt-aBcDeFgHiJkLmNoPqRs=",
            "glcbt-aBcDeFgHi.kLmNoPqRsT",
            "glcbt-aBcDeFgHi.kLmNoPqRsT.aBcDe",
            "acme.glcbt-aBcDeFgHiJkLmNoPqRsT",
            "acmeglcbt-aBcDeFgHiJkLmNoPqRsT",
            "eyJhbGciOi-glcbt-aBcDeFgHiJkLmNoPqRsT",
            id_token.as_str(),
            long.as_str(),
        ] {
            assert!(!is_job_token(token), "{token}");
        }
    }
}
