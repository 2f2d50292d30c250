//! Anchored patterns for environments, refs and the like: `*` stays within a `/` segment, `**` crosses.
//!
//! Every other character stands for itself. Matching tries the shortest text for each star first, which nearly always
//! is the end of it; where that goes on for too long it is done again by a set of states, whose time is bounded by pattern
//! length × text length whatever the pattern.

mod cover;

use std::fmt;

pub use cover::Effort;

/// A checked pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    text: String,
    /// None where there is no star: the text is the only match.
    tokens: Box<[Token]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Literal(char),
    /// Any characters but `/`, also none.
    Segment,
    /// Any characters, also none.
    Any,
}

/// Why a text is no pattern: each is a mistake that would otherwise lie in the file as a rule that never matches.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("is empty: write \"**\" to match everything")]
    Empty,
    #[error("is longer than {MAX_LENGTH} bytes")]
    TooLong,
    #[error("begins or ends with a space or holds a control character")]
    Space,
    #[error("has three stars in a row: \"*\" matches within a segment, \"**\" across segments")]
    Stars,
    #[error(
        "looks like a regular expression: patterns are plain text with \"*\" and \"**\", matched as a whole"
    )]
    RegularExpression,
    #[error("begins with \"!\": exclusions are not supported, list what is allowed")]
    Exclusion,
}

const MAX_LENGTH: usize = 1024;

impl Glob {
    pub fn parse(text: &str) -> Result<Self, Error> {
        check(text)?;
        let mut tokens = Vec::new();
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            tokens.push(match character {
                '*' if characters.next_if_eq(&'*').is_some() => Token::Any,
                '*' => Token::Segment,
                literal => Token::Literal(literal),
            });
        }
        if !text.contains('*') {
            tokens.clear();
        }
        Ok(Self {
            text: text.to_owned(),
            tokens: tokens.into(),
        })
    }

    /// The pattern matches the whole of `text`.
    pub fn matches(&self, text: &str) -> bool {
        if self.tokens.is_empty() {
            return self.text == text;
        }
        greedy(self.text.as_bytes(), text.as_bytes()).unwrap_or_else(|| self.matches_slowly(text))
    }

    fn matches_slowly(&self, text: &str) -> bool {
        let mut states = vec![false; self.tokens.len() + 1];
        states[0] = true;
        self.skip_stars(&mut states);
        for character in text.chars() {
            self.step(&mut states, character);
        }
        states[self.tokens.len()]
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// State `n` means: the first `n` tokens have matched all that was read. From the last down, so that each step
    /// still sees the states before this character.
    fn step(&self, states: &mut [bool], character: char) {
        for at in (0..states.len()).rev() {
            let read = at > 0 && states[at - 1] && self.tokens[at - 1] == Token::Literal(character);
            let repeats = match self.tokens.get(at) {
                Some(Token::Any) => true,
                Some(Token::Segment) => character != '/',
                _ => false,
            };
            states[at] = read || (states[at] && repeats);
        }
        self.skip_stars(states);
    }

    /// A star may match nothing.
    fn skip_stars(&self, states: &mut [bool]) {
        for (at, token) in self.tokens.iter().enumerate() {
            if states[at] && matches!(token, Token::Segment | Token::Any) {
                states[at + 1] = true;
            }
        }
    }
}

/// Steps of the quick way for each byte of pattern and text, before it is given up.
const PATIENCE: usize = 4;

/// None where it takes too long. Bytes are as good as characters here: no character's bytes begin inside another's.
///
/// Only the last star of each kind can ever have to take more: what stands between two stars does best at its first
/// place, and `*` stays before the next slash, so that what holds a slash has one place alone.
fn greedy(pattern: &[u8], text: &[u8]) -> Option<bool> {
    let (mut at, mut read) = (0, 0);
    // Where the pattern goes on behind a star, and how much of the text the star has taken.
    let (mut segment, mut any) = (None, None);
    for _ in 0..PATIENCE * (pattern.len() + text.len()) {
        match pattern.get(at..) {
            Some([b'*', b'*', ..]) => {
                at += 2;
                (segment, any) = (None, Some((at, read)));
                continue;
            }
            Some([b'*', ..]) => {
                at += 1;
                segment = Some((at, read));
                continue;
            }
            Some([byte, ..]) if text.get(read) == Some(byte) => {
                (at, read) = (at + 1, read + 1);
                continue;
            }
            None | Some([]) if read == text.len() => return Some(true),
            _ => {}
        }
        (at, read) = match (segment, any) {
            (Some((at, taken)), _)
                if text.get::<usize>(taken).is_some_and(|byte| *byte != b'/') =>
            {
                segment = Some((at, taken + 1));
                (at, taken + 1)
            }
            (_, Some((at, taken))) if taken < text.len() => {
                (segment, any) = (None, Some((at, taken + 1)));
                (at, taken + 1)
            }
            _ => return Some(false),
        };
    }
    None
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

fn check(text: &str) -> Result<(), Error> {
    if text.is_empty() {
        return Err(Error::Empty);
    }
    if text.len() > MAX_LENGTH {
        return Err(Error::TooLong);
    }
    if text.trim() != text || text.chars().any(char::is_control) {
        return Err(Error::Space);
    }
    if text.contains("***") {
        return Err(Error::Stars);
    }
    if text.starts_with('!') {
        return Err(Error::Exclusion);
    }
    // No name of a branch, tag, environment or user begins with these, and none ends with the last but a variable's.
    let delimited = text.starts_with('/') || text.starts_with('^');
    if delimited || text.ends_with('$') {
        return Err(Error::RegularExpression);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Glob::parse(pattern).expect(pattern).matches(text)
    }

    #[test]
    fn a_pattern_is_anchored_and_plain() {
        assert!(matches("prod", "prod"));
        for text in ["nonprod", "production", "Prod", ""] {
            assert!(!matches("prod", text), "{text}");
            assert!(
                !matches("review/*", &format!("old-review/{text}")),
                "{text}"
            );
        }
        assert!(matches("v1.*", "v1.2"));
        assert!(!matches("v1.*", "v122"));
        assert!(matches("a+(b)[c]?", "a+(b)[c]?"));
        assert!(!matches("a+(b)[c]?", "aab"));
    }

    #[test]
    fn one_star_stays_within_a_segment_and_two_cross() {
        assert!(matches("review/*", "review/x"));
        assert!(matches("review/*", "review/"));
        assert!(!matches("review/*", "review/x/y"));
        assert!(!matches("review/*", "review"));
        assert!(matches("review/**", "review/x/y"));
        assert!(matches("**", ""));
        assert!(matches("*", "main"));
        assert!(!matches("*", "feature/main"));
        assert!(matches("*/release-*", "team/release-7"));
        assert!(matches("**-eu/*-x", "a/b-eu/c-x"));
        assert!(!matches("**-eu/*-x", "a/b-eu/c/d-x"));
    }

    #[test]
    fn a_malicious_pattern_costs_no_more_than_its_length_times_the_text() {
        let pattern = Glob::parse(&"*a".repeat(500)).unwrap();
        assert!(!pattern.matches(&"a".repeat(499)));
        assert!(!pattern.matches(&format!("{}b", "a".repeat(2000))));
    }

    proptest::proptest! {
        #[test]
        fn both_ways_match_the_same(
            pattern in "[ab/é]{0,2}([*]{1,2}[ab/é]{0,2}){1,4}",
            text in "[ab/é]{0,9}",
        ) {
            let pattern = Glob::parse(&pattern.replace("***", "**"));
            let Ok(pattern) = pattern else { return Ok(()) };
            let quickly = greedy(pattern.text.as_bytes(), text.as_bytes());
            let slowly = pattern.matches_slowly(&text);
            proptest::prop_assert!(quickly.is_none_or(|quickly| quickly == slowly), "{pattern} {text}");
        }
    }

    #[test]
    fn likely_mistakes_are_refused() {
        for (text, error) in [
            ("", Error::Empty),
            (" main", Error::Space),
            ("ma\nin", Error::Space),
            ("a***b", Error::Stars),
            ("^main$", Error::RegularExpression),
            ("/^main/", Error::RegularExpression),
            ("main$", Error::RegularExpression),
            ("!main", Error::Exclusion),
        ] {
            assert_eq!(Glob::parse(text), Err(error), "{text:?}");
        }
        assert_eq!(Glob::parse(&"a".repeat(1025)), Err(Error::TooLong));
    }
}
