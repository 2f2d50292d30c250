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
        Side::Server => AGENT_OPENED_STREAMS,
        Side::Agent => quic.max_streams,
    };
    config
        .max_concurrent_bidi_streams(streams.into())
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(varint(quic.stream_window.as_u64()))
        // A connection window below streams × stream window is head-of-line blocking again: stalled streams hold all
        // the credit and nothing else moves. The bound on memory is per stream.
        .receive_window(VarInt::MAX)
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

fn varint(value: u64) -> VarInt {
    VarInt::from_u64(value).unwrap_or(VarInt::MAX)
}
