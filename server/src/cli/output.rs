//! What commands print: tables for people, JSON for programs, times as both read them.

use std::io::{self, Write};
use std::time::SystemTime;

use serde_json::Value;

/// Prints columns as wide as their widest cell, under `head`.
pub(super) fn table<const N: usize>(
    out: &mut impl Write,
    head: [&str; N],
    rows: &[[String; N]],
) -> io::Result<()> {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].len()]).max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut line = |cells: [&str; N]| {
        let padded: Vec<String> = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        writeln!(out, "{}", padded.join("  ").trim_end())
    };
    line(head)?;
    rows.iter()
        .try_for_each(|row| line(row.each_ref().map(String::as_str)))
}

pub(super) fn json(out: &mut impl Write, value: &Value) -> io::Result<()> {
    writeln!(out, "{value:#}")
}

/// `2026-01-31T12:00:00Z`; `never` for no time.
pub(super) fn time(time: Option<SystemTime>) -> String {
    match time.and_then(|time| jiff::Timestamp::try_from(time).ok()) {
        Some(time) => format!("{time:.0}"),
        None => "never".to_owned(),
    }
}

/// The same for JSON: `null` for no time.
pub(super) fn json_time(time: Option<SystemTime>) -> Value {
    time.map_or(Value::Null, |some| self::time(Some(some)).into())
}

/// A text of somebody else as it may stand in a line: it takes no other line, and moves no cursor.
pub(super) fn printable(text: &str) -> String {
    let printable = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(printable).collect()
}

/// The same, and no other word.
pub(super) fn word(text: &str) -> String {
    let solid = |c: char| if c.is_whitespace() { '_' } else { c };
    printable(text).chars().map(solid).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let mut out = Vec::new();
        let rows = [
            ["7".to_owned(), "é/b:prod".to_owned()],
            ["10".to_owned(), "x".to_owned()],
        ];
        table(&mut out, ["ID", "AGENT"], &rows).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "ID  AGENT\n7   é/b:prod\n10  x\n"
        );
    }

    #[test]
    fn times() {
        let some = UNIX_EPOCH + Duration::from_millis(1_800_000_000_500);
        assert_eq!(time(Some(some)), "2027-01-15T08:00:00Z");
        assert_eq!(time(None), "never");
        assert_eq!(json_time(None), Value::Null);
    }
}
