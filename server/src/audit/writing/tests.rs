//! What is written, and where, with a clock that the test sets and an output that comes and goes.

use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Mutex;

use ci_tunnel::config::value::ByteSize;
use serde_json::Value;
use tempfile::TempDir;

use super::super::config::{Config, OnFailure};
use super::super::event::After;
use super::super::queue::Weight;
use super::super::verify::{Expected, Noted, Report, verify};
use super::super::{files, tail};
use super::*;

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

impl Place {
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

#[test]
fn a_file_is_closed_before_it_grows_too_large() {
    let place = Place::rotating(Rotate {
        size: Some(ByteSize::bytes(1000)),
        ..Rotate::default()
    });
    let mut run = place.start();
    run.write(20);
    run.end();
    let files = place.files();
    assert!(files.len() > 5, "{files:?}");
    for file in &files {
        assert!(file.metadata().unwrap().len() <= 1000);
    }
    let report = place.check();
    assert_eq!((report.files, report.notes.len()), (files.len(), 0));
    let rotated = place
        .events()
        .iter()
        .filter(|event| *event == "rotated")
        .count();
    assert_eq!(rotated, files.len() - 1);
}

#[test]
fn a_line_longer_than_a_file_has_one_of_its_own() {
    let place = Place::rotating(Rotate {
        size: Some(ByteSize::bytes(400)),
        ..Rotate::default()
    });
    let mut run = place.start();
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(1000));
    for _ in 0..3 {
        run.writing.seal(long.as_bytes()).unwrap();
    }
    run.end();
    place.check();
}

#[test]
fn a_file_is_closed_when_its_period_is_over() {
    let place = Place::rotating(Rotate {
        every: Some(Duration::from_secs(86_400)),
        keep: Some(2),
        ..Rotate::default()
    });
    let mut run = place.start();
    run.write(1);
    for (day, files) in [(23, 1), (24, 2), (25, 3), (26, 3)] {
        place.set(&format!("2026-11-{day}T23:00:00Z"));
        run.writing.rotate_by_time().unwrap();
        run.writing.rotate_by_time().unwrap();
        run.writing.settle().unwrap();
        assert_eq!(place.files().len(), files, "{day}");
    }
    let removed: Value = serde_json::from_str(place.text().lines().next().unwrap()).unwrap();
    assert_eq!(
        removed["removed"][0],
        "audit.log.20261124T230000Z.000000000002"
    );
    // A start looks how old the file is.
    run.end();
    place.set("2026-11-27T00:00:00Z");
    let mut run = place.start();
    run.writing.rotate_by_time().unwrap();
    run.end();
    assert_eq!(place.check().notes[0].what, Noted::Begins { seq: 4 });
}

#[test]
fn a_file_is_never_written_over() {
    let place = Place::rotating(Rotate {
        every: Some(Duration::from_secs(60)),
        ..Rotate::default()
    });
    let mut run = place.start();
    run.write(1);
    let taken = place
        .directory
        .path()
        .join("audit.log.20261123T130000Z.000000000002");
    std::os::unix::fs::symlink("somewhere", &taken).unwrap();
    std::fs::write(place.directory.path().join("somewhere"), "precious").unwrap();
    place.set("2026-11-23T13:00:00Z");
    run.writing.rotate_by_time().unwrap();
    run.write(1);
    run.end();
    assert_eq!(std::fs::read_to_string(taken).unwrap(), "precious");
    assert!(place.text().contains(r#""after":"nothing""#));
}

#[test]
fn a_moved_file_is_opened_again() {
    let place = Place::new();
    let mut run = place.start();
    run.write(1);
    let moved = place.directory.path().join("audit.log.1");
    std::fs::rename(place.log(), &moved).unwrap();
    // In the middle of a line, as on a disk that is full.
    run.writing.line(br#"{"request_id":"2"}"#).unwrap();
    run.writing.owed_sealed = 0;
    run.writing.written = run.writing.open.write(&run.writing.sealed[..30]).unwrap();
    run.writing.reopen();
    run.writing.settle().unwrap();
    run.writing.reopen();
    run.end();
    let sources = vec![moved.into(), place.log().into()];
    let report = verify(sources, &Expected::default()).unwrap();
    assert_eq!(report.wrong, []);
    assert_eq!(report.notes[0].what, Noted::Torn { bytes: 30 });
    assert_eq!(place.events(), ["reopened", "stop"]);
}

#[test]
fn what_was_lost_is_told_in_a_line() {
    let place = Place::new();
    let run = place.start();
    let queue = Arc::clone(&run.queue);
    assert!(queue.push(b"{\"a\":1}\n", Weight::Owed));
    assert!(!queue.push(&vec![b'x'; 2 << 20], Weight::Owed));
    queue.refuse();
    queue.stop();
    run.writing.run();
    assert_eq!(place.events(), ["start", "lost", "refused", "stop"]);
    let notes: Vec<_> = place
        .check()
        .notes
        .into_iter()
        .map(|note| note.what)
        .collect();
    assert_eq!(
        notes,
        [Noted::Lost { count: 1 }, Noted::Refused { count: 1 }]
    );
    assert!(queue.ended(Duration::ZERO));
}

#[test]
fn a_socket_is_connected_to_again_and_gets_whole_lines() {
    let mut place = Place::new();
    let path = place.directory.path().join("socket");
    place.config.output = Some(Output::Socket(path.clone()));
    let listener = UnixListener::bind(&path).unwrap();
    let mut run = place.start();
    run.write(2);
    let read = |listener: &UnixListener, count: usize| {
        let reader = BufReader::new(listener.accept().unwrap().0);
        let lines: Vec<_> = reader.lines().take(count).map(Result::unwrap).collect();
        lines
    };
    let mut lines = read(&listener, 3);
    // The reader is gone; the next line finds out, and waits.
    drop(listener);
    std::fs::remove_file(&path).unwrap();
    let queue = Arc::clone(&run.queue);
    queue.push(b"{\"a\":1}\n", Weight::Owed);
    let thread = std::thread::spawn(move || run.writing.run());
    while !queue.is_failing() {
        std::thread::yield_now();
    }
    let listener = UnixListener::bind(&path).unwrap();
    lines.extend(read(&listener, 2));
    queue.stop();
    thread.join().unwrap();
    let file = place.directory.path().join("read");
    std::fs::write(&file, lines.join("\n") + "\n").unwrap();
    let report = verify(vec![file.into()], &Expected::default()).unwrap();
    assert_eq!((report.wrong, report.lines), (vec![], 5));
    assert!(lines[4].contains("reopened"));
    // A start goes on where the last one ended, though there is no file.
    let (_, saved) = HeadFile::open(place.directory.path()).unwrap();
    assert_eq!(saved.unwrap().head.seq, 6);
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
