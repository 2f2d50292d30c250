//! Signatures as GitLab and GitHub make them, and what a webhook asks for.

use serde_json::json;

use super::*;

const SECRET: &str = "It's a Secret to Everybody";
const PUSH: &[u8] = br#"{"ref":"refs/heads/main","project":{"path_with_namespace":"acme/infra","default_branch":"main"}}"#;

fn webhooks(secrets: &[&str], branch: Option<&str>) -> (Webhooks, Pokes) {
    let pokes = Pokes::default();
    let receiver = Receiver {
        secrets: secrets
            .iter()
            .map(|secret| Secret::new(secret).unwrap())
            .collect(),
        branch: branch.map(str::to_owned),
        pokes: pokes.clone(),
    };
    (Webhooks::new(vec![receiver]), pokes)
}

fn token(token: &str) -> Proof<'_> {
    Proof {
        token: Some(token.as_bytes()),
        ..Proof::default()
    }
}

#[test]
fn gitlab_sends_the_secret_itself() {
    let (webhooks, _) = webhooks(&["old", "new"], None);
    for secret in ["old", "new"] {
        assert_eq!(webhooks.take(&token(secret), PUSH), Ok(()));
    }
    for wrong in ["", "ol", "oldx", "OLD"] {
        assert_eq!(webhooks.take(&token(wrong), PUSH), Err(Error::Unsigned));
    }
    assert_eq!(webhooks.take(&Proof::default(), PUSH), Err(Error::Unsigned));
}

#[test]
fn github_signs_the_body() {
    // The example of GitHub's documentation.
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let hub = |value: &'static [u8]| Proof {
        hub: Some(value),
        ..Proof::default()
    };
    assert!(fits(SECRET, &hub(signature.as_bytes()), b"Hello, World!"));
    assert!(!fits(SECRET, &hub(signature.as_bytes()), b"Hello, World?"));
    assert!(!fits(
        "another",
        &hub(signature.as_bytes()),
        b"Hello, World!"
    ));
    for wrong in [
        &b""[..],
        b"sha256=",
        b"sha256=7",
        b"sha256=zz",
        b"sha1=757107ea",
        &signature.as_bytes()[7..],
    ] {
        assert!(!fits(SECRET, &hub(wrong), b"Hello, World!"));
    }
}

#[test]
fn gitlab_signs_id_time_and_body() {
    // The example of the Standard Webhooks specification's libraries.
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let body = br#"{"test": 2432232314}"#;
    let standard = |signatures: &'static str| Proof {
        standard: Some(Standard {
            id: b"msg_p5jXN8AQM9LWM0D4loKWxJek",
            timestamp: b"1614265330",
            signatures: signatures.as_bytes(),
        }),
        ..Proof::default()
    };
    let good = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    assert!(fits(secret, &standard(good), body));
    assert!(fits(
        secret,
        &standard("v1,AAAA v2,x v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        body
    ));
    assert!(!fits(secret, &standard(good), b"{}"));
    assert!(!fits("whsec_AAAA", &standard(good), body));
    assert!(!fits(
        secret,
        &standard("v1a,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        body
    ));
}

/// Whether a webhook with this body has `acme/infra` looked at.
fn pokes(branch: Option<&str>, body: &serde_json::Value) -> bool {
    let (webhooks, pokes) = webhooks(&["s"], branch);
    let poke = pokes.register(&"acme/infra".parse().unwrap());
    webhooks
        .take(&token("s"), body.to_string().as_bytes())
        .unwrap();
    let mut waiting = std::pin::pin!(poke.notified());
    waiting.as_mut().enable()
}

#[test]
fn a_push_to_the_branch_that_is_read_pokes() {
    let gitlab = |git_ref: &str, project: &str| {
        json!({"object_kind": "push", "ref": git_ref,
            "project": {"path_with_namespace": project, "default_branch": "main"}, "repository": {"name": "infra"}})
    };
    let github = |git_ref: &str, project: &str| json!({"ref": git_ref, "repository": {"full_name": project, "default_branch": "main"}});
    assert!(pokes(None, &gitlab("refs/heads/main", "acme/infra")));
    assert!(pokes(None, &github("refs/heads/main", "Acme/Infra")));
    assert!(pokes(
        Some("live"),
        &github("refs/heads/live", "acme/infra")
    ));
    assert!(pokes(
        None,
        &json!({"action": "edited", "repository": {"full_name": "acme/infra"}})
    ));
    assert!(pokes(
        None,
        &json!({"ref": "refs/heads/any", "repository": {"full_name": "acme/infra"}})
    ));

    assert!(!pokes(None, &gitlab("refs/heads/feature", "acme/infra")));
    assert!(!pokes(None, &github("refs/tags/main", "acme/infra")));
    assert!(!pokes(
        Some("live"),
        &github("refs/heads/main", "acme/infra")
    ));
    assert!(!pokes(None, &gitlab("refs/heads/main", "acme/other")));
    assert!(!pokes(None, &gitlab("refs/heads/main", "../infra")));
    assert!(!pokes(None, &json!({"zen": "Keep it logically awesome."})));
}

#[test]
fn what_is_signed_and_no_json_is_told() {
    let (webhooks, _) = webhooks(&["s"], None);
    assert_eq!(
        webhooks.take(&token("s"), b"payload=%7B%7D"),
        Err(Error::NotJson)
    );
    assert_eq!(
        webhooks.take(&token("x"), b"payload=%7B%7D"),
        Err(Error::Unsigned)
    );
}

#[test]
fn a_secret_has_no_key_that_can_be_guessed() {
    let check = |secret: &str| check(&Secret::new(secret).unwrap());
    for weak in ["whsec_", "whsec_AAAAAAAAAAAAAAAA", "fifteen letters"] {
        assert_eq!(check(weak), Err(Weak), "{weak}");
    }
    for good in ["sixteen letters.", "whsec_AAAAAAAAAAAAAAAAAAAAAA=="] {
        assert_eq!(check(good), Ok(()), "{good}");
    }
}

#[test]
fn a_token_alone_needs_no_body() {
    let (webhooks, _) = webhooks(&["old", "new"], None);
    assert!(webhooks.knows(&token("new")));
    assert!(!webhooks.knows(&token("newer")) && !webhooks.knows(&Proof::default()));
}
