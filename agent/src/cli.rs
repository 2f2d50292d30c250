//! The command line: `run`, `check`, `completions`.

mod check;

use std::io;
use std::process::ExitCode;

use anyhow::Context;
use ci_tunnel::runtime::{signal, telemetry, threads};
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::app;
use crate::config::{self, Config, Flags};

/// The ci-tunnel agent: lets CI/CD jobs reach the Kubernetes API server beside it, through a ci-tunnel server.
#[derive(Debug, Parser)]
#[command(name = "ci-tunnel-agent", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Connect to the server and carry requests
    Run(Box<Flags>),
    /// Say of each thing that the agent needs whether it holds; exit 1 if one does not
    Check(Box<Flags>),
    /// Print a completion script for a shell
    Completions { shell: Shell },
}

impl Cli {
    /// Does what the command line says.
    ///
    /// # Errors
    /// It can not be done; the message is for the person at the terminal.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Run(flags) => run(load(&flags)?).map(|()| ExitCode::SUCCESS),
            Command::Check(flags) => Ok(check(&flags)),
            Command::Completions { shell } => {
                clap_complete::generate(
                    shell,
                    &mut Self::command(),
                    "ci-tunnel-agent",
                    &mut io::stdout(),
                );
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

fn run(config: Config) -> anyhow::Result<()> {
    let level = telemetry::init(&config.log)?;
    threads::runtime(config.threads)
        .context("runtime")?
        .block_on(async {
            let (shutdown, _reload) = signal::install().context("signals")?;
            app::start(config, level).await?.run(shutdown).await
        })
}

fn check(flags: &Flags) -> ExitCode {
    let outcome =
        load(flags).and_then(|config| Ok((threads::runtime(1).context("runtime")?, config)));
    let healthy = match outcome {
        Ok((runtime, config)) => runtime.block_on(check::all(&config, &mut io::stdout())),
        Err(error) => check::unusable(&error, &mut io::stdout()),
    };
    if healthy {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn load(flags: &Flags) -> anyhow::Result<Config> {
    Ok(config::load(flags, |name| std::env::var(name).ok())?)
}
