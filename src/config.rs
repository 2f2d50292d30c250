//! What configuration files are made of, for server and agent alike.

pub mod document;
pub mod load;
pub mod net;
pub mod value;
