//! As whom a request runs in the cluster: a typed field of the request head, never headers.

mod headers;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

pub use self::headers::NotAHeader;
use super::codec::{Malformed, Reader, Writer, pair, text};

/// As whom the agent sends a request to its API server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum KubernetesIdentity {
    /// As the agent itself: its own credentials, no impersonation.
    #[default]
    Agent,
    /// As somebody else, by Kubernetes impersonation. Shared: every request of a job has the same one.
    Impersonate(Arc<Impersonation>),
}

/// The values of the `Impersonate-*` headers that the agent will make.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Impersonation {
    /// `Impersonate-User`. Never empty: the other headers are ignored without it.
    pub username: String,
    /// `Impersonate-Uid`.
    pub uid: Option<String>,
    /// One `Impersonate-Group` each.
    pub groups: Vec<String>,
    /// One `Impersonate-Extra-<key>` for each pair; a key with several values stands several times.
    pub extra: Vec<(String, String)>,
}

/// The longest single value of an identity, in bytes.
pub const MAX_VALUE: usize = 8 * 1024;
/// The most groups, and the most extra pairs.
pub const MAX_VALUES: usize = 1024;

mod tag {
    pub(super) const USERNAME: u64 = 1;
    pub(super) const UID: u64 = 2;
    pub(super) const GROUP: u64 = 3;
    pub(super) const EXTRA: u64 = 4;
}

impl Impersonation {
    /// Appends the fields of this identity.
    pub fn encode(&self, out: &mut BytesMut) {
        let mut writer = Writer::new(out);
        writer.bytes(tag::USERNAME, self.username.as_bytes());
        writer.optional(tag::UID, self.uid.as_deref());
        for group in &self.groups {
            writer.bytes(tag::GROUP, group.as_bytes());
        }
        for (key, value) in &self.extra {
            writer.pair(tag::EXTRA, key.as_bytes(), value.as_bytes());
        }
    }

    /// Reads the fields of an identity.
    ///
    /// # Errors
    /// No username, a value with control characters or too long, too many values.
    pub fn decode(payload: Bytes) -> Result<Self, Malformed> {
        let mut identity = Self::default();
        let mut reader = Reader::new(payload);
        while let Some((tag, value)) = reader.field()? {
            match tag {
                tag::USERNAME => identity.username = text("username", &value, MAX_VALUE)?,
                tag::UID => identity.uid = Some(text("uid", &value, MAX_VALUE)?),
                tag::GROUP => push(
                    "groups",
                    &mut identity.groups,
                    text("group", &value, MAX_VALUE)?,
                )?,
                tag::EXTRA => {
                    let (key, value) = pair("extra", &value)?;
                    let entry = (
                        text("extra key", &key, MAX_VALUE)?,
                        text("extra value", &value, MAX_VALUE)?,
                    );
                    push("extra values", &mut identity.extra, entry)?;
                }
                _ => {}
            }
        }
        if identity.username.is_empty() {
            return Err(Malformed::Missing("username"));
        }
        Ok(identity)
    }
}

fn push<T>(what: &'static str, list: &mut Vec<T>, item: T) -> Result<(), Malformed> {
    if list.len() == MAX_VALUES {
        return Err(Malformed::TooMany {
            what,
            limit: MAX_VALUES,
        });
    }
    list.push(item);
    Ok(())
}
