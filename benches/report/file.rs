//! The file of a run: all rounds of all figures, and where they were measured.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::peers::Peer;

/// What one run of the program measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// Seconds since 1970.
    pub time: u64,
    /// What was typed.
    pub command: String,
    pub environment: Value,
    pub peers: Vec<Described>,
    pub figures: Vec<Figure>,
    /// What could not be measured, or failed in part.
    pub lost: Vec<Lost>,
}

/// A peer, for readers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Described {
    pub name: String,
    /// `None`: it is not built here.
    pub version: Option<String>,
    pub carrier: String,
    pub less: String,
}

/// One measure of one target in one case, a value a round.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Figure {
    pub workload: String,
    pub case: String,
    pub target: String,
    pub measure: String,
    pub unit: String,
    pub rounds: Vec<f64>,
}

/// What is missing, and why.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Lost {
    pub workload: String,
    pub case: String,
    pub target: String,
    pub why: String,
}

impl Run {
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }

    /// Both, where a workload of `later` takes the place of the same workload.
    #[must_use]
    pub fn joined(mut self, later: Self) -> Self {
        let again = |workload: &str| {
            later
                .figures
                .iter()
                .any(|figure| figure.workload == workload)
        };
        self.figures.retain(|figure| !again(&figure.workload));
        self.lost.retain(|lost| !again(&lost.workload));
        self.figures.extend(later.figures);
        self.lost.extend(later.lost);
        Self {
            command: format!("{}` and `bench {}", self.command, later.command),
            ..self
        }
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(path, text).with_context(|| path.display().to_string())
    }
}

impl Lost {
    pub fn is_at(&self, place: [&str; 3]) -> bool {
        [&self.workload, &self.case, &self.target] == place
    }

    /// A peer that fails is a result; anything else that fails is a failure of the run.
    pub fn is_failure(&self) -> bool {
        !Peer::is_name(&self.target)
    }
}

impl Figure {
    pub fn is(&self, [workload, case, target]: [&str; 3], measure: &str) -> bool {
        self.workload == workload
            && self.case == case
            && self.target == target
            && self.measure == measure
    }

    pub fn median(&self) -> f64 {
        let mut sorted = self.rounds.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => f64::NAN,
            length if length % 2 == 1 => sorted[middle],
            _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
        }
    }

    /// For people and programs.
    pub fn line(&self) -> String {
        let Self {
            workload,
            case,
            target,
            measure,
            unit,
            ..
        } = self;
        let median = self.median();
        format!("result: {workload}.{case}.{target}.{measure} {median:.4} {unit}")
    }
}
