//! Requests against a scripted API server.

use std::path::Path;

use base64::Engine;
use ci_tunnel::protocol::head::Cause;

use super::credentials::Source;
use super::incluster::{HOST_VARIABLE, PORT_VARIABLE, ServiceAccount};
use super::testing::{Scripted, kubeconfig_text, pki, upstream};
use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const REFUSED: &str = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";
const DEADLINE: Duration = Duration::from_secs(20);

async fn get(upstream: &Arc<Upstream>) -> Result<StatusCode, Error> {
    let answer = upstream
        .ask(Method::GET, "/api?x=%2F&y", None, DEADLINE)
        .await?;
    Ok(answer.status())
}

fn mounted(dir: &Path, token: &str, ca: &str, port: u16) -> Source {
    std::fs::write(dir.join("token"), token).unwrap();
    std::fs::write(dir.join("ca.crt"), ca).unwrap();
    let variable = |name: &str| match name {
        HOST_VARIABLE => Some("127.0.0.1".to_owned()),
        PORT_VARIABLE => Some(port.to_string()),
        _ => None,
    };
    Source::InCluster(ServiceAccount::find(dir, variable).unwrap())
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let server = Scripted::start(vec![vec![OK, OK, OK]], None).await;
    let upstream = server.upstream(dir.path()).await;
    for _ in 0..3 {
        assert_eq!(get(&upstream).await.unwrap(), StatusCode::OK);
    }
    assert_eq!(
        (
            upstream.counters().dials.get(),
            upstream.counters().reused.get()
        ),
        (1, 2)
    );
    let head = &server.heads()[0];
    assert!(head.starts_with("GET /api?x=%2F&y HTTP/1.1\r\n"), "{head}");
    assert!(
        head.contains(&format!("host: 127.0.0.1:{}\r\n", server.port)),
        "{head}"
    );
    assert!(head.contains("authorization: Bearer t0ken\r\n"), "{head}");
}

#[tokio::test]
async fn a_connection_that_died_in_the_pool_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let server = Scripted::start(vec![vec![OK], vec![OK]], None).await;
    let upstream = server.upstream(dir.path()).await;
    assert_eq!(get(&upstream).await.unwrap(), StatusCode::OK);
    assert_eq!(get(&upstream).await.unwrap(), StatusCode::OK);
    assert_eq!(upstream.counters().dials.get(), 2);
}

#[tokio::test]
async fn a_request_with_a_body_is_never_sent_twice() {
    let dir = tempfile::tempdir().unwrap();
    // The first connection takes a second request and closes without an answer.
    let server = Scripted::start(vec![vec![OK, ""], vec![OK]], None).await;
    let upstream = server.upstream(dir.path()).await;
    assert_eq!(get(&upstream).await.unwrap(), StatusCode::OK);
    let post = upstream
        .ask(
            Method::POST,
            "/api",
            Some(Bytes::from_static(b"{}")),
            DEADLINE,
        )
        .await;
    assert_eq!(post.unwrap_err().cause(), Cause::Unreachable);
    assert_eq!(server.heads().len(), 2);
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    let redirect =
        "HTTP/1.1 302 Found\r\nLocation: http://evil.example.com/\r\nContent-Length: 0\r\n\r\n";
    let server = Scripted::start(vec![vec![redirect]], None).await;
    assert_eq!(
        get(&server.upstream(dir.path()).await).await.unwrap(),
        StatusCode::FOUND
    );
}

#[tokio::test]
async fn tls_trusts_the_mounted_authority_and_follows_it() {
    let dir = tempfile::tempdir().unwrap();
    let (own, other) = (pki(false), pki(false));
    let server = Scripted::start(vec![vec![OK], vec![OK]], Some(own.acceptor)).await;
    let upstream = upstream(mounted(dir.path(), "one\n", &other.authority, server.port)).await;
    let error = get(&upstream).await.unwrap_err();
    assert_eq!(error.cause(), Cause::Untrusted, "{error}");
    mounted(dir.path(), "two", &own.authority, server.port);
    upstream.credentials.look_again();
    assert_eq!(get(&upstream).await.unwrap(), StatusCode::OK);
    assert!(server.heads()[0].contains("authorization: Bearer two\r\n"));
}

#[tokio::test]
async fn a_kubeconfig_brings_authority_and_client_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let pki = pki(true);
    let server = Scripted::start(vec![vec![OK]], Some(pki.acceptor)).await;
    std::fs::write(dir.path().join("ca.crt"), &pki.authority).unwrap();
    let data = |pem: &str| base64::engine::general_purpose::STANDARD.encode(pem);
    let (certificate, key) = (data(&pki.client.0), data(&pki.client.1));
    let user = format!("{{client-certificate-data: {certificate}, client-key-data: {key}}}");
    let address = format!("https://127.0.0.1:{}", server.port);
    let file = dir.path().join("kubeconfig");
    std::fs::write(
        &file,
        kubeconfig_text(&address, "certificate-authority: ca.crt", &user),
    )
    .unwrap();
    let upstream = upstream(Source::Kubeconfig(kubeconfig::Selection {
        file,
        context: None,
    }))
    .await;
    assert_eq!(get(&upstream).await.unwrap(), StatusCode::OK);
    assert!(!server.heads()[0].contains("authorization"));
}

#[tokio::test]
async fn a_refused_token_is_read_again_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let pki = pki(false);
    let server = Scripted::start(
        vec![vec![OK, REFUSED], vec![OK, REFUSED]],
        Some(pki.acceptor),
    )
    .await;
    let upstream = upstream(mounted(dir.path(), "old", &pki.authority, server.port)).await;
    assert_eq!(get(&upstream).await.unwrap(), StatusCode::OK);
    std::fs::write(dir.path().join("token"), "newer").unwrap();
    // The first answer may be to either token: which one depends on how long ago the files were looked at.
    let status = get(&upstream).await.unwrap();
    let heads = server.heads();
    assert!(heads.last().unwrap().contains("Bearer newer"), "{heads:?}");
    if heads.len() == 3 {
        assert_eq!(status, StatusCode::OK);
        assert_eq!(
            get(&upstream).await.unwrap(),
            StatusCode::UNAUTHORIZED,
            "nothing new: the answer is the answer"
        );
    }
}

#[tokio::test]
async fn failures_say_what_failed() {
    let dir = tempfile::tempdir().unwrap();
    let server = Scripted::start(vec![], None).await;
    let upstream = server.upstream(dir.path()).await;
    let listener_gone = get(&upstream).await.unwrap_err();
    assert_eq!(listener_gone.cause(), Cause::Unreachable);
    assert!(
        listener_gone
            .to_string()
            .contains(&format!("127.0.0.1:{}", server.port)),
        "{listener_gone}"
    );
}

#[tokio::test]
async fn kubeconfigs_are_refused_with_field_and_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("kubeconfig");
    for (cluster, user, part) in [
        (
            "insecure-skip-tls-verify: true",
            "{token: t}",
            "insecure-skip-tls-verify",
        ),
        ("proxy-url: 'http://p'", "{token: t}", "proxy-url"),
        ("", "{username: u, password: hunter2}", "username"),
        ("", "{token: t, as: admin}", "as"),
        ("", "{tokenFile: /nowhere}", "tokenFile"),
        ("certificate-authority: /nowhere", "{token: t}", "/nowhere"),
        (
            "",
            "{exec: {apiVersion: client.authentication.k8s.io/v1, command: 'false', interactiveMode: Never}}",
            "plugin",
        ),
    ] {
        std::fs::write(
            &file,
            kubeconfig_text("https://127.0.0.1:6443", cluster, user),
        )
        .unwrap();
        let selection = kubeconfig::Selection {
            file: file.clone(),
            context: None,
        };
        let error = Credentials::load(Source::Kubeconfig(selection))
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(part) && !error.contains("hunter2"),
            "{part}: {error}"
        );
    }
}

#[tokio::test]
async fn an_unreadable_kubeconfig_is_not_quoted() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("kubeconfig");
    std::fs::write(&file, "users: [{name: u, user: {token: [hunter2]}}]").unwrap();
    let selection = kubeconfig::Selection {
        file: file.clone(),
        context: None,
    };
    let error = Credentials::load(Source::Kubeconfig(selection)).await;
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("line") && !error.contains("hunter2"),
        "{error}"
    );
    std::fs::write(&file, kubeconfig_text("https://127.0.0.1:6443", "", "{}")).unwrap();
    let selection = kubeconfig::Selection {
        file: file.clone(),
        context: Some("x".to_owned()),
    };
    let error = Credentials::load(Source::Kubeconfig(selection))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("no context \"x\"") && error.contains("kubeconfig"),
        "{error}"
    );
}

#[tokio::test]
async fn a_plugin_gives_the_token() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("kubeconfig");
    let server = Scripted::start(vec![vec![OK]], None).await;
    let answer = r#"{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "from-plugin"}}"#;
    let user = format!(
        "{{exec: {{apiVersion: client.authentication.k8s.io/v1, command: echo, args: ['{answer}'], interactiveMode: Never}}}}"
    );
    std::fs::write(
        &file,
        kubeconfig_text(
            &format!("http://127.0.0.1:{}/prefix/", server.port),
            "",
            &user,
        ),
    )
    .unwrap();
    let upstream = upstream(Source::Kubeconfig(kubeconfig::Selection {
        file,
        context: None,
    }))
    .await;
    assert_eq!(get(&upstream).await.unwrap(), StatusCode::OK);
    let head = &server.heads()[0];
    assert!(
        head.starts_with("GET /prefix/api?")
            && head.contains("authorization: Bearer from-plugin\r\n"),
        "{head}"
    );
}
