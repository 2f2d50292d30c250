//! The state directory as commands meet it: whose it is, and whether anything is there yet.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use crate::store;

/// Why a command had better not touch the state directory.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(
        "state_dir {} belongs to user {owner}: what root makes there the server could not use. Run this as that user: \
         `runuser -u \"$(stat -c %U {})\" -- ci-tunnel-server …`",
        .path.display(), .path.display()
    )]
    Foreign { path: PathBuf, owner: u32 },
    #[error(
        "there is no store in state_dir {}: has the server run, and is this its --config?",
        .0.display()
    )]
    Empty(PathBuf),
}

/// Refuses root a directory of another user.
///
/// # Errors
/// It is one.
pub(super) fn check_owner(path: &Path) -> Result<(), Error> {
    // What can not be looked at is told by whoever opens it.
    let owner = fs::metadata(path).map_or(0, |metadata| metadata.uid());
    if geteuid().is_root() && owner != 0 {
        let path = path.to_owned();
        return Err(Error::Foreign { path, owner });
    }
    Ok(())
}

/// Whether a server, or a command that registers something, has been at work here.
pub(super) fn has_store(path: &Path) -> bool {
    path.join(store::FILE_NAME).exists()
}

/// For commands that only look.
///
/// # Errors
/// There is no store: it would have to be made.
pub(super) fn check_store(path: &Path) -> Result<(), Error> {
    if has_store(path) {
        Ok(())
    } else {
        Err(Error::Empty(path.to_owned()))
    }
}
