//! A scripted API server for tests: raw HTTP/1.1, cleartext or TLS, on a port of its own.

use std::path::Path;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use super::credentials::{Credentials, Source};
use super::{Settings, SocketBuffers, Upstream, kubeconfig};

/// Instead of an answer: none, until the client closes.
pub(crate) const STALL: &str = "stall";

/// What one connection answers, request by request; then it closes.
pub(crate) type Script = Vec<&'static str>;

pub(crate) struct Scripted {
    pub(crate) port: u16,
    seen: Arc<Seen>,
    _serving: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Seen {
    heads: Mutex<Vec<String>>,
    head: Notify,
    closed: Notify,
}

impl Scripted {
    /// The first connection follows the first script, and so on; there are no more connections than scripts.
    pub(crate) async fn start(scripts: Vec<Script>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Seen::default());
        let watched = Arc::clone(&seen);
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            for script in scripts {
                let (stream, _) = listener.accept().await.unwrap();
                let (seen, tls) = (Arc::clone(&watched), tls.clone());
                connections.spawn(async move {
                    match tls {
                        // A client that does not trust us leaves in the handshake.
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                follow(stream, script, seen).await
                            }
                        }
                        None => follow(stream, script, seen).await,
                    }
                });
            }
            drop(listener);
            connections.join_all().await;
        });
        Self {
            port,
            seen,
            _serving: AbortOnDropHandle::new(serving),
        }
    }

    /// The request heads so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.seen.heads.lock().unwrap().clone()
    }

    /// Waits for a request head that was not waited for before.
    pub(crate) async fn next_head(&self) {
        self.seen.head.notified().await;
    }

    /// Waits for a client that closes its connection before the script's end.
    pub(crate) async fn closed(&self) {
        self.seen.closed.notified().await;
    }

    /// An upstream that reaches it in cleartext, by a kubeconfig in `dir`.
    pub(crate) async fn upstream(&self, dir: &Path) -> Arc<Upstream> {
        let file = dir.join("kubeconfig");
        let text = kubeconfig_text(
            &format!("http://127.0.0.1:{}", self.port),
            "",
            "{token: t0ken}",
        );
        std::fs::write(&file, text).unwrap();
        upstream(Source::Kubeconfig(kubeconfig::Selection {
            file,
            context: None,
        }))
        .await
    }
}

pub(crate) async fn upstream(source: Source) -> Arc<Upstream> {
    let settings = Settings {
        max_idle: 4,
        buffers: SocketBuffers::default(),
    };
    Upstream::new(Credentials::load(source).await.unwrap(), settings)
}

pub(crate) fn kubeconfig_text(server: &str, cluster: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
         contexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n\
         clusters: [{{name: k, cluster: {{server: '{server}', {cluster}}}}}]\n\
         users: [{{name: u, user: {user}}}]\n"
    )
}

/// An authority, a server for 127.0.0.1 with a certificate of it, and a client's certificate and key.
pub(crate) struct Pki {
    pub(crate) authority: String,
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) client: (String, String),
}

pub(crate) fn pki(clients_must_show: bool) -> Pki {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let signed = |names: &[&str]| {
        let key = KeyPair::generate().unwrap();
        let names = names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let certificate = CertificateParams::new(names).unwrap();
        (certificate.signed_by(&key, &issuer).unwrap(), key)
    };
    let (server, server_key) = signed(&["127.0.0.1"]);
    let (client, client_key) = signed(&["agent"]);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots));
    let verifier = if clients_must_show {
        verifier
    } else {
        verifier.allow_unauthenticated()
    };
    let mut config = rustls::ServerConfig::builder()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![server.der().clone()],
            PrivateKeyDer::try_from(server_key.serialize_der()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Pki {
        authority: authority.pem(),
        acceptor: TlsAcceptor::from(Arc::new(config)),
        client: (client.pem(), client_key.serialize_pem()),
    }
}

async fn follow<T: AsyncRead + AsyncWrite + Unpin>(mut stream: T, script: Script, seen: Arc<Seen>) {
    for answer in script {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return seen.closed.notify_one(),
            }
        }
        seen.heads
            .lock()
            .unwrap()
            .push(String::from_utf8(head).unwrap());
        seen.head.notify_one();
        if answer == STALL {
            let mut rest = Vec::new();
            // A reset is an end too.
            let _ = stream.read_to_end(&mut rest).await;
            return seen.closed.notify_one();
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        if answer.starts_with("HTTP/1.1 101") {
            // Raw from here on: what comes goes back.
            let (mut from, mut to) = tokio::io::split(stream);
            let _ = tokio::io::copy(&mut from, &mut to).await;
            let _ = to.shutdown().await;
            return;
        }
    }
}
