//! `make demo`: a server, an agent, a cluster, and a CI job's `kubectl` through the tunnel, each command shown as it is
//! typed. Ends with 0 only if all of it happened and showed what it should.

#![allow(missing_docs)]

mod audit;
mod place;
mod shell;
mod story;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::place::Place;
use crate::shell::say;

fn main() -> ExitCode {
    match Runtime::new()
        .context("starting a runtime")
        .and_then(|runtime| runtime.block_on(demo()))
    {
        Ok(code) => code,
        Err(error) => {
            eprintln!("\nThe demo FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// All that it started ends when this returns, whichever way.
async fn demo() -> Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        // A Ctrl-C also ends what the demo runs: that is no failure of it.
        biased;
        _ = interrupt.recv() => Ok(interrupted()),
        _ = terminate.recv() => Ok(interrupted()),
        told = tell() => told.map(|()| ExitCode::SUCCESS),
    }
}

async fn tell() -> Result<()> {
    let began = Instant::now();
    let place = Place::choose().await?;
    story::tell(&place).await?;
    say(&format!(
        "\nThe demo worked: everything above was checked, in {:.0} s. Its processes and files are being removed.",
        began.elapsed().as_secs_f64()
    ));
    Ok(())
}

fn interrupted() -> ExitCode {
    eprintln!("\nInterrupted: removing what the demo made.");
    ExitCode::from(130)
}
