//! The command line: `serve` runs the server, the others look into or change its state beside it.

pub mod agent;
pub mod audit;
pub mod check;
mod credential;
pub mod explain;
pub mod job;
pub mod job_token;
pub mod kubeconfig;
pub mod lint;
mod output;
pub mod selector;
mod state_dir;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use ci_tunnel::runtime::causes::with_causes;
use ci_tunnel::runtime::{signal, telemetry, threads};
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use tokio::sync::{mpsc, oneshot};

use crate::agents::directory::Directory;
use crate::app::{self, App};
use crate::audit::Act;
use crate::authn::Authenticator;
use crate::config::Config;
use crate::configrepo::{self, Snapshot};
use crate::metrics::Metrics;
use crate::proxy;
use crate::store::Store;

/// The ci-tunnel server: lets CI/CD jobs reach Kubernetes clusters that they have no network path to.
#[derive(Debug, Parser)]
#[command(name = "ci-tunnel-server", version, propagate_version = true)]
pub struct Cli {
    /// The server's configuration file; without one every setting has its default
    #[arg(
        long,
        short,
        global = true,
        env = "CI_TUNNEL_CONFIG",
        value_name = "PATH"
    )]
    config: Option<PathBuf>,
    /// Overrides `state_dir` of the file
    #[arg(long, global = true, env = "CI_TUNNEL_STATE_DIR", value_name = "PATH")]
    state_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve,
    /// Say of each thing that the server needs whether it holds; exit 1 if one does not
    Check(lint::Args),
    /// Register agents and their tokens
    #[command(subcommand)]
    Agent(agent::Command),
    /// Issue and revoke tokens for jobs whose CI system has none of its own
    #[command(subcommand)]
    JobToken(job_token::Command),
    /// Say whether a job may use an agent, as whom, and which line of which file decides
    Explain(Box<explain::Args>),
    /// Check the audit log, and find lines in it
    #[command(subcommand)]
    Audit(audit::Command),
    /// Print the KUBECONFIG of a job
    Kubeconfig(kubeconfig::Args),
    /// Print a completion script for a shell
    Completions { shell: Shell },
}

impl Cli {
    /// Does what the command line says.
    ///
    /// # Errors
    /// It can not be done; the message is for the person at the terminal.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        if let Command::Completions { shell } = self.command {
            clap_complete::generate(
                shell,
                &mut Self::command(),
                "ci-tunnel-server",
                &mut io::stdout(),
            );
            return Ok(ExitCode::SUCCESS);
        }
        if let Command::Check(args) = &self.command
            && !args.agent_config.is_empty()
        {
            let (out, err) = (&mut io::stdout(), &mut io::stderr());
            let outcome = lint::run(args, &mut io::stdin(), out, err)?;
            return Ok(ExitCode::from(outcome as u8));
        }
        let config = self.load();
        if matches!(self.command, Command::Check(_)) {
            let healthy = block_on(1, check::all(config, &mut io::stdout()))??;
            return Ok(if healthy {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
        let config = match config {
            Err(error) if matches!(self.command, Command::Explain(_)) => {
                return Ok(cannot_tell(&error.into()));
            }
            config => config?,
        };
        if !matches!(self.command, Command::Audit(_)) {
            state_dir::check_owner(&config.state_dir)?;
        }
        if self.command.only_looks() {
            state_dir::check_store(&config.state_dir)?;
        }
        match self.command {
            Command::Serve => serve(config, self.config).map(|()| ExitCode::SUCCESS),
            Command::Audit(command) => audit::run(&command, &config, &mut io::stdout().lock()),
            other => block_on(1, command(other, config))?,
        }
    }

    fn load(&self) -> Result<Config, crate::config::Error> {
        let mut config = Config::load(self.config.as_deref())?;
        if let Some(state_dir) = &self.state_dir {
            config.state_dir.clone_from(state_dir);
        }
        Ok(config)
    }
}

impl Command {
    /// Whether it has nothing to tell where nothing was ever registered.
    fn only_looks(&self) -> bool {
        match self {
            Self::Agent(command) => !matches!(command, agent::Command::Create(_)),
            Self::JobToken(command) => !matches!(command, job_token::Command::Issue(_)),
            Self::Explain(_) | Self::Kubeconfig(_) => true,
            Self::Serve | Self::Check(_) | Self::Audit(_) | Self::Completions { .. } => false,
        }
    }
}

fn serve(config: Config, file: Option<PathBuf>) -> anyhow::Result<()> {
    let level = telemetry::init(&config.log)?;
    block_on(config.threads, async {
        let (mut shutdown, mut reload) = signal::install().context("signals")?;
        let app = tokio::select! {
            app = App::build(config, file, level) => app?,
            signal = shutdown.recv() => {
                tracing::info!(signal, "asked to end before it served");
                return Ok(());
            }
        };
        let (reloads, reload_requests) = mpsc::channel(1);
        let (first, asked) = oneshot::channel();
        let (second, forced) = oneshot::channel();
        let signals = tokio::spawn(async move {
            let signal = shutdown.recv().await;
            tracing::info!(signal, "asked to end");
            let _ = first.send(());
            let signal = shutdown.recv().await;
            tracing::warn!(signal, "asked again: ending at once");
            let _ = second.send(());
        });
        let hangups = tokio::spawn(async move {
            loop {
                reload.recv().await;
                // One that waits already is enough.
                let _ = reloads.try_send(());
            }
        });
        let result = app
            .run(resolved(asked), resolved(forced), reload_requests)
            .await;
        signals.abort();
        hangups.abort();
        result
    })?
}

/// Of a thread that reads or writes files, when all else has ended.
const LAST_WAIT: Duration = Duration::from_secs(1);

async fn resolved(receiver: oneshot::Receiver<()>) {
    if receiver.await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn command(command: Command, config: Config) -> anyhow::Result<ExitCode> {
    let out = &mut io::stdout();
    match command {
        Command::Agent(command) => {
            let store = Store::open(&config.state_dir).await?;
            let mut acts = Vec::new();
            let result = agent::run(command, &store, &join(&config)?, &mut acts, out).await;
            store.close().await;
            leave(&acts, &config.state_dir);
            result?;
        }
        Command::JobToken(command) => {
            let store = Store::open(&config.state_dir).await?;
            let authenticator = Authenticator::new(config.authn, store.clone()).await?;
            let mut acts = Vec::new();
            let result = job_token::run(command, &store, &authenticator, &mut acts, out).await;
            store.close().await;
            leave(&acts, &config.state_dir);
            result?;
        }
        Command::Explain(args) => return Ok(explain(&args, &config).await),
        Command::Kubeconfig(args) => print_kubeconfig(&args, &config).await?,
        Command::Serve | Command::Check(_) | Command::Audit(_) | Command::Completions { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// What was done is done; that it will not be in the audit is for a person to know.
fn leave(acts: &[Act], state_dir: &Path) {
    for act in acts {
        if let Err(error) = act.leave(state_dir) {
            eprintln!(
                "warning: `{}` will not be in the audit log: {error}",
                act.command
            );
        }
    }
}

fn join(config: &Config) -> anyhow::Result<agent::Join> {
    let identity = app::identity(config)?;
    Ok(agent::Join {
        server: Some(config.agents_address()),
        pin: Some(identity.pin().to_string()),
    })
}

/// Exit status 0 when the job may use the agent, 1 when not. 1 is an answer, so errors are 2.
async fn explain(args: &explain::Args, config: &Config) -> ExitCode {
    let explained = explain::run(args, config, &mut io::stdin(), &mut io::stdout()).await;
    match explained {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => cannot_tell(&error),
    }
}

fn cannot_tell(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {}", with_causes(error.as_ref()));
    ExitCode::from(2)
}

/// The rules that a running server has in force, as far as files tell.
fn known(config: &Config, directory: &Directory) -> Result<Snapshot, configrepo::Error> {
    let place = app::repositories_place(config, &Metrics::unread());
    let agents = directory.changes().borrow().clone();
    configrepo::known(&config.config_repositories, &place, &agents)
}

async fn print_kubeconfig(args: &kubeconfig::Args, config: &Config) -> anyhow::Result<()> {
    let store = Store::open(&config.state_dir).await?;
    let (directory, _changes) = app::follow::agents(&store).await?;
    let rules = known(config, &directory)?;
    let authenticator = Authenticator::new(config.authn.clone(), store).await?;
    let identity = app::identity(config)?;
    let port = config.kubernetes_api.listen.port();
    let cluster = app::cluster(config, &identity, port)?;
    let allowed = |who: &_| proxy::kubeconfig::allowed(who, &directory, &rules);
    let mut acts = Vec::new();
    let result = kubeconfig::run(
        args,
        &authenticator,
        &cluster,
        allowed,
        &mut acts,
        &mut io::stdin(),
        &mut io::stdout(),
    )
    .await;
    leave(&acts, &config.state_dir);
    result
}

fn block_on<T>(threads: usize, future: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = threads::runtime(threads).context("the runtime")?;
    let done = runtime.block_on(future);
    // A file system that hangs may hold a thread for ever.
    runtime.shutdown_timeout(LAST_WAIT);
    Ok(done)
}
