//! A server's files in a directory of their own, and its executable run on them.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

/// For whatever should happen at once.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

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
    /// With a configuration that listens on free ports of 127.0.0.1.
    pub(crate) fn new() -> Self {
        let place = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        std::fs::create_dir(place.path("repository")).unwrap();
        place.write("server.yaml", &place.config(""));
        place
    }

    /// The usual configuration and `more`.
    pub(crate) fn config(&self, more: &str) -> String {
        format!(
            "state_dir: {}\nagents: {{listen: 127.0.0.1:0}}\nops: {{listen: 127.0.0.1:0}}\n\
             config_repositories: [{{directory: {}}}]\n{more}",
            self.path("state").display(),
            self.path("repository").display(),
        ) + if more.contains("kubernetes_api") {
            ""
        } else {
            "kubernetes_api: {listen: 127.0.0.1:0}\n"
        }
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
        let mut command = Command::new(env!("CARGO_BIN_EXE_ci-tunnel-server"));
        command
            .args(arguments)
            .env_clear()
            .env("CI_TUNNEL_CONFIG", self.path("server.yaml"))
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs to the end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ran {
        let output = timeout(DEADLINE, self.command(arguments).output()).await;
        let output = output
            .unwrap_or_else(|_| panic!("{arguments:?} did not end"))
            .unwrap();
        Ran {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs to the end, which is a good one, and returns what was printed.
    pub(crate) async fn ok(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments).await;
        assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
        ran.stdout
    }

    /// Runs to the end, which is a failure, and returns the message.
    pub(crate) async fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let ran = self.run(arguments).await;
        assert_eq!(ran.code, Some(code), "{arguments:?}: {ran:?}");
        assert_eq!(ran.stdout, "", "{arguments:?}");
        let message = ran
            .stderr
            .lines()
            .find_map(|line| line.strip_prefix("error: "));
        message
            .unwrap_or_else(|| panic!("{arguments:?}: {ran:?}"))
            .to_owned()
    }
}
