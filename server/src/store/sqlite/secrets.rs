//! Secrets' rows.

use std::time::SystemTime;

use super::Sqlite;
use crate::store::backend::{Answer, Secrets};
use crate::store::time::to_seconds;

impl Secrets for Sqlite {
    fn secret<'a>(&'a self, name: &'a str) -> Answer<'a, Option<[u8; 32]>> {
        Box::pin(async move {
            let select = sqlx::query_as("SELECT value FROM secrets WHERE name = ?").bind(name);
            let Some((value,)): Option<(Vec<u8>,)> = self.one(select).await? else {
                return Ok(None);
            };
            let key = value
                .try_into()
                .map_err(|_| self.damaged(format!("the secret {name:?}")))?;
            Ok(Some(key))
        })
    }

    fn insert_secret<'a>(
        &'a self,
        name: &'a str,
        value: [u8; 32],
        now: SystemTime,
    ) -> Answer<'a, ()> {
        Box::pin(async move {
            let insert = "INSERT INTO secrets (name, value, created_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING";
            let insert = sqlx::query(insert)
                .bind(name)
                .bind(value.to_vec())
                .bind(to_seconds(now));
            self.write(insert).await.map(drop)
        })
    }
}
