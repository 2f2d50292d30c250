//! Keys over time, from a source that a test commands.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::authn::http;
use crate::authn::oidc::keys::Document;
use crate::authn::oidc::tests::{Signer, config};

/// Publishes what a test says, and counts.
#[derive(Clone, Default)]
struct Script(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// `None`: away.
    keys: Mutex<Option<Vec<serde_json::Value>>>,
    asked: AtomicUsize,
}

impl Script {
    fn publish(&self, signers: &[&Signer]) {
        let keys = signers.iter().map(|signer| signer.jwk()).collect();
        *self.0.keys.lock().unwrap() = Some(keys);
    }

    fn go_away(&self) {
        *self.0.keys.lock().unwrap() = None;
    }

    fn asked(&self) -> usize {
        self.0.asked.load(Ordering::SeqCst)
    }
}

impl Source for Script {
    async fn fetch(&self) -> Result<Found, Error> {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        let keys = self.0.keys.lock().unwrap().clone();
        let keys = keys.ok_or_else(|| {
            Error::Http(http::Error::Unreachable {
                url: "https://issuer.example".to_owned(),
                reason: "away".to_owned(),
            })
        })?;
        let document: Document = serde_json::from_value(json!({ "keys": keys })).unwrap();
        Ok(Found {
            keys: KeySet::read(&document, &config()).unwrap(),
            date: None,
        })
    }
}

struct Fixture {
    keys: Arc<Keys>,
    withdrawn: watch::Receiver<u64>,
    _task: AbortOnDropHandle<()>,
}

fn start(script: &Script, min_refresh: Duration) -> Fixture {
    let pace = Pace {
        refresh: HOUR,
        min_refresh,
    };
    let withdrawn = watch::Sender::new(0);
    let keys = Keys::new("gitlab", pace, withdrawn.clone());
    let keys = Arc::new(keys);
    let task = tokio::spawn(Arc::clone(&keys).follow(script.clone(), Metrics::unread()));
    Fixture {
        keys,
        withdrawn: withdrawn.subscribe(),
        _task: AbortOnDropHandle::new(task),
    }
}

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);
/// Every unknown key may lead to a request.
const ALWAYS: Duration = Duration::ZERO;

#[tokio::test]
async fn the_first_token_waits_for_the_first_keys() {
    let (script, signer) = (Script::default(), Signer::rsa("a"));
    script.publish(&[&signer]);
    let fixture = start(&script, MINUTE);
    fixture.keys.naming(Some("a")).await.unwrap();
    fixture.keys.naming(None).await.unwrap();
    assert_eq!(script.asked(), 1);
}

#[tokio::test]
async fn ten_thousand_unknown_keys_are_one_request() {
    let (script, signer) = (Script::default(), Signer::rsa("a"));
    script.publish(&[&signer]);
    let fixture = start(&script, MINUTE);
    for number in 0..10_000 {
        let missing = fixture
            .keys
            .naming(Some(&format!("unknown-{number}")))
            .await;
        assert_eq!(missing.unwrap_err(), Missing::Unknown);
    }
    assert_eq!(script.asked(), 2, "the first one, and one for all of them");
    fixture.keys.naming(Some("a")).await.unwrap();
}

#[tokio::test]
async fn all_at_once_are_one_request_too() {
    let (script, signer) = (Script::default(), Signer::rsa("a"));
    script.publish(&[&signer]);
    let fixture = start(&script, MINUTE);
    let mut all = tokio::task::JoinSet::new();
    for number in 0..1000 {
        let keys = Arc::clone(&fixture.keys);
        all.spawn(async move { keys.naming(Some(&format!("unknown-{number}"))).await });
    }
    for missing in all.join_all().await {
        assert_eq!(missing.unwrap_err(), Missing::Unknown);
    }
    assert!(script.asked() <= 2, "{}", script.asked());
}

#[tokio::test]
async fn after_a_minute_an_unknown_key_may_be_asked_for_again() {
    let (script, signer) = (Script::default(), Signer::rsa("a"));
    script.publish(&[&signer]);
    let fixture = start(&script, MINUTE);
    fixture.keys.naming(Some("x")).await.unwrap_err();
    let state = fixture.keys.state.borrow().clone();
    let demanded = state.demanded.unwrap();
    let at = |after| fixture.keys.demand(state.answers, demanded + after);
    assert_eq!(at(MINUTE - Duration::from_millis(1)), Demand::Refused);
    assert_eq!(at(MINUTE), Demand::Begun);
}

#[tokio::test]
async fn a_new_key_is_found_when_a_token_names_it() {
    let (script, old, new) = (Script::default(), Signer::rsa("old"), Signer::rsa("new"));
    script.publish(&[&old]);
    let fixture = start(&script, MINUTE);
    fixture.keys.naming(Some("old")).await.unwrap();
    script.publish(&[&new, &old]);
    fixture.keys.naming(Some("new")).await.unwrap();
    fixture.keys.naming(Some("old")).await.unwrap();
    assert!(!fixture.withdrawn.has_changed().unwrap());
    assert_eq!(script.asked(), 2);
}

#[tokio::test]
async fn a_withdrawn_key_is_gone_and_told_of() {
    let (script, old, new) = (Script::default(), Signer::rsa("old"), Signer::rsa("new"));
    script.publish(&[&old]);
    let mut fixture = start(&script, MINUTE);
    let before = fixture.keys.naming(Some("old")).await.unwrap();
    let id = before.iter().next().unwrap().id;
    assert!(fixture.keys.publishes(id));
    script.publish(&[&new]);
    fixture.keys.naming(Some("new")).await.unwrap();
    fixture.withdrawn.changed().await.unwrap();
    assert!(!fixture.keys.publishes(id));
    assert_eq!(
        fixture.keys.naming(Some("old")).await.unwrap_err(),
        Missing::Unknown
    );
}

#[tokio::test]
async fn a_key_of_the_same_name_is_another_key() {
    let (script, first, second) = (Script::default(), Signer::rsa("a"), Signer::rsa("a"));
    script.publish(&[&first]);
    let mut fixture = start(&script, ALWAYS);
    let id = fixture.keys.naming(Some("a")).await.unwrap();
    let id = id.iter().next().unwrap().id;
    script.publish(&[&second]);
    fixture.keys.naming(Some("x")).await.unwrap_err();
    fixture.withdrawn.changed().await.unwrap();
    assert!(!fixture.keys.publishes(id));
}

#[tokio::test]
async fn known_keys_outlive_an_outage_and_unknown_ones_are_nobodys_fault() {
    let (script, known) = (Script::default(), Signer::rsa("known"));
    script.publish(&[&known]);
    let fixture = start(&script, MINUTE);
    fixture.keys.naming(Some("known")).await.unwrap();
    script.go_away();
    for _ in 0..3 {
        let missing = fixture.keys.naming(Some("new")).await.unwrap_err();
        let Missing::Unavailable { retry_after } = missing else {
            panic!("{missing:?}");
        };
        assert!((Duration::from_secs(1)..=MINUTE).contains(&retry_after));
        fixture.keys.naming(Some("known")).await.unwrap();
    }
    assert_eq!(script.asked(), 2);
}

#[tokio::test]
async fn an_issuer_that_is_away_from_the_beginning_is_asked_again() {
    let (script, signer) = (Script::default(), Signer::rsa("a"));
    let fixture = start(&script, ALWAYS);
    let missing = fixture.keys.naming(Some("a")).await.unwrap_err();
    assert!(matches!(missing, Missing::Unavailable { .. }));
    script.publish(&[&signer]);
    fixture.keys.naming(Some("a")).await.unwrap();
}
