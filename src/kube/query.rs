//! Query strings and percent escapes as Go's `net/url` reads them.

use std::borrow::Cow;

/// The first value of `key` in `query`; pairs that Go drops are dropped.
pub(super) fn value<'q>(query: &'q str, key: &str) -> Option<Cow<'q, str>> {
    query
        .split('&')
        .filter(|pair| !pair.contains(';'))
        .find_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = || decode(value, true);
            if decode(name, true)? == key {
                value()
            } else {
                None
            }
        })
}

/// `text` without its percent escapes; none if one is malformed. Bytes that are not UTF-8 are replaced.
pub(super) fn decode(text: &str, plus_is_space: bool) -> Option<Cow<'_, str>> {
    let special = |byte: &u8| *byte == b'%' || (plus_is_space && *byte == b'+');
    if !text.as_bytes().iter().any(special) {
        return Some(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'%' => {
                let (value, after) = escape(rest)?;
                decoded.push(value);
                rest = after;
            }
            b'+' if plus_is_space => decoded.push(b' '),
            other => decoded.push(*other),
        }
    }
    Some(Cow::Owned(String::from_utf8_lossy(&decoded).into_owned()))
}

/// The byte that the two digits at the start of `rest` (after a `%`) mean, and what comes after them.
pub(super) fn escape(rest: &[u8]) -> Option<(u8, &[u8])> {
    let ([high, low], after) = rest.split_first_chunk::<2>()?;
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    Some((digit(*high)? << 4 | digit(*low)?, after))
}

/// The name that a field selector asks for exactly: `metadata.name=NAME` or `==`. None if there is no such term, if the
/// selector is one the API server refuses, or if no object can have that name.
pub(super) fn selected_name(selector: &str) -> Option<String> {
    let mut name = None;
    let mut terms: Vec<&str> = terms(selector).filter(|term| !term.is_empty()).collect();
    // As the API server does: of two names the smaller counts.
    terms.sort_unstable();
    for term in terms {
        let (field, exact, value) = operator(term)?;
        let value = unescape(value)?;
        if exact && field == "metadata.name" && name.is_none() {
            name = Some(value);
        }
    }
    name.filter(|name| !matches!(name.as_str(), "." | "..") && !name.contains(['/', '%']))
}

/// The terms of a selector: parts between commas that no backslash precedes.
fn terms(selector: &str) -> impl Iterator<Item = &str> {
    let mut escaped = false;
    selector.split(move |c: char| {
        let separates = c == ',' && !escaped;
        escaped = c == '\\' && !escaped;
        separates
    })
}

/// A term as field, whether its operator asks for equality, and value.
fn operator(term: &str) -> Option<(&str, bool, &str)> {
    let at = term.find("!=").into_iter().chain(term.find('=')).min()?;
    let (field, rest) = term.split_at(at);
    let (exact, value) = match (rest.strip_prefix("!="), rest.strip_prefix("==")) {
        (Some(value), _) => (false, value),
        (None, Some(value)) => (true, value),
        (None, None) => (true, &rest[1..]),
    };
    Some((field, exact, value))
}

/// A value without its escapes: `\\`, `\,` and `\=` and no other.
fn unescape(value: &str) -> Option<String> {
    let mut text = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.push(chars.next().filter(|c| matches!(c, '\\' | ',' | '='))?),
            ',' | '=' => return None,
            other => text.push(other),
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_first_value() {
        for (query, expected) in [
            ("watch=true", Some("true")),
            ("a=b&watch", Some("")),
            ("w%61tch=1&watch=2", Some("1")),
            ("watch=a+b%20c", Some("a b c")),
            ("watch=%zz&watch=2", Some("2")),
            ("watch=1;x&watch=2", Some("2")),
            ("Watch=1", None),
            ("", None),
        ] {
            assert_eq!(value(query, "watch").as_deref(), expected, "{query}");
        }
    }

    #[test]
    fn reads_field_selectors() {
        for (selector, expected) in [
            ("metadata.name=web", Some("web")),
            ("metadata.name==web", Some("web")),
            ("a!=b,metadata.name=web", Some("web")),
            ("metadata.name=b,metadata.name=a", Some("a")),
            (r"metadata.name=a\,b", Some("a,b")),
            (r"metadata.name=a\\", Some(r"a\")),
            ("metadata.name!=web", None),
            ("metadata.name=web,foo", None),
            ("metadata.name=a/b", None),
            ("metadata.name=..", None),
            (r"metadata.name=a\b", None),
            ("metadata.name=a=b", None),
            ("spec.nodeName=n", None),
            ("", None),
        ] {
            assert_eq!(selected_name(selector).as_deref(), expected, "{selector}");
        }
    }
}
