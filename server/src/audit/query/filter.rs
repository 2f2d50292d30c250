//! Which lines are wanted.

use std::str::FromStr;

use jiff::Timestamp;

use super::super::event::{Event, What};
use super::super::line::{AgentFields, Line};
use super::Entry;

/// What a line must be; what is not said may be anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub request_id: Option<String>,
    /// The job's id.
    pub job: Option<String>,
    /// The job's project.
    pub project: Option<String>,
    /// `<configuration project>:<name>`, the name alone, or the id.
    pub agent: Option<String>,
    /// The login of who started the job.
    pub user: Option<String>,
    pub verb: Option<String>,
    /// `pods`, or with a subresource: `pods/exec`.
    pub resource: Option<String>,
    pub namespace: Option<String>,
    pub status: Option<Status>,
    /// How it ended (`refused`, `cut`), or why (`denied`, `rules`).
    pub reason: Option<String>,
    /// That came at this time or later.
    pub since: Option<Timestamp>,
    /// That came before this time.
    pub until: Option<Timestamp>,
}

/// One code of HTTP, or a hundred of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Code(u16),
    Class(u16),
}

impl Filter {
    /// False for lines that do not fit; told without reading them as JSON.
    pub(super) fn may_fit(&self, line: &[u8]) -> bool {
        self.request_id
            .as_deref()
            .is_none_or(|id| contains(line, id.as_bytes()))
    }

    pub fn fits(&self, entry: &Entry) -> bool {
        match entry {
            Entry::Request(line) => self.fits_request(line),
            Entry::Event(event) => self.fits_event(event),
        }
    }

    fn fits_request(&self, line: &Line) -> bool {
        let job = line.job.as_deref();
        let same = |wanted: &Option<String>, found: Option<&str>| {
            wanted.is_none() || wanted.as_deref() == found
        };
        let project = job.map(|job| job.project.path.as_str());
        let user = job.and_then(|job| job.user.as_ref());
        self.is_when(line.time)
            && same(&self.request_id, Some(&line.request_id))
            && same(&self.job, job.and_then(|job| job.job_id.as_deref()))
            && same(&self.user, user.map(|user| user.login.as_str()))
            && same(&self.verb, line.verb.as_deref())
            && same(&self.namespace, Some(&line.namespace))
            && self.is_agent(line.agent.as_ref())
            && self.project.as_deref().is_none_or(|wanted| {
                project.is_some_and(|project| project.to_lowercase() == wanted.to_lowercase())
            })
            && self.is_resource(line)
            && self
                .status
                .is_none_or(|wanted| line.status.is_some_and(|status| wanted.holds(status)))
            && self
                .reason
                .as_deref()
                .is_none_or(|reason| reason == line.end.word() || Some(reason) == line.end.reason())
    }

    /// Events have a time, and those of agents an agent and a reason; whoever asks for more does not ask for them.
    fn fits_event(&self, event: &Event) -> bool {
        let (agent, reason) = match &event.what {
            What::AgentConnected { agent, .. } => (Some(agent), None),
            What::AgentDisconnected { agent, code, .. } => (Some(agent), Some(code)),
            What::AgentRefused { reason, .. } => (None, Some(reason)),
            What::Command { agent, .. } => (agent.as_ref(), None),
            _ => (None, None),
        };
        let others = [
            &self.request_id,
            &self.job,
            &self.project,
            &self.user,
            &self.verb,
            &self.resource,
            &self.namespace,
        ];
        others.iter().all(|other| other.is_none())
            && self.status.is_none()
            && self.is_when(event.time)
            && self.is_agent(agent)
            && (self.reason.is_none() || self.reason.as_ref() == reason)
    }

    fn is_when(&self, time: Timestamp) -> bool {
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until)
    }

    fn is_agent(&self, agent: Option<&AgentFields>) -> bool {
        let Some(wanted) = &self.agent else {
            return true;
        };
        agent.is_some_and(|agent| {
            let name = agent.name.rsplit_once(':').map(|(_, name)| name);
            agent.name.eq_ignore_ascii_case(wanted)
                || name == Some(wanted)
                || agent.id.to_string() == *wanted
        })
    }

    fn is_resource(&self, line: &Line) -> bool {
        let Some(wanted) = &self.resource else {
            return true;
        };
        match wanted.split_once('/') {
            Some((resource, subresource)) => {
                line.resource == resource && line.subresource == subresource
            }
            None => line.resource == *wanted,
        }
    }
}

impl Status {
    fn holds(self, status: u16) -> bool {
        match self {
            Self::Code(code) => status == code,
            Self::Class(class) => status / 100 == class,
        }
    }
}

impl FromStr for Status {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let class = text.strip_suffix("xx");
        let number = class.unwrap_or(text).parse();
        match (class, number) {
            (Some(_), Ok(class @ 1..=5)) => Ok(Self::Class(class)),
            (None, Ok(code @ 100..=599)) => Ok(Self::Code(code)),
            _ => Err("must be a code of HTTP, as 403, or a hundred of them, as 4xx"),
        }
    }
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    wanted.is_empty() || text.windows(wanted.len()).any(|window| window == wanted)
}
