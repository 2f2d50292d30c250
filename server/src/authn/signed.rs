//! The tokens that this server signs for itself: JWTs with a random key of its own, everything about them pinned.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::{Error, JobCredential, TokenId, jwt};
use crate::identity::{AgentId, JobIdentity};
use crate::store::SecretKey;

/// `iss` of every token of ours. Not an address: no OIDC issuer can have it.
pub(super) const ISSUER: &str = "ci-tunnel";

/// Signs and verifies one kind of token.
pub(super) struct Signer {
    /// `typ` of the header: what the token is, so that no kind passes for another.
    typ: &'static str,
    audience: &'static str,
    sign: EncodingKey,
    verify: DecodingKey,
}

/// What a token of ours says. Times are seconds since 1970 UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Claims {
    pub(super) iss: String,
    pub(super) aud: String,
    pub(super) jti: TokenId,
    pub(super) iat: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) nbf: Option<u64>,
    pub(super) exp: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) agent: Option<AgentId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) parents: Vec<TokenId>,
    /// Who vouched for the job: the issuer of its ID token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) vouched_by: Option<String>,
    pub(super) job: JobIdentity,
}

/// All that a header of ours holds. Key hints (`jwk`, `jku`, `x5u`, `kid`) and `crit` are refused by their mere presence.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StrictHeader {
    alg: String,
    typ: String,
}

impl Signer {
    pub(super) fn new(typ: &'static str, audience: &'static str, key: &SecretKey) -> Self {
        let (sign, verify) = (
            EncodingKey::from_secret(key.expose()),
            DecodingKey::from_secret(key.expose()),
        );
        Self {
            typ,
            audience,
            sign,
            verify,
        }
    }

    /// Claims for a new token, from `now` to `end`.
    pub(super) fn claims(&self, job: &JobIdentity, now: SystemTime, end: SystemTime) -> Claims {
        Claims {
            iss: ISSUER.to_owned(),
            aud: self.audience.to_owned(),
            jti: TokenId(format!("{:032x}", rand::random::<u128>())),
            iat: seconds(now),
            nbf: None,
            exp: seconds(end),
            agent: None,
            parents: Vec::new(),
            vouched_by: None,
            // The end is `exp` alone: two could disagree.
            job: JobIdentity {
                expires_at: None,
                ..job.clone()
            },
        }
    }

    pub(super) fn sign(
        &self,
        claims: &Claims,
    ) -> Result<JobCredential, jsonwebtoken::errors::Error> {
        let header = Header {
            typ: Some(self.typ.to_owned()),
            ..Header::new(Algorithm::HS256)
        };
        let token = jsonwebtoken::encode(&header, claims, &self.sign)?;
        JobCredential::new(&token).map_err(|_| ErrorKind::InvalidToken.into())
    }

    /// What `token` says, when it is one of ours, of this kind, and `now` is in its time.
    pub(super) fn verify(&self, token: &str, now: SystemTime) -> Result<Claims, Error> {
        self.check_header(token)?;
        let claims = jsonwebtoken::decode::<Claims>(token, &self.verify, &self.validation())
            .map_err(|error| refusal(error.kind()))?
            .claims;
        let now = seconds(now);
        if claims.exp <= now {
            Err(Error::Expired)
        } else if claims.nbf.is_some_and(|begin| begin > now) {
            Err(Error::NotYetValid)
        } else {
            Ok(claims)
        }
    }

    fn check_header(&self, token: &str) -> Result<(), Error> {
        let parts = jwt::parse(token).map_err(|malformed| Error::Malformed(malformed.0))?;
        let header: StrictHeader =
            jwt::read(parts.header).ok_or(Error::Malformed("its header is not ours"))?;
        if header.alg != "HS256" {
            return Err(Error::Malformed("its algorithm is not HS256"));
        }
        if header.typ != self.typ {
            return Err(Error::Malformed("its type is not that of its audience"));
        }
        Ok(())
    }

    /// Times are judged by the caller's clock, so not here; that there is an `exp` at all is.
    fn validation(&self) -> Validation {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[self.audience]);
        validation.set_required_spec_claims(&["iss", "aud", "exp"]);
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation
    }
}

impl Claims {
    pub(super) fn expires_at(&self) -> SystemTime {
        UNIX_EPOCH
            .checked_add(Duration::from_secs(self.exp))
            .unwrap_or(UNIX_EPOCH)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("typ", &self.typ)
            .finish_non_exhaustive()
    }
}

/// The audience that `token` claims to be for, if it claims to be ours at all. Unverified: good for choosing how to
/// verify, for nothing else.
pub(super) fn claimed_audience(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Peek {
        iss: String,
        aud: String,
    }
    let peek: Peek = jwt::claimed(token)?;
    (peek.iss == ISSUER).then_some(peek.aud)
}

/// The end of a token's time by its own, unverified word.
pub(super) fn claimed_end(token: &str) -> Option<u64> {
    #[derive(Deserialize)]
    struct Peek {
        exp: u64,
    }
    jwt::claimed::<Peek>(token).map(|peek| peek.exp)
}

fn refusal(kind: &ErrorKind) -> Error {
    match kind {
        ErrorKind::InvalidSignature => Error::Signature,
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::Json(_) => {
            Error::Malformed("a claim is missing, unknown or of the wrong form")
        }
        ErrorKind::InvalidIssuer | ErrorKind::InvalidAudience => {
            Error::Malformed("it is of another issuer or for another audience")
        }
        _ => Error::Malformed("it is not a signed token"),
    }
}

pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
