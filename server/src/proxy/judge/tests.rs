//! Ten thousand running requests, and changes that concern some of them.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use ci_tunnel::runtime::drain;
use prometheus_client::registry::Registry as MetricsRegistry;
use tempfile::TempDir;
use tokio::sync::watch;

use super::*;
use crate::access::Authorize;
use crate::agents::Registry;
use crate::agents::directory::{Agents, Directory};
use crate::audit::Audit;
use crate::authn::tests::{authenticator, let_in};
use crate::authn::{Authenticator, TokenId};
use crate::configrepo;
use crate::configrepo::webhook::Webhooks;
use crate::identity::{Agent, AgentId};
use crate::kubeconfig::Cluster;
use crate::metrics::Metrics;
use crate::proxy::limits::Limits;
use crate::proxy::live::{Guard, Live};
use crate::proxy::{Config, limits, webhook};
use crate::routing::{self, Router};

const AGENTS: u64 = 100;
const REQUESTS: usize = 10_000;
/// What a loaded machine needs for a build without optimization is a tenth of it.
const SOON: Duration = Duration::from_secs(2);
const IN: &str = "ci_access: { projects: [{ id: acme/shop, access_as: { ci_job: {} } }] }";

/// Everything that judging needs, and what to change it by.
struct Rig {
    proxy: Proxy,
    who: Authenticated,
    agents: watch::Sender<Arc<Agents>>,
    files: TempDir,
    _watcher: configrepo::Watcher,
}

impl Rig {
    async fn new() -> Self {
        let files = tempfile::tempdir().unwrap();
        for number in 0..AGENTS {
            write(files.path(), number, IN);
        }
        let repository = configrepo::Repository {
            source: configrepo::Source::Directory(files.path().to_owned()),
            provider: None,
        };
        let mut config = configrepo::Config::default();
        config.repositories.push(repository);
        let agents: Agents = (0..AGENTS)
            .map(|number| (AgentId(number), agent(number)))
            .collect();
        let (agents, known) = watch::channel(Arc::new(agents));
        let state = tempfile::tempdir().unwrap();
        let place = configrepo::Place {
            state_dir: state.path().to_owned(),
            metrics: Metrics::unread(),
        };
        let watched = configrepo::watch(&config, &place, known.clone()).await;
        let (rules, watcher) = watched.unwrap();
        let authenticator = authenticator().await;
        let who = let_in(&authenticator).await;
        Self {
            proxy: proxy(authenticator, Directory::new(known), rules, files.path()),
            who,
            agents,
            files,
            _watcher: watcher,
        }
    }

    fn run(&self, agent: u64, who: Authenticated) -> Guard {
        let agent = self.proxy.directory.get(AgentId(agent)).unwrap();
        let rules = self.proxy.rules.borrow().in_force(&agent);
        let permit = who.decide(&agent, &rules).unwrap();
        self.proxy.live.add(Arc::new(who), agent, Arc::new(permit))
    }

    /// As many as there can be: each of its own job, with a token of its own.
    fn crowd(&self, agent: impl Fn(usize) -> u64) -> Vec<Guard> {
        let run = |number| {
            let mut who = self.who.clone();
            who.token = TokenId(format!("token-{number}"));
            self.run(agent(number), who)
        };
        (0..REQUESTS).map(run).collect()
    }

    /// Replaces an agent's file, and judges by it; how long judging took.
    async fn rewrite(&self, number: u64, yaml: &str) -> Duration {
        let mut rules = self.proxy.rules.clone();
        let before = Arc::clone(&rules.borrow_and_update());
        write(self.files.path(), number, yaml);
        rules.changed().await.unwrap();
        self.judge(Change::Rules(before)).await
    }

    async fn judge(&self, change: Change) -> Duration {
        let begin = Instant::now();
        self.proxy.judge_again(change).await;
        begin.elapsed()
    }
}

fn proxy(
    authenticator: Authenticator,
    directory: Directory,
    rules: watch::Receiver<Arc<Snapshot>>,
    state_dir: &Path,
) -> Proxy {
    let metrics = Metrics::new(&mut MetricsRegistry::default());
    let (audit, _writer) = Audit::start(&Default::default(), state_dir, metrics.clone()).unwrap();
    let routing = routing::Config {
        hold: Duration::ZERO,
        open: Duration::ZERO,
    };
    Proxy {
        config: Config {
            url_path_prefix: "/".to_owned(),
            response_head_timeout: Duration::ZERO,
            stalled_upload: Duration::ZERO,
        },
        authenticator: Arc::new(authenticator),
        directory,
        rules,
        router: Router::new(routing, Registry::new(metrics.clone()), metrics.clone()),
        webhooks: webhook::Endpoint::new(Webhooks::default()),
        limits: Limits::new(&limits::Config::default(), &metrics),
        live: Live::new(metrics.clone()),
        audit,
        metrics,
        cluster: Cluster {
            server: String::new(),
            ca_pem: None,
        },
        drain: drain::channel().1,
    }
}

fn agent(number: u64) -> Arc<Agent> {
    Arc::new(Agent {
        id: AgentId(number),
        project: "acme/infra".parse().unwrap(),
        name: format!("a{number}").parse().unwrap(),
    })
}

fn write(root: &Path, number: u64, yaml: &str) {
    let folder = root.join(format!("acme/infra/.gitlab/agents/a{number}"));
    std::fs::create_dir_all(&folder).unwrap();
    // At once as a whole, as a careful operator does.
    let new = folder.join("new");
    std::fs::write(&new, yaml).unwrap();
    std::fs::rename(new, folder.join("config.yaml")).unwrap();
}

/// How many were cut, by label.
fn cut(guards: &[Guard]) -> HashMap<&'static str, usize> {
    let mut labels = HashMap::new();
    for why in guards.iter().filter_map(|guard| guard.request().why()) {
        *labels.entry(why.label).or_default() += 1;
    }
    labels
}

#[tokio::test]
async fn of_ten_thousand_those_are_cut_that_a_change_concerns() {
    let rig = Rig::new().await;
    let guards = rig.crowd(|number| number as u64 % AGENTS);

    // Another entry, the same identity.
    let other = IN.replace("[{", "[{ id: acme/other }, {");
    let untouched = rig.rewrite(7, &other).await;
    assert_eq!(cut(&guards), HashMap::new());
    let denied = rig.rewrite(7, &IN.replace("acme/shop", "acme/other")).await;
    assert_eq!(cut(&guards), HashMap::from([("rules", 100)]));
    assert!(guards.iter().all(|guard| {
        let request = guard.request();
        request.why().is_some() == (request.agent.id == AgentId(7))
    }));
    let identity = rig.rewrite(8, &IN.replace("ci_job", "agent")).await;
    assert_eq!(cut(&guards)["identity"], 100);

    rig.agents.send_modify(|agents| {
        let mut fewer = Agents::clone(agents);
        fewer.remove(&AgentId(9));
        *agents = Arc::new(fewer);
    });
    let deleted = rig.judge(Change::Agents).await;
    assert_eq!(cut(&guards)["agent_deleted"], 100);
    let tokens = rig.judge(Change::Tokens).await;
    assert_eq!(cut(&guards).values().sum::<usize>(), 300);
    println!(
        "judged: {untouched:?} and {denied:?} and {identity:?} (rules of one agent), {deleted:?} (an agent), {tokens:?} (tokens)"
    );
    assert!(untouched.max(denied).max(deleted).max(tokens) < SOON);
}

#[tokio::test]
async fn ten_thousand_of_one_agent_are_cut_at_once() {
    let rig = Rig::new().await;
    let guards = rig.crowd(|_| 1);
    let took = rig.rewrite(1, &IN.replace("acme/shop", "acme/other")).await;
    println!("judged and cut: {took:?}");
    assert_eq!(cut(&guards), HashMap::from([("rules", REQUESTS)]));
    assert!(took < SOON, "{took:?}");
    let cuts = rig
        .proxy
        .metrics
        .cuts
        .get_or_create(&crate::metrics::ReasonLabels { reason: "rules" })
        .get();
    assert_eq!(cuts, REQUESTS as u64);
}

#[tokio::test]
async fn a_revoked_token_cuts_what_was_got_with_it() {
    let rig = Rig::new().await;
    let of = |token: &str, parents: &[TokenId]| {
        let mut who = rig.who.clone();
        who.token = TokenId(token.to_owned());
        who.parents = parents.to_vec();
        rig.run(1, who)
    };
    let parent = rig.who.token.clone();
    let guards = [
        rig.run(1, rig.who.clone()),
        of("session", std::slice::from_ref(&parent)),
        of("other", &[]),
        of("other's session", &[TokenId("other".to_owned())]),
    ];
    rig.proxy
        .authenticator
        .revoke(&parent, false)
        .await
        .unwrap();
    rig.judge(Change::Tokens).await;
    let why = |index: usize| guards[index].request().why().map(|why| why.label);
    assert_eq!(
        [0, 1, 2, 3].map(why),
        [Some("token"), Some("token"), None, None]
    );
}

#[tokio::test]
async fn a_session_that_ends_takes_only_what_it_carries() {
    let rig = Rig::new().await;
    let guards = [1, 1, 1, 2].map(|agent| rig.run(agent, rig.who.clone()));
    for (guard, session) in guards.iter().zip([10, 11, 10, 12]).skip(1) {
        guard.request().carried_by(session, 0);
    }
    let why = Why {
        label: live::AGENT_TOKEN,
        message: "the agent token has been revoked".to_owned(),
    };
    assert_eq!(rig.proxy.live.cut_session(AgentId(1), 10, &why), 1);
    assert_eq!(rig.proxy.live.cut_session(AgentId(2), 10, &why), 0);
    assert_eq!(guards[2].request().why(), Some(why));
    assert!(
        [0, 1, 3]
            .iter()
            .all(|index| guards[*index].request().why().is_none())
    );
}

#[tokio::test]
async fn a_kept_decision_answers_its_own_question_alone() {
    let rig = Rig::new().await;
    let [rules, newer] = [Arc::clone(&rig.proxy.rules.borrow()), Arc::default()];
    let [who, other] = [(); 2].map(|()| Arc::new(rig.who.clone()));
    let [agent, another] = [0, 1].map(|id| rig.proxy.directory.get(AgentId(id)).unwrap());
    let (authorize, agents) = (Authorize::Gitlab, HashMap::new());
    let told = Some(Arc::new(Granted { authorize, agents }));
    #[rustfmt::skip]
    let ask = |who, agent, rules, granted| Question { who, agent, rules, granted };
    let decided = ask(&who, &agent, &rules, None).decide().unwrap();
    assert!(decided.answers(&ask(&who, &agent, &rules, None)));
    assert!(!decided.answers(&ask(&other, &agent, &rules, None)));
    assert!(!decided.answers(&ask(&who, &another, &rules, None)));
    assert!(!decided.answers(&ask(&who, &agent, &newer, None)));
    assert!(!decided.answers(&ask(&who, &agent, &rules, told)));
}
