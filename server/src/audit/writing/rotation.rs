//! Closing the file for the next one.

use std::io;
use std::time::Instant;

use super::super::config::Sync;
use super::super::event::What;
use super::super::output::Open;
use super::super::{files, rotate};
use super::{GivenUp, ROTATE_AGAIN, Writing};

impl Writing {
    pub(super) fn rotate_by_time(&mut self) -> Result<(), GivenUp> {
        if let (Some(settings), Open::File(file)) = (&self.rotate, &self.open)
            && let Some(begun) = file.begun()
            && rotate::is_old(settings, begun, (self.clock)())
        {
            return self.rotate();
        }
        Ok(())
    }

    /// Closes the file and begins the next, the first line of which says so.
    pub(super) fn rotate(&mut self) -> Result<(), GivenUp> {
        if self
            .rotate_after
            .is_some_and(|after| Instant::now() < after)
        {
            return Ok(());
        }
        self.flush()?;
        if self.sync != Sync::Never {
            self.insist(Self::make_durable)?;
        }
        match self.close_file() {
            Ok(None) => Ok(()),
            Ok(Some(rotated)) => {
                self.rotate_after = None;
                self.put(rotated);
                Ok(())
            }
            Err(error) => {
                self.rotate_after = Some(Instant::now() + ROTATE_AGAIN);
                tracing::error!(%error, output = %self.output, "the audit file can not be closed for a new one; lines go on into it");
                Ok(())
            }
        }
    }

    fn close_file(&mut self) -> io::Result<Option<What>> {
        let now = (self.clock)();
        let (Some(settings), Open::File(file)) = (&self.rotate, &mut self.open) else {
            return Ok(None);
        };
        if !file.is_regular() {
            return Ok(None);
        }
        let current = file.path().to_owned();
        let closed = files::rotated(&current)?;
        let to = files::name(&current, now, self.chain.head().seq, &closed);
        file.rotate(&to)?;
        let closed = files::rotated(&current)?;
        let mut removed = Vec::new();
        for file in rotate::superfluous(settings, &closed, now) {
            match std::fs::remove_file(&file.path) {
                Ok(()) => removed.push(files::file_name(&file.path)),
                Err(error) => {
                    let path = file.path.display();
                    tracing::warn!(%error, %path, "an old audit file can not be removed");
                }
            }
        }
        let previous = files::file_name(&to);
        Ok(Some(What::Rotated { previous, removed }))
    }
}
