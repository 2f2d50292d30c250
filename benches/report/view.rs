//! What is shown of a run: which measures, under which title, and which way is better.

/// One measure of one workload, which becomes a table and a picture.
#[derive(Debug, Clone, Copy)]
pub struct View {
    pub workload: &'static str,
    pub measure: &'static str,
    pub title: &'static str,
    pub better: Better,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    Higher,
    Lower,
}

use Better::{Higher, Lower};

/// In the order of the page.
#[rustfmt::skip]
pub const VIEWS: &[View] = &[
    view("small", "rate", "Small GETs a second", Higher),
    view("small", "mean", "Small GETs: mean, ms", Lower),
    view("small", "p50", "Small GETs: p50, ms", Lower),
    view("small", "p99", "Small GETs: p99, ms", Lower),
    view("small", "p999", "Small GETs: p99.9, ms", Lower),
    view("small", "cpu", "Small GETs: CPU s per 10,000, both ends", Lower),
    view("small", "server_peak", "Small GETs: most memory of the server, MiB", Lower),
    view("small", "agent_peak", "Small GETs: most memory of the agent, MiB", Lower),
    view("bulk", "speed", "Bulk: MB/s", Higher),
    view("bulk", "cpu", "Bulk: CPU s per GiB, both ends", Lower),
    view("bulk", "server_peak", "Bulk: most memory of the server, MiB", Lower),
    view("bulk", "agent_peak", "Bulk: most memory of the agent, MiB", Lower),
    view("stalled", "failures", "Small GETs beside stalled readers: failures", Lower),
    view("stalled", "p99", "Small GETs beside stalled readers: p99, ms", Lower),
    view("stalled", "p99_ratio", "Small GETs beside stalled readers: p99 to none stalled", Lower),
    view("stalled", "server_rss", "Stalled readers: memory of the server, MiB", Lower),
    view("stalled", "agent_rss", "Stalled readers: memory of the agent, MiB", Lower),
    view("stalled", "server_rss_after", "Stalled readers: memory of the server once they are gone, MiB", Lower),
    view("stalled", "agent_rss_after", "Stalled readers: memory of the agent once they are gone, MiB", Lower),
    view("fresh", "rate", "A new connection a request: requests a second", Higher),
    view("fresh", "p50", "A new connection a request: p50, ms", Lower),
    view("fresh", "p99", "A new connection a request: p99, ms", Lower),
];

const fn view(
    workload: &'static str,
    measure: &'static str,
    title: &'static str,
    better: Better,
) -> View {
    View {
        workload,
        measure,
        title,
        better,
    }
}

impl Better {
    /// Whether `one` is better than `other`, by more than runs differ among themselves.
    pub fn is_ahead(self, one: f64, other: f64) -> bool {
        match self {
            Self::Higher => one > other * (1.0 + NOISE),
            Self::Lower => one < other * (1.0 - NOISE),
        }
    }
}

/// Differences below this are none.
const NOISE: f64 = 0.05;
