//! One project, followed: looked at regularly, and when a webhook asks for it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use ci_tunnel::runtime::backoff::{Backoff, Delays};
use tokio::sync::{Notify, Semaphore, mpsc, watch};

use super::PARALLEL;
use super::project::{News, Project};
use crate::configrepo::layer::Layer;
use crate::identity::{AgentName, ProjectPath};
use crate::metrics::{LookLabels, Metrics, RepositoryLabels};

/// What the tasks of one remote's projects share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) layer: Layer,
    metrics: Metrics,
    remote: String,
    /// Runs at a time that nobody asked for.
    polls: Semaphore,
    /// Runs at a time that a webhook asked for: they do not queue behind the others.
    poked: Semaphore,
    /// Projects whose last attempt failed.
    failing: Mutex<BTreeSet<String>>,
}

/// Between two attempts that fail, at first. Many in a row are taken for an attack by some.
const RETRY: Duration = Duration::from_secs(5);
/// Webhooks that come at once, or an attempt that failed for a webhook, are worth this much patience.
const POKE_RETRY: Duration = Duration::from_secs(1);

/// Follows one project, for ever.
pub(super) async fn follow(
    mut project: Project,
    mut names: watch::Receiver<Vec<AgentName>>,
    poke: Arc<Notify>,
    shared: Arc<Shared>,
    mut first: Option<mpsc::Sender<()>>,
) {
    let poll = project.remote.poll;
    let mut retries = delays(RETRY.min(poll), poll);
    let mut poke_retries = delays(POKE_RETRY.min(poll), poll);
    let mut published = Vec::new();
    let mut poked = false;
    loop {
        let wanted = names.borrow_and_update().clone();
        let places = if poked { &shared.poked } else { &shared.polls };
        let failed = {
            let _place = places.acquire().await;
            let result = project.update(&wanted, poked).await;
            shared.count(&project, result.as_ref().ok().copied());
            result.is_err()
        };
        shared.publish(&project, &wanted, &published);
        published = wanted;
        drop(first.take());
        let pause = match (failed, poked) {
            (false, _) => {
                retries.reset();
                poke_retries.reset();
                jittered(poll)
            }
            (true, true) => poke_retries.next_delay(),
            (true, false) => retries.next_delay(),
        };
        // After a failure the webhook has still not got what it came for.
        poked &= failed;
        tokio::select! {
            () = poke.notified() => poked = true,
            changed = names.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// So that many projects are not asked for at one moment.
fn jittered(poll: Duration) -> Duration {
    poll.mul_f64(1.0 - 0.2 * rand::random::<f64>())
}

fn delays(min: Duration, max: Duration) -> Delays {
    let backoff = Backoff::new(min, max, 2.0, 0.5);
    backoff
        .expect("from a part of a positive duration to its whole")
        .delays()
}

impl Shared {
    pub(super) fn new(layer: Layer, metrics: Metrics, remote: String) -> Self {
        Self {
            layer,
            metrics,
            remote,
            polls: Semaphore::new(PARALLEL),
            poked: Semaphore::new(PARALLEL),
            failing: Mutex::default(),
        }
    }

    pub(super) fn publish(&self, project: &Project, names: &[AgentName], before: &[AgentName]) {
        for name in before.iter().filter(|name| !names.contains(name)) {
            self.layer.forget(&project.path, name);
        }
        for name in names {
            self.layer.put(&project.path, name, project.rules(name));
        }
    }

    fn count(&self, project: &Project, news: Option<News>) {
        let outcome = match news {
            Some(News::None) => "unchanged",
            Some(News::Read) => "read",
            None => "failed",
        };
        let labels = LookLabels {
            repository: self.remote.clone(),
            outcome,
        };
        self.metrics
            .configuration_fetches
            .get_or_create(&labels)
            .inc();
        let repository = RepositoryLabels {
            repository: self.remote.clone(),
        };
        if news.is_some() {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let now = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
            self.metrics
                .configuration_fetched
                .get_or_create(&repository)
                .set(now);
        }
        self.failing(&project.path, news.is_none());
    }

    pub(super) fn failing(&self, project: &ProjectPath, fails: bool) {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        if fails {
            failing.insert(project.key());
        } else {
            failing.remove(&project.key());
        }
        let repository = RepositoryLabels {
            repository: self.remote.clone(),
        };
        let count = i64::try_from(failing.len()).unwrap_or(i64::MAX);
        self.metrics
            .configuration_failing
            .get_or_create(&repository)
            .set(count);
    }
}
