//! What rules cost: a decision, the reading of a file, and how soon a change among many agents is in force.
//!
//! `cargo bench -p ci-tunnel-server --bench rules`; `RULES_AGENTS` sets how many agents there are (5,000).
#![allow(missing_docs, clippy::unwrap_used)]

mod files;
mod reload;

use std::hint::black_box;
use std::time::Duration;

use ci_tunnel_server::access::{Rules, decide, explain};
use ci_tunnel_server::identity::{Agent, AgentId, JobIdentity};
use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::json;

criterion_group!(benches, decisions, reading);
criterion_main!(benches, reload::measure);

fn agent() -> Agent {
    Agent {
        id: AgentId(7),
        project: "acme/infra".parse().unwrap(),
        name: "prod".parse().unwrap(),
    }
}

fn job(path: &str) -> JobIdentity {
    let groups: Vec<_> =
        std::iter::successors(path.rsplit_once('/'), |(group, _)| group.rsplit_once('/'))
            .map(|(group, _)| json!({"path": group, "id": group.len()}))
            .collect();
    let identity = json!({
        "provider": "gitlab",
        "identity_prefix": "gitlab",
        "project": {"path": path, "id": 42},
        "groups": groups,
        "job_id": "1001",
        "pipeline_id": "900",
        "pipeline_source": "push",
        "ref": "main",
        "ref_type": "branch",
        "ref_protected": true,
        "environment": {"name": "review/feature-1", "slug": "review-feature-1", "tier": "development", "protected": false},
        "user": {"login": "ann", "id": 5, "email": "ann@acme.test", "roles": ["developer"]},
    });
    serde_json::from_value(identity).unwrap()
}

fn decisions(criterion: &mut Criterion) {
    let rules = Rules::parse(&files::large(0), "config.yaml")
        .unwrap()
        .of_provider(Some("gitlab"));
    let crowded = Rules::parse(&files::crowded(), "config.yaml")
        .unwrap()
        .of_provider(Some("gitlab"));
    let agent = agent();
    let mut group = criterion.benchmark_group("decision");
    group
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    let cases = [
        ("project", "acme/team-250/app-250", &rules),
        (
            "group_20_deep",
            "acme/group-250/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18/19/20/app",
            &rules,
        ),
        ("denied", "acme/nowhere/app", &rules),
        ("last_of_500_entries_of_one_project", "acme/app", &crowded),
    ];
    for (name, path, rules) in cases {
        let job = job(path);
        group.bench_function(name, |bencher| {
            bencher.iter(|| decide(black_box(&job), &agent, rules).is_ok());
        });
    }
    let job = job("acme/app");
    group.bench_function("explain_500_entries_of_one_project", |bencher| {
        bencher.iter(|| explain(black_box(&job), &agent, &crowded).considered.len());
    });
    group.finish();
}

fn reading(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read");
    group
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    for (name, text) in [
        ("500_projects_and_500_groups", files::large(0)),
        ("10_entries", files::small(0)),
        ("500_entries_of_one_project", files::crowded()),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| Rules::parse(black_box(&text), "config.yaml").unwrap());
        });
    }
    group.finish();
}
