//! `[overlay]`: ranges of addresses inside the mesh.

use ipnet::{Ipv4Net, Ipv6Net};
use serde::Deserialize;

/// Ranges of addresses inside the mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Overlay {
    /// IPv4; 10.86.0.0/16 at first start.
    pub v4: Option<Ipv4Net>,
    /// IPv6; a random /48 of fd00::/8 at first start (RFC 4193).
    pub v6: Option<Ipv6Net>,
}

impl Overlay {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.v4.is_some_and(|net| net.prefix_len() > 28) {
            return Err("overlay.v4 is too narrow: give a /28 or wider".to_owned());
        }
        // Hosts' IPv6 addresses take the lower 64 bits.
        if self.v6.is_some_and(|net| net.prefix_len() > 64) {
            return Err("overlay.v6 is too narrow: give a /64 or wider".to_owned());
        }
        Ok(())
    }
}
