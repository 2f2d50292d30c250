//! Good tokens and their ends. Attacks and sessions have their own files.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::*;
use crate::identity::{AgentId, Environment, Project};

mod attacks;
mod sessions;

const HOUR: Duration = Duration::from_secs(3600);

pub async fn authenticator() -> Authenticator {
    Authenticator::new(Config::default(), Store::in_memory().await.unwrap())
        .await
        .unwrap()
}

fn job() -> JobIdentity {
    JobIdentity {
        provider: "local".to_owned(),
        identity_prefix: None,
        project: Project {
            path: "acme/shop".parse().unwrap(),
            id: Some(12),
        },
        groups: Vec::new(),
        job_id: Some("345".to_owned()),
        pipeline_id: None,
        pipeline_source: None,
        git_ref: Some("main".to_owned()),
        ref_type: None,
        ref_protected: Some(true),
        environment: Some(Environment {
            name: Some("prod".to_owned()),
            slug: None,
            tier: None,
            protected: None,
        }),
        user: None,
        runner_environment: None,
        expires_at: None,
    }
}

/// A job that was let in.
pub async fn some_job() -> Authenticated {
    let_in(&authenticator().await).await
}

pub async fn let_in(authenticator: &Authenticator) -> Authenticated {
    let issued = authenticator.issue_job_token(&job(), HOUR).await.unwrap();
    let known = authenticator.authenticate_job(&issued.credential).await;
    Authenticated::clone(&known.unwrap())
}

fn for_agent(agent: u64, issued: &Issued) -> Credential {
    Credential {
        agent: AgentId(agent),
        job: issued.credential.clone(),
    }
}

async fn session(authenticator: &Authenticator, agent: u64) -> (Issued, Issued) {
    let parent = authenticator.issue_job_token(&job(), HOUR).await.unwrap();
    let authenticated = authenticator
        .authenticate_job(&parent.credential)
        .await
        .unwrap();
    let session = authenticator
        .issue_session(&authenticated, AgentId(agent), None)
        .unwrap();
    (parent, session)
}

#[tokio::test]
async fn a_job_token_says_whose_job_it_is() {
    let authenticator = authenticator().await;
    let issued = authenticator.issue_job_token(&job(), HOUR).await.unwrap();
    for agent in [1, 2] {
        let authenticated = authenticator
            .authenticate(&for_agent(agent, &issued))
            .await
            .unwrap();
        assert_eq!(
            *authenticated.identity,
            JobIdentity {
                expires_at: Some(issued.expires_at),
                ..job()
            }
        );
        assert_eq!(
            (&authenticated.token, authenticated.bound_agent),
            (&issued.token, None)
        );
        assert_eq!(authenticated.expires_at, issued.expires_at);
    }
    let listed = authenticator.store.job_tokens().await.unwrap();
    assert_eq!(listed[0].jti, issued.token.0);
    assert_eq!(
        listed[0].description,
        "acme/shop, job 345, ref main, environment prod"
    );
}

#[tokio::test]
async fn a_repeated_token_is_verified_once() {
    let authenticator = authenticator().await;
    let issued = authenticator.issue_job_token(&job(), HOUR).await.unwrap();
    let first = authenticator
        .authenticate(&for_agent(1, &issued))
        .await
        .unwrap();
    let second = authenticator
        .authenticate(&for_agent(2, &issued))
        .await
        .unwrap();
    assert!(Arc::ptr_eq(&first, &second));
}

#[tokio::test]
async fn what_is_remembered_ends_with_the_token() {
    let authenticator = authenticator().await;
    let issued = authenticator.issue_job_token(&job(), HOUR).await.unwrap();
    let known = authenticator
        .authenticate_job(&issued.credential)
        .await
        .unwrap();
    let ended = Authenticated {
        expires_at: SystemTime::now(),
        ..Authenticated::clone(&known)
    };
    authenticator
        .verified
        .insert(issued.credential.fingerprint(), Arc::new(ended));
    assert_eq!(
        authenticator
            .authenticate_job(&issued.credential)
            .await
            .unwrap_err(),
        Error::Expired
    );
}

#[tokio::test]
async fn a_token_is_good_up_to_its_last_second() {
    let authenticator = authenticator().await;
    let issued = authenticator.issue_job_token(&job(), HOUR).await.unwrap();
    let verify = async |now| authenticator.verify(issued.credential.expose(), now).await;
    verify(issued.expires_at - Duration::from_secs(1))
        .await
        .unwrap();
    assert_eq!(verify(issued.expires_at).await.unwrap_err(), Error::Expired);
}

#[tokio::test]
async fn revoking_is_at_once_and_wakes_running_requests() {
    let authenticator = authenticator().await;
    let issued = authenticator.issue_job_token(&job(), HOUR).await.unwrap();
    let running = authenticator
        .authenticate_job(&issued.credential)
        .await
        .unwrap();
    let mut changes = authenticator.changes();
    running.still_valid().unwrap();
    authenticator.revoke(&issued.token, false).await.unwrap();
    changes.changed().await.unwrap();
    assert_eq!(running.still_valid(), Err(Error::Revoked));
    assert_eq!(
        authenticator
            .authenticate_job(&issued.credential)
            .await
            .unwrap_err(),
        Error::Revoked
    );
}

#[tokio::test]
async fn another_process_can_revoke() {
    let dir = tempfile::tempdir().unwrap();
    let open = async || {
        let store = Store::open(dir.path()).await.unwrap();
        Authenticator::new(Config::default(), store).await.unwrap()
    };
    let (server, command) = (open().await, open().await);
    let issued = command.issue_job_token(&job(), HOUR).await.unwrap();
    let running = server.authenticate_job(&issued.credential).await.unwrap();
    let mut changes = server.changes();
    command.revoke(&issued.token, false).await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), changes.changed())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(running.still_valid(), Err(Error::Revoked));
}

#[tokio::test]
async fn an_unlisted_token_is_revoked_only_on_demand() {
    let authenticator = authenticator().await;
    let (_, session) = session(&authenticator, 7).await;
    let refused = authenticator.revoke(&session.token, false).await;
    assert!(matches!(refused, Err(IssueError::Unlisted(_))));
    authenticator.revoke(&session.token, true).await.unwrap();
    assert_eq!(
        authenticator
            .authenticate_job(&session.credential)
            .await
            .unwrap_err(),
        Error::Revoked
    );
}

#[tokio::test]
async fn lifetimes_are_bounded() {
    let authenticator = authenticator().await;
    for lifetime in [Duration::ZERO, 24 * HOUR + Duration::from_secs(1)] {
        let error = authenticator
            .issue_job_token(&job(), lifetime)
            .await
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("at most 1d (authn.local_job_tokens.max_lifetime)"),
            "{error}"
        );
    }
    let parent = authenticator
        .issue_job_token(&job(), 24 * HOUR)
        .await
        .unwrap();
    let parent = authenticator
        .authenticate_job(&parent.credential)
        .await
        .unwrap();
    authenticator
        .issue_session(&parent, AgentId(7), Some(12 * HOUR))
        .unwrap();
    let error = authenticator
        .issue_session(&parent, AgentId(7), Some(13 * HOUR))
        .unwrap_err();
    assert!(
        error.to_string().contains("authn.sessions.max_lifetime"),
        "{error}"
    );
}

#[tokio::test]
async fn turned_off_is_off() {
    let store = Store::in_memory().await.unwrap();
    let issued = Authenticator::new(Config::default(), store.clone())
        .await
        .unwrap()
        .issue_job_token(&job(), HOUR)
        .await
        .unwrap();
    let mut config = Config::default();
    config.local_job_tokens.enabled = false;
    let authenticator = Authenticator::new(config, store).await.unwrap();
    assert_eq!(
        authenticator
            .authenticate_job(&issued.credential)
            .await
            .unwrap_err(),
        Error::Disabled
    );
    assert!(matches!(
        authenticator.issue_job_token(&job(), HOUR).await,
        Err(IssueError::Disabled)
    ));
}

#[test]
fn config_is_strict_and_has_defaults() {
    let read = |text: &str| ci_tunnel::config::load::from_str::<Config>(text, "server.yaml");
    assert_eq!(read("").unwrap(), Config::default());
    let config = read("sessions: {lifetime: 1h30m}\nlocal_job_tokens: {enabled: false}").unwrap();
    assert_eq!(config.sessions.lifetime, HOUR + HOUR / 2);
    assert_eq!(config.sessions.max_lifetime, 12 * HOUR);
    assert!(!config.local_job_tokens.enabled);
    for wrong in [
        "session: {}",
        "sessions: {lifetime: 90}",
        "sessions: {max: 1h}",
        "sessions: {lifetime: 0s}",
        "sessions: {lifetime: 13h}",
        "sessions: {max_lifetime: 30m}",
    ] {
        read(wrong).unwrap_err();
    }
}
