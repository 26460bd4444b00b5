//! Clouds and token issuers played: keys, signed documents and tokens, key sets, a metadata server, Auto Scaling and SNS. What
//! they sign is up to the test.

mod autoscaling;
mod issuer;
mod metadata;
mod moto;
mod sigv4;
mod sns;

pub use autoscaling::{ACCESS_KEY, FakeAutoscaling, Group, Hook, ROLE_SESSION, SECRET_KEY};

pub use issuer::{Signer, aws_certificate, document, jwks, sign_document, sign_sns};
pub use metadata::{FakeMetadata, Instance};
pub use moto::Moto;
pub use sns::FakeSns;
