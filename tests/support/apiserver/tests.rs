use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::body::PATTERN;
use super::{ApiServer, End};
use crate::client::{Client, Http, Raw, Switched, empty, fed, full};
use crate::deadline::{DEADLINE, within};

fn client(api: &ApiServer, http: Http) -> Result<Client> {
    Client::new(api.addr(), api.ca_pem(), http, api.token())
}

#[tokio::test]
async fn records_what_arrived_byte_for_byte() -> Result<()> {
    let api = ApiServer::start().await?;
    for http in [Http::One, Http::Two] {
        api.recorder().forget();
        let client = client(&api, http)?;
        let request = client
            .request(Method::POST, "/status/201?a=%2F%zz&b")
            .header("x-twice", "1")
            .header("x-twice", "2");
        let response = client.send(request.body(full("hello"))?).await?;
        assert_eq!(response.status(), StatusCode::CREATED);
        let seen = api
            .recorder()
            .wait_for("the request", |request| {
                matches!(request.end, End::Answered(_))
            })
            .await?;
        assert_eq!(
            (seen.method.as_str(), seen.target.as_str()),
            ("POST", "/status/201?a=%2F%zz&b")
        );
        assert_eq!(seen.header("x-twice"), ["1", "2"]);
        assert_eq!(seen.body.len, 5);
        assert_eq!(
            seen.body.sha256.as_deref(),
            Some("2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824")
        );
    }
    Ok(())
}

#[tokio::test]
async fn refuses_who_has_not_its_token_and_who_impersonates_by_halves() -> Result<()> {
    let api = ApiServer::start().await?;
    let stranger = Client::new(api.addr(), api.ca_pem(), Http::Two, "wrong")?;
    let response = stranger.get("/small").await?;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert!(response.headers().contains_key("www-authenticate"));

    let client = client(&api, Http::Two)?;
    let request = client
        .request(Method::GET, "/small")
        .header("impersonate-group", "system:masters");
    let response = client.send(request.body(empty())?).await?;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    Ok(())
}

#[tokio::test]
async fn reflects_who_asks() -> Result<()> {
    let api = ApiServer::start().await?;
    let client = client(&api, Http::One)?;
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let own: Value = serde_json::from_slice(client.post(path, full("{}")).await?.body())?;
    assert_eq!(
        own["status"]["userInfo"]["username"],
        "system:serviceaccount:ci-tunnel:agent"
    );

    let request = client
        .request(Method::POST, path)
        .header("impersonate-user", "gitlab:ci_job:1")
        .header("impersonate-group", "a")
        .header("impersonate-group", "b")
        .header("impersonate-extra-agent.gitlab.com%2fid", "7");
    let answer = client
        .send(request.body(full("{}"))?)
        .await?
        .into_body()
        .collect()
        .await?
        .to_bytes();
    let user = &serde_json::from_slice::<Value>(&answer)?["status"]["userInfo"];
    assert_eq!(user["username"], "gitlab:ci_job:1");
    assert_eq!(user["groups"], json!(["a", "b", "system:authenticated"]));
    assert_eq!(user["extra"], json!({"agent.gitlab.com/id": ["7"]}));
    Ok(())
}

#[tokio::test]
async fn echoes_while_the_upload_goes_on() -> Result<()> {
    let api = ApiServer::start().await?;
    for http in [Http::One, Http::Two] {
        let client = client(&api, http)?;
        let (feeder, body) = fed();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-end", HeaderValue::from_static("yes"));
        let request = client
            .request(Method::POST, "/echo")
            .header("trailer", "x-end")
            .header("te", "trailers");
        let mut response = client.send(request.body(body)?).await?;
        for piece in ["one", "two"] {
            feeder.data(piece).await?;
            let frame = within("the echo", response.frame()).await?.unwrap()?;
            assert_eq!(frame.into_data().unwrap(), piece);
        }
        feeder.trailers(trailers).await?;
        let target = "/echo";
        let seen = api
            .recorder()
            .wait_for("trailers", |seen| {
                seen.target == target && !seen.trailers.is_empty()
            })
            .await?;
        assert_eq!(seen.trailers, [("x-end".to_owned(), b"yes".to_vec())]);
        api.recorder().forget();
    }
    Ok(())
}

#[tokio::test]
async fn notices_clients_that_go_away() -> Result<()> {
    let api = ApiServer::start().await?;
    for http in [Http::One, Http::Two] {
        let client = client(&api, http)?;

        // While nothing is answered.
        let mut connection = client.connect().await?;
        let request = connection.request(Method::GET, "/slow").body(empty())?;
        let asking = tokio::spawn(async move { connection.send(request).await });
        api.recorder()
            .wait_for("the slow request", |seen| seen.target == "/slow")
            .await?;
        asking.abort();
        api.recorder()
            .wait_for("its end", |seen| seen.target == "/slow" && seen.is_gone())
            .await?;

        // In the middle of a download.
        let response = client
            .send(
                client
                    .request(Method::GET, "/bytes?n=1000000000")
                    .body(empty())?,
            )
            .await?;
        drop(response);
        api.recorder()
            .wait_for("its end", |seen| seen.path() == "/bytes" && seen.is_gone())
            .await?;

        // In the middle of an upload.
        let (feeder, body) = fed();
        let request = client.request(Method::POST, "/status/200").body(body)?;
        let sending = tokio::spawn({
            let client = client.clone();
            async move { client.send(request).await }
        });
        feeder.data("half").await?;
        feeder.abort().await?;
        let seen = api
            .recorder()
            .wait_for("a broken body", |seen| seen.body.broke.is_some())
            .await?;
        assert_eq!((seen.body.len, seen.body.sha256), (4, None));
        assert!(sending.await?.is_err());
        api.recorder().forget();
    }
    Ok(())
}

#[tokio::test]
async fn answers_slow_requests_when_told() -> Result<()> {
    let api = ApiServer::start().await?;
    let client = client(&api, Http::Two)?;
    let asking = tokio::spawn(async move { client.get("/slow").await });
    api.recorder()
        .wait_for("the slow request", |seen| seen.target == "/slow")
        .await?;
    api.release_slow();
    assert_eq!(asking.await??.status(), StatusCode::OK);
    Ok(())
}

#[tokio::test]
async fn refuses_early_gives_trailers_and_counts_bytes() -> Result<()> {
    let api = ApiServer::start().await?;
    for http in [Http::One, Http::Two] {
        let client = client(&api, http)?;
        let (_feeder, body) = fed();
        let response = client
            .send(client.request(Method::POST, "/early").body(body)?)
            .await?;
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);

        let request = client
            .request(Method::GET, "/trailers")
            .header("te", "trailers")
            .body(empty())?;
        let whole = client.send(request).await?.into_body().collect().await?;
        assert_eq!(whole.trailers().unwrap()["x-checksum"], "5d41");
        assert_eq!(whole.to_bytes(), "hello");

        let bytes = client.get("/bytes?n=300000").await?.into_body();
        assert_eq!(bytes.len(), 300_000);
        assert_eq!(&bytes[PATTERN.len()..PATTERN.len() + 3], [0, 1, 2]);
        assert_eq!(client.get("/small").await?.body().len(), 1024);
    }
    Ok(())
}

#[tokio::test]
async fn breaks_off_after_just_so_many_bytes() -> Result<()> {
    let api = ApiServer::start().await?;
    let mut raw = Raw::connect(api.addr(), api.ca_pem(), "http/1.1").await?;
    let auth = format!("authorization: Bearer {}", api.token());
    raw.write(format!(
        "GET /break?after=1000 HTTP/1.1\r\nhost: a\r\n{auth}\r\n\r\n"
    ))
    .await?;
    let response = raw.response().await?.unwrap();
    assert_eq!(response.header("content-length"), Some("1049576"));
    assert_eq!(response.body.len(), 1000);

    let client = client(&api, Http::Two)?;
    let mut response = client
        .send(
            client
                .request(Method::GET, "/break?after=1000")
                .body(empty())?,
        )
        .await?;
    let mut len = 0;
    let broken = loop {
        match within("the break", response.frame()).await? {
            Some(Ok(frame)) => len += frame.into_data().map_or(0, |data| data.len()),
            Some(Err(_)) => break true,
            None => break false,
        }
    };
    assert!(broken);
    assert_eq!(len, 1000);
    api.recorder().wait_for_connections(0).await
}

#[tokio::test]
async fn tells_when_a_watch_event_was_written() -> Result<()> {
    let api = ApiServer::start().await?;
    let client = client(&api, Http::One)?;
    let mut response = client
        .send(client.request(Method::GET, "/watch").body(empty())?)
        .await?;
    api.wait_for_watchers(1).await?;
    let written = api.push_event(&json!({"type": "ADDED"})).await?;
    let frame = within("the event", response.frame()).await?.unwrap()?;
    assert_eq!(
        frame.into_data().unwrap(),
        Bytes::from_static(b"{\"type\":\"ADDED\"}\n")
    );
    assert!(written.elapsed() < DEADLINE);
    drop((response, client));
    api.wait_for_watchers(0).await
}

#[tokio::test]
async fn upgrades_rightly_and_wrongly() -> Result<()> {
    let api = ApiServer::start().await?;
    let client = client(&api, Http::One)?;
    let mut io = client.upgrade("/upgrade/echo", "SPDY/3.1").await?.io()?;
    io.write_all(b"over here").await?;
    io.shutdown().await?;
    let mut back = Vec::new();
    within("the echo and its end", io.read_to_end(&mut back)).await??;
    assert_eq!(back, b"over here");

    for status in [200, 302, 400] {
        let Switched::No(response) = client
            .upgrade(&format!("/upgrade/{status}"), "SPDY/3.1")
            .await?
        else {
            panic!("switched");
        };
        assert_eq!(response.status(), status);
    }

    let Switched::Yes(response, mut io) = client
        .upgrade("/upgrade/wrong-protocol", "SPDY/3.1")
        .await?
    else {
        panic!("not switched");
    };
    assert_eq!(response.headers()["upgrade"], "another/1");
    io.write_all(b"GET /second HTTP/1.1\r\n\r\n").await?;
    let seen = api
        .recorder()
        .wait_for("the trap to close", |seen| {
            seen.upgraded.ends_with(b"\r\n\r\n")
        })
        .await?;
    assert_eq!(seen.target, "/upgrade/wrong-protocol");
    Ok(())
}

#[tokio::test]
async fn keeps_the_bytes_that_its_parser_refuses() -> Result<()> {
    let api = ApiServer::start().await?;
    let mut raw = Raw::connect(api.addr(), api.ca_pem(), "http/1.1").await?;
    raw.write("GET / HTTP/1.1\r\nbad header\r\n\r\n").await?;
    assert_eq!(raw.response().await?.unwrap().status, 400);
    raw.rest(Duration::from_secs(5)).await?;
    api.recorder().wait_for_connections(0).await?;
    assert!(api.recorder().received().is_empty());
    let connection = api.recorder().connections().pop().unwrap();
    assert_eq!(connection.alpn, "http/1.1");
    assert_eq!(
        api.recorder().wire(connection.number),
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n"
    );
    Ok(())
}
