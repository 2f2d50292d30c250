//! Commands in pretended pods, over the WebSocket channels of Kubernetes.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

/// The subprotocols spoken, best first.
pub(super) const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
/// Since v5: the channel named in the next byte is at its end.
const CLOSE: u8 = 255;

/// A command that was asked for.
pub(super) struct Process {
    pod: String,
    command: Vec<String>,
    has_stdin: bool,
}

type Socket = WebSocketStream<TokioIo<Upgraded>>;

pub(super) async fn serve(upgrade: OnUpgrade, process: Process) -> Result<()> {
    let io = TokioIo::new(upgrade.await.context("switching protocols")?);
    let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
    let exit_code = process.run(&mut socket).await?;
    send(
        &mut socket,
        ERROR,
        outcome(exit_code).to_string().as_bytes(),
    )
    .await?;
    // Clients take a closing frame without a code for a failure.
    socket
        .close(Some(CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        }))
        .await?;
    // The client answers the closing frame; hanging up earlier could take the last output with it.
    while let Some(Ok(_)) = socket.next().await {}
    // TLS has an end of its own, without which the connection looks broken.
    socket.get_mut().shutdown().await?;
    Ok(())
}

impl Process {
    pub(super) fn new(pod: &str, command: Vec<String>, has_stdin: bool) -> Self {
        Self {
            pod: pod.to_owned(),
            command,
            has_stdin,
        }
    }

    /// Runs to the exit code. Known: `cat`, `echo`, `hostname`, `sh -c "exit N"`.
    async fn run(&self, socket: &mut Socket) -> Result<u8> {
        let words: Vec<&str> = self.command.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["cat"] if self.has_stdin => cat(socket).await,
            ["cat"] => Ok(0),
            ["echo", rest @ ..] => {
                send(socket, STDOUT, format!("{}\n", rest.join(" ")).as_bytes()).await?;
                Ok(0)
            }
            ["hostname"] => {
                send(socket, STDOUT, format!("{}\n", self.pod).as_bytes()).await?;
                Ok(0)
            }
            ["sh", "-c", script] => match script
                .strip_prefix("exit ")
                .and_then(|code| code.trim().parse().ok())
            {
                Some(code) => Ok(code),
                None => unknown(socket, script).await,
            },
            [command, ..] => unknown(socket, command).await,
            [] => unknown(socket, "").await,
        }
    }
}

/// Sends stdin back until it ends.
async fn cat(socket: &mut Socket) -> Result<u8> {
    while let Some(message) = socket.next().await {
        let data = match message? {
            Message::Binary(data) => data,
            Message::Close(_) => break,
            _ => continue,
        };
        match data.split_first() {
            Some((&STDIN, rest)) => send(socket, STDOUT, rest).await?,
            Some((&CLOSE, [STDIN, ..])) => break,
            // Sizes of terminals, and channels of the future.
            _ => {}
        }
    }
    Ok(0)
}

async fn unknown(socket: &mut Socket, command: &str) -> Result<u8> {
    let sorry = format!(
        "{command}: not found in the stand-in (try cat, echo, hostname, sh -c \"exit 3\")\n"
    );
    send(socket, STDERR, sorry.as_bytes()).await?;
    Ok(127)
}

async fn send(socket: &mut Socket, channel: u8, data: &[u8]) -> Result<()> {
    let frame: Bytes = [&[channel], data].concat().into();
    socket
        .send(Message::Binary(frame))
        .await
        .context("writing to the client")
}

/// The `Status` that kubectl takes the exit code from.
fn outcome(exit_code: u8) -> Value {
    if exit_code == 0 {
        return json!({"metadata": {}, "status": "Success"});
    }
    json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: {exit_code}"),
        "details": {"causes": [{"reason": "ExitCode", "message": exit_code.to_string()}]},
    })
}
