//! An instance of an agent that connects and does not serve: jobs do not meet it as long as there is another.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use bytes::BytesMut;
use ci_tunnel::config::net::Quic;
use ci_tunnel::protocol::control::{Health, Hello, Message};
use ci_tunnel::protocol::{ALPN, MAX_CONTROL_FRAME};
use ci_tunnel::transport::connection::Connection;
use ci_tunnel::transport::endpoint;
use ci_tunnel::transport::stream::{Receiver, Sender};
use ci_tunnel::transport::tls::{self, Trust};
use ci_tunnel_tests::client::Http;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::rig::{AGENT, Rig};

/// It answers pings, and nothing else.
struct Idler {
    connection: Connection,
    sender: Sender,
    receiver: Receiver,
}

impl Idler {
    async fn connect(rig: &Rig) -> Result<Self> {
        let address: SocketAddr = rig.tunnel.agents_addr();
        let ca_file = rig.tunnel.state_dir().join("ca.pem");
        let tls = tls::client_config(&Trust::CaFile(ca_file), &[ALPN])?;
        let client = endpoint::client(address, &Quic::default())?;
        let name = address.ip().to_string();
        let connection = client
            .connect(address, &name, &Quic::default(), tls)
            .await?;
        let (sender, receiver) = connection.open().await?;
        let mut idler = Self {
            connection,
            sender,
            receiver,
        };
        let token = rig.tunnel.agent_token(0)?;
        idler
            .send(Message::Hello(Hello {
                token: token.trim().to_owned(),
                instance: 1,
                version: "0".to_owned(),
                ..Hello::default()
            }))
            .await?;
        Ok(idler)
    }

    async fn send(&mut self, message: Message) -> Result<()> {
        let mut out = BytesMut::new();
        message.encode(&mut out);
        Ok(self.sender.write(out.freeze()).await?)
    }

    /// Answers pings until the server says that requests avoid it, or until the connection ends.
    async fn until_set_aside(&mut self) -> Result<String> {
        loop {
            let frame = self.receiver.frame(MAX_CONTROL_FRAME).await?;
            let (kind, payload) = frame.context("the end")?;
            match Message::decode(kind, payload)? {
                Some(Message::Ping(number)) => self.send(Message::Pong(number)).await?,
                Some(Message::Refused(refused)) => bail!("{refused:?}"),
                Some(Message::Configure(wishes)) => {
                    if let Some(why) = wishes.set_aside {
                        return Ok(why);
                    }
                }
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn one_on_which_requests_are_stuck() -> Result<()> {
    let rig = Rig::with("agents: { probe_every: 1s }", "").await?;
    let mut idler = Idler::connect(&rig).await?;
    let begin = Instant::now();
    let why = idler.until_set_aside().await?;
    println!("stuck: known after {:?}: {why}", begin.elapsed());
    answered_by_the_other(&rig, "stuck").await?;
    assert!(why.contains("no answer"), "{why}");
    drop(idler.connection);
    Ok(())
}

#[tokio::test]
async fn one_whose_api_server_does_not_answer() -> Result<()> {
    let rig = Rig::with("agents: { probe_every: 0s }", "").await?;
    let mut idler = Idler::connect(&rig).await?;
    let down = Health {
        ready: false,
        message: "connection refused".to_owned(),
    };
    idler.send(Message::Health(down)).await?;
    let told = |status: &Value| {
        let sessions = status["agents"][0]["sessions"]
            .as_array()
            .into_iter()
            .flatten();
        let mut troubles = sessions.filter_map(|session| session["trouble"].as_str());
        troubles.any(|trouble| trouble == "the API server does not answer: connection refused")
    };
    rig.tunnel.wait_status("its trouble", told).await?;
    answered_by_the_other(&rig, "api_server").await
}

async fn answered_by_the_other(rig: &Rig, trouble: &str) -> Result<()> {
    let mut asking = JoinSet::new();
    for _ in 0..30 {
        let client = rig.client(Http::Two)?;
        asking.spawn(async move { client.get("/small").await.map(|answer| answer.status()) });
    }
    for status in asking.join_all().await {
        assert_eq!(status?, 200);
    }
    let series = format!("ci_tunnel_server_agent_sessions_in_trouble{{trouble=\"{trouble}\"}}");
    assert_eq!(rig.tunnel.metric(&series).await?, 1.0);
    rig.tunnel.wait_connected(AGENT).await?;
    Ok(())
}
