//! `serve` as a process: its ports, and its end.

use std::net::SocketAddr;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::{interval, timeout};

use crate::place::{DEADLINE, Place};

pub(crate) struct Server {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    serving: String,
}

impl Server {
    pub(crate) async fn start(place: &Place) -> Self {
        let mut child = place.command(&["serve"]).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut server = Self {
            child,
            log,
            serving: String::new(),
        };
        server.serving = server.line("serving ").await;
        server
    }

    /// The next line of the log that has `wanted`.
    async fn line(&mut self, wanted: &str) -> String {
        let search = async {
            while let Some(line) = self.log.next_line().await.unwrap() {
                if line.contains(wanted) {
                    return line;
                }
            }
            panic!("the log ended without {wanted:?}")
        };
        timeout(DEADLINE, search)
            .await
            .unwrap_or_else(|_| panic!("no line with {wanted:?}"))
    }

    /// An address of the line that says where it serves.
    fn address(&self, name: &str) -> SocketAddr {
        let mut words = self.serving.split_whitespace();
        let address = words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        address
            .unwrap_or_else(|| panic!("no {name} in {}", self.serving))
            .parse()
            .unwrap()
    }

    pub(crate) async fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        assert!(
            Command::new("kill")
                .args([name, &pid])
                .status()
                .await
                .unwrap()
                .success()
        );
    }

    pub(crate) async fn end(&mut self) -> ExitStatus {
        timeout(DEADLINE, self.child.wait())
            .await
            .expect("the server does not end")
            .unwrap()
    }
}

#[tokio::test]
async fn sigterm_and_sigint_end_it_with_0() {
    for signal in ["-TERM", "-INT"] {
        let place = Place::new();
        let mut server = Server::start(&place).await;
        server.signal(signal).await;
        server.line("drained").await;
        assert_eq!(server.end().await.code(), Some(0), "{signal}");
    }
}

#[tokio::test]
async fn a_second_sigterm_ends_it_at_once() {
    let place = Place::new();
    let cleartext = "kubernetes_api: {listen: 127.0.0.1:0, cleartext: everyone-on-the-network-can-steal-tokens}\n\
                     timeouts: {hold: 10m, drain: 10m}\n";
    place.write("server.yaml", &place.config(cleartext));
    place.ok(&["agent", "create", "acme/infra:prod"]).await;
    let token = place
        .ok(&["job-token", "issue", "--project", "acme/infra"])
        .await;
    let mut server = Server::start(&place).await;

    // A request for an agent that never comes keeps the server waiting for as long as it may.
    let mut client = TcpStream::connect(server.address("kubernetes_api"))
        .await
        .unwrap();
    let request = format!(
        "GET /api HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ci:1:{}\r\n\r\n",
        token.trim()
    );
    client.write_all(request.as_bytes()).await.unwrap();
    metric(server.address("ops"), "ci_tunnel_server_requests_running 1").await;
    server.signal("-TERM").await;
    server.line("draining").await;
    assert!(server.child.try_wait().unwrap().is_none());

    let asked = Instant::now();
    server.signal("-TERM").await;
    let mut answer = String::new();
    timeout(DEADLINE, client.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.contains("shutting down"),
        "{answer}"
    );
    assert_eq!(server.end().await.code(), Some(0));
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "{:?}",
        asked.elapsed()
    );
}

#[tokio::test]
async fn a_taken_port_is_named_with_its_setting() {
    let place = Place::new();
    let server = Server::start(&place).await;
    for (name, setting) in [
        ("kubernetes_api", "kubernetes_api"),
        ("agents", "agents"),
        ("ops", "ops"),
    ] {
        let second = Place::new();
        let taken = server.address(name);
        let free = format!("{setting}: {{listen: 127.0.0.1:0}}\n");
        let config = second
            .config("")
            .replace(&free, &format!("{setting}: {{listen: {taken}}}\n"));
        second.write("server.yaml", &config);
        let message = second.fails(1, &["serve"]).await;
        for part in [&format!("{setting}.listen"), &taken.to_string(), "in use"] {
            assert_eq!(message.matches(part).count(), 1, "{setting}: {message}");
        }
        let checked = second.ok(&["check"]).await;
        assert!(
            checked.contains(&format!(
                "{taken} is in use; that is right if the server runs already"
            )),
            "{checked}"
        );
    }
}

/// Waits until the operator's port shows `line`.
async fn metric(ops: SocketAddr, line: &str) {
    let shown = async {
        let mut pause = interval(Duration::from_millis(20));
        loop {
            pause.tick().await;
            let mut stream = TcpStream::connect(ops).await.unwrap();
            let request =
                format!("GET /metrics HTTP/1.1\r\nHost: {ops}\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            if text.lines().any(|found| found == line) {
                return;
            }
        }
    };
    timeout(DEADLINE, shown)
        .await
        .unwrap_or_else(|_| panic!("{line} is not to be seen"));
}
