//! Tokens that must not pass, and why each does not.

use aws_lc_rs::hmac;

use super::signer::encode;
use super::*;

async fn refusal(issuers: &Issuers, token: &str) -> Error {
    let error = verify(issuers, token).await.unwrap_err();
    let signature = token.rsplit('.').next().unwrap();
    let message = error.to_string();
    assert!(
        signature.len() < 20 || !message.contains(signature),
        "{message}"
    );
    assert!(message.len() < 1000, "{message}");
    error
}

/// The claims of a good token under a header that is not.
fn under(signer: &Signer, name: &str, value: impl Into<Value>) -> String {
    signer.sign_under(&with(signer.header(), name, value), &claims())
}

#[tokio::test]
async fn no_signature_in_all_spellings() {
    let signer = Signer::rsa("a");
    let issuers = issuers(&[signer.jwk()]);
    for alg in [
        "none",
        "None",
        "NONE",
        "nOnE",
        " none",
        "none ",
        "no\u{0000}ne",
        "",
        "rs256",
    ] {
        let header = with(signer.header(), "alg", alg);
        let unsigned = format!(
            "{}.{}",
            encode(header.to_string().as_bytes()),
            encode(claims().to_string().as_bytes())
        );
        for token in [
            signer.sign_under(&header, &claims()),
            format!("{unsigned}."),
        ] {
            let error = refusal(&issuers, &token).await;
            assert!(matches!(error, Error::Algorithm { .. }), "{alg:?}: {error}");
        }
    }
    for alg in [Value::Null, json!(["RS256"]), json!(0)] {
        let error = refusal(&issuers, &under(&signer, "alg", alg)).await;
        assert_eq!(error, Error::Header("names no algorithm"));
    }
    let good = signer.sign(&claims());
    let unsigned = good.rsplit_once('.').unwrap().0;
    for token in [format!("{unsigned}."), format!("{unsigned}.AAAA")] {
        let error = refusal(&issuers, &token).await;
        assert!(matches!(error, Error::Signature { .. }), "{error}");
    }
    assert!(matches!(
        refusal(&issuers, unsigned).await,
        Error::Malformed(_)
    ));
}

#[tokio::test]
async fn a_shared_secret_that_is_the_public_key() {
    let signer = Signer::rsa("a");
    let issuers = issuers(&[signer.jwk()]);
    let (n, jwk) = (signer.modulus(), signer.jwk().to_string());
    let secrets = [n.as_slice(), jwk.as_bytes(), encode(&n).as_bytes(), b""].map(<[u8]>::to_vec);
    for alg in ["HS256", "HS384", "HS512"] {
        for secret in &secrets {
            let header = with(signer.header(), "alg", alg);
            let message = format!(
                "{}.{}",
                encode(header.to_string().as_bytes()),
                encode(claims().to_string().as_bytes())
            );
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
            let signature = encode(hmac::sign(&key, message.as_bytes()).as_ref());
            let error = refusal(&issuers, &format!("{message}.{signature}")).await;
            assert!(matches!(error, Error::Algorithm { .. }), "{alg}: {error}");
        }
    }
}

#[tokio::test]
async fn shared_secrets_can_not_even_be_configured() {
    for alg in ["HS256", "none", "RSA", "ES512", ""] {
        let config = json!({"audiences": [AUDIENCE], "algorithms": [alg]});
        let error = serde_json::from_value::<Config>(config).unwrap_err();
        assert!(error.to_string().contains("unknown variant"), "{error}");
    }
    // An issuer that publishes one has not made it a key.
    let config = everything();
    let set = json!({"keys": [{"kty": "oct", "k": "AAAA", "alg": "HS256", "kid": "a"}]});
    let set: Document = serde_json::from_value(set).unwrap();
    assert_eq!(
        KeySet::read(&set, &config).unwrap_err(),
        keys::Error::Unusable(1)
    );
}

#[tokio::test]
async fn a_header_that_brings_or_names_its_own_key() {
    let signer = Signer::rsa("a");
    let issuers = issuers(&[signer.jwk()]);
    for (name, value) in [
        ("jwk", signer.jwk()),
        ("jku", json!("https://evil.example/keys")),
        ("x5u", json!("https://evil.example/certificate")),
        ("x5c", json!(["AAAA"])),
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("b64", json!(false)),
        ("cty", json!("JWT")),
        ("enc", json!("A256GCM")),
        ("zip", json!("DEF")),
    ] {
        let error = refusal(&issuers, &under(&signer, name, value)).await;
        assert!(matches!(error, Error::Header(_)), "{name}: {error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    for typ in [
        json!("at+jwt"),
        json!("ci-tunnel-job+jwt"),
        json!(""),
        json!(1),
        Value::Null,
    ] {
        let error = refusal(&issuers, &under(&signer, "typ", typ)).await;
        assert_eq!(error, Error::Header("is of another type than JWT"));
    }
    // A thumbprint names no key and is known of GitHub's.
    verify(&issuers, &under(&signer, "x5t", "AAAA"))
        .await
        .unwrap();
    verify(&issuers, &under(&signer, "typ", "jwt"))
        .await
        .unwrap();
}

#[tokio::test]
async fn names_of_keys() {
    let (signer, second) = (Signer::rsa("a"), Signer::rsa("b"));
    let issuers = issuers(&[signer.jwk(), second.jwk()]);
    for kid in [
        "b ",
        "A",
        "../../etc/passwd",
        "a' OR '1'='1",
        "https://evil.example",
        "a\u{0000}",
    ] {
        let error = refusal(&issuers, &under(&signer, "kid", kid)).await;
        assert!(matches!(error, Error::UnknownKey { .. }), "{kid}: {error}");
    }
    for kid in [
        json!(""),
        json!("x".repeat(257)),
        json!(1),
        json!(["a"]),
        Value::Null,
    ] {
        let error = refusal(&issuers, &under(&signer, "kid", kid)).await;
        assert!(matches!(error, Error::Header(_)), "{error}");
    }
    // Another key of the same issuer is not the one that is named.
    let error = refusal(&issuers, &under(&signer, "kid", "b")).await;
    assert!(matches!(error, Error::Signature { .. }), "{error}");
    let mut header = signer.header();
    header.as_object_mut().unwrap().remove("kid");
    let token = signer.sign_under(&header, &claims());
    let error = refusal(&issuers, &token).await;
    assert!(matches!(error, Error::KeyNotNamed { .. }), "{error}");
    let alone = super::issuers(&[signer.jwk()]);
    verify(&alone, &token).await.unwrap();
}

#[tokio::test]
async fn two_keys_of_one_name_and_no_third() {
    let (first, second) = (Signer::rsa("same"), Signer::rsa("same"));
    let issuers = issuers(&[first.jwk(), second.jwk()]);
    for signer in [&first, &second] {
        verify(&issuers, &signer.sign(&claims())).await.unwrap();
    }
    let error = refusal(&issuers, &Signer::rsa("same").sign(&claims())).await;
    assert!(matches!(error, Error::Signature { .. }), "{error}");
}

#[tokio::test]
async fn keys_of_another_kind_than_the_algorithm() {
    let (rsa, ec) = (Signer::rsa("rsa"), Signer::ec("ec"));
    let both = json!({"algorithms": ["RS256", "ES256"]});
    let github = [Signer::rsa("github").jwk()];
    let issuers = issuers_with(&[rsa.jwk(), ec.jwk()], &github, both);
    for (signer, alg, kid) in [(&rsa, "ES256", "rsa"), (&ec, "RS256", "ec")] {
        let error = refusal(&issuers, &under(signer, "alg", alg)).await;
        assert!(matches!(error, Error::UnknownKey { .. }), "{alg}: {error}");
        assert!(signer.header()["kid"] == kid);
    }
    let error = refusal(&issuers, &under(&rsa, "kid", "ec")).await;
    assert!(matches!(error, Error::UnknownKey { .. }), "{error}");
}

#[tokio::test]
async fn keys_that_are_none() {
    let good = Signer::rsa("good");
    let small = Signer::rsa("small").jwk();
    let small = with(small, "n", encode(&good.modulus()[..128]));
    let point = Signer::ec("point").jwk();
    for jwk in [
        small,
        with(good.jwk(), "use", "enc"),
        with(good.jwk(), "key_ops", json!(["sign"])),
        with(good.jwk(), "alg", "RSA-OAEP"),
        with(good.jwk(), "alg", "RS512"),
        with(good.jwk(), "kty", "oct"),
        with(good.jwk(), "d", "AAAA"),
        with(good.jwk(), "n", 7),
        with(good.jwk(), "n", "not base64!"),
        with(point.clone(), "x", "AAAA"),
        with(point.clone(), "crv", "P-384"),
        // Of no algorithm that is allowed.
        point,
        json!([]),
        json!({}),
    ] {
        let set: Document = serde_json::from_value(json!({"keys": [jwk]})).unwrap();
        let error = KeySet::read(&set, &config()).unwrap_err();
        assert_eq!(error, keys::Error::Unusable(1), "{jwk}");
        // Beside a good one it does no harm.
        let set: Document = serde_json::from_value(json!({"keys": [jwk, good.jwk()]})).unwrap();
        assert_eq!(KeySet::read(&set, &config()).unwrap().len(), 1);
    }
    let many: Vec<_> = (0..101).map(|_| good.jwk()).collect();
    let set: Document = serde_json::from_value(json!({ "keys": many })).unwrap();
    assert_eq!(
        KeySet::read(&set, &config()).unwrap_err(),
        keys::Error::TooMany(101)
    );
}

#[tokio::test]
async fn another_issuer() {
    let (gitlab, github) = (Signer::rsa("gitlab"), Signer::rsa("github"));
    let issuers = issuers_with(&[gitlab.jwk()], &[github.jwk()], json!({}));
    for issuer in [
        "https://gitlab.example.com/",
        "https://GitLab.example.com",
        "HTTPS://gitlab.example.com",
        "https://gitlab.example.com.evil.example",
        "https://gitlab.example.com:443",
        "https://gitlab.example.com ",
        "https://gitlab.example.com\u{0000}",
        "https://ɡitlab.example.com",
        "gitlab.example.com",
        "ci-tunnel",
        "",
    ] {
        let token = gitlab.sign(&with(claims(), "iss", issuer));
        let error = refusal(&issuers, &token).await;
        assert!(matches!(error, Error::UnknownIssuer { .. }), "{error}");
        let message = error.to_string();
        assert!(
            message.contains(ISSUER) && message.contains(OTHER_ISSUER),
            "{message}"
        );
    }
    for issuer in [json!([ISSUER]), json!({"a": ISSUER}), Value::Null] {
        let error = refusal(&issuers, &gitlab.sign(&with(claims(), "iss", issuer))).await;
        assert_eq!(error, Error::Malformed("it names no issuer"));
    }
    // The keys of one issuer are no keys of the other, under no name.
    let token = gitlab.sign(&with(claims(), "iss", OTHER_ISSUER));
    assert!(matches!(
        refusal(&issuers, &token).await,
        Error::UnknownKey { .. }
    ));
    for (signer, kid) in [(&github, "gitlab"), (&github, "github")] {
        let error = refusal(&issuers, &under(signer, "kid", kid)).await;
        let unknown = matches!(error, Error::UnknownKey { .. } | Error::Signature { .. });
        assert!(unknown, "{error}");
    }
}

#[tokio::test]
async fn another_audience() {
    let signer = Signer::rsa("a");
    let issuers = issuers(&[signer.jwk()]);
    for aud in [
        json!("https://vault.example.com"),
        json!("https://ci-tunnel.example.com/"),
        json!("https://CI-tunnel.example.com"),
        json!("https://ci-tunnel.example.com https://other"),
        json!(["https://vault.example.com", ISSUER]),
    ] {
        let error = refusal(&issuers, &signer.sign(&with(claims(), "aud", aud))).await;
        assert!(matches!(error, Error::Audience { .. }), "{error}");
        assert!(error.to_string().contains(AUDIENCE), "{error}");
    }
    for aud in [
        json!([]),
        json!(""),
        json!([AUDIENCE, 7]),
        json!({"a": AUDIENCE}),
        Value::Null,
    ] {
        let error = refusal(&issuers, &signer.sign(&with(claims(), "aud", aud.clone()))).await;
        let none = matches!(error, Error::Malformed(_) | Error::Audience { .. });
        assert!(none, "{aud}: {error}");
    }
    // The job chose them all, so others beside ours say nothing.
    let several = json!(["https://vault.example.com", AUDIENCE]);
    let token = signer.sign(&with(claims(), "aud", several));
    verify(&issuers, &token).await.unwrap();
}

#[tokio::test]
async fn a_claim_changed_after_signing() {
    let signer = Signer::rsa("a");
    let issuers = issuers(&[signer.jwk()]);
    let good = signer.sign(&claims());
    let parts: Vec<&str> = good.split('.').collect();
    let other = encode(with(claims(), "project_id", "8").to_string().as_bytes());
    let token = format!("{}.{other}.{}", parts[0], parts[2]);
    let error = refusal(&issuers, &token).await;
    assert!(matches!(error, Error::Signature { .. }), "{error}");
}

#[tokio::test]
async fn json_that_can_be_read_in_two_ways() {
    let signer = Signer::rsa("a");
    let issuers = issuers(&[signer.jwk()]);
    let (header, good) = (signer.header().to_string(), claims().to_string());
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    for (header, claims) in [
        (
            header.as_str(),
            good.replacen('{', r#"{"project_path":"evil/evil","#, 1),
        ),
        (
            &header,
            good.replacen('{', r#"{"iss":"https://evil.example","#, 1),
        ),
        (
            &header,
            good.replacen('{', r#"{"\u0069ss":"https://evil.example","#, 1),
        ),
        (&header, good.replacen('{', r#"{"a":{"b":1,"b":2},"#, 1)),
        (&header, good.replacen('{', &format!(r#"{{"a":{deep},"#), 1)),
        (&header, format!("{good} x")),
        (&header, format!("{good}{good}")),
        (&header, format!("\u{feff}{good}")),
        (&header, good.replace('}', "")),
        (&header, format!("[{good}]")),
        (&header, good.replacen("4711", "47\u{0000}11", 1)),
        (&header.replacen('{', r#"{"alg":"none","#, 1), good.clone()),
        (&header.replacen('{', r#"{"kid":"b","#, 1), good.clone()),
        ("[]", good.clone()),
        ("", good.clone()),
    ] {
        let token = signer.sign_text(header, &claims);
        let error = refusal(&issuers, &token).await;
        assert!(
            matches!(error, Error::Malformed(_)),
            "{header} {claims}: {error}"
        );
    }
    // Whatever an issuer adds is its own business.
    let more = with(claims(), "more", json!({"deep": [{"and": "deeper"}]}));
    verify(&issuers, &signer.sign(&more)).await.unwrap();
}

#[tokio::test]
async fn one_token_has_one_text() {
    let signer = Signer::rsa("a");
    let issuers = issuers(&[signer.jwk()]);
    let good = signer.sign(&claims());
    let parts: Vec<&str> = good.split('.').collect();
    let [header, claims, signature] = parts[..] else {
        panic!("three parts");
    };
    // 256 bytes leave four loose bits in the last character.
    let last = signature.chars().last().unwrap();
    let loose = char::from_u32(u32::from(last) + 1).unwrap();
    let loose = format!("{}{loose}", &signature[..signature.len() - 1]);
    for token in [
        format!("{good}="),
        format!("{good}=="),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}.{signature}"),
        format!("{header}=.{claims}.{signature}"),
        format!("{header}.{claims}==.{signature}"),
        format!(
            "{header}.{claims}.{}",
            signature.replace('-', "+").replace('_', "/")
        ),
        format!("{header}.{claims}.{loose}"),
        format!("{header}..{signature}"),
        format!("{header}.{claims}\n.{signature}"),
        "..".to_owned(),
        String::new(),
    ] {
        if token == good {
            continue;
        }
        let error = refusal(&issuers, &token).await;
        assert!(matches!(error, Error::Malformed(_)), "{token}: {error}");
    }
}
