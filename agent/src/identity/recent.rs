//! The identities of the requests that came lately, with the headers they became: nearly every request has the identity
//! of one shortly before it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use ci_tunnel::protocol::codec::Malformed;
use ci_tunnel::protocol::identity::{Impersonation, NotAHeader};
use http::header::{HeaderName, HeaderValue};

/// The headers of an identity.
pub(super) type Headers = Arc<Vec<(HeaderName, HeaderValue)>>;

/// Remembers identities by their very bytes.
#[derive(Debug, Default)]
pub struct Recent {
    /// The latest first.
    known: Mutex<VecDeque<Known>>,
}

#[derive(Debug)]
struct Known {
    encoded: Box<[u8]>,
    identity: Arc<Impersonation>,
    headers: Headers,
}

/// So many identities are remembered, and none that is longer in bytes.
const KEPT: usize = 32;
const MAX_LENGTH: usize = 16 * 1024;

impl Recent {
    /// As [`Impersonation::decode`].
    ///
    /// # Errors
    /// As there.
    pub fn decode(&self, encoded: Bytes) -> Result<Arc<Impersonation>, Malformed> {
        if let Some(known) = self.find(|known| *known.encoded == *encoded) {
            return Ok(known.0);
        }
        let identity = Arc::new(Impersonation::decode(encoded.clone())?);
        // Without headers it is refused later, with the reason.
        if encoded.len() <= MAX_LENGTH
            && let Ok(headers) = identity.headers()
        {
            let mut known = self.known();
            known.truncate(KEPT - 1);
            known.push_front(Known {
                encoded: (*encoded).into(),
                identity: Arc::clone(&identity),
                headers: Arc::new(headers),
            });
        }
        Ok(identity)
    }

    /// As [`Impersonation::headers`].
    ///
    /// # Errors
    /// As there.
    pub fn headers(&self, identity: &Arc<Impersonation>) -> Result<Headers, NotAHeader> {
        match self.find(|known| Arc::ptr_eq(&known.identity, identity)) {
            Some(known) => Ok(known.1),
            None => identity.headers().map(Arc::new),
        }
    }

    fn find(&self, is: impl Fn(&Known) -> bool) -> Option<(Arc<Impersonation>, Headers)> {
        let mut known = self.known();
        let at = known.iter().position(is)?;
        // One place nearer to the front each time: those that are asked for often stay.
        let at = if at > 0 {
            known.swap(at, at - 1);
            at - 1
        } else {
            at
        };
        let found = &known[at];
        Some((Arc::clone(&found.identity), Arc::clone(&found.headers)))
    }

    fn known(&self) -> MutexGuard<'_, VecDeque<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;

    fn encoded(name: &str) -> Bytes {
        let mut out = BytesMut::new();
        Impersonation {
            username: name.to_owned(),
            ..Impersonation::default()
        }
        .encode(&mut out);
        out.freeze()
    }

    #[test]
    fn gives_what_decoding_gives_and_remembers_few() {
        let recent = Recent::default();
        for round in 0..3 {
            for number in 0..2 * KEPT {
                let name = format!("job:{number}");
                let identity = recent.decode(encoded(&name)).unwrap();
                assert_eq!(identity.username, name, "round {round}");
                assert_eq!(recent.headers(&identity).unwrap()[0].1, name);
                let again = recent.decode(encoded(&name)).unwrap();
                assert!(Arc::ptr_eq(&identity, &again));
            }
        }
        assert!(recent.known().len() <= KEPT);
    }

    #[test]
    fn refuses_what_decoding_refuses() {
        let recent = Recent::default();
        assert!(recent.decode(encoded("")).is_err());
        let spaced = recent.decode(encoded(" system:masters")).unwrap();
        assert!(recent.headers(&spaced).is_err());
        assert!(recent.known().is_empty());
    }
}
