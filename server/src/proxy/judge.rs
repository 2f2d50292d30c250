//! Whether a request may run: decided when it begins, and again whenever something changes that it stands on.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use ci_tunnel::protocol::identity::KubernetesIdentity;

use super::client::Client;
use super::decided::Question;
use super::live::{self, Why};
use super::reject::Reject;
use super::{Permitted, Proxy, effective_identity};
use crate::access::Granted;
use crate::audit::Record;
use crate::authn::{self, Authenticated, Credential};
use crate::configrepo::Snapshot;

/// What changed, and so which requests are to be judged again.
#[derive(Debug)]
pub enum Change {
    /// Agents came or went.
    Agents,
    /// The rules, which were these before.
    Rules(Arc<Snapshot>),
    /// Credentials were revoked, or their CI system says something else of them.
    Tokens,
}

/// So many requests are judged before others get the thread.
const BATCH: usize = 256;

impl Proxy {
    /// Decides whether the job may use the agent, and as whom; from here on the request is judged again whenever
    /// something changes.
    pub(super) fn permit(
        &self,
        client: &Client,
        credential: &Credential,
        who: Arc<Authenticated>,
        asked: Option<KubernetesIdentity>,
        record: &mut Record,
    ) -> Result<(Permitted, KubernetesIdentity), Reject> {
        let no_agent = || Reject::NoAgent {
            agent: credential.agent.to_string(),
        };
        let agent = self.directory.get(credential.agent).ok_or_else(no_agent)?;
        let rules = Arc::clone(&self.rules.borrow());
        let question = Question {
            granted: who.granted(),
            who: &who,
            agent: &agent,
            rules: &rules,
        };
        let is_asked = asked.is_some();
        let decided = match client.decided(&question) {
            // Who asks to be somebody may be refused, and that line names the agent.
            Some(decided) if !is_asked => decided,
            _ => {
                record.agent(&agent, rules.revision(&agent));
                let decided = question.decide();
                let decided = decided.map_err(|denied| Reject::denied(&agent, denied))?;
                client.remember(&decided);
                decided
            }
        };
        let identity = effective_identity(decided.permit(), asked)?;
        if is_asked {
            record.known(&Arc::new(question.known(decided.permit(), &identity)));
        } else {
            record.known(decided.known());
        }
        let slots = self.limits.admit(&who, Some(agent.id))?;
        let granted = question.granted;
        let permit = Arc::clone(decided.permit());
        let live = self.live.add(who, Arc::clone(&agent), permit);
        // Whatever changed before the request was among the running ones is seen here, what changes later by whoever
        // judges those.
        let changed = !Arc::ptr_eq(&rules, &self.rules.borrow());
        let gone = self.directory.get(agent.id).is_none();
        // What its CI system says of it may have changed too.
        let told = !is_same(granted.as_ref(), live.request().who.granted().as_ref());
        if (changed || gone || told || live.request().who.still_valid().is_err())
            && let Some(why) = self.judge(live.request())
        {
            return Err(Reject::Cut(why));
        }
        let permitted = Permitted { agent, live, slots };
        Ok((permitted, identity))
    }

    /// Judges again the running requests that a change concerns, and cuts those that may not go on. The others of this
    /// server run meanwhile.
    pub async fn judge_again(&self, change: Change) {
        let concerned = match change {
            Change::Agents => self
                .live
                .of_agents(|agent| self.directory.get(agent.id).is_none()),
            Change::Rules(before) => {
                let now = Arc::clone(&self.rules.borrow());
                self.live
                    .of_agents(|agent| !now.has_same_rules(&before, agent))
            }
            Change::Tokens => {
                let mut all = self.live.all();
                all.retain(|request| request.who.is_told_of() || lost(&request.who).is_some());
                all
            }
        };
        for batch in concerned.chunks(BATCH) {
            for request in batch {
                if let Some(why) = self.judge(request) {
                    self.live.cut(request, why);
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// Why a running request may not go on; `None` if it may.
    pub fn judge(&self, request: &live::Request) -> Option<Why> {
        if let Some(error) = lost(&request.who) {
            let label = match error {
                authn::Error::JobEnded => "job_ended",
                _ => "token",
            };
            return Some(Why {
                label,
                message: error.to_string(),
            });
        }
        if self.directory.get(request.agent.id).is_none() {
            return Some(Why {
                label: live::AGENT_DELETED,
                message: format!("agent {} was deleted", request.agent),
            });
        }
        let rules = self.rules.borrow().in_force(&request.agent);
        match request.who.decide(&request.agent, &rules) {
            Ok(permit) if permit.identity() == request.permit.identity() => None,
            Ok(_) => Some(Why {
                label: "identity",
                message: format!(
                    "agent {}'s configuration gives this job another identity now",
                    request.agent
                ),
            }),
            Err(denied) => Some(Why {
                label: "rules",
                message: denied.to_string(),
            }),
        }
    }
}

fn is_same(one: Option<&Arc<Granted>>, other: Option<&Arc<Granted>>) -> bool {
    one.map(Arc::as_ptr) == other.map(Arc::as_ptr)
}

/// Why a running request may not go on with its credential. That must be good when a request begins; that it ends with time
/// does not end what runs.
fn lost(who: &Authenticated) -> Option<authn::Error> {
    match who.still_valid() {
        Ok(()) | Err(authn::Error::Expired) => None,
        Err(error) => Some(error),
    }
}
