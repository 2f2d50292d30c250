//! Over SSH: one key is let in, and may run `git-upload-pack`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use russh::keys::{PublicKey, load_public_key, load_secret_key};
use russh::server::{
    Auth, ChannelOpenHandle, Config, Handler, Msg, Session, VerifiedPublicKey, run_stream,
};
use russh::{Channel, ChannelId};
use tokio::io::copy;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{State, git};

/// Accepts for ever. `keys`: the host's own, and the one that is let in.
pub(super) async fn serve(
    servers: &mut JoinSet<()>,
    keys: &[PathBuf; 2],
    state: Arc<State>,
) -> Result<SocketAddr> {
    let config = Arc::new(Config {
        keys: vec![load_secret_key(&keys[0], None)?],
        auth_rejection_time: Duration::ZERO,
        ..Config::default()
    });
    let allowed = load_public_key(&keys[1])?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    servers.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            if state.is_down() {
                continue;
            }
            let connection = Connection {
                state: Arc::clone(&state),
                allowed: allowed.clone(),
                channels: HashMap::new(),
                protocol: String::new(),
            };
            let config = Arc::clone(&config);
            connections.spawn(async move {
                // How it ended is the client's to tell.
                if let Ok(session) = run_stream(config, stream, connection).await {
                    let _ = session.await;
                }
            });
        }
    });
    Ok(address)
}

struct Connection {
    state: Arc<State>,
    allowed: PublicKey,
    channels: HashMap<ChannelId, Channel<Msg>>,
    /// `GIT_PROTOCOL` of the client.
    protocol: String,
}

impl Handler for Connection {
    type Error = anyhow::Error;

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth> {
        let known = user == "git" && key.public_key.key_data() == self.allowed.key_data();
        Ok(if known { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<()> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<()> {
        if name == "GIT_PROTOCOL" && !self.state.is_old() {
            value.clone_into(&mut self.protocol);
        }
        Ok(session.channel_success(channel)?)
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<()> {
        let channel = self.channels.remove(&id).context("no such channel")?;
        let command = std::str::from_utf8(command)?;
        let path = command
            .strip_prefix("git-upload-pack '")
            .and_then(|rest| rest.strip_suffix('\''));
        match path {
            Some(path) => {
                session.channel_success(id)?;
                tokio::spawn(upload_pack(
                    Arc::clone(&self.state),
                    path.to_owned(),
                    self.protocol.clone(),
                    channel,
                ));
            }
            None => session.channel_failure(id)?,
        }
        Ok(())
    }
}

async fn upload_pack(
    state: Arc<State>,
    path: String,
    protocol: String,
    channel: Channel<Msg>,
) -> Result<()> {
    state.ask(&path).await;
    let mut child = git()
        .args(["upload-pack", "--strict"])
        .env("GIT_PROTOCOL", protocol)
        .arg(state.root.join(path.trim_start_matches('/')))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    let mut stdout = child.stdout.take().context("no standard output")?;
    let mut stderr = child.stderr.take().context("no standard error")?;
    let (mut read, write) = channel.split();
    let input = tokio::spawn(async move {
        // The program may have read all that it wants.
        let _ = copy(&mut read.make_reader(), &mut stdin).await;
    });
    copy(&mut stdout, &mut write.make_writer()).await?;
    copy(&mut stderr, &mut write.make_writer_ext(Some(1))).await?;
    let status = child.wait().await?;
    input.abort();
    write
        .exit_status(status.code().unwrap_or(1).cast_unsigned())
        .await?;
    write.eof().await?;
    write.close().await?;
    Ok(())
}
