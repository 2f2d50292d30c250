//! Where the API server is.

use std::fmt;

use http::HeaderValue;

/// The one API server. Fixed for the life of the process: the agent dials nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub host: String,
    pub port: u16,
    /// The name that the certificate must carry; `None` for cleartext.
    pub server_name: Option<String>,
    /// What stands before every path, without a slash at its end.
    pub prefix: String,
    /// The value of the `Host` header.
    pub(super) host_header: HeaderValue,
}

impl Endpoint {
    /// `None` when the host can not stand in a header, and so is none.
    pub fn new(
        host: String,
        port: u16,
        server_name: Option<String>,
        prefix: String,
    ) -> Option<Self> {
        let usual = if server_name.is_some() { 443 } else { 80 };
        let bracketed = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.clone()
        };
        let authority = if port == usual {
            bracketed
        } else {
            format!("{bracketed}:{port}")
        };
        let host_header = HeaderValue::try_from(authority).ok()?;
        Some(Self {
            host,
            port,
            server_name,
            prefix,
            host_header,
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.server_name.is_some() {
            "https"
        } else {
            "http"
        };
        let authority = String::from_utf8_lossy(self.host_header.as_bytes());
        write!(f, "{scheme}://{authority}{}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_as_in_a_url() {
        for (host, port, tls, prefix, text) in [
            ("10.96.0.1", 443, true, "", "https://10.96.0.1"),
            ("10.96.0.1", 6443, true, "", "https://10.96.0.1:6443"),
            ("fd00::1", 443, true, "", "https://[fd00::1]"),
            (
                "localhost",
                8001,
                false,
                "/k8s/c-1",
                "http://localhost:8001/k8s/c-1",
            ),
        ] {
            let name = tls.then(|| host.to_owned());
            let endpoint = Endpoint::new(host.to_owned(), port, name, prefix.to_owned()).unwrap();
            assert_eq!(endpoint.to_string(), text);
        }
        assert_eq!(
            Endpoint::new("a\r\nb".to_owned(), 443, None, String::new()),
            None
        );
    }
}
