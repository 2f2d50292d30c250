//! Tokens that must not pass, and why each does not: headers, signatures and texts.

mod parties;

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

#[tokio::test]
async fn a_token_with_any_character_changed() {
    let signer = Signer::rsa("a");
    let issuers = issuers(&[signer.jwk()]);
    let good = signer.sign(&claims());
    for (position, character) in good.char_indices() {
        let other = if character == 'A' { 'B' } else { 'A' };
        let mut token = good.clone();
        token.replace_range(position..=position, &other.to_string());
        refusal(&issuers, &token).await;
    }
}
