//! The agents that are connected now.

pub mod balance;
pub mod directory;
pub mod registry;
pub mod session;
pub mod standing;

pub use registry::Registry;
pub use session::Session;
