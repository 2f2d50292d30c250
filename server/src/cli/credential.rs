//! A job credential for a command: of a file, of standard input or of the environment. Never an argument, which everybody
//! on the machine sees.

use std::io::Read;
use std::path::Path;

use anyhow::Context as _;
use ci_tunnel::config::value::Secret;

use crate::authn::JobCredential;
use crate::authn::credential::MAX_LENGTH;

/// The variable that holds the job credential when no file is named.
pub(super) const VARIABLE: &str = "CI_TUNNEL_JOB_TOKEN";

/// What `file` holds, `-` being standard input; without it the variable.
///
/// # Errors
/// There is none, or it has not the form of a credential.
pub(super) fn read(file: Option<&Path>, stdin: &mut impl Read) -> anyhow::Result<JobCredential> {
    let secret = match file {
        Some(path) if path == Path::new("-") => {
            let mut text = String::new();
            let limit = u64::try_from(MAX_LENGTH + 2).unwrap_or(u64::MAX);
            stdin
                .take(limit)
                .read_to_string(&mut text)
                .context("standard input")?;
            Secret::new(&text).context("standard input")?
        }
        Some(path) => Secret::from_file(path)?,
        None => Secret::from_env(VARIABLE)
            .context("no job credential: name its file with --token-file, - for standard input")?,
    };
    Ok(JobCredential::new(secret.expose())?)
}
