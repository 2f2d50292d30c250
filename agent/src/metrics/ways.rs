//! By which ways the server is reached.

use ci_tunnel::transport::connection::Transport;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{Counted, Ended};

/// `quic` or `http2`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct By {
    transport: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Using {
    transport: &'static str,
    reason: &'static str,
}

/// Counts of sessions and of changes of the transport.
#[derive(Debug, Default)]
pub struct Ways {
    connected: Family<By, Gauge>,
    using: Family<Using, Gauge>,
    fallbacks: Counter,
    quic_tries: Family<Ended, Counter>,
}

impl Ways {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "connected",
            "Sessions with the server",
            self.connected.clone(),
        );
        registry.register(
            "transport",
            "1 for what requests go over, and why",
            self.using.clone(),
        );
        registry.register(
            "fallbacks",
            "Times that HTTP/2 was taken because QUIC did not get through",
            self.fallbacks.clone(),
        );
        registry.register(
            "quic_tries",
            "Attempts to return to QUIC, by how they ended",
            self.quic_tries.clone(),
        );
    }

    /// Counts a session for as long as the guard lives.
    pub fn connected(&self, transport: Transport) -> Counted {
        let transport = transport.name();
        Counted::new(&self.connected.get_or_create_owned(&By { transport }))
    }

    /// What new requests go over, and why.
    pub fn uses(&self, transport: Transport, reason: &'static str) {
        let transport = transport.name();
        self.using.clear();
        let now = self.using.get_or_create_owned(&Using { transport, reason });
        now.set(1);
    }

    pub fn fell_back(&self) {
        self.fallbacks.inc();
    }

    pub fn quic_tried(&self, outcome: &'static str) {
        self.quic_tries.get_or_create(&Ended { outcome }).inc();
    }
}
