//! Agents and their tokens: registering, finding, judging, revoking.

use std::collections::HashSet;
use std::time::SystemTime;

use super::backend::NewAgentToken;
use super::{AgentToken, AgentTokenId, AgentTokenRecord, Error, Registration, Store};
use crate::identity::{Agent, AgentId, AgentName, ProjectPath};

/// Why an agent token opens nothing.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("the agent token has expired: make a new one with `agent token create`")]
    Expired,
    #[error("the agent token has been revoked: make a new one with `agent token create`")]
    Revoked,
    #[error("the store could not be asked about the agent token: {0}")]
    Store(#[from] Error),
    #[error("the agent token is unknown: its agent was deleted, or the token is of another server")]
    Unknown,
}

impl AgentTokenRecord {
    /// Whether the token is good at `now`.
    ///
    /// # Errors
    /// It is expired or revoked.
    pub fn valid_at(&self, now: SystemTime) -> Result<(), Refusal> {
        if self.revoked_at.is_some() {
            Err(Refusal::Revoked)
        } else if self.expires_at.is_some_and(|end| end <= now) {
            Err(Refusal::Expired)
        } else {
            Ok(())
        }
    }
}

impl Store {
    /// Registers an agent; names are unique in their project.
    ///
    /// # Errors
    /// There is one of that name already, or the store fails.
    pub async fn create_agent(
        &self,
        project: &ProjectPath,
        name: &AgentName,
        now: SystemTime,
    ) -> Result<Agent, Error> {
        if let Some(id) = self.backend.insert_agent(project, name, now).await? {
            self.changed().await;
            return Ok(Agent {
                id,
                project: project.clone(),
                name: name.clone(),
            });
        }
        match self.agent_named(project, name).await? {
            Some(Registration { agent, .. }) => Err(Error::AgentExists {
                agent: agent.to_string(),
                id: agent.id.0,
            }),
            // It was deleted between the two statements; the caller may try again.
            None => Err(Error::UnknownAgent(format!("{project}:{name}"))),
        }
    }

    /// Registers an agent under the id that another system gave it.
    ///
    /// # Errors
    /// There is one of that name already, the id is or was another's, or the store fails.
    pub async fn create_agent_with_id(&self, agent: &Agent, now: SystemTime) -> Result<(), Error> {
        if !(1..=MAX_GIVEN_ID).contains(&agent.id.0) {
            return Err(Error::AgentIdRange(agent.id.0));
        }
        if self.backend.insert_agent_with_id(agent, now).await? {
            self.changed().await;
            return Ok(());
        }
        match self.agent_named(&agent.project, &agent.name).await? {
            Some(Registration { agent, .. }) => Err(Error::AgentExists {
                agent: agent.to_string(),
                id: agent.id.0,
            }),
            None => Err(Error::AgentIdTaken(agent.id.0)),
        }
    }

    /// All agents, by id.
    ///
    /// # Errors
    /// The store fails.
    pub async fn agents(&self) -> Result<Vec<Registration>, Error> {
        self.backend.agents().await
    }

    /// # Errors
    /// The store fails.
    pub async fn agent(&self, id: AgentId) -> Result<Option<Registration>, Error> {
        self.backend.agent(id).await
    }

    /// The agent `name` of `project`, whose case does not matter.
    ///
    /// # Errors
    /// The store fails.
    pub async fn agent_named(
        &self,
        project: &ProjectPath,
        name: &AgentName,
    ) -> Result<Option<Registration>, Error> {
        self.backend.agent_named(project, name).await
    }

    /// Forgets an agent and its tokens. Its id is never used again.
    ///
    /// # Errors
    /// There is no such agent, or the store fails.
    pub async fn delete_agent(&self, id: AgentId) -> Result<(), Error> {
        if !self.backend.delete_agent(id).await? {
            return Err(Error::UnknownAgent(id.to_string()));
        }
        self.changed().await;
        Ok(())
    }

    /// A new token of an agent. This is the only time the token can be seen.
    ///
    /// # Errors
    /// There is no such agent, or the store fails.
    pub async fn create_agent_token(
        &self,
        agent: AgentId,
        name: &str,
        expires_at: Option<SystemTime>,
        now: SystemTime,
    ) -> Result<(AgentTokenRecord, AgentToken), Error> {
        if self.agent(agent).await?.is_none() {
            return Err(Error::UnknownAgent(agent.to_string()));
        }
        let token = AgentToken::generate();
        let new = NewAgentToken {
            agent,
            name,
            hash: token.hash(),
            created_at: now,
            expires_at,
        };
        let id = self.backend.insert_agent_token(new).await?;
        self.changed().await;
        let record = self
            .backend
            .agent_token(id)
            .await?
            .ok_or(Error::UnknownAgentToken(id))?;
        Ok((record, token))
    }

    /// The tokens of an agent, by id, expired and revoked ones included.
    ///
    /// # Errors
    /// The store fails.
    pub async fn agent_tokens(&self, agent: AgentId) -> Result<Vec<AgentTokenRecord>, Error> {
        self.backend.agent_tokens(agent).await
    }

    /// Makes a token void; doing so again changes nothing.
    ///
    /// # Errors
    /// There is no such token, or the store fails.
    pub async fn revoke_agent_token(&self, id: AgentTokenId, now: SystemTime) -> Result<(), Error> {
        if !self.backend.revoke_agent_token(id, now).await? {
            return Err(Error::UnknownAgentToken(id));
        }
        self.changed().await;
        Ok(())
    }

    /// Whose token this is; a good one is noted as used.
    ///
    /// # Errors
    /// The token is unknown, expired or revoked, or the store fails.
    pub async fn verify_agent_token(
        &self,
        token: &AgentToken,
        now: SystemTime,
    ) -> Result<(Agent, AgentTokenRecord), Refusal> {
        let found = self.backend.agent_token_by_hash(token.hash()).await?;
        let record = found.ok_or(Refusal::Unknown)?;
        record.valid_at(now)?;
        let registration = self
            .backend
            .agent(record.agent)
            .await?
            .ok_or(Refusal::Unknown)?;
        self.last_used.note(record.id, now);
        Ok((registration.agent, record))
    }

    /// The agent tokens that are good now, for whoever holds many to what the store says.
    ///
    /// # Errors
    /// The store fails.
    pub async fn agent_tokens_in_force(
        &self,
        now: SystemTime,
    ) -> Result<HashSet<AgentTokenId>, Error> {
        self.backend.agent_tokens_in_force(now).await
    }

    /// Whether a session opened by this token may go on. To be asked whenever [`Store::changes`] tells of a change.
    ///
    /// # Errors
    /// The token has expired, was revoked, or is gone with its agent; or the store fails, which says nothing of it.
    pub async fn agent_token_valid(
        &self,
        id: AgentTokenId,
        now: SystemTime,
    ) -> Result<(), Refusal> {
        let found = self.backend.agent_token(id).await?;
        found.ok_or(Refusal::Unknown)?.valid_at(now)
    }
}

/// The largest id that can be given: what JSON and shells carry without loss, with room for ids after it.
const MAX_GIVEN_ID: u64 = 1 << 52;
