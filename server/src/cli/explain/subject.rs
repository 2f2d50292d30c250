//! The job that is asked about: described by flags, proved by a credential, or of a past request.

use std::io::Read;

use anyhow::{Context as _, bail, ensure};

use super::Args;
use super::past::Past;
use crate::access::{self, Authorize, Denied, Explanation, Rules};
use crate::authn::examine::Examined;
use crate::authn::provider::LOCAL;
use crate::authn::{Authenticator, TokenId};
use crate::cli::{credential, output};
use crate::config::Config;
use crate::identity::{Agent, AgentId, JobIdentity};
use crate::store::Store;

/// Who asks, and what is known of it.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) job: JobIdentity,
    pub(super) credential: Option<Examined>,
    pub(super) past: Option<Past>,
    /// The credential of the past request was revoked since.
    revoked: bool,
}

impl Subject {
    pub(super) async fn of(
        args: &Args,
        config: &Config,
        store: &Store,
        stdin: &mut impl Read,
    ) -> anyhow::Result<Self> {
        if let Some(project) = &args.project {
            return described(args, project, config);
        }
        if let Some(id) = &args.request {
            return of_request(id, args, config, store).await;
        }
        ensure!(
            args.token_file.is_some() || std::env::var_os(credential::VARIABLE).is_some(),
            "which job? Describe it (--project and more), prove it (--token-file), or name a past request (--request)"
        );
        let credential = credential::read(args.token_file.as_deref(), stdin)?;
        let examined = authenticator(config, store)
            .await?
            .examine(&credential)
            .await?;
        Ok(Self {
            job: (*examined.who.identity).clone(),
            credential: Some(examined),
            past: None,
            revoked: false,
        })
    }

    pub(super) fn explain(&self, agent: &Agent, rules: &Rules) -> Explanation {
        match &self.credential {
            Some(credential) => credential.who.explain(agent, rules),
            None => access::explain(&self.job, agent, rules),
        }
    }

    /// What of a decision needs the credential itself.
    pub(super) fn notes(&self, config: &Config) -> Option<String> {
        let provider = config.authn.providers.get(&self.job.provider)?;
        let asked = provider.job_tokens.as_ref()?.authorize;
        (self.credential.is_none() && asked != Authorize::Config).then(|| {
            format!(
                "for a job token {} itself is asked, too, which agents the job may use (job_tokens.authorize); only \
                 --token-file explains that",
                provider.name
            )
        })
    }

    /// What a person who described too little may wonder at.
    pub(super) fn what_is_missing(&self, explanation: &Explanation) -> Option<&'static str> {
        let described = self.credential.is_none() && self.past.is_none();
        let without_identity = matches!(explanation.decision, Err(Denied::Identity { .. }));
        (described && without_identity).then_some(
            "of a described job no more is known than the flags say: a real one has a --job-id, a --project-id, a --user …",
        )
    }

    /// The agent that the past request was for.
    pub(super) fn agent(&self) -> Option<AgentId> {
        self.past.as_ref().and_then(Past::agent)
    }

    /// Why requests with this credential for `agent` are refused, whatever the rules say.
    pub(super) fn refusals(&self, agent: &Agent) -> Vec<String> {
        let mut refusals = Vec::new();
        if self.revoked {
            refusals.push(
                "the credential of the request, or one that it was got with, has been revoked since"
                    .to_owned(),
            );
        }
        let Some(Examined { who, problem }) = &self.credential else {
            return refusals;
        };
        if let Some(problem) = problem.as_ref().filter(|_| !self.has_expired()) {
            refusals.push(problem.to_string());
        }
        if let Some(bound) = who.bound_agent.filter(|bound| *bound != agent.id) {
            refusals.push(format!("the credential is for agent {bound} alone"));
        }
        refusals
    }

    /// Whether the credential was good once, but its time is over. Its job is explained all the same.
    pub(super) fn has_expired(&self) -> bool {
        let problem = self.credential.as_ref().map(|examined| &examined.problem);
        matches!(problem, Some(Some(crate::authn::Error::Expired)))
    }

    /// What must be known of the credential before the rest is read.
    pub(super) fn warning(&self) -> Option<String> {
        let who = &self.credential.as_ref()?.who;
        self.has_expired().then(|| {
            let end = output::time(Some(who.expires_at));
            format!(
                "THE CREDENTIAL HAS EXPIRED ({end}): every request with it is refused with 401. What follows is what \
                 the rules say of its job"
            )
        })
    }
}

fn described(args: &Args, project: &str, config: &Config) -> anyhow::Result<Subject> {
    let mut job = args.job.identity(project)?;
    let providers = &config.authn.providers;
    if args.job.provider.is_none()
        && let Some(only) = providers.only()
    {
        only.name.clone_into(&mut job.provider);
    }
    if job.provider != LOCAL {
        let Some(provider) = providers.get(&job.provider) else {
            let known = providers.iter().map(|provider| provider.name.as_str());
            let known: Vec<&str> = known.chain([LOCAL]).collect();
            bail!(
                "--provider: {:?} is none of the server's providers: {}",
                job.provider,
                known.join(", ")
            );
        };
        job.identity_prefix = Some(provider.identity_prefix().to_owned());
    }
    Ok(Subject {
        job,
        credential: None,
        past: None,
        revoked: false,
    })
}

async fn of_request(
    id: &str,
    args: &Args,
    config: &Config,
    store: &Store,
) -> anyhow::Result<Subject> {
    let past = Past::find(id, &args.audit_file, config).await?;
    let job = past.job().with_context(|| past.without_job())?;
    let authenticator = authenticator(config, store).await?;
    let mut tokens = past.tokens();
    let revoked = tokens.any(|token| authenticator.is_revoked(&TokenId(token.to_owned())));
    drop(tokens);
    Ok(Subject {
        job,
        credential: None,
        past: Some(past),
        revoked,
    })
}

async fn authenticator(config: &Config, store: &Store) -> anyhow::Result<Authenticator> {
    Ok(Authenticator::new(config.authn.clone(), store.clone()).await?)
}
