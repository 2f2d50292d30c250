//! `apply` on both sides, `diff`, `patch`, `label` and `annotate`.

use anyhow::Result;
use serde_json::{Value, json};

use super::{Bench, config};
use crate::ring::finish;

#[tokio::test]
async fn apply_on_the_clients_side() -> Result<()> {
    let Some(bench) = Bench::new("apply").await? else {
        return Ok(());
    };
    for (data, says) in [
        (json!({"a": "1", "b": "1"}), "created"),
        (json!({"a": "1", "b": "1"}), "unchanged"),
        (json!({"a": "2"}), "configured"),
    ] {
        let applied = bench.feed("apply", &config("own", &data)).await?;
        assert_eq!(applied, format!("configmap/own {says}\n"));
        // What is not in the manifest any more is gone.
        assert_eq!(bench.object("configmap/own").await?["data"], data);
    }
    let dry = "apply --dry-run=server";
    bench.feed(dry, &config("never", &json!({}))).await?;
    assert_eq!(bench.object("configmap/never").await?, Value::Null);
    let other = config("own", &json!({"a": "3"})).to_string();
    let mut words = bench.words("diff");
    words.extend(["-f", "-"]);
    let difference = finish(bench.job.command(words), other.as_bytes()).await?;
    assert_eq!(difference.status.code(), Some(1));
    assert!(String::from_utf8(difference.stdout)?.contains("+  a: \"3\""));
    Ok(())
}

#[tokio::test]
async fn apply_on_the_servers_side() -> Result<()> {
    let Some(bench) = Bench::new("apply --server-side").await? else {
        return Ok(());
    };
    let apply = "apply --server-side --field-manager=ci";
    bench
        .feed(apply, &config("shared", &json!({"a": "1"})))
        .await?;
    let shared = bench.object("configmap/shared").await?;
    let manager = &shared["metadata"]["managedFields"][0];
    assert_eq!(
        (&manager["manager"], &manager["operation"]),
        (&json!("ci"), &json!("Apply"))
    );
    let other = config("shared", &json!({"a": "9"}));
    let apply = "apply --server-side --field-manager=someone";
    let conflict = bench.feed(apply, &other).await.unwrap_err().to_string();
    assert!(
        conflict.contains("conflict") && conflict.contains("\"ci\""),
        "{conflict}"
    );
    bench
        .feed(&format!("{apply} --force-conflicts"), &other)
        .await?;
    let shared = bench.object("configmap/shared").await?;
    assert_eq!(shared["data"], json!({"a": "9"}));
    Ok(())
}

#[tokio::test]
async fn patch_in_three_ways() -> Result<()> {
    let Some(bench) = Bench::new("patch").await? else {
        return Ok(());
    };
    let own = config("own", &json!({"a": "1"}));
    bench.feed("create", &own).await?;
    let mv = r#"[{"op":"move","from":"/data/s","path":"/data/t"}]"#;
    for (kind, patch, data) in [
        ("merge", r#"{"data":{"a":null,"m":"1"}}"#, json!({"m": "1"})),
        (
            "strategic",
            r#"{"data":{"s":"1"}}"#,
            json!({"m": "1", "s": "1"}),
        ),
        ("json", mv, json!({"m": "1", "t": "1"})),
    ] {
        let line = format!("patch configmap own --type {kind} -p {patch}");
        bench.run(&line).await?;
        assert_eq!(bench.object("configmap/own").await?["data"], data, "{kind}");
    }
    Ok(())
}

#[tokio::test]
async fn label_and_annotate() -> Result<()> {
    let Some(bench) = Bench::new("label").await? else {
        return Ok(());
    };
    bench.feed("create", &config("own", &json!({}))).await?;
    bench.run("label configmap own team=blue").await?;
    let note = "note=a b + c % d";
    let mut annotate = bench.words("annotate configmap own");
    annotate.push(note);
    bench.job.run(annotate).await?;
    let own = bench.object("configmap/own").await?;
    assert_eq!(own["metadata"]["labels"], json!({"team": "blue"}));
    assert_eq!(own["metadata"]["annotations"]["note"], "a b + c % d");
    let mut get = bench.words("get configmaps -o name");
    get.extend(["-l", "team in (blue, green),team!=red"]);
    assert_eq!(bench.job.run(get).await?, "configmap/own\n");
    bench.run("label configmap own team-").await?;
    let own = bench.object("configmap/own").await?;
    assert_eq!(own["metadata"].get("labels"), None);
    bench.run("delete configmap -l team").await?;
    assert_ne!(bench.object("configmap/own").await?, Value::Null);
    Ok(())
}
