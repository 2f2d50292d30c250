//! The bars that the tunnel is to clear, and whether it does.

use super::Figure;

/// One bar.
#[derive(Debug, Clone, Copy)]
pub struct Bar {
    place: [&'static str; 3],
    measure: &'static str,
    bound: Bound,
    /// The other target that the measure is divided by, if it is about two.
    over: Option<&'static str>,
}

#[derive(Debug, Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// What became of a bar.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    pub what: String,
    pub wanted: String,
    pub reached: Option<f64>,
    pub held: bool,
}

use Bound::{AtLeast, AtMost};

/// In the order of the page.
#[rustfmt::skip]
pub const BARS: &[Bar] = &[
    bar("small", "h1_c1", "ratio", AtLeast(0.28)),
    bar("small", "h1_c1", "added_mean", AtMost(0.22)),
    bar("small", "h1_c32", "ratio", AtLeast(0.36)),
    bar("small", "h1_c32", "p99_ratio", AtMost(3.0)),
    bar("small", "h1_c32", "cpu", AtMost(0.45)),
    bar("small", "h1_c256", "ratio", AtLeast(0.37)),
    bar("small", "h2_c32_m10", "ratio", AtLeast(0.30)),
    bar("bulk", "down_x1", "ratio", AtLeast(0.30)),
    bar("bulk", "down_x1", "cpu", AtMost(3.5)),
    bar("bulk", "down_x1", "speed", AtLeast(1.4)).over("rusnel"),
    bar("bulk", "down_x1", "speed", AtLeast(2.0)).over("konnectivity"),
    bar("stalled", "n64", "p99_ratio", AtMost(1.3)),
    bar("stalled", "n64", "failures", AtMost(0.0)),
    bar("stalled", "n64", "server_rss", AtMost(300.0)),
    bar("stalled", "n64", "agent_rss", AtMost(300.0)),
    bar("stalled", "n1000", "p99_ratio", AtMost(2.0)),
    bar("stalled", "n1000", "failures", AtMost(0.0)),
    bar("stalled", "n1000", "server_rss", AtMost(1024.0)),
    bar("stalled", "n1000", "agent_rss", AtMost(1024.0)),
    bar("stalled", "n4095", "p99_ratio", AtMost(3.0)),
    bar("stalled", "n4095", "failures", AtMost(0.0)),
    bar("stalled", "n4095", "server_rss", AtMost(1024.0)),
    bar("stalled", "n4095", "agent_rss", AtMost(1024.0)),
    bar("stalled", "n4095", "server_after_ratio", AtMost(2.0)),
    bar("stalled", "n4095", "agent_after_ratio", AtMost(2.0)),
    bar("interactive", "beside_bulk", "echo_p99", AtMost(15.0)),
    bar("interactive", "beside_bulk", "event_p99", AtMost(20.0)),
    bar("links", "rtt40_loss1_cubic", "beside_p99", AtMost(0.35)).over("tunnel-http2"),
    bar("links", "rtt40_loss1_bbr", "bulk_alone_share", AtLeast(0.75)),
    bar("idle", "agents_1000", "server_each", AtMost(50.0)),
    bar("idle", "watches_1000", "server_each", AtMost(8.0)),
    bar("idle", "watches_1000", "agent_each", AtMost(12.0)),
    bar("faults", "server_killed", "first_success", AtMost(1000.0)),
    bar("faults", "server_killed_http2", "first_success", AtMost(1000.0)),
    bar("faults", "agent_killed", "first_success", AtMost(1000.0)),
    bar("faults", "address_changed", "failures", AtMost(0.0)),
];

const fn bar(
    workload: &'static str,
    case: &'static str,
    measure: &'static str,
    bound: Bound,
) -> Bar {
    Bar {
        place: [workload, case, "tunnel"],
        measure,
        bound,
        over: None,
    }
}

impl Bar {
    const fn over(self, target: &'static str) -> Self {
        Self {
            over: Some(target),
            ..self
        }
    }

    pub fn judge(&self, figures: &[Figure]) -> Verdict {
        let [workload, case, target] = self.place;
        let median = |target: &str| {
            let mut found = figures.iter();
            let figure = found.find(|figure| figure.is([workload, case, target], self.measure))?;
            Some(figure.median())
        };
        let reached = match self.over {
            None => median(target),
            Some(other) => median(target)
                .zip(median(other))
                .map(|(ours, theirs)| ours / theirs),
        };
        let (sign, bound) = match self.bound {
            AtLeast(bound) => ("≥", bound),
            AtMost(bound) => ("≤", bound),
        };
        let over = self
            .over
            .map_or_else(String::new, |other| format!(" to {other}"));
        Verdict {
            what: format!("{workload} {case} {}{over}", self.measure),
            wanted: format!("{sign} {bound}"),
            reached,
            held: reached.is_some_and(|reached| match self.bound {
                AtLeast(bound) => reached >= bound,
                AtMost(bound) => reached <= bound,
            }),
        }
    }
}

impl Verdict {
    pub const fn word(&self) -> &'static str {
        match (self.held, self.reached) {
            (true, _) => "held",
            (false, Some(_)) => "**missed**",
            (false, None) => "not measured",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Figure;
    use super::{AtLeast, AtMost, bar};

    fn speed(target: &str, value: f64) -> Figure {
        Figure {
            workload: "bulk".to_owned(),
            case: "down".to_owned(),
            target: target.to_owned(),
            measure: "speed".to_owned(),
            unit: "MB/s".to_owned(),
            rounds: vec![value],
        }
    }

    #[test]
    fn judges_alone_and_against_a_peer() {
        let figures = [speed("tunnel", 300.0), speed("frp", 200.0)];
        let bars = [
            bar("bulk", "down", "speed", AtLeast(300.0)),
            bar("bulk", "down", "speed", AtMost(299.0)),
            bar("bulk", "down", "speed", AtLeast(1.6)).over("frp"),
            bar("bulk", "down", "speed", AtLeast(1.6)).over("rusnel"),
        ];
        let words = bars.map(|bar| bar.judge(&figures).word());
        assert_eq!(words, ["held", "**missed**", "**missed**", "not measured"]);
    }
}
