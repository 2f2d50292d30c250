//! An environment's slug, which GitLab's ID tokens do not tell: GitLab makes it of the name, which never changes.

use sha2::{Digest, Sha256};

/// No slug is longer.
const LONGEST: usize = 24;
/// What is left of one that gets a suffix.
const KEPT: usize = 17;

/// The slug that GitLab gives an environment of this name: the name itself where it can be one, else what is left of it
/// and a piece of its hash, so that two names have two slugs.
pub(super) fn of_environment(name: &str) -> String {
    let mut slug = String::new();
    for character in name.to_lowercase().chars() {
        let plain = matches!(character, 'a'..='z' | '0'..='9');
        if plain {
            slug.push(character);
        } else if !slug.ends_with('-') {
            slug.push('-');
        }
    }
    if !slug.starts_with(|first: char| first.is_ascii_lowercase()) {
        slug = format!("env-{slug}").replace("--", "-");
    }
    if slug.len() <= LONGEST && slug == name {
        return slug.strip_suffix('-').unwrap_or(&slug).to_owned();
    }
    slug.truncate(KEPT);
    if !slug.ends_with('-') {
        slug.push('-');
    }
    slug + &suffix(name)
}

/// The last six digits of the name's SHA-256, to the base 36.
fn suffix(name: &str) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    const LAST: u64 = 36_u64.pow(6);
    let hash = Sha256::digest(name.as_bytes());
    let mut rest = hash
        .iter()
        .fold(0, |rest, byte| (rest * 256 + u64::from(*byte)) % LAST);
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().rev() {
        let value = usize::try_from(rest % 36).unwrap_or_default();
        *digit = DIGITS[value];
        rest /= 36;
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_can_be_slugs_are_their_own() {
        for name in [
            "production",
            "staging",
            "review-1",
            "a23456789012345678901234",
        ] {
            assert_eq!(of_environment(name), name);
        }
        assert_eq!(of_environment("trailing-"), "trailing");
    }

    /// As GitLab's own code gives them.
    #[test]
    fn others_get_a_piece_of_their_hash() {
        for (name, slug) in [
            ("Production", "production-iis43c"),
            ("review/feature-1", "review-feature-1-1q251u"),
            ("review/a--b", "review-a-b-ts8onk"),
            ("a234567890123456789012345", "a2345678901234567-yn9i7a"),
            ("1-first", "env-1-first-dsxwhw"),
            ("-x", "env-x-f5r59i"),
            ("Überprüfung", "env-berpr-fung-xayexj"),
            ("_", "env-vrabj2"),
            ("prod eu/west 1", "prod-eu-west-1-ckgxzt"),
            ("staging.example.com", "staging-example-c-iyximk"),
        ] {
            assert_eq!(of_environment(name), slug, "{name}");
        }
    }
}
