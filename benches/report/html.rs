//! As much of Markdown as the page uses, as HTML.

/// A whole document that needs no other file.
pub(super) fn document(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n\
         <style>{STYLE}</style></head>\n<body>\n<h1>{title}</h1>\n{body}</body></html>\n"
    )
}

const STYLE: &str = "body{font:15px/1.5 sans-serif;max-width:1000px;margin:2em auto;padding:0 1em}\
    table{border-collapse:collapse;margin:1em 0}td,th{border:1px solid #ccc;padding:.2em .6em}\
    td+td{text-align:right}svg{max-width:100%;height:auto}";

/// Headings, tables, lists and paragraphs, with `**` and `` ` `` in them.
pub(super) fn from_markdown(text: &str) -> String {
    let mut html = String::new();
    let mut open = None;
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let kind = Kind::of(line);
        if open != Some(kind) {
            html += open.map_or("", Kind::end);
            html += kind.begin();
            open = Some(kind);
        }
        match kind {
            Kind::Heading => {
                html += &format!("<h2>{}</h2>\n", inline(line.trim_start_matches(['#', ' '])))
            }
            Kind::Item => html += &format!("<li>{}</li>\n", inline(&line[2..])),
            Kind::Text => html += &format!("{}\n", inline(line)),
            Kind::Table if is_rule(line) => {}
            Kind::Table => {
                let cell = if lines.peek().is_some_and(|next| is_rule(next)) {
                    "th"
                } else {
                    "td"
                };
                html += &row(line, cell);
            }
            Kind::Nothing => {}
        }
    }
    html + open.map_or("", Kind::end)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Heading,
    Item,
    Nothing,
    Table,
    Text,
}

impl Kind {
    fn of(line: &str) -> Self {
        match line.chars().next() {
            None => Self::Nothing,
            Some('#') => Self::Heading,
            Some('|') => Self::Table,
            Some('*') if line.starts_with("* ") => Self::Item,
            Some(_) => Self::Text,
        }
    }

    const fn begin(self) -> &'static str {
        match self {
            Self::Item => "<ul>\n",
            Self::Table => "<table>\n",
            Self::Text => "<p>",
            Self::Heading | Self::Nothing => "",
        }
    }

    const fn end(self) -> &'static str {
        match self {
            Self::Item => "</ul>\n",
            Self::Table => "</table>\n",
            Self::Text => "</p>\n",
            Self::Heading | Self::Nothing => "",
        }
    }
}

fn is_rule(line: &str) -> bool {
    line.starts_with("| ---")
}

fn row(line: &str, cell: &str) -> String {
    let inner = line.trim_matches('|').split('|');
    let cells = inner.map(|text| format!("<{cell}>{}</{cell}>", inline(text.trim())));
    format!("<tr>{}</tr>\n", cells.collect::<String>())
}

fn inline(text: &str) -> String {
    let alternate = |text: &str, mark: &str, tag: &str| {
        let mut html = String::new();
        for (index, piece) in text.split(mark).enumerate() {
            match index % 2 {
                0 => html += piece,
                _ => html += &format!("<{tag}>{piece}</{tag}>"),
            }
        }
        html
    };
    alternate(&alternate(&escape(text), "**", "b"), "`", "code")
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    #[test]
    fn tables_lists_and_paragraphs() {
        let markdown = "## A\n\ntext `code`\nmore\n\n| x | y |\n| --- | ---: |\n| **1** | 2<3 |\n\n* one\n* two\n";
        let html = super::from_markdown(markdown);
        let expected = "<h2>A</h2>\n<p>text <code>code</code>\nmore\n</p>\n<table>\n<tr><th>x</th><th>y</th></tr>\n\
                        <tr><td><b>1</b></td><td>2&lt;3</td></tr>\n</table>\n<ul>\n<li>one</li>\n<li>two</li>\n</ul>\n";
        assert_eq!(html, expected);
    }
}
