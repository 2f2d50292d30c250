//! A git remote in the server's file: one URL for many projects, and how to reach it.

use std::path::PathBuf;
use std::time::Duration;

use ci_tunnel::config::value::{SecretSource, duration};
use serde::Deserialize;

use super::url::{self, Scheme, Template};
use crate::identity::ProjectPath;

/// `git` of a configuration repository.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Remote {
    pub url: Template,
    /// These projects, and all below these groups. Empty: every project that has an agent.
    pub projects: Vec<ProjectPath>,
    /// Default: the remote's default branch, whichever that is.
    pub branch: Option<String>,
    pub access: Access,
    /// How often each project is asked for news.
    pub poll: Duration,
    /// For each run of git.
    pub timeout: Duration,
    /// Any of which a webhook may be signed with. Read when the server starts.
    pub webhook_secrets: Vec<SecretSource>,
}

/// How the remote is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    Https {
        /// User and password or token. The latter is read for each run, so that it can be replaced.
        credentials: Option<(String, SecretSource)>,
        ca_file: Option<PathBuf>,
        proxy: Option<String>,
    },
    Ssh {
        key: PathBuf,
        known_hosts: PathBuf,
    },
}

/// Why the values do not fit together.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Url(#[from] url::Error),
    #[error(
        "url has no place for `{{project}}`, so projects must name the one project that it is of"
    )]
    OneProject,
    #[error("{key} is not for a url over {scheme}")]
    NotFor {
        key: &'static str,
        scheme: &'static str,
    },
    #[error("a url over ssh needs ssh_key_file and known_hosts_file")]
    SshFiles,
    #[error("username without password")]
    NoPassword,
    #[error("username holds a colon or a control character")]
    Username,
    #[error(
        "proxy is {0:?}: it must be `http://host:port`, `https://host:port` or `socks5h://host:port`"
    )]
    Proxy(String),
    #[error("branch is {0:?}: it must be the short name of a branch, as `main`")]
    Branch(String),
    #[error("{0} must be at least 1s")]
    TooShort(&'static str),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    url: Template,
    #[serde(default)]
    projects: Vec<ProjectPath>,
    branch: Option<String>,
    username: Option<String>,
    password: Option<SecretSource>,
    ca_file: Option<PathBuf>,
    proxy: Option<String>,
    ssh_key_file: Option<PathBuf>,
    known_hosts_file: Option<PathBuf>,
    #[serde(default = "default_poll", with = "duration")]
    poll: Duration,
    #[serde(default = "default_timeout", with = "duration")]
    timeout: Duration,
    #[serde(default)]
    webhook_secrets: Vec<SecretSource>,
}

fn default_poll() -> Duration {
    Duration::from_secs(60)
}

fn default_timeout() -> Duration {
    Duration::from_secs(30)
}

/// GitLab and GitHub take any name beside a token.
const ANY_USER: &str = "ci-tunnel";

impl Remote {
    /// Whether the repository of this project is looked for here.
    pub fn covers(&self, project: &ProjectPath) -> bool {
        if !self.url.has_project() {
            return self.projects.contains(project);
        }
        let mut groups = self.projects.iter();
        self.projects.is_empty() || groups.any(|group| is_within(project, group))
    }

    /// Whether there may be a project whose repository is looked for at both.
    pub(in crate::configrepo) fn overlaps(&self, other: &Self) -> bool {
        let within = |one: &Self, other: &Self| one.projects.iter().any(|path| other.covers(path));
        let all = |one: &Self| one.url.has_project() && one.projects.is_empty();
        all(self) || all(other) || within(self, other) || within(other, self)
    }
}

fn is_within(project: &ProjectPath, group: &ProjectPath) -> bool {
    project == group || project.ancestors().any(|ancestor| ancestor == *group)
}

impl TryFrom<Written> for Remote {
    type Error = Error;

    fn try_from(written: Written) -> Result<Self, Error> {
        if !written.url.has_project() && written.projects.len() != 1 {
            return Err(Error::OneProject);
        }
        if let Some(branch) = written.branch.as_ref().filter(|branch| !is_branch(branch)) {
            return Err(Error::Branch(branch.clone()));
        }
        for (key, value) in [("poll", written.poll), ("timeout", written.timeout)] {
            if value < Duration::from_secs(1) {
                return Err(Error::TooShort(key));
            }
        }
        let access = match written.url.scheme() {
            Scheme::Https => written.https()?,
            Scheme::Ssh => written.ssh()?,
        };
        Ok(Self {
            url: written.url,
            projects: written.projects,
            branch: written.branch,
            access,
            poll: written.poll,
            timeout: written.timeout,
            webhook_secrets: written.webhook_secrets,
        })
    }
}

impl Written {
    fn https(&self) -> Result<Access, Error> {
        let ssh_only = [
            ("ssh_key_file", self.ssh_key_file.is_some()),
            ("known_hosts_file", self.known_hosts_file.is_some()),
        ];
        none_of(&ssh_only, "https")?;
        if let Some(proxy) = self.proxy.as_ref().filter(|proxy| !is_proxy(proxy)) {
            return Err(Error::Proxy(proxy.clone()));
        }
        let credentials = match (&self.username, &self.password) {
            (Some(_), None) => return Err(Error::NoPassword),
            (Some(user), _) if user.contains(|c: char| c == ':' || c.is_control()) => {
                return Err(Error::Username);
            }
            (user, password) => password.clone().map(|password| {
                let user = user.clone().unwrap_or_else(|| ANY_USER.to_owned());
                (user, password)
            }),
        };
        Ok(Access::Https {
            credentials,
            ca_file: self.ca_file.clone(),
            proxy: self.proxy.clone(),
        })
    }

    fn ssh(&self) -> Result<Access, Error> {
        let https_only = [
            ("username", self.username.is_some()),
            ("password", self.password.is_some()),
            ("ca_file", self.ca_file.is_some()),
            ("proxy", self.proxy.is_some()),
        ];
        none_of(&https_only, "ssh")?;
        match (&self.ssh_key_file, &self.known_hosts_file) {
            (Some(key), Some(known_hosts)) => Ok(Access::Ssh {
                key: key.clone(),
                known_hosts: known_hosts.clone(),
            }),
            _ => Err(Error::SshFiles),
        }
    }
}

fn none_of(keys: &[(&'static str, bool)], scheme: &'static str) -> Result<(), Error> {
    match keys.iter().find(|(_, written)| *written) {
        Some((key, _)) => Err(Error::NotFor { key, scheme }),
        None => Ok(()),
    }
}

/// Credentials would have no place to be kept out of sight.
fn is_proxy(proxy: &str) -> bool {
    let host = ["http://", "https://", "socks5h://"]
        .iter()
        .find_map(|scheme| proxy.strip_prefix(scheme));
    host.is_some_and(|host| {
        let character = |c: char| {
            c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']' | '/')
        };
        !host.is_empty() && host.chars().all(character)
    })
}

/// Narrower than git's own rule (git-check-ref-format).
fn is_branch(branch: &str) -> bool {
    let character =
        |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | '+' | '#' | '@');
    !branch.is_empty()
        && branch.chars().all(character)
        && !branch.starts_with(['-', '/', '.'])
        && !branch.starts_with("refs/")
        && !branch.ends_with(['/', '.'])
        && !branch.ends_with(".lock")
        && !branch.contains("..")
        && !branch.contains("//")
        && !branch.contains("/.")
}
