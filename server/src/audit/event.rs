//! Lines that tell of something else than a request: of the log itself, and of agents.

use std::net::{IpAddr, SocketAddr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::line::{AgentFields, Issued};

/// One such line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub time: Timestamp,
    #[serde(flatten)]
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// The server begins to write.
    Start {
        version: String,
        /// How lines are hashed from here on: `sha256` or `hmac-sha256`.
        mac: String,
        after: After,
    },
    /// The server ends as it should, and has written every line.
    Stop,
    /// The file before this one was closed by the server.
    Rotated {
        /// What it is called now.
        previous: String,
        /// Files that were removed, as the settings say.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        removed: Vec<String>,
    },
    /// The output was opened again, and is another: somebody moved the file away, or the socket's reader was gone.
    Reopened,
    /// Bytes that are no line stand before this one: the begin of a line that was being written when the server died.
    Torn { bytes: u64, sha256: String },
    /// Lines that are not here: they found the queue full.
    Lost(Gap),
    /// Requests that were refused with 503 because lines could not be written; they have no lines of their own.
    Refused(Gap),
    /// Somebody changed agents or tokens with a command.
    Command {
        /// `agent create`, `job-token revoke` …
        command: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<AgentFields>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        project: Option<String>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        issued: Vec<Issued>,
        /// Of the process.
        uid: u32,
        /// As its environment says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
    },
    AgentConnected {
        agent: AgentFields,
        session: u64,
        client: SocketAddr,
        version: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pod: Option<String>,
    },
    AgentDisconnected {
        agent: AgentFields,
        session: u64,
        /// The code of the protocol.
        code: String,
        reason: String,
    },
    AgentRefused {
        client: SocketAddr,
        reason: String,
        message: String,
        /// As many others were refused for this reason before it, which have no lines: strangers must not fill the log.
        unsaid: u64,
    },
    /// Requests that were refused on connections without a good credential, and have no lines of their own.
    ClientRefused {
        /// An IPv6 address stands for its network. None: several, when there are too many to name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client: Option<IpAddr>,
        #[serde(flatten)]
        gap: Gap,
    },
}

/// How the server ended before a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum After {
    /// There was none.
    Nothing,
    /// With a line that says so.
    Stop,
    /// Without one: requests that ran then have no lines, nor have those whose lines waited.
    Crash,
}

/// Things that happened and have no lines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gap {
    pub count: u64,
    pub since: Timestamp,
    pub until: Timestamp,
}

impl Gap {
    /// One more, now.
    pub fn add(gap: &mut Option<Self>, now: Timestamp) {
        match gap {
            Some(gap) => {
                gap.count += 1;
                gap.until = now;
            }
            None => {
                *gap = Some(Self {
                    count: 1,
                    since: now,
                    until: now,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_flat_object() {
        let time = "2026-11-23T12:00:00Z".parse().unwrap();
        let mut gap = None;
        Gap::add(&mut gap, time);
        Gap::add(&mut gap, time);
        let event = Event {
            time,
            what: What::Lost(gap.unwrap()),
        };
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(
            text,
            r#"{"time":"2026-11-23T12:00:00Z","event":"lost","count":2,"since":"2026-11-23T12:00:00Z","until":"2026-11-23T12:00:00Z"}"#
        );
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
    }
}
