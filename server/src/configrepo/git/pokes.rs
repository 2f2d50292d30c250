//! Projects that are to be looked at now, instead of at the next poll.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::identity::ProjectPath;

/// Has projects looked at now. Clones share it.
#[derive(Debug, Clone, Default)]
pub(in crate::configrepo) struct Pokes(Arc<Mutex<HashMap<String, Arc<Notify>>>>);

impl Pokes {
    /// Has a project looked at, if it is followed. Many at once are one.
    pub(in crate::configrepo) fn poke(&self, project: &ProjectPath) {
        if let Some(poke) = self.lock().get(&project.key()) {
            poke.notify_one();
        }
    }

    pub(in crate::configrepo) fn register(&self, project: &ProjectPath) -> Arc<Notify> {
        Arc::clone(self.lock().entry(project.key()).or_default())
    }

    pub(super) fn forget(&self, project: &ProjectPath) {
        self.lock().remove(&project.key());
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Notify>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
