//! Much at once: a large answer, many objects, many clients.

use std::time::{Duration, Instant};

use anyhow::Result;
use ci_tunnel_tests::client::{Client, Http, empty};
use ci_tunnel_tests::deadline::within_time;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;

use crate::ring::Ring;

#[tokio::test]
async fn a_list_of_50_megabytes_arrives_as_it_was_sent() -> Result<()> {
    let Some(ring) = Ring::get("a large list").await else {
        return Ok(());
    };
    let namespace = ring.cluster.namespace("large").await?;
    let kubectl = ring.kubectl()?;
    for batch in 0..6 {
        let objects = (0..10).map(|index| {
            let text = format!("{index:01000}\n").repeat(850);
            config_map(&format!("large-{batch}-{index}"), json!({"text": text}))
        });
        create(&kubectl, &namespace, objects.collect()).await?;
    }
    // One version of the list, whatever others write meanwhile.
    let path = format!("/api/v1/namespaces/{namespace}/configmaps");
    let newest: Value = serde_json::from_slice(
        ring.direct(Http::Two)?
            .get(&format!("{path}?limit=1"))
            .await?
            .body(),
    )?;
    let version = newest["metadata"]["resourceVersion"].as_str().unwrap();
    let path = format!("{path}?resourceVersion={version}&resourceVersionMatch=Exact");
    let (len, direct) = digest(&ring.direct(Http::Two)?, &path).await?;
    assert!(len > 50_000_000, "{len} bytes");
    for http in [Http::One, Http::Two] {
        let began = Instant::now();
        assert_eq!(
            digest(&ring.client(http)?, &path).await?,
            (len, direct.clone()),
            "{http:?}"
        );
        println!("a list of {len} bytes over {http:?}: {:?}", began.elapsed());
    }
    // What kubectl asks for is compressed.
    let raw = ring.kubectl()?.run(["get", "--raw", &path]).await?;
    assert_eq!(hash(raw.as_bytes()), direct);
    Ok(())
}

#[tokio::test]
async fn a_thousand_objects_are_applied() -> Result<()> {
    let Some(ring) = Ring::get("a thousand objects").await else {
        return Ok(());
    };
    let namespace = ring.cluster.namespace("thousand").await?;
    let kubectl = ring.kubectl()?;
    let objects = (0..1000).map(|index| config_map(&format!("object-{index}"), json!({"a": "b"})));
    let list = list(objects.collect()).to_string();
    let apply = ["apply", "-n", &namespace, "-o", "name", "-f", "-"];
    let began = Instant::now();
    let applied = kubectl.run_with(apply, list.as_bytes()).await?;
    println!("1,000 objects applied in {:?}", began.elapsed());
    assert_eq!(applied.lines().count(), 1000);
    let names = kubectl
        .run(["get", "configmap", "-n", &namespace, "-o", "name"])
        .await?;
    let created = names
        .lines()
        .filter(|name| name.contains("/object-"))
        .count();
    assert_eq!(created, 1000);
    Ok(())
}

#[tokio::test]
async fn twenty_kubectls_at_once() -> Result<()> {
    let Some(ring) = Ring::get("twenty kubectls").await else {
        return Ok(());
    };
    let namespace = ring.pod("twenty").await?;
    let mut running = JoinSet::new();
    for _ in 0..20 {
        let kubectl = ring.kubectl()?;
        let namespace = namespace.clone();
        running.spawn(async move {
            kubectl
                .run(["get", "pods", "-n", &namespace, "-o", "name"])
                .await
        });
    }
    while let Some(ended) = running.join_next().await {
        assert_eq!(ended??, "pod/web\n");
    }
    Ok(())
}

async fn create(
    kubectl: &ci_tunnel_tests::cluster::Kubectl,
    namespace: &str,
    objects: Vec<Value>,
) -> Result<()> {
    let args = ["create", "-n", namespace, "-o", "name", "-f", "-"];
    let list = list(objects).to_string();
    kubectl.run_with(args, list.as_bytes()).await.map(drop)
}

fn config_map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

fn list(items: Vec<Value>) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

/// The length and hash of an answer's body.
async fn digest(client: &Client, path: &str) -> Result<(usize, String)> {
    let request = client.request(http::Method::GET, path).body(empty())?;
    let response = client.send(request).await?;
    assert_eq!(response.status(), http::StatusCode::OK);
    let body = response.into_body().collect();
    let body = within_time(Duration::from_secs(60), "a large answer", body).await??;
    let body = body.to_bytes();
    Ok((body.len(), hash(&body)))
}

fn hash(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}
