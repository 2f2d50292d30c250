//! A refusal as Kubernetes clients understand it: `metav1.Status`.

use http::StatusCode;
use serde::Serialize;

/// A `metav1.Status` of failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    code: StatusCode,
    message: String,
    retry_after: Option<u32>,
    request_id: Option<String>,
}

impl Status {
    /// The content type of [`Self::to_json`].
    pub const CONTENT_TYPE: &str = "application/json";

    /// A failure: what happened and what to do about it, in a sentence.
    #[must_use]
    pub fn new(code: StatusCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after: None,
            request_id: None,
        }
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Names the request, so that who reports it and who reads the logs mean the same.
    #[must_use]
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = Some(id.into());
        self
    }

    /// The status code.
    #[must_use]
    pub fn code(&self) -> StatusCode {
        self.code
    }

    /// What Kubernetes calls this status code; clients act on it.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self.code {
            StatusCode::BAD_REQUEST => "BadRequest",
            StatusCode::UNAUTHORIZED => "Unauthorized",
            StatusCode::FORBIDDEN => "Forbidden",
            StatusCode::NOT_FOUND => "NotFound",
            StatusCode::METHOD_NOT_ALLOWED => "MethodNotAllowed",
            StatusCode::NOT_ACCEPTABLE => "NotAcceptable",
            StatusCode::CONFLICT => "Conflict",
            StatusCode::GONE => "Gone",
            StatusCode::PAYLOAD_TOO_LARGE => "RequestEntityTooLarge",
            StatusCode::UNSUPPORTED_MEDIA_TYPE => "UnsupportedMediaType",
            StatusCode::UNPROCESSABLE_ENTITY => "Invalid",
            StatusCode::TOO_MANY_REQUESTS => "TooManyRequests",
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "RequestHeaderFieldsTooLarge",
            StatusCode::BAD_GATEWAY => "BadGateway",
            StatusCode::SERVICE_UNAVAILABLE => "ServiceUnavailable",
            StatusCode::GATEWAY_TIMEOUT => "Timeout",
            _ => "InternalError",
        }
    }

    /// The message alone, with the request id.
    #[must_use]
    pub fn to_text(&self) -> String {
        match &self.request_id {
            Some(id) => format!("{} (request {id})", self.message),
            None => self.message.clone(),
        }
    }

    /// The JSON text. The request id stands in the message, which clients print, and in `details`, for programs.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let cause = self.request_id.as_deref().map(|id| Cause {
            reason: "RequestID",
            message: id,
        });
        let message = self.to_text();
        let json = Json {
            kind: "Status",
            api_version: "v1",
            metadata: Metadata {},
            status: "Failure",
            message: &message,
            reason: self.reason(),
            details: Details {
                causes: cause.as_slice(),
                retry_after_seconds: self.retry_after,
            },
            code: self.code.as_u16(),
        };
        serde_json::to_vec(&json).expect("a struct of strings and numbers has a JSON form")
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json<'a> {
    kind: &'a str,
    api_version: &'a str,
    metadata: Metadata,
    status: &'a str,
    message: &'a str,
    reason: &'a str,
    #[serde(skip_serializing_if = "Details::is_empty")]
    details: Details<'a>,
    code: u16,
}

#[derive(Serialize)]
struct Metadata {}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Details<'a> {
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    causes: &'a [Cause<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<u32>,
}

impl Details<'_> {
    fn is_empty(&self) -> bool {
        self.causes.is_empty() && self.retry_after_seconds.is_none()
    }
}

#[derive(Serialize)]
struct Cause<'a> {
    reason: &'a str,
    message: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_what_clients_expect() {
        let status = Status::new(StatusCode::SERVICE_UNAVAILABLE, "agent p:a is \"away\"")
            .retry_after(5)
            .request_id("r1");
        assert_eq!(
            String::from_utf8(status.to_json()).unwrap(),
            concat!(
                r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","#,
                r#""message":"agent p:a is \"away\" (request r1)","reason":"ServiceUnavailable","#,
                r#""details":{"causes":[{"reason":"RequestID","message":"r1"}],"retryAfterSeconds":5},"code":503}"#
            )
        );
        assert_eq!(status.to_text(), "agent p:a is \"away\" (request r1)");
        let plain =
            String::from_utf8(Status::new(StatusCode::FORBIDDEN, "no rule").to_json()).unwrap();
        assert_eq!(
            plain,
            concat!(
                r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","#,
                r#""message":"no rule","reason":"Forbidden","code":403}"#
            )
        );
    }
}
