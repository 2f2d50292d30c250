//! Which of an agent's sessions gets the next request: the less loaded of two taken at random.
//!
//! Two random choices come close to the best choice and do not send every request of a burst to the one session that
//! was idle a moment ago.

/// The index of the choice; `None` when there is nothing to choose from.
pub fn choose(loads: &[usize], random: u64) -> Option<usize> {
    let count = loads.len();
    if count == 0 {
        return None;
    }
    let first = (random % count as u64) as usize;
    let second = (first + 1 + (random >> 32) as usize % count.max(2).saturating_sub(1)) % count;
    Some(if loads[second] < loads[first] {
        second
    } else {
        first
    })
}

#[cfg(test)]
mod tests {
    use super::choose;

    #[test]
    fn nothing_to_choose_from() {
        assert_eq!(choose(&[], 7), None);
    }

    #[test]
    fn one_is_always_chosen() {
        for random in [0, 1, u64::MAX, 1 << 40] {
            assert_eq!(choose(&[9], random), Some(0));
        }
    }

    #[test]
    fn of_two_the_less_loaded() {
        for random in 0..100u64 {
            assert_eq!(choose(&[5, 1], random * 0x1234_5678_9abc), Some(1));
        }
    }

    #[test]
    fn every_session_has_its_turn() {
        let mut seen = [false; 5];
        for random in 0..1000u64 {
            let random = random.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            seen[choose(&[0; 5], random).unwrap()] = true;
        }
        assert_eq!(seen, [true; 5]);
    }
}
