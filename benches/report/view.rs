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

pub const VIEWS: [View; 16] = [
    view("small", "rate", "Small GETs a second", Better::Higher),
    view("small", "mean", "Small GETs: mean, ms", Better::Lower),
    view("small", "p50", "Small GETs: p50, ms", Better::Lower),
    view("small", "p99", "Small GETs: p99, ms", Better::Lower),
    view("small", "p999", "Small GETs: p99.9, ms", Better::Lower),
    view(
        "small",
        "cpu",
        "Small GETs: CPU s per 10,000, both ends",
        Better::Lower,
    ),
    view("bulk", "speed", "Bulk, MB/s", Better::Higher),
    view(
        "bulk",
        "cpu",
        "Bulk: CPU s per GiB, both ends",
        Better::Lower,
    ),
    view(
        "stalled",
        "p99",
        "Small GETs beside stalled readers: p99, ms",
        Better::Lower,
    ),
    view(
        "stalled",
        "p99_ratio",
        "Small GETs beside stalled readers: p99 to none stalled",
        Better::Lower,
    ),
    view(
        "stalled",
        "failures",
        "Small GETs beside stalled readers: failures",
        Better::Lower,
    ),
    view(
        "fresh",
        "rate",
        "A new connection a request: requests a second",
        Better::Higher,
    ),
    view(
        "fresh",
        "p50",
        "A new connection a request: p50, ms",
        Better::Lower,
    ),
    view(
        "fresh",
        "p99",
        "A new connection a request: p99, ms",
        Better::Lower,
    ),
    view(
        "small",
        "server_peak",
        "Most memory of the server after small GETs, MiB",
        Better::Lower,
    ),
    view(
        "small",
        "agent_peak",
        "Most memory of the agent after small GETs, MiB",
        Better::Lower,
    ),
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
