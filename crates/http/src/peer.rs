//! Who is calling, as a request extension and extractor.

use axum::{
    extract::FromRequestParts,
    http::{StatusCode, request::Parts},
};
use picket_pki::NodeIdentity;
use std::net::SocketAddr;

/// The other end of the connection a request came over. Every request served by [`crate::Server`] carries one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address and port, as the socket tells.
    pub address: SocketAddr,
    /// What its certificate says.
    pub identity: ClientIdentity,
}

/// What a client's certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientIdentity {
    /// It showed none.
    Anonymous,
    /// It showed a certificate of the mesh's CA, in date. Whether the node was revoked since is the handler's to ask.
    Node(NodeIdentity),
}

impl Peer {
    /// The node, if the client is one.
    pub fn node(&self) -> Option<&NodeIdentity> {
        match &self.identity {
            ClientIdentity::Anonymous => None,
            ClientIdentity::Node(node) => Some(node),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let missing = (StatusCode::INTERNAL_SERVER_ERROR, "the request did not come through the accept loop");
        parts.extensions.get::<Self>().cloned().ok_or(missing)
    }
}
