//! What the stand-in answers.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::{Handler, Mode, State, json_response};
use crate::deadline::within;

pub(super) async fn accept(listener: TcpListener, tls: TlsAcceptor, state: Arc<State>) {
    // Dropped with this future, and with it every connection.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // Out of file descriptors or reset before accept: the next one may do.
                let Ok((stream, _)) = accepted else { continue };
                connections.spawn(serve(stream, tls.clone(), Arc::clone(&state)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, tls: TlsAcceptor, state: Arc<State>) {
    let Ok(Ok(stream)) = within("TLS handshake", tls.accept(stream)).await else {
        return;
    };
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let state = Arc::clone(&state);
        async move {
            let (parts, _) = request.into_parts();
            let response = answer(&state, &parts).await;
            Ok::<_, Infallible>(response.map(Full::new))
        }
    });
    let server = auto::Builder::new(TokioExecutor::new());
    // A client that goes away is none of a test's business.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(state: &State, request: &Parts) -> Response<Bytes> {
    let path = request.uri.path();
    let (mode, handler) = state.note(path);
    match mode {
        Mode::Hang => std::future::pending().await,
        Mode::Garbage(text) => Response::new(Bytes::from_static(text.as_bytes())),
        Mode::Status(code) => {
            let code = StatusCode::from_u16(code).unwrap();
            json_response(code, &json!({"message": "stand-in"}))
        }
        Mode::Page(code) => {
            let mut page = Response::new(Bytes::from_static(b"<html>no</html>"));
            *page.status_mut() = StatusCode::from_u16(code).unwrap();
            page
        }
        Mode::Good => match handler {
            Some(handler) => handler(request),
            None => state.own_answer(path),
        },
    }
}

impl State {
    fn note(&self, path: &str) -> (Mode, Option<Handler>) {
        let mut now = self.now.lock().unwrap();
        *now.asked.entry(path.to_owned()).or_default() += 1;
        (now.mode.clone(), now.handlers.get(path).cloned())
    }

    fn own_answer(&self, path: &str) -> Response<Bytes> {
        if path == "/.well-known/openid-configuration" {
            json_response(StatusCode::OK, &self.document())
        } else if path == self.keys_path {
            let now = self.now.lock().unwrap();
            let keys: Vec<&Value> = now.keys.iter().map(|key| key.jwk()).collect();
            json_response(StatusCode::OK, &json!({"keys": keys}))
        } else {
            json_response(StatusCode::NOT_FOUND, &json!({"message": "404 Not Found"}))
        }
    }

    fn document(&self) -> Value {
        let mut document = json!({
            "issuer": self.url,
            "jwks_uri": format!("{}{}", self.url, self.keys_path),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        });
        let now = self.now.lock().unwrap();
        for (name, value) in now.document.as_object().into_iter().flatten() {
            document[name] = value.clone();
        }
        document
    }
}
