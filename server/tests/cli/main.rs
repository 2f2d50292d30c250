//! The server's executable from outside: what its help lists, what it says of mistakes, how it ends.

// A test may tell its story in one piece.
#![allow(missing_docs, clippy::unwrap_used, clippy::too_many_lines)]

mod audit;
mod explain;
mod help;
mod messages;
mod place;
mod serve;
