//! QUIC knobs → quinn's configuration, and why each is as it is.

use std::sync::Arc;

use quinn::congestion::{BbrConfig, CubicConfig};
use quinn::{IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};

use crate::config::net::{Congestion, Quic};

/// Streams that a server lets an agent open: the control stream and some air. quinn reserves memory for every stream
/// that the peer may open, and a server has thousands of peers.
const AGENT_OPENED_STREAMS: u32 = 8;

/// Which end of a connection is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Accepts agents; opens request streams.
    Server,
    /// Connects; accepts request streams.
    Agent,
}

/// The transport parameters of one side.
pub fn transport(quic: &Quic, side: Side) -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    let streams = match side {
        Side::Server => AGENT_OPENED_STREAMS.into(),
        Side::Agent => varint(announced_streams(quic.max_streams)),
    };
    config
        .max_concurrent_bidi_streams(streams)
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(varint(quic.stream_window.as_u64()))
        .receive_window(varint(connection_window(quic)))
        .send_window(quic.send_window.as_u64())
        .send_fairness(true)
        .initial_mtu(quic.initial_mtu)
        .enable_segmentation_offload(quic.gso)
        .max_idle_timeout(IdleTimeout::try_from(quic.idle_timeout).ok());
    if side == Side::Agent {
        config.keep_alive_interval(Some(quic.keep_alive));
    }
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(quic.max_mtu);
    config.mtu_discovery_config(quic.mtu_discovery.then_some(discovery));
    match quic.congestion {
        Congestion::Cubic => config.congestion_controller_factory(Arc::new(CubicConfig::default())),
        Congestion::Bbr => config.congestion_controller_factory(Arc::new(BbrConfig::default())),
    };
    Arc::new(config)
}

/// Streams that an agent announces for `max_streams` requests at a time, which the server counts itself: quinn gives places
/// back by the eighth of what was announced, so all but one stalled would leave none for the last.
pub fn announced_streams(max_streams: u32) -> u64 {
    let max_streams = u64::from(max_streams);
    max_streams + max_streams / 7 + 8
}

/// A connection window that stalled streams can use up is head-of-line blocking again: they hold all the credit and nothing
/// else moves. Credit keeps streams well below this one; it is for peers that do not keep to it. Half would do: quinn gives
/// this back by the eighth.
pub(super) fn connection_window(quic: &Quic) -> u64 {
    let streams = u64::from(quic.max_streams) + u64::from(AGENT_OPENED_STREAMS);
    let first = streams.saturating_mul(quic.initial_window.as_u64());
    let needed = first
        .saturating_add(quic.connection_budget.as_u64())
        .saturating_add(quic.stream_window.as_u64());
    needed.saturating_mul(2)
}

fn varint(value: u64) -> VarInt {
    VarInt::from_u64(value).unwrap_or(VarInt::MAX)
}
