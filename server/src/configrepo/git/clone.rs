//! One project's bare repository: the newest commit of the branch, and of it the agents' files alone.

use std::path::Path;

use super::program::{self, Git, Printed};
use crate::access::MAX_FILE;

/// Why nothing could be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Git(#[from] program::Error),
    #[error("{}: {source}", path.display())]
    Directory {
        path: std::path::PathBuf,
        source: std::io::Error,
    },
    #[error("the repository has no commit on its default branch")]
    NoDefaultBranch,
    #[error("the repository has no branch {0}")]
    NoBranch(String),
    /// The files that were left out of the fetch can not be had by themselves.
    #[error("{0}")]
    Unfetched(#[source] program::Error),
    #[error("git {0} answers with something else than git does")]
    Answer(&'static str),
}

/// An agent's file is in the tree, and not usable as it is.
#[derive(Debug)]
pub(super) enum Content {
    Text(Vec<u8>),
    TooLarge(usize),
}

/// The only ref here.
const REF: &str = "refs/ci-tunnel/head";
/// Bytes of an answer about refs, or about a few paths.
pub(super) const SHORT: usize = 64 * 1024;
/// Each fetch leaves one; with so many it is faster to begin anew.
const MAX_PACKS: usize = 100;

/// Makes the repository where there is none.
pub(super) async fn open(git: &Git) -> Result<(), Error> {
    let directory = git.directory().to_owned();
    let failed = |source| Error::Directory {
        path: git.directory().to_owned(),
        source,
    };
    if directory.join("HEAD").exists() && packs(&directory) <= MAX_PACKS {
        return Ok(());
    }
    discard(&directory).await.map_err(failed)?;
    tokio::fs::create_dir_all(&directory)
        .await
        .map_err(failed)?;
    git.run(&["init", "--quiet", "--bare"], SHORT).await?;
    Ok(())
}

/// Removes the repository, so that the next reading begins anew.
pub(super) async fn discard(directory: &Path) -> std::io::Result<()> {
    match tokio::fs::remove_dir_all(directory).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn packs(directory: &Path) -> usize {
    std::fs::read_dir(directory.join("objects/pack")).map_or(0, |entries| {
        let is_pack = |name: &std::ffi::OsStr| name.as_encoded_bytes().ends_with(b".pack");
        entries
            .flatten()
            .filter(|entry| is_pack(&entry.file_name()))
            .count()
    })
}

/// Asks the remote alone: which commit is the newest?
pub(super) async fn head(git: &Git, branch: Option<&str>) -> Result<String, Error> {
    let wanted = full(branch);
    let answer = git.run(&["ls-remote", "origin", &wanted], SHORT).await?;
    let head = parse_head(&String::from_utf8_lossy(&answer), &wanted)?;
    head.ok_or_else(|| {
        branch.map_or(Error::NoDefaultBranch, |branch| {
            Error::NoBranch(branch.to_owned())
        })
    })
}

fn full(branch: Option<&str>) -> String {
    branch.map_or_else(
        || "HEAD".to_owned(),
        |branch| format!("refs/heads/{branch}"),
    )
}

/// A pattern of ls-remote matches the ends of names, so that others may be among the lines.
fn parse_head(answer: &str, wanted: &str) -> Result<Option<String>, Error> {
    for line in answer.lines() {
        match line.split_once('\t') {
            Some((commit, name)) if is_object(commit) => {
                if name == wanted {
                    return Ok(Some(commit.to_owned()));
                }
            }
            _ => return Err(Error::Answer("ls-remote")),
        }
    }
    Ok(None)
}

pub(super) fn is_object(id: &str) -> bool {
    matches!(id.len(), 40 | 64) && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Fetches the newest commit with its trees, `filtered` if without content; which commit that is by now.
pub(super) async fn fetch(
    git: &Git,
    branch: Option<&str>,
    filtered: bool,
) -> Result<String, Error> {
    let refspec = format!("+{}:{REF}", full(branch));
    let mut fetch = vec!["fetch", "--quiet", "--depth=1", "--no-tags", "--refmap="];
    if filtered {
        fetch.push("--filter=blob:none");
    }
    fetch.extend(["origin", &refspec]);
    git.run(&fetch, SHORT).await?;
    let fetched = git.directory().join("FETCH_HEAD");
    let fetched = tokio::fs::read_to_string(&fetched).await;
    let fetched = fetched.map_err(|source| Error::Directory {
        path: git.directory().to_owned(),
        source,
    })?;
    match fetched.split(['\t', '\n']).next() {
        Some(commit) if is_object(commit) => Ok(commit.to_owned()),
        _ => Err(Error::Answer("fetch")),
    }
}

/// A file's content, if it is not too large. A remote that filters is asked for it now.
pub(super) async fn content(git: &Git, blob: &str) -> Result<Content, Error> {
    let asked = format!("{blob}\n");
    // The head of git's answer is shorter than what is added here.
    let printed = git
        .feed(&["cat-file", "--batch"], &asked, MAX_FILE + 256)
        .await;
    let printed = printed.map_err(|error| match error {
        error @ program::Error::Failed { .. } => Error::Unfetched(error),
        error => Error::Git(error),
    })?;
    let (Printed::All(output) | Printed::Begin(output)) = &printed;
    let size = size(output).ok_or(Error::Answer("cat-file"))?;
    if size > MAX_FILE {
        return Ok(Content::TooLarge(size));
    }
    let begin = output
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let content = output.get(begin..begin + size);
    Ok(Content::Text(
        content.ok_or(Error::Answer("cat-file"))?.to_vec(),
    ))
}

/// The size in `<object> blob <size>`, the first line.
fn size(output: &[u8]) -> Option<usize> {
    let line = output.split(|byte| *byte == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ').skip(1);
    (words.next()? == "blob").then(|| words.next()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "1111111111111111111111111111111111111111";
    const B: &str = "2222222222222222222222222222222222222222";

    #[test]
    fn reads_which_commit_is_the_newest() {
        let answer = format!("{A}\tHEAD\n{B}\trefs/remotes/x/HEAD\n");
        assert_eq!(parse_head(&answer, "HEAD").unwrap().unwrap(), A);
        let answer = format!("{B}\trefs/heads/x/refs/heads/main\n{A}\trefs/heads/main\n");
        let found = parse_head(&answer, "refs/heads/main").unwrap();
        assert_eq!(found.unwrap(), A);
        assert_eq!(parse_head("", "HEAD").unwrap(), None);
        for bad in ["<html>", "x\tHEAD", "--upload-pack=x\tHEAD"] {
            assert!(parse_head(bad, "HEAD").is_err(), "{bad}");
        }
    }

    #[test]
    fn reads_how_large_a_file_is() {
        assert_eq!(
            size(format!("{A} blob 12\nci_access: {{").as_bytes()),
            Some(12)
        );
        for bad in [
            format!("{A} missing\n"),
            format!("{A} tree 12\n"),
            String::new(),
        ] {
            assert_eq!(size(bad.as_bytes()), None, "{bad}");
        }
    }
}
