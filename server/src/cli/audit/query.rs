//! `audit query`: the lines that fit, for people or as they are.

use std::io::{self, Write};
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use ci_tunnel::config::value::parse_duration;
use clap::ValueEnum;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::sources;
use crate::audit::Line;
use crate::audit::event::{Event, Gap, What};
use crate::audit::query::{Entry, Filter, Status, each};
use crate::cli::output::{printable, word};
use crate::config::Config;

/// Arguments of `audit query`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files to read, the oldest first; without any, those that the server writes
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The request with this id
    #[arg(long, value_name = "ID")]
    pub request_id: Option<String>,
    /// Requests of the job with this id
    #[arg(long, value_name = "ID")]
    pub job: Option<String>,
    /// Requests of jobs of this project
    #[arg(long, value_name = "PATH")]
    pub project: Option<String>,
    /// Requests for this agent, and its coming and going: <project path>:<agent name>, its name or its id
    #[arg(long, value_name = "AGENT")]
    pub agent: Option<String>,
    /// Requests of jobs that this user started
    #[arg(long, value_name = "LOGIN")]
    pub user: Option<String>,
    /// get, list, watch, create, update, patch, delete …
    #[arg(long, value_name = "VERB")]
    pub verb: Option<String>,
    /// pods, or with a subresource: pods/exec
    #[arg(long, value_name = "RESOURCE")]
    pub resource: Option<String>,
    /// The Kubernetes namespace
    #[arg(long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// The answer's code: 403, or 4xx
    #[arg(long, value_name = "CODE")]
    pub status: Option<Status>,
    /// How it ended or why: complete, refused, denied, client_gone, cut, rules, broken …
    #[arg(long, value_name = "REASON")]
    pub reason: Option<String>,
    /// What came at this time or later: 2026-01-31, 2026-01-31T12:00:00Z, or 2h for two hours ago
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    pub since: Option<When>,
    /// What came before this time
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    pub until: Option<When>,
    /// Text for people, or the lines as they are
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

/// A point in time, as people name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    At(Timestamp),
    Ago(SignedDuration),
}

impl When {
    fn parse(text: &str) -> Result<Self, String> {
        if let Ok(time) = text.parse() {
            return Ok(Self::At(time));
        }
        let midnight = text
            .parse::<Date>()
            .and_then(|date| date.to_zoned(TimeZone::UTC));
        if let Ok(midnight) = midnight {
            return Ok(Self::At(midnight.timestamp()));
        }
        let ago = parse_duration(text).ok();
        ago.and_then(|ago| SignedDuration::try_from(ago).ok())
            .map(Self::Ago)
            .ok_or_else(|| {
                "must be a time, as 2026-01-31T12:00:00Z, or how long ago, as 2h".to_owned()
            })
    }

    fn from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::Ago(ago) => now.saturating_sub(ago).unwrap_or(Timestamp::MIN),
        }
    }
}

pub(super) fn run(
    args: &Args,
    config: &Config,
    now: Timestamp,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let mut printed = Ok(());
    each(
        sources(&args.files, config)?,
        &filter(args, now),
        |raw, entry| {
            printed = match args.format {
                Format::Json => out.write_all(raw).and_then(|()| out.write_all(b"\n")),
                Format::Text => print(&entry, out),
            };
            if printed.is_ok() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        },
    )?;
    match printed.and_then(|()| out.flush()) {
        // Whoever read has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn filter(args: &Args, now: Timestamp) -> Filter {
    Filter {
        request_id: args.request_id.clone(),
        job: args.job.clone(),
        project: args.project.clone(),
        agent: args.agent.clone(),
        user: args.user.clone(),
        verb: args.verb.clone(),
        resource: args.resource.clone(),
        namespace: args.namespace.clone(),
        status: args.status,
        reason: args.reason.clone(),
        since: args.since.map(|since| since.from(now)),
        until: args.until.map(|until| until.from(now)),
    }
}

fn print(entry: &Entry, out: &mut impl Write) -> io::Result<()> {
    match entry {
        Entry::Request(line) => writeln!(out, "{}", request(line)),
        Entry::Event(event) => writeln!(out, "{}", self::event(event)),
    }
}

/// `2026-01-31T12:00:00Z 403 list pods shop/web agent=… project=… job=… user=… as=… refused: denied  <request id>`.
fn request(line: &Line) -> String {
    let status = line
        .status
        .map_or_else(|| "-".to_owned(), |status| status.to_string());
    let verb = line.verb.as_deref().unwrap_or(&line.method);
    let mut words = vec![
        format!("{:.0}", line.time),
        format!("{status:3}"),
        format!("{verb:6}"),
        target(line),
    ];
    let mut add = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            words.push(format!("{name}={}", word(value)));
        }
    };
    let job = line.job.as_deref();
    add(
        "agent",
        line.agent.as_ref().map(|agent| agent.name.as_str()),
    );
    add("project", job.map(|job| job.project.path.as_str()));
    add("job", job.and_then(|job| job.job_id.as_deref()));
    let user = job.and_then(|job| job.user.as_ref());
    add("user", user.map(|user| user.login.as_str()));
    add(
        "as",
        line.kubernetes
            .as_ref()
            .map(|kubernetes| kubernetes.r#as.as_str()),
    );
    words.push(format!("{}ms", line.duration_ms));
    words.push(match line.end.reason() {
        Some(reason) => format!("{}:{}", line.end.word(), word(reason)),
        None => line.end.word().to_owned(),
    });
    words.push(word(&line.request_id));
    words.join(" ")
}

/// `pods/exec shop/web`, `pods shop`, or the path of what is no resource.
fn target(line: &Line) -> String {
    if line.resource.is_empty() {
        return word(&line.path);
    }
    let mut target = line.resource.clone();
    if !line.subresource.is_empty() {
        target = format!("{target}/{}", line.subresource);
    }
    let name = match (line.namespace.as_str(), line.name.as_str()) {
        ("", "") => return word(&target),
        ("", name) => name.to_owned(),
        (namespace, "") => namespace.to_owned(),
        (namespace, name) => format!("{namespace}/{name}"),
    };
    format!("{} {}", word(&target), word(&name))
}

fn event(event: &Event) -> String {
    let Event { time, what } = event;
    let mut text = format!("{time:.0} --- ");
    text += &match what {
        What::Start { version, .. } => format!("the server starts, version {version}"),
        What::Stop => "the server ends".to_owned(),
        What::Rotated { previous, .. } => format!("the file before is closed: {previous}"),
        What::Reopened => "the output is opened again".to_owned(),
        What::Torn { bytes, .. } => format!("{bytes} bytes of a line are torn"),
        What::Lost(gap) => format!("{} lines are lost since {:.0}", gap.count, gap.since),
        What::Refused(gap) => format!(
            "{} requests were refused since {:.0}, as lines could not be written",
            gap.count, gap.since
        ),
        What::Command {
            command,
            agent,
            token,
            project,
            issued,
            uid,
            user,
        } => {
            let parts = [
                agent.as_ref().map(|agent| agent.name.as_str()),
                token.as_deref(),
                project.as_deref(),
            ];
            let issued = issued.iter();
            let issued = issued.flat_map(|issued| [issued.agent.name.as_str(), &issued.token]);
            let parts: Vec<_> = parts.into_iter().flatten().chain(issued).collect();
            let user = user.as_deref().unwrap_or("somebody");
            format!("{command} {} by {user} (uid {uid})", parts.join(" "))
        }
        What::AgentConnected { agent, client, .. } => {
            format!("agent {} connected from {client}", agent.name)
        }
        What::AgentDisconnected { agent, reason, .. } => {
            format!("agent {} disconnected: {reason}", agent.name)
        }
        What::AgentRefused {
            client,
            message,
            unsaid,
            ..
        } => {
            format!(
                "an agent from {client} was refused: {message}{}",
                others(*unsaid)
            )
        }
        What::ClientRefused { client, gap } => strangers(*client, gap),
    };
    printable(&text)
}

fn strangers(client: Option<IpAddr>, gap: &Gap) -> String {
    let from = client.map_or_else(|| "other addresses".to_owned(), |client| client.to_string());
    let Gap { count, since, .. } = gap;
    format!(
        "{count} requests from {from} were refused since {since:.0}, without lines of their own"
    )
}

fn others(unsaid: u64) -> String {
    match unsaid {
        0 => String::new(),
        others => format!("; and {others} others before"),
    }
}
