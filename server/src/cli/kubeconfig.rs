//! `kubeconfig`: a KUBECONFIG for a job, made as the server's endpoint makes it.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use ci_tunnel::config::value::parse_duration;

use super::credential;
use crate::audit::Act;
use crate::authn::exchange::{Allowed, Wishes};
use crate::authn::{Authenticated, Authenticator};
use crate::kubeconfig::{Cluster, Format};

/// Arguments of `kubeconfig`. The job credential is none of them: arguments are seen by everybody on the machine.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without --token-file the job credential is taken from the environment variable CI_TUNNEL_JOB_TOKEN."
)]
pub struct Args {
    /// The file that holds the job credential; - for standard input
    #[arg(long, value_name = "PATH")]
    pub token_file: Option<PathBuf>,
    /// The context to be the current one: <project path>:<agent name>
    #[arg(long, value_name = "CONTEXT")]
    pub context: Option<String>,
    /// How long the credentials in the KUBECONFIG are good, as 90s or 1h30m
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub lifetime: Option<Duration>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Prints the KUBECONFIG. `allowed`: the agents that a job may use, by the rules in force.
///
/// # Errors
/// There is no credential or it is not good, the job may use no agent or not what it wishes, or the output fails.
pub async fn run(
    args: &Args,
    authenticator: &Authenticator,
    cluster: &Cluster,
    allowed: impl FnOnce(&Authenticated) -> Vec<Allowed>,
    acts: &mut Vec<Act>,
    stdin: &mut impl Read,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let credential = credential::read(args.token_file.as_deref(), stdin)?;
    let job = authenticator.authenticate_job(&credential).await?;
    let allowed = allowed(&job);
    let project = &job.identity.project.path;
    ensure!(
        !allowed.is_empty(),
        "no rule lets this job of {project} use any agent: ask `explain` about one"
    );
    let wishes = Wishes {
        context: args.context.clone(),
        lifetime: args.lifetime,
        format: if args.json {
            Format::Json
        } else {
            Format::Yaml
        },
    };
    let made = authenticator.kubeconfig(&job, &allowed, cluster, &wishes)?;
    acts.push(Act {
        token: Some(job.token.to_string()),
        project: Some(project.to_string()),
        issued: made.issued,
        ..Act::new("kubeconfig")
    });
    writeln!(out, "{}", made.document.trim_end())?;
    Ok(())
}
