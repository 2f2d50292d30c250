//! A TLS connection on which a test writes exactly the bytes it wants, and reads HTTP/1.1 answers.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::deadline::{DEADLINE, within, within_time};
use crate::pki;

/// A raw connection.
#[derive(Debug)]
pub struct Raw {
    stream: TlsStream<TcpStream>,
    /// Read from the connection and not used yet.
    pending: Vec<u8>,
}

/// An HTTP/1.1 answer, as far as the connection gave it.
#[derive(Debug, Clone)]
pub struct RawResponse {
    pub status: u16,
    /// In order, names as they were spelt.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The trailer lines of a chunked body.
    pub trailers: Vec<String>,
}

impl Raw {
    /// Connects and insists on this application protocol.
    pub async fn connect(addr: SocketAddr, ca_pem: &str, alpn: &str) -> Result<Self> {
        let connector = TlsConnector::from(pki::client_config(ca_pem, &[alpn])?);
        let stream = TcpStream::connect(addr)
            .await
            .with_context(|| format!("connecting to {addr}"))?;
        stream.set_nodelay(true)?;
        let name = ServerName::IpAddress(addr.ip().into());
        let stream = within("TLS handshake", connector.connect(name, stream)).await??;
        Ok(Self {
            stream,
            pending: Vec::new(),
        })
    }

    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        within("a raw write", async {
            self.stream.write_all(bytes.as_ref()).await?;
            self.stream.flush().await
        })
        .await??;
        Ok(())
    }

    /// Ends the writing direction and keeps reading.
    pub async fn half_close(&mut self) -> Result<()> {
        within("closing one direction", self.stream.shutdown()).await??;
        Ok(())
    }

    /// Closes without ceremony: the peer sees a TCP reset.
    pub fn reset(self) -> Result<()> {
        self.stream
            .get_ref()
            .0
            .set_zero_linger()
            .context("asking for a reset")
    }

    /// Reads up to the end of the connection; a connection cut without a TLS farewell counts as an end.
    pub async fn rest(&mut self, limit: Duration) -> Result<Vec<u8>> {
        within_time(limit, "the connection to end", async {
            while self.fill().await {}
        })
        .await?;
        Ok(std::mem::take(&mut self.pending))
    }

    /// Reads exactly this many raw bytes.
    pub async fn exactly(&mut self, len: usize) -> Result<Vec<u8>> {
        within("raw bytes", async {
            while self.pending.len() < len {
                if !self.fill().await {
                    bail!(
                        "the connection ended after {} of {len} bytes",
                        self.pending.len()
                    );
                }
            }
            Ok(self.pending.drain(..len).collect())
        })
        .await?
    }

    /// The next answer (interim ones but 101 skipped), or none when the connection ends before one begins.
    pub async fn response(&mut self) -> Result<Option<RawResponse>> {
        self.response_within(DEADLINE).await
    }

    pub async fn response_within(&mut self, limit: Duration) -> Result<Option<RawResponse>> {
        within_time(limit, "an answer", async {
            loop {
                let Some(response) = self.one_response().await? else {
                    return Ok(None);
                };
                if response.status == 101 || response.status >= 200 {
                    return Ok(Some(response));
                }
            }
        })
        .await?
    }

    async fn one_response(&mut self) -> Result<Option<RawResponse>> {
        let Some(head) = self.until(b"\r\n\r\n").await else {
            return Ok(None);
        };
        let head = String::from_utf8_lossy(&head);
        let mut lines = head.trim_end().split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1))
            .and_then(|status| status.parse().ok());
        let Some(status) = status else {
            bail!("not an HTTP/1.1 answer: {head:?}")
        };
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
        let mut response = RawResponse {
            status,
            headers: headers.collect(),
            body: Vec::new(),
            trailers: Vec::new(),
        };
        self.body(&mut response).await?;
        Ok(Some(response))
    }

    async fn body(&mut self, response: &mut RawResponse) -> Result<()> {
        if response.status < 200 || response.status == 204 || response.status == 304 {
            return Ok(());
        }
        if response
            .header("transfer-encoding")
            .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
        {
            return self.chunks(response).await;
        }
        let length = response
            .header("content-length")
            .map(str::parse::<usize>)
            .transpose()
            .context("content-length")?;
        while length.is_none_or(|length| self.pending.len() < length) && self.fill().await {}
        let take = length.unwrap_or(usize::MAX).min(self.pending.len());
        response.body = self.pending.drain(..take).collect();
        Ok(())
    }

    async fn chunks(&mut self, response: &mut RawResponse) -> Result<()> {
        loop {
            let Some(line) = self.until(b"\r\n").await else {
                return Ok(());
            };
            let line = String::from_utf8(line)?;
            let size = usize::from_str_radix(line.trim(), 16)
                .with_context(|| format!("chunk size {line:?}"))?;
            if size == 0 {
                break;
            }
            while self.pending.len() < size + 2 && self.fill().await {}
            let take = size.min(self.pending.len());
            response.body.extend(self.pending.drain(..take));
            let end = self.pending.len().min(2);
            self.pending.drain(..end);
        }
        while let Some(line) = self.until(b"\r\n").await {
            if line == b"\r\n" {
                break;
            }
            response
                .trailers
                .push(String::from_utf8(line)?.trim_end().to_owned());
        }
        Ok(())
    }

    async fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self
                .pending
                .windows(end.len())
                .position(|window| window == end)
            {
                return Some(self.pending.drain(..at + end.len()).collect());
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    /// False at the end of the connection, however it ends.
    async fn fill(&mut self) -> bool {
        // Not a buffer in the future: those of callers would multiply it, and overflow a test's stack.
        self.pending.reserve(16 * 1024);
        matches!(self.stream.read_buf(&mut self.pending).await, Ok(1..))
    }
}

impl RawResponse {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}
