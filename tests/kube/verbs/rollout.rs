//! `scale`, `rollout`, `set image` and `wait`, with pods that kwok runs.

use anyhow::Result;
use serde_json::{Value, json};

use super::Bench;

const STATUS: &str = "rollout status deployment/web --timeout=60s";

async fn deployed(test: &str) -> Result<Option<Bench>> {
    let Some(bench) = Bench::new(test).await? else {
        return Ok(None);
    };
    let web = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "web:1"}]},
            },
        },
    });
    bench.feed("apply", &web).await?;
    let rolled = bench.run(STATUS).await?;
    assert!(
        rolled.ends_with("deployment \"web\" successfully rolled out\n"),
        "{rolled}"
    );
    Ok(Some(bench))
}

#[tokio::test]
async fn scale_and_wait() -> Result<()> {
    let Some(bench) = deployed("scale, wait").await? else {
        return Ok(());
    };
    let web = bench.object("deployment/web").await?;
    assert_eq!(web["status"]["readyReplicas"], 2);
    let scale = "scale deployment/web --current-replicas=2 --replicas";
    bench.run(&format!("{scale}=3")).await?;
    let wait = "wait deployment/web --for=jsonpath={.status.readyReplicas}=3 --timeout=60s";
    bench.run(wait).await?;
    let web = bench.object("deployment/web").await?;
    assert_eq!(web["spec"]["replicas"], 3);
    let late = bench.fail(&format!("{scale}=1")).await?;
    assert!(late.contains("Expected replicas to be 2, was 3"), "{late}");
    let wait = "wait pods -l app=web --for=condition=Ready --timeout=60s";
    assert_eq!(bench.run(wait).await?.lines().count(), 3);

    bench.run("delete deployment/web --wait=false").await?;
    let wait = "wait --for=delete deployment/web --timeout=60s";
    bench.run(wait).await?;
    assert_eq!(bench.object("deployment/web").await?, Value::Null);
    Ok(())
}

#[tokio::test]
async fn rollouts_go_forth_and_back() -> Result<()> {
    let Some(bench) = deployed("rollout").await? else {
        return Ok(());
    };
    let template = async || -> Result<Value> {
        let web = bench.object("deployment/web").await?;
        Ok(web["spec"]["template"].clone())
    };
    bench.run("set image deployment/web web=web:2").await?;
    bench.run(STATUS).await?;
    let history = bench.run("rollout history deployment/web").await?;
    assert!(
        history.contains("\n1 ") && history.contains("\n2 "),
        "{history}"
    );
    bench.run("rollout undo deployment/web").await?;
    let image = &template().await?["spec"]["containers"][0]["image"];
    assert_eq!(image, "web:1");
    bench.run("rollout restart deployment/web").await?;
    bench.run(STATUS).await?;
    let annotations = &template().await?["metadata"]["annotations"];
    let restarted = &annotations["kubectl.kubernetes.io/restartedAt"];
    assert!(restarted.is_string(), "{annotations}");
    Ok(())
}
