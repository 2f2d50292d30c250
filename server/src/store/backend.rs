//! What a database must do for the store: rows in, rows out. Judgement, tokens and clocks are the store's.

use std::collections::HashSet;
use std::fmt;
use std::pin::Pin;
use std::str::FromStr;
use std::time::SystemTime;

use serde::Serialize;

use super::Error;
use crate::identity::{Agent, AgentId, AgentName, ProjectPath};

pub(super) type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// The number of an agent token: public, unlike the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct AgentTokenId(pub u64);

/// An agent and since when it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    pub agent: Agent,
    /// The id was given at registration: another system knows the same agent by it.
    pub id_given: bool,
    pub created_at: SystemTime,
}

/// What is known of an agent token; of the token itself only its hash is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentTokenRecord {
    pub id: AgentTokenId,
    pub agent: AgentId,
    pub name: String,
    pub created_at: SystemTime,
    pub expires_at: Option<SystemTime>,
    /// Written in batches: up to some seconds late, and lost when the disk is full.
    pub last_used_at: Option<SystemTime>,
    pub revoked_at: Option<SystemTime>,
}

/// A job token that this server issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobTokenRecord {
    pub jti: String,
    /// For whom, in words.
    pub description: String,
    pub issued_at: SystemTime,
    pub expires_at: SystemTime,
    pub revoked: bool,
}

/// A token that is void although its time is not over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    pub jti: String,
    /// When everything that carries the jti has ended anyway.
    pub until: SystemTime,
}

/// A new agent token's row.
#[derive(Debug)]
pub(super) struct NewAgentToken<'a> {
    pub(super) agent: AgentId,
    pub(super) name: &'a str,
    pub(super) hash: [u8; 32],
    pub(super) created_at: SystemTime,
    pub(super) expires_at: Option<SystemTime>,
}

pub(super) trait Backend:
    Agents + AgentTokens + Secrets + JobTokens + fmt::Debug + Send + Sync
{
    /// Grows with every change of agents, agent tokens and revocations, whoever made it.
    fn generation(&self) -> Answer<'_, u64>;
    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

pub(super) trait Agents {
    /// `None` when the project has an agent of that name.
    fn insert_agent<'a>(
        &'a self,
        project: &'a ProjectPath,
        name: &'a AgentName,
        now: SystemTime,
    ) -> Answer<'a, Option<AgentId>>;
    /// False when the project has an agent of that name, or another agent has or had the id.
    fn insert_agent_with_id<'a>(&'a self, agent: &'a Agent, now: SystemTime) -> Answer<'a, bool>;
    /// By id.
    fn agents(&self) -> Answer<'_, Vec<Registration>>;
    fn agent(&self, id: AgentId) -> Answer<'_, Option<Registration>>;
    fn agent_named<'a>(
        &'a self,
        project: &'a ProjectPath,
        name: &'a AgentName,
    ) -> Answer<'a, Option<Registration>>;
    /// With its tokens. Whether it was there.
    fn delete_agent(&self, id: AgentId) -> Answer<'_, bool>;
}

pub(super) trait AgentTokens {
    fn insert_agent_token<'a>(&'a self, token: NewAgentToken<'a>) -> Answer<'a, AgentTokenId>;
    /// By id, revoked and expired ones included.
    fn agent_tokens(&self, agent: AgentId) -> Answer<'_, Vec<AgentTokenRecord>>;
    fn agent_token(&self, id: AgentTokenId) -> Answer<'_, Option<AgentTokenRecord>>;
    /// Those that are neither revoked nor expired.
    fn agent_tokens_in_force(&self, now: SystemTime) -> Answer<'_, HashSet<AgentTokenId>>;
    fn agent_token_by_hash(&self, hash: [u8; 32]) -> Answer<'_, Option<AgentTokenRecord>>;
    /// Keeps the time of an earlier revocation. Whether the token was there.
    fn revoke_agent_token(&self, id: AgentTokenId, now: SystemTime) -> Answer<'_, bool>;
    fn used_agent_tokens<'a>(&'a self, used: &'a [(AgentTokenId, SystemTime)]) -> Answer<'a, ()>;
}

pub(super) trait Secrets {
    fn secret<'a>(&'a self, name: &'a str) -> Answer<'a, Option<[u8; 32]>>;
    /// Leaves a secret that is there as it is.
    fn insert_secret<'a>(
        &'a self,
        name: &'a str,
        value: [u8; 32],
        now: SystemTime,
    ) -> Answer<'a, ()>;
}

pub(super) trait JobTokens {
    fn insert_job_token<'a>(&'a self, token: &'a JobTokenRecord) -> Answer<'a, ()>;
    /// The latest first.
    fn job_tokens(&self) -> Answer<'_, Vec<JobTokenRecord>>;
    fn job_token<'a>(&'a self, jti: &'a str) -> Answer<'a, Option<JobTokenRecord>>;
    /// The later end wins when the token is revoked already.
    fn insert_revocation<'a>(&'a self, revocation: &'a Revocation) -> Answer<'a, ()>;
    fn revocations(&self) -> Answer<'_, Vec<Revocation>>;
    /// Forgets revocations that ended before `now`, and job tokens that ended before `job_tokens_before`.
    fn forget(&self, now: SystemTime, job_tokens_before: SystemTime) -> Answer<'_, ()>;
}

impl fmt::Display for AgentTokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for AgentTokenId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}
