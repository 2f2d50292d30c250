//! What every backend must do. Each case gets a new, empty store.

mod ids;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{AgentTokenId, Error, JobTokenRecord, Refusal, Store};
use crate::identity::{Agent, AgentId};
pub(super) use ids::given_ids_stay_with_their_agents;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Declares one test a case for the backend whose new store `$open` gives: a value that keeps it alive, and the store.
macro_rules! run {
    ($open:path: $($case:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $case() {
            let (_keep, store) = $open().await;
            crate::store::suite::$case(&store).await;
        }
    )*};
    ($open:path) => {
        crate::store::suite::run!(
            $open: agents_are_found, names_are_unique_whatever_their_case, ids_are_never_used_again,
            several_tokens_an_agent, tokens_expire, tokens_are_revoked, last_use_is_noted,
            deleting_an_agent_voids_its_tokens, secrets_stay, job_tokens_are_listed, revocations_stay_until_their_end,
            changes_are_published, given_ids_stay_with_their_agents
        );
    };
}
pub(crate) use run;

pub(super) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

pub(super) async fn agent(store: &Store, project: &str, name: &str) -> Result<Agent, Error> {
    store
        .create_agent(&project.parse().unwrap(), &name.parse().unwrap(), now())
        .await
}

pub(super) async fn agents_are_found(store: &Store) {
    let made = agent(store, "acme/Infra", "prod").await.unwrap();
    let found = store.agent(made.id).await.unwrap().unwrap();
    assert_eq!((&found.agent, found.created_at), (&made, now()));
    assert_eq!(found.agent.to_string(), "acme/Infra:prod");
    let (path, name) = ("ACME/infra".parse().unwrap(), "prod".parse().unwrap());
    assert_eq!(
        store
            .agent_named(&path, &name)
            .await
            .unwrap()
            .unwrap()
            .agent,
        made
    );
    assert_eq!(store.agents().await.unwrap(), [found]);
    for absent in [0, made.id.0 + 1, u64::MAX] {
        assert_eq!(store.agent(AgentId(absent)).await.unwrap(), None);
    }
}

pub(super) async fn names_are_unique_whatever_their_case(store: &Store) {
    let made = agent(store, "acme/infra", "prod").await.unwrap();
    let error = agent(store, "Acme/INFRA", "prod").await.unwrap_err();
    assert!(
        matches!(&error, Error::AgentExists { agent, id } if agent == "acme/infra:prod" && *id == made.id.0),
        "{error}"
    );
    agent(store, "acme/infra", "staging").await.unwrap();
    agent(store, "acme/other", "prod").await.unwrap();
    assert_eq!(store.agents().await.unwrap().len(), 3);
}

pub(super) async fn ids_are_never_used_again(store: &Store) {
    let first = agent(store, "acme/infra", "prod").await.unwrap();
    store.delete_agent(first.id).await.unwrap();
    assert!(matches!(
        store.delete_agent(first.id).await,
        Err(Error::UnknownAgent(_))
    ));
    let second = agent(store, "acme/infra", "prod").await.unwrap();
    assert!(second.id > first.id);
}

pub(super) async fn several_tokens_an_agent(store: &Store) {
    let agent = agent(store, "acme/infra", "prod").await.unwrap();
    let (one, first) = store
        .create_agent_token(agent.id, "one", None, now())
        .await
        .unwrap();
    let (two, second) = store
        .create_agent_token(agent.id, "two", Some(now() + DAY), now())
        .await
        .unwrap();
    assert_eq!(
        store.agent_tokens(agent.id).await.unwrap(),
        [one.clone(), two.clone()]
    );
    for (record, token) in [(&one, &first), (&two, &second)] {
        assert_eq!(
            store.verify_agent_token(token, now()).await.unwrap(),
            (agent.clone(), record.clone())
        );
    }
    let stranger = super::AgentToken::generate();
    assert!(matches!(
        store.verify_agent_token(&stranger, now()).await,
        Err(Refusal::Unknown)
    ));
    let absent = store
        .create_agent_token(AgentId(agent.id.0 + 1), "x", None, now())
        .await;
    assert!(matches!(absent, Err(Error::UnknownAgent(_))));
}

pub(super) async fn tokens_expire(store: &Store) {
    let agent = agent(store, "acme/infra", "prod").await.unwrap();
    let (record, token) = store
        .create_agent_token(agent.id, "", Some(now() + DAY), now())
        .await
        .unwrap();
    let last = now() + DAY - Duration::from_secs(1);
    store.verify_agent_token(&token, last).await.unwrap();
    store.agent_token_valid(record.id, last).await.unwrap();
    let in_force = |now| store.agent_tokens_in_force(now);
    assert!(in_force(last).await.unwrap().contains(&record.id));
    assert!(!in_force(now() + DAY).await.unwrap().contains(&record.id));
    assert!(matches!(
        store.verify_agent_token(&token, now() + DAY).await,
        Err(Refusal::Expired)
    ));
    assert!(matches!(
        store.agent_token_valid(record.id, now() + DAY).await,
        Err(Refusal::Expired)
    ));
}

pub(super) async fn tokens_are_revoked(store: &Store) {
    let agent = agent(store, "acme/infra", "prod").await.unwrap();
    let (revoked, token) = store
        .create_agent_token(agent.id, "old", None, now())
        .await
        .unwrap();
    let (_, other) = store
        .create_agent_token(agent.id, "new", None, now())
        .await
        .unwrap();
    store.revoke_agent_token(revoked.id, now()).await.unwrap();
    store
        .revoke_agent_token(revoked.id, now() + DAY)
        .await
        .unwrap();
    assert_eq!(
        store.agent_tokens(agent.id).await.unwrap()[0].revoked_at,
        Some(now())
    );
    let in_force = store.agent_tokens_in_force(now()).await.unwrap();
    assert_eq!(in_force.into_iter().collect::<Vec<_>>(), [AgentTokenId(2)]);
    assert!(matches!(
        store.verify_agent_token(&token, now()).await,
        Err(Refusal::Revoked)
    ));
    assert!(matches!(
        store.agent_token_valid(revoked.id, now()).await,
        Err(Refusal::Revoked)
    ));
    store.verify_agent_token(&other, now()).await.unwrap();
    let absent = store.revoke_agent_token(AgentTokenId(999), now()).await;
    assert!(matches!(
        absent,
        Err(Error::UnknownAgentToken(AgentTokenId(999)))
    ));
}

pub(super) async fn last_use_is_noted(store: &Store) {
    let agent = agent(store, "acme/infra", "prod").await.unwrap();
    let (_, token) = store
        .create_agent_token(agent.id, "", None, now())
        .await
        .unwrap();
    let published = *store.changes().borrow();
    store.verify_agent_token(&token, now()).await.unwrap();
    store.verify_agent_token(&token, now() + DAY).await.unwrap();
    store.last_used.flush(store.backend.as_ref()).await;
    assert_eq!(
        store.agent_tokens(agent.id).await.unwrap()[0].last_used_at,
        Some(now() + DAY)
    );
    assert_eq!(store.backend.generation().await.unwrap(), published);
}

pub(super) async fn deleting_an_agent_voids_its_tokens(store: &Store) {
    let agent = agent(store, "acme/infra", "prod").await.unwrap();
    let (record, token) = store
        .create_agent_token(agent.id, "", None, now())
        .await
        .unwrap();
    store.delete_agent(agent.id).await.unwrap();
    assert!(matches!(
        store.verify_agent_token(&token, now()).await,
        Err(Refusal::Unknown)
    ));
    assert!(matches!(
        store.agent_token_valid(record.id, now()).await,
        Err(Refusal::Unknown)
    ));
    assert_eq!(store.agent_tokens(agent.id).await.unwrap(), []);
}

pub(super) async fn secrets_stay(store: &Store) {
    let key = store.secret("signing").await.unwrap();
    assert_eq!(
        store.secret("signing").await.unwrap().expose(),
        key.expose()
    );
    assert_ne!(store.secret("other").await.unwrap().expose(), key.expose());
    assert_eq!(format!("{key:?}"), "SecretKey(***)");
}

pub(super) async fn job_tokens_are_listed(store: &Store) {
    let record = |jti: &str, issued_at| JobTokenRecord {
        jti: jti.to_owned(),
        description: format!("job of {jti}"),
        issued_at,
        expires_at: issued_at + DAY,
        revoked: false,
    };
    let (one, mut two) = (record("one", now()), record("two", now() + DAY));
    store.record_job_token(&one).await.unwrap();
    store.record_job_token(&two).await.unwrap();
    store.revoke_job_token("two", now() + DAY).await.unwrap();
    two.revoked = true;
    assert_eq!(
        store.job_tokens().await.unwrap(),
        [two.clone(), one.clone()]
    );
    assert_eq!(store.job_token("two").await.unwrap(), Some(two.clone()));
    assert_eq!(store.job_token("three").await.unwrap(), None);
    store
        .backend
        .forget(now(), one.expires_at + Duration::from_secs(1))
        .await
        .unwrap();
    assert_eq!(store.job_tokens().await.unwrap(), [two]);
}

pub(super) async fn revocations_stay_until_their_end(store: &Store) {
    store.revoke_job_token("a", now() + DAY).await.unwrap();
    store.revoke_job_token("a", now()).await.unwrap();
    store.revoke_job_token("b", now()).await.unwrap();
    let kept = |revocations: Vec<super::Revocation>| {
        revocations
            .into_iter()
            .map(|one| (one.jti, one.until))
            .collect::<Vec<_>>()
    };
    let (a, b) = (("a".to_owned(), now() + DAY), ("b".to_owned(), now()));
    assert_eq!(kept(store.revocations().await.unwrap()), [a.clone(), b]);
    store
        .backend
        .forget(now() + Duration::from_secs(1), now())
        .await
        .unwrap();
    assert_eq!(kept(store.revocations().await.unwrap()), [a]);
}

pub(super) async fn changes_are_published(store: &Store) {
    let mut changes = store.changes();
    let mut seen = |what: &str| {
        assert!(changes.has_changed().unwrap(), "{what} was not published");
        changes.mark_unchanged();
    };
    let agent = agent(store, "acme/infra", "prod").await.unwrap();
    seen("a new agent");
    let (record, _) = store
        .create_agent_token(agent.id, "", None, now())
        .await
        .unwrap();
    seen("a new token");
    store.revoke_agent_token(record.id, now()).await.unwrap();
    seen("a revoked token");
    store.revoke_job_token("jti", now()).await.unwrap();
    seen("a revoked job token");
    store.delete_agent(agent.id).await.unwrap();
    seen("a deleted agent");
}
