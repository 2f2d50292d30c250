//! Running jobs of the stand-in GitLab, and what it answers to their tokens: `/api/v4/job` and
//! `/api/v4/job/allowed_agents`, in the form GitLab has it, members without a value left out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::{Issuer, json_response};

/// The jobs of one [`Issuer`]. Clones share them.
#[derive(Debug, Clone)]
pub struct Jobs {
    url: String,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    running: HashMap<String, Job>,
    /// Members of `/api/v4/job`'s answer that are put over the true ones, by token.
    distorted: HashMap<String, (String, Value)>,
    /// Every token that came, with the path it came to.
    seen: Vec<(String, String)>,
    next: u64,
}

/// A job that runs.
#[derive(Debug, Clone)]
pub struct Job {
    pub id: u64,
    pub path: String,
    pub project: u64,
    /// The project's own group first.
    pub groups: Vec<u64>,
    pub git_ref: String,
    pub tag: bool,
    pub source: String,
    pub user: String,
    pub roles: Vec<String>,
    /// Slug and tier.
    pub environment: Option<(String, String)>,
    pub agents: Vec<Value>,
    /// What the project has: environments as `{name, slug}`, branches and tags as `{name, protected}`; none: GitLab does
    /// not show them to jobs.
    pub environments: Option<Vec<Value>>,
    pub branches: Option<Vec<Value>>,
    pub tags: Option<Vec<Value>>,
}

/// The two paths.
pub const JOB: &str = "/api/v4/job";
pub const ALLOWED: &str = "/api/v4/job/allowed_agents";
/// Of every job's pipeline.
pub const PIPELINE: u64 = 88;
/// The project whose environments, branches and tags are told.
const PROJECT: u64 = 7;

impl Default for Job {
    /// A job of `main` of `acme/team/shop` that may use no agent.
    fn default() -> Self {
        Self {
            id: 4711,
            path: "acme/team/shop".to_owned(),
            project: PROJECT,
            groups: vec![31, 3],
            git_ref: "main".to_owned(),
            tag: false,
            source: "push".to_owned(),
            user: "ann".to_owned(),
            roles: ["guest", "reporter", "developer"]
                .map(str::to_owned)
                .to_vec(),
            environment: None,
            agents: Vec::new(),
            environments: None,
            branches: None,
            tags: None,
        }
    }
}

impl Job {
    /// With one more agent: its id, its project, and GitLab's entry.
    #[must_use]
    pub fn agent(mut self, id: u64, project: &str, configuration: Value) -> Self {
        let name = project.rsplit('/').next().unwrap_or_default();
        self.agents.push(json!({
            "id": id,
            "config_project": {
                "id": 1000 + id,
                "description": null,
                "name": name,
                "name_with_namespace": project.replace('/', " / "),
                "path": name,
                "path_with_namespace": project,
                "created_at": "2025-06-03T15:06:41.422Z",
            },
            "configuration": configuration,
        }));
        self
    }

    /// What of a list begins with the text of the query's `search`, or is its `name`, in pages.
    fn listed(list: Option<&Vec<Value>>, query: &str) -> Option<Value> {
        let query: HashMap<_, _> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| {
                let value = percent_encoding::percent_decode_str(value).decode_utf8_lossy();
                (key, value.into_owned())
            })
            .collect();
        let number = |key, default| query.get(key).map_or(default, |text| text.parse().unwrap());
        let (per_page, page) = (number("per_page", 20), number("page", 1_usize));
        let matches = |entry: &&Value| {
            let name = entry["name"].as_str().unwrap();
            let search = query.get("search").map(|text| text.trim_start_matches('^'));
            query.get("name").is_none_or(|wanted| wanted == name)
                && search.is_none_or(|beginning| name.starts_with(beginning))
        };
        let found = list?.iter().filter(matches).skip((page - 1) * per_page);
        Some(found.take(per_page).cloned().collect())
    }

    fn allowed(&self) -> Value {
        let groups: Vec<_> = self.groups.iter().map(|id| json!({"id": id})).collect();
        let mut answer = json!({
            "allowed_agents": self.agents,
            "job": {"id": self.id},
            "pipeline": {"id": PIPELINE},
            "project": {"id": self.project, "groups": groups},
            "user": {"id": 5, "username": self.user, "roles_in_project": self.roles},
        });
        if let Some((slug, tier)) = &self.environment {
            answer["environment"] = json!({"tier": tier, "slug": slug});
        }
        answer
    }

    fn details(&self, url: &str) -> Value {
        let page = format!("{url}/{}", self.path);
        json!({
            "id": self.id,
            "status": "running",
            "stage": "deploy",
            "name": "deploy",
            "ref": self.git_ref,
            "tag": self.tag,
            "allow_failure": false,
            "created_at": "2025-06-03T15:06:41.422Z",
            "started_at": "2025-06-03T15:06:42.422Z",
            "finished_at": null,
            "duration": 1.5,
            "user": {"id": 5, "username": self.user, "name": "Ann", "state": "active", "web_url": format!("{url}/{}", self.user)},
            "commit": {"id": "1ecfd275763eff1d6b4844ea3168962458c9f27a", "title": "A commit"},
            "pipeline": {
                "id": PIPELINE,
                "project_id": self.project,
                "sha": "1ecfd275763eff1d6b4844ea3168962458c9f27a",
                "ref": self.git_ref,
                "status": "running",
                "source": self.source,
                "web_url": format!("{page}/-/pipelines/{PIPELINE}"),
            },
            "web_url": format!("{page}/-/jobs/{}", self.id),
            "project": {"ci_job_token_scope_enabled": false},
            "artifacts": [],
            "tag_list": [],
        })
    }
}

impl Issuer {
    /// Answers for running jobs from now on.
    pub fn jobs(&self) -> Jobs {
        let jobs = Jobs {
            url: self.url().to_owned(),
            state: Arc::default(),
        };
        let lists = ["environments", "repository/branches", "repository/tags"]
            .map(|list| format!("/api/v4/projects/{PROJECT}/{list}"));
        for path in [JOB, ALLOWED].into_iter().map(str::to_owned).chain(lists) {
            let answering = jobs.clone();
            let answered = path.clone();
            self.on(&path, move |request| answering.answer(&answered, request));
        }
        jobs
    }
}

impl Jobs {
    /// Starts a job; its token.
    pub fn start(&self, job: Job) -> String {
        let mut state = self.state();
        state.next += 1;
        let token = format!("glcbt-64_stand-in-secret-{:06}", state.next);
        state.running.insert(token.clone(), job);
        token
    }

    /// Ends the job: its token is good for nothing.
    pub fn end(&self, token: &str) {
        self.state().running.remove(token);
    }

    /// Replaces what is said of the job.
    pub fn replace(&self, token: &str, job: Job) {
        self.state().running.insert(token.to_owned(), job);
    }

    /// Answers `/api/v4/job` with this member from now on, whatever is true.
    pub fn distort(&self, token: &str, member: &str, value: Value) {
        let distorted = (member.to_owned(), value);
        self.state().distorted.insert(token.to_owned(), distorted);
    }

    /// How many tokens came to this path, good or not.
    pub fn asked(&self, path: &str) -> usize {
        let state = self.state();
        state.seen.iter().filter(|(_, to)| to == path).count()
    }

    /// How often this token came to this path.
    pub fn asked_about(&self, token: &str, path: &str) -> usize {
        let state = self.state();
        let same = |(seen, to): &&(String, String)| seen == token && to == path;
        state.seen.iter().filter(same).count()
    }

    fn answer(&self, path: &str, request: &Parts) -> Response<Bytes> {
        let token = request.headers.get("job-token");
        let token = token.and_then(|token| token.to_str().ok());
        let token = token.unwrap_or_default().to_owned();
        let mut state = self.state();
        state.seen.push((token.clone(), path.to_owned()));
        match state.running.get(&token) {
            Some(job) if path == JOB => {
                let mut details = job.details(&self.url);
                if let Some((member, value)) = state.distorted.get(&token) {
                    details[member] = value.clone();
                }
                json_response(StatusCode::OK, &details)
            }
            Some(job) if path == ALLOWED => json_response(StatusCode::OK, &job.allowed()),
            Some(job) => {
                let list = match path.rsplit('/').next() {
                    Some("environments") => &job.environments,
                    Some("branches") => &job.branches,
                    _ => &job.tags,
                };
                let query = request.uri.query().unwrap_or_default();
                match Job::listed(list.as_ref(), query) {
                    Some(found) => json_response(StatusCode::OK, &found),
                    None => json_response(StatusCode::FORBIDDEN, &json!({"message": "403"})),
                }
            }
            None => json_response(
                StatusCode::UNAUTHORIZED,
                &json!({"message": "401 Unauthorized"}),
            ),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// The KUBECONFIG that GitLab writes into a job: for each agent its id, `<project>:<name>` and the namespace, if any.
pub fn kubeconfig(server: &str, token: &str, agents: &[(u64, &str, Option<&str>)]) -> String {
    let users: Vec<_> = agents
        .iter()
        .map(|(id, ..)| {
            json!({"name": format!("agent:{id}"), "user": {"token": format!("ci:{id}:{token}")}})
        })
        .collect();
    let contexts: Vec<_> = agents
        .iter()
        .map(|(id, name, namespace)| {
            let mut context = json!({"cluster": "gitlab", "user": format!("agent:{id}")});
            if let Some(namespace) = namespace {
                context["namespace"] = json!(namespace);
            }
            json!({"name": name, "context": context})
        })
        .collect();
    // JSON is YAML; no current-context, no authority: as GitLab has it.
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "gitlab", "cluster": {"server": server}}],
        "users": users,
        "contexts": contexts,
    })
    .to_string()
}
