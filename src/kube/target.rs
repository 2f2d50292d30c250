//! Request targets that two readers could understand differently, refused before anyone reads them.

use super::query::escape;

/// Why a request target is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    /// A backslash, plain or as `%5c`.
    #[error("the path contains a backslash; remove it")]
    Backslash,
    /// A byte below 0x21, or 0x7f: as it is anywhere, or as an escape (`%00` to `%1f`, `%7f`) in the path.
    #[error("the path or query contains a control character or space; remove or escape it")]
    Control,
    /// A segment `.` or `..`, however it is escaped.
    #[error("the path contains a segment `.` or `..`; send the path it stands for")]
    DotSegment,
    /// Two slashes in a row.
    #[error("the path contains an empty segment (`//`); remove one slash")]
    EmptySegment,
    /// A `%2f` in a part that the API server reads.
    #[error("the path contains an escaped slash (`%2f`); names cannot contain slashes")]
    EncodedSlash,
    /// A `#`: what follows would be a fragment, which is never sent.
    #[error("the path or query contains a `#`; escape it as %23")]
    Fragment,
    /// A `%` without two hexadecimal digits.
    #[error(
        "the path or query contains a `%` that two hexadecimal digits do not follow; escape it as %25"
    )]
    MalformedEscape,
    /// The target does not begin with a slash.
    #[error("the request target is not a path that begins with a slash")]
    NotAbsolute,
}

/// Whether `target`, path and query exactly as the client wrote them, has one meaning only.
///
/// Behind a `proxy` subresource the path is an application's own: there escaped slashes and backslashes and empty
/// segments pass, and the query may contain anything. Dot segments are refused there too, since one that the API server cleans
/// climbs out of the application; for them, escaped slashes and backslashes count as separators.
///
/// # Errors
/// The first ambiguity found.
pub fn check_target(target: &[u8]) -> Result<(), BadTarget> {
    if target.first() != Some(&b'/') {
        return Err(BadTarget::NotAbsolute);
    }
    for byte in target {
        match byte {
            0..=b' ' | 0x7f => return Err(BadTarget::Control),
            b'#' => return Err(BadTarget::Fragment),
            _ => {}
        }
    }
    let (path, query) = match target.iter().position(|byte| *byte == b'?') {
        Some(at) => (&target[..at], &target[at + 1..]),
        None => (target, &[][..]),
    };
    let application = application_start(path);
    check_interpreted(&path[..application.unwrap_or(path.len())])?;
    check_segments(path)?;
    if application.is_some() {
        Ok(())
    } else {
        // Go drops pairs with malformed escapes without a word: the API server would not see what the client meant.
        check_escapes(query)
    }
}

/// Where in `path` an application's own path begins: at the end of a `proxy` segment, if there is one.
fn application_start(path: &[u8]) -> Option<usize> {
    let mut end = 0;
    // The leading slash makes an empty segment; the names are compared as they stand, so an escaped `prox%79` is no
    // `proxy` and the stricter rules apply.
    let mut next = || {
        let start = (end + 1).min(path.len());
        end = path[start..]
            .iter()
            .position(|byte| *byte == b'/')
            .map_or(path.len(), |length| start + length);
        &path[start..end]
    };
    match next() {
        b"api" => _ = next(),
        b"apis" => _ = (next(), next()),
        _ => return None,
    }
    let mut part = next();
    let legacy = part == b"proxy";
    if legacy {
        part = next();
    }
    if part == b"namespaces" {
        _ = next();
        part = next();
    }
    let name = next();
    let unusual = matches!(part, b"" | b"watch" | b"status" | b"finalize") || name.is_empty();
    if unusual || (!legacy && next() != b"proxy") {
        None
    } else {
        Some(end)
    }
}

/// What is refused only where the API server reads.
fn check_interpreted(path: &[u8]) -> Result<(), BadTarget> {
    if path.windows(2).any(|pair| pair == b"//") {
        return Err(BadTarget::EmptySegment);
    }
    let mut rest = path;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        let decoded = if *byte == b'%' {
            escape(rest).ok_or(BadTarget::MalformedEscape)?.0
        } else {
            *byte
        };
        match decoded {
            b'/' if *byte == b'%' => return Err(BadTarget::EncodedSlash),
            b'\\' => return Err(BadTarget::Backslash),
            _ => {}
        }
    }
    Ok(())
}

/// What is refused in the whole path: dot segments, control bytes, malformed escapes.
fn check_segments(path: &[u8]) -> Result<(), BadTarget> {
    let mut rest = path;
    // The dots of a segment that has nothing but dots so far.
    let mut dots = Some(0_u32);
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        let mut decoded = *byte;
        if *byte == b'%' {
            (decoded, rest) = escape(rest).ok_or(BadTarget::MalformedEscape)?;
        }
        match decoded {
            b'/' | b'\\' if matches!(dots, Some(1 | 2)) => return Err(BadTarget::DotSegment),
            b'/' | b'\\' => dots = Some(0),
            b'.' => dots = dots.map(|count| count + 1),
            0..b' ' | 0x7f => return Err(BadTarget::Control),
            _ => dots = None,
        }
    }
    if matches!(dots, Some(1 | 2)) {
        Err(BadTarget::DotSegment)
    } else {
        Ok(())
    }
}

fn check_escapes(query: &[u8]) -> Result<(), BadTarget> {
    let mut escapes = query.iter().enumerate().filter(|(_, byte)| **byte == b'%');
    if escapes.all(|(at, _)| escape(&query[at + 1..]).is_some()) {
        Ok(())
    } else {
        Err(BadTarget::MalformedEscape)
    }
}

#[cfg(test)]
mod tests;
