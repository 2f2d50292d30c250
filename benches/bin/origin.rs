//! The origin of the benchmarks, as a process of its own: `origin DIRECTORY`.

use std::path::PathBuf;

use anyhow::Context as _;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let directory = std::env::args_os()
        .nth(1)
        .context("usage: origin DIRECTORY")?;
    ci_tunnel_benches::origin::program::serve(&PathBuf::from(directory)).await
}
