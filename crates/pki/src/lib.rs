//! The mesh's identity: its certificate authority, node certificates, join and operator tokens, TLS configurations.
//! No sockets, no clock (`now` is an argument); only `keys` draws random bytes for itself.

pub mod ca;
pub mod fingerprint;
pub mod identity;
pub mod keys;
pub mod tls;
pub mod token;

pub use ca::{Ca, CaError, CaPem, RequestError, SERVER_NAME, ServerCertificate, SignedCertificate, request_key_sha256};
pub use fingerprint::{Fingerprint, FingerprintError};
pub use identity::{IdentityError, NodeIdentity, Validity, node_of, validity_of};
pub use keys::{KeyError, TlsKey, random};
pub use tls::{ClientCertificate, ServedCertificate, TlsError, client_config, provider, server_config};
pub use token::{JoinToken, OperatorRole, OperatorToken, SecretHash, TokenError, TokenSecret};
