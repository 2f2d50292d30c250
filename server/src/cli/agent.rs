//! `agent`: registers agents and hands out their tokens.

use std::io::Write;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use ci_tunnel::config::value::parse_duration;
use serde_json::{Value, json};

use super::output;
use super::selector::{AgentSelector, NewAgent};
use crate::audit::Act;
use crate::identity::{Agent, AgentId};
use crate::store::{self, AgentToken, Registration, Store};

pub mod token;

/// Subcommands of `agent`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Register an agent, and print its id, its token (only now) and the command that starts it
    Create(Create),
    /// Forget an agent and its tokens; its sessions end within seconds, and its id is never used again
    Delete {
        /// <project path>:<agent name>, or its id
        agent: AgentSelector,
    },
    /// List the agents
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show an agent and its tokens
    Show {
        /// <project path>:<agent name>, or its id
        agent: AgentSelector,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make, list and revoke the tokens of an agent
    #[command(subcommand)]
    Token(token::Command),
}

/// Arguments of `agent create`.
#[derive(Debug, clap::Args)]
pub struct Create {
    /// The project that holds the agent's configuration file, and the agent's name: acme/infra:prod
    #[arg(value_name = "PROJECT:NAME")]
    pub agent: NewAgent,
    /// Register it under this id: the one by which GitLab knows the same agent, so that the KUBECONFIG that GitLab writes
    /// into jobs works here. Without it the agent gets the next free id, which GitLab's word says nothing of
    #[arg(long, value_name = "ID")]
    pub id: Option<AgentId>,
    #[command(flatten)]
    pub token: TokenArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// A new token, described by flags.
#[derive(Debug, clap::Args)]
pub struct TokenArgs {
    /// The token's name, for people
    #[arg(long, value_name = "NAME", default_value = "default", value_parser = label)]
    pub name: String,
    /// The token ends after this time, as 90d or 12h; without it, never
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub expires: Option<Duration>,
}

/// What an agent must be told to find and trust this server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Join {
    /// The address that agents dial: HOST:PORT.
    pub server: Option<String>,
    /// The hash of the server's CA, when agents must pin it.
    pub pin: Option<String>,
}

/// # Errors
/// The agent exists already or is unknown, or the store or the output fails.
pub async fn run(
    command: Command,
    store: &Store,
    join: &Join,
    acts: &mut Vec<Act>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    match command {
        Command::Create(args) => create(args, (store, join), acts, out).await,
        Command::Delete { agent } => delete(&agent, store, acts, out).await,
        Command::List { json } => list(json, store, out).await,
        Command::Show { agent, json } => show(&agent, json, store, out).await,
        Command::Token(command) => token::run(command, (store, join), acts, out).await,
    }
}

async fn create(
    args: Create,
    (store, join): (&Store, &Join),
    acts: &mut Vec<Act>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let NewAgent { project, name } = &args.agent;
    let agent = register(&args, store).await?;
    acts.push(Act {
        agent: Some((&agent).into()),
        ..Act::new("agent create")
    });
    let (record, token) = token::make(&agent, &args.token, store).await.with_context(|| {
        format!("agent {agent} is registered but has no token: make one with `agent token create {}`", agent.id)
    })?;
    acts.push(token::made(&agent, &record));
    if args.json {
        let mut value = describe(&agent);
        value["token"] = token.expose().into();
        value["token_id"] = json!(record.id);
        value["expires_at"] = output::json_time(record.expires_at);
        value["command"] = join.command(&token).into();
        return Ok(output::json(out, &value)?);
    }
    writeln!(out, "Agent {agent} has the id {}.\n", agent.id)?;
    join.print(&token, out)?;
    writeln!(
        out,
        "\nWho may use it is said in the project {project}, in .gitlab/agents/{name}/config.yaml."
    )?;
    Ok(())
}

async fn register(args: &Create, store: &Store) -> Result<Agent, store::Error> {
    let (NewAgent { project, name }, now) = (&args.agent, SystemTime::now());
    let Some(id) = args.id else {
        return store.create_agent(project, name, now).await;
    };
    let agent = Agent {
        id,
        project: project.clone(),
        name: name.clone(),
    };
    store.create_agent_with_id(&agent, now).await?;
    Ok(agent)
}

async fn delete(
    agent: &AgentSelector,
    store: &Store,
    acts: &mut Vec<Act>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let agent = agent.find(store).await?.agent;
    store.delete_agent(agent.id).await?;
    acts.push(Act {
        agent: Some((&agent).into()),
        ..Act::new("agent delete")
    });
    writeln!(out, "Agent {agent} (id {}) is deleted.", agent.id)?;
    Ok(())
}

async fn list(json: bool, store: &Store, out: &mut impl Write) -> anyhow::Result<()> {
    let agents = store.agents().await?;
    if json {
        let agents: Value = agents.iter().map(describe_registration).collect();
        return Ok(output::json(out, &agents)?);
    }
    let row = |registration: &Registration| {
        let Registration {
            agent, created_at, ..
        } = registration;
        [
            agent.id.to_string(),
            agent.to_string(),
            output::time(Some(*created_at)),
        ]
    };
    let rows: Vec<_> = agents.iter().map(row).collect();
    Ok(output::table(out, ["ID", "AGENT", "CREATED"], &rows)?)
}

async fn show(
    agent: &AgentSelector,
    json: bool,
    store: &Store,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let registration = agent.find(store).await?;
    let tokens = store.agent_tokens(registration.agent.id).await?;
    if json {
        let mut value = describe_registration(&registration);
        value["tokens"] = tokens.iter().map(token::describe).collect();
        return Ok(output::json(out, &value)?);
    }
    let Registration {
        agent,
        id_given,
        created_at,
    } = &registration;
    let given = if *id_given { ", as GitLab's" } else { "" };
    writeln!(out, "agent:    {agent}")?;
    writeln!(out, "id:       {}{given}", agent.id)?;
    writeln!(out, "created:  {}", output::time(Some(*created_at)))?;
    writeln!(
        out,
        "file:     {}: .gitlab/agents/{}/config.yaml\n",
        agent.project, agent.name
    )?;
    token::print(&tokens, out)
}

fn describe(agent: &Agent) -> Value {
    json!({"id": agent.id, "project": agent.project, "name": agent.name})
}

fn describe_registration(registration: &Registration) -> Value {
    let mut value = describe(&registration.agent);
    value["id_given"] = registration.id_given.into();
    value["created_at"] = output::json_time(Some(registration.created_at));
    value
}

fn label(text: &str) -> Result<String, &'static str> {
    let fits = (1..=100).contains(&text.chars().count());
    if fits && !text.chars().any(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err("must be 1 to 100 characters, without control characters")
    }
}

impl Join {
    /// The command that starts an agent with `token`. The token is in the environment: arguments are seen by everybody
    /// on the machine.
    fn command(&self, token: &AgentToken) -> String {
        let server = self
            .server
            .as_deref()
            .unwrap_or("<HOST:PORT of this server>");
        let mut command = format!(
            "CI_TUNNEL_TOKEN={} ci-tunnel-agent run --server {server}",
            token.expose()
        );
        if let Some(pin) = &self.pin {
            command.push_str(&format!(" --pin {pin}"));
        }
        command
    }

    fn print(&self, token: &AgentToken, out: &mut impl Write) -> anyhow::Result<()> {
        writeln!(out, "Its token, shown only now:\n\n  {}\n", token.expose())?;
        writeln!(
            out,
            "The command that starts it:\n\n  {}",
            self.command(token)
        )?;
        Ok(())
    }
}
