//! One request at a time through a real tunnel, against a scripted API server.

use bytes::Bytes;
use ci_tunnel::protocol::identity::{Impersonation, KubernetesIdentity};
use ci_tunnel::runtime::drain;
use ci_tunnel::transport::connection::Connection;
use http::{HeaderValue, StatusCode};
use tempfile::TempDir;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::testing::{AGENT, Listener, answer, ask, head, metrics, pair, rest, upgrade};
use crate::upstream::testing::{STALL, Script, Scripted};

/// A server's connection to an agent that serves, and the API server behind it.
struct Bed {
    server: Connection,
    api: Scripted,
    _listener: Listener,
    _dir: TempDir,
    _drain: drain::Trigger,
    _serving: AbortOnDropHandle<()>,
}

async fn bed(scripts: Vec<Script>, response_deadline: Duration) -> Bed {
    let dir = tempfile::tempdir().unwrap();
    let api = Scripted::start(scripts, None).await;
    let upstream = api.upstream(dir.path()).await;
    let listener = Listener::bind();
    let (server, agent) = pair(&listener).await;
    let (trigger, watcher) = drain::channel();
    let context = Arc::new(Context {
        recent: identity::Recent::default(),
        agent: AGENT,
        upstream,
        metrics: metrics(),
        response_deadline,
        draining: watcher.notice(),
    });
    let serving = tokio::spawn(async move {
        let mut streams = tokio::task::JoinSet::new();
        while let Ok((sender, receiver)) = agent.accept().await {
            streams.spawn(serve(sender, receiver, Arc::clone(&context)));
        }
    });
    let serving = AbortOnDropHandle::new(serving);
    Bed {
        server,
        api,
        _listener: listener,
        _dir: dir,
        _drain: trigger,
        _serving: serving,
    }
}

const PATIENT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_small_response_comes_whole() {
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nWarning: 1\r\nWarning: 2\r\nKeep-Alive: timeout=5\r\n\r\nok";
    let bed = bed(vec![vec![ok, ok]], PATIENT).await;
    let mut request = head("/api/v1/pods?labelSelector=a%3Db", RequestKind::Empty);
    request.identity = KubernetesIdentity::Impersonate(Arc::new(Impersonation {
        username: "gitlab:ci_job:1".to_owned(),
        ..Impersonation::default()
    }));
    for _ in 0..2 {
        let (_sender, mut receiver) = ask(&bed.server, &request).await;
        let response = answer(&mut receiver).await.unwrap();
        assert_eq!(
            (
                response.status,
                response.headers.get_all("warning").iter().count()
            ),
            (StatusCode::OK, 2)
        );
        assert!(!response.headers.contains_key("keep-alive"));
        assert_eq!(rest(&mut receiver).await.unwrap(), (b"ok".to_vec(), None));
    }
    let head = &bed.api.heads()[0];
    assert!(
        head.starts_with("GET /api/v1/pods?labelSelector=a%3Db HTTP/1.1\r\n"),
        "{head}"
    );
    assert!(
        head.contains("impersonate-user: gitlab:ci_job:1\r\n"),
        "{head}"
    );
    assert!(
        !head.contains("content-length") && !head.contains("transfer-encoding"),
        "{head}"
    );
}

#[tokio::test]
async fn a_streamed_response_keeps_its_trailers() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-end\r\n\r\n\
                   3\r\nabc\r\n2\r\nde\r\n0\r\nx-end: yes\r\n\r\n";
    let bed = bed(vec![vec![chunked]], PATIENT).await;
    let (_sender, mut receiver) = ask(&bed.server, &head("/", RequestKind::Empty)).await;
    answer(&mut receiver).await.unwrap();
    let (body, trailers) = rest(&mut receiver).await.unwrap();
    assert_eq!(body, b"abcde");
    assert_eq!(
        trailers.unwrap().get("x-end"),
        Some(&HeaderValue::from_static("yes"))
    );
}

#[tokio::test]
async fn what_is_refused_never_reaches_the_api_server() {
    let bed = bed(
        vec![vec!["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]],
        PATIENT,
    )
    .await;
    let mut forged = head("/", RequestKind::Empty);
    forged.headers.insert(
        "impersonate-group",
        HeaderValue::from_static("system:masters"),
    );
    let mut astray = head("/", RequestKind::Empty);
    astray.agent = AGENT + 1;
    let cut = head("/a#b", RequestKind::Empty);
    for request in [forged, astray, cut] {
        let (_sender, mut receiver) = ask(&bed.server, &request).await;
        assert_eq!(
            answer(&mut receiver).await.unwrap_err().cause,
            Cause::Refused,
            "{request:?}"
        );
    }
    let (_sender, mut receiver) = ask(&bed.server, &head("/good", RequestKind::Empty)).await;
    assert_eq!(answer(&mut receiver).await.unwrap().status, StatusCode::OK);
    assert_eq!(bed.api.heads().len(), 1, "{:?}", bed.api.heads());
}

#[tokio::test]
async fn a_verified_101_makes_the_stream_raw() {
    let switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: spdy/3.1\r\n\
                    X-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\nright behind,";
    let bed = bed(vec![vec![switched]], PATIENT).await;
    let (mut sender, mut receiver) = ask(&bed.server, &upgrade("/exec", "SPDY/3.1")).await;
    // What the client sends before the answer waits its turn.
    sender.write("early,".into()).await.unwrap();
    let response = answer(&mut receiver).await.unwrap();
    assert_eq!(response.upgrade, Some(HeaderValue::from_static("SPDY/3.1")));
    assert!(response.headers.contains_key("x-stream-protocol-version"));
    assert!(
        !response.headers.contains_key("connection") && !response.headers.contains_key("upgrade")
    );
    sender.write("late".into()).await.unwrap();
    // The scripted server sends back what it gets, and ends when we end: half-close reached it, and its rest us.
    sender.finish();
    let mut all = Vec::new();
    while let Some(bytes) = receiver.raw().await.unwrap() {
        all.extend_from_slice(&bytes);
    }
    assert_eq!(all, b"right behind,early,late");
    let head = &bed.api.heads()[0];
    assert!(
        head.contains("connection: Upgrade\r\n") && head.contains("upgrade: SPDY/3.1\r\n"),
        "{head}"
    );
}

#[tokio::test]
async fn anything_but_the_verified_101_switches_nothing() {
    let refused = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
    let other =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let unnamed = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n";
    let bed = bed(
        vec![
            vec![refused, STALL],
            vec![other],
            vec![unnamed],
            vec![other],
        ],
        PATIENT,
    )
    .await;
    let (mut sender, mut receiver) = ask(&bed.server, &upgrade("/exec", "SPDY/3.1")).await;
    assert_eq!(
        answer(&mut receiver).await.unwrap().status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(rest(&mut receiver).await.unwrap().0, b"no");
    let smuggled = Bytes::from_static(b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n");
    // The agent may already have said that it reads no further.
    let _ = sender.write(smuggled).await;
    bed.api.closed().await;
    for request in [
        upgrade("/exec", "SPDY/3.1"),
        upgrade("/exec", "SPDY/3.1"),
        head("/", RequestKind::Empty),
    ] {
        let (_sender, mut receiver) = ask(&bed.server, &request).await;
        assert_eq!(
            answer(&mut receiver).await.unwrap_err().cause,
            Cause::BadUpgrade
        );
    }
    assert!(
        bed.api
            .heads()
            .iter()
            .all(|head| !head.contains("smuggled"))
    );
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_request_at_the_api_server() {
    let begun = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n";
    let bed = bed(vec![vec![STALL], vec![begun, STALL]], PATIENT).await;
    let (_sender, mut waiting) = ask(&bed.server, &head("/slow", RequestKind::Empty)).await;
    bed.api.next_head().await;
    waiting.stop(Code::Cancelled);
    bed.api.closed().await;
    let (_sender, mut watching) = ask(&bed.server, &head("/watch", RequestKind::Empty)).await;
    answer(&mut watching).await.unwrap();
    watching.stop(Code::Cancelled);
    bed.api.closed().await;
}

#[tokio::test]
async fn a_broken_response_is_cut_not_ended() {
    let long = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nabc";
    let short = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc";
    let bed = bed(vec![vec![long], vec![short]], PATIENT).await;
    let (_sender, mut receiver) = ask(&bed.server, &head("/", RequestKind::Empty)).await;
    // A reset may overtake the head.
    let cut = match receiver.frame(MAX_HEAD_FRAME).await {
        Ok(_) => rest(&mut receiver).await.unwrap_err(),
        Err(error) => error,
    };
    assert!(
        matches!(cut, stream::Error::Reset(Code::UpstreamBroken)),
        "{cut}"
    );
    let (_sender, mut receiver) = ask(&bed.server, &head("/", RequestKind::Empty)).await;
    let failure = answer(&mut receiver).await.unwrap_err();
    assert!(
        failure.message.contains("broke"),
        "nothing was sent yet, so it can be told: {failure:?}"
    );
}

#[tokio::test]
async fn no_answer_in_time_is_told() {
    let bed = bed(vec![vec![STALL]], Duration::from_millis(20)).await;
    let (_sender, mut receiver) = ask(&bed.server, &head("/", RequestKind::Empty)).await;
    assert_eq!(
        answer(&mut receiver).await.unwrap_err().cause,
        Cause::Timeout
    );
    bed.api.closed().await;
}

#[tokio::test]
async fn the_deadline_waits_for_the_end_of_an_upload_and_an_early_answer_does_not() {
    let early = "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig";
    let bed = bed(
        vec![vec![STALL], vec![early, STALL]],
        Duration::from_millis(20),
    )
    .await;
    let (mut sender, mut receiver) = ask(&bed.server, &head("/", RequestKind::Body)).await;
    let waited = timeout(Duration::from_millis(100), answer(&mut receiver)).await;
    assert!(
        waited.is_err(),
        "the upload is not over, so no deadline runs"
    );
    sender.finish();
    assert_eq!(
        answer(&mut receiver).await.unwrap_err().cause,
        Cause::Timeout
    );
    let (mut sender, mut receiver) = ask(&bed.server, &head("/", RequestKind::Body)).await;
    sender.write_data("some".into()).await.unwrap();
    assert_eq!(
        answer(&mut receiver).await.unwrap().status,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    assert_eq!(rest(&mut receiver).await.unwrap().0, b"big");
    assert_eq!(
        sender.stopped().await,
        Some(Code::Done),
        "the client hears that nobody reads on"
    );
}
