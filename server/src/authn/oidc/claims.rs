//! From a verified token's claims to the identity of its job, as each kind of CI system words them.
//!
//! A claim that is not there, `null` or empty is unknown. One that is there in another form than it must be makes the whole
//! token void: half an identity is none.

mod generic;
mod github;
mod gitlab;
mod slug;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

pub(super) use generic::Mapping;

use super::config::Forks;
use super::{Config, Error};
use crate::authn::provider::{self, Kind};
use crate::identity::{Group, JobIdentity, Project, ProjectPath};

/// Makes identities for the jobs of one provider.
#[derive(Debug)]
pub(super) struct Identify {
    provider: String,
    prefix: String,
    words: Words,
}

/// How claims are worded.
#[derive(Debug)]
enum Words {
    Generic(Box<Mapping>),
    Github,
    Gitlab(Forks),
}

/// A token's claims, its signature verified.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claims<'a>(pub(super) &'a Map<String, Value>);

/// A claim's name and its value.
#[derive(Debug, Clone, Copy)]
struct Claim<'a> {
    name: &'a str,
    value: Option<&'a Value>,
}

/// A text that is longer is no name of anything.
const LONGEST_TEXT: usize = 1024;

impl Identify {
    pub(super) fn new(provider: &provider::Config, config: &Config) -> Self {
        Self {
            provider: provider.name.clone(),
            prefix: provider.identity_prefix().to_owned(),
            words: match provider.kind {
                Kind::Gitlab => Words::Gitlab(config.forks),
                Kind::Github => Words::Github,
                Kind::Generic => {
                    Words::Generic(Box::new(config.claims.clone().unwrap_or_default()))
                }
            },
        }
    }

    pub(super) fn job(&self, claims: &Claims<'_>) -> Result<JobIdentity, Error> {
        let job = match &self.words {
            Words::Generic(mapping) => mapping.job(claims),
            Words::Github => github::job(claims),
            Words::Gitlab(forks) => gitlab::job(claims, *forks),
        }?;
        Ok(JobIdentity {
            provider: self.provider.clone(),
            identity_prefix: Some(self.prefix.clone()),
            ..job
        })
    }
}

/// A job of which nothing is known but its project.
fn unknown_job(path: ProjectPath, id: Option<u64>) -> JobIdentity {
    let groups = path.ancestors().map(|path| Group { path, id: None });
    JobIdentity {
        provider: String::new(),
        identity_prefix: None,
        groups: groups.collect(),
        project: Project { path, id },
        job_id: None,
        pipeline_id: None,
        pipeline_source: None,
        git_ref: None,
        ref_type: None,
        ref_protected: None,
        environment: None,
        user: None,
        runner_environment: None,
        expires_at: None,
    }
}

impl<'a> Claims<'a> {
    fn named(&self, name: &'static str) -> Claim<'a> {
        Claim {
            name,
            value: self.0.get(name),
        }
    }
}

impl<'a> Claim<'a> {
    /// A text without control characters.
    fn text(self) -> Result<Option<&'a str>, Error> {
        match self.value {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text))
                if text.len() <= LONGEST_TEXT && !text.chars().any(char::is_control) =>
            {
                Ok(Some(text))
            }
            Some(_) => {
                Err(self.error("must be a text of 1024 bytes at most, without control characters"))
            }
        }
    }

    fn owned_text(self) -> Result<Option<String>, Error> {
        Ok(self.text()?.map(str::to_owned))
    }

    /// Digits, in a text or not, without zeros before them: one number has one form.
    fn number(self) -> Result<Option<u64>, Error> {
        const WHY: &str = "must be a whole number";
        if let Some(Value::Number(number)) = self.value {
            return number.as_u64().map(Some).ok_or_else(|| self.error(WHY));
        }
        let Some(text) = self.text()? else {
            return Ok(None);
        };
        let plain = text.bytes().all(|byte| byte.is_ascii_digit())
            && (text == "0" || !text.starts_with('0'));
        let number = text.parse().ok().filter(|_| plain);
        number.map(Some).ok_or_else(|| self.error(WHY))
    }

    /// `true` or `false`, in a text or not, and nothing that comes near.
    fn boolean(self) -> Result<Option<bool>, Error> {
        match self.value {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(Value::String(text)) if text == "true" => Ok(Some(true)),
            Some(Value::String(text)) if text == "false" => Ok(Some(false)),
            Some(_) => Err(self.error("must be true or false")),
        }
    }

    /// A project or group. ASCII alone, so that none looks like another.
    fn path(self) -> Result<Option<ProjectPath>, Error> {
        let why = "must be a path: segments of letters, digits, `_`, `-`, `.` joined by `/`";
        self.text()?
            .map(|text| text.parse().map_err(|_| self.error(why)))
            .transpose()
    }

    fn required<T>(self, value: Option<T>) -> Result<T, Error> {
        value.ok_or_else(|| self.error("is missing"))
    }

    fn error(self, problem: &'static str) -> Error {
        Error::Claim {
            claim: self.name.to_owned(),
            problem,
        }
    }
}
