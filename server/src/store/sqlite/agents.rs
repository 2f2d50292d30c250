//! Agents' rows.

use std::time::SystemTime;

use super::{Sqlite, key};
use crate::identity::{Agent, AgentId, AgentName, ProjectPath};
use crate::store::backend::{Agents, Answer};
use crate::store::time::{from_seconds, to_seconds};
use crate::store::{Error, Registration};

const SELECT: &str = "SELECT id, project, name, id_given, created_at FROM agents";

type Row = (i64, String, String, bool, i64);

impl Agents for Sqlite {
    fn insert_agent<'a>(
        &'a self,
        project: &'a ProjectPath,
        name: &'a AgentName,
        now: SystemTime,
    ) -> Answer<'a, Option<AgentId>> {
        Box::pin(async move {
            let insert = "INSERT INTO agents (project, project_key, name, created_at) VALUES (?, ?, ?, ?) \
                          ON CONFLICT DO NOTHING";
            let insert = sqlx::query(insert)
                .bind(project.as_str())
                .bind(project.key())
                .bind(name.as_str())
                .bind(to_seconds(now));
            let done = self.write(insert).await?;
            if done.rows_affected() == 0 {
                return Ok(None);
            }
            Ok(Some(AgentId(self.unsigned(done.last_insert_rowid())?)))
        })
    }

    fn insert_agent_with_id<'a>(&'a self, agent: &'a Agent, now: SystemTime) -> Answer<'a, bool> {
        Box::pin(async move {
            // One statement, so that nobody takes the id between the question and the row.
            let insert = "INSERT INTO agents (id, project, project_key, name, id_given, created_at) \
                          SELECT ?1, ?2, ?3, ?4, 1, ?5 WHERE NOT EXISTS (SELECT 1 FROM agent_ids WHERE id = ?1 AND \
                          (project_key IS NULL OR project_key <> ?3 OR name <> ?4)) ON CONFLICT DO NOTHING";
            let insert = sqlx::query(insert)
                .bind(key(agent.id.0))
                .bind(agent.project.as_str())
                .bind(agent.project.key())
                .bind(agent.name.as_str())
                .bind(to_seconds(now));
            Ok(self.write(insert).await?.rows_affected() > 0)
        })
    }

    fn agents(&self) -> Answer<'_, Vec<Registration>> {
        Box::pin(async move {
            let select = format!("{SELECT} ORDER BY id");
            let rows = self.all(sqlx::query_as(&select)).await?;
            rows.into_iter().map(|row| self.registration(row)).collect()
        })
    }

    fn agent(&self, id: AgentId) -> Answer<'_, Option<Registration>> {
        Box::pin(async move {
            let select = format!("{SELECT} WHERE id = ?");
            let row = self.one(sqlx::query_as(&select).bind(key(id.0))).await?;
            row.map(|row| self.registration(row)).transpose()
        })
    }

    fn agent_named<'a>(
        &'a self,
        project: &'a ProjectPath,
        name: &'a AgentName,
    ) -> Answer<'a, Option<Registration>> {
        Box::pin(async move {
            let select = format!("{SELECT} WHERE project_key = ? AND name = ?");
            let select = sqlx::query_as(&select)
                .bind(project.key())
                .bind(name.as_str());
            self.one(select)
                .await?
                .map(|row| self.registration(row))
                .transpose()
        })
    }

    fn delete_agent(&self, id: AgentId) -> Answer<'_, bool> {
        Box::pin(async move {
            let delete = sqlx::query("DELETE FROM agents WHERE id = ?").bind(key(id.0));
            Ok(self.write(delete).await?.rows_affected() > 0)
        })
    }
}

impl Sqlite {
    fn registration(
        &self,
        (id, project, name, id_given, created_at): Row,
    ) -> Result<Registration, Error> {
        let damaged = || self.damaged(format!("the row of agent {id}"));
        let agent = Agent {
            id: AgentId(self.unsigned(id)?),
            project: project.parse().map_err(|_| damaged())?,
            name: name.parse().map_err(|_| damaged())?,
        };
        Ok(Registration {
            agent,
            id_given,
            created_at: from_seconds(created_at),
        })
    }
}
