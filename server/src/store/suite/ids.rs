//! Agents under ids that another system gave them.

use super::{agent, now};
use crate::identity::{Agent, AgentId};
use crate::store::{Error, Store};

pub(in crate::store) async fn given_ids_stay_with_their_agents(store: &Store) {
    let automatic = agent(store, "acme/infra", "auto").await.unwrap();
    let give = async |id, name: &str| {
        let given = Agent {
            id: AgentId(id),
            project: "acme/infra".parse().unwrap(),
            name: name.parse().unwrap(),
        };
        store.create_agent_with_id(&given, now()).await
    };
    give(4242, "prod").await.unwrap();
    let given = async |id| store.agent(id).await.unwrap().unwrap().id_given;
    assert!(given(AgentId(4242)).await && !given(automatic.id).await);
    // A smaller one than others have is as good.
    give(42, "staging").await.unwrap();
    assert!(agent(store, "acme/infra", "next").await.unwrap().id > AgentId(4242));

    let taken = |outcome| matches!(outcome, Err(Error::AgentIdTaken(_)));
    assert!(taken(give(4242, "other").await) && taken(give(automatic.id.0, "other").await));
    assert!(matches!(
        give(7, "prod").await,
        Err(Error::AgentExists { id: 4242, .. })
    ));
    for impossible in [0, u64::MAX] {
        let outcome = give(impossible, "other").await;
        assert!(matches!(outcome, Err(Error::AgentIdRange(_))));
    }
    for id in [AgentId(4242), automatic.id] {
        store.delete_agent(id).await.unwrap();
        assert!(taken(give(id.0, "other").await), "{id} was another's");
    }
    // The same agent again, which is what GitLab means by the id.
    give(4242, "prod").await.unwrap();
}
