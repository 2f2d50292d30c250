//! `job-token`: tokens for jobs that can prove themselves in no other way.

use std::io::Write;
use std::time::{Duration, SystemTime};

use anyhow::ensure;
use ci_tunnel::config::value::parse_duration;
use serde_json::{Value, json};

use super::job::JobArgs;
use super::output;
use crate::audit::Act;
use crate::authn::{Authenticator, TokenId};
use crate::store::{JobTokenRecord, Store};

/// Subcommands of `job-token`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Issue a token for a job, and print nothing but the token
    Issue(Box<Issue>),
    /// List the tokens issued here; ended ones are listed for a month
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a token void, and the credentials got with it; running requests are cut within seconds
    Revoke {
        /// The token's id (`jti`), from `job-token list` or the audit log
        #[arg(value_name = "ID")]
        id: String,
        /// Also when the token was not issued here: another issuer's ID token, or a session credential
        #[arg(long)]
        unlisted: bool,
    },
}

/// Arguments of `job-token issue`.
#[derive(Debug, clap::Args)]
pub struct Issue {
    #[command(flatten)]
    pub job: JobArgs,
    /// How long the token is good, as 90s or 1h30m
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    pub ttl: Duration,
}

/// # Errors
/// The flags describe no job, the limits say no, the token is unknown, or the store or the output fails.
pub async fn run(
    command: Command,
    store: &Store,
    authenticator: &Authenticator,
    acts: &mut Vec<Act>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    match command {
        Command::Issue(args) => {
            let job = args.job.identity()?;
            ensure!(
                job.provider == "local",
                "--provider: a token issued here is vouched for by `local` alone"
            );
            let issued = authenticator.issue_job_token(&job, args.ttl).await?;
            acts.push(Act {
                token: Some(issued.token.as_str().to_owned()),
                project: Some(job.project.path.to_string()),
                ..Act::new("job-token issue")
            });
            writeln!(out, "{}", issued.credential.expose())?;
        }
        Command::List { json } => list(json, store, out).await?,
        Command::Revoke { id, unlisted } => {
            authenticator.revoke(&TokenId(id.clone()), unlisted).await?;
            acts.push(Act {
                token: Some(id.clone()),
                ..Act::new("job-token revoke")
            });
            writeln!(out, "Token {id} is revoked.")?;
        }
    }
    Ok(())
}

async fn list(json: bool, store: &Store, out: &mut impl Write) -> anyhow::Result<()> {
    let tokens = store.job_tokens().await?;
    if json {
        return Ok(output::json(out, &tokens.iter().map(describe).collect())?);
    }
    let row = |token: &JobTokenRecord| {
        [
            token.jti.clone(),
            state(token).to_owned(),
            output::time(Some(token.issued_at)),
            output::time(Some(token.expires_at)),
            token.description.clone(),
        ]
    };
    let rows: Vec<_> = tokens.iter().map(row).collect();
    Ok(output::table(
        out,
        ["ID", "STATE", "ISSUED", "EXPIRES", "JOB"],
        &rows,
    )?)
}

fn describe(token: &JobTokenRecord) -> Value {
    json!({
        "id": token.jti,
        "state": state(token),
        "issued_at": output::json_time(Some(token.issued_at)),
        "expires_at": output::json_time(Some(token.expires_at)),
        "job": token.description,
    })
}

fn state(token: &JobTokenRecord) -> &'static str {
    if token.revoked {
        "revoked"
    } else if token.expires_at <= SystemTime::now() {
        "expired"
    } else {
        "valid"
    }
}
