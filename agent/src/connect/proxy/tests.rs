//! Which proxy is taken, and what its answers mean.

use tokio::net::TcpListener;

use super::*;

fn environment(variables: &'static [(&str, &str)]) -> Proxies {
    Proxies::environment(|wanted| {
        let found = variables.iter().find(|(name, _)| *name == wanted);
        found.map(|(_, value)| (*value).to_owned())
    })
}

fn chosen(proxies: &Proxies, host: &str) -> Option<String> {
    proxies
        .choose(host, 8155)
        .unwrap()
        .map(|proxy| proxy.name())
}

#[test]
fn the_environment_says_which_hosts_have_a_proxy() {
    let proxies = environment(&[
        ("https_proxy", "http://proxy.example.com:3128"),
        ("NO_PROXY", "internal.example.com,10.0.0.0/8"),
    ]);
    let proxy = Some("proxy.example.com:3128".to_owned());
    assert_eq!(chosen(&proxies, "tunnel.example.com"), proxy);
    assert_eq!(chosen(&proxies, "192.0.2.1"), proxy);
    assert_eq!(chosen(&proxies, "2001:db8::1"), proxy);
    assert_eq!(chosen(&proxies, "tunnel.internal.example.com"), None);
    assert_eq!(chosen(&proxies, "10.1.2.3"), None);
    assert_eq!(chosen(&environment(&[]), "tunnel.example.com"), None);
    assert_eq!(chosen(&Proxies::none(), "tunnel.example.com"), None);
    let all = environment(&[("ALL_PROXY", "proxy.example.com")]);
    assert_eq!(chosen(&all, "x"), Some("proxy.example.com:80".to_owned()));
}

#[test]
fn only_http_proxies_are_taken_and_no_message_tells_credentials() {
    for url in [
        "socks5://user:s3cret@host",
        "https://user:s3cret@host",
        "",
        "http://",
    ] {
        let error = Proxies::fixed(url).unwrap_err().to_string();
        assert!(!error.contains("s3cret"), "{error}");
    }
    let proxies = environment(&[("HTTPS_PROXY", "socks5://user:s3cret@host")]);
    let error = proxies.choose("tunnel.example.com", 1).err().unwrap();
    assert!(!error.to_string().contains("s3cret"), "{error}");
    let fixed = Proxies::fixed("http://user:s3cret@host:1").unwrap();
    assert!(!format!("{fixed:?}").contains("s3cret"));
}

/// A proxy that gives one answer; what it was asked.
async fn answering(answer: &'static str) -> (u16, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut head).await.unwrap(), 0);
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(head).unwrap()
    });
    (port, asked)
}

async fn through(answer: &'static str, user: &str) -> (Result<TcpStream, String>, String) {
    let (port, asked) = answering(answer).await;
    let proxies = Proxies::fixed(&format!("http://{user}127.0.0.1:{port}")).unwrap();
    let proxy = proxies.choose("tunnel.example.com", 8155).unwrap().unwrap();
    let result = proxy.connect("tunnel.example.com:8155").await;
    (
        result.map_err(|error| error.to_string()),
        asked.await.unwrap(),
    )
}

#[tokio::test]
async fn connect_is_asked_with_credentials() {
    let (stream, asked) = through("HTTP/1.1 200 Fine\r\nX: y\r\n\r\n", "us%40er:s3cret@").await;
    stream.unwrap();
    let expected = "CONNECT tunnel.example.com:8155 HTTP/1.1\r\nHost: tunnel.example.com:8155\r\n\
                    Proxy-Authorization: Basic dXNAZXI6czNjcmV0\r\n\r\n";
    assert_eq!(asked, expected);
}

#[tokio::test]
async fn a_refusal_says_what_to_do() {
    let (result, _) = through("HTTP/1.1 407 No\r\n\r\n", "user:s3cret@").await;
    let error = result.unwrap_err();
    assert!(
        error.contains("does not take these credentials (407)"),
        "{error}"
    );
    assert!(!error.contains("s3cret"), "{error}");
    let (result, asked) = through("HTTP/1.1 407 No\r\n\r\n", "").await;
    assert!(result.unwrap_err().contains("without credentials"));
    assert!(!asked.contains("Authorization"));
    let (result, _) = through("HTTP/1.1 403 Not there\r\n\r\n", "").await;
    assert!(result.unwrap_err().contains("\"HTTP/1.1 403 Not there\""));
    let (result, _) = through("220 ", "").await;
    assert!(result.unwrap_err().contains("broke off"));
}
