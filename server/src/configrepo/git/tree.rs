//! What a commit's tree has where agents' files would be.

use super::clone::{Error, SHORT, is_object};
use super::program::Git;
use crate::identity::AgentName;

/// What a tree has where an agent's file would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    File {
        blob: String,
    },
    /// A symlink or a submodule, here or on the way.
    Refused {
        blob: String,
        path: String,
    },
}

/// Looks for the files of these agents.
pub(super) async fn files(
    git: &Git,
    commit: &str,
    names: &[AgentName],
) -> Result<Vec<Found>, Error> {
    let mut paths = vec![".gitlab".to_owned(), ".gitlab/agents".to_owned()];
    for name in names {
        paths.push(format!(".gitlab/agents/{name}"));
        paths.push(file(name));
    }
    let mut entries = Vec::new();
    // Arguments have a limit.
    for paths in paths.chunks(500) {
        let mut arguments = vec!["ls-tree", "-t", "-z", commit, "--"];
        arguments.extend(paths.iter().map(String::as_str));
        let answer = git.run(&arguments, SHORT + 256 * paths.len()).await?;
        let answer = String::from_utf8(answer).map_err(|_| Error::Answer("ls-tree"))?;
        for line in answer.split_terminator('\0') {
            entries.push(Entry::parse(line).ok_or(Error::Answer("ls-tree"))?);
        }
    }
    Ok(names.iter().map(|name| found(&entries, name)).collect())
}

/// Where an agent's file is in its repository.
pub(super) fn file(name: &AgentName) -> String {
    format!(".gitlab/agents/{name}/config.yaml")
}

struct Entry {
    mode: String,
    object: String,
    path: String,
}

impl Entry {
    fn parse(line: &str) -> Option<Self> {
        let (head, path) = line.split_once('\t')?;
        let mut words = head.split(' ');
        let (mode, _kind, object) = (words.next()?, words.next()?, words.next()?);
        is_object(object).then(|| Self {
            mode: mode.to_owned(),
            object: object.to_owned(),
            path: path.to_owned(),
        })
    }
}

fn found(entries: &[Entry], name: &AgentName) -> Found {
    let file = file(name);
    let above = [
        ".gitlab".to_owned(),
        ".gitlab/agents".to_owned(),
        format!(".gitlab/agents/{name}"),
    ];
    let at = |path: &str| entries.iter().find(|entry| entry.path == path);
    let refused = |entry: &Entry| Found::Refused {
        blob: entry.object.clone(),
        path: entry.path.clone(),
    };
    let link = |entry: &&Entry| entry.mode == "120000" || entry.mode == "160000";
    if let Some(entry) = above.iter().filter_map(|path| at(path)).find(link) {
        return refused(entry);
    }
    match at(&file) {
        None => Found::Nothing,
        Some(entry) if entry.mode.starts_with("100") => Found::File {
            blob: entry.object.clone(),
        },
        Some(entry) => refused(entry),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "1111111111111111111111111111111111111111";

    #[test]
    fn links_are_refused_wherever_they_stand() {
        let name: AgentName = "prod".parse().unwrap();
        let find = |lines: &[&str]| {
            let entries: Vec<_> = lines
                .iter()
                .map(|line| Entry::parse(line).unwrap())
                .collect();
            found(&entries, &name)
        };
        let line = |mode: &str, path: &str| format!("{mode} x {A}\t{path}");
        let file = ".gitlab/agents/prod/config.yaml";
        assert_eq!(
            find(&[&line("100644", file)]),
            Found::File { blob: A.to_owned() }
        );
        assert_eq!(
            find(&[&line("100644", ".gitlab/agents/other/config.yaml")]),
            Found::Nothing
        );
        assert_eq!(
            find(&[&line("100644", ".gitlab/agents/prod")]),
            Found::Nothing
        );
        for (mode, path) in [
            ("120000", ".gitlab"),
            ("160000", ".gitlab"),
            ("120000", ".gitlab/agents"),
            ("120000", ".gitlab/agents/prod"),
            ("120000", file),
            ("160000", file),
            ("040000", file),
        ] {
            let expected = Found::Refused {
                blob: A.to_owned(),
                path: path.to_owned(),
            };
            assert_eq!(find(&[&line(mode, path)]), expected);
        }
    }
}
