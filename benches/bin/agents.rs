//! Thousands of agents that lose their server and come back to it, while a job goes on asking: `agents [count] [transport]`.
//!
//! The agents are the agent's own code, all in this process. Server, the job's agent and the job have processes and a thread
//! of their own. Each agent has buffers of some MiB that it hardly touches: `MALLOC_MMAP_THRESHOLD_=65536` keeps glibc from
//! writing zeros over them.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use ci_tunnel::config::value::{Secret, SecretSource};
use ci_tunnel::protocol::control::Health;
use ci_tunnel::runtime::drain;
use ci_tunnel::transport::credit::Budget;
use ci_tunnel_agent::config::{self, Flags};
use ci_tunnel_agent::metrics::Metrics;
use ci_tunnel_agent::session::{Pace, Settings, Shared};
use ci_tunnel_agent::upstream::Upstream;
use ci_tunnel_agent::{app, connect};
use ci_tunnel_benches::tunnel::SERVER_YAML;
use ci_tunnel_benches::usage::Pid;
use ci_tunnel_server::store::Store;
use ci_tunnel_tests::apiserver::ApiServer;
use ci_tunnel_tests::client::{Client, Http};
use ci_tunnel_tests::tunnel::Tunnel;
use clap::Parser;
use http::Response;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

#[derive(Debug, Parser)]
struct Arguments {
    /// How many agents
    #[arg(default_value_t = 1000)]
    count: usize,
    /// `auto`, `quic` or `http2`
    #[arg(default_value = "auto")]
    transport: String,
    /// How long the server is away
    #[arg(long, default_value_t = 2.0)]
    away: f64,
}

const RULES: &str = "ci_access: { projects: [{ id: acme/app, access_as: { ci_job: {} } }] }";
const JOBS_AGENT: &str = "acme/infra:bench";
/// For all agents to be there.
const PATIENCE: Duration = Duration::from_secs(300);
const PROGRESS: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);
/// Between two requests of the job.
const PAUSE: Duration = Duration::from_millis(20);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let count = arguments.count;
    let directory = tempfile::tempdir()?;
    let api = ApiServer::start().await?;
    let kubeconfig = directory.path().join("kubeconfig");
    std::fs::write(&kubeconfig, api.kubeconfig())?;
    let server_yaml = format!("{SERVER_YAML}\nagents: {{ max_sessions: {} }}", count + 10);
    let tunnel = Tunnel::builder()
        .server_yaml(&server_yaml)
        .agent(JOBS_AGENT, RULES)
        .kubeconfig(&kubeconfig)
        .start()
        .await?;
    let begin = Instant::now();
    let tokens = register(&tunnel.state_dir(), count).await?;
    eprintln!(
        "{count} agents registered in {:.1} s",
        begin.elapsed().as_secs_f64()
    );

    let pid = Pid(tunnel.server().pid()?);
    let before = pid.memory()?.now;
    let mut fleet =
        Fleet::new(&tunnel, &kubeconfig, &arguments.transport, directory.path()).await?;
    let began = (Instant::now(), pid.cpu()?);
    for token in tokens {
        fleet.start(token)?;
    }
    let come = fleet.all_there(count).await?;
    told(&format!("agents_{count}_first"), began.0, &come);
    result(
        &format!("agents_{count}_first_server_cpu"),
        (pid.cpu()? - began.1).as_secs_f64(),
        "s",
    );
    let each = (pid.memory()?.now.saturating_sub(before)) as f64 / 1024.0 / count as f64;
    result(&format!("agents_{count}_server_rss_each"), each, "KiB");
    idle(count, pid).await?;
    restart(&arguments, &tunnel, &fleet).await
}

async fn idle(count: usize, pid: Pid) -> Result<()> {
    let before = (Instant::now(), pid.cpu()?);
    sleep(Duration::from_secs(10)).await;
    let used = (pid.cpu()? - before.1).as_secs_f64() / before.0.elapsed().as_secs_f64();
    result(
        &format!("agents_{count}_idle_server_cpu"),
        used * 100.0,
        "percent",
    );
    Ok(())
}

async fn restart(arguments: &Arguments, tunnel: &Tunnel, fleet: &Fleet) -> Result<()> {
    let count = arguments.count;
    let job = Job::begin(tunnel).await?;
    tunnel.server().kill();
    sleep(Duration::from_secs_f64(arguments.away)).await;
    fleet.forget();
    tunnel.server().start().await?;
    let begin = Instant::now();
    job.counts_from(begin);
    let pid = Pid(tunnel.server().pid()?);
    let come = fleet.all_there(count).await?;
    let cpu = pid.cpu()?;
    told(&format!("agents_{count}_back"), begin, &come);
    result(
        &format!("agents_{count}_back_server_cpu"),
        cpu.as_secs_f64(),
        "s",
    );
    job.tell(count);
    let metrics = tunnel.metrics().await?;
    let admissions =
        |line: &&str| line.contains("agent_handshakes") || line.contains("agent_admissions");
    for line in metrics
        .lines()
        .filter(admissions)
        .filter(|line| !line.starts_with('#'))
    {
        eprintln!("{line}");
    }
    Ok(())
}

/// Tokens of so many new agents.
async fn register(state_dir: &Path, count: usize) -> Result<Vec<String>> {
    let store = Store::open(state_dir).await?;
    let project = "acme/fleet".parse().ok().context("a project")?;
    let now = SystemTime::now();
    let mut tokens = Vec::with_capacity(count);
    for number in 0..count {
        let name = format!("agent-{number}").parse().ok().context("a name")?;
        let agent = store.create_agent(&project, &name, now).await?;
        let (_, token) = store.create_agent_token(agent.id, "", None, now).await?;
        tokens.push(token.expose().to_owned());
    }
    store.close().await;
    Ok(tokens)
}

/// The agents of this process.
struct Fleet {
    server: connect::Server,
    upstream: Arc<Upstream>,
    metrics: Arc<Metrics>,
    settings: Settings,
    watchdog: Duration,
    come: Arc<Come>,
    running: JoinSet<()>,
    drain: (drain::Trigger, drain::Watcher),
}

/// When agents came, since they were last forgotten.
#[derive(Debug, Default)]
struct Come {
    round: AtomicUsize,
    times: Mutex<Vec<Instant>>,
}

impl Fleet {
    async fn new(
        tunnel: &Tunnel,
        kubeconfig: &Path,
        transport: &str,
        directory: &Path,
    ) -> Result<Self> {
        let file = directory.join("agent.yaml");
        let yaml = serde_json::json!({
            "server": tunnel.agents_addr().to_string(),
            "ca_file": tunnel.state_dir().join("ca.pem"),
            "token": { "file": kubeconfig },
            "upstream": { "kubeconfig": kubeconfig },
            "transport": transport,
        });
        std::fs::write(&file, yaml.to_string())?;
        let flags = Flags {
            config: Some(file),
            ..Flags::default()
        };
        let config = config::load(&flags, |_| None)?;
        Ok(Self {
            server: app::server(&config)?,
            upstream: app::upstream(&config.upstream).await?,
            metrics: Metrics::new(&mut Registry::default()),
            settings: Settings {
                probe: false,
                quic: config.quic.clone(),
                drain_timeout: config.drain_timeout,
                response_deadline: config.upstream.response_timeout,
            },
            watchdog: config.watchdog,
            come: Arc::default(),
            running: JoinSet::new(),
            drain: drain::channel(),
        })
    }

    fn start(&mut self, token: String) -> Result<()> {
        let shared = Shared {
            upstream: Arc::clone(&self.upstream),
            metrics: Arc::clone(&self.metrics),
            token: SecretSource::Text(Secret::new(&token)?),
            instance: self.running.len() as u64,
            pod: None,
            health: watch::Sender::new(Health {
                ready: true,
                message: "v1.35.0".to_owned(),
            })
            .subscribe(),
            settings: self.settings.clone(),
            pace: Pace::default(),
            set_aside: watch::Sender::new(None),
            budget: Budget::new(0),
            set_log_level: Box::new(|_| {}),
        };
        let (server, watchdog) = (self.server.clone(), self.watchdog);
        let notice = self.drain.1.notice();
        let come = Arc::clone(&self.come);
        let seen = AtomicUsize::new(0);
        let connected = move |is| {
            let round = come.round.load(Ordering::Relaxed) + 1;
            if is && seen.swap(round, Ordering::Relaxed) != round {
                come.times.lock().expect("no panic").push(Instant::now());
            }
        };
        self.running.spawn(async move {
            let ended = connect::run(server, Arc::new(shared), watchdog, notice, connected).await;
            eprintln!("an agent ended: {ended:?}");
        });
        Ok(())
    }

    /// From now on they are waited for anew.
    fn forget(&self) {
        self.come.round.fetch_add(1, Ordering::Relaxed);
        self.come.times.lock().expect("no panic").clear();
    }

    /// When each came.
    async fn all_there(&self, count: usize) -> Result<Vec<Instant>> {
        let begin = Instant::now();
        let mut told = begin;
        loop {
            let times = self.come.times.lock().expect("no panic").clone();
            if times.len() >= count || begin.elapsed() > PATIENCE {
                eprintln!("{} of {count} are there", times.len());
                return Ok(times);
            }
            if told.elapsed() > PROGRESS {
                told = Instant::now();
                eprintln!(
                    "{} of {count} after {:.0} s",
                    times.len(),
                    begin.elapsed().as_secs_f64()
                );
            }
            sleep(POLL).await;
        }
    }
}

/// A job that asks all the time, each time over a new connection, from a thread of its own.
struct Job {
    over: Arc<AtomicBool>,
    from: Arc<Mutex<Option<Instant>>>,
    thread: std::thread::JoinHandle<Vec<Asked>>,
}

/// One request: when it began, how long it took, whether it was answered well.
#[derive(Debug, Clone, Copy)]
struct Asked {
    at: Instant,
    took: Duration,
    well: bool,
}

impl Job {
    async fn begin(tunnel: &Tunnel) -> Result<Self> {
        let token = tunnel
            .job_token(&["--project", "acme/app", "--job-id", "42"])
            .await?;
        let status = tunnel.status().await?;
        let agents = status["agents"].as_array().context("agents")?;
        let agent = agents
            .iter()
            .find(|agent| agent["name"] == JOBS_AGENT)
            .context("the job's agent")?;
        let bearer = format!("ci:{}:{token}", agent["id"]);
        let client = Client::new(tunnel.api_addr(), tunnel.ca_pem(), Http::One, &bearer)?;
        let over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.map_or_else(
                |_| Vec::new(),
                |runtime| runtime.block_on(ask(client, until)),
            )
        });
        Ok(Self {
            over,
            from: Arc::default(),
            thread,
        })
    }

    fn counts_from(&self, begin: Instant) {
        *self.from.lock().expect("no panic") = Some(begin);
    }

    fn tell(self, count: usize) {
        self.over.store(true, Ordering::Relaxed);
        let from = self
            .from
            .lock()
            .expect("no panic")
            .unwrap_or_else(Instant::now);
        let asked = self.thread.join().unwrap_or_default();
        let asked: Vec<_> = asked.into_iter().filter(|asked| asked.at >= from).collect();
        if let Some(first) = asked.iter().find(|asked| asked.well) {
            let after = (first.at + first.took).duration_since(from);
            result(
                &format!("agents_{count}_job_first_success"),
                after.as_secs_f64(),
                "s",
            );
        }
        let failed = asked.iter().filter(|asked| !asked.well).count();
        let mut times: Vec<_> = asked.iter().map(|asked| asked.took).collect();
        times.sort_unstable();
        for (name, part) in [("p50", 0.5), ("p99", 0.99)] {
            let time = times
                .get((times.len() as f64 * part) as usize)
                .copied()
                .unwrap_or_default();
            result(
                &format!("agents_{count}_job_{name}"),
                time.as_secs_f64() * 1000.0,
                "ms",
            );
        }
        result(
            &format!("agents_{count}_job_requests"),
            asked.len() as f64,
            "requests",
        );
        result(
            &format!("agents_{count}_job_failed"),
            failed as f64,
            "requests",
        );
    }
}

async fn ask(client: Client, over: Arc<AtomicBool>) -> Vec<Asked> {
    let (mut all, mut told) = (Vec::new(), String::new());
    while !over.load(Ordering::Relaxed) {
        let at = Instant::now();
        let answer = async { client.connect().await?.get("/small").await };
        let answer = answer.await;
        let wrong = what_is_wrong(&answer);
        if let Some(wrong) = wrong.as_ref().filter(|wrong| *wrong != &told) {
            eprintln!("the job: {wrong}");
            told.clone_from(wrong);
        }
        all.push(Asked {
            at,
            took: at.elapsed(),
            well: wrong.is_none(),
        });
        sleep(PAUSE).await;
    }
    all
}

fn what_is_wrong(answer: &Result<Response<Bytes>>) -> Option<String> {
    match answer {
        Ok(answer) if answer.status() == 200 => None,
        Ok(answer) => Some(answer.status().to_string()),
        Err(error) => Some(format!("{error:#}")),
    }
}

fn told(name: &str, begin: Instant, come: &[Instant]) {
    let mut times: Vec<_> = come
        .iter()
        .map(|at| at.saturating_duration_since(begin))
        .collect();
    times.sort_unstable();
    for (part, at) in [("p50", 0.5), ("p99", 0.99), ("all", 1.0)] {
        let last = times.len().saturating_sub(1);
        let time = times
            .get((last as f64 * at) as usize)
            .copied()
            .unwrap_or_default();
        result(&format!("{name}_{part}"), time.as_secs_f64(), "s");
    }
}

fn result(name: &str, value: f64, unit: &str) {
    println!("result: {name} {value:.3} {unit}");
}
