//! Clients for tests: a polite one that speaks HTTP well ([`Client`]), and raw ones that write what they are told
//! ([`Raw`], [`RawH2`]).

mod body;
mod polite;
mod raw;
mod raw_h2;
#[cfg(test)]
mod tests;

pub use self::body::{Boxed, Feeder, empty, fed, full};
pub use self::polite::{Client, Connection, Http, Switched, whole};
pub use self::raw::{Raw, RawResponse};
pub use self::raw_h2::{Answer, Part, RawH2};
