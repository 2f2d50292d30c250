//! `run` as a process: its port, its token file, and its end.

use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

use crate::place::{DEADLINE, Place};

struct Agent {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
}

impl Agent {
    async fn start(place: &Place) -> Self {
        let mut child = place
            .command(&["run", "--config", "agent.yaml"])
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut agent = Self { child, log };
        agent.line("agent starts").await;
        agent
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

    async fn signal(&self, name: &str) {
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

    /// Waits for its end, which is a good one.
    async fn end(&mut self) {
        let status = timeout(DEADLINE, self.child.wait())
            .await
            .expect("the agent does not end");
        assert_eq!(status.unwrap().code(), Some(0));
    }
}

#[tokio::test]
async fn signals_end_it_with_0_although_its_server_is_away() {
    let place = Place::new();
    for (first, second) in [("-TERM", None), ("-INT", None), ("-TERM", Some("-TERM"))] {
        let mut agent = Agent::start(&place).await;
        let asked = Instant::now();
        agent.signal(first).await;
        if let Some(second) = second {
            agent.line("a second signal ends at once").await;
            agent.signal(second).await;
        }
        agent.line("ended").await;
        agent.end().await;
        assert!(
            asked.elapsed() < Duration::from_secs(10),
            "{first} {second:?}: {:?}",
            asked.elapsed()
        );
    }
}

#[tokio::test]
async fn a_bad_token_file_is_named() {
    let place = Place::new();
    let file = place.path("token");
    for (text, says) in [
        (None, "No such file or directory (os error 2)"),
        (Some("\n"), "is empty"),
    ] {
        match text {
            Some(text) => drop(place.write("token", text)),
            None => std::fs::remove_file(&file).unwrap(),
        }
        let ran = place.run(&["run", "--config", "agent.yaml"]).await;
        let message = ran.message(1);
        let begins = format!("token: secret file {}", file.display());
        assert!(
            message.starts_with(&begins) && message.contains(says),
            "{message}"
        );
        let checked = place.run(&["check", "--config", "agent.yaml"]).await;
        assert_eq!(checked.code, Some(1));
        assert!(
            checked.stdout.contains("FAIL  token        secret file "),
            "{}",
            checked.stdout
        );
    }
}

#[tokio::test]
async fn a_taken_port_is_named_with_its_setting() {
    let place = Place::new();
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = other.local_addr().unwrap().to_string();
    place.write("agent.yaml", &place.config(&format!("ops: {taken}\n")));
    let ran = place.run(&["run", "--config", "agent.yaml"]).await;
    let message = ran.message(1);
    for part in ["ops", &taken, "in use"] {
        assert!(message.contains(part), "{message}");
    }
}
