//! Files that are closed, by size and by time.

use ci_tunnel::config::value::ByteSize;

use super::*;

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
