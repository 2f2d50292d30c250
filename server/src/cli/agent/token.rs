//! `agent token`: several tokens an agent, so that one can replace another without downtime.

use std::io::Write;
use std::time::SystemTime;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::{Join, TokenArgs};
use crate::audit::Act;
use crate::cli::output;
use crate::cli::selector::AgentSelector;
use crate::identity::Agent;
use crate::store::{AgentToken, AgentTokenId, AgentTokenRecord, Refusal, Store};

/// Subcommands of `agent token`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make one more token of an agent, and print it (only now)
    Create {
        /// <project path>:<agent name>, or its id
        agent: AgentSelector,
        #[command(flatten)]
        token: TokenArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the tokens of an agent
    List {
        /// <project path>:<agent name>, or its id
        agent: AgentSelector,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a token void; sessions opened with it end within seconds
    Revoke {
        /// The token's number, from `agent token list`
        #[arg(value_name = "TOKEN ID")]
        id: AgentTokenId,
    },
}

pub(super) async fn run(
    command: Command,
    (store, join): (&Store, &Join),
    acts: &mut Vec<Act>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    match command {
        Command::Create { agent, token, json } => {
            let agent = agent.find(store).await?.agent;
            let (record, made) = make(&agent, &token, store).await?;
            acts.push(self::made(&agent, &record));
            print_new(&agent, (&record, &made), json, join, out)
        }
        Command::List { agent, json } => list(&agent, json, store, out).await,
        Command::Revoke { id } => {
            store.revoke_agent_token(id, SystemTime::now()).await?;
            acts.push(Act {
                token: Some(id.to_string()),
                ..Act::new("agent token revoke")
            });
            writeln!(out, "Token {id} is revoked.")?;
            Ok(())
        }
    }
}

/// What the audit says of a new token.
pub(super) fn made(agent: &Agent, record: &AgentTokenRecord) -> Act {
    Act {
        agent: Some(agent.into()),
        token: Some(record.id.to_string()),
        ..Act::new("agent token create")
    }
}

fn print_new(
    agent: &Agent,
    (record, token): (&AgentTokenRecord, &AgentToken),
    json: bool,
    join: &Join,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    if json {
        let mut value = describe(record);
        value["token"] = token.expose().into();
        value["command"] = join.command(token).into();
        return Ok(output::json(out, &value)?);
    }
    writeln!(
        out,
        "Agent {agent} has a new token, number {}.\n",
        record.id
    )?;
    join.print(token, out)
}

/// A new token as `args` describe it.
pub(super) async fn make(
    agent: &Agent,
    args: &TokenArgs,
    store: &Store,
) -> anyhow::Result<(AgentTokenRecord, AgentToken)> {
    let now = SystemTime::now();
    let end = args.expires.map(|lifetime| {
        now.checked_add(lifetime)
            .context("--expires is too far in the future")
    });
    Ok(store
        .create_agent_token(agent.id, &args.name, end.transpose()?, now)
        .await?)
}

async fn list(
    agent: &AgentSelector,
    json: bool,
    store: &Store,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let tokens = store
        .agent_tokens(agent.find(store).await?.agent.id)
        .await?;
    if json {
        return Ok(output::json(out, &tokens.iter().map(describe).collect())?);
    }
    print(&tokens, out)
}

pub(super) fn print(tokens: &[AgentTokenRecord], out: &mut impl Write) -> anyhow::Result<()> {
    let row = |token: &AgentTokenRecord| {
        [
            token.id.to_string(),
            token.name.clone(),
            state(token).to_owned(),
            output::time(Some(token.created_at)),
            output::time(token.expires_at),
            output::time(token.last_used_at),
        ]
    };
    let rows: Vec<_> = tokens.iter().map(row).collect();
    Ok(output::table(
        out,
        ["TOKEN", "NAME", "STATE", "CREATED", "EXPIRES", "LAST USED"],
        &rows,
    )?)
}

pub(super) fn describe(token: &AgentTokenRecord) -> Value {
    json!({
        "id": token.id,
        "agent_id": token.agent,
        "name": token.name,
        "state": state(token),
        "created_at": output::json_time(Some(token.created_at)),
        "expires_at": output::json_time(token.expires_at),
        "last_used_at": output::json_time(token.last_used_at),
        "revoked_at": output::json_time(token.revoked_at),
    })
}

fn state(token: &AgentTokenRecord) -> &'static str {
    match token.valid_at(SystemTime::now()) {
        Ok(()) => "valid",
        Err(Refusal::Revoked) => "revoked",
        Err(_) => "expired",
    }
}
