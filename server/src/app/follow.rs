//! What follows changes while the server runs: agents and tokens in the store, rules, certificates, limits.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use ci_tunnel::protocol::code::Code;
use ci_tunnel::runtime::ready::Condition;
use ci_tunnel::transport::tls::ServerIdentity;
use tokio::sync::{mpsc, watch};

use crate::agents::directory::{Agents, Directory};
use crate::agents::{Registry, Session};
use crate::audit::Audit;
use crate::authn::Authenticator;
use crate::config::Config;
use crate::configrepo::{Snapshot, Watcher};
use crate::metrics::Metrics;
use crate::proxy::Proxy;
use crate::proxy::judge::Change;
use crate::proxy::limits::Limits;
use crate::proxy::live::{self, Why};
use crate::proxy::strangers;
use crate::store::{Refusal, Store};

/// What is told of changes.
#[derive(Debug)]
pub(super) struct Follow {
    pub(super) agents: watch::Sender<Arc<Agents>>,
    pub(super) audit_condition: Condition,
    pub(super) repositories: Watcher,
    pub(super) repositories_condition: Condition,
}

/// What changes, and what must hear of it.
#[derive(Debug, Clone)]
pub(super) struct Followed {
    pub(super) store: Store,
    pub(super) rules: watch::Receiver<Arc<Snapshot>>,
    /// The rules that running requests were judged by last.
    pub(super) judged: Arc<Snapshot>,
    pub(super) authenticator: Arc<Authenticator>,
    pub(super) registry: Registry,
    /// Weak: the front holds the proxy for as long as it has clients, and nobody else may keep it from ending.
    pub(super) proxy: Weak<Proxy>,
    pub(super) metrics: Metrics,
    pub(super) audit: Audit,
}

/// How often what has no event of its own is looked at: tokens that expire, the audit's health, limits to forget.
const TICK: Duration = Duration::from_secs(2);

/// The registered agents, and where new snapshots of them are to be sent.
///
/// # Errors
/// The store fails.
pub async fn agents(
    store: &Store,
) -> Result<(Directory, watch::Sender<Arc<Agents>>), crate::store::Error> {
    let (sender, receiver) = watch::channel(Arc::new(read_agents(store).await?));
    Ok((Directory::new(receiver), sender))
}

async fn read_agents(store: &Store) -> Result<Agents, crate::store::Error> {
    let registered = store.agents().await?;
    Ok(registered
        .into_iter()
        .map(|registration| (registration.agent.id, Arc::new(registration.agent)))
        .collect())
}

impl Follow {
    /// Follows changes for ever.
    pub(super) async fn run(self, followed: Followed) {
        let agents = self.agents.subscribe();
        let judging = followed.clone().judge_at_changes(agents);
        // Side by side: what waits for the store must not keep anybody from being cut.
        tokio::join!(judging, self.keep(followed));
    }

    /// Keeps what is known of the store, and what is counted, up to date.
    async fn keep(self, mut followed: Followed) {
        let mut store = followed.store.changes();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        followed.count_files();
        loop {
            tokio::select! {
                Ok(()) = store.changed() => {
                    collect_acts(&followed.audit);
                    self.reread_agents(&followed).await;
                    followed.end_void_sessions().await;
                }
                Ok(()) = followed.rules.changed() => followed.count_files(),
                _ = tick.tick() => {
                    self.watch_audit(&followed.audit);
                    self.watch_repositories();
                    collect_acts(&followed.audit);
                    followed.sweep();
                    followed.end_expired_sessions().await;
                }
            }
        }
    }

    async fn reread_agents(&self, followed: &Followed) {
        match read_agents(&followed.store).await {
            Ok(agents) => {
                followed
                    .registry
                    .retain(|agent| agents.contains_key(&agent));
                self.agents.send_replace(Arc::new(agents));
            }
            Err(error) => {
                tracing::error!(%error, "agents could not be read again; the last known ones stay");
            }
        }
    }

    fn watch_audit(&self, audit: &Audit) {
        if audit.is_healthy() {
            self.audit_condition.met();
        } else {
            self.audit_condition.unmet("lines can not be written");
        }
    }

    fn watch_repositories(&self) {
        if self.repositories.is_alive() {
            self.repositories_condition.met();
        } else {
            self.repositories_condition
                .unmet("changes are no longer seen: a task has ended; see the log, and restart");
        }
    }
}

impl Followed {
    /// Judges running requests again whenever something changes that they stand on.
    async fn judge_at_changes(mut self, mut agents: watch::Receiver<Arc<Agents>>) {
        let mut tokens = self.authenticator.changes();
        loop {
            let change = tokio::select! {
                Ok(()) = agents.changed() => Change::Agents,
                Ok(()) = tokens.changed() => Change::Tokens,
                Ok(()) = self.rules.changed() => {
                    let now = Arc::clone(&self.rules.borrow_and_update());
                    Change::Rules(std::mem::replace(&mut self.judged, now))
                }
                else => return,
            };
            let Some(proxy) = self.proxy.upgrade() else {
                return;
            };
            proxy.judge_again(change).await;
        }
    }

    /// Ends the sessions whose token was revoked, or is gone with its agent.
    async fn end_void_sessions(&self) {
        // One question for all: there may be thousands.
        let Ok(good) = self.store.agent_tokens_in_force(SystemTime::now()).await else {
            // A store that can not be read says nothing about tokens.
            return;
        };
        for session in self.registry.all() {
            if !good.contains(&session.token) {
                self.end_if_void(&session).await;
            }
        }
    }

    async fn end_expired_sessions(&self) {
        let now = SystemTime::now();
        for session in self.registry.all() {
            if session.token_expires.is_some_and(|end| end <= now) {
                self.end_if_void(&session).await;
            }
        }
    }

    async fn end_if_void(&self, session: &Session) {
        let now = SystemTime::now();
        let refusal = match self.store.agent_token_valid(session.token, now).await {
            Ok(()) | Err(Refusal::Store(_)) => return,
            Err(refusal) => refusal,
        };
        let (code, why) = why_ended(&refusal);
        let proxy = self.proxy.upgrade();
        // Before its streams break, so that those who wait and the audit learn why.
        let cut = proxy.map(|proxy| proxy.live.cut_session(session.agent, session.id, &why));
        tracing::info!(agent.id = session.agent.0, session.id = session.id, cut, %refusal, "session ended");
        session.close(code, &refusal.to_string());
    }

    fn count_files(&self) {
        let rules = self.rules.borrow();
        let problems = rules.iter().filter(|agent| agent.problem.is_some()).count();
        let problems = problems + rules.unread().count();
        let gauge = |count| i64::try_from(count).unwrap_or(i64::MAX);
        let metrics = &self.metrics;
        metrics.configuration_files.set(gauge(rules.iter().count()));
        metrics.configuration_problems.set(gauge(problems));
    }

    fn sweep(&self) {
        if let Some(proxy) = self.proxy.upgrade() {
            strangers::tell(&proxy.limits.addresses, &self.audit, strangers::PERIOD);
            proxy.limits.sweep();
        }
    }
}

/// Reads files, beside what must not wait for them.
fn collect_acts(audit: &Audit) {
    let audit = audit.clone();
    drop(tokio::task::spawn_blocking(move || audit.collect_acts()));
}

fn why_ended(refusal: &Refusal) -> (Code, Why) {
    let (code, label) = match refusal {
        Refusal::Unknown => (Code::AgentDeleted, live::AGENT_DELETED),
        _ => (Code::TokenRejected, live::AGENT_TOKEN),
    };
    let message = format!("the agent's session was ended: {refusal}");
    (code, Why { label, message })
}

/// What is read again when the operator asks for it.
#[derive(Debug)]
pub(super) struct Reloaded {
    pub(super) identity: Arc<ServerIdentity>,
    pub(super) audit: Audit,
    /// The server's file, of which `limits` are read again.
    pub(super) file: Option<PathBuf>,
    pub(super) limits: Limits,
}

/// On every reload: opens the audit file again, and reads the certificates and the limits.
pub(super) async fn reloads(reloaded: Reloaded, mut reload: mpsc::Receiver<()>) {
    while reload.recv().await.is_some() {
        reloaded.audit.reopen();
        match reloaded.identity.reload() {
            Ok(changed) => tracing::info!(changed, "certificate read again"),
            Err(error) => {
                tracing::error!(%error, "certificate could not be read again; the old one stays")
            }
        }
        reloaded.reread_limits().await;
    }
}

impl Reloaded {
    async fn reread_limits(&self) {
        let Some(file) = self.file.clone() else {
            return;
        };
        let read = tokio::task::spawn_blocking(move || Config::load(Some(&file))).await;
        match read {
            Ok(Ok(config)) => {
                self.limits.change(&config.limits);
                tracing::info!(
                    "limits read again; what else the file says holds from the next start"
                );
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "limits could not be read again; the old ones stay");
            }
            Err(error) => tracing::error!(%error, "limits could not be read again"),
        }
    }
}
