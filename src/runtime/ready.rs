//! Whether a process is ready, and what is missing if it is not.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

/// What must hold for the process to be ready. Clones share it.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<watch::Sender<Needs>>);

#[derive(Debug, Default)]
struct Needs {
    next: u64,
    missing: BTreeMap<u64, String>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self(Arc::new(watch::channel(Needs::default()).0))
    }
}

impl Readiness {
    /// Nothing is needed yet, so it is ready: take all latches and conditions before serving.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Something that must happen once.
    pub fn latch(&self, name: &'static str) -> Latch {
        Latch(self.condition(name))
    }

    /// Something that may become true and false again. It begins as false.
    #[must_use]
    pub fn condition(&self, name: &'static str) -> Condition {
        let mut id = 0;
        self.0.send_modify(|needs| {
            id = needs.next;
            needs.next += 1;
            needs.missing.insert(id, name.to_owned());
        });
        Condition {
            readiness: self.clone(),
            id,
            name,
        }
    }

    /// Whether nothing is missing.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.borrow().missing.is_empty()
    }

    /// What is missing, in the order in which it was asked for.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        self.0.borrow().missing.values().cloned().collect()
    }

    /// Resolves when nothing is missing.
    pub async fn ready(&self) {
        // The sender lives as long as `self`.
        _ = self
            .0
            .subscribe()
            .wait_for(|needs| needs.missing.is_empty())
            .await;
    }
}

/// Something that must happen once. Dropped before it happened, it stays missing: what failed is not ready.
#[derive(Debug)]
#[must_use = "the process is ready only when the latch is released"]
pub struct Latch(Condition);

impl Latch {
    /// It happened.
    pub fn release(self) {
        self.0.met();
    }
}

/// Something that may become true and false again. It stays as it last was when this is dropped.
#[derive(Debug)]
pub struct Condition {
    readiness: Readiness,
    id: u64,
    name: &'static str,
}

impl Condition {
    /// It is true.
    pub fn met(&self) {
        self.readiness
            .0
            .send_if_modified(|needs| needs.missing.remove(&self.id).is_some());
    }

    /// It is false, because of `reason`.
    pub fn unmet(&self, reason: &str) {
        let text = format!("{}: {reason}", self.name);
        self.readiness.0.send_if_modified(|needs| {
            let before = needs.missing.insert(self.id, text);
            before.as_ref() != needs.missing.get(&self.id)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn says_what_is_missing() {
        let readiness = Readiness::new();
        assert!(readiness.is_ready());
        let listener = readiness.latch("listener");
        let agent = readiness.condition("agent");
        assert_eq!(readiness.missing(), ["listener", "agent"]);
        listener.release();
        agent.met();
        readiness.ready().await;
        agent.unmet("disconnected");
        assert_eq!(readiness.missing(), ["agent: disconnected"]);
        agent.unmet("refused");
        assert_eq!(readiness.missing(), ["agent: refused"]);
        agent.met();
        assert!(readiness.is_ready());
    }

    #[test]
    fn what_failed_is_not_ready() {
        let readiness = Readiness::new();
        drop(readiness.latch("store"));
        assert_eq!(readiness.missing(), ["store"]);
    }
}
