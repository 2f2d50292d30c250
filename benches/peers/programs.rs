//! The peers' programs that are built on this machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// What `build.sh --list` says.
#[derive(Debug, Clone, Default)]
pub struct Programs(Vec<Program>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub project: String,
    pub version: String,
    pub folder: PathBuf,
}

impl Programs {
    pub fn find() -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/build.sh");
        let output = Command::new(&script)
            .arg("--list")
            .output()
            .with_context(|| script.display().to_string())?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "build.sh --list: {errors}");
        Self::read(&String::from_utf8(output.stdout)?)
    }

    fn read(list: &str) -> Result<Self> {
        let program = |line: &str| {
            let mut words = line.splitn(3, ' ').map(str::to_owned);
            Some(Program {
                project: words.next()?,
                version: words.next()?,
                folder: words.next()?.into(),
            })
        };
        list.lines()
            .map(|line| program(line).with_context(|| format!("build.sh --list says `{line}`")))
            .collect::<Result<_>>()
            .map(Self)
    }

    pub fn of(&self, project: &str) -> Option<&Program> {
        self.0.iter().find(|program| program.project == project)
    }
}

#[cfg(test)]
mod tests {
    use super::Programs;

    #[test]
    fn reads_the_list_of_what_is_built() {
        let programs = Programs::read("frp v0.65.0 /a folder/frp\nchisel v1 /c\n").unwrap();
        let frp = programs.of("frp").unwrap();
        assert_eq!(frp.version, "v0.65.0");
        assert_eq!(frp.folder, std::path::Path::new("/a folder/frp"));
        assert!(programs.of("rusnel").is_none());
        assert!(Programs::read("frp v0.65.0").is_err());
    }
}
