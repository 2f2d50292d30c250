//! Looks at a directory whenever it changes.

use std::path::Path;
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _, event::AccessKind};
use tokio::sync::mpsc;

use super::{Directory, GONE_AFTER};
use crate::configrepo::layer::Layer;

/// After the first sign of a change: time for the rest of it.
const SETTLE: Duration = Duration::from_millis(100);
/// Watches miss changes (network mounts, swapped symlinks, full queues), so all is looked at this often anyway.
const RESCAN: Duration = Duration::from_secs(10);

/// What tells of changes; it ends when this is dropped.
#[derive(Debug)]
pub(in crate::configrepo) struct Events {
    woken: mpsc::Receiver<()>,
    _watcher: Option<RecommendedWatcher>,
}

/// Watches and reads it for the first time. Blocks.
pub(in crate::configrepo) fn open(mut directory: Directory, layer: &Layer) -> (Directory, Events) {
    let (wake, woken) = mpsc::channel(1);
    // Watched before read: a change in between must not be lost.
    let watcher = events(directory.path(), wake);
    layer.replace(directory.read());
    (
        directory,
        Events {
            woken,
            _watcher: watcher,
        },
    )
}

/// Reads it again whenever it changes, for ever.
pub(in crate::configrepo) async fn follow(
    mut directory: Directory,
    mut events: Events,
    layer: Layer,
) {
    loop {
        // Closed when the system's watch could not be set up: the timeout alone then paces the loop.
        let event = async {
            if events.woken.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
        };
        let pause = if directory.is_missing_any() {
            GONE_AFTER
        } else {
            RESCAN
        };
        if tokio::time::timeout(pause, event).await.is_ok() {
            tokio::time::sleep(SETTLE).await;
            while events.woken.try_recv().is_ok() {}
        }
        let reading = tokio::task::spawn_blocking(move || {
            let read = directory.read();
            (directory, read)
        });
        let read;
        (directory, read) = match reading.await {
            Ok(done) => done,
            // Seen as this task's end by whoever watches it.
            Err(error) => {
                return tracing::error!(%error, "agent configuration is no longer watched");
            }
        };
        layer.replace(read);
    }
}

/// Asks the system to tell of changes; without it (too many watches, say) the regular look has to do.
fn events(directory: &Path, wake: mpsc::Sender<()>) -> Option<RecommendedWatcher> {
    let on_event = move |event: notify::Result<notify::Event>| {
        if event.map_or(true, |event| is_change(event.kind)) {
            // Full means that a wake-up waits already.
            let _ = wake.try_send(());
        }
    };
    let watched = notify::recommended_watcher(on_event).and_then(|mut watcher| {
        watcher.watch(directory, RecursiveMode::Recursive)?;
        Ok(watcher)
    });
    let warn =
        |error| tracing::warn!(%error, "agent configuration is looked at every {RESCAN:?} only");
    watched.map_err(warn).ok()
}

/// Our own reading must not count as a change, or it would wake itself for ever.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(mode)) => mode == notify::event::AccessMode::Write,
        EventKind::Access(_) => false,
        _ => true,
    }
}
