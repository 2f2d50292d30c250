//! `decide` against a plain model of the rules, for 100,000 files and jobs by chance.
//!
//! Which they are depends on `DECIDE_SEED` alone; a failure names the case, and `DECIDE_CASE` runs that one only.
//! `DECIDE_CASES` sets how many there are.
#![allow(missing_docs, clippy::unwrap_used)]

mod draw;
mod model;
mod names;

use std::str::FromStr;
use std::thread;

use ci_tunnel::protocol::identity::KubernetesIdentity;
use ci_tunnel_server::access::{Rules, Tier, decide, explain};
use ci_tunnel_server::identity::{Agent, AgentId, JobIdentity};
use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use draw::Configuration;
use model::Decision;
use names::Identity;

const CASES: u64 = 100_000;
const SEED: u64 = 20_261_123;

#[test]
fn decide_is_the_model() {
    let seed = setting("DECIDE_SEED").unwrap_or(SEED);
    if let Some(case) = setting("DECIDE_CASE") {
        run(seed, case).unwrap_or_else(|error| panic!("{error}"));
        return;
    }
    let cases = setting("DECIDE_CASES").unwrap_or(CASES);
    let threads = thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    let part = |first: u64| {
        let (mut permits, mut failed) = (0_u64, Vec::new());
        for case in (first..cases).step_by(usize::try_from(threads).unwrap()) {
            match run(seed, case) {
                Ok(permitted) => permits += u64::from(permitted),
                Err(error) => failed.push(error),
            }
        }
        (permits, failed)
    };
    let (permits, failed) = thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|first| scope.spawn(move || part(first)))
            .collect();
        let results = parts.into_iter().map(|part| part.join().unwrap());
        results.fold((0, Vec::new()), |(permits, mut failed), (more, others)| {
            failed.extend(others);
            (permits + more, failed)
        })
    });
    println!("{cases} cases of seed {seed}: {permits} permits");
    let shown = failed.iter().take(3).cloned().collect::<Vec<_>>();
    assert!(
        failed.is_empty(),
        "{} cases differ:\n{}",
        failed.len(),
        shown.join("\n")
    );
    // Cases that are all denied, or all allowed, would show nothing.
    assert!(
        (cases / 10..cases * 9 / 10).contains(&permits) || cases < 1_000,
        "{permits} permits"
    );
}

fn setting<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

/// Whether the job is let in; what differs otherwise.
fn run(seed: u64, case: u64) -> Result<bool, String> {
    let mut rng = StdRng::seed_from_u64(seed.wrapping_mul(1 << 32).wrapping_add(case));
    let job = draw::job(&mut rng);
    let configuration = draw::configuration(&mut rng, &job);
    let agent = Agent {
        id: AgentId(7),
        project: configuration.project.parse().unwrap(),
        name: "prod".parse().unwrap(),
    };
    let text = configuration.text();
    let rules = Rules::parse(&text, "config.yaml")
        .map_err(|error| error.to_string())?
        .of_provider(configuration.provider);
    let told = |what: &str| {
        let Configuration {
            provider, project, ..
        } = &configuration;
        format!(
            "DECIDE_SEED={seed} DECIDE_CASE={case}: {what}\n{job:?}\nagent of {project}, repository of {provider:?}\n{text}"
        )
    };
    let (decided, expected) = (
        decided(&job, &agent, &rules),
        model::decide(&job, &configuration),
    );
    if decided != expected {
        return Err(told(&format!(
            "decided {decided:?}, the model {expected:?}"
        )));
    }
    let explained = explain(&job, &agent, &rules).decision;
    if explained != decide(&job, &agent, &rules) {
        return Err(told("explain decides otherwise"));
    }
    Ok(decided != Decision::Deny)
}

fn decided(job: &JobIdentity, agent: &Agent, rules: &Rules) -> Decision {
    let Ok(permit) = decide(job, agent, rules) else {
        return Decision::Deny;
    };
    let identity = match permit.identity() {
        KubernetesIdentity::Agent => Identity::Agent,
        KubernetesIdentity::Impersonate(identity) => Identity::Impersonated {
            username: identity.username.clone(),
            groups: identity.groups.clone(),
            extra: identity.extra.clone(),
        },
    };
    Decision::Permit {
        tier: permit.rule().tier(),
        index: permit.rule().index(),
        identity,
    }
}

/// Names of two providers' jobs are never the same, whatever the jobs are called.
#[test]
fn jobs_of_two_providers_are_two_identities() {
    let all = "ci_access: {instance: {access_as: {KIND: {}}}}";
    let agent = Agent {
        id: AgentId(7),
        project: "acme/infra".parse().unwrap(),
        name: "prod".parse().unwrap(),
    };
    let mut rng = StdRng::seed_from_u64(SEED);
    let names = |job: &JobIdentity| -> Vec<String> {
        let kinds = ["ci_job", "ci_user"].map(|kind| all.replace("KIND", kind));
        let decided = kinds.iter().map(|text| {
            let rules = Rules::parse(text, "config.yaml").unwrap();
            decided(job, &agent, &rules.of_provider(Some(&job.provider)))
        });
        decided
            .flat_map(|decision| match decision {
                Decision::Permit {
                    tier: Tier::Instance,
                    identity:
                        Identity::Impersonated {
                            username, groups, ..
                        },
                    ..
                } => groups.into_iter().chain([username]).collect(),
                _ => Vec::new(),
            })
            .collect()
    };
    let mut told = 0;
    for _ in 0..5_000 {
        let (one, other) = (draw::job(&mut rng), draw::job(&mut rng));
        // The operator vouches for local jobs, under GitLab's names too.
        if one.provider == other.provider
            || [&one, &other].iter().any(|job| job.provider == "local")
        {
            continue;
        }
        let (one, other) = (names(&one), names(&other));
        told += usize::from(!one.is_empty() && !other.is_empty());
        assert!(
            one.iter().all(|name| !other.contains(name)),
            "{one:?} {other:?}"
        );
    }
    assert!(told > 500, "{told}");
}

/// Within a provider, two projects or groups share no name, whether their numbers are known or not.
#[test]
fn no_path_passes_for_a_number() {
    let mut rng = StdRng::seed_from_u64(SEED);
    let agent = Agent {
        id: AgentId(7),
        project: "acme/infra".parse().unwrap(),
        name: "prod".parse().unwrap(),
    };
    let text = "ci_access: {instance: {provider: gitlab, access_as: {ci_job: {}}}}";
    let rules = Rules::parse(text, "config.yaml").unwrap();
    for _ in 0..5_000 {
        let mut job = draw::job(&mut rng);
        job.provider = "gitlab".to_owned();
        job.identity_prefix = Some("gitlab".to_owned());
        job.job_id = Some("1".to_owned());
        let Decision::Permit {
            identity: Identity::Impersonated { groups, .. },
            ..
        } = decided(&job, &agent, &rules)
        else {
            panic!("denied");
        };
        let numbers = job.groups.iter().map(|group| group.id);
        let known: Vec<_> = numbers.chain([job.project.id]).flatten().collect();
        for group in groups {
            let which = group.split(':').nth(2).unwrap_or("x");
            if let Ok(number) = which.parse::<u64>() {
                assert!(known.contains(&number), "{group} of {job:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_rules_or_an_error(text in "[a-z_:\\-\\[\\]{}*&<>#!|'\" \n\t0-9.]{0,200}") {
        let _ = Rules::parse(&text, "config.yaml");
    }
}
