//! A run as a page: one HTML file that needs no other, or Markdown with its pictures beside it.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::bars::{BARS, Verdict};
use super::table::{Table, number};
use super::view::{VIEWS, View};
use super::{Run, html, plot};

/// What is shown, in order.
#[derive(Debug)]
pub struct Page {
    run: Run,
    sections: Vec<Section>,
    verdicts: Vec<Verdict>,
}

#[derive(Debug)]
pub(super) struct Section {
    view: View,
    pub(super) table: Table,
    pub(super) svg: Option<String>,
}

/// Lines of docs/benchmarks.md between which this writes.
const BEGIN: &str = "<!-- Results: `bench-report` writes from here -->";
const END: &str = "<!-- to here. -->";

impl Page {
    pub fn new(run: Run) -> Result<Self> {
        let mut sections = Vec::new();
        for view in VIEWS {
            if let Some(table) = Table::of(view, &run) {
                let svg = view.picture.then(|| plot::svg(view.title, &table));
                let svg = svg.transpose()?;
                sections.push(Section {
                    view: *view,
                    table,
                    svg,
                });
            }
        }
        let verdicts = BARS.iter().map(|bar| bar.judge(&run.figures)).collect();
        Ok(Self {
            run,
            sections,
            verdicts,
        })
    }

    /// Puts tables into the file `document`, and pictures into the folder of the same name beside it.
    pub fn write_into(&self, document: &Path) -> Result<()> {
        let folder = document.with_extension("");
        std::fs::create_dir_all(&folder)?;
        for section in &self.sections {
            if let Some(svg) = &section.svg {
                let file = folder.join(section.file());
                std::fs::write(&file, svg).with_context(|| file.display().to_string())?;
            }
        }
        let name = folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let text = std::fs::read_to_string(document)?;
        let text = between(&text, &self.markdown(&name)).with_context(|| {
            format!("{} has no lines `{BEGIN}` and `{END}`", document.display())
        })?;
        std::fs::write(document, text).with_context(|| document.display().to_string())
    }

    pub fn html(&self) -> String {
        let mut body = html::from_markdown(&self.introduction());
        for section in &self.sections {
            let title = html::escape(section.title());
            let picture = section.svg.as_deref().unwrap_or_default();
            let _ = writeln!(body, "<h2>{title}</h2>\n{picture}");
            body += &html::from_markdown(&section.table.markdown());
        }
        html::document("ci-tunnel benchmarks", &body)
    }

    fn markdown(&self, folder: &str) -> String {
        let mut text = self.introduction();
        for section in &self.sections {
            let (title, file) = (section.title(), section.file());
            let _ = write!(text, "\n### {title}\n\n{}", section.table.markdown());
            if section.svg.is_some() {
                let _ = writeln!(text, "\n![{title}]({folder}/{file})");
            }
        }
        text
    }

    fn introduction(&self) -> String {
        let mut text = self.origin();
        self.peers(&mut text);
        text += "\n### Bars\n\n| bar | wanted | reached | |\n| --- | ---: | ---: | --- |\n";
        for verdict in &self.verdicts {
            let reached = verdict.reached.map_or_else(|| "–".to_owned(), number);
            let (what, wanted, word) = (&verdict.what, &verdict.wanted, verdict.word());
            let _ = writeln!(text, "| {what} | {wanted} | {reached} | {word} |");
        }
        self.ahead(&mut text);
        if !self.run.lost.is_empty() {
            text += "\n### What failed\n\n| workload | case | target | why |\n| --- | --- | --- | --- |\n";
        }
        for lost in &self.run.lost {
            let why = lost
                .why
                .lines()
                .next()
                .unwrap_or_default()
                .replace('|', "/");
            let _ = writeln!(
                text,
                "| {} | {} | {} | {why} |",
                lost.workload, lost.case, lost.target
            );
        }
        text
    }

    /// Where the figures come from.
    fn origin(&self) -> String {
        let environment = &self.run.environment;
        let said = |key: &str| match &environment[key] {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let rounds = self
            .run
            .figures
            .iter()
            .map(|figure| figure.rounds.len())
            .max();
        let mut text = format!(
            "`bench {}`, {}; {} of {}, Linux {}; load average before it {}; medians of up to {} rounds.\n\nSettings: ",
            self.run.command,
            said("date"),
            said("cores"),
            said("cpu"),
            said("kernel"),
            said("load_before"),
            rounds.unwrap_or_default(),
        );
        let settings = environment["sysctls"].as_object().into_iter().flatten();
        let settings = settings
            .map(|(name, value)| format!("`{name}` {}", value.as_str().unwrap_or_default()));
        text += &settings.collect::<Vec<_>>().join(", ").replace('\t', " ");
        text + ".\n"
    }

    fn peers(&self, text: &mut String) {
        *text += "\n### Who is compared\n\n| peer | version | between its ends | does less than the tunnel |\n\
                  | --- | --- | --- | --- |\n";
        for peer in &self.run.peers {
            let version = peer
                .version
                .as_deref()
                .unwrap_or("not built: **not measured**");
            let _ = writeln!(
                text,
                "| {} | {version} | {} | {} |",
                peer.name, peer.carrier, peer.less
            );
        }
    }

    fn ahead(&self, text: &mut String) {
        *text += "\n### Where a peer is ahead of the tunnel\n\nBy more than 5 %; **bold** in the tables.\n\n";
        let mut nobody = true;
        for section in &self.sections {
            let peers = section.table.ahead().into_iter();
            let peers: Vec<_> = peers
                .map(|(peer, cases)| format!("{peer} ({})", cases.join(", ")))
                .collect();
            if !peers.is_empty() {
                let _ = writeln!(text, "* {}: {}", section.title(), peers.join("; "));
                nobody = false;
            }
        }
        if nobody {
            *text += "Nowhere in this run.\n";
        }
    }
}

impl Section {
    const fn title(&self) -> &'static str {
        self.view.title
    }

    fn file(&self) -> String {
        format!("{}-{}.svg", self.view.workload, self.view.measure)
    }
}

/// `text` with `new` between the marks.
fn between(text: &str, new: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{new}\n{END}{after}"))
}

#[cfg(test)]
mod tests;
