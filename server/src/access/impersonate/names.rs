//! Names of jobs, users, projects and groups in Kubernetes: `<prefix>:<kind>:<which>`, as GitLab's `gitlab:project:42`.
//!
//! The prefix is the provider's own and holds no colon, a kind neither, a number or path neither: what stands behind
//! each colon can be read from the left, so that different things never share a name.

use crate::access::template::Unrenderable;
use crate::identity::{AgentName, JobIdentity, ProjectPath};

/// Where a local token does not tell numbers, names stand here: no provider may have this prefix.
const OWN_PREFIX: &str = "ci-tunnel";
/// The prefix under which names are GitLab's own, and keys of extra values with them.
const GITLAB_PREFIX: &str = "gitlab";
const GITLAB_DOMAIN: &str = "agent.gitlab.com";
pub(super) const OWN_DOMAIN: &str = "agent.ci-tunnel.dev";

/// The kinds of names; no value of a job may write one into a template's text.
pub(crate) const KINDS: &[&str] = &[
    "ci_job",
    "group",
    "group_env_tier",
    "project",
    "project_env",
    "project_env_tier",
    "project_role",
    "user",
];

/// Whether the names of a provider's jobs may begin with `text`: a DNS label, and neither Kubernetes' own nor ours.
pub fn is_identity_prefix(text: &str) -> bool {
    text.parse::<AgentName>().is_ok() && !["system", OWN_PREFIX].contains(&text)
}

/// How the names of one job begin.
pub(super) struct Names<'a> {
    /// None: a local token, whose operator vouches for GitLab's numbers.
    prefix: Option<&'a str>,
}

impl<'a> Names<'a> {
    pub(super) fn of(job: &'a JobIdentity) -> Result<Self, Unrenderable> {
        let prefix = job.identity_prefix.as_deref();
        if prefix.is_none_or(is_identity_prefix) {
            Ok(Self { prefix })
        } else {
            Err(Unrenderable::Prefix(prefix.unwrap_or_default().to_owned()))
        }
    }

    /// A name that holds no project or group.
    pub(super) fn plain(&self, kind: &str, which: Option<&str>) -> String {
        let prefix = self.prefix.unwrap_or(GITLAB_PREFIX);
        join([prefix, kind].into_iter().chain(which))
    }

    /// A name of a project or group: by its number, which renaming does not change, else by its path.
    pub(super) fn of_path(
        &self,
        kind: &str,
        id: Option<u64>,
        path: &ProjectPath,
        detail: Option<&str>,
    ) -> String {
        let prefix = match (self.prefix, id) {
            (Some(prefix), _) => prefix,
            (None, Some(_)) => GITLAB_PREFIX,
            (None, None) => OWN_PREFIX,
        };
        let which = id.map_or_else(|| path_key(path), |id| id.to_string());
        join([prefix, kind, &which].into_iter().chain(detail))
    }

    /// Where the keys of extra values stand: GitLab's with GitLab's names, ours with all others.
    pub(super) fn key_domain(&self) -> &'static str {
        match self.prefix {
            None | Some(GITLAB_PREFIX) => GITLAB_DOMAIN,
            Some(_) => OWN_DOMAIN,
        }
    }
}

/// The path in lower case. One of digits alone gets a slash in front: the group `23` is not the group of number 23.
fn path_key(path: &ProjectPath) -> String {
    let key = path.key();
    if key.bytes().all(|byte| byte.is_ascii_digit()) {
        format!("/{key}")
    } else {
        key
    }
}

fn join<'a>(parts: impl Iterator<Item = &'a str>) -> String {
    parts.collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes() {
        for good in ["gitlab", "github", "gitlab-eu", "7"] {
            assert!(is_identity_prefix(good), "{good}");
        }
        for bad in ["", "system", "ci-tunnel", "Git", "a:b", "-a", "a b"] {
            assert!(!is_identity_prefix(bad), "{bad}");
        }
    }

    #[test]
    fn a_path_of_digits_is_no_number() {
        let names = Names {
            prefix: Some("gitlab"),
        };
        let of_path = |id, path: &str| names.of_path("group", id, &path.parse().unwrap(), None);
        assert_eq!(of_path(Some(23), "acme"), "gitlab:group:23");
        assert_eq!(of_path(None, "23"), "gitlab:group:/23");
        assert_eq!(of_path(None, "23/4"), "gitlab:group:23/4");
        assert_eq!(of_path(None, "Acme/4"), "gitlab:group:acme/4");
    }
}
