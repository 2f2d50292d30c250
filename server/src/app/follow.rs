//! What follows changes while the server runs: agents and tokens in the store, rules, certificates, limits.

use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use ci_tunnel::protocol::code::Code;
use ci_tunnel::runtime::ready::Condition;
use ci_tunnel::transport::tls::ServerIdentity;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::agents::Registry;
use crate::agents::directory::{Agents, Directory};
use crate::audit::Audit;
use crate::authn::Authenticator;
use crate::configrepo::{Snapshot, Watcher};
use crate::metrics::Metrics;
use crate::proxy::Proxy;
use crate::store::{Refusal, Store};

/// The parts that follow changes.
#[derive(Debug)]
pub(super) struct Follow {
    pub(super) agents: watch::Sender<Arc<Agents>>,
    pub(super) store: Store,
    pub(super) rules: watch::Receiver<Arc<Snapshot>>,
    pub(super) authenticator: Arc<Authenticator>,
    pub(super) registry: Registry,
    /// Weak: the front holds the proxy for as long as it has clients, and nobody else may keep it from ending.
    pub(super) proxy: Weak<Proxy>,
    pub(super) metrics: Metrics,
    pub(super) audit: Audit,
    pub(super) audit_condition: Condition,
    pub(super) _repositories: Watcher,
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
    /// Starts to follow; ends with `tasks`.
    pub(super) fn spawn(self, tasks: &mut JoinSet<()>) {
        tasks.spawn(self.run());
    }

    async fn run(mut self) {
        let mut store = self.store.changes();
        let mut tokens = self.authenticator.changes();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.count_files();
        loop {
            tokio::select! {
                Ok(()) = store.changed() => self.reread_agents().await,
                Ok(()) = self.rules.changed() => self.count_files(),
                Ok(()) = tokens.changed() => {}
                _ = tick.tick() => {
                    self.tick();
                    self.end_sessions().await;
                    continue;
                }
            }
            self.end_sessions().await;
            self.judge();
        }
    }

    async fn reread_agents(&self) {
        match read_agents(&self.store).await {
            Ok(agents) => {
                self.agents.send_replace(Arc::new(agents));
            }
            Err(error) => {
                tracing::error!(%error, "agents could not be read again; the last known ones stay")
            }
        }
    }

    /// Judges every running request again.
    fn judge(&self) {
        if let Some(proxy) = self.proxy.upgrade() {
            proxy.live.judge(|request| proxy.judge(request));
        }
    }

    /// Ends the sessions whose token is no longer good.
    async fn end_sessions(&self) {
        for session in self.registry.all() {
            let refusal = match self
                .store
                .agent_token_valid(session.token, SystemTime::now())
                .await
            {
                Ok(()) => continue,
                // A store that can not be read says nothing about the token.
                Err(Refusal::Store(_)) => return,
                Err(refusal) => refusal,
            };
            let code = if matches!(refusal, Refusal::Unknown) {
                Code::AgentDeleted
            } else {
                Code::TokenRejected
            };
            tracing::info!(agent.id = session.agent.0, session.id = session.id, %refusal, "session ended");
            session.close(code, &refusal.to_string());
        }
    }

    fn count_files(&self) {
        let rules = self.rules.borrow();
        let problems = rules.iter().filter(|agent| agent.problem.is_some()).count();
        self.metrics
            .configuration_files
            .set(i64::try_from(rules.iter().count()).unwrap_or(i64::MAX));
        self.metrics
            .configuration_problems
            .set(i64::try_from(problems).unwrap_or(i64::MAX));
    }

    fn tick(&self) {
        if self.audit.is_healthy() {
            self.audit_condition.met();
        } else {
            self.audit_condition.unmet("lines can not be written");
        }
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
