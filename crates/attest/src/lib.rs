//! Proofs of identity without a shared secret: AWS instance identity documents, and signed tokens (JWT) of AWS STS, GCP and
//! any OIDC issuer; the rules by which a proven identity is let in; and messages of clouds about their instances. No IO, no
//! clock (`now` is an argument), no discovery: which keys are believed is given by the caller.

pub mod binding;
pub mod document;
pub mod hooks;
pub mod identity;
mod json;
pub mod jwks;
pub mod jwt;
pub mod rules;
mod shown;
pub mod token;

pub use binding::{audience, keys_digest};
pub use document::{Certificate, DocumentError, RegionCertificates};
pub use identity::{Identity, IdentityId, IdentityIdError, Kind};
pub use jwks::{Jwks, JwksError};
pub use jwt::{JwtError, Unverified};
pub use rules::{Admission, Asked, Denied, Pattern, Rule, admit};
pub use token::{Issuer, TokenError};
