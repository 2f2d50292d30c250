//! One agent configuration file: read when it changed, its last good rules kept when it cannot be used.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

use super::AgentRules;
use super::kept::Kept;
use super::realm::Realm;
use crate::access::{MAX_FILE, Rules};
use crate::identity::{AgentName, ProjectPath};

/// A file and what was last read of it.
pub(super) struct File {
    agent: Arc<AgentRules>,
    /// None: look at the content again, whatever the file system says.
    stamp: Option<Stamp>,
    /// Of the content last read, good or bad.
    digest: Option<[u8; 32]>,
}

/// What changes whenever a file's content does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: SystemTime,
    /// The inode's own time: copying programs set `modified` back to what they copy, nobody can set this.
    changed: SystemTime,
}

/// File systems count time in steps: two changes within one step look like one, so a file this young is read again.
const YOUNG: Duration = Duration::from_secs(2);

impl File {
    /// One that was not looked at yet.
    pub(super) fn new(
        project: ProjectPath,
        name: AgentName,
        file: PathBuf,
        provider: Option<String>,
    ) -> Self {
        let agent = AgentRules {
            project,
            name,
            rules: Arc::new(Rules::nobody()),
            file,
            revision: String::new(),
            commit: None,
            provider,
            problem: None,
        };
        Self {
            agent: Arc::new(agent),
            stamp: None,
            digest: None,
        }
    }

    /// Looks at the file again. The `Arc` stays the same when nothing of it changed.
    pub(super) fn refresh(mut self, root: &Path, realm: &Realm, kept: &mut Kept) -> Self {
        let (path, stamp) = match locate(&self.agent.file, root) {
            Ok(found) => found,
            Err(problem) => return self.recall(realm, kept).with_problem(problem),
        };
        if self.stamp == Some(stamp) {
            return self;
        }
        let content = match content(&path) {
            Ok(content) => content,
            Err(problem) => return self.recall(realm, kept).with_problem(problem),
        };
        let settled = stamp.changed.elapsed().is_ok_and(|age| age > YOUNG);
        self.stamp = settled.then_some(stamp);
        let digest = Sha256::digest(&content).into();
        if self.digest == Some(digest) {
            return self;
        }
        match parse(realm, &content, &self.agent.file.display().to_string()) {
            Ok(rules) => {
                kept.store(&self.agent.file.to_string_lossy(), &content);
                self.digest = Some(digest);
                self.enforce(rules, &digest)
            }
            Err(problem) => {
                let mut file = self.recall(realm, kept);
                file.digest = Some(digest);
                file.tell(problem)
            }
        }
    }

    /// The last good content that an earlier process left, where this one knows none.
    fn recall(self, realm: &Realm, kept: &Kept) -> Self {
        if !self.agent.revision.is_empty() {
            return self;
        }
        let Some(content) = kept.load(&self.agent.file.to_string_lossy()) else {
            return self;
        };
        match parse(realm, &content, &self.agent.file.display().to_string()) {
            Ok(rules) => self.enforce(rules, &Sha256::digest(&content).into()),
            Err(_) => self,
        }
    }

    fn enforce(self, rules: Rules, digest: &[u8; 32]) -> Self {
        let file = self.agent.file.display();
        for warning in rules.warnings() {
            tracing::warn!(%file, warning, "agent configuration");
        }
        let revision = digest
            .iter()
            .take(6)
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>();
        tracing::info!(%file, revision, "agent configuration is in force");
        let agent = AgentRules {
            rules: Arc::new(rules),
            revision,
            problem: None,
            ..(*self.agent).clone()
        };
        Self {
            agent: Arc::new(agent),
            ..self
        }
    }

    /// The rules stay; the file is read anew when it can be, even if it is then what it was before.
    pub(super) fn with_problem(self, problem: String) -> Self {
        Self {
            stamp: None,
            digest: None,
            ..self
        }
        .tell(problem)
    }

    fn tell(self, problem: String) -> Self {
        if self.agent.problem.as_ref() == Some(&problem) {
            return self;
        }
        let kept = if self.agent.revision.is_empty() {
            "nobody has access"
        } else {
            "the last good rules stay in force"
        };
        tracing::error!(agent = %self.agent.name, project = %self.agent.project, problem, "agent configuration: {kept}");
        Self {
            agent: Arc::new(AgentRules {
                problem: Some(problem),
                ..(*self.agent).clone()
            }),
            ..self
        }
    }

    pub(super) fn agent(&self) -> &Arc<AgentRules> {
        &self.agent
    }
}

/// The rules that `content` gives in a realm; `file` is how messages call it.
pub(super) fn parse(realm: &Realm, content: &[u8], file: &str) -> Result<Rules, String> {
    let text =
        std::str::from_utf8(content).map_err(|error| format!("{file}: not UTF-8 text: {error}"))?;
    // Strangers write these files: one that breaks the parser must not end the watching of all others.
    std::panic::catch_unwind(|| realm.parse(text, file))
        .map_err(|_| format!("{file}: the parser failed on it"))?
}

/// Where the file really lies, if that is below `root`.
fn locate(file: &Path, root: &Path) -> Result<(PathBuf, Stamp), String> {
    let problem = |error: std::io::Error| format!("{}: {error}", file.display());
    let real = file.canonicalize().map_err(problem)?;
    if !real.starts_with(root) {
        return Err(format!(
            "{}: is a link out of {}",
            file.display(),
            root.display()
        ));
    }
    let metadata = fs::metadata(&real).map_err(problem)?;
    // Opening a pipe would wait for a writer.
    if !metadata.is_file() {
        return Err(format!("{}: is not a file", file.display()));
    }
    if metadata.len() > MAX_FILE as u64 {
        return Err(format!(
            "{}: {} bytes, {MAX_FILE} at most",
            file.display(),
            metadata.len()
        ));
    }
    let modified = metadata.modified().map_err(problem)?;
    let stamp = Stamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.len(),
        modified,
        changed: changed(&metadata),
    };
    Ok((real, stamp))
}

fn changed(metadata: &fs::Metadata) -> SystemTime {
    let seconds = u64::try_from(metadata.ctime()).unwrap_or_default();
    let nanoseconds = u32::try_from(metadata.ctime_nsec()).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds)
}

/// One byte over the limit at most: the file may grow while it is read.
fn content(path: &Path) -> Result<Vec<u8>, String> {
    let mut content = Vec::new();
    let file = fs::File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let read = file.take(MAX_FILE as u64 + 1).read_to_end(&mut content);
    read.map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(content)
}
