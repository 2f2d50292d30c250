//! What commands did beside the server: each leaves a note in the state directory, and the server makes a line of it,
//! now or when it starts again.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::event::What;
use super::line::{AgentFields, Issued};

/// Something that a command changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Act {
    pub time: Timestamp,
    /// `agent create`, `job-token revoke` …
    pub command: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentFields>,
    /// The id of the agent token or job token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The project that a job token speaks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// What a KUBECONFIG holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub issued: Vec<Issued>,
    /// Who typed it, as the environment says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

const FOLDER: &str = "audit.acts";
const SUFFIX: &str = "json";
/// Longer than any note of ours: a KUBECONFIG for a hundred thousand agents.
const MAX_NOTE: u64 = 16 << 20;

impl Act {
    pub fn new(command: &str) -> Self {
        let user = ["SUDO_USER", "USER", "LOGNAME"];
        let mut users = user.into_iter().filter_map(|name| std::env::var(name).ok());
        Self {
            time: Timestamp::now(),
            command: command.to_owned(),
            agent: None,
            token: None,
            project: None,
            issued: Vec::new(),
            user: users.find(|user| !user.is_empty()),
        }
    }

    /// Leaves the note for the server.
    ///
    /// # Errors
    /// It can not be written.
    pub fn leave(&self, state_dir: &Path) -> io::Result<()> {
        let folder = state_dir.join(FOLDER);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)?;
        // Names sort as what was done.
        let name = format!("{:020}-{}", self.time.as_nanosecond(), process::id());
        let new = folder.join(&name);
        let mut options = OpenOptions::new();
        // The folder keeps others out; the server may be another user than whoever types.
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&new)?;
        serde_json::to_writer(&mut file, self)?;
        file.flush()?;
        file.sync_all()?;
        fs::rename(&new, new.with_extension(SUFFIX))
    }
}

/// Hands each note to `take`, in order, with the line to be made of it; those that it takes are removed.
///
/// # Errors
/// The notes can not be read.
pub(super) fn collect(
    state_dir: &Path,
    mut take: impl FnMut(Timestamp, What) -> bool,
) -> io::Result<()> {
    for path in notes(&state_dir.join(FOLDER))? {
        let (act, uid) = match read(&path) {
            Ok(read) => read,
            Err(error) => {
                let path = path.display();
                tracing::error!(%error, %path, "what a command did can not be read, and is in no audit line");
                fs::rename(path.to_string(), format!("{path}.unreadable"))?;
                continue;
            }
        };
        let what = What::Command {
            command: act.command,
            agent: act.agent,
            token: act.token,
            project: act.project,
            issued: act.issued,
            uid,
            user: act.user,
        };
        if !take(act.time, what) {
            break;
        }
        fs::remove_file(path)?;
    }
    Ok(())
}

fn notes(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match folder.read_dir() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut notes = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|suffix| suffix == SUFFIX) {
            notes.push(path);
        }
    }
    notes.sort_unstable();
    Ok(notes)
}

/// The note, and whose file it is: that nobody but root can pretend.
fn read(path: &Path) -> io::Result<(Act, u32)> {
    let file = File::open(path)?;
    let uid = file.metadata()?.uid();
    let mut text = String::new();
    file.take(MAX_NOTE).read_to_string(&mut text)?;
    Ok((serde_json::from_str(&text)?, uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_taken_once_and_in_order() {
        let state = tempfile::tempdir().unwrap();
        let taken = |room: usize| {
            let mut taken = Vec::new();
            collect(state.path(), |_, what| {
                let What::Command { command, .. } = what else {
                    panic!("{what:?}");
                };
                let fits = taken.len() < room;
                if fits {
                    taken.push(command);
                }
                fits
            })
            .unwrap();
            taken
        };
        assert!(taken(9).is_empty());
        for command in ["agent create", "agent delete", "job-token issue"] {
            Act::new(command).leave(state.path()).unwrap();
        }
        fs::write(state.path().join(FOLDER).join("0.json"), "nonsense").unwrap();
        assert_eq!(taken(1), ["agent create"]);
        assert_eq!(taken(9), ["agent delete", "job-token issue"]);
        assert!(taken(9).is_empty());
    }
}
