//! A disk for the audit log that fills up while requests come, and is freed: what is not there is told of.

use std::collections::HashMap;

use anyhow::{Context as _, Result, ensure};
use ci_tunnel_tests::client::{Client, Http};
use ci_tunnel_tests::deadline::within;
use serde_json::Value;

use super::Private;

/// Each request has a line, though strangers send them.
const YAML: &str = "audit: { output: { file: disk/audit.log }, queue: 64KiB, on_failure: FAILURE }
limits: { address: { rejected_per_second: 0 } }
";
/// Enough to fill the queue several times.
const REQUESTS: usize = 800;

#[tokio::test]
async fn lines_are_counted_that_find_no_room() -> Result<()> {
    let files = tempfile::tempdir()?;
    let yaml = YAML.replace("FAILURE", "count");
    let Some(private) = Private::start(files.path(), "disk", &yaml).await? else {
        return Ok(());
    };
    let answers = fill_and_free(&private).await?;
    assert_eq!(answers.get(&503), None);
    let lines = lines(&private).await?;
    let (written, lost) = (requests(&lines), told(&lines, "lost"));
    println!("{written} lines of {REQUESTS} requests were written, {lost} counted");
    assert_eq!(written as u64 + lost, REQUESTS as u64 + 1);
    ensure!(lost > 0 && written > 1, "{lost} lost, {written} written");
    whole(&private).await
}

#[tokio::test]
async fn requests_are_refused_and_no_line_is_lost() -> Result<()> {
    let files = tempfile::tempdir()?;
    let yaml = YAML.replace("FAILURE", "refuse");
    let Some(private) = Private::start(files.path(), "disk", &yaml).await? else {
        return Ok(());
    };
    let answers = fill_and_free(&private).await?;
    let lines = lines(&private).await?;
    let refused = answers[&503];
    let carried = answers.values().sum::<usize>() - refused;
    println!("{carried} requests were let in, {refused} refused");
    assert_eq!((requests(&lines), told(&lines, "lost")), (carried, 0));
    assert_eq!(told(&lines, "refused"), refused as u64);
    whole(&private).await
}

/// Makes requests with a wrong credential at a disk that is full, then one more once it is free; how many answers of
/// which code.
async fn fill_and_free(private: &Private) -> Result<HashMap<u16, usize>> {
    private.shell("stat -f -c %T disk | grep -q tmpfs").await?;
    private
        .shell("dd if=/dev/zero of=disk/filler bs=4k count=1024 2>/dev/null; test -s disk/filler")
        .await?;
    let address = private.serving["kubernetes_api"].as_str();
    let address = address.context("an address")?.parse()?;
    let ca = std::fs::read_to_string(private.root.join("state/ca.pem"))?;
    let client = Client::new(address, &ca, Http::Two, "ci:1:nonsense")?;
    let mut answers = HashMap::new();
    for _ in 0..REQUESTS {
        let status = client.get("/api/v1/pods").await?.status().as_u16();
        *answers.entry(status).or_insert(0) += 1;
    }
    private.shell("rm disk/filler").await?;
    let written = async {
        while client.get("/api/v1/pods").await?.status() == 503 {
            *answers.entry(503).or_insert(0) += 1;
        }
        *answers.entry(401).or_insert(0) += 1;
        while !lines(private)
            .await?
            .iter()
            .any(|line| line["event"] == "lost" || line["event"] == "refused")
        {}
        anyhow::Ok(())
    };
    within("lines to be written again", written).await??;
    Ok(answers)
}

async fn lines(private: &Private) -> Result<Vec<Value>> {
    let (ok, text) = private.server(&["audit", "query", "--format=json"]).await?;
    ensure!(ok, "{text}");
    let lines = text.lines().map(serde_json::from_str);
    Ok(lines.collect::<Result<_, _>>()?)
}

fn requests(lines: &[Value]) -> usize {
    lines
        .iter()
        .filter(|line| line["request_id"].is_string())
        .count()
}

/// How many things the lines of an event tell of.
fn told(lines: &[Value], event: &str) -> u64 {
    let events = lines.iter().filter(|line| line["event"] == event);
    events.filter_map(|line| line["count"].as_u64()).sum()
}

async fn whole(private: &Private) -> Result<()> {
    let (ok, text) = private.server(&["audit", "verify"]).await?;
    ensure!(ok, "{text}");
    Ok(())
}
