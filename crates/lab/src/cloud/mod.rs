//! Clouds and token issuers played: keys, signed documents and tokens, key sets, and a metadata server. What they sign is up
//! to the test; nothing here verifies anything.

mod issuer;
mod metadata;

pub use issuer::{Signer, aws_certificate, document, jwks, sign_document};
pub use metadata::{FakeMetadata, Instance};
