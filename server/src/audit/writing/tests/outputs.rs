//! Outputs that come and go.

use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixListener;

use super::super::super::queue::Weight;
use super::*;

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
