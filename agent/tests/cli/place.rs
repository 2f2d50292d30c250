//! An agent's files in a directory of their own, and its executable run on them.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

/// For whatever should happen at once, and for a server that does not answer, which an agent waits 10 s for.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Nobody listens there: the discard service went out of use long ago.
pub(crate) const NOBODY: &str = "127.0.0.1:9";

pub(crate) struct Place {
    directory: TempDir,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    /// With a complete configuration of an agent whose server and API server are not there.
    pub(crate) fn new() -> Self {
        let place = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        place.write("token", "citagent-nobody-issued-this\n");
        place.write("kubeconfig", &kubeconfig(NOBODY));
        place.write("agent.yaml", &place.config(""));
        place
    }

    /// The complete configuration and `more`.
    pub(crate) fn config(&self, more: &str) -> String {
        let ops = if more.contains("ops:") {
            ""
        } else {
            "ops: off\n"
        };
        let path = |name| self.path(name).display().to_string();
        format!(
            "server: {NOBODY}\ntoken: {{file: {}}}\nupstream: {{kubeconfig: {}}}\n{ops}{more}",
            path("token"),
            path("kubeconfig"),
        )
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file and tells where.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The executable with nothing of the environment of whoever runs the tests.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ci-tunnel-agent"));
        command
            .args(arguments)
            .env_clear()
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs to the end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ran {
        ran(self.command(arguments)).await
    }

    /// Runs to the end, which is a good one, and returns what was printed.
    pub(crate) async fn ok(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments).await;
        assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
        ran.stdout
    }
}

impl Ran {
    /// The message of a failure.
    pub(crate) fn message(&self, code: i32) -> &str {
        assert_eq!(
            (self.code, self.stdout.as_str()),
            (Some(code), ""),
            "{self:?}"
        );
        let message = self
            .stderr
            .lines()
            .find_map(|line| line.strip_prefix("error: "));
        message.unwrap_or_else(|| panic!("{self:?}"))
    }
}

/// Runs a command to the end.
pub(crate) async fn ran(mut command: Command) -> Ran {
    let output = timeout(DEADLINE, command.output()).await;
    let output = output
        .unwrap_or_else(|_| panic!("{command:?} did not end"))
        .unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn kubeconfig(server: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: it\n\
         clusters: [{{name: it, cluster: {{server: 'https://{server}'}}}}]\n\
         users: [{{name: it, user: {{token: secret-of-the-cluster}}}}]\n\
         contexts: [{{name: it, context: {{cluster: it, user: it}}}}]\n"
    )
}
