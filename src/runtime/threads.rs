//! The runtime that carries requests.

use std::io;

use tokio::runtime::{Builder, Runtime};

/// A runtime of so many threads. One is the fastest up to a full core: nothing is handed from thread to thread.
///
/// # Errors
/// The system gives no threads or no event queue.
pub fn runtime(threads: usize) -> io::Result<Runtime> {
    let mut builder = if threads > 1 {
        Builder::new_multi_thread()
    } else {
        Builder::new_current_thread()
    };
    if threads > 1 {
        builder.worker_threads(threads);
    }
    builder.enable_all().build()
}
