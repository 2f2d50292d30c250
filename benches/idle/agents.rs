//! Agents that are connected and nothing else: many of them in this process, since it is the server's share that counts.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::BytesMut;
use ci_tunnel::config::net::Quic;
use ci_tunnel::protocol::control::{Health, Hello, Message};
use ci_tunnel::protocol::{ALPN, MAX_CONTROL_FRAME};
use ci_tunnel::transport::connection::Connection;
use ci_tunnel::transport::endpoint;
use ci_tunnel::transport::stream::{Receiver, Sender};
use ci_tunnel::transport::tls::{Trust, client_config};
use ci_tunnel_tests::tunnel::Tunnel as Programs;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Connected agents; they leave when this is dropped.
#[derive(Debug)]
pub(super) struct Agents {
    tasks: JoinSet<Result<()>>,
}

/// How many sessions one registered agent has.
const SESSIONS: usize = 50;
/// How many connect at a time.
const AT_A_TIME: usize = 20;
const DEADLINE: Duration = Duration::from_secs(20);

impl Agents {
    /// All of them are admitted when it returns.
    pub(super) async fn connect(programs: &Programs, count: usize) -> Result<Self> {
        let quic = Quic::default();
        let address = programs.agents_addr();
        let endpoint = endpoint::client(address, &quic)?;
        let mut tasks = JoinSet::new();
        let (mut connecting, mut begun) = (JoinSet::new(), 0);
        let mut who = None;
        while begun < count || !connecting.is_empty() {
            if begun < count && connecting.len() < AT_A_TIME {
                if begun % SESSIONS == 0 {
                    who = Some(register(programs).await?);
                }
                let (token, trust) = who.clone().context("registered above")?;
                let tls = client_config(&trust, &[ALPN])?;
                let (endpoint, quic) = (endpoint.clone(), quic.clone());
                connecting.spawn(async move {
                    let attempt = async {
                        let connection = endpoint.connect(address, "localhost", &quic, tls).await?;
                        admitted(connection, token, begun as u64).await
                    };
                    timeout(DEADLINE, attempt).await?
                });
                begun += 1;
            } else if let Some(connected) = connecting.join_next().await {
                tasks.spawn(connected??.stay());
            }
        }
        Ok(Self { tasks })
    }

    /// That all of them still are.
    pub(super) fn check(mut self) -> Result<()> {
        match self.tasks.try_join_next() {
            Some(ended) => ended?.context("an idle agent"),
            None => Ok(()),
        }
    }
}

/// A token, and trust in the server, of a new agent.
async fn register(programs: &Programs) -> Result<(String, Arc<Trust>)> {
    static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let name = format!("acme/infra:idle-{number}");
    let created = programs.cli(&["agent", "create", "--json", &name]).await?;
    let created: Value = serde_json::from_str(&created)?;
    let token = created["token"].as_str().context("no token")?.to_owned();
    let command = created["command"].as_str().context("no command")?;
    let (_, pin) = command.rsplit_once("--pin ").context("no pin")?;
    Ok((token, Arc::new(Trust::Pin(pin.trim().parse()?))))
}

/// An agent that the server has admitted.
struct Admitted {
    _connection: Connection,
    sender: Sender,
    receiver: Receiver,
}

async fn admitted(connection: Connection, token: String, instance: u64) -> Result<Admitted> {
    let (sender, receiver) = connection
        .open()
        .await
        .map_err(|closed| anyhow::anyhow!("{}: {}", closed.code, closed.reason))?;
    let mut agent = Admitted {
        _connection: connection,
        sender,
        receiver,
    };
    let hello = Hello {
        token,
        instance,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Hello::default()
    };
    agent.send(&Message::Hello(hello)).await?;
    let answer = agent.next().await?;
    ensure!(matches!(answer, Message::Welcome(_)), "{answer:?}");
    let health = Health {
        ready: true,
        message: "v0.0.0-idle".to_owned(),
    };
    agent.send(&Message::Health(health)).await?;
    Ok(agent)
}

impl Admitted {
    /// Answers pings.
    async fn stay(mut self) -> Result<()> {
        loop {
            if let Message::Ping(number) = self.next().await? {
                self.send(&Message::Pong(number)).await?;
            }
        }
    }

    async fn send(&mut self, message: &Message) -> Result<()> {
        let mut out = BytesMut::new();
        message.encode(&mut out);
        Ok(self.sender.write(out.freeze()).await?)
    }

    async fn next(&mut self) -> Result<Message> {
        loop {
            let Some((kind, payload)) = self.receiver.frame(MAX_CONTROL_FRAME).await? else {
                bail!("the server ended the control stream");
            };
            if let Some(message) = Message::decode(kind, payload)? {
                return Ok(message);
            }
        }
    }
}
