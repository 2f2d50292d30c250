//! What is shown of a run: which measures, under which title, and which way is better.

use super::Figure;

/// One measure of one workload, which becomes a table.
#[derive(Debug, Clone, Copy)]
pub struct View {
    pub workload: &'static str,
    pub measure: &'static str,
    pub title: &'static str,
    pub better: Better,
    pub picture: bool,
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
    View::new("small", "rate", "Small GETs a second", Higher).drawn(),
    View::new("small", "mean", "Small GETs: mean, ms", Lower),
    View::new("small", "p50", "Small GETs: p50, ms", Lower),
    View::new("small", "p99", "Small GETs: p99, ms", Lower).drawn(),
    View::new("small", "p999", "Small GETs: p99.9, ms", Lower),
    View::new("small", "cpu", "Small GETs: CPU s per 10,000, both ends", Lower).drawn(),
    View::new("small", "server_peak", "Small GETs: most memory of the server, MiB", Lower),
    View::new("small", "agent_peak", "Small GETs: most memory of the agent, MiB", Lower),
    View::new("bulk", "speed", "Bulk: MB/s", Higher).drawn(),
    View::new("bulk", "cpu", "Bulk: CPU s per GiB, both ends", Lower).drawn(),
    View::new("bulk", "server_peak", "Bulk: most memory of the server, MiB", Lower),
    View::new("bulk", "agent_peak", "Bulk: most memory of the agent, MiB", Lower),
    View::new("stalled", "failures", "Small GETs beside stalled readers: failures", Lower),
    View::new("stalled", "p99", "Small GETs beside stalled readers: p99, ms", Lower).drawn(),
    View::new("stalled", "p99_ratio", "Small GETs beside stalled readers: p99 to none stalled", Lower),
    View::new("stalled", "server_rss", "Stalled readers: memory of the server, MiB", Lower).drawn(),
    View::new("stalled", "agent_rss", "Stalled readers: memory of the agent, MiB", Lower),
    View::new("stalled", "server_rss_after", "Stalled readers: memory of the server once they are gone, MiB", Lower),
    View::new("stalled", "agent_rss_after", "Stalled readers: memory of the agent once they are gone, MiB", Lower),
    View::new("interactive", "echo_p99", "Exec echo of 64 bytes, 4 at a time, 200 watches beside: p99, ms", Lower).drawn(),
    View::new("interactive", "event_p99", "Event of one of 200 watches: p99 of its delay, ms", Lower).drawn(),
    View::new("interactive", "bulk", "Bulk beside watches and exec: MB/s", Higher),
    View::new("links", "bulk_alone", "A link of 200 Mbit/s: one download, MB/s", Higher).drawn(),
    View::new("links", "beside_p50", "A link of 200 Mbit/s: small GETs beside a download: p50, ms", Lower),
    View::new("links", "beside_p99", "A link of 200 Mbit/s: small GETs beside a download: p99, ms", Lower).drawn(),
    View::new("links", "bulk_beside", "A link of 200 Mbit/s: the download beside small GETs, MB/s", Higher),
    View::new("links", "quiet_p99", "A link of 200 Mbit/s: small GETs alone: p99, ms", Lower),
    View::new("idle", "server_each", "Idle agents and watches: memory of the server for each, KiB", Lower),
    View::new("idle", "agent_each", "Idle watches: memory of the agent for each, KiB", Lower),
    View::new("idle", "server_cpu", "Idle agents and watches: the server, % of a core", Lower),
    View::new("faults", "first_success", "Faults: until a request gets through again, ms", Lower).drawn(),
    View::new("faults", "failures", "Faults: requests that failed", Lower),
    View::new("faults", "slowest", "Faults: the slowest that was answered, ms", Lower),
    View::new("churn", "server_memory_slope", "Churn, last half: memory of the server for 1,000 requests, KiB", Lower),
    View::new("churn", "agent_memory_slope", "Churn, last half: memory of the agent for 1,000 requests, KiB", Lower),
    View::new("churn", "server_descriptors_slope", "Churn, last half: descriptors of the server for 1,000 requests", Lower),
    View::new("churn", "agent_descriptors_slope", "Churn, last half: descriptors of the agent for 1,000 requests", Lower),
    View::new("churn", "server_tasks_slope", "Churn, last half: tasks of the server for 1,000 requests", Lower),
    View::new("churn", "agent_tasks_slope", "Churn, last half: tasks of the agent for 1,000 requests", Lower),
    View::new("fresh", "rate", "A new connection a request: requests a second", Higher),
    View::new("fresh", "p50", "A new connection a request: p50, ms", Lower).drawn(),
    View::new("fresh", "p99", "A new connection a request: p99, ms", Lower).drawn(),
];

impl View {
    pub const fn new(
        workload: &'static str,
        measure: &'static str,
        title: &'static str,
        better: Better,
    ) -> Self {
        Self {
            workload,
            measure,
            title,
            better,
            picture: false,
        }
    }

    /// With a picture, as what says most has.
    const fn drawn(self) -> Self {
        Self {
            picture: true,
            ..self
        }
    }

    pub fn shows(&self, figure: &Figure) -> bool {
        figure.workload == self.workload && figure.measure == self.measure
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
