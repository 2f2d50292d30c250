//! What the origin answers that does not end by itself: watches, and upgrades that echo.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::payload::Payload;

/// The body of a watch: an event as often as it is asked for, or never.
#[derive(Debug)]
pub struct Events {
    due: Option<Interval>,
}

/// How long an event is, its newline included.
const EVENT: usize = 200;
/// The kind of upgrade that kubectl's exec asks for first.
pub const PROTOCOL: HeaderValue = HeaderValue::from_static("SPDY/3.1");

impl Events {
    /// One each `period`; zero is never.
    pub(super) fn each(period: Duration) -> Self {
        let due = (!period.is_zero()).then(|| {
            let mut due = interval(period);
            due.set_missed_tick_behavior(MissedTickBehavior::Delay);
            due
        });
        Self { due }
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        // Whoever never has an event is woken when its connection ends.
        let Some(due) = &mut self.due else {
            return Poll::Pending;
        };
        due.poll_tick(context)
            .map(|_| Some(Ok(Frame::data(event()))))
    }
}

/// A line that says when it was written, in nanoseconds since 1970.
fn event() -> Bytes {
    let head = format!(r#"{{"at":"{}","text":""#, now());
    let fill = EVENT - head.len() - 3;
    Bytes::from(format!("{head}{}\"}}\n", "x".repeat(fill)))
}

/// How long ago an event was written.
///
/// # Errors
/// It is none of [`Events`]'.
pub fn age(line: &[u8]) -> anyhow::Result<Duration> {
    let event: serde_json::Value = serde_json::from_slice(line)?;
    let at: u128 = event["at"].as_str().unwrap_or_default().parse()?;
    let nanoseconds = now().saturating_sub(at);
    Ok(Duration::from_nanos(
        u64::try_from(nanoseconds).unwrap_or(u64::MAX),
    ))
}

fn now() -> u128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos())
}

/// Switches protocols, and sends back whatever comes.
pub(super) fn echo(request: Request<Incoming>) -> Response<Payload> {
    let asked = request.headers().get(UPGRADE).cloned();
    let mut response = Response::new(Payload::empty());
    let Some(asked) = asked.filter(|asked| *asked == PROTOCOL) else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    };
    tokio::spawn(async move {
        // A client that leaves is no news here.
        let upgraded = hyper::upgrade::on(request).await.ok()?;
        let mut stream = TokioIo::new(upgraded);
        let mut buffer = [0; 4096];
        loop {
            let length = stream.read(&mut buffer).await.ok()?;
            if length == 0 {
                return stream.shutdown().await.ok();
            }
            stream.write_all(&buffer[..length]).await.ok()?;
        }
    });
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, asked);
    response
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    #[test]
    fn events_are_lines_that_tell_their_age() {
        let event = super::event();
        assert_eq!(event.len(), super::EVENT);
        assert!(event.ends_with(b"\n"));
        assert!(super::age(&event).unwrap() < Duration::from_secs(60));
        assert!(super::age(b"{}\n").is_err());
    }
}
