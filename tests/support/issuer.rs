//! A stand-in for a CI system as an issuer of ID tokens: a GitLab or a GitHub with real TLS, keys that can be rotated and
//! withdrawn, outages, and a count of what it was asked.
//!
//! ```no_run
//! # async fn test() -> anyhow::Result<()> {
//! # use ci_tunnel_tests::issuer::{Issuer, Mode};
//! let gitlab = Issuer::gitlab().await?;
//! let token = gitlab.token().with("ref", "feature").sign();
//! gitlab.rotate()?;
//! gitlab.set_mode(Mode::Status(500));
//! assert_eq!(gitlab.asked("/oauth/discovery/keys"), 0);
//! # Ok(()) }
//! ```

mod claims;
pub mod jobs;
mod key;
mod serve;
#[cfg(test)]
mod tests;
mod token;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

pub use self::key::Key;
pub use self::token::Token;
use crate::pki::Authority;

/// The audience that [`Issuer::token`] names and [`Issuer::provider`] expects.
pub const AUDIENCE: &str = "https://ci-tunnel.example.com";

/// A running stand-in; it stops when dropped.
pub struct Issuer {
    kind: Kind,
    addr: SocketAddr,
    ca_pem: String,
    tls: TlsAcceptor,
    state: Arc<State>,
    accepting: JoinSet<()>,
}

/// Whose tokens it issues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Gitlab,
    Github,
}

/// What it does with requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    Good,
    /// Answers everything with these bytes.
    Garbage(&'static str),
    /// Takes requests and never answers.
    Hang,
    /// Answers everything with this code.
    Status(u16),
    /// The same with a page for people, as what stands before a CI system does.
    Page(u16),
}

/// Answers a path in the place of the stand-in itself.
pub type Handler = Arc<dyn Fn(&Parts) -> Response<Bytes> + Send + Sync>;

/// What all connections share.
struct State {
    url: String,
    keys_path: &'static str,
    now: Mutex<Now>,
}

/// What can change.
struct Now {
    mode: Mode,
    /// The first signs.
    keys: Vec<Arc<Key>>,
    /// Put over what the discovery document says.
    document: Value,
    asked: HashMap<String, usize>,
    handlers: HashMap<String, Handler>,
}

impl Issuer {
    pub async fn gitlab() -> Result<Self> {
        Self::start(Kind::Gitlab).await
    }

    pub async fn github() -> Result<Self> {
        Self::start(Kind::Github).await
    }

    pub async fn start(kind: Kind) -> Result<Self> {
        let authority = Authority::new("stand-in issuer")?;
        let tls = authority
            .local_server()?
            .server_config(&["h2", "http/1.1"])?;
        let tls = TlsAcceptor::from(tls);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("listening as an issuer")?;
        let addr = listener.local_addr()?;
        let state = Arc::new(State {
            url: format!("https://{addr}"),
            keys_path: match kind {
                Kind::Gitlab => "/oauth/discovery/keys",
                Kind::Github => "/.well-known/jwks",
            },
            now: Mutex::new(Now {
                mode: Mode::Good,
                keys: vec![Arc::new(Key::rsa()?)],
                document: json!({}),
                asked: HashMap::new(),
                handlers: HashMap::new(),
            }),
        });
        let mut accepting = JoinSet::new();
        accepting.spawn(serve::accept(listener, tls.clone(), Arc::clone(&state)));
        Ok(Self {
            kind,
            addr,
            ca_pem: authority.ca_pem(),
            tls,
            state,
            accepting,
        })
    }

    /// Its address, which is its `iss` too.
    pub fn url(&self) -> &str {
        &self.state.url
    }

    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Writes its authority to a file of its own in `directory`.
    pub fn ca_file(&self, directory: &Path) -> Result<PathBuf> {
        let file = directory.join(format!("issuer-{}.pem", self.addr.port()));
        std::fs::write(&file, &self.ca_pem)
            .with_context(|| format!("writing {}", file.display()))?;
        Ok(file)
    }

    /// An entry of `authn.providers` that takes its word, as JSON. `ca_file` is from [`Self::ca_file`].
    pub fn provider(&self, name: &str, ca_file: &Path) -> Value {
        let kind = match self.kind {
            Kind::Gitlab => "gitlab",
            Kind::Github => "github",
        };
        json!({
            "name": name,
            "type": kind,
            "url": self.url(),
            "ca_file": ca_file,
            "oidc": {"audiences": [AUDIENCE]},
        })
    }

    /// A token of a usual job, to be changed and signed.
    pub fn token(&self) -> Token {
        let claims = match self.kind {
            Kind::Gitlab => claims::gitlab(self.url()),
            Kind::Github => claims::github(self.url()),
        };
        Token::new(claims, self.key())
    }

    /// The key that signs now.
    pub fn key(&self) -> Arc<Key> {
        Arc::clone(&self.state.now.lock().unwrap().keys[0])
    }

    /// Signs with a new key from now on. The old ones are still published.
    pub fn rotate(&self) -> Result<()> {
        self.add_key(Key::rsa()?);
        Ok(())
    }

    /// Signs with this key from now on. The old ones are still published.
    pub fn add_key(&self, key: Key) {
        self.state.now.lock().unwrap().keys.insert(0, Arc::new(key));
    }

    /// Publishes this key no longer.
    pub fn withdraw(&self, kid: &str) {
        let mut now = self.state.now.lock().unwrap();
        now.keys.retain(|key| key.kid() != kid);
    }

    /// Puts these members over those of the discovery document.
    pub fn set_document(&self, document: Value) {
        self.state.now.lock().unwrap().document = document;
    }

    pub fn set_mode(&self, mode: Mode) {
        self.state.now.lock().unwrap().mode = mode;
    }

    /// How often this path was asked for, whatever came of it.
    pub fn asked(&self, path: &str) -> usize {
        let now = self.state.now.lock().unwrap();
        now.asked.get(path).copied().unwrap_or_default()
    }

    /// How often its keys were asked for.
    pub fn keys_asked(&self) -> usize {
        self.asked(self.state.keys_path)
    }

    /// Answers this path so from now on; the mode counts still.
    pub fn on(
        &self,
        path: &str,
        handler: impl Fn(&Parts) -> Response<Bytes> + Send + Sync + 'static,
    ) {
        let mut now = self.state.now.lock().unwrap();
        now.handlers.insert(path.to_owned(), Arc::new(handler));
    }

    /// Ends it, with all its connections: its address refuses connections when this returns.
    pub async fn stop(&mut self) {
        self.accepting.shutdown().await;
    }

    /// Begins again at the same address, with the same certificate and keys.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await;
        let listener = TcpListener::bind(self.addr)
            .await
            .context("listening again")?;
        let accept = serve::accept(listener, self.tls.clone(), Arc::clone(&self.state));
        self.accepting.spawn(accept);
        Ok(())
    }
}

/// An answer of JSON.
pub fn json_response(status: StatusCode, value: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(value.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    response
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer")
            .field("kind", &self.kind)
            .field("url", &self.url())
            .finish_non_exhaustive()
    }
}
