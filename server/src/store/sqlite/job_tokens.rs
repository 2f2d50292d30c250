//! Rows of issued job tokens and of revocations.

use std::time::SystemTime;

use super::Sqlite;
use crate::store::backend::{Answer, JobTokens};
use crate::store::time::{from_seconds, to_seconds};
use crate::store::{JobTokenRecord, Revocation};

const SELECT: &str = "SELECT jti, description, issued_at, expires_at, \
                      EXISTS (SELECT 1 FROM revocations WHERE revocations.jti = job_tokens.jti) \
                      FROM job_tokens";

type Row = (String, String, i64, i64, bool);

impl JobTokens for Sqlite {
    fn insert_job_token<'a>(&'a self, token: &'a JobTokenRecord) -> Answer<'a, ()> {
        Box::pin(async move {
            let insert = "INSERT INTO job_tokens (jti, description, issued_at, expires_at) VALUES (?, ?, ?, ?)";
            let insert = sqlx::query(insert)
                .bind(&token.jti)
                .bind(&token.description)
                .bind(to_seconds(token.issued_at))
                .bind(to_seconds(token.expires_at));
            self.write(insert).await.map(drop)
        })
    }

    fn job_tokens(&self) -> Answer<'_, Vec<JobTokenRecord>> {
        Box::pin(async move {
            let select = format!("{SELECT} ORDER BY issued_at DESC, jti");
            Ok(self
                .all(sqlx::query_as(&select))
                .await?
                .into_iter()
                .map(record)
                .collect())
        })
    }

    fn job_token<'a>(&'a self, jti: &'a str) -> Answer<'a, Option<JobTokenRecord>> {
        Box::pin(async move {
            let select = format!("{SELECT} WHERE jti = ?");
            Ok(self
                .one(sqlx::query_as(&select).bind(jti))
                .await?
                .map(record))
        })
    }

    fn insert_revocation<'a>(&'a self, revocation: &'a Revocation) -> Answer<'a, ()> {
        Box::pin(async move {
            let insert = "INSERT INTO revocations (jti, until_time) VALUES (?, ?) \
                          ON CONFLICT (jti) DO UPDATE SET until_time = max(until_time, excluded.until_time)";
            let insert = sqlx::query(insert)
                .bind(&revocation.jti)
                .bind(to_seconds(revocation.until));
            self.write(insert).await.map(drop)
        })
    }

    fn revocations(&self) -> Answer<'_, Vec<Revocation>> {
        Box::pin(async move {
            let select = "SELECT jti, until_time FROM revocations ORDER BY jti";
            let rows: Vec<(String, i64)> = self.all(sqlx::query_as(select)).await?;
            let revocation = |(jti, until)| Revocation {
                jti,
                until: from_seconds(until),
            };
            Ok(rows.into_iter().map(revocation).collect())
        })
    }

    fn forget(&self, now: SystemTime, job_tokens_before: SystemTime) -> Answer<'_, ()> {
        Box::pin(async move {
            let delete =
                sqlx::query("DELETE FROM revocations WHERE until_time < ?").bind(to_seconds(now));
            self.write(delete).await?;
            let delete = sqlx::query("DELETE FROM job_tokens WHERE expires_at < ?");
            self.write(delete.bind(to_seconds(job_tokens_before)))
                .await
                .map(drop)
        })
    }
}

fn record((jti, description, issued_at, expires_at, revoked): Row) -> JobTokenRecord {
    JobTokenRecord {
        jti,
        description,
        issued_at: from_seconds(issued_at),
        expires_at: from_seconds(expires_at),
        revoked,
    }
}
