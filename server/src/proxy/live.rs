//! Running requests: judged again when rules, tokens or agents change; those that lost their permit are cut.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use ci_tunnel::protocol::code::Code;
use tokio_util::sync::CancellationToken;

use crate::access::Permit;
use crate::authn::Authenticated;
use crate::identity::{Agent, AgentId};
use crate::metrics::{Metrics, ReasonLabels};

/// The requests that run now. Clones share it.
#[derive(Debug, Clone)]
pub struct Live {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    running: Mutex<Running>,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct Running {
    next: u64,
    /// By agent, since most changes concern one; no agent is there without a request.
    agents: HashMap<AgentId, HashMap<u64, Arc<Request>>>,
}

/// What a running request stands on.
#[derive(Debug)]
pub struct Request {
    pub who: Arc<Authenticated>,
    pub agent: Arc<Agent>,
    pub permit: Arc<Permit>,
    /// The agent's session that carries it, and its stream there, once there is one.
    carried: OnceLock<(u64, u64)>,
    cut: CancellationToken,
    why: OnceLock<Why>,
    delivery: OnceLock<Weak<dyn Delivery>>,
}

/// A response that is under way, for those who are not its client's connection.
pub trait Delivery: std::fmt::Debug + Send + Sync {
    /// Ends it, whether its client reads on or not.
    fn cut(&self, why: &Why);

    /// Its client does not read on: what has arrived should take no more memory than it has bytes.
    fn compact(&self);
}

/// Why a request was cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// For metrics and the audit.
    pub label: &'static str,
    /// For people.
    pub message: String,
}

/// Keeps a request among the running ones until dropped.
#[derive(Debug)]
pub struct Guard {
    live: Live,
    number: u64,
    request: Arc<Request>,
}

/// The label of requests that are cut because this server ends.
pub const RESTARTING: &str = "restarting";
/// The label of requests that are cut because their agent was deleted.
pub const AGENT_DELETED: &str = "agent_deleted";
/// The label of requests that are cut because the agent token of the session that carries them is void. Their jobs may
/// ask again.
pub const AGENT_TOKEN: &str = "agent_token";
/// The label of requests that are cut because their clients read nothing while others need what they hold.
pub const STALLED: &str = "stalled";

impl Live {
    pub fn new(metrics: Metrics) -> Self {
        Self {
            shared: Arc::new(Shared {
                running: Mutex::default(),
                metrics,
            }),
        }
    }

    /// Adds a request. Whoever adds one judges it again if something changed meanwhile, so that no change slips
    /// between its permit and this call.
    pub fn add(&self, who: Arc<Authenticated>, agent: Arc<Agent>, permit: Arc<Permit>) -> Guard {
        let request = Arc::new(Request {
            who,
            agent,
            permit,
            carried: OnceLock::new(),
            cut: CancellationToken::new(),
            why: OnceLock::new(),
            delivery: OnceLock::new(),
        });
        let mut running = self.running();
        let number = running.next;
        running.next += 1;
        let of_agent = running.agents.entry(request.agent.id).or_default();
        of_agent.insert(number, Arc::clone(&request));
        drop(running);
        self.shared.metrics.requests_running.inc();
        Guard {
            live: self.clone(),
            number,
            request,
        }
    }

    /// The requests to agents that `wanted` says yes to; it is asked once an agent.
    pub fn of_agents(&self, wanted: impl Fn(&Agent) -> bool) -> Vec<Arc<Request>> {
        let running = self.running();
        let agents = running.agents.values();
        let concerned = agents.filter(|requests| {
            let mut requests = requests.values();
            requests.next().is_some_and(|any| wanted(&any.agent))
        });
        concerned.flat_map(HashMap::values).cloned().collect()
    }

    pub fn all(&self) -> Vec<Arc<Request>> {
        self.of_agents(|_| true)
    }

    /// Cuts what one session of an agent carries; how many requests that were.
    pub fn cut_session(&self, agent: AgentId, session: u64, why: &Why) -> usize {
        let requests = self.of_agents(|running| running.id == agent);
        let carried = |request: &Request| {
            let carried = request.carried.get();
            carried.is_some_and(|(by, _)| *by == session)
        };
        self.cut_those(requests, carried, why)
    }

    /// Cuts the request of an agent that one stream of a session carries; false if there is none.
    pub fn cut_stream(&self, agent: AgentId, stream: (u64, u64), why: &Why) -> bool {
        let requests = self.of_agents(|running| running.id == agent);
        let carried = |request: &Request| request.carried.get() == Some(&stream);
        self.cut_those(requests, carried, why) > 0
    }

    /// Brings together what has arrived for clients that do not read on, of `streams` of one session of an agent.
    pub fn compact(&self, agent: AgentId, session: u64, streams: &HashSet<u64>) {
        for request in self.of_agents(|running| running.id == agent) {
            let concerned = request
                .carried
                .get()
                .is_some_and(|(by, stream)| *by == session && streams.contains(stream));
            if concerned && let Some(delivery) = request.delivery() {
                delivery.compact();
            }
        }
    }

    /// Cuts every request, because this server ends.
    pub fn cut_all(&self) {
        let why = Why {
            label: RESTARTING,
            message: "this server is shutting down".to_owned(),
        };
        self.cut_those(self.all(), |_| true, &why);
    }

    /// Ends one request; false if it was cut before.
    pub fn cut(&self, request: &Request, why: Why) -> bool {
        let label = ReasonLabels { reason: why.label };
        if request.why.set(why).is_err() {
            return false;
        }
        self.shared.metrics.cuts.get_or_create(&label).inc();
        request.cut.cancel();
        if let (Some(delivery), Some(why)) = (request.delivery(), request.why.get()) {
            delivery.cut(why);
        }
        true
    }

    fn cut_those(
        &self,
        requests: Vec<Arc<Request>>,
        which: impl Fn(&Request) -> bool,
        why: &Why,
    ) -> usize {
        let concerned = requests.iter().filter(|request| which(request));
        concerned
            .filter(|request| self.cut(request, why.clone()))
            .count()
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.shared
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Why {
    /// What the agent is told, and the audit.
    pub fn code(&self) -> Code {
        match self.label {
            RESTARTING => Code::Restarting,
            AGENT_DELETED => Code::AgentDeleted,
            AGENT_TOKEN => Code::TokenRejected,
            STALLED => Code::Stalled,
            _ => Code::PermitLost,
        }
    }
}

impl Request {
    /// The agent's session, and its stream, that carry the request from now on.
    pub fn carried_by(&self, session: u64, stream: u64) {
        // A request is routed once.
        let _ = self.carried.set((session, stream));
    }

    /// The request's response is under way from now on.
    pub fn delivered_by(&self, delivery: Weak<dyn Delivery>) {
        // A request has one answer.
        let _ = self.delivery.set(delivery);
    }

    fn delivery(&self) -> Option<Arc<dyn Delivery>> {
        self.delivery.get().and_then(Weak::upgrade)
    }

    /// Completes when the request is cut.
    pub fn cut(&self) -> CancellationToken {
        self.cut.clone()
    }

    /// Why it was cut, once it was.
    pub fn why(&self) -> Option<Why> {
        self.why.get().cloned()
    }
}

impl Guard {
    pub fn request(&self) -> &Arc<Request> {
        &self.request
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let agent = self.request.agent.id;
        let mut running = self.live.running();
        if let Some(requests) = running.agents.get_mut(&agent) {
            requests.remove(&self.number);
            if requests.is_empty() {
                running.agents.remove(&agent);
            }
        }
        drop(running);
        self.live.shared.metrics.requests_running.dec();
    }
}
