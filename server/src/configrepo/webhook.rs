//! Webhooks of GitLab and GitHub: whose secret signed one, and which project and branch it is about.

use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ci_tunnel::config::value::Secret;
use serde::Deserialize;
use subtle::ConstantTimeEq as _;

use super::git::Pokes;
use crate::identity::ProjectPath;

/// The repositories that take webhooks. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Webhooks(Arc<Vec<Receiver>>);

/// A repository that takes webhooks.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) secrets: Vec<Secret>,
    pub(super) branch: Option<String>,
    pub(super) pokes: Pokes,
}

/// What proves where a webhook comes from. Each is as the header says it, and none where there is no such header.
#[derive(Debug, Clone, Copy, Default)]
pub struct Proof<'a> {
    /// `X-Gitlab-Token`: the secret itself.
    pub token: Option<&'a [u8]>,
    /// `X-Hub-Signature-256`: `sha256=` and the HMAC of the body, in hexadecimal.
    pub hub: Option<&'a [u8]>,
    /// `webhook-id`, `webhook-timestamp`, `webhook-signature`: the HMAC of the three and the body, after
    /// <https://www.standardwebhooks.com>.
    pub standard: Option<Standard<'a>>,
}

#[derive(Debug, Clone, Copy)]
pub struct Standard<'a> {
    pub id: &'a [u8],
    pub timestamp: &'a [u8],
    /// `v1,` and base64; several, separated by spaces, while a key is being replaced.
    pub signatures: &'a [u8],
}

/// Why a webhook is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the webhook is not signed with a secret that is known here")]
    Unsigned,
    #[error("the webhook's body is not JSON: let it be sent as application/json")]
    NotJson,
}

/// Why a secret is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a secret is shorter than {SHORTEST} bytes, or holds so short a key behind `whsec_`: take a longer one, as that of \
     `openssl rand -hex 32`"
)]
pub struct Weak;

/// Anybody could try all shorter ones.
const SHORTEST: usize = 16;

/// What GitLab and GitHub say of a push, as far as it matters here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Payload {
    #[serde(rename = "ref")]
    git_ref: Option<String>,
    project: Option<GitLabProject>,
    repository: Option<GitHubRepository>,
}

#[derive(Debug, Deserialize)]
struct GitLabProject {
    path_with_namespace: Option<String>,
    default_branch: Option<String>,
}

#[derive(Debug, Deserialize)]
struct GitHubRepository {
    full_name: Option<String>,
    default_branch: Option<String>,
}

/// What a webhook asks for.
#[derive(Debug, PartialEq, Eq)]
struct Notice {
    project: ProjectPath,
    /// The ref that was pushed to; none: something else happened.
    git_ref: Option<String>,
    default_branch: Option<String>,
}

impl Webhooks {
    pub(super) fn new(receivers: Vec<Receiver>) -> Self {
        Self(Arc::new(receivers))
    }

    /// Whether any can come.
    pub fn are_expected(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whether the proof is a secret itself, so that it needs no body.
    pub fn knows(&self, proof: &Proof<'_>) -> bool {
        let token = Proof {
            token: proof.token,
            ..Proof::default()
        };
        let knows = |receiver: &&Receiver| receiver.signed(&token, &[]);
        self.0.iter().filter(knows).count() > 0
    }

    /// Has the project read that a webhook is about, if it is read from one of the repositories whose secret signed it.
    /// A webhook that comes twice does no harm: the project is looked at once more.
    ///
    /// # Errors
    /// No secret known here signed it, or it is no webhook.
    pub fn take(&self, proof: &Proof<'_>, body: &[u8]) -> Result<(), Error> {
        let signed: Vec<_> = self
            .0
            .iter()
            .filter(|receiver| receiver.signed(proof, body))
            .collect();
        if signed.is_empty() {
            return Err(Error::Unsigned);
        }
        let payload = serde_json::from_slice::<Payload>(body).map_err(|_| Error::NotJson)?;
        let Some(notice) = payload.notice() else {
            return Ok(());
        };
        for receiver in signed {
            if receiver.wants(&notice) {
                receiver.pokes.poke(&notice.project);
            }
        }
        Ok(())
    }
}

impl Receiver {
    // Every secret is tried, so that the time tells nothing.
    fn signed(&self, proof: &Proof<'_>, body: &[u8]) -> bool {
        let fits = |secret: &Secret| fits(secret.expose(), proof, body);
        self.secrets.iter().filter(|secret| fits(secret)).count() > 0
    }

    /// Whether the push was to the branch that is read here.
    fn wants(&self, notice: &Notice) -> bool {
        let Some(pushed) = &notice.git_ref else {
            return true;
        };
        match self.branch.as_ref().or(notice.default_branch.as_ref()) {
            Some(branch) => pushed.strip_prefix("refs/heads/") == Some(branch),
            None => pushed.starts_with("refs/heads/"),
        }
    }
}

fn fits(secret: &str, proof: &Proof<'_>, body: &[u8]) -> bool {
    let token = proof.token.is_some_and(|token| {
        // Of one length, whatever was sent.
        let digest = |bytes: &[u8]| aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
        digest(token)
            .as_ref()
            .ct_eq(digest(secret.as_bytes()).as_ref())
            .into()
    });
    let hub = proof
        .hub
        .and_then(|value| hexadecimal(value.strip_prefix(b"sha256=")?));
    let hub = hub.is_some_and(|signature| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        hmac::verify(&key, body, &signature).is_ok()
    });
    let standard = proof
        .standard
        .is_some_and(|standard| standard.fits(secret, body));
    token | hub | standard
}

impl Standard<'_> {
    fn fits(&self, secret: &str, body: &[u8]) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &signing_key(secret));
        let mut signed = hmac::Context::with_key(&key);
        for part in [self.id, b".", self.timestamp, b".", body] {
            signed.update(part);
        }
        let signed = signed.sign();
        self.signatures
            .split(|byte| *byte == b' ')
            .any(|signature| {
                let signature = signature
                    .strip_prefix(b"v1,")
                    .and_then(|text| STANDARD.decode(text).ok());
                signature.is_some_and(|signature| signature.ct_eq(signed.as_ref()).into())
            })
    }
}

fn signing_key(secret: &str) -> Vec<u8> {
    let key = secret.strip_prefix("whsec_");
    match key.map(|key| STANDARD.decode(key)) {
        Some(Ok(key)) => key,
        _ => secret.as_bytes().to_vec(),
    }
}

/// Whether it is long enough, however it is used.
pub(super) fn check(secret: &Secret) -> Result<(), Weak> {
    let secret = secret.expose();
    if secret.len().min(signing_key(secret).len()) < SHORTEST {
        return Err(Weak);
    }
    Ok(())
}

fn hexadecimal(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    text.chunks(2).map(pair).collect()
}

impl Payload {
    fn notice(self) -> Option<Notice> {
        let (project, default_branch) = match (self.project, self.repository) {
            (
                Some(GitLabProject {
                    path_with_namespace: Some(path),
                    default_branch,
                }),
                _,
            ) => (path, default_branch),
            (
                _,
                Some(GitHubRepository {
                    full_name: Some(path),
                    default_branch,
                }),
            ) => (path, default_branch),
            _ => return None,
        };
        Some(Notice {
            project: project.parse().ok()?,
            git_ref: self.git_ref,
            default_branch,
        })
    }
}

#[cfg(test)]
mod tests;
