//! Whether a pattern matches all that another does.

use std::collections::{BTreeSet, HashSet};

use super::{Glob, Token};

/// How much work may still be done. Some pairs of patterns take more than any file is worth; about these nothing is said.
#[derive(Debug)]
pub struct Effort(usize);

/// A place in the other pattern, and the places in this one that the same text can lead to.
type State = (usize, Vec<bool>);

impl Effort {
    pub fn new(steps: usize) -> Self {
        Self(steps)
    }

    fn spend(&mut self, steps: usize) -> bool {
        self.0 = self.0.saturating_sub(steps);
        self.0 > 0
    }
}

impl Glob {
    /// Whether every text that `other` matches is matched by this one too. False where it can not be told with the
    /// effort that is left.
    pub fn covers(&self, other: &Self, effort: &mut Effort) -> bool {
        if self.text == other.text {
            return true;
        }
        match (self.text.contains('*'), other.text.contains('*')) {
            (false, _) => false,
            (true, false) => {
                effort.spend(self.tokens.len() * other.text.len()) && self.matches(&other.text)
            }
            (true, true) => self.follows(other, effort),
        }
    }

    /// Walks through `other` by every character that makes a difference, and through this one along with it: where
    /// `other` can end, this one must be able to.
    fn follows(&self, other: &Self, effort: &mut Effort) -> bool {
        let characters = self.telling_characters(other);
        let mut start = vec![false; self.tokens.len() + 1];
        start[0] = true;
        self.skip_stars(&mut start);
        let mut seen: HashSet<State> = HashSet::new();
        let mut open: Vec<State> = vec![(0, start)];
        while let Some((at, states)) = open.pop() {
            if !seen.insert((at, states.clone())) {
                continue;
            }
            if !effort.spend(characters.len() * states.len()) {
                return false;
            }
            let Some(token) = other.tokens.get(at) else {
                if !states[self.tokens.len()] {
                    return false;
                }
                continue;
            };
            let star = matches!(token, Token::Segment | Token::Any);
            if star {
                open.push((at + 1, states.clone()));
            }
            for character in &characters {
                let reads = match token {
                    Token::Literal(literal) => literal == character,
                    Token::Segment => *character != '/',
                    Token::Any => true,
                };
                if reads {
                    let mut next = states.clone();
                    self.step(&mut next, *character);
                    open.push((at + usize::from(!star), next));
                }
            }
        }
        true
    }

    /// Every character of both patterns, the slash, and one that is in neither: it stands for all others.
    fn telling_characters(&self, other: &Self) -> BTreeSet<char> {
        let literals = |glob: &Self| {
            glob.tokens
                .iter()
                .filter_map(|token| match token {
                    Token::Literal(literal) => Some(*literal),
                    _ => None,
                })
                .collect::<BTreeSet<char>>()
        };
        let mut characters = literals(self);
        characters.extend(literals(other));
        characters.insert('/');
        let strange = ('\u{e000}'..).find(|strange| !characters.contains(strange));
        characters.extend(strange);
        characters
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn covers(pattern: &str, other: &str) -> bool {
        let parse = |text| Glob::parse(text).expect(text);
        parse(pattern).covers(&parse(other), &mut Effort::new(1_000_000))
    }

    #[test]
    fn a_wider_pattern_covers_a_narrower() {
        for (wide, narrow) in [
            ("main", "main"),
            ("*", "main"),
            ("**", "*"),
            ("**", "a/*/b"),
            ("review/**", "review/*"),
            ("review/*", "review/x-*"),
            ("a*", "a*b"),
            ("**a", "*a*a"),
            ("*/*", "a*/b"),
        ] {
            assert!(covers(wide, narrow), "{wide} {narrow}");
            assert!(wide == narrow || !covers(narrow, wide), "{narrow} {wide}");
        }
        for (one, other) in [("a*", "*a"), ("main", "Main"), ("*", "a/b"), ("a/*", "a")] {
            assert!(!covers(one, other) && !covers(other, one), "{one} {other}");
        }
    }

    #[test]
    fn what_takes_too_long_is_not_said_to_be_covered() {
        let long = Glob::parse(&"*a".repeat(200)).unwrap();
        let other = Glob::parse(&"*ab".repeat(200)).unwrap();
        let mut effort = Effort::new(50_000);
        assert!(!long.covers(&other, &mut effort));
        assert_eq!(effort.0, 0);
    }

    proptest! {
        #[test]
        fn what_is_covered_is_matched(
            wide in "[ab/]{0,2}[*]{0,2}[ab/]{0,2}[*]?[ab]{0,1}",
            narrow in "[ab/]{0,2}[*]{0,2}[ab/]{0,2}[*]?[ab]{0,1}",
            texts in proptest::collection::vec(proptest::collection::vec(select(vec!['a', 'b', '/', 'c']), 0..6), 200),
        ) {
            let (Ok(wide), Ok(narrow)) = (Glob::parse(&wide), Glob::parse(&narrow)) else { return Ok(()) };
            let covered = wide.covers(&narrow, &mut Effort::new(1_000_000));
            for text in texts.into_iter().map(String::from_iter) {
                if covered && narrow.matches(&text) {
                    prop_assert!(wide.matches(&text), "{wide} covers {narrow}, but {text}");
                }
            }
        }
    }
}
