//! A past request, from its audit line: what was decided then, beside what would be decided now.

use std::path::PathBuf;

use anyhow::Context as _;

use super::Report;
use crate::access::{AccessAs, Permit};
use crate::audit::line::{Ending, Kubernetes, Line};
use crate::audit::query;
use crate::config::Config;
use crate::identity::{AgentId, JobIdentity};
use crate::proxy::reject::Reject;

/// A request of the past.
#[derive(Debug)]
pub(super) struct Past {
    pub(super) line: Line,
}

/// What was decided then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then<'a> {
    Allowed {
        rule: &'a str,
    },
    /// By the rules, or because it asked to be somebody else.
    Denied {
        message: &'a str,
    },
    /// It was refused before the rules were asked, or was for no agent.
    Undecided,
}

impl Past {
    pub(super) async fn find(id: &str, files: &[PathBuf], config: &Config) -> anyhow::Result<Self> {
        let files = match files {
            [] => query::files(&config.audit, &config.state_dir)
                .context("--audit-file names the files that hold audit lines")?,
            files => files.to_vec(),
        };
        let wanted = id.to_owned();
        let found = tokio::task::spawn_blocking(move || query::find(&files, &wanted));
        let line = found
            .await?
            .map(|line| line.with_context(|| no_line(id)))??;
        Ok(Self { line })
    }

    pub(super) fn agent(&self) -> Option<AgentId> {
        self.line.agent.as_ref().map(|agent| agent.id)
    }

    pub(super) fn job(&self) -> Option<JobIdentity> {
        self.line.job.as_deref().cloned()
    }

    /// The ids of its credential and of those that this was got with.
    pub(super) fn tokens(&self) -> impl Iterator<Item = &str> {
        let parents = self.line.parents.iter().map(String::as_str);
        self.line.token.as_deref().into_iter().chain(parents)
    }

    /// What there is to say of a request that is of no known job.
    pub(super) fn without_job(&self) -> String {
        let Line {
            request_id,
            message,
            ..
        } = &self.line;
        let message = message.as_deref().unwrap_or("it ended before that");
        format!("request {request_id} was refused before it was known whose it is: {message}")
    }

    pub(super) fn then(&self) -> Then<'_> {
        let message = self.line.message.as_deref().unwrap_or_default();
        match (&self.line.rule, &self.line.end) {
            (Some(rule), _) => Then::Allowed { rule },
            (None, Ending::Refused(label))
                if ["denied", "impersonation"].contains(&label.as_ref()) =>
            {
                Then::Denied { message }
            }
            (None, _) => Then::Undecided,
        }
    }

    /// What is decided otherwise now, a sentence each; nothing when all is as it was.
    pub(super) fn differences(&self, now: &Report) -> Vec<String> {
        let mut differences = Vec::new();
        match (self.then(), &now.explanation.decision) {
            (Then::Allowed { rule }, Ok(permit)) => {
                if rule != permit.rule().to_string() {
                    differences.push(format!("{} decides now, then {rule} did", permit.rule()));
                }
                if self.runs_as_other(permit) {
                    differences.push("the job would have another identity".to_owned());
                }
            }
            (Then::Allowed { .. }, Err(_)) => {
                differences.push("it was allowed then, and is denied now".to_owned());
            }
            (Then::Denied { message }, Err(denied))
                if !self.asked_to_be_another()
                    && message
                        != Reject::denied(&now.explanation.agent, denied.clone()).in_full() =>
            {
                differences.push("it is denied for another reason now".to_owned());
            }
            (Then::Denied { .. }, Ok(_)) if !self.asked_to_be_another() => {
                differences.push("it was denied then, and is allowed now".to_owned());
            }
            (Then::Denied { .. } | Then::Undecided, _) => {}
        }
        differences
    }

    /// Whether the rules were read from another version of the file than now; `None` where that was not recorded.
    pub(super) fn rules_changed(&self, now: &Report) -> Option<bool> {
        let then = self.line.revision.as_ref()?;
        let now = now.source.revision.as_deref().unwrap_or_default();
        Some(then != now)
    }

    /// A request that asked to be somebody (`kubectl --as`) under `access_as: agent` ran as that one.
    fn runs_as_other(&self, permit: &Permit) -> bool {
        let Some(then) = &self.line.kubernetes else {
            return false;
        };
        let now = Kubernetes::from(permit.identity());
        let asked = permit.access_as() == AccessAs::Agent && then.r#as != now.r#as;
        !asked && *then != now
    }

    fn asked_to_be_another(&self) -> bool {
        self.line.end == Ending::Refused("impersonation".into())
    }
}

fn no_line(id: &str) -> String {
    format!(
        "no request {id} in the audit log: a line is written when its request ends; --audit-file names older files"
    )
}
