//! What runs both ways at once: exec, attach, port-forward, cp, each over WebSocket and over SPDY; and logs.

mod attach;
mod cancel;
mod copy;
mod exec;
mod fallback;
mod forward;
mod idle;
mod logs;

use anyhow::Result;
use ci_tunnel_tests::cluster::Kubectl;
use tokio::process::Command;

use crate::ring::{Ring, USER};

/// How kubectl carries its streams.
#[derive(Debug, Clone, Copy)]
enum Wire {
    WebSocket,
    Spdy,
}

impl Wire {
    /// The command with kubectl's switches set for this wire.
    fn command(self, kubectl: &Kubectl, args: &[&str]) -> Command {
        let mut command = kubectl.command(args);
        let web_sockets = match self {
            Self::WebSocket => "true",
            Self::Spdy => "false",
        };
        command
            .env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", web_sockets)
            .env("KUBECTL_PORT_FORWARD_WEBSOCKETS", web_sockets);
        command
    }

    /// Fails unless the stream went over this wire, as the API server and our server wrote down.
    async fn was_used(self, ring: &Ring, namespace: &str, subresource: &str) -> Result<()> {
        let path = format!("/api/v1/namespaces/{namespace}/pods/web/{subresource}");
        let (verb, upgrade) = match self {
            Self::WebSocket => ("get", "websocket"),
            Self::Spdy => ("create", "SPDY/3.1"),
        };
        let event = ring
            .cluster
            .audited(|event| event.uri.split('?').next() == Some(&path) && event.verb == verb)
            .await?;
        let user = event.impersonated_user.unwrap_or_default();
        assert_eq!(user.username, USER);
        let ours = |line: &serde_json::Value| line["path"] == path && line["upgrade"] == upgrade;
        let line = ring.tunnel.audited(ours).await?;
        assert_eq!(line["status"], 101, "{line}");
        Ok(())
    }
}
