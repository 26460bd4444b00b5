//! Requests to AWS, signed by AWS's own signer (docs/decisions/0008), and what its answers in XML say. Values in, values out; `now`
//! is passed in. Who sends requests, and where credentials come from, is elsewhere.

mod sign;
pub mod xml;

pub use aws_credential_types::Credentials;
pub use sign::{Request, Scope, SignError, sign};
