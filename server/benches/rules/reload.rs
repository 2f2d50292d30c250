//! Real directories, watched as the server does: from the change of a file to its rules being in force, and what that
//! does to decisions meanwhile.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ci_tunnel_server::access::decide;
use ci_tunnel_server::configrepo::{self, Snapshot};
use ci_tunnel_server::identity::Agent;
use ci_tunnel_server::metrics::Metrics;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::files;

type Snapshots = watch::Receiver<Arc<Snapshot>>;

/// Longer than anything that is measured.
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) fn measure() {
    // `cargo test --benches` asks for a try, not for figures.
    let trial = std::env::args().any(|argument| argument == "--test");
    let agents = std::env::var("RULES_AGENTS")
        .ok()
        .and_then(|agents| agents.parse().ok())
        .unwrap_or(if trial { 10 } else { 5_000 });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        of("small_files", agents, files::small).await;
        of("large_files", agents, files::large).await;
    });
}

async fn of(name: &str, agents: usize, text: fn(usize) -> String) {
    let root = TempDir::new().unwrap();
    for agent in 0..agents {
        write(root.path(), agent, &text(0));
    }
    let repositories = serde_json::json!([{"directory": root.path()}]);
    let mut config: configrepo::Config = serde_json::from_value(repositories).unwrap();
    config.bind(["gitlab"].into_iter()).unwrap();
    let began = Instant::now();
    let state = TempDir::new().unwrap();
    let place = configrepo::Place {
        state_dir: state.path().to_owned(),
        metrics: Metrics::unread(),
    };
    let (_agents, registered) = watch::channel(Arc::default());
    let watched = configrepo::watch(&config, &place, registered).await;
    let (mut snapshots, _watcher) = watched.unwrap();
    report(name, "first_reading", began.elapsed());
    println!("result: {name}/memory {} MiB", resident());

    one_changes(name, &root, agents, text, &mut snapshots).await;
    all_are_touched(name, &root, agents, text, &mut snapshots).await;
    all_change(name, &root, agents, text, &mut snapshots).await;
}

async fn one_changes(
    name: &str,
    root: &TempDir,
    agents: usize,
    text: fn(usize) -> String,
    snapshots: &mut Snapshots,
) {
    let decisions = Decisions::begin(snapshots.clone());
    let mut worst = Duration::ZERO;
    for round in 1..=5 {
        worst = worst.max(in_force(root, agents / 2, &text(round), snapshots).await);
    }
    report(name, "one_changed_is_in_force", worst);
    decisions.end(name, "one_changes");
}

/// As after a fresh checkout: all files are other files, and say the same.
async fn all_are_touched(
    name: &str,
    root: &TempDir,
    agents: usize,
    text: fn(usize) -> String,
    snapshots: &mut Snapshots,
) {
    for agent in 0..agents - 1 {
        write(root.path(), agent, &text(0));
    }
    let decisions = Decisions::begin(snapshots.clone());
    // The last is changed, so that the end of the reading can be seen.
    let took = in_force(root, agents - 1, &text(6), snapshots).await;
    report(name, "all_touched_and_one_changed_is_in_force", took);
    decisions.end(name, "all_are_touched");
}

async fn all_change(
    name: &str,
    root: &TempDir,
    agents: usize,
    text: fn(usize) -> String,
    snapshots: &mut Snapshots,
) {
    let decisions = Decisions::begin(snapshots.clone());
    for agent in 0..agents - 1 {
        write(root.path(), agent, &text(7));
    }
    let took = in_force(root, agents - 1, &text(7), snapshots).await;
    report(name, "all_changed_are_in_force", took);
    decisions.end(name, "all_change");
}

/// From the write of one agent's file to a snapshot that has it.
async fn in_force(
    root: &TempDir,
    number: usize,
    text: &str,
    snapshots: &mut Snapshots,
) -> Duration {
    let before = revision(&snapshots.borrow_and_update(), number);
    let began = Instant::now();
    write(root.path(), number, text);
    let changed = snapshots.wait_for(|snapshot| revision(snapshot, number) != before);
    tokio::time::timeout(PATIENCE, changed)
        .await
        .unwrap()
        .unwrap();
    began.elapsed()
}

fn revision(snapshot: &Snapshot, number: usize) -> String {
    let Agent { project, name, .. } = agent(number);
    snapshot.rules(&project, &name).unwrap().revision.clone()
}

/// Requests of one job at one agent, all the while.
struct Decisions {
    ended: Arc<AtomicBool>,
    thread: thread::JoinHandle<Vec<Duration>>,
}

impl Decisions {
    fn begin(snapshots: Snapshots) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&ended);
        let (agent, job) = (agent(0), crate::job("acme/team-1/app-1"));
        let thread = thread::spawn(move || {
            let mut took = Vec::new();
            while !until.load(Ordering::Relaxed) {
                let began = Instant::now();
                let rules = snapshots.borrow().in_force(&agent);
                assert!(decide(&job, &agent, &rules).is_ok());
                took.push(began.elapsed());
                thread::park_timeout(Duration::from_micros(200));
            }
            took
        });
        Self { ended, thread }
    }

    fn end(self, name: &str, during: &str) {
        self.ended.store(true, Ordering::Relaxed);
        let mut took = self.thread.join().unwrap();
        took.sort_unstable();
        let at = |share: usize| took[(took.len() - 1) * share / 1000].as_secs_f64() * 1e6;
        println!(
            "result: {name}/decision_while_{during}_p50 {:.1} us",
            at(500)
        );
        println!(
            "result: {name}/decision_while_{during}_p99 {:.1} us",
            at(990)
        );
    }
}

fn agent(number: usize) -> Agent {
    Agent {
        project: format!("acme/infra-{number}").parse().unwrap(),
        ..crate::agent()
    }
}

fn write(root: &Path, number: usize, text: &str) {
    let Agent { project, name, .. } = agent(number);
    let directory = root.join(format!("{project}/.gitlab/agents/{name}"));
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("config.yaml"), text).unwrap();
}

fn report(name: &str, what: &str, took: Duration) {
    println!("result: {name}/{what} {:.3} s", took.as_secs_f64());
}

/// Of this process, in MiB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib / 1024)
}
