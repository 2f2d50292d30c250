//! Agent tokens' rows.

use std::collections::HashSet;
use std::time::SystemTime;

use super::{Sqlite, key};
use crate::identity::AgentId;
use crate::store::backend::{AgentTokens, Answer, NewAgentToken};
use crate::store::time::{from_seconds, to_seconds};
use crate::store::{AgentTokenId, AgentTokenRecord, Error};

const SELECT: &str = "SELECT id, agent_id, name, created_at, expires_at, last_used_at, revoked_at \
                      FROM agent_tokens";

type Row = (i64, i64, String, i64, Option<i64>, Option<i64>, Option<i64>);

impl AgentTokens for Sqlite {
    fn insert_agent_token<'a>(&'a self, token: NewAgentToken<'a>) -> Answer<'a, AgentTokenId> {
        Box::pin(async move {
            let insert = "INSERT INTO agent_tokens (agent_id, name, hash, created_at, expires_at) \
                          VALUES (?, ?, ?, ?, ?)";
            let insert = sqlx::query(insert)
                .bind(key(token.agent.0))
                .bind(token.name)
                .bind(token.hash.to_vec())
                .bind(to_seconds(token.created_at))
                .bind(token.expires_at.map(to_seconds));
            let done = self.write(insert).await?;
            Ok(AgentTokenId(self.unsigned(done.last_insert_rowid())?))
        })
    }

    fn agent_tokens(&self, agent: AgentId) -> Answer<'_, Vec<AgentTokenRecord>> {
        Box::pin(async move {
            let select = format!("{SELECT} WHERE agent_id = ? ORDER BY id");
            let rows = self.all(sqlx::query_as(&select).bind(key(agent.0))).await?;
            rows.into_iter()
                .map(|row| self.agent_token_record(row))
                .collect()
        })
    }

    fn agent_token(&self, id: AgentTokenId) -> Answer<'_, Option<AgentTokenRecord>> {
        Box::pin(async move {
            let select = format!("{SELECT} WHERE id = ?");
            let row = self.one(sqlx::query_as(&select).bind(key(id.0))).await?;
            row.map(|row| self.agent_token_record(row)).transpose()
        })
    }

    fn agent_tokens_in_force(&self, now: SystemTime) -> Answer<'_, HashSet<AgentTokenId>> {
        Box::pin(async move {
            let select = "SELECT id FROM agent_tokens \
                          WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?)";
            let select = sqlx::query_as(select).bind(to_seconds(now));
            let rows: Vec<(i64,)> = self.all(select).await?;
            let id = |(id,): (i64,)| Ok(AgentTokenId(self.unsigned(id)?));
            rows.into_iter().map(id).collect()
        })
    }

    fn agent_token_by_hash(&self, hash: [u8; 32]) -> Answer<'_, Option<AgentTokenRecord>> {
        Box::pin(async move {
            let select = format!("{SELECT} WHERE hash = ?");
            let row = self
                .one(sqlx::query_as(&select).bind(hash.to_vec()))
                .await?;
            row.map(|row| self.agent_token_record(row)).transpose()
        })
    }

    fn revoke_agent_token(&self, id: AgentTokenId, now: SystemTime) -> Answer<'_, bool> {
        Box::pin(async move {
            let update =
                "UPDATE agent_tokens SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?";
            let update = sqlx::query(update).bind(to_seconds(now)).bind(key(id.0));
            Ok(self.write(update).await?.rows_affected() > 0)
        })
    }

    fn used_agent_tokens<'a>(&'a self, used: &'a [(AgentTokenId, SystemTime)]) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut batch = self
                .writer
                .begin()
                .await
                .map_err(|error| self.explain(error))?;
            for (id, at) in used {
                sqlx::query("UPDATE agent_tokens SET last_used_at = ? WHERE id = ?")
                    .bind(to_seconds(*at))
                    .bind(key(id.0))
                    .execute(&mut *batch)
                    .await
                    .map_err(|error| self.explain(error))?;
            }
            batch.commit().await.map_err(|error| self.explain(error))
        })
    }
}

impl Sqlite {
    fn agent_token_record(&self, row: Row) -> Result<AgentTokenRecord, Error> {
        let (id, agent, name, created_at, expires_at, last_used_at, revoked_at) = row;
        Ok(AgentTokenRecord {
            id: AgentTokenId(self.unsigned(id)?),
            agent: AgentId(self.unsigned(agent)?),
            name,
            created_at: from_seconds(created_at),
            expires_at: expires_at.map(from_seconds),
            last_used_at: last_used_at.map(from_seconds),
            revoked_at: revoked_at.map(from_seconds),
        })
    }
}
