//! The mesh's identity: its certificate authority, node certificates, join and operator tokens, TLS configurations.
//! No sockets, no clock (`now` is an argument); only `keys` draws random bytes for itself.

pub mod accepted;
pub mod ca;
pub mod certificate;
pub mod fingerprint;
pub mod identity;
pub mod keys;
pub mod sealed;
pub mod succession;
pub mod tls;
pub mod token;

pub use accepted::AcceptedCas;
pub use ca::{Ca, CaError, CaPem, RequestError, SERVER_NAME, ServerCertificate, SignedCertificate, request_key_sha256};
pub use certificate::{CaCertificate, CertificateError};
pub use fingerprint::{Fingerprint, FingerprintError};
pub use identity::{IdentityError, NodeIdentity, Validity, node_of, validity_of};
pub use keys::{KeyError, TlsKey, random};
pub use sealed::{SealError, is_sealed, seal, unseal};
pub use succession::{SuccessionError, check_succession};
pub use tls::{
    ClientCertificate, ServedCertificate, TlsError, client_config, client_config_of, provider, server_config,
    server_config_accepting,
};
pub use token::{JoinToken, OperatorRole, OperatorToken, SecretHash, TokenError, TokenSecret};
