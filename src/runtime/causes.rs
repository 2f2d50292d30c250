//! An error and what caused it as one line for a person.

use std::error::Error;
use std::iter;

/// `what failed: why: why that`. A cause that the text tells already, as most messages here do, is not told twice.
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    for cause in iter::successors(error.source(), |&error| error.source()) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::with_causes;

    #[derive(Debug, thiserror::Error)]
    enum Failure {
        #[error("reading the file")]
        Silent(#[source] io::Error),
        #[error("reading the file ({0}); nothing was changed")]
        Telling(#[source] io::Error),
        #[error("starting")]
        Outer(#[source] Box<Self>),
    }

    #[test]
    fn tells_each_cause_once() {
        let full = || io::Error::other("no space left");
        let silent = Failure::Silent(full());
        assert_eq!(with_causes(&silent), "reading the file: no space left");
        let telling = Failure::Outer(Box::new(Failure::Telling(full())));
        assert_eq!(
            with_causes(&telling),
            "starting: reading the file (no space left); nothing was changed"
        );
    }
}
