use anyhow::Result;

use super::{Answer, Part, Raw, RawH2};
use crate::apiserver::ApiServer;
use crate::client::{Client, Http};

#[tokio::test]
async fn writes_http2_by_hand() -> Result<()> {
    let api = ApiServer::start().await?;
    let authorization = format!("Bearer {}", api.token());
    for (path, status) in [
        ("/small", 200),
        ("/nowhere", 404),
        ("/status/403", 403),
        ("/status/431", 431),
        ("/status/299", 299),
    ] {
        let mut raw = RawH2::connect(api.addr(), api.ca_pem()).await?;
        let head = [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", "localhost"),
            (":path", path),
            ("authorization", authorization.as_str()),
        ];
        let stream = raw.request(&[Part::Headers(&head)]).await?;
        assert_eq!(raw.answer(stream).await?, Answer::Status(status), "{path}");
    }
    Ok(())
}

#[tokio::test]
async fn sees_resets_and_refusals_over_http2() -> Result<()> {
    let api = ApiServer::start().await?;
    let mut raw = RawH2::connect(api.addr(), api.ca_pem()).await?;
    let head = [
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/"),
        ("connection", "close"),
    ];
    let stream = raw.request(&[Part::Headers(&head)]).await?;
    // PROTOCOL_ERROR
    assert_eq!(raw.answer(stream).await?, Answer::Reset(1));
    Ok(())
}

#[tokio::test]
async fn reads_chunks_and_pipelined_answers() -> Result<()> {
    let api = ApiServer::start().await?;
    let mut raw = Raw::connect(api.addr(), api.ca_pem(), "http/1.1").await?;
    let auth = format!("host: a\r\nauthorization: Bearer {}\r\n", api.token());
    let first = format!("GET /trailers HTTP/1.1\r\n{auth}te: trailers\r\n\r\n");
    let second = format!("GET /status/204 HTTP/1.1\r\n{auth}\r\n");
    raw.write(first + &second).await?;
    let response = raw.response().await?.unwrap();
    assert_eq!(
        (response.status, response.body.as_slice()),
        (200, &b"hello"[..])
    );
    assert_eq!(response.trailers, ["x-checksum: 5d41", "x-late: yes"]);
    assert_eq!(raw.response().await?.unwrap().status, 204);
    raw.half_close().await?;
    assert!(raw.response().await?.is_none());
    Ok(())
}

#[tokio::test]
async fn pools_connections_and_cuts_them() -> Result<()> {
    let api = ApiServer::start().await?;
    for http in [Http::One, Http::Two] {
        let client = Client::new(api.addr(), api.ca_pem(), http, api.token())?;
        for _ in 0..5 {
            client.get("/small").await?;
        }
        let own = client.connect().await?;
        api.recorder().wait_for_connections(2).await?;
        own.cut().await;
        api.recorder().wait_for_connections(1).await?;
        drop(client);
        api.recorder().wait_for_connections(0).await?;
    }
    assert_eq!(api.recorder().connections_ever(), 4);
    let mut raw = Raw::connect(api.addr(), api.ca_pem(), "http/1.1").await?;
    raw.write("GET /sm").await?;
    api.recorder().wait_for_connections(1).await?;
    raw.reset()?;
    api.recorder().wait_for_connections(0).await
}
