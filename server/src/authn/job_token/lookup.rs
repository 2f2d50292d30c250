//! What GitLab tells of a job by other endpoints that its token opens: the environment's name, and whether the ref is
//! protected. Rules ask for both, and the answer about the token has neither.

use ci_tunnel::config::value::Secret;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::answer::{Allowed, Details};
use super::gitlab::{Failure, Gitlab};
use crate::identity::RefType;

#[derive(Debug, Deserialize)]
struct Environment {
    name: String,
    slug: String,
}

#[derive(Debug, Deserialize)]
struct Ref {
    name: String,
    protected: Option<bool>,
}

/// So many environments with names of one beginning are looked through.
const PAGES: usize = 5;
const PER_PAGE: usize = 100;

impl Gitlab {
    /// What rules ask for and the answers about the token do not tell.
    pub(super) async fn details(
        &self,
        token: &Secret,
        allowed: &Allowed,
    ) -> Result<Details, Failure> {
        let job = &allowed.job;
        let environment = async {
            let Some(slug) = allowed.environment_slug() else {
                return Ok(None);
            };
            let name = self.environment_name(token, job.project, slug).await?;
            Ok(name.map(|name| (slug.to_owned(), name)))
        };
        let ref_protected = async {
            match (&job.git_ref, job.ref_type) {
                (Some(name), Some(kind)) => self.is_protected(token, job.project, name, kind).await,
                _ => Ok(None),
            }
        };
        let (environment, ref_protected) = tokio::join!(environment, ref_protected);
        Ok(Details {
            environment: environment?,
            ref_protected: ref_protected?,
        })
    }

    /// The name of the project's environment with this slug; unknown when GitLab does not show it to the job.
    async fn environment_name(
        &self,
        token: &Secret,
        project: u64,
        slug: &str,
    ) -> Result<Option<String>, Failure> {
        let named = |found: Vec<Environment>| {
            let mut found = found.into_iter();
            found.find(|environment| environment.slug == slug)
        };
        // Short names in lower case are their own slugs.
        let path = format!("projects/{project}/environments");
        let query = format!("{path}?name={}", encoded(slug));
        let Some(found) = self.open(&query, token).await? else {
            return Ok(None);
        };
        if let Some(environment) = named(found) {
            return Ok(Some(environment.name));
        }
        // The slug of `review/Topic` is `review-topic-` and a hash: the names begin alike up to the first hyphen.
        let beginning = slug.split('-').next().unwrap_or_default();
        if beginning.len() < 3 {
            return Ok(None);
        }
        for page in 1..=PAGES {
            let query = format!("{path}?search={beginning}&per_page={PER_PAGE}&page={page}");
            let Some(found) = self.open::<Vec<Environment>>(&query, token).await? else {
                return Ok(None);
            };
            let last = found.len() < PER_PAGE;
            if let Some(environment) = named(found) {
                return Ok(Some(environment.name));
            }
            if last {
                break;
            }
        }
        Ok(None)
    }

    /// Whether a branch or tag is protected; unknown when GitLab does not show it to the job.
    async fn is_protected(
        &self,
        token: &Secret,
        project: u64,
        git_ref: &str,
        kind: RefType,
    ) -> Result<Option<bool>, Failure> {
        let list = match kind {
            RefType::Branch => "branches?",
            RefType::Tag => "tags?order_by=name&sort=asc&",
        };
        // The beginning of names, in their order, so that the shortest, the one that is looked for, is the first.
        let search = encoded(&format!("^{git_ref}"));
        let query =
            format!("projects/{project}/repository/{list}search={search}&per_page={PER_PAGE}");
        let found = self.open::<Vec<Ref>>(&query, token).await?;
        let same = |found: Vec<Ref>| found.into_iter().find(|found| found.name == git_ref);
        Ok(found.and_then(same).and_then(|found| found.protected))
    }

    /// What GitLab answers, unless this is closed to the job.
    async fn open<T: DeserializeOwned>(
        &self,
        path: &str,
        token: &Secret,
    ) -> Result<Option<T>, Failure> {
        match self.get(path, token).await {
            Ok(answer) => Ok(Some(answer)),
            Err(Failure::Refused | Failure::Wrong(_)) => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
