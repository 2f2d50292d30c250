//! Keys, issuers and audiences that are others than they seem.

use super::super::signer::encode;
use super::*;
use ci_tunnel::runtime::causes::with_causes;

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
        // Which are known here is told to the operator alone.
        let (message, full) = (error.to_string(), with_causes(&error));
        assert!(!message.contains(OTHER_ISSUER), "{message}");
        assert!(
            full.contains(ISSUER) && full.contains(OTHER_ISSUER),
            "{full}"
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
