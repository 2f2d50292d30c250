//! What people type: kubectl's verbs through the tunnel, each judged by what it did in the cluster.

use std::process::Stdio;

use anyhow::{Context as _, Result};
use ci_tunnel_tests::cluster::Kubectl;
use ci_tunnel_tests::deadline::within;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::ring::{Ring, USER};

/// `kubectl` of the job in a namespace of its own, and the administrator's beside the tunnel, to look.
struct Bench {
    job: Kubectl,
    admin: Kubectl,
    namespace: String,
}

impl Bench {
    async fn new(test: &str) -> Result<Option<Self>> {
        let Some(ring) = Ring::get(test).await else {
            return Ok(None);
        };
        let namespace = ring.cluster.namespace("verbs").await?;
        let (job, admin) = (ring.kubectl()?, ring.cluster.kubectl());
        Ok(Some(Self {
            job,
            admin,
            namespace,
        }))
    }

    /// Words of the job, in the namespace.
    async fn job(&self, words: &[&str]) -> Result<String> {
        self.job
            .run(words.iter().chain(&["-n", &self.namespace]))
            .await
    }

    /// The same with a manifest on standard input.
    async fn job_with(&self, words: &[&str], manifest: &Value) -> Result<String> {
        let words = [words, &["-f", "-", "-n", &self.namespace]].concat();
        self.job
            .run_with(words, manifest.to_string().as_bytes())
            .await
    }

    /// The words of a command that fails, on standard error.
    async fn job_fails(&self, words: &[&str]) -> Result<String> {
        let output = self
            .job
            .output(words.iter().chain(&["-n", &self.namespace]))
            .await?;
        assert!(!output.status.success(), "{words:?}");
        Ok(String::from_utf8(output.stderr)?)
    }

    /// An object as it is in the cluster, `null` when it is not there.
    async fn object(&self, name: &str) -> Result<Value> {
        let words = [
            "get",
            name,
            "-o",
            "json",
            "--ignore-not-found",
            "--show-managed-fields",
            "-n",
            &self.namespace,
        ];
        let text = self.admin.run(words).await?;
        Ok(if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text)?
        })
    }
}

fn config(name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

fn deployment(replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "web:1"}]},
            },
        },
    })
}

#[tokio::test]
async fn create_get_describe_replace_delete() -> Result<()> {
    let Some(bench) = Bench::new("create, get, describe, replace, delete").await? else {
        return Ok(());
    };
    let created = bench
        .job_with(&["create"], &config("settings", &json!({"a": "1"})))
        .await?;
    assert_eq!(created, "configmap/settings created\n");
    let made = bench.object("configmap/settings").await?;
    assert_eq!(made["data"], json!({"a": "1"}));
    let again = bench
        .job_fails(&["create", "configmap", "settings"])
        .await?;
    assert!(
        again.contains("configmaps \"settings\" already exists"),
        "{again}"
    );

    let listed = bench.job(&["get", "configmaps", "-o", "name"]).await?;
    assert!(
        listed.lines().any(|line| line == "configmap/settings"),
        "{listed}"
    );
    let table = bench.job(&["get", "configmap", "settings"]).await?;
    assert!(
        table.starts_with("NAME ") && table.contains("settings   1 "),
        "{table}"
    );
    let got: Value = serde_json::from_str(
        &bench
            .job(&["get", "configmap", "settings", "-o", "json"])
            .await?,
    )?;
    assert_eq!(got["metadata"]["uid"], made["metadata"]["uid"]);
    let described = bench.job(&["describe", "configmap", "settings"]).await?;
    assert!(
        described.contains("Name:         settings") && described.contains("a:\n----\n1\n"),
        "{described}"
    );

    bench
        .job_with(&["replace"], &config("settings", &json!({"b": "2"})))
        .await?;
    let replaced = bench.object("configmap/settings").await?;
    assert_eq!(
        (&replaced["data"], &replaced["metadata"]["uid"]),
        (&json!({"b": "2"}), &made["metadata"]["uid"])
    );
    bench
        .job_with(
            &["replace", "--force"],
            &config("settings", &json!({"c": "3"})),
        )
        .await?;
    let forced = bench.object("configmap/settings").await?;
    assert_eq!(forced["data"], json!({"c": "3"}));
    assert_ne!(forced["metadata"]["uid"], made["metadata"]["uid"]);

    bench.job(&["delete", "configmap", "settings"]).await?;
    assert_eq!(bench.object("configmap/settings").await?, Value::Null);
    let gone = bench.job_fails(&["get", "configmap", "settings"]).await?;
    assert!(
        gone.contains("Error from server (NotFound): configmaps \"settings\" not found"),
        "{gone}"
    );
    Ok(())
}

#[tokio::test]
async fn apply_on_both_sides_patch_and_label() -> Result<()> {
    let Some(bench) = Bench::new("apply, patch, label").await? else {
        return Ok(());
    };
    let apply = ["apply"];
    assert_eq!(
        bench
            .job_with(&apply, &config("own", &json!({"a": "1", "b": "1"})))
            .await?,
        "configmap/own created\n"
    );
    assert_eq!(
        bench
            .job_with(&apply, &config("own", &json!({"a": "1", "b": "1"})))
            .await?,
        "configmap/own unchanged\n"
    );
    assert_eq!(
        bench
            .job_with(&apply, &config("own", &json!({"a": "2"})))
            .await?,
        "configmap/own configured\n"
    );
    let own = bench.object("configmap/own").await?;
    assert_eq!(
        own["data"],
        json!({"a": "2"}),
        "what is not in the manifest any more is gone"
    );

    let server_side = ["apply", "--server-side", "--field-manager=ci"];
    bench
        .job_with(&server_side, &config("shared", &json!({"a": "1"})))
        .await?;
    let shared = bench.object("configmap/shared").await?;
    let manager = &shared["metadata"]["managedFields"][0];
    assert_eq!(
        (&manager["manager"], &manager["operation"]),
        (&json!("ci"), &json!("Apply"))
    );
    let other = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shared"}, "data": {"a": "9"}});
    let words = [
        "apply",
        "--server-side",
        "--field-manager=someone",
        "-f",
        "-",
        "-n",
        &bench.namespace,
    ];
    let conflict = bench
        .job
        .run_with(words, other.to_string().as_bytes())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        conflict.contains("conflict") && conflict.contains("\"ci\""),
        "{conflict}"
    );
    let dry = ["apply", "--dry-run=server"];
    bench.job_with(&dry, &config("never", &json!({}))).await?;
    assert_eq!(bench.object("configmap/never").await?, Value::Null);
    let difference = bench
        .job
        .command(["diff", "-f", "-", "-n", &bench.namespace]);
    let difference = crate::ring::finish(
        difference,
        config("own", &json!({"a": "3"})).to_string().as_bytes(),
    )
    .await?;
    assert_eq!(difference.status.code(), Some(1));
    assert!(String::from_utf8(difference.stdout)?.contains("+  a: \"3\""));

    for (kind, patch, data) in [
        ("merge", r#"{"data":{"a":null,"m":"1"}}"#, json!({"m": "1"})),
        (
            "strategic",
            r#"{"data":{"s":"1"}}"#,
            json!({"m": "1", "s": "1"}),
        ),
        (
            "json",
            r#"[{"op":"move","from":"/data/s","path":"/data/t"}]"#,
            json!({"m": "1", "t": "1"}),
        ),
    ] {
        bench
            .job(&["patch", "configmap", "own", "--type", kind, "-p", patch])
            .await?;
        assert_eq!(bench.object("configmap/own").await?["data"], data, "{kind}");
    }
    bench
        .job(&["label", "configmap", "own", "team=blue"])
        .await?;
    bench
        .job(&["annotate", "configmap", "own", "note=a b + c % d"])
        .await?;
    let own = bench.object("configmap/own").await?;
    assert_eq!(own["metadata"]["labels"], json!({"team": "blue"}));
    assert_eq!(own["metadata"]["annotations"]["note"], "a b + c % d");
    let selected = bench
        .job(&[
            "get",
            "configmaps",
            "-l",
            "team in (blue, green),team!=red",
            "-o",
            "name",
        ])
        .await?;
    assert_eq!(selected, "configmap/own\n");
    bench.job(&["label", "configmap", "own", "team-"]).await?;
    assert_eq!(
        bench.object("configmap/own").await?["metadata"].get("labels"),
        None
    );
    bench.job(&["delete", "configmap", "-l", "team"]).await?;
    assert_ne!(bench.object("configmap/own").await?, Value::Null);
    Ok(())
}

#[tokio::test]
async fn deployments_scale_roll_out_and_are_waited_for() -> Result<()> {
    let Some(bench) = Bench::new("scale, rollout, wait").await? else {
        return Ok(());
    };
    bench.job_with(&["apply"], &deployment(2)).await?;
    let rolled = bench
        .job(&["rollout", "status", "deployment/web", "--timeout=60s"])
        .await?;
    assert!(
        rolled.ends_with("deployment \"web\" successfully rolled out\n"),
        "{rolled}"
    );
    assert_eq!(
        bench.object("deployment/web").await?["status"]["readyReplicas"],
        2
    );

    bench
        .job(&[
            "scale",
            "deployment/web",
            "--replicas=3",
            "--current-replicas=2",
        ])
        .await?;
    bench
        .job(&[
            "wait",
            "deployment/web",
            "--for=jsonpath={.status.readyReplicas}=3",
            "--timeout=60s",
        ])
        .await?;
    assert_eq!(bench.object("deployment/web").await?["spec"]["replicas"], 3);
    let late = bench
        .job_fails(&[
            "scale",
            "deployment/web",
            "--replicas=1",
            "--current-replicas=2",
        ])
        .await?;
    assert!(late.contains("Expected replicas to be 2, was 3"), "{late}");

    bench
        .job(&["set", "image", "deployment/web", "web=web:2"])
        .await?;
    bench
        .job(&["rollout", "status", "deployment/web", "--timeout=60s"])
        .await?;
    bench
        .job(&[
            "wait",
            "pods",
            "-l",
            "app=web",
            "--for=condition=Ready",
            "--timeout=60s",
        ])
        .await?;
    let history = bench.job(&["rollout", "history", "deployment/web"]).await?;
    assert!(
        history.contains("\n1 ") && history.contains("\n2 "),
        "{history}"
    );
    bench.job(&["rollout", "undo", "deployment/web"]).await?;
    let image = &bench.object("deployment/web").await?["spec"]["template"]["spec"]["containers"][0]
        ["image"];
    assert_eq!(image, "web:1");
    bench.job(&["rollout", "restart", "deployment/web"]).await?;
    bench
        .job(&["rollout", "status", "deployment/web", "--timeout=60s"])
        .await?;
    let template = &bench.object("deployment/web").await?["spec"]["template"]["metadata"];
    assert!(
        template["annotations"]["kubectl.kubernetes.io/restartedAt"].is_string(),
        "{template}"
    );
    bench
        .job(&["delete", "deployment/web", "--wait=false"])
        .await?;
    bench
        .job(&["wait", "--for=delete", "deployment/web", "--timeout=60s"])
        .await?;
    assert_eq!(bench.object("deployment/web").await?, Value::Null);
    Ok(())
}

#[tokio::test]
async fn get_w_shows_what_happens() -> Result<()> {
    let Some(bench) = Bench::new("get -w").await? else {
        return Ok(());
    };
    let words = [
        "get",
        "configmaps",
        "-w",
        "--output-watch-events",
        "-l",
        "watched",
        "--no-headers",
        "-n",
        &bench.namespace,
    ];
    let mut child = bench.job.command(words).stderr(Stdio::inherit()).spawn()?;
    let mut events = BufReader::new(child.stdout.take().context("piped")?).lines();
    let mut next = async || {
        let line = within("an event", events.next_line()).await??;
        line.context("the watch ended")
    };
    let mut labelled = config("seen", &json!({}));
    labelled["metadata"]["labels"] = json!({"watched": "yes"});
    bench
        .admin
        .run_with(
            ["create", "-f", "-", "-n", &bench.namespace],
            labelled.to_string().as_bytes(),
        )
        .await?;
    let added = next().await?;
    assert!(
        added.contains("ADDED") && added.contains(" seen "),
        "{added}"
    );
    bench
        .admin
        .run([
            "annotate",
            "configmap",
            "seen",
            "x=y",
            "-n",
            &bench.namespace,
        ])
        .await?;
    assert!(next().await?.contains("MODIFIED"));
    bench
        .admin
        .run(["delete", "configmap", "seen", "-n", &bench.namespace])
        .await?;
    assert!(next().await?.contains("DELETED"));
    assert!(
        child.try_wait()?.is_none(),
        "it goes on until it is stopped"
    );
    Ok(())
}

#[tokio::test]
async fn discovery_explain_and_auth() -> Result<()> {
    let Some(bench) = Bench::new("discovery, explain, auth").await? else {
        return Ok(());
    };
    let Bench { job, admin, .. } = &bench;
    for words in [
        &[
            "api-resources",
            "--sort-by=name",
            "-o",
            "wide",
            "--cached=false",
        ][..],
        &["api-versions"],
        &["explain", "deployment.spec.strategy", "--recursive"],
        &["get", "--raw", "/openapi/v3"],
        &["get", "--raw", "/apis?a=b%2Fc&d"],
    ] {
        let (through, beside) = (job.run(words).await?, admin.run(words).await?);
        assert!(through.len() > 100, "{words:?}: {through}");
        assert_eq!(through, beside, "{words:?}");
    }
    let who = job.run(["auth", "whoami"]).await?;
    assert!(
        who.contains(USER) && who.contains("gitlab:project:5"),
        "{who}"
    );
    assert_eq!(
        job.run(["auth", "can-i", "delete", "nodes"]).await?,
        "yes\n"
    );
    let listed = bench.job(&["auth", "can-i", "--list"]).await?;
    assert!(listed.contains("*.*"), "{listed}");
    let contexts = job.run(["config", "get-contexts", "--no-headers"]).await?;
    assert!(
        contexts.starts_with('*') && contexts.contains(" acme/infra:prod   ci-tunnel   agent:1"),
        "{contexts}"
    );
    let version: Value = serde_json::from_str(&job.run(["version", "-o", "json"]).await?)?;
    assert_eq!(
        version["serverVersion"]["gitVersion"],
        version["clientVersion"]["gitVersion"]
    );
    Ok(())
}
