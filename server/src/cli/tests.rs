//! The commands as they are typed: what they print, what they change, what they refuse.

use std::io;

use clap::{Args as _, Subcommand, error::ErrorKind};
use serde_json::Value;

use super::agent::{self, Join};
use super::{job_token, kubeconfig};
use crate::audit::Act;
use crate::authn::exchange::Allowed;
use crate::authn::{Authenticator, Config, Credential, JobCredential};
use crate::identity::AgentId;
use crate::kubeconfig::Cluster;
use crate::store::{AgentToken, Refusal, Store};

mod agents;
mod jobs;

/// The command that `line` types, after the name of `C`'s parent.
fn parse<C: Subcommand>(line: &str) -> Result<C, clap::Error> {
    let command = C::augment_subcommands(
        clap::Command::new("test")
            .no_binary_name(true)
            .subcommand_required(true),
    );
    C::from_arg_matches(&command.try_get_matches_from(line.split_whitespace())?)
}

async fn agent(store: &Store, line: &str) -> anyhow::Result<String> {
    let join = Join {
        server: Some("tunnel.example.com:8155".to_owned()),
        pin: Some("sha256:abc".to_owned()),
    };
    let mut out = Vec::new();
    agent::run(parse(line)?, store, &join, &mut Vec::new(), &mut out).await?;
    Ok(String::from_utf8(out)?)
}

async fn job_token(
    authenticator: &Authenticator,
    store: &Store,
    line: &str,
) -> anyhow::Result<String> {
    let mut out = Vec::new();
    job_token::run(
        parse(line)?,
        store,
        authenticator,
        &mut Vec::new(),
        &mut out,
    )
    .await?;
    Ok(String::from_utf8(out)?)
}

fn read(json: &str) -> Value {
    serde_json::from_str(json).unwrap()
}

#[test]
fn help_and_names_are_well_formed() {
    let command = || clap::Command::new("test");
    agent::Command::augment_subcommands(command()).debug_assert();
    job_token::Command::augment_subcommands(command()).debug_assert();
    kubeconfig::Args::augment_args(command()).debug_assert();
}
