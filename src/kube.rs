//! Reading Kubernetes requests and writing Kubernetes refusals: pure functions, no I/O.

mod attributes;
mod headers;
mod query;
mod status;
mod target;

pub use attributes::Attributes;
pub use headers::{
    clean_request_headers, clean_response_headers, connection_names, hop_by_hop, is_cors,
    is_identity, is_impersonation, may_switch_to,
};
pub use status::Status;
pub use target::{BadTarget, check_target};
