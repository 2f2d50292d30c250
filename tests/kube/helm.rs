//! `helm`: a release's whole life.

use anyhow::Result;
use serde_json::Value;

use crate::ring::Ring;

#[tokio::test]
async fn a_release_is_installed_upgraded_rolled_back_and_uninstalled() -> Result<()> {
    let Some(ring) = Ring::get("helm").await else {
        return Ok(());
    };
    let namespace = ring.cluster.namespace("helm").await?;
    let chart = chart()?;
    let chart = chart.path().to_str().unwrap();
    let helm = ring.helm()?;
    let run = async |args: &[&str]| helm.run([args, &["-n", &namespace]].concat()).await;

    let installed = run(&["install", "shop", chart, "--wait", "--timeout=60s"]).await?;
    assert!(installed.contains("STATUS: deployed"), "{installed}");
    run(&[
        "upgrade",
        "shop",
        chart,
        "--wait",
        "--timeout=60s",
        "--set",
        "colour=red",
    ])
    .await?;
    assert_eq!(colour(ring, &namespace).await?, "red");
    run(&["rollback", "shop", "1", "--wait", "--timeout=60s"]).await?;
    assert_eq!(colour(ring, &namespace).await?, "blue");

    let history: Value = serde_json::from_str(&run(&["history", "shop", "-o", "json"]).await?)?;
    let statuses: Vec<_> = history
        .as_array()
        .into_iter()
        .flatten()
        .map(|revision| revision["status"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(statuses, ["superseded", "superseded", "deployed"]);

    run(&["uninstall", "shop", "--wait", "--timeout=60s"]).await?;
    let left = ring
        .kubectl()?
        .run(["get", "deploy,configmap", "-n", &namespace, "-o", "name"])
        .await?;
    assert!(!left.contains("shop"), "{left}");
    Ok(())
}

async fn colour(ring: &Ring, namespace: &str) -> Result<String> {
    let get = [
        "get",
        "configmap",
        "shop",
        "-n",
        namespace,
        "-o",
        "jsonpath={.data.colour}",
    ];
    ring.kubectl()?.run(get).await
}

pub(crate) fn chart() -> Result<tempfile::TempDir> {
    let chart = tempfile::tempdir()?;
    let write = |name: &str, text: &str| std::fs::write(chart.path().join(name), text);
    std::fs::create_dir(chart.path().join("templates"))?;
    write("Chart.yaml", "apiVersion: v2\nname: shop\nversion: 0.1.0\n")?;
    write("values.yaml", "colour: blue\n")?;
    write("templates/all.yaml", TEMPLATE)?;
    Ok(chart)
}

const TEMPLATE: &str = "
apiVersion: v1
kind: ConfigMap
metadata: { name: {{ .Release.Name }} }
data: { colour: {{ .Values.colour }} }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: {{ .Release.Name }} }
spec:
  replicas: 2
  selector: { matchLabels: { app: {{ .Release.Name }} } }
  template:
    metadata: { labels: { app: {{ .Release.Name }}, colour: {{ .Values.colour }} } }
    spec: { containers: [{ name: web, image: web }] }
";
