//! What goes wrong in practice, done to programs that run: each time somebody is told, soon, and it mends by itself.

mod agents;
mod apiserver;
mod disks;
mod permits;
mod server;
mod watching;

pub use watching::Watching;
