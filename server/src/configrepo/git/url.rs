//! Where git repositories are: a URL with a place for the project's path.

use std::fmt;

use serde::Deserialize;

use crate::identity::ProjectPath;

/// `https://host/{project}.git`, `ssh://git@host/{project}.git` or `git@host:{project}.git`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Template {
    text: String,
    scheme: Scheme,
}

/// How the remote is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Https,
    Ssh,
}

/// Why a text is no such URL.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "url is {0:?}: it must be `https://host/{PROJECT}.git`, `ssh://git@host/{PROJECT}.git` or \
         `git@host:{PROJECT}.git`"
    )]
    Shape(String),
    #[error(
        "url is {0:?}: without TLS everybody on the way could change who has access; write `https://`"
    )]
    Plain(String),
    /// The text is not repeated: it may hold a password.
    #[error("url holds a user or password: write `username` and `password` instead")]
    Password,
    #[error("url is {0:?}: `{PROJECT}` is the only placeholder, and stands in the path, once")]
    Placeholder(String),
}

/// Stands for the path of a project.
const PROJECT: &str = "{project}";

impl Template {
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Whether it serves more than one project.
    pub fn has_project(&self) -> bool {
        self.text.contains(PROJECT)
    }

    /// The URL of a project's repository.
    pub fn of(&self, project: &ProjectPath) -> String {
        self.text.replace(PROJECT, project.as_str())
    }

    /// `https://host:port/`; none for ssh.
    pub fn origin(&self) -> Option<String> {
        let (host, _) = self.text.strip_prefix("https://")?.split_once('/')?;
        Some(format!("https://{host}/"))
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl TryFrom<String> for Template {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        if text.starts_with("http://") {
            return Err(Error::Plain(text));
        }
        let parts = if let Some(rest) = text.strip_prefix("https://") {
            let parts = rest
                .split_once('/')
                .map(|(host, path)| (Scheme::Https, host, path));
            if parts.is_some_and(|(_, host, _)| host.contains('@')) {
                return Err(Error::Password);
            }
            parts
        } else if let Some(rest) = text.strip_prefix("ssh://") {
            rest.split_once('/')
                .map(|(host, path)| (Scheme::Ssh, host, path))
        } else {
            // The form of scp, which knows no port.
            text.split_once(':')
                .filter(|_| !text.contains("://"))
                .map(|(host, path)| (Scheme::Ssh, host, path))
        };
        let Some((scheme, authority, path)) = parts else {
            return Err(Error::Shape(text));
        };
        let (user, host) = authority
            .rsplit_once('@')
            .map_or((None, authority), |(user, host)| (Some(user), host));
        if user.is_some_and(|user| user.contains(':')) {
            return Err(Error::Password);
        }
        if !is_path(path) || !is_host(host) || !user.is_none_or(is_word) {
            return Err(Error::Shape(text));
        }
        let rest = path.replacen(PROJECT, "", 1);
        if rest.contains(['{', '}']) {
            return Err(Error::Placeholder(text));
        }
        Ok(Self { text, scheme })
    }
}

/// A host, and perhaps a port. What begins with a hyphen could pass for an option of ssh.
fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
        Some((v6, port)) => {
            let is_rest = |rest: &str| rest.strip_prefix(':').is_some_and(is_port);
            return v6.parse::<std::net::Ipv6Addr>().is_ok() && (port.is_empty() || is_rest(port));
        }
        None => host
            .split_once(':')
            .map_or((host, None), |(name, port)| (name, Some(port))),
    };
    is_word(name) && port.is_none_or(is_port)
}

fn is_port(port: &str) -> bool {
    port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn is_word(word: &str) -> bool {
    let character = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !word.is_empty() && !word.starts_with('-') && word.chars().all(character)
}

fn is_path(path: &str) -> bool {
    let character =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '~' | '/' | '{' | '}');
    !path.is_empty()
        && !path.starts_with('-')
        && path.chars().all(character)
        && path.split('/').all(|segment| segment != "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Template, Error> {
        Template::try_from(text.to_owned())
    }

    #[test]
    fn names_the_repository_of_a_project() {
        let project = "Acme/infra.x".parse().unwrap();
        for (text, scheme, url) in [
            (
                "https://gitlab.example.com/{project}.git",
                Scheme::Https,
                "https://gitlab.example.com/Acme/infra.x.git",
            ),
            (
                "https://h:8443/a~b/{project}",
                Scheme::Https,
                "https://h:8443/a~b/Acme/infra.x",
            ),
            (
                "https://[::1]:8443/{project}.git",
                Scheme::Https,
                "https://[::1]:8443/Acme/infra.x.git",
            ),
            (
                "ssh://git@h:2222/{project}.git",
                Scheme::Ssh,
                "ssh://git@h:2222/Acme/infra.x.git",
            ),
            ("git@h:{project}.git", Scheme::Ssh, "git@h:Acme/infra.x.git"),
            ("https://h/one.git", Scheme::Https, "https://h/one.git"),
        ] {
            let template = parse(text).unwrap();
            assert_eq!(
                (template.scheme(), template.of(&project).as_str()),
                (scheme, url)
            );
        }
        let origin = parse("https://h:8443/a/{project}.git").unwrap().origin();
        assert_eq!(origin.as_deref(), Some("https://h:8443/"));
        assert_eq!(parse("git@h:{project}.git").unwrap().origin(), None);
    }

    #[test]
    fn refuses_what_git_would_take_for_something_else() {
        for text in [
            "",
            "/srv/git/{project}",
            "file:///srv/{project}",
            "ext::sh -c evil",
            "https://",
            "https://h",
            "https://h/",
            "git://h/{project}",
            "ssh://-oProxyCommand=x/{project}",
            "-oProxyCommand=x:{project}",
            "h h:{project}",
            "https://h:0/{project}",
            "https://h:x/{project}",
            "https://h/../{project}",
            "https://h/{project}?a=b",
            "https://h/{project}#x",
            "https://h/a b",
            "https://h/%2e",
            "git@-h:{project}",
            "git@h:-x/{project}",
            "https://[::1/{project}",
            "https://[::1]8443/{project}",
            "https://[::1]é8/{project}",
            "https://{project}/x",
        ] {
            assert!(matches!(parse(text), Err(Error::Shape(_))), "{text}");
        }
        assert!(matches!(parse("http://h/{project}"), Err(Error::Plain(_))));
        for text in [
            "https://h/{group}/x",
            "https://h/{project}/{project}",
            "https://h/}",
        ] {
            assert!(matches!(parse(text), Err(Error::Placeholder(_))), "{text}");
        }
        for text in [
            "https://u:p4ss@h/{project}",
            "https://t0ken@h/x",
            "ssh://u:p4ss@h/x",
        ] {
            let error = parse(text).unwrap_err();
            assert!(
                matches!(error, Error::Password) && !error.to_string().contains("p4ss"),
                "{text}"
            );
        }
    }
}
