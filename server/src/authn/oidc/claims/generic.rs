//! The claims of any other CI system, as the server's file maps them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::github::branch_or_tag;
use super::{Claim, Claims, Error, unknown_job};
use crate::identity::{Environment, JobIdentity, ProjectPath, RefType, User};

/// Which claim says what. What is not mapped is unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mapping {
    /// The only one that must be mapped, and be in each token.
    pub project_path: Option<PathAt>,
    pub project_id: Option<At>,
    pub job_id: Option<At>,
    pub pipeline_id: Option<At>,
    pub pipeline_source: Option<At>,
    /// `refs/heads/…` and `refs/tags/…` are understood.
    pub r#ref: Option<At>,
    pub ref_type: Option<At>,
    pub ref_protected: Option<At>,
    pub environment: Option<At>,
    pub environment_slug: Option<At>,
    pub environment_tier: Option<At>,
    pub environment_protected: Option<At>,
    pub user_login: Option<At>,
    pub user_id: Option<At>,
    pub user_email: Option<At>,
    pub runner_environment: Option<At>,
}

/// Where a claim is: a name, taken to the letter, or the names that lead into it, outermost first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum At {
    Name(String),
    Within(Vec<String>),
}

/// A path in one claim, or one made of several, each of which is one segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PathAt {
    Joined(Joined),
    One(At),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Joined {
    pub join: Vec<At>,
}

impl Mapping {
    /// What is wrong, if anything.
    pub(in crate::authn::oidc) fn check(&self) -> Result<(), String> {
        let Some(path) = &self.project_path else {
            return Err("oidc.claims.project_path is missing".to_owned());
        };
        let parts = match path {
            PathAt::One(at) => std::slice::from_ref(at),
            PathAt::Joined(joined) => &joined.join,
        };
        if parts.is_empty() {
            return Err("oidc.claims.project_path.join: name one claim at least".to_owned());
        }
        let mut all = parts.iter().chain(self.others());
        match all.find_map(|at| at.problem()) {
            Some(problem) => Err(format!("oidc.claims: {problem}")),
            None => Ok(()),
        }
    }

    fn others(&self) -> impl Iterator<Item = &At> {
        [
            &self.project_id,
            &self.job_id,
            &self.pipeline_id,
            &self.pipeline_source,
            &self.r#ref,
            &self.ref_type,
            &self.ref_protected,
            &self.environment,
            &self.environment_slug,
            &self.environment_tier,
            &self.environment_protected,
            &self.user_login,
            &self.user_id,
            &self.user_email,
            &self.runner_environment,
        ]
        .into_iter()
        .flatten()
    }

    pub(super) fn job(&self, claims: &Claims<'_>) -> Result<JobIdentity, Error> {
        let text = |at: &Option<At>| claims.at(at).owned_text();
        let mut job = unknown_job(self.path(claims)?, claims.at(&self.project_id).number()?);
        job.job_id = claims.at(&self.job_id).id()?;
        job.pipeline_id = claims.at(&self.pipeline_id).id()?;
        job.pipeline_source = text(&self.pipeline_source)?;
        let protected = claims.at(&self.ref_protected).boolean()?;
        if let Some((name, kind)) = self.git_ref(claims)? {
            job.git_ref = Some(name.to_owned());
            job.ref_type = kind;
            job.ref_protected = protected;
        }
        job.environment = self.environment(claims)?;
        job.user = self.user(claims)?;
        job.runner_environment = text(&self.runner_environment)?;
        Ok(job)
    }

    fn path(&self, claims: &Claims<'_>) -> Result<ProjectPath, Error> {
        match &self.project_path {
            Some(PathAt::Joined(joined)) => {
                let mut segments = Vec::new();
                for at in &joined.join {
                    let claim = claims.within(at);
                    let path = claim.required(claim.path()?)?;
                    // Else `a/b` and `c` would make the same path as `a` and `b/c`.
                    if path.as_str().contains('/') {
                        return Err(claim.error("must be one segment of a path"));
                    }
                    segments.push(path.to_string());
                }
                let path = segments.join("/");
                path.parse().map_err(|_| Error::Claim {
                    claim: "project_path".to_owned(),
                    problem: "is too long",
                })
            }
            Some(PathAt::One(at)) => {
                let claim = claims.within(at);
                claim.required(claim.path()?)
            }
            None => Err(Error::Claim {
                claim: "project_path".to_owned(),
                problem: "is not mapped",
            }),
        }
    }

    fn git_ref<'a>(
        &'a self,
        claims: &Claims<'a>,
    ) -> Result<Option<(&'a str, Option<RefType>)>, Error> {
        let claim = claims.at(&self.ref_type);
        let kind = match claim.text()? {
            None => None,
            Some("branch") => Some(RefType::Branch),
            Some("tag") => Some(RefType::Tag),
            Some(_) => return Err(claim.error("must be `branch` or `tag`")),
        };
        let Some(name) = claims.at(&self.r#ref).text()? else {
            return Ok(None);
        };
        Ok(match branch_or_tag(name) {
            Some((name, told)) => Some((name, Some(told))),
            None if name.starts_with("refs/") => None,
            None => Some((name, kind)),
        })
    }

    fn environment(&self, claims: &Claims<'_>) -> Result<Option<Environment>, Error> {
        let slug = claims.at(&self.environment_slug).owned_text()?;
        let tier = claims.at(&self.environment_tier).owned_text()?;
        let protected = claims.at(&self.environment_protected).boolean()?;
        let name = claims.at(&self.environment).owned_text()?;
        Ok(name.map(|name| Environment {
            name: Some(name),
            slug,
            tier,
            protected,
        }))
    }

    fn user(&self, claims: &Claims<'_>) -> Result<Option<User>, Error> {
        let id = claims.at(&self.user_id).number()?;
        let email = claims.at(&self.user_email).owned_text()?;
        let login = claims.at(&self.user_login).owned_text()?;
        Ok(login.map(|login| User {
            login,
            id,
            email,
            roles: Vec::new(),
        }))
    }
}

impl At {
    fn names(&self) -> &[String] {
        match self {
            Self::Name(name) => std::slice::from_ref(name),
            Self::Within(names) => names,
        }
    }

    fn problem(&self) -> Option<&'static str> {
        match self.names() {
            [] => Some("a claim has no name"),
            names if names.iter().any(String::is_empty) => Some("a claim has an empty name"),
            [name] if name == "sub" => Some(
                "`sub` decides nothing here: its composition is often the project's own choice; map the claims that it \
                 is composed of",
            ),
            _ => None,
        }
    }
}

impl<'a> Claims<'a> {
    fn within(&self, at: &'a At) -> Claim<'a> {
        let mut names = at.names().iter();
        let mut value = names.next().and_then(|name| self.0.get(name));
        for name in names {
            value = value
                .and_then(Value::as_object)
                .and_then(|object| object.get(name));
        }
        Claim {
            name: at.names().last().map_or("", String::as_str),
            value,
        }
    }

    fn at(&self, at: &'a Option<At>) -> Claim<'a> {
        at.as_ref().map_or(NOT_MAPPED, |at| self.within(at))
    }
}

const NOT_MAPPED: Claim<'static> = Claim {
    name: "",
    value: None,
};

impl Claim<'_> {
    /// A text, or a number as a text.
    fn id(self) -> Result<Option<String>, Error> {
        match self.value {
            Some(Value::Number(_)) => Ok(self.number()?.map(|number| number.to_string())),
            _ => self.owned_text(),
        }
    }
}
