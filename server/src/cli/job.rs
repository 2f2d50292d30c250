//! A job described by flags, for `explain` and `job-token issue`.

use crate::authn::provider::LOCAL;
use crate::identity::{
    Environment, Group, Invalid, JobIdentity, Project, ProjectPath, RefType, User,
};

/// A job and its project, which must be given.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "The job")]
pub struct JobArgs {
    /// Full path of the job's project
    #[arg(long, value_name = "PATH")]
    pub project: String,
    #[command(flatten)]
    pub details: JobDetails,
}

/// What is not given is unknown, and an unknown satisfies no condition.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "The job")]
pub struct JobDetails {
    /// Id of the project
    #[arg(long, value_name = "ID", requires = "project")]
    pub project_id: Option<u64>,
    /// Id of a group of the project; may be given for each
    #[arg(long, value_name = "PATH=ID", value_parser = group_id, requires = "project")]
    pub group_id: Vec<(String, u64)>,
    /// Id of the job
    #[arg(long, value_name = "ID", requires = "project")]
    pub job_id: Option<String>,
    /// Id of the pipeline
    #[arg(long, value_name = "ID", requires = "project")]
    pub pipeline_id: Option<String>,
    /// What started the pipeline: push, schedule, merge_request_event …
    #[arg(long, value_name = "SOURCE", requires = "project")]
    pub pipeline_source: Option<String>,
    /// Short name of the branch or tag
    #[arg(long = "ref", value_name = "NAME", requires = "project")]
    pub git_ref: Option<String>,
    /// branch or tag
    #[arg(long, value_name = "TYPE", value_parser = ref_type, requires = "project")]
    pub ref_type: Option<RefType>,
    /// Whether the ref is protected
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", requires = "project")]
    pub ref_protected: Option<bool>,
    /// Name of the environment
    #[arg(long, value_name = "NAME", requires = "project")]
    pub environment: Option<String>,
    /// Slug of the environment
    #[arg(long, value_name = "SLUG", requires = "environment")]
    pub environment_slug: Option<String>,
    /// Tier of the environment: production, staging, testing, development or other
    #[arg(long, value_name = "TIER", requires = "environment")]
    pub environment_tier: Option<String>,
    /// Whether the environment is protected
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", requires = "environment")]
    pub environment_protected: Option<bool>,
    /// Login of the user who started the job
    #[arg(long, value_name = "LOGIN", requires = "project")]
    pub user: Option<String>,
    /// Id of the user
    #[arg(long, value_name = "ID", requires = "user")]
    pub user_id: Option<u64>,
    /// E-mail address of the user
    #[arg(long, value_name = "ADDRESS", requires = "user")]
    pub user_email: Option<String>,
    /// Role of the user in the project; may be given several times
    #[arg(long, value_name = "ROLE", requires = "user")]
    pub user_role: Vec<String>,
    /// Whose job it is: a provider of the server's file, or local
    #[arg(long, value_name = "NAME", requires = "project")]
    pub provider: Option<String>,
}

/// Why flags describe no job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("--project: {0}")]
    Project(Invalid),
    #[error("--group-id: {group} is not a group of {project}")]
    Group { group: String, project: ProjectPath },
}

impl JobArgs {
    /// The job that the flags describe.
    pub fn identity(&self) -> Result<JobIdentity, Error> {
        self.details.identity(&self.project)
    }
}

impl JobDetails {
    /// The job of `project` that the flags describe.
    pub fn identity(&self, project: &str) -> Result<JobIdentity, Error> {
        let path: ProjectPath = project.parse().map_err(Error::Project)?;
        Ok(JobIdentity {
            provider: self.provider.clone().unwrap_or_else(|| LOCAL.to_owned()),
            identity_prefix: None,
            groups: self.groups(&path)?,
            project: Project {
                path,
                id: self.project_id,
            },
            job_id: self.job_id.clone(),
            pipeline_id: self.pipeline_id.clone(),
            pipeline_source: self.pipeline_source.clone(),
            git_ref: self.git_ref.clone(),
            ref_type: self.ref_type,
            ref_protected: self.ref_protected,
            environment: self.environment(),
            user: self.user(),
            runner_environment: None,
            expires_at: None,
        })
    }

    fn groups(&self, project: &ProjectPath) -> Result<Vec<Group>, Error> {
        let mut groups: Vec<_> = project
            .ancestors()
            .map(|path| Group { path, id: None })
            .collect();
        for (path, id) in &self.group_id {
            let named = groups
                .iter_mut()
                .find(|group| group.path.key() == path.to_lowercase());
            match named {
                Some(group) => group.id = Some(*id),
                None => {
                    return Err(Error::Group {
                        group: path.clone(),
                        project: project.clone(),
                    });
                }
            }
        }
        Ok(groups)
    }

    fn environment(&self) -> Option<Environment> {
        let name = Some(self.environment.clone()?);
        let (slug, tier) = (self.environment_slug.clone(), self.environment_tier.clone());
        Some(Environment {
            name,
            slug,
            tier,
            protected: self.environment_protected,
        })
    }

    fn user(&self) -> Option<User> {
        let login = self.user.clone()?;
        Some(User {
            login,
            id: self.user_id,
            email: self.user_email.clone(),
            roles: self.user_role.clone(),
        })
    }
}

fn group_id(text: &str) -> Result<(String, u64), String> {
    let parsed = text
        .split_once('=')
        .and_then(|(path, id)| Some((path.to_owned(), id.parse().ok()?)));
    parsed.ok_or_else(|| "must be a group's path and its number: acme/team=42".to_owned())
}

fn ref_type(text: &str) -> Result<RefType, &'static str> {
    match text {
        "branch" => Ok(RefType::Branch),
        "tag" => Ok(RefType::Tag),
        _ => Err("must be branch or tag"),
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, FromArgMatches as _};

    use super::*;

    fn parse(flags: &[&str]) -> JobArgs {
        let command = JobArgs::augment_args(clap::Command::new("job").no_binary_name(true));
        JobArgs::from_arg_matches(&command.get_matches_from(flags)).unwrap()
    }

    #[test]
    fn what_is_not_given_is_unknown() {
        let job = parse(&["--project", "acme/team/app"]).identity().unwrap();
        assert_eq!(
            job.groups
                .iter()
                .map(|group| group.path.as_str())
                .collect::<Vec<_>>(),
            ["acme/team", "acme"]
        );
        assert_eq!(
            (job.git_ref, job.ref_protected, job.environment, job.user),
            (None, None, None, None)
        );
        assert_eq!(job.provider, "local");
    }

    #[test]
    fn flags_become_the_identity() {
        let flags = [
            "--project=acme/team/app",
            "--group-id=Acme=3",
            "--ref=v1",
            "--ref-type=tag",
            "--ref-protected",
            "--environment=prod",
            "--environment-protected=false",
            "--user=ann",
            "--user-role=developer",
        ];
        let job = parse(&flags).identity().unwrap();
        assert_eq!((job.groups[0].id, job.groups[1].id), (None, Some(3)));
        assert_eq!(
            (job.ref_type, job.ref_protected),
            (Some(RefType::Tag), Some(true))
        );
        assert_eq!(job.environment.unwrap().protected, Some(false));
        assert_eq!(job.user.unwrap().roles, ["developer"]);
    }

    #[test]
    fn a_group_must_hold_the_project() {
        let error = parse(&["--project=acme/app", "--group-id=other=3"])
            .identity()
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "--group-id: other is not a group of acme/app"
        );
    }
}
