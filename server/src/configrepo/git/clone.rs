//! One project's bare repository: the newest commit of the branch, and of it the agents' files alone.

use std::path::Path;

use super::program::{self, Git};
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
    #[error("git {0} answers with something else than git does")]
    Answer(&'static str),
}

/// What the remote says is the newest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub commit: String,
    /// In full, as `refs/heads/main`; none where the remote does not tell which branch is its default.
    pub branch: Option<String>,
}

/// An agent's file is in the tree, and not usable as it is.
#[derive(Debug)]
pub(super) enum Content {
    Text(Vec<u8>),
    TooLarge(u64),
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

/// Asks the remote alone.
pub(super) async fn head(git: &Git, branch: Option<&str>) -> Result<Head, Error> {
    let wanted = branch.map_or_else(
        || "HEAD".to_owned(),
        |branch| format!("refs/heads/{branch}"),
    );
    let answer = git
        .run(&["ls-remote", "--symref", "origin", &wanted], SHORT)
        .await?;
    let head = parse_head(&String::from_utf8_lossy(&answer), &wanted)?;
    head.ok_or_else(|| {
        branch.map_or(Error::NoDefaultBranch, |branch| {
            Error::NoBranch(branch.to_owned())
        })
    })
}

/// A pattern of ls-remote matches the ends of names, so that others may be among the lines.
fn parse_head(answer: &str, wanted: &str) -> Result<Option<Head>, Error> {
    let mut branch = wanted.starts_with("refs/").then(|| wanted.to_owned());
    let mut commit = None;
    for line in answer.lines() {
        let Some((value, name)) = line.split_once('\t') else {
            return Err(Error::Answer("ls-remote"));
        };
        if name != wanted {
            continue;
        }
        match value.strip_prefix("ref: ") {
            Some(target) => branch = Some(target.to_owned()),
            None if is_object(value) => commit = Some(value.to_owned()),
            None => return Err(Error::Answer("ls-remote")),
        }
    }
    Ok(commit.map(|commit| Head { commit, branch }))
}

pub(super) fn is_object(id: &str) -> bool {
    matches!(id.len(), 40 | 64) && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Fetches the newest commit with its trees, without content; which commit that is by now.
pub(super) async fn fetch(git: &Git, branch: Option<&str>) -> Result<String, Error> {
    let wanted = branch.map_or_else(
        || "HEAD".to_owned(),
        |branch| format!("refs/heads/{branch}"),
    );
    let refspec = format!("+{wanted}:{REF}");
    let fetch = [
        "fetch",
        "--quiet",
        "--depth=1",
        "--no-tags",
        "--no-write-fetch-head",
        "--refmap=",
        "--filter=blob:none",
        "origin",
        &refspec,
    ];
    git.run(&fetch, SHORT).await?;
    let commit = git
        .run(
            &["rev-parse", "--verify", &format!("{REF}^{{commit}}")],
            SHORT,
        )
        .await?;
    let commit = String::from_utf8_lossy(&commit).trim().to_owned();
    if is_object(&commit) {
        Ok(commit)
    } else {
        Err(Error::Answer("rev-parse"))
    }
}

/// A file's content, if it is not too large. A remote that filters is asked for it now.
pub(super) async fn content(git: &Git, blob: &str) -> Result<Content, Error> {
    let size = git.run(&["cat-file", "-s", blob], SHORT).await?;
    let size = String::from_utf8_lossy(&size).trim().parse::<u64>();
    let size = size.map_err(|_| Error::Answer("cat-file"))?;
    if size > MAX_FILE as u64 {
        return Ok(Content::TooLarge(size));
    }
    Ok(Content::Text(
        git.run(&["cat-file", "blob", blob], MAX_FILE).await?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "1111111111111111111111111111111111111111";
    const B: &str = "2222222222222222222222222222222222222222";

    #[test]
    fn reads_which_branch_is_the_default() {
        let answer = format!("ref: refs/heads/main\tHEAD\n{A}\tHEAD\n{B}\trefs/remotes/x/HEAD\n");
        let head = parse_head(&answer, "HEAD").unwrap().unwrap();
        assert_eq!(
            (head.commit.as_str(), head.branch.as_deref()),
            (A, Some("refs/heads/main"))
        );
        let answer = format!("{B}\trefs/heads/x/refs/heads/main\n{A}\trefs/heads/main\n");
        let head = parse_head(&answer, "refs/heads/main").unwrap().unwrap();
        assert_eq!(
            (head.commit.as_str(), head.branch.as_deref()),
            (A, Some("refs/heads/main"))
        );
        assert_eq!(parse_head("", "HEAD").unwrap(), None);
        for bad in ["<html>", "x\tHEAD", "--upload-pack=x\tHEAD"] {
            assert!(parse_head(bad, "HEAD").is_err(), "{bad}");
        }
    }
}
