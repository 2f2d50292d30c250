//! Where the server is: a host and a port, and a useful answer to what people write instead.

use std::fmt;
use std::str::FromStr;

/// The port of a server's listener for agents.
pub const DEFAULT_PORT: u16 = 8155;

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{text:?} is a URL: write {remedy:?}")]
    Url { text: String, remedy: String },
    #[error("{text:?} ends with a path: write {remedy:?}")]
    Path { text: String, remedy: String },
    #[error("{0:?} is an IPv6 address without brackets: write it as [::1]:{DEFAULT_PORT}")]
    BareIpv6(String),
    #[error("{0:?} has no port from 1 to 65535 behind its colon")]
    Port(String),
    #[error("{0:?} names no host: write host:port, as tunnel.example.com:{DEFAULT_PORT}")]
    Host(String),
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if let Some((_, rest)) = text.split_once("://") {
            let remedy = rest.split(['/', '?']).next().unwrap_or_default().to_owned();
            return Err(Error::Url {
                text: text.to_owned(),
                remedy,
            });
        }
        if let Some((address, _)) = text.split_once('/') {
            return Err(Error::Path {
                text: text.to_owned(),
                remedy: address.to_owned(),
            });
        }
        let (host, port) = split(text)?;
        let port = match port {
            None => DEFAULT_PORT,
            Some(port) => port
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or_else(|| Error::Port(text.to_owned()))?,
        };
        let plain = |char: char| char.is_ascii_alphanumeric() || "-._:%".contains(char);
        if host.is_empty() || !host.chars().all(plain) {
            return Err(Error::Host(text.to_owned()));
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

fn split(text: &str) -> Result<(&str, Option<&str>), Error> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest
            .split_once(']')
            .ok_or_else(|| Error::Host(text.to_owned()))?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(Error::Port(text.to_owned())),
        };
    }
    match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => Err(Error::BareIpv6(text.to_owned())),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((text, None)),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: &str, port: u16) -> Address {
        Address {
            host: host.to_owned(),
            port,
        }
    }

    #[test]
    fn reads_hosts_and_ports() {
        for (text, expected) in [
            ("tunnel.example.com", address("tunnel.example.com", 8155)),
            ("tunnel.example.com:443", address("tunnel.example.com", 443)),
            ("10.0.0.1:1", address("10.0.0.1", 1)),
            ("[2001:db8::1]:8155", address("2001:db8::1", 8155)),
            ("[::1]", address("::1", 8155)),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn refuses_with_the_remedy() {
        for (text, part) in [
            ("https://t.example.com:8155", "write \"t.example.com:8155\""),
            ("https://t.example.com/", "write \"t.example.com\""),
            ("t.example.com:8155/", "write \"t.example.com:8155\""),
            ("t.example.com/agent", "write \"t.example.com\""),
            ("::1", "brackets"),
            ("t.example.com:0", "port"),
            ("t.example.com:http", "port"),
            ("", "host"),
            (":8155", "host"),
            ("a b", "host"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
