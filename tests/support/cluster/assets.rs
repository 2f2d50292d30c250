//! Finds the programs a cluster is made of, building them the first time.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
};

/// A folder with `kube-apiserver`, `kubectl`, `etcd`, `kwok`, `helm` and the others.
#[derive(Clone, Debug)]
pub struct Assets {
    folder: PathBuf,
}

/// Why there is no folder of programs.
#[derive(Clone, Debug)]
pub struct Missing {
    reason: String,
    may_skip: bool,
}

/// Runs `tests/kubernetes/build.sh`, once for the whole process.
///
/// The first run on a machine compiles Kubernetes and takes minutes.
pub fn binaries() -> Result<Assets, Missing> {
    static FOUND: OnceLock<Result<Assets, Missing>> = OnceLock::new();
    FOUND.get_or_init(find).clone()
}

impl Assets {
    /// Where the program `name` is.
    pub fn bin(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The folder, to put in front of a `PATH`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Missing {
    /// Whether a test may be skipped for it: on a laptop without Go, never in CI.
    pub fn may_skip(&self) -> bool {
        self.may_skip
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no programs for a test cluster: {}", self.reason)
    }
}

impl std::error::Error for Missing {}

fn find() -> Result<Assets, Missing> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("kubernetes/build.sh");
    // Its progress lines go straight to the terminal: the first run takes minutes.
    let output = Command::new("bash")
        .arg(&script)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| Missing::from_tool(format!("bash: {error}")))?;
    folder_of(&output).map(|folder| Assets { folder })
}

fn folder_of(output: &Output) -> Result<PathBuf, Missing> {
    let stdout = String::from_utf8_lossy(&output.stdout);
    match (output.status.code(), stdout.lines().last()) {
        (Some(0), Some(folder)) => Ok(folder.into()),
        (Some(NO_TOOL), _) => Err(Missing::from_tool("a tool is missing, see above".into())),
        _ => Err(Missing {
            reason: format!("build.sh failed ({}), see above", output.status),
            may_skip: false,
        }),
    }
}

impl Missing {
    fn from_tool(reason: String) -> Self {
        let in_ci = env::var_os("CI").is_some_and(|ci| ci == "true");
        Self {
            reason,
            may_skip: !in_ci,
        }
    }
}

/// What `build.sh` ends with when this machine cannot build at all.
const NO_TOOL: i32 = 3;
