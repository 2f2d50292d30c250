use std::io::{Read, Write};
use std::net::TcpStream;

use prometheus_client::metrics::counter::Counter;

use super::*;
use crate::runtime::drain;

struct Bed {
    running: Running,
    readiness: Readiness,
    trigger: drain::Trigger,
    _log: Box<dyn std::any::Any>,
}

fn bed(more: Router) -> Bed {
    let mut registry = Registry::default();
    let counter = Counter::<u64>::default();
    registry.register("requests", "Requests so far", counter.clone());
    counter.inc_by(3);
    let (log, level) = LogLevel::detached();
    let (trigger, watcher) = drain::channel();
    let readiness = Readiness::new();
    let ops = Ops {
        registry: Arc::new(registry),
        readiness: readiness.clone(),
        level,
        drain: watcher.notice(),
    };
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    Bed {
        running: serve(listener, ops, more).unwrap(),
        readiness,
        trigger,
        _log: Box::new(log),
    }
}

impl Bed {
    fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.running.address()).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

#[test]
fn shows_metrics_in_open_metrics() {
    let answer = bed(Router::new()).ask("GET", "/metrics", "");
    assert!(answer.contains(OPEN_METRICS), "{answer}");
    assert!(
        answer.contains("requests_total 3\n") && answer.ends_with("# EOF\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn readiness_names_what_is_missing() {
    let bed = bed(Router::new());
    assert!(bed.ask("GET", "/livez", "").starts_with("HTTP/1.1 200"));
    let latch = bed.readiness.latch("the listener");
    let answer = bed.ask("GET", "/readyz", "");
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("the listener"),
        "{answer}"
    );
    latch.release();
    assert!(bed.ask("GET", "/readyz", "").starts_with("HTTP/1.1 200"));
    bed.trigger.drain(std::time::Duration::ZERO).await;
    let answer = bed.ask("GET", "/readyz", "");
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("draining"),
        "{answer}"
    );
}

#[test]
fn the_log_level_is_shown_and_set() {
    let bed = bed(Router::new());
    assert!(bed.ask("GET", "/log", "").ends_with("\r\n\r\ninfo\n"));
    assert!(bed.ask("PUT", "/log", "debug").ends_with("\r\n\r\ndebug\n"));
    assert!(bed.ask("GET", "/log", "").ends_with("debug\n"));
    assert!(bed.ask("PUT", "/log", "a=b=c").starts_with("HTTP/1.1 400"));
    assert!(
        bed.ask("PUT", "/log", &"x".repeat(MAX_BODY + 1))
            .starts_with("HTTP/1.1 413")
    );
}

#[test]
fn other_hosts_do_not_see_the_log_level() {
    for (peer, refused) in [
        ("127.0.0.1:1", false),
        ("[::1]:1", false),
        ("[::ffff:127.0.0.1]:1", false),
        ("192.0.2.1:1", true),
    ] {
        assert_eq!(
            from_this_host(ConnectInfo(peer.parse().unwrap())).is_some(),
            refused,
            "{peer}"
        );
    }
}

#[test]
fn more_routes_are_served_and_a_taken_port_is_an_error() {
    let bed = bed(Router::new().route("/status", get(async || "fine")));
    assert!(bed.ask("GET", "/status", "").ends_with("fine"));
    let error = bind(bed.running.address()).unwrap_err().to_string();
    assert!(
        error.contains(&bed.running.address().to_string()),
        "{error}"
    );
}
