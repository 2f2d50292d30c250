//! What is no line of a chain: the begin of one that a crash tore, lines from before the chain, or somebody's words.

use std::path::PathBuf;

use super::super::chain::Mac;
use super::super::event::{Event, What};
use super::{Finding, Noted, Verifier, Wrong};

/// It, and where.
pub(super) struct Stray {
    pub(super) file: PathBuf,
    pub(super) number: u64,
    pub(super) bytes: Vec<u8>,
    pub(super) whole: bool,
}

impl Verifier<'_> {
    /// Whether the line that follows explains what stands before it; what is wrong with that explanation.
    pub(super) fn explain_stray(&mut self, event: Option<&Event>, line: &[u8]) -> Option<Wrong> {
        let torn = match event.map(|event| &event.what) {
            Some(What::Torn { bytes, sha256 }) => Some((*bytes, sha256.as_str())),
            _ => None,
        };
        let explained = self.stray.as_ref().is_some_and(|stray| match torn {
            Some((bytes, sha256)) => {
                bytes == stray.bytes.len() as u64
                    && sha256 == Mac::Sha256.hash(&stray.bytes).to_string()
            }
            // The output was moved away in the middle of a line, which was then written whole.
            None => !stray.whole && line.starts_with(&stray.bytes),
        });
        if explained && let Some(stray) = self.stray.take() {
            let bytes = stray.bytes.len() as u64;
            self.note(Finding::new(
                &stray.file,
                stray.number,
                Noted::Torn { bytes },
            ));
            return None;
        }
        self.give_up_stray();
        torn.map(|_| Wrong::NotTorn)
    }

    /// Nothing explains it, unless the chain begins behind it.
    pub(super) fn give_up_stray(&mut self) {
        let Some(stray) = self.stray.take() else {
            return;
        };
        if self.report.lines == 0 {
            let (_, _, count) = self.before.get_or_insert((stray.file, stray.number, 0));
            *count += 1;
            return;
        }
        let wrong = if stray.whole {
            Wrong::NoLine
        } else {
            Wrong::Incomplete
        };
        self.wrong(Finding::new(&stray.file, stray.number, wrong));
    }
}
