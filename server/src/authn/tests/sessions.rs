//! Session credentials: bound to an agent, and hanging on their parents.

use super::*;

#[tokio::test]
async fn a_session_is_for_one_agent() {
    let authenticator = authenticator().await;
    let (parent, session) = session(&authenticator, 7).await;
    let authenticated = authenticator
        .authenticate(&for_agent(7, &session))
        .await
        .unwrap();
    assert_eq!(
        *authenticated.identity,
        JobIdentity {
            expires_at: Some(session.expires_at),
            ..job()
        }
    );
    assert_eq!(authenticated.parents, [parent.token]);
    for _ in 0..2 {
        let error = authenticator
            .authenticate(&for_agent(8, &session))
            .await
            .unwrap_err();
        assert_eq!(
            error,
            Error::WrongAgent {
                bound: AgentId(7),
                asked: AgentId(8)
            }
        );
    }
}

#[tokio::test]
async fn a_session_ends_when_its_parent_is_revoked() {
    let authenticator = authenticator().await;
    let (parent, session) = session(&authenticator, 7).await;
    authenticator
        .authenticate(&for_agent(7, &session))
        .await
        .unwrap();
    authenticator.revoke(&parent.token, false).await.unwrap();
    assert_eq!(
        authenticator
            .authenticate(&for_agent(7, &session))
            .await
            .unwrap_err(),
        Error::Revoked
    );
}

#[tokio::test]
async fn a_session_gives_no_session() {
    let authenticator = authenticator().await;
    let (parent, session) = session(&authenticator, 7).await;
    let authenticated = authenticator
        .authenticate(&for_agent(7, &session))
        .await
        .unwrap();
    let again = authenticator.issue_session(&authenticated, AgentId(7), None);
    assert!(matches!(again, Err(IssueError::FromSession)));

    let authenticated = authenticator
        .authenticate_job(&parent.credential)
        .await
        .unwrap();
    authenticator.revoke(&parent.token, false).await.unwrap();
    let late = authenticator.issue_session(&authenticated, AgentId(7), None);
    assert!(matches!(late, Err(IssueError::Parent(Error::Revoked))));
}

#[tokio::test]
async fn a_revocation_counts_after_the_end_too() {
    let authenticator = authenticator().await;
    let (parent, session) = session(&authenticator, 7).await;
    let known = authenticator
        .authenticate(&for_agent(7, &session))
        .await
        .unwrap();
    let ended = Authenticated {
        expires_at: std::time::UNIX_EPOCH,
        ..(*known).clone()
    };
    assert_eq!(ended.still_valid(), Err(Error::Expired));
    authenticator.revoke(&parent.token, false).await.unwrap();
    assert_eq!(ended.still_valid(), Err(Error::Revoked));
}

#[tokio::test]
async fn a_session_ends_with_the_word_of_its_issuer() {
    let store = Store::in_memory().await.unwrap();
    let configured = async |provider: serde_json::Value| {
        let config = serde_json::from_value(serde_json::json!({"providers": [provider]})).unwrap();
        Authenticator::new(config, store.clone()).await.unwrap()
    };
    let provider = |host: &str| {
        serde_json::json!({"name": "ci", "type": "gitlab", "url": format!("https://{host}"),
            "oidc": {"audiences": ["x"]}})
    };
    let before = configured(provider("gitlab.example.com")).await;
    let parent = let_in(&before).await;
    let parent = Authenticated {
        identity: Arc::new(JobIdentity {
            provider: "ci".to_owned(),
            ..job()
        }),
        ..parent
    };
    let session = before.issue_session(&parent, AgentId(7), None).unwrap();
    let same = configured(provider("gitlab.example.com")).await;
    same.authenticate(&for_agent(7, &session)).await.unwrap();
    let without = serde_json::json!({"name": "ci", "type": "gitlab",
        "url": "https://gitlab.example.com", "job_tokens": {}});
    for other in [provider("gitlab.example.org"), without] {
        let after = configured(other).await;
        let refused = after.authenticate(&for_agent(7, &session)).await;
        assert_eq!(refused.unwrap_err(), Error::ProviderGone("ci".to_owned()));
    }
}
