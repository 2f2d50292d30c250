//! A decision that is kept for the next request of the same connection, with what audit lines say of it.
//!
//! Deciding is a function of what a [`Question`] holds and of nothing else. Each of these is replaced whole when it
//! changes, so that the same question is one about the very same values, which pointers tell.

use std::sync::{Arc, Weak};

use ci_tunnel::protocol::identity::KubernetesIdentity;

use crate::access::{Denied, Granted, Permit};
use crate::audit::{Decision, Known};
use crate::authn::{Authenticated, TokenId};
use crate::configrepo::Snapshot;
use crate::identity::Agent;

/// May this job use this agent?
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) who: &'a Arc<Authenticated>,
    pub(super) agent: &'a Arc<Agent>,
    pub(super) rules: &'a Arc<Snapshot>,
    /// What the job's CI system lets it use.
    pub(super) granted: Option<Arc<Granted>>,
}

/// It may. Of what was asked nothing is kept alive, but its place in memory is nobody else's meanwhile.
#[derive(Debug)]
pub(super) struct Decided {
    who: Weak<Authenticated>,
    agent: Weak<Agent>,
    rules: Weak<Snapshot>,
    granted: Option<Weak<Granted>>,
    permit: Arc<Permit>,
    known: Arc<Known>,
}

impl Question<'_> {
    pub(super) fn decide(&self) -> Result<Arc<Decided>, Denied> {
        let rules = self.rules.in_force(self.agent);
        let permit = Arc::new(self.who.decide(self.agent, &rules)?);
        let known = Arc::new(self.known(&permit, permit.identity()));
        Ok(Arc::new(Decided {
            who: Arc::downgrade(self.who),
            agent: Arc::downgrade(self.agent),
            rules: Arc::downgrade(self.rules),
            granted: self.granted.as_ref().map(Arc::downgrade),
            permit,
            known,
        }))
    }

    /// What audit lines say when the job acts as `identity`.
    pub(super) fn known(&self, permit: &Permit, identity: &KubernetesIdentity) -> Known {
        Known::from(&Decision {
            agent: self.agent,
            job: &self.who.identity,
            token: self.who.token.as_str(),
            parents: self.who.parents.iter().map(TokenId::as_str).collect(),
            rule: &permit.rule().to_string(),
            revision: self.rules.revision(self.agent),
            identity,
        })
    }
}

impl Decided {
    pub(super) fn answers(&self, question: &Question<'_>) -> bool {
        let granted = self.granted.as_ref().map(Weak::as_ptr);
        self.who.as_ptr() == Arc::as_ptr(question.who)
            && self.agent.as_ptr() == Arc::as_ptr(question.agent)
            && self.rules.as_ptr() == Arc::as_ptr(question.rules)
            && granted == question.granted.as_ref().map(Arc::as_ptr)
    }

    pub(super) fn permit(&self) -> &Arc<Permit> {
        &self.permit
    }

    pub(super) fn known(&self) -> &Arc<Known> {
        &self.known
    }
}
