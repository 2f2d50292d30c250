//! The server's executable from outside: what its help lists, what it says of mistakes, how it ends.

#![allow(missing_docs, clippy::unwrap_used)]

mod help;
mod messages;
mod place;
mod serve;
