//! The loop against a server that refuses, restarts and leaves.

use ci_tunnel::config::net::Quic;
use ci_tunnel::config::value::{Secret, SecretSource};
use ci_tunnel::protocol::code::Code;
use ci_tunnel::protocol::control::{Health, Message, Refused, Welcome};
use ci_tunnel::runtime::drain;
use ci_tunnel::transport::credit::Budget;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::*;
use crate::session;
use crate::testing::{AGENT, Control, Listener, metrics};
use crate::upstream::testing::Scripted;

struct Bed {
    listener: Listener,
    running: JoinHandle<Result<(), Error>>,
    connected: mpsc::Receiver<bool>,
    drain: drain::Trigger,
    _dir: tempfile::TempDir,
}

async fn bed(watchdog: Duration) -> Bed {
    let dir = tempfile::tempdir().unwrap();
    let api = Scripted::start(vec![], None).await;
    let shared = Arc::new(Shared {
        upstream: api.upstream(dir.path()).await,
        metrics: metrics(),
        token: SecretSource::Text(Secret::new("t0ken").unwrap()),
        instance: 1,
        pod: None,
        health: watch::channel(Health::default()).1,
        settings: session::Settings {
            probe: false,
            quic: Quic::default(),
            drain_timeout: Duration::from_secs(60),
            response_deadline: Duration::from_secs(60),
        },
        pace: session::Pace::default(),
        set_aside: watch::Sender::new(None),
        budget: Budget::new(0),
        set_log_level: Box::new(|_| {}),
    });
    let listener = Listener::bind();
    let (trigger, watcher) = drain::channel();
    let (tell, connected) = mpsc::channel(64);
    let server = listener.server();
    let running = tokio::spawn(async move {
        let tell = move |is| tell.try_send(is).unwrap();
        run(server, shared, watchdog, watcher.notice(), tell).await
    });
    Bed {
        listener,
        running,
        connected,
        drain: trigger,
        _dir: dir,
    }
}

async fn welcome(control: &mut Control, session: u64) {
    control
        .send(Message::Welcome(Welcome {
            agent: AGENT,
            session,
            version: "1".to_owned(),
            first_credit: None,
        }))
        .await;
}

const PATIENT: Duration = Duration::from_secs(300);

#[tokio::test]
async fn a_restarting_server_is_dialled_again_and_a_drain_ends_the_loop() {
    let mut bed = bed(PATIENT).await;
    let (first, mut control) = bed.listener.accept_hello().await;
    welcome(&mut control, 1).await;
    assert_eq!(bed.connected.recv().await, Some(true));
    let before = Instant::now();
    first.close(Code::Restarting, "restart");
    assert_eq!(bed.connected.recv().await, Some(false));
    let (second, mut control) = bed.listener.accept_hello().await;
    assert!(
        before.elapsed() < Duration::from_secs(5),
        "{:?}",
        before.elapsed()
    );
    welcome(&mut control, 2).await;
    assert_eq!(bed.connected.recv().await, Some(true));
    assert_eq!(bed.drain.drain(PATIENT).await, drain::Outcome::Drained);
    assert_eq!(second.closed().await.code, Code::Done);
    bed.running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_leaving_server_keeps_its_session_while_the_next_begins() {
    let mut bed = bed(PATIENT).await;
    let (old, mut control) = bed.listener.accept_hello().await;
    welcome(&mut control, 1).await;
    assert_eq!(bed.connected.recv().await, Some(true));
    control.send(Message::Drain { grace: PATIENT }).await;
    let (_new, mut next) = bed.listener.accept_hello().await;
    welcome(&mut next, 2).await;
    assert_eq!(
        bed.connected.recv().await,
        Some(true),
        "never without a session"
    );
    control.send(Message::Ping(5)).await;
    control.find(|message| *message == Message::Pong(5)).await;
    old.close(Code::Restarting, "gone");
}

#[tokio::test]
async fn a_refusal_is_tried_again_when_the_server_says() {
    let bed = bed(PATIENT).await;
    let (refusing, mut control) = bed.listener.accept_hello().await;
    let refused = Refused {
        code: Code::Overloaded,
        message: "full".to_owned(),
        retry_after: Duration::from_millis(300),
    };
    let before = Instant::now();
    control.send(Message::Refused(refused)).await;
    refusing.closed().await;
    let (_connection, _control) = bed.listener.accept_hello().await;
    assert!(
        before.elapsed() >= Duration::from_millis(300),
        "{:?}",
        before.elapsed()
    );
}

#[tokio::test]
async fn silence_ends_the_loop() {
    let bed = bed(Duration::from_millis(1)).await;
    let listener = bed.listener;
    // A hello without an answer is no sign of life.
    let silent = async move {
        loop {
            listener.accept_hello().await.0.close(Code::Done, "");
        }
    };
    let ended = tokio::select! {
        ended = bed.running => ended.unwrap(),
        () = silent => unreachable!("it never ends"),
    };
    assert!(matches!(ended, Err(Error::Watchdog(_))), "{ended:?}");
}
