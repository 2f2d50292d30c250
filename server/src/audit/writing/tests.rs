//! What is written, and where, with a clock that the test sets and an output that comes and goes.

use std::path::PathBuf;
use std::sync::Mutex;

use serde_json::Value;
use tempfile::TempDir;

use super::super::config::{Config, OnFailure};
use super::super::event::After;
use super::super::verify::{Expected, Noted, Report, verify};
use super::super::{files, tail};
use super::*;

mod outputs;
mod rotation;

/// A server's state, over several starts.
struct Place {
    directory: TempDir,
    config: Config,
    now: Arc<Mutex<Timestamp>>,
}

/// One start.
struct Run {
    writing: Writing,
    queue: Arc<Queue>,
}

impl Place {
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            config,
            now: Arc::new(Mutex::new("2026-11-23T12:00:00Z".parse().unwrap())),
        }
    }

    fn rotating(rotate: Rotate) -> Self {
        Self::with(Config {
            rotate: Some(rotate),
            ..Config::default()
        })
    }

    fn start(&self) -> Run {
        let queue = Arc::new(Queue::new(1 << 20, OnFailure::Count));
        let now = Arc::clone(&self.now);
        let metrics = Metrics::new(&mut prometheus_client::registry::Registry::default());
        let writing = Writing::begin(
            &self.config,
            self.directory.path(),
            Arc::clone(&queue),
            metrics,
            Box::new(move || *now.lock().unwrap()),
        );
        let mut writing = writing.unwrap();
        writing.settle().unwrap();
        Run { writing, queue }
    }

    fn set(&self, now: &str) {
        *self.now.lock().unwrap() = now.parse().unwrap();
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("audit.log")
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap()
    }

    fn files(&self) -> Vec<PathBuf> {
        files::all(&self.log()).unwrap()
    }

    fn check(&self) -> Report {
        let report = verify(files::sources(&self.log()).unwrap(), &Expected::default()).unwrap();
        assert_eq!(report.wrong, []);
        report
    }

    /// The events of all files, in order.
    fn events(&self) -> Vec<String> {
        let texts = self.files().into_iter().map(std::fs::read_to_string);
        let text: String = texts.map(Result::unwrap).collect();
        let lines = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines
            .filter_map(|line| Some(line["event"].as_str()?.to_owned()))
            .collect()
    }

    fn events_but_torn(&self) -> Vec<String> {
        let text = self.text();
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines
            .filter_map(|line| Some(line["event"].as_str()?.to_owned()))
            .collect()
    }
}

impl Run {
    fn write(&mut self, count: u32) {
        for _ in 0..count {
            self.writing
                .line(br#"{"time":"2026-11-23T12:00:00Z","request_id":"1"}"#)
                .unwrap();
            // The line was never in the queue.
            self.writing.owed_sealed = 0;
        }
        self.writing.settle().unwrap();
    }

    fn end(mut self) {
        self.writing.stop().unwrap();
    }
}

#[test]
fn the_chain_goes_on_over_starts() {
    let place = Place::new();
    let mut run = place.start();
    run.write(2);
    run.end();
    let mut run = place.start();
    run.write(1);
    // Killed.
    drop(run);
    place.start().end();
    assert_eq!(place.events(), ["start", "stop", "start", "start", "stop"]);
    let report = place.check();
    assert_eq!((report.lines, report.first), (8, Some(1)));
    assert_eq!(report.notes.len(), 1);
    assert_eq!(report.notes[0].what, Noted::Crash);
}

#[test]
fn the_chain_goes_on_where_the_log_was_moved_away() {
    let place = Place::new();
    let mut run = place.start();
    run.write(2);
    run.end();
    let moved = place.directory.path().join("moved");
    std::fs::rename(place.log(), &moved).unwrap();
    place.start().end();
    let sources = vec![moved.into(), place.log().into()];
    let report = verify(sources, &Expected::default()).unwrap();
    assert_eq!((report.wrong.len(), report.lines), (0, 6));
    // What is gone is missed.
    std::fs::write(place.log(), "").unwrap();
    place.start().end();
    assert_eq!(place.check().first, Some(7));
}

#[test]
fn the_chain_is_found_in_the_log_without_the_note() {
    let place = Place::new();
    place.start().end();
    std::fs::remove_file(place.directory.path().join("audit.chain")).unwrap();
    place.start().end();
    assert_eq!(place.check().lines, 4);
    assert!(place.text().contains(r#""after":"stop""#));
}

#[test]
fn lines_cut_off_by_a_crash_are_missed_or_marked() {
    let place = Place::new();
    let mut run = place.start();
    run.write(3);
    drop(run);
    let whole = std::fs::read(place.log()).unwrap();
    let end = whole.iter().rposition(|byte| *byte == b',').unwrap();
    // A line of which the note does not know, since it is written first.
    std::fs::remove_file(place.directory.path().join("audit.chain")).unwrap();
    std::fs::write(place.log(), &whole[..end]).unwrap();
    place.start().end();
    assert_eq!(place.events_but_torn(), ["start", "torn", "start", "stop"]);
    let notes: Vec<_> = place
        .check()
        .notes
        .into_iter()
        .map(|note| note.what)
        .collect();
    let bytes = whole[..end]
        .split(|byte| *byte == b'\n')
        .next_back()
        .unwrap()
        .len() as u64;
    assert_eq!(notes, [Noted::Torn { bytes }, Noted::Crash]);
    // Only the end of the line is missing: the line is good.
    let place = Place::new();
    place.start().end();
    let text = place.text();
    std::fs::write(place.log(), text.trim_end()).unwrap();
    place.start().end();
    assert_eq!(place.check().lines, 4);
}

#[test]
fn a_start_says_what_was_before() {
    let place = Place::new();
    for after in [After::Nothing, After::Stop, After::Stop] {
        place.start().end();
        let text = place.text();
        let start = text.lines().rev().nth(1).unwrap();
        let Ok(Event {
            what: What::Start { after: told, .. },
            ..
        }) = serde_json::from_str(start)
        else {
            panic!("{start}");
        };
        assert_eq!(told, after);
    }
    let file = std::fs::File::open(place.log()).unwrap();
    assert!(tail::read(&file).unwrap().stopped);
}
