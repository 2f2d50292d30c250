//! A view as a table: a line a target, a column a case.

use std::fmt::Write as _;

use super::{Figure, Run, View};

#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    pub cases: Vec<String>,
    pub rows: Vec<Row>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub target: String,
    pub cells: Vec<Cell>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell {
    Measured(Measured),
    /// It was tried, and nothing could be measured.
    Failed,
    Missing,
}

/// A median, and how far rounds lay apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    pub median: f64,
    pub least: f64,
    pub most: f64,
    /// Better than the tunnel, which the reader shall see at once.
    pub ahead: bool,
}

/// Whom others are compared with; also the beginning of the names of tunnels with other settings.
const OURS: &str = "tunnel";
const DIRECT: &str = "direct";

impl Table {
    /// `None` if the run has nothing for this view.
    pub fn of(view: &View, run: &Run) -> Option<Self> {
        let shown: Vec<&Figure> = run
            .figures
            .iter()
            .filter(|figure| view.shows(figure))
            .collect();
        let cases = distinct(shown.iter().map(|figure| &figure.case));
        let targets = distinct(shown.iter().map(|figure| &figure.target));
        let cell = |target: &String, case: &String| {
            let place = [view.workload, case, target];
            let mut lost = run.lost.iter();
            match Measured::of(view, &shown, place) {
                Some(measured) => Cell::Measured(measured),
                None if lost.any(|lost| lost.is_at(place)) => Cell::Failed,
                None => Cell::Missing,
            }
        };
        let rows: Vec<_> = targets
            .iter()
            .map(|target| Row {
                target: target.clone(),
                cells: cases.iter().map(|case| cell(target, case)).collect(),
            })
            .collect();
        (!rows.is_empty()).then_some(Self { cases, rows })
    }

    /// The names of peers that are better than the tunnel, with the cases in which they are.
    pub fn ahead(&self) -> Vec<(String, Vec<String>)> {
        let cases = |row: &Row| -> Vec<String> {
            let cells = self.cases.iter().zip(&row.cells);
            cells
                .filter(|(_, cell)| cell.measured().is_some_and(|cell| cell.ahead))
                .map(|(case, _)| case.clone())
                .collect()
        };
        let rows = self.rows.iter().map(|row| (row.target.clone(), cases(row)));
        rows.filter(|(_, cases)| !cases.is_empty()).collect()
    }

    pub fn markdown(&self) -> String {
        let mut text = format!(
            "| |{}\n",
            self.cases
                .iter()
                .fold(String::new(), |line, case| line + " " + case + " |")
        );
        text += &format!("| --- |{}\n", " ---: |".repeat(self.cases.len()));
        for row in &self.rows {
            let _ = write!(text, "| {} |", row.target);
            for cell in &row.cells {
                let _ = match cell {
                    Cell::Missing => write!(text, " – |"),
                    Cell::Failed => write!(text, " failed |"),
                    Cell::Measured(cell) if cell.ahead => {
                        write!(text, " **{}** |", number(cell.median))
                    }
                    Cell::Measured(cell) => write!(text, " {} |", number(cell.median)),
                };
            }
            text.push('\n');
        }
        text
    }
}

impl Measured {
    fn of(view: &View, figures: &[&Figure], place: [&str; 3]) -> Option<Self> {
        let [workload, case, target] = place;
        let find = |target: &str| {
            let mut found = figures.iter();
            found.find(|figure| figure.is([workload, case, target], view.measure))
        };
        let figure = find(target)?;
        let ours = find(OURS).map(|ours| ours.median());
        let peer = target != DIRECT && !target.starts_with(OURS);
        let median = figure.median();
        let rounds = || figure.rounds.iter().copied();
        Some(Self {
            median,
            least: rounds().fold(f64::INFINITY, f64::min),
            most: rounds().fold(f64::NEG_INFINITY, f64::max),
            ahead: peer && ours.is_some_and(|ours| view.better.is_ahead(median, ours)),
        })
    }
}

impl Cell {
    pub const fn measured(&self) -> Option<&Measured> {
        match self {
            Self::Measured(measured) => Some(measured),
            Self::Failed | Self::Missing => None,
        }
    }
}

fn distinct<'a>(names: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut distinct: Vec<String> = Vec::new();
    for name in names {
        if !distinct.contains(name) {
            distinct.push(name.clone());
        }
    }
    distinct
}

/// With as many digits as say something.
pub fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => {
            let whole = format!("{value:.0}");
            let (front, back) = whole.split_at(whole.len() - 3);
            format!("{front} {back}")
        }
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Better, Figure, Lost, Run, View};
    use super::{Table, number};

    fn figure(case: &str, target: &str, rounds: &[f64]) -> Figure {
        Figure {
            workload: "small".to_owned(),
            case: case.to_owned(),
            target: target.to_owned(),
            measure: "rate".to_owned(),
            unit: "req/s".to_owned(),
            rounds: rounds.to_vec(),
        }
    }

    fn run(figures: Vec<Figure>) -> Run {
        Run {
            time: 0,
            command: String::new(),
            environment: serde_json::Value::Null,
            peers: Vec::new(),
            figures,
            lost: vec![Lost {
                workload: "small".to_owned(),
                case: "c32".to_owned(),
                target: "frp".to_owned(),
                why: String::new(),
            }],
        }
    }

    const RATE: View = View::new("small", "rate", "Rate", Better::Higher);

    #[test]
    fn marks_who_is_ahead_who_failed_and_what_is_missing() {
        let run = run(vec![
            figure("c1", "direct", &[900.0]),
            figure("c1", "tunnel", &[99.0, 100.0, 200.0]),
            figure("c1", "frp", &[104.0]),
            figure("c1", "rathole", &[20_500.0]),
            figure("c32", "tunnel", &[7.0]),
        ]);
        let table = Table::of(&RATE, &run).unwrap();
        let expected = "| | c1 | c32 |\n| --- | ---: | ---: |\n| direct | 900 | – |\n| tunnel | 100 | 7.00 |\n\
                        | frp | 104 | failed |\n| rathole | **20 500** | – |\n";
        assert_eq!(table.markdown(), expected);
        assert_eq!(
            table.ahead(),
            [("rathole".to_owned(), vec!["c1".to_owned()])]
        );
    }

    #[test]
    fn shows_nothing_of_what_was_not_measured() {
        assert_eq!(Table::of(&RATE, &run(Vec::new())), None);
    }

    #[test]
    fn writes_numbers_with_three_digits_or_more() {
        let numbers = [0.123, 12.34, 123.4, 1234.5, 1_234_567.0].map(number);
        assert_eq!(numbers, ["0.12", "12.3", "123", "1 234", "1234 567"]);
    }
}
