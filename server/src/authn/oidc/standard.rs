//! The claims that every ID token has: for whom it is, and when.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{Config, Error, shown};
use crate::authn::TokenId;
use crate::authn::signed::seconds;

/// So many audiences of a token are named in a message.
const SHOWN: usize = 3;
const LONGEST_ID: usize = 255;

/// That one of the token's audiences is one of those configured. Others may stand beside it: the token's holder chose
/// them all.
pub(super) fn check_audience(
    claims: &Map<String, Value>,
    config: &Config,
    provider: &str,
) -> Result<(), Error> {
    let audiences = audiences(claims)?;
    let ours = |audience: &&str| config.audiences.iter().any(|ours| ours == audience);
    if audiences.iter().any(ours) {
        return Ok(());
    }
    let found: Vec<_> = audiences
        .iter()
        .take(SHOWN)
        .map(|audience| shown(audience))
        .collect();
    let expected: Vec<_> = config
        .audiences
        .iter()
        .map(|audience| format!("{audience:?}"))
        .collect();
    Err(Error::Audience {
        provider: provider.to_owned(),
        found: found.join(", "),
        expected: expected.join(" or "),
    })
}

fn audiences(claims: &Map<String, Value>) -> Result<Vec<&str>, Error> {
    let found: Option<Vec<&str>> = match claims.get("aud") {
        Some(Value::String(audience)) => Some(vec![audience]),
        Some(Value::Array(audiences)) => audiences.iter().map(Value::as_str).collect(),
        _ => None,
    };
    match found {
        Some(found) if !found.is_empty() => Ok(found),
        _ => Err(Error::Malformed(
            "its `aud` is not an audience, nor a list of them",
        )),
    }
}

/// That `now` is in the token's time, give or take `clock_skew`. Until when it is good here, and when it ends itself.
pub(super) fn check_times(
    claims: &Map<String, Value>,
    clock_skew: Duration,
    now: SystemTime,
) -> Result<(SystemTime, SystemTime), Error> {
    let (now, skew) = (seconds(now), clock_skew.as_secs());
    let required = |name, why| time(claims, name)?.ok_or(Error::Malformed(why));
    let end = required("exp", "it has no `exp`")?;
    let issued = required("iat", "it has no `iat`")?;
    let begin = time(claims, "nbf")?.map_or(issued, |begin| begin.max(issued));
    let good_until = end
        .checked_add(skew)
        .ok_or(Error::Malformed("its `exp` is beyond all time"))?;
    if good_until <= now {
        return Err(Error::Expired {
            ago: Duration::from_secs(now - end),
        });
    }
    if begin > now.saturating_add(skew) {
        return Err(Error::NotYetValid {
            ahead: Duration::from_secs(begin - now),
        });
    }
    let at = |seconds| {
        SystemTime::UNIX_EPOCH
            .checked_add(Duration::from_secs(seconds))
            .ok_or(Error::Malformed("its `exp` is beyond all time"))
    };
    Ok((at(good_until)?, at(end)?))
}

/// Whole seconds since 1970.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, Error> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or(Error::Malformed(
            "one of `exp`, `nbf`, `iat` is not a whole number of seconds",
        )),
    }
}

/// By what the token can be revoked: its `jti`; where it has none, the hash of what is signed. (Of the signature too it
/// must not be: some kinds can be written in two ways.)
pub(super) fn token_id(claims: &Map<String, Value>, message: &str) -> TokenId {
    let fit = |jti: &&str| {
        (1..=LONGEST_ID).contains(&jti.len()) && jti.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let jti = claims.get("jti").and_then(Value::as_str).filter(fit);
    TokenId(jti.map_or_else(
        || format!("sha256:{:x}", Sha256::digest(message)),
        str::to_owned,
    ))
}
