//! The origin of the benchmarks, as a process of its own: `origin DIRECTORY ADDRESS`.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::Parser;

#[derive(Debug, Parser)]
struct Arguments {
    /// For the authority that clients are to trust
    directory: PathBuf,
    /// To listen on
    address: Ipv4Addr,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    ci_tunnel_benches::origin::program::serve(&arguments.directory, arguments.address).await
}
