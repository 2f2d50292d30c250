//! The signals an operator sends: SIGTERM and SIGINT to end, SIGHUP to reload.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Takes over the three signals. To be called in a runtime, once, before anything that needs time to end.
///
/// # Errors
/// The system refused.
pub fn install() -> io::Result<(Shutdown, Reload)> {
    let shutdown = Shutdown {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
    };
    Ok((shutdown, Reload(signal(SignalKind::hangup())?)))
}

/// SIGTERM and SIGINT: the first asks for a graceful end, the second for an immediate one.
#[derive(Debug)]
pub struct Shutdown {
    terminate: Signal,
    interrupt: Signal,
}

impl Shutdown {
    /// Waits for the next of the two; its name.
    pub async fn recv(&mut self) -> &'static str {
        // Signals are never closed while the process lives; dropping a pending `recv` loses nothing.
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// SIGHUP.
#[derive(Debug)]
pub struct Reload(Signal);

impl Reload {
    /// Waits for the next SIGHUP. Several that come close together may count as one.
    pub async fn recv(&mut self) {
        _ = self.0.recv().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(name: &str) {
        let pid = std::process::id().to_string();
        assert!(
            std::process::Command::new("kill")
                .args([name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    #[tokio::test]
    async fn hears_each_signal() {
        let (mut shutdown, mut reload) = install().unwrap();
        send("-HUP");
        reload.recv().await;
        send("-TERM");
        assert_eq!(shutdown.recv().await, "SIGTERM");
        send("-INT");
        assert_eq!(shutdown.recv().await, "SIGINT");
    }
}
