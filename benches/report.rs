//! Figures of several rounds, told as medians: lines for people and programs, and a file.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

/// What was measured so far.
#[derive(Debug, Default)]
pub struct Report {
    figures: Vec<Figure>,
}

#[derive(Debug)]
struct Figure {
    name: String,
    unit: &'static str,
    /// One a round.
    values: Vec<f64>,
}

impl Report {
    /// Adds one round's value of a figure.
    pub fn add(&mut self, name: &str, value: f64, unit: &'static str) {
        match self.figures.iter_mut().find(|figure| figure.name == name) {
            Some(figure) => figure.values.push(value),
            None => self.figures.push(Figure {
                name: name.to_owned(),
                unit,
                values: vec![value],
            }),
        }
    }

    pub fn print(&self) {
        for figure in &self.figures {
            let Figure { name, unit, .. } = figure;
            println!("result: {name} {:.4} {unit}", figure.median());
        }
    }

    /// Writes a file for this run into `directory`.
    pub fn write(&self, directory: &Path, environment: &Value) -> Result<PathBuf> {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        std::fs::create_dir_all(directory)?;
        let path = directory.join(format!("{seconds}.json"));
        let figures: Map<_, _> = self.figures.iter().map(Figure::entry).collect();
        let text = serde_json::to_string_pretty(&json!({
            "time": seconds,
            "environment": environment,
            "figures": figures,
        }))?;
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        Ok(path)
    }
}

impl Figure {
    fn median(&self) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        }
    }

    fn entry(&self) -> (String, Value) {
        let value = json!({ "median": self.median(), "unit": self.unit, "rounds": self.values });
        (self.name.clone(), value)
    }
}

#[cfg(test)]
mod tests {
    use super::Report;

    #[test]
    fn medians_of_odd_and_even_numbers_of_rounds() {
        let mut report = Report::default();
        for value in [3.0, 1.0, 8.0] {
            report.add("odd", value, "ms");
        }
        for value in [4.0, 1.0] {
            report.add("even", value, "ms");
        }
        let medians: Vec<_> = report
            .figures
            .iter()
            .map(|figure| (figure.name.as_str(), figure.median()))
            .collect();
        assert_eq!(medians, [("odd", 3.0), ("even", 2.5)]);
    }
}
