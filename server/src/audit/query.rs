//! Reading lines again: the line of a request by its id.

use std::io;
use std::path::{Path, PathBuf};

use super::line::Line;
use super::output::Output;
use super::raw::RawLines;
use super::{Config, files};

/// Why lines can not be read again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("audit lines go to {0}, not to a file: name the files that hold them")]
    NoFile(String),
    #[error(
        "there is no audit file {}: the server has not run yet, or writes elsewhere",
        .0.display()
    )]
    Missing(PathBuf),
}

/// The files that hold the audit lines of this configuration, the oldest first.
///
/// # Errors
/// Lines go elsewhere, or there are none.
pub fn files(config: &Config, state_dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let path = match config.output(state_dir) {
        Output::File(path) => path,
        other => return Err(Error::NoFile(other.to_string())),
    };
    let files = files::all(&path).map_err(|source| Error::Read {
        path: files::directory(&path).to_owned(),
        source,
    })?;
    if files.is_empty() {
        return Err(Error::Missing(path));
    }
    Ok(files)
}

/// The line of the request with this id, from the newest file that has it.
///
/// # Errors
/// A file can not be read.
pub fn find(files: &[PathBuf], request_id: &str) -> Result<Option<Line>, Error> {
    for path in files.iter().rev() {
        let read = |source| Error::Read {
            path: path.clone(),
            source,
        };
        let found = find_in(RawLines::open(path).map_err(read)?, request_id).map_err(read)?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn find_in<R: io::Read>(mut lines: RawLines<R>, request_id: &str) -> io::Result<Option<Line>> {
    while let Some(raw) = lines.next()? {
        // Most lines are of other requests; that is seen without reading them as JSON.
        if !contains(raw.bytes, request_id.as_bytes()) {
            continue;
        }
        if let Ok(line) = serde_json::from_slice::<Line>(raw.bytes)
            && line.request_id == request_id
        {
            return Ok(Some(line));
        }
    }
    Ok(None)
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    wanted.is_empty() || text.windows(wanted.len()).any(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = r#"{"time":"2026-11-23T21:45:37.023641961Z","request_id":"ec499e414579216e","client":"192.0.2.9:57962","user_agent":"kubectl/v1.35.0","agent":{"id":1,"name":"acme/infra:prod"},"job":{"provider":"local","project":{"path":"acme/shop","id":42},"groups":[{"path":"acme"}],"job_id":"4711","ref":"main","ref_protected":true,"user":{"login":"ann"},"expires_at":"2026-11-23T22:45:35Z"},"token":"486974edc1048b827c2f4f2d0a7e3816","method":"GET","path":"/api/v1/namespaces/shop/pods","verb":"list","resource":"pods","namespace":"shop","rule":"projects[0] (line 3, \"acme/shop\")","kubernetes":{"as":"gitlab:ci_job:4711","groups":["gitlab:ci_job"]},"session":1,"status":200,"bytes_up":0,"bytes_down":52,"duration_ms":25,"end":"complete"}"#;

    #[test]
    fn a_line_is_found_by_its_request() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("audit.log");
        let other = OLD
            .replace("ec499e414579216e", "1")
            .replace("4711", "ec499e414579216e");
        std::fs::write(
            &file,
            format!("{other}\n{OLD}\n{{\"request_id\":\"x\"}}\nec499e414579216e"),
        )
        .unwrap();
        let found = find(&[file.clone()], "ec499e414579216e").unwrap().unwrap();
        assert_eq!(found.job.unwrap().job_id.as_deref(), Some("4711"));
        assert_eq!(found.kubernetes.unwrap().groups, ["gitlab:ci_job"]);
        assert_eq!(find(&[file], "x").unwrap(), None);
    }
}
