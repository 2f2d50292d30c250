//! Every close and reset code: QUIC application error codes (RFC 9000, section 20.2).

use std::fmt;

/// Why a connection was closed or a stream was reset. Numbers are never used again for something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Code {
    /// Nothing is wrong: the work is done.
    Done = 0x00,
    /// The peer sent bytes that the protocol does not allow.
    Protocol = 0x01,
    /// Something failed that should not have; the log of the side that closed says what.
    Internal = 0x02,
    /// The side that closed is restarting: connect again.
    Restarting = 0x03,
    /// A phase took longer than its deadline.
    Deadline = 0x04,
    /// The client that made the request is gone.
    Cancelled = 0x10,
    /// The job may no longer do what it was doing: rules, token or agent changed.
    PermitLost = 0x11,
    /// The API server's connection broke in the middle of a response.
    UpstreamBroken = 0x12,
    /// The request was refused by the agent before anything was sent.
    RequestRefused = 0x13,
    /// The stream held buffers for too long without reading.
    Stalled = 0x14,
    /// The agent's token is not known, expired or revoked.
    TokenRejected = 0x20,
    /// The agent was deleted on the server.
    AgentDeleted = 0x21,
    /// The server has as many connections as it will take.
    Overloaded = 0x22,
    /// The peer shows no proof of life through the data path.
    Unhealthy = 0x23,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 14] = [
        Self::Done,
        Self::Protocol,
        Self::Internal,
        Self::Restarting,
        Self::Deadline,
        Self::Cancelled,
        Self::PermitLost,
        Self::UpstreamBroken,
        Self::RequestRefused,
        Self::Stalled,
        Self::TokenRejected,
        Self::AgentDeleted,
        Self::Overloaded,
        Self::Unhealthy,
    ];

    /// The code of this number; [`Code::Internal`] for a number we do not know.
    pub fn from_number(number: u64) -> Self {
        Self::ALL
            .into_iter()
            .find(|code| u64::from(*code as u32) == number)
            .unwrap_or(Self::Internal)
    }

    /// Whether an agent that was turned away with it needs a person's help, most often a new token.
    pub fn waits_for_a_person(self) -> bool {
        matches!(self, Self::TokenRejected | Self::AgentDeleted)
    }

    /// A short name for metrics and audit.
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Protocol => "protocol",
            Self::Internal => "internal",
            Self::Restarting => "restarting",
            Self::Deadline => "deadline",
            Self::Cancelled => "cancelled",
            Self::PermitLost => "permit_lost",
            Self::UpstreamBroken => "upstream_broken",
            Self::RequestRefused => "request_refused",
            Self::Stalled => "stalled",
            Self::TokenRejected => "token_rejected",
            Self::AgentDeleted => "agent_deleted",
            Self::Overloaded => "overloaded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "the work is done",
            Self::Protocol => "the peer broke the protocol",
            Self::Internal => "an internal error",
            Self::Restarting => "the peer is restarting",
            Self::Deadline => "a deadline passed",
            Self::Cancelled => "the client is gone",
            Self::PermitLost => "the job may no longer do this",
            Self::UpstreamBroken => "the API server's connection broke",
            Self::RequestRefused => "the agent refused the request",
            Self::Stalled => "the reader stalled for too long",
            Self::TokenRejected => "the agent token is not known, expired or revoked",
            Self::AgentDeleted => "the agent was deleted",
            Self::Overloaded => "the server has too many connections",
            Self::Unhealthy => "no proof of life",
        })
    }
}
