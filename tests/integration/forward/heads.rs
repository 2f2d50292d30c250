//! Targets, headers and statuses.

use anyhow::{Context as _, Result};
use ci_tunnel_tests::client::{Answer, Http, Part, RawH2, empty, full};
use http::{Method, StatusCode};

use crate::rig::{BOTH, Rig};

/// Each has one meaning only, and bytes that a careless proxy would decode, encode, sort or drop.
const TARGETS: [&str; 9] = [
    "/small?b=2&a=1&a=2&c",
    "/small?",
    "/small?path=/../%2e%2e//x;y&z=+%20",
    "/small/%41%7e%c3%bc/",
    "/small/x;y=1/a=b@:c,d!$&'()*+-._~",
    "/small?{}|^`[]\\",
    "/api/v1/namespaces/default/pods?labelSelector=a%20in%20(b,c),!d&limit=500",
    "/api/v1/namespaces/default/services/https:web:443/proxy/a%2Fb//c;d=1/%25%C3%bc?q=%2e%2e/&%zz",
    "/api/v1/namespaces/default/pods/web/proxy/?",
];

#[tokio::test]
async fn targets_pass_byte_for_byte() -> Result<()> {
    let rig = Rig::start().await?;
    let (addr, bearer) = (rig.tunnel.api_addr(), format!("Bearer {}", rig.bearer()));
    for target in TARGETS {
        let mut raw = rig.raw().await?;
        raw.write(rig.head(&format!("GET {target}")) + "\r\n")
            .await?;
        let response = raw.response().await?.context("an answer")?;
        assert_ne!(response.status, 400, "{target}: {:?}", response.body);
        let arrived = |what: &str| {
            let what = format!("{target} over {what}");
            let found = rig
                .api
                .recorder()
                .wait_for("it", |seen| seen.target == target);
            async move { found.await.context(what) }
        };
        arrived("HTTP/1.1").await?;

        rig.api.recorder().forget();
        let mut raw = RawH2::connect(addr, rig.tunnel.ca_pem()).await?;
        let head = [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", "tunnel"),
            (":path", target),
            ("authorization", bearer.as_str()),
        ];
        let stream = raw.request(&[Part::Headers(&head)]).await?;
        assert!(matches!(
            raw.answer(stream).await?,
            Answer::Status(200 | 404)
        ));
        arrived("HTTP/2").await?;
        rig.api.recorder().forget();
    }
    Ok(())
}

#[tokio::test]
async fn headers_pass_with_duplicates_and_raw_bytes() -> Result<()> {
    let rig = Rig::start().await?;
    let mut raw = rig.raw().await?;
    let mut head = rig.head("GET /doubled").into_bytes();
    head.extend(
        b"X-Twice: 1\r\nx-other: a,  b\r\nX-tWICE: 2\r\nX-Raw: \xff\xfe raw\r\nX-Empty:\r\n\r\n",
    );
    raw.write(&head).await?;
    let response = raw.response().await?.context("an answer")?;
    let seen = rig
        .api
        .recorder()
        .wait_for("the request", |seen| seen.target == "/doubled")
        .await?;
    assert_eq!(seen.header("x-twice"), ["1", "2"]);
    assert_eq!(seen.sole("x-other").as_deref(), Some("a,  b"));
    assert_eq!(seen.sole("x-empty").as_deref(), Some(""));
    assert!(
        seen.headers
            .contains(&("x-raw".to_owned(), b"\xff\xfe raw".to_vec()))
    );
    assert_eq!(response.header("audit-id"), Some("a1"));

    for http in BOTH {
        let client = rig.client(http)?;
        let response = client.get("/doubled").await?;
        let warnings: Vec<_> = response.headers().get_all("warning").iter().collect();
        assert_eq!(warnings, ["299 - \"one\"", "299 - \"two\""]);
        assert_eq!(response.headers()["x-raw"].as_bytes(), b"\xffraw");
        assert!(!response.headers().contains_key("connection"));
    }
    Ok(())
}

#[tokio::test]
async fn large_headers_pass() -> Result<()> {
    let rig = Rig::start().await?;
    let long = "a".repeat(40 * 1024);
    for http in BOTH {
        let client = rig.client(http)?;
        let request = client
            .request(Method::GET, "/small")
            .header("x-long", &long);
        let response = client.send(request.body(empty())?).await?;
        assert_eq!(response.status(), StatusCode::OK, "{http:?}");
        let seen = rig
            .api
            .recorder()
            .wait_for("it", |seen| seen.sole("x-long").is_some())
            .await?;
        assert_eq!(seen.sole("x-long").as_ref(), Some(&long));
        rig.api.recorder().forget();
    }
    // The client's own limit over HTTP/2 is 16 KiB.
    for (http, len) in [(Http::One, 40 * 1024), (Http::Two, 12 * 1024)] {
        let response = rig.client(http)?.get(&format!("/head?n={len}")).await?;
        assert_eq!(response.headers()["x-long"].len(), len);
    }
    Ok(())
}

#[tokio::test]
async fn statuses_and_answers_without_a_body_pass() -> Result<()> {
    let rig = Rig::start().await?;
    for http in BOTH {
        let client = rig.client(http)?;
        let whole = client.get("/small").await?;
        let head = client
            .send(client.request(Method::HEAD, "/small").body(empty())?)
            .await?;
        assert_eq!(head.status(), StatusCode::OK);
        assert_eq!(
            head.headers()["content-length"],
            whole.headers()["content-length"]
        );
        for code in [201, 204, 205, 302, 304, 404, 409, 422, 500, 503] {
            let response = client.get(&format!("/status/{code}")).await?;
            assert_eq!(response.status().as_u16(), code, "{http:?}");
            assert_eq!(
                response.body().is_empty(),
                matches!(code, 204 | 304),
                "{code} over {http:?}"
            );
        }
        let moved = client.get("/status/302").await?;
        assert_eq!(moved.headers()["location"], "https://127.0.0.1:1/elsewhere");
        // The connection is good for another request after each of them.
        assert_eq!(client.get("/small").await?.body(), whole.body());
    }
    Ok(())
}

#[tokio::test]
async fn every_method_passes() -> Result<()> {
    let rig = Rig::start().await?;
    for http in BOTH {
        for method in [
            "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND",
        ] {
            let client = rig.client(http)?;
            let request = client.request(method.parse()?, "/status/200");
            let response = client.send(request.body(full("body"))?).await?;
            assert_eq!(response.status(), StatusCode::OK, "{method} over {http:?}");
            let wanted = |seen: &ci_tunnel_tests::apiserver::Received| {
                seen.method.as_str() == method && seen.body.len == 4
            };
            rig.api.recorder().wait_for(method, wanted).await?;
        }
        rig.api.recorder().forget();
    }
    Ok(())
}

#[tokio::test]
async fn the_body_is_asked_for_only_when_somebody_will_take_it() -> Result<()> {
    const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
    let rig = Rig::start().await?;
    let lines = "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let mut raw = rig.raw().await?;
    raw.write(rig.head("POST /status/201") + lines).await?;
    assert_eq!(raw.exactly(CONTINUE.len()).await?, CONTINUE);
    raw.write("hello").await?;
    assert_eq!(raw.response().await?.context("an answer")?.status, 201);
    let seen = rig
        .api
        .recorder()
        .wait_for("it", |seen| seen.target == "/status/201")
        .await?;
    assert_eq!(seen.body.len, 5);

    let mut raw = rig.raw().await?;
    let head = rig
        .head("POST /status/201")
        .replace("Bearer ci:", "Bearer ci:9");
    raw.write(head + lines).await?;
    // Not "HTTP/1.1 1..".
    assert_eq!(raw.exactly(10).await?, b"HTTP/1.1 4");
    Ok(())
}
