//! What becomes of packets under each condition.

use std::time::Duration;

use super::{Conditions, Fate, Line};

const MILLISECOND: Duration = Duration::from_millis(1);

/// What becomes of packets of 1,250 bytes, one of which is offered every millisecond.
fn fates(conditions: &Conditions, count: u32) -> Vec<Fate> {
    let mut line = Line::new(conditions);
    (0..count)
        .map(|number| line.take(MILLISECOND * number, 1250))
        .collect()
}

fn arrivals(fates: &[Fate]) -> Vec<Duration> {
    let at = |fate: &Fate| match fate {
        Fate::Arrives { at, .. } => Some(*at),
        _ => None,
    };
    fates.iter().filter_map(at).collect()
}

fn share(fates: &[Fate], of: impl Fn(&Fate) -> bool) -> f64 {
    fates.iter().filter(|fate| of(fate)).count() as f64 / fates.len() as f64
}

#[test]
fn a_perfect_line_carries_everything_at_once() {
    let arrived = arrivals(&fates(&Conditions::default(), 3));
    assert_eq!(arrived, [Duration::ZERO, MILLISECOND, MILLISECOND * 2]);
}

#[test]
fn delay_and_jitter_keep_the_order() {
    let conditions = Conditions {
        delay: MILLISECOND * 20,
        jitter: MILLISECOND * 10,
        ..Conditions::default()
    };
    let arrived = arrivals(&fates(&conditions, 1000));
    assert_eq!(arrived.len(), 1000);
    assert!(arrived.is_sorted());
    for (number, at) in (0..).zip(&arrived) {
        let taken = *at - MILLISECOND * number;
        assert!(
            taken >= MILLISECOND * 20 && taken <= MILLISECOND * 30,
            "{taken:?}"
        );
    }
}

#[test]
fn a_seed_loses_the_same_packets_whatever_else_happens() {
    let lossy = Conditions {
        loss: 0.1,
        seed: 7,
        ..Conditions::default()
    };
    let slow = Conditions {
        delay: MILLISECOND,
        rate: Some(1_000_000_000),
        ..lossy
    };
    let lost =
        |fates: Vec<Fate>| -> Vec<bool> { fates.iter().map(|fate| *fate == Fate::Lost).collect() };
    let first = fates(&lossy, 10_000);
    let part = share(&first, |fate| *fate == Fate::Lost);
    assert!((0.09..0.11).contains(&part), "{part}");
    assert_eq!(lost(fates(&slow, 10_000)), lost(first));
    assert_ne!(
        lost(fates(&lossy.mirrored(), 100)),
        lost(fates(&lossy, 100))
    );
}

#[test]
fn some_arrive_twice_and_some_late() {
    let conditions = Conditions {
        duplicate: 0.2,
        reorder: 0.3,
        ..Conditions::default()
    };
    let fates = fates(&conditions, 10_000);
    let twice = share(&fates, |fate| {
        matches!(fate, Fate::Arrives { again: Some(_), .. })
    });
    let late = share(&fates, |fate| {
        matches!(
            fate,
            Fate::Arrives {
                held_back: true,
                ..
            }
        )
    });
    assert!((0.19..0.21).contains(&twice), "{twice}");
    assert!((0.28..0.32).contains(&late), "{late}");
    assert!(!arrivals(&fates).is_sorted());
}

/// 1,250 bytes are 10,000 bits: a hundredth of a second at 1 Mbit/s.
#[test]
fn a_rate_spaces_packets_and_its_buffer_overflows() {
    let conditions = Conditions {
        rate: Some(1_000_000),
        buffer: 5 * 1250,
        ..Conditions::default()
    };
    let mut line = Line::new(&conditions);
    let burst: Vec<_> = (0..8).map(|_| line.take(Duration::ZERO, 1250)).collect();
    let hundredths: Vec<_> = (1..=5).map(|number| MILLISECOND * 10 * number).collect();
    assert_eq!(arrivals(&burst), hundredths);
    assert_eq!(burst[5..], [Fate::Overflows; 3]);
    // One has left the buffer.
    assert_eq!(
        arrivals(&[
            line.take(MILLISECOND * 10, 1250),
            line.take(MILLISECOND * 10, 1250)
        ]),
        [MILLISECOND * 60]
    );
    // An idle line saves nothing up.
    assert_eq!(
        arrivals(&[line.take(MILLISECOND * 1000, 1250)]),
        [MILLISECOND * 1010]
    );
}

#[test]
fn other_conditions_hold_for_what_comes_after() {
    let mut line = Line::new(&Conditions::default());
    line.set(&Conditions {
        loss: 1.0,
        ..Conditions::default()
    });
    assert_eq!(line.take(MILLISECOND, 100), Fate::Lost);
    line.set(&Conditions::default());
    assert_eq!(arrivals(&[line.take(MILLISECOND, 100)]), [MILLISECOND]);
}
