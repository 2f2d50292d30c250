//! Who is refused, by what words, and that what runs keeps its place.

mod bytes;

use std::sync::Arc;

use ci_tunnel::config::value::ByteSize;
use jiff::SignedDuration;
use prometheus_client::registry::Registry;

use super::*;
use crate::authn::TokenId;
use crate::authn::tests::some_job;
use crate::identity::JobIdentity;
use crate::proxy::client::Client;

const FREE: Limit = Limit {
    requests_per_second: 0,
    concurrent: 0,
    bytes_per_second: ByteSize::bytes(0),
};

fn config() -> Config {
    Config {
        job: FREE,
        project: FREE,
        agent: FREE,
        ..Config::default()
    }
}

fn limits(config: &Config) -> Limits {
    Limits::new(config, &Metrics::new(&mut Registry::default()))
}

fn at_a_time(concurrent: u32) -> Limit {
    Limit { concurrent, ..FREE }
}

/// Jobs of projects, by their ids.
async fn jobs(named: &[(&str, &str)]) -> Vec<Authenticated> {
    let some = some_job().await;
    let job = |(project, id): &(&str, &str)| {
        let mut identity = JobIdentity::clone(&some.identity);
        identity.project.path = project.parse().unwrap();
        identity.job_id = Some((*id).to_owned());
        with(&some, identity)
    };
    named.iter().map(job).collect()
}

fn with(some: &Authenticated, identity: JobIdentity) -> Authenticated {
    let mut job = some.clone();
    job.identity = Arc::new(identity);
    job
}

#[tokio::test]
async fn a_refusal_names_the_limit_its_value_and_its_setting() {
    let jobs = jobs(&[("acme/shop", "1"), ("acme/shop", "2")]).await;
    let limits = limits(&Config {
        job: at_a_time(1),
        project: at_a_time(2),
        ..config()
    });
    let running = limits.admit(&jobs[0], None).unwrap();
    let over = limits.admit(&jobs[0], None).unwrap_err();
    assert_eq!(
        over.to_string(),
        "this job has reached its limit of 1 requests at a time (limits.job.concurrent in the server's configuration)"
    );
    assert!((1..=5).contains(&over.retry_after.as_secs()), "{over:?}");
    let _other = limits.admit(&jobs[1], None).unwrap();
    drop(running);
    let _again = limits
        .admit(&jobs[0], None)
        .expect("the place is free again");
}

#[tokio::test]
async fn an_agents_limit_is_over_all_projects_and_takes_no_other_place() {
    let jobs = jobs(&[("acme/shop", "1"), ("globex/web", "1"), ("acme/shop", "2")]).await;
    let limits = limits(&Config {
        job: at_a_time(1),
        agent: at_a_time(2),
        ..config()
    });
    let agent = |id| Some(AgentId(id));
    let first = limits.admit(&jobs[0], agent(1)).unwrap();
    let _second = limits.admit(&jobs[1], agent(1)).unwrap();
    let over = limits.admit(&jobs[2], agent(1)).unwrap_err();
    assert_eq!(
        (over.kind, over.bound, over.value),
        (Kind::Agent, Bound::Concurrent, 2)
    );
    // The job's own place, taken before the agent refused, is free.
    let _elsewhere = limits.admit(&jobs[2], agent(2)).unwrap();
    drop(first);
    let _third = limits.admit(&jobs[0], agent(1)).unwrap();
}

#[tokio::test]
async fn two_providers_projects_of_one_path_are_two() {
    let jobs = jobs(&[("acme/shop", "1")]).await;
    let limits = limits(&Config {
        project: at_a_time(1),
        ..config()
    });
    let _one = limits.admit(&jobs[0], None).unwrap();
    let mut identity = JobIdentity::clone(&jobs[0].identity);
    "github".clone_into(&mut identity.provider);
    let other = with(&jobs[0], identity);
    let _other = limits.admit(&other, None).unwrap();
}

#[tokio::test]
async fn a_rate_lets_twice_as_many_come_at_once() {
    let jobs = jobs(&[("acme/shop", "1"), ("acme/shop", "2")]).await;
    let limits = limits(&Config {
        project: Limit {
            requests_per_second: 3,
            ..FREE
        },
        ..config()
    });
    for number in 0..6 {
        limits.admit(&jobs[number % 2], None).unwrap();
    }
    let over = limits.admit(&jobs[0], None).unwrap_err();
    assert_eq!(
        (over.kind, over.bound, over.value),
        (Kind::Project, Bound::Rate, 3)
    );
    assert!(
        over.to_string()
            .contains("limits.project.requests_per_second")
    );
    assert!(over.retry_after <= Duration::from_secs(1), "{over:?}");
}

#[tokio::test]
async fn other_limits_hold_for_what_comes_and_leave_what_runs() {
    let jobs = jobs(&[("acme/shop", "1")]).await;
    let limits = limits(&Config {
        job: at_a_time(2),
        ..config()
    });
    let one = limits.admit(&jobs[0], None).unwrap();
    let _two = limits.admit(&jobs[0], None).unwrap();
    limits.change(&Config {
        job: at_a_time(1),
        ..config()
    });
    assert_eq!(limits.admit(&jobs[0], None).unwrap_err().value, 1);
    drop(one);
    assert_eq!(
        limits.admit(&jobs[0], None).unwrap_err().value,
        1,
        "one runs still"
    );
    limits.change(&config());
    let _free = limits.admit(&jobs[0], None).unwrap();
}

#[tokio::test]
async fn whoever_is_gone_is_forgotten() {
    let some = jobs(&[("acme/shop", "1")]).await.remove(0);
    let limit = Limit {
        requests_per_second: 1_000_000,
        concurrent: 5,
        bytes_per_second: ByteSize::mib(1),
    };
    let limits = limits(&Config {
        job: limit,
        ..config()
    });
    for number in 0..10_000 {
        let identity = JobIdentity {
            job_id: Some(number.to_string()),
            ..JobIdentity::clone(&some.identity)
        };
        let job = with(&some, identity);
        limits.admit(&job, None).unwrap();
        let address = std::net::Ipv4Addr::from_bits(number);
        limits.addresses.rejected(address.into());
        drop(limits.addresses.enter(address.into()));
    }
    limits.sweep();
    assert_eq!(limits.job.remembered(), 0);
    assert!(limits.addresses.remembered() <= 10_000);
}

#[tokio::test]
async fn an_address_has_so_many_strangers_and_so_many_rejections() {
    let limits = limits(&Config {
        address: config::AddressLimit {
            connections: 2,
            rejected_per_second: 3,
        },
        ..config()
    });
    let addresses = &limits.addresses;
    let address = |text: &str| text.parse().unwrap();
    let one = addresses.enter(address("192.0.2.1")).unwrap();
    let _two = addresses.enter(address("::ffff:192.0.2.1")).unwrap();
    assert!(addresses.enter(address("192.0.2.1")).is_none());
    let _other = addresses.enter(address("192.0.2.2")).unwrap();
    drop(one);
    let _three = addresses.enter(address("192.0.2.1")).unwrap();

    for host in ["2001:db8::1", "2001:db8::2", "2001:db8::ffff:3"] {
        addresses.check(address("2001:db8::9")).unwrap();
        addresses.rejected(address(host));
    }
    let over = addresses.check(address("2001:db8::9")).unwrap_err();
    assert!(
        over.to_string()
            .contains("limits.address.rejected_per_second"),
        "{over}"
    );
    addresses
        .check(address("2001:db8:0:1::9"))
        .expect("another network");
    tokio::time::sleep(over.retry_after).await;
    addresses.check(address("2001:db8::9")).unwrap();
    limits.sweep();
    assert_eq!(addresses.remembered(), 2, "those with connections");
    assert!(addresses.take_unsaid(SignedDuration::ZERO).is_empty());
}

#[tokio::test]
async fn what_strangers_are_refused_is_said_a_few_times_and_then_counted() {
    let limits = limits(&Config {
        address: config::AddressLimit {
            connections: 0,
            rejected_per_second: 2,
        },
        ..config()
    });
    let address: std::net::SocketAddr = "192.0.2.1:1".parse().unwrap();
    let client = Client::new(address, &limits.addresses).unwrap();
    // GitLab is away: not the fault of anybody here, so that nobody is slowed for it.
    let said: Vec<_> = (0..5).map(|_| client.refused(false)).collect();
    assert_eq!(said, [true, true, false, false, false]);
    client.may_ask().unwrap();
    assert!(client.refused(true) && client.refused(true));
    client.may_ask().unwrap_err();
    client.unheard();
    let longer = SignedDuration::from_hours(1);
    assert!(limits.addresses.take_unsaid(longer).is_empty());
    drop(client);
    limits.sweep();
    let unsaid = limits.addresses.take_unsaid(SignedDuration::ZERO);
    let counts: Vec<_> = unsaid
        .iter()
        .map(|(from, gap)| (*from, gap.count))
        .collect();
    assert_eq!(counts, [(address.ip(), 4)]);

    let known = Client::new(address, &limits.addresses).unwrap();
    known.authenticated();
    assert!((0..9).all(|_| known.refused(true) && known.may_ask().is_ok()));
}

#[tokio::test]
async fn a_job_without_an_id_is_one_job_whatever_sessions_it_gets() {
    let job = jobs(&[("acme/shop", "1")]).await.remove(0);
    let identity = JobIdentity {
        job_id: None,
        ..JobIdentity::clone(&job.identity)
    };
    let job = with(&job, identity);
    let session = |number: u64| {
        let mut session = job.clone();
        session.token = TokenId(format!("session-{number}"));
        session.parents = vec![TokenId("key:1".to_owned()), job.token.clone()];
        session.bound_agent = Some(AgentId(number));
        session
    };
    let limits = limits(&Config {
        job: at_a_time(2),
        ..config()
    });
    let _first = limits.admit(&job, None).unwrap();
    let _second = limits.admit(&session(1), None).unwrap();
    assert_eq!(limits.admit(&session(2), None).unwrap_err().kind, Kind::Job);
    // An ID token has its key for a parent, which many jobs share.
    let mut other = job.clone();
    other.token = TokenId("other".to_owned());
    other.parents = vec![TokenId("key:1".to_owned())];
    let _third = limits.admit(&other, None).unwrap();
}
