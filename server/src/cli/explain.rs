//! `explain`: may this job use this agent, as whom, and which line of which file says so.
//!
//! It asks what the server asks: the same credentials, the same rules, the same function that decides.

mod json;
mod past;
mod running;
mod source;
mod subject;
mod text;

use std::io::{Read, Write};
use std::path::PathBuf;

use clap::ValueEnum;

use super::job::JobDetails;
use super::selector::AgentSelector;
use crate::access::Explanation;
use crate::config::Config;
use crate::identity::Agent;
use crate::store::Store;
use source::{Source, Sources};
use subject::Subject;
pub use text::render;

/// Arguments of `explain`. A job credential is none of them: arguments are seen by everybody on the machine.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// The agent: <project path>:<agent name>, or its id. Without it the one of --request, or all agents, a line each
    #[arg(value_name = "AGENT")]
    pub agent: Option<String>,
    /// Explain a past request: the id in its error message, the log and the audit log
    #[arg(long, value_name = "ID", conflicts_with = "token_file")]
    pub request: Option<String>,
    /// Look for that request in this audit file instead of the server's; may be given several times, the oldest first
    #[arg(long, value_name = "PATH", requires = "request")]
    pub audit_file: Vec<PathBuf>,
    /// Explain the job whose credential this file holds; - for standard input
    #[arg(long, value_name = "PATH")]
    pub token_file: Option<PathBuf>,
    /// Judge by this configuration file instead of the one in force
    #[arg(long, value_name = "PATH")]
    pub file: Option<PathBuf>,
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
    /// Full path of the job's project
    #[arg(long, value_name = "PATH", conflicts_with_all = ["request", "token_file"], help_heading = "The job")]
    pub project: Option<String>,
    #[command(flatten)]
    pub job: JobDetails,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    #[default]
    Text,
    Json,
}

/// All that is told of one agent.
#[derive(Debug)]
struct Report {
    explanation: Explanation,
    source: Source,
    /// Why requests are refused whatever the rules say.
    refusals: Vec<String>,
    notes: Vec<String>,
}

const AFTER_HELP: &str = "\
The job is described by --project and the options below it, by a credential (--token-file, or the environment variable \
CI_TUNNEL_JOB_TOKEN), or by a past request (--request).

Exit status: 0 when the job may use the agent (one of them, without AGENT), 1 when not, 2 when it can not be told.";

/// Prints the explanation; whether the job may use the agent.
///
/// # Errors
/// There is no such job or agent, its rules can not be read, or the output fails.
pub async fn run(
    args: &Args,
    config: &Config,
    stdin: &mut impl Read,
    out: &mut impl Write,
) -> anyhow::Result<bool> {
    let store = Store::open(&config.state_dir).await?;
    let explained = explain(args, config, &store, stdin).await;
    store.close().await;
    let (subject, reports) = explained?;
    match (args.format, reports.as_slice()) {
        (Format::Json, reports) => {
            json::print(out, &subject, reports, asks_for_one(args, &subject))?
        }
        (Format::Text, [report]) if asks_for_one(args, &subject) => {
            out.write_all(text::whole(&subject, report).as_bytes())?;
        }
        (Format::Text, reports) => out.write_all(text::list(&subject, reports).as_bytes())?,
    }
    Ok(reports.iter().any(Report::is_allowed))
}

async fn explain(
    args: &Args,
    config: &Config,
    store: &Store,
    stdin: &mut impl Read,
) -> anyhow::Result<(Subject, Vec<Report>)> {
    let subject = Subject::of(args, config, store, stdin).await?;
    let agents = agents(args, &subject, store).await?;
    let sources = Sources::open(args.file.as_deref(), config, store).await?;
    let running = running::Status::ask(config.ops.listen).await;
    let report = |agent: &Agent| {
        let source = sources.of(agent)?;
        let mut notes = source.notes();
        notes.extend(subject.notes(config));
        let explanation = subject.explain(agent, &source.rules);
        notes.extend(subject.what_is_missing(&explanation).map(str::to_owned));
        if let Some(running) = &running {
            notes.extend(running.notes(agent, &source, config.timeouts.hold));
        }
        Ok(Report {
            explanation,
            refusals: subject.refusals(agent),
            source,
            notes,
        })
    };
    let reports: anyhow::Result<_> = agents.iter().map(report).collect();
    Ok((subject, reports?))
}

/// The agents that are asked about.
async fn agents(args: &Args, subject: &Subject, store: &Store) -> anyhow::Result<Vec<Agent>> {
    let selector = match &args.agent {
        Some(text) => Some(text.parse().map_err(anyhow::Error::msg)?),
        None => subject.agent().map(AgentSelector::Id),
    };
    match selector {
        Some(selector) => Ok(vec![selector.find(store).await?.agent]),
        None => {
            let known = store.agents().await?.into_iter();
            Ok(known.map(|registration| registration.agent).collect())
        }
    }
}

fn asks_for_one(args: &Args, subject: &Subject) -> bool {
    args.agent.is_some() || subject.agent().is_some()
}

impl Report {
    fn is_allowed(&self) -> bool {
        self.explanation.decision.is_ok() && self.refusals.is_empty()
    }
}
