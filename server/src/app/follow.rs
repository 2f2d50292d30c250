//! What follows changes while the server runs: agents and tokens in the store, rules, certificates, limits.

use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use ci_tunnel::protocol::code::Code;
use ci_tunnel::runtime::ready::Condition;
use ci_tunnel::transport::tls::ServerIdentity;
use tokio::sync::{mpsc, watch};

use crate::agents::Registry;
use crate::agents::directory::{Agents, Directory};
use crate::audit::Audit;
use crate::authn::Authenticator;
use crate::configrepo::{Snapshot, Watcher};
use crate::metrics::Metrics;
use crate::proxy::Proxy;
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
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) store: Store,
    pub(super) rules: watch::Receiver<Arc<Snapshot>>,
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
    pub(super) async fn run(self, mut followed: Followed) {
        let mut store = followed.store.changes();
        let mut tokens = followed.authenticator.changes();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        followed.count_files();
        loop {
            tokio::select! {
                Ok(()) = store.changed() => self.reread_agents(&followed.store).await,
                Ok(()) = followed.rules.changed() => followed.count_files(),
                Ok(()) = tokens.changed() => {}
                _ = tick.tick() => {
                    self.watch_audit(&followed.audit);
                    self.watch_repositories();
                    followed.sweep();
                }
            }
            // Before anything that waits for the store.
            followed.judge();
            followed.end_sessions().await;
        }
    }

    async fn reread_agents(&self, store: &Store) {
        match read_agents(store).await {
            Ok(agents) => {
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
    /// Judges every running request again.
    fn judge(&self) {
        if let Some(proxy) = self.proxy.upgrade() {
            proxy.live.judge(|request| proxy.judge(request));
        }
    }

    /// Ends the sessions whose token is no longer good.
    async fn end_sessions(&self) {
        for session in self.registry.all() {
            let now = SystemTime::now();
            let refusal = match self.store.agent_token_valid(session.token, now).await {
                Ok(()) => continue,
                // A store that can not be read says nothing about the token.
                Err(Refusal::Store(_)) => return,
                Err(refusal) => refusal,
            };
            let code = match refusal {
                Refusal::Unknown => Code::AgentDeleted,
                _ => Code::TokenRejected,
            };
            tracing::info!(agent.id = session.agent.0, session.id = session.id, %refusal, "session ended");
            session.close(code, &refusal.to_string());
        }
    }

    fn count_files(&self) {
        let rules = self.rules.borrow();
        let problems = rules.iter().filter(|agent| agent.problem.is_some()).count();
        let gauge = |count| i64::try_from(count).unwrap_or(i64::MAX);
        let metrics = &self.metrics;
        metrics.configuration_files.set(gauge(rules.iter().count()));
        metrics.configuration_problems.set(gauge(problems));
    }

    fn sweep(&self) {
        if let Some(proxy) = self.proxy.upgrade() {
            proxy.limits.sweep();
        }
    }
}

/// On every reload: reads the certificates and opens the audit file again.
pub(super) async fn reloads(
    identity: Arc<ServerIdentity>,
    audit: Audit,
    mut reload: mpsc::Receiver<()>,
) {
    while reload.recv().await.is_some() {
        audit.reopen();
        match identity.reload() {
            Ok(changed) => tracing::info!(changed, "certificate read again"),
            Err(error) => {
                tracing::error!(%error, "certificate could not be read again; the old one stays")
            }
        }
    }
}
