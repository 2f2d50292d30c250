//! One session, from hello to its end, with the server's end played by the test.

use ci_tunnel::config::value::Secret;
use ci_tunnel::protocol::control::Configure;
use ci_tunnel::protocol::head::RequestKind;
use ci_tunnel::runtime::drain;
use ci_tunnel::transport::params::announced_streams;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::testing::{
    AGENT, Control as ServerControl, Listener, answer, ask, head, metrics, pair, rest,
};
use crate::upstream::testing::{STALL, Script, Scripted};

struct Bed {
    server: Connection,
    control: ServerControl,
    session: JoinHandle<End>,
    drain: drain::Trigger,
    handover: Arc<Handover>,
    health: watch::Sender<Health>,
    levels: mpsc::Receiver<String>,
    api: Scripted,
    _listener: Listener,
    _dir: tempfile::TempDir,
}

async fn bed(scripts: Vec<Script>, max_streams: u32, drain_timeout: Duration) -> Bed {
    let dir = tempfile::tempdir().unwrap();
    let api = Scripted::start(scripts, None).await;
    let (findings, health) = watch::channel(Health::default());
    let (level, levels) = mpsc::channel(8);
    let shared = Arc::new(Shared {
        upstream: api.upstream(dir.path()).await,
        metrics: metrics(),
        token: SecretSource::Text(Secret::new("t0ken").unwrap()),
        instance: 1,
        pod: None,
        health,
        settings: Settings {
            probe: false,
            quic: Quic {
                max_streams,
                ..Quic::default()
            },
            drain_timeout,
            response_deadline: Duration::from_secs(60),
        },
        pace: Pace::default(),
        set_aside: watch::Sender::new(None),
        budget: Budget::new(0),
        set_log_level: Box::new(move |wanted| {
            level.try_send(wanted.unwrap_or("none").to_owned()).unwrap()
        }),
    });
    let listener = Listener::bind();
    let (server, agent) = pair(&listener).await;
    let greet = async {
        let mut control = ServerControl::accept(&server).await;
        control.send(Message::Welcome(welcome())).await;
        control
    };
    let (session, control) = tokio::join!(open(agent, &shared), greet);
    let (trigger, watcher) = drain::channel();
    let handover = Arc::new(Handover::default());
    let asked = Arc::clone(&handover);
    let session = session.unwrap();
    let session = tokio::spawn(async move { session.run(watcher.notice(), asked).await });
    Bed {
        server,
        control,
        session,
        drain: trigger,
        handover,
        health: findings,
        levels,
        api,
        _listener: listener,
        _dir: dir,
    }
}

fn welcome() -> Welcome {
    Welcome {
        agent: AGENT,
        session: 1,
        version: "1".to_owned(),
        first_credit: None,
    }
}

const LONG: Duration = Duration::from_secs(60);
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn the_control_stream_is_answered() {
    let mut bed = bed(vec![], 8, LONG).await;
    bed.control.send(Message::Ping(42)).await;
    bed.control
        .find(|message| *message == Message::Pong(42))
        .await;
    let health = Health {
        ready: true,
        message: "v1.34.0".to_owned(),
    };
    bed.health.send_replace(health.clone());
    bed.control
        .find(|message| *message == Message::Health(health.clone()))
        .await;
    bed.control
        .send(Message::Configure(Configure {
            log_level: Some("debug".to_owned()),
            ping_every: Some(Duration::from_millis(200)),
            ..Configure::default()
        }))
        .await;
    assert_eq!(bed.levels.recv().await.unwrap(), "debug");
    bed.control
        .find(|message| *message == Message::Ping(1))
        .await;
    bed.control.send(Message::Drain { grace: LONG }).await;
    bed.handover.leave.notified().await;
    bed.server.close(Code::Restarting, "bye");
    let End::Lost(closed) = bed.session.await.unwrap() else {
        panic!("it was not drained")
    };
    assert_eq!(
        (closed.code, closed.reason.as_str()),
        (Code::Restarting, "bye")
    );
}

#[tokio::test]
async fn one_request_too_many_is_told() {
    let most = usize::try_from(announced_streams(1)).unwrap();
    let bed = bed(vec![vec![STALL]; most], 1, LONG).await;
    let mut waiting = Vec::new();
    for _ in 0..most {
        waiting.push(ask(&bed.server, &head("/", RequestKind::Empty)).await);
        bed.api.next_head().await;
    }
    let (_second, mut receiver) = ask(&bed.server, &head("/", RequestKind::Empty)).await;
    let failure = answer(&mut receiver).await.unwrap_err();
    assert_eq!(failure.cause, ci_tunnel::protocol::head::Cause::Busy);
}

#[tokio::test]
async fn a_drain_lets_running_requests_end() {
    let begun = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n";
    // The second head is what the first response waits for.
    let mut bed = bed(vec![vec![begun, "0\r\n\r\n"], vec![OK]], 8, LONG).await;
    let (mut upload, mut receiver) = ask(&bed.server, &head("/", RequestKind::Body)).await;
    answer(&mut receiver).await.unwrap();
    let drain = tokio::spawn(async move { bed.drain.drain(LONG).await });
    bed.control
        .find(|message| matches!(message, Message::Drain { .. }))
        .await;
    // The server may not know of the drain yet.
    let (_late, mut late) = ask(&bed.server, &head("/late", RequestKind::Empty)).await;
    assert_eq!(
        answer(&mut late).await.unwrap().status,
        http::StatusCode::OK
    );
    upload
        .write_data("GET / HTTP/1.1\r\n\r\n".into())
        .await
        .unwrap();
    assert_eq!(rest(&mut receiver).await.unwrap().0, b"ab");
    assert!(matches!(bed.session.await.unwrap(), End::Drained));
    assert_eq!(bed.server.closed().await.code, Code::Done);
    assert_eq!(drain.await.unwrap(), drain::Outcome::Drained);
}

#[tokio::test]
async fn what_outlives_the_drain_is_cut() {
    let bed = bed(vec![vec![STALL]], 8, Duration::from_millis(10)).await;
    let (_sender, _receiver) = ask(&bed.server, &head("/", RequestKind::Empty)).await;
    bed.api.next_head().await;
    bed.drain.drain(LONG).await;
    assert_eq!(bed.server.closed().await.code, Code::Restarting);
    bed.api.closed().await;
}
