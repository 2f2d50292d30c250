//! Figures of several rounds, told as medians: lines for people and programs, and a file.

pub mod bars;
mod file;
mod html;
mod page;
pub mod plot;
pub mod table;
mod view;

use anyhow::{Context as _, Result};

pub use self::file::{Described, Figure, Lost, Run};
pub use self::page::Page;
pub use self::view::{Better, VIEWS, View};
use crate::peers::Peer;

/// What was measured so far.
#[derive(Debug, Default)]
pub struct Report {
    figures: Vec<Figure>,
    lost: Vec<Lost>,
}

/// Where figures belong: a workload, one of its cases, a target.
#[derive(Debug)]
pub struct Row<'a> {
    report: &'a mut Report,
    place: [String; 3],
}

impl Report {
    /// The place of one target's figures of one case.
    pub fn row(&mut self, workload: &str, case: &str, target: &str) -> Row<'_> {
        Row {
            report: self,
            place: [workload, case, target].map(str::to_owned),
        }
    }

    /// A measurement that went through. One of a peer that did not is noted and left out, any other ends the run.
    pub fn got<T>(
        &mut self,
        workload: &str,
        case: &str,
        target: &str,
        outcome: Result<T>,
    ) -> Result<Option<T>> {
        match outcome {
            Ok(sample) => Ok(Some(sample)),
            Err(error) if Peer::is_name(target) => {
                self.lose([workload, case, target], &format!("{error:#}"));
                Ok(None)
            }
            Err(error) => Err(error).with_context(|| format!("{workload} {case} {target}")),
        }
    }

    /// Notes that something was not, or not well, measured.
    pub fn lose(&mut self, [workload, case, target]: [&str; 3], why: &str) {
        eprintln!("LOST: {workload} {case} {target}: {why}");
        self.lost.push(Lost {
            workload: workload.to_owned(),
            case: case.to_owned(),
            target: target.to_owned(),
            why: why.to_owned(),
        });
    }

    pub fn print(&self) {
        for figure in &self.figures {
            println!("{}", figure.line());
        }
    }

    /// All of it, for a file.
    pub fn into_parts(self) -> (Vec<Figure>, Vec<Lost>) {
        (self.figures, self.lost)
    }
}

impl Row<'_> {
    /// Adds one round's value of a figure.
    pub fn add(&mut self, measure: &str, value: f64, unit: &str) {
        let [workload, case, target] = &self.place;
        let figures = &mut self.report.figures;
        let known = figures
            .iter_mut()
            .find(|figure| figure.is([workload, case, target], measure));
        match known {
            Some(figure) => figure.rounds.push(value),
            None => figures.push(Figure {
                workload: workload.clone(),
                case: case.clone(),
                target: target.clone(),
                measure: measure.to_owned(),
                unit: unit.to_owned(),
                rounds: vec![value],
            }),
        }
    }

    /// Adds the failures of one round, which are also noted.
    pub fn count_failures(&mut self, failures: u64) {
        self.add("failures", failures as f64, "requests");
        if failures > 0 {
            let [workload, case, target] = self.place.clone();
            let why = format!("{failures} requests failed");
            self.report.lose([&workload, &case, &target], &why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Report;

    #[test]
    fn medians_of_odd_and_even_numbers_of_rounds() {
        let mut report = Report::default();
        for value in [3.0, 1.0, 8.0] {
            report.row("w", "c", "direct").add("odd", value, "ms");
        }
        for value in [4.0, 1.0] {
            report.row("w", "c", "direct").add("even", value, "ms");
        }
        let lines: Vec<_> = report.figures.iter().map(super::Figure::line).collect();
        assert_eq!(
            lines,
            [
                "result: w.c.direct.odd 3.0000 ms",
                "result: w.c.direct.even 2.5000 ms"
            ]
        );
    }
}
