//! The `proxy` subresources: an application's own path passes byte for byte.
//!
//! What the backend hears is not that: the API server decodes `%2F` and merges slashes, with the tunnel and without.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use ci_tunnel_tests::client::{Client, Http};
use ci_tunnel_tests::cluster::AuditEvent;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::ring::Ring;

/// What follows `proxy`.
const TAILS: &[&str] = &[
    "/",
    "/plain",
    "/a%2Fb/c",
    "/with%20space",
    "/a;b=c;d",
    "/query?a=%20b&&c",
    "/query?a=1&a=2&=&%26",
    "/empty?",
    "//twice//over/",
    "/%E2%82%AC/%F0%9F%A6%80",
    "/sub-delims/!$&'()*+,;=:@",
    "/percent/%25/%2525",
    "/plus+and%2Bplus?x=a+b%2Bc",
    "/back%5Cslash?%5C",
];

#[tokio::test]
async fn odd_paths_reach_a_pod_as_without_the_tunnel() -> Result<()> {
    let Some(ring) = Ring::get("the pod proxy").await else {
        return Ok(());
    };
    let namespace = ring.pod("pod-proxy").await?;
    let backend = Backend::start().await?;
    let base = format!(
        "/api/v1/namespaces/{namespace}/pods/web:{}/proxy",
        backend.port
    );
    backend.compare(ring, &base).await
}

#[tokio::test]
async fn odd_paths_reach_a_service_as_without_the_tunnel() -> Result<()> {
    let Some(ring) = Ring::get("the service proxy").await else {
        return Ok(());
    };
    let namespace = ring.pod("service-proxy").await?;
    let backend = Backend::start().await?;
    let port = backend.port;
    let kubectl = ring.cluster.kubectl();
    let expose = [
        "expose",
        "pod",
        "web",
        "-n",
        &namespace,
        &format!("--port={port}"),
    ];
    kubectl.run(expose).await?;
    let ready = "--for=jsonpath={.endpoints[0].conditions.ready}=true";
    let slices = [
        "wait",
        "-n",
        &namespace,
        ready,
        "endpointslice",
        "-l",
        "kubernetes.io/service-name=web",
    ];
    kubectl
        .run([
            "wait",
            "-n",
            &namespace,
            "--for=create",
            "endpointslice",
            "-l",
            slices[6],
        ])
        .await?;
    kubectl.run(slices).await?;
    let base = format!("/api/v1/namespaces/{namespace}/services/web:{port}/proxy");
    backend.compare(ring, &base).await
}

#[tokio::test]
async fn kubectl_get_raw_reaches_a_pod() -> Result<()> {
    let Some(ring) = Ring::get("get --raw of a pod").await else {
        return Ok(());
    };
    let namespace = ring.pod("raw").await?;
    let backend = Backend::start().await?;
    let base = format!(
        "/api/v1/namespaces/{namespace}/pods/web:{}/proxy",
        backend.port
    );
    for tail in ["/with%20space?a=%20b&&c", "/€;x?ü=%2F"] {
        let path = format!("{base}{tail}");
        ring.cluster.kubectl().run(["get", "--raw", &path]).await?;
        let direct = backend.last()?;
        let answer = ring.kubectl()?.run(["get", "--raw", &path]).await?;
        assert_eq!(answer, "heard");
        assert_eq!(backend.last()?, direct);
    }
    Ok(())
}

/// An HTTP server that remembers the first line of the last request.
struct Backend {
    port: u16,
    heard: Arc<Mutex<Option<String>>>,
    _serving: JoinSet<()>,
}

impl Backend {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let heard = Arc::<Mutex<Option<String>>>::default();
        let mut serving = JoinSet::new();
        let port = listener.local_addr()?.port();
        let all = Arc::clone(&heard);
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(answer(stream, Arc::clone(&all)));
            }
        });
        Ok(Self {
            port,
            heard,
            _serving: serving,
        })
    }

    /// Fails unless the API server got the very bytes that were sent, and so did with them what it does without the tunnel.
    async fn compare(&self, ring: &Ring, base: &str) -> Result<()> {
        for http in [Http::One, Http::Two] {
            let (direct, tunnel) = (ring.direct(http)?, ring.client(http)?);
            for tail in TAILS {
                let expected = self.ask(&direct, base, tail).await?;
                assert!(matches!(expected, (200, Some(_))), "{tail}: {expected:?}");
                let heard = self.ask(&tunnel, base, tail).await?;
                assert_eq!(heard, expected, "{http:?} {tail}");
            }
        }
        for tail in TAILS {
            let uri = format!("{base}{tail}");
            let ours = |event: &AuditEvent| event.impersonated_user.is_some() && event.uri == uri;
            ring.cluster.audited(ours).await.context(*tail)?;
        }
        Ok(())
    }

    /// The status, and what the backend heard if the API server asked it.
    async fn ask(&self, client: &Client, base: &str, tail: &str) -> Result<(u16, Option<String>)> {
        self.heard.lock().unwrap().take();
        let response = client.get(&format!("{base}{tail}")).await?;
        Ok((
            response.status().as_u16(),
            self.heard.lock().unwrap().take(),
        ))
    }

    fn last(&self) -> Result<String> {
        self.heard
            .lock()
            .unwrap()
            .take()
            .context("the backend heard nothing")
    }
}

async fn answer(mut stream: TcpStream, heard: Arc<Mutex<Option<String>>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(&mut stream);
    let mut first = String::new();
    reader.read_line(&mut first).await?;
    let mut line = String::new();
    while reader.read_line(&mut line).await? > 2 {
        line.clear();
    }
    *heard.lock().unwrap() = Some(first);
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nheard")
        .await
}
