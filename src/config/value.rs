//! Values as people write them in a configuration file: secrets, durations and sizes.

pub mod duration;
mod secret;
mod size;

pub use duration::parse as parse_duration;
pub use secret::{Error as SecretError, Secret, SecretSource};
pub use size::{ByteSize, Error as SizeError};
