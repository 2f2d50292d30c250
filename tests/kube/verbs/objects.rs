//! `create`, `get`, `describe`, `replace`, `delete`, and `get -w`.

use std::process::Stdio;

use anyhow::{Context as _, Result};
use ci_tunnel_tests::deadline::within;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::{Bench, config};

#[tokio::test]
async fn create_get_describe() -> Result<()> {
    let Some(bench) = Bench::new("create, get, describe").await? else {
        return Ok(());
    };
    let settings = config("settings", &json!({"a": "1"}));
    let created = bench.feed("create", &settings).await?;
    assert_eq!(created, "configmap/settings created\n");
    let made = bench.object("configmap/settings").await?;
    assert_eq!(made["data"], json!({"a": "1"}));
    let again = bench.fail("create configmap settings").await?;
    assert!(
        again.contains("configmaps \"settings\" already exists"),
        "{again}"
    );

    let listed = bench.run("get configmaps -o name").await?;
    assert!(
        listed.lines().any(|line| line == "configmap/settings"),
        "{listed}"
    );
    let table = bench.run("get configmap settings").await?;
    assert!(
        table.starts_with("NAME ") && table.contains("settings   1 "),
        "{table}"
    );
    let got: Value = serde_json::from_str(&bench.run("get configmap settings -o json").await?)?;
    assert_eq!(got["metadata"]["uid"], made["metadata"]["uid"]);
    let described = bench.run("describe configmap settings").await?;
    assert!(
        described.contains("Name:         settings") && described.contains("a:\n----\n1\n"),
        "{described}"
    );
    Ok(())
}

#[tokio::test]
async fn replace_and_delete() -> Result<()> {
    let Some(bench) = Bench::new("replace, delete").await? else {
        return Ok(());
    };
    let settings = |data| config("settings", &data);
    bench.feed("create", &settings(json!({"a": "1"}))).await?;
    let made = bench.object("configmap/settings").await?;
    bench.feed("replace", &settings(json!({"b": "2"}))).await?;
    let replaced = bench.object("configmap/settings").await?;
    assert_eq!(replaced["data"], json!({"b": "2"}));
    assert_eq!(replaced["metadata"]["uid"], made["metadata"]["uid"]);
    let force = "replace --force";
    bench.feed(force, &settings(json!({"c": "3"}))).await?;
    let forced = bench.object("configmap/settings").await?;
    assert_eq!(forced["data"], json!({"c": "3"}));
    assert_ne!(forced["metadata"]["uid"], made["metadata"]["uid"]);

    bench.run("delete configmap settings").await?;
    assert_eq!(bench.object("configmap/settings").await?, Value::Null);
    let gone = bench.fail("get configmap settings").await?;
    let says = "Error from server (NotFound): configmaps \"settings\" not found";
    assert!(gone.contains(says), "{gone}");
    Ok(())
}

#[tokio::test]
async fn get_w_shows_what_happens() -> Result<()> {
    let Some(bench) = Bench::new("get -w").await? else {
        return Ok(());
    };
    let line = "get configmaps -w --output-watch-events -l watched --no-headers";
    let mut command = bench.job.command(bench.words(line));
    let mut child = command.stderr(Stdio::inherit()).spawn()?;
    let mut events = BufReader::new(child.stdout.take().context("piped")?).lines();
    let mut next = async || {
        let line = within("an event", events.next_line()).await??;
        line.context("the watch ended")
    };
    let mut seen = config("seen", &json!({}));
    seen["metadata"]["labels"] = json!({"watched": "yes"});
    let mut create = bench.words("create");
    create.extend(["-f", "-"]);
    let seen = seen.to_string();
    bench.admin.run_with(create, seen.as_bytes()).await?;
    let added = next().await?;
    assert!(
        added.contains("ADDED") && added.contains(" seen "),
        "{added}"
    );
    bench.beside("annotate configmap seen x=y").await?;
    assert!(next().await?.contains("MODIFIED"));
    bench.beside("delete configmap seen").await?;
    assert!(next().await?.contains("DELETED"));
    assert!(
        child.try_wait()?.is_none(),
        "it goes on until it is stopped"
    );
    Ok(())
}
