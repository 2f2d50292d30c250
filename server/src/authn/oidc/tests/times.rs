//! To the second: when a token begins and ends.

use super::*;

/// A token whose clock is this many seconds ahead of the verifier's.
async fn verified(
    issuers: &Issuers,
    signer: &Signer,
    name: &str,
    offset: i64,
) -> Result<Verified, Error> {
    let base = 1_900_000_000_u64;
    let time = base.checked_add_signed(offset).unwrap();
    let mut claims = claims();
    for (name, value) in [
        ("iat", base - 100),
        ("nbf", base - 100),
        ("exp", base + 100),
    ] {
        claims[name] = value.into();
    }
    let token = signer.sign(&with(claims, name, time));
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(base);
    issuers.verify(&token, now).await
}

#[tokio::test]
async fn the_clocks_may_differ_by_so_much_and_no_more() {
    let signer = Signer::rsa("a");
    let github = [Signer::rsa("github").jwk()];
    for (skew, seconds) in [("30s", 30), ("0s", 0), ("5m", 300)] {
        let settings = json!({"clock_skew": skew});
        let issuers = issuers_with(&[signer.jwk()], &github, settings);
        let verified = async |name, offset| verified(&issuers, &signer, name, offset).await;
        verified("exp", 1 - seconds).await.unwrap();
        let error = verified("exp", -seconds).await.unwrap_err();
        assert!(matches!(error, Error::Expired { .. }), "{error}");
        for name in ["nbf", "iat"] {
            verified(name, seconds).await.unwrap();
            let error = verified(name, seconds + 1).await.unwrap_err();
            assert!(matches!(error, Error::NotYetValid { .. }), "{error}");
        }
    }
}

#[tokio::test]
async fn a_message_says_by_how_much() {
    let signer = Signer::rsa("a");
    let issuers = issuers(&[signer.jwk()]);
    let error = verified(&issuers, &signer, "exp", -90).await.unwrap_err();
    assert!(error.to_string().contains("ended 1m30s ago"), "{error}");
    let error = verified(&issuers, &signer, "nbf", 3600).await.unwrap_err();
    assert!(error.to_string().contains("only in 1h"), "{error}");
}

#[tokio::test]
async fn times_that_are_none() {
    let signer = Signer::rsa("a");
    let issuers = issuers(&[signer.jwk()]);
    for name in ["exp", "iat", "nbf"] {
        for value in [
            json!("1900000000"),
            json!(-1),
            json!(1.5),
            json!(1e300),
            json!([1]),
            json!(true),
            Value::Null,
        ] {
            let token = signer.sign(&with(claims(), name, value.clone()));
            let error = verify(&issuers, &token).await.unwrap_err();
            assert!(
                matches!(error, Error::Malformed(_)),
                "{name} {value}: {error}"
            );
        }
    }
    for value in [u64::MAX, u64::MAX - 10] {
        let token = signer.sign(&with(claims(), "exp", value));
        let error = verify(&issuers, &token).await.unwrap_err();
        assert!(matches!(error, Error::Malformed(_)), "{value}: {error}");
    }
    for name in ["exp", "iat"] {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name);
        let error = verify(&issuers, &signer.sign(&claims)).await.unwrap_err();
        assert!(matches!(error, Error::Malformed(_)), "{name}: {error}");
    }
}
