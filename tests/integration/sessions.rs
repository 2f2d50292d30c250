//! How agents and their server find, keep and leave each other.

mod asking;
mod links;
mod replicas;
mod restarts;
mod standing;
