//! What waits, what is lost, and who is let in.

use super::*;

fn now() -> Instant {
    Instant::now()
}

#[test]
fn bytes_are_bounded_and_losses_counted() {
    let queue = Queue::new(10, OnFailure::Count);
    assert!(queue.push(b"1234\n", Weight::Owed));
    assert!(queue.push(b"5678\n", Weight::Owed));
    assert!(!queue.push(b"9\n", Weight::Owed));
    assert!(queue.is_open());
    let taken = queue.take(Vec::new(), now());
    assert_eq!(
        (taken.lines.as_slice(), taken.count),
        (&b"1234\n5678\n"[..], 2)
    );
    assert_eq!(taken.lost.unwrap().count, 1);
    // What is taken still needs its memory.
    assert!(!queue.push(b"9\n", Weight::Owed));
    queue.done();
    assert!(queue.push(b"9\n", Weight::Owed));
    let taken = queue.take(taken.lines, now());
    assert_eq!(
        (taken.lines.as_slice(), taken.lost.unwrap().count),
        (&b"9\n"[..], 1)
    );
}

#[test]
fn a_line_that_is_owed_waits_and_closes_the_door() {
    let queue = Queue::new(10, OnFailure::Refuse);
    for _ in 0..5 {
        assert!(queue.push(b"123456\n", Weight::Owed));
    }
    assert!(!queue.is_open());
    assert!(!queue.push(b"123456\n", Weight::Light));
    queue.refuse();
    let taken = queue.take(Vec::new(), now());
    assert_eq!(taken.count, 5);
    assert_eq!(
        (taken.lost.unwrap().count, taken.refused.unwrap().count),
        (1, 1)
    );
    assert!(!queue.is_open());
    queue.done();
    assert!(queue.is_open());
}

#[test]
fn lines_are_bounded_by_number() {
    let queue = Queue::new(usize::MAX, OnFailure::Count);
    for _ in 0..MAX_LINES {
        assert!(queue.push(b"\n", Weight::Light));
    }
    assert!(!queue.push(b"\n", Weight::Light));
}

#[test]
fn a_failure_closes_the_door_where_it_is_to() {
    for (on_failure, open) in [(OnFailure::Count, true), (OnFailure::Refuse, false)] {
        let queue = Queue::new(10, on_failure);
        assert!(queue.fail() && !queue.fail());
        assert_eq!((queue.is_open(), queue.is_failing()), (open, true));
        queue.done();
        assert!(queue.is_open() && !queue.is_failing());
    }
}

#[test]
fn nothing_is_taken_by_an_end() {
    let queue = Queue::new(10, OnFailure::Refuse);
    queue.stop();
    assert!(queue.pause(Duration::MAX.min(Duration::from_secs(3600))));
    assert!(queue.take(Vec::new(), now() + GATHER).stop);
    assert!(!queue.ended(Duration::ZERO));
    assert_eq!(queue.close(), 0);
    queue.end();
    assert!(queue.ended(Duration::ZERO));
    assert!(!queue.push(b"\n", Weight::Owed));
    assert!(!queue.is_open());
}
