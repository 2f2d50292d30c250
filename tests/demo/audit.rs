//! The server's audit log, shortened to a table.

use anyhow::Result;
use ci_tunnel_tests::tunnel::Tunnel;
use serde_json::Value;

use crate::shell::{Shell, expect, say};

/// Asks the log, and has it checked.
pub(crate) async fn ask(shell: &Shell, server: &str) -> Result<()> {
    let asked = format!("{server} audit query --user eve --since 1h");
    expect(&shell.run(&asked).await?, &["refused:denied"])?;
    let checked = shell.run(&format!("{server} audit verify")).await?;
    expect(&checked, &["ok: "])
}

/// Waits for the lines of what the demo did, as they are written when requests end; then shows all.
pub(crate) async fn show(tunnel: &Tunnel) -> Result<()> {
    for wanted in EXPECTED {
        tunnel.audited(|line| wanted.fits(line)).await?;
    }
    let lines = tunnel.audit_lines()?;
    say(
        "STATUS  VERB    RESOURCE                    IN              AS                   MS     END",
    );
    let requests = lines.iter().filter(|line| line["event"].is_null());
    requests.for_each(|line| say(&row(line)));
    Ok(())
}

/// What must be found in one line: verb, resource with subresource, status.
struct Wanted(&'static str, &'static str, u64);

const EXPECTED: [Wanted; 6] = [
    Wanted("create", "selfsubjectreviews", 201),
    Wanted("list", "pods", 200),
    Wanted("watch", "pods", 200),
    Wanted("get", "pods/log", 200),
    Wanted("get", "pods/exec", 101),
    Wanted("list", "pods", 403),
];

impl Wanted {
    fn fits(&self, line: &Value) -> bool {
        let Self(verb, resource, status) = self;
        // Exec over SPDY is a `create`.
        let verb_fits = line["verb"] == *verb || *resource == "pods/exec";
        verb_fits && resource_of(line) == *resource && line["status"] == *status
    }
}

fn row(line: &Value) -> String {
    let resource = resource_of(line);
    let shown = if resource.is_empty() {
        text(&line["path"])
    } else {
        resource
    };
    let row = format!(
        "{:6}  {:6}  {:26}  {:14}  {:19}  {:>5}  {}",
        line["status"].to_string(),
        text(&line["verb"]),
        shown,
        text(&line["namespace"]),
        text(&line["kubernetes"]["as"]),
        line["duration_ms"].to_string(),
        ending(&line["end"]),
    );
    row.trim_end().to_owned()
}

/// `complete`, or `refused: why`.
fn ending(end: &Value) -> String {
    let detailed = end.as_object().and_then(|end| end.iter().next());
    detailed.map_or_else(|| text(end), |(how, why)| format!("{how}: {}", text(why)))
}

fn resource_of(line: &Value) -> String {
    let (resource, subresource) = (text(&line["resource"]), text(&line["subresource"]));
    if subresource.is_empty() {
        resource
    } else {
        format!("{resource}/{subresource}")
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
