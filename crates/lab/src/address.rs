//! Which addresses a lab may use: those that belong to nobody.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::LabError;

/// Ranges every host reaches without a router, whatever its own prefix says: not the half of 192.0.2.0/24 that overlays take
/// their addresses from, as nobody's overlay is on the internet. Who has no tunnel to such an address does not reach it.
pub(crate) const ON_LINK: [&str; 4] = ["192.0.2.128/25", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"];

/// Ranges of the host itself and of overlays (RFC 1122, RFC 4193), allowed beside the documentation ranges
/// (RFC 5737, RFC 3849) of [`ON_LINK`].
const PRIVATE: [&str; 3] = ["127.0.0.0/8", "192.0.2.0/25", "fd00::/8"];

/// An address, with its prefix or alone, from the ranges a lab may use.
pub(crate) fn parse(text: &str) -> Result<IpNet, LabError> {
    let address = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let address = address.map_err(|_| LabError::NotAnAddress { text: text.to_owned() })?;
    let ours = |range: &&str| range.parse::<IpNet>().is_ok_and(|range| range.contains(&address.addr()));
    if ON_LINK.iter().chain(&PRIVATE).any(ours) {
        Ok(address)
    } else {
        Err(LabError::NotOurAddress { address: address.addr() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_nobody_are_taken() {
        let check = |text: &str, taken: bool| assert_eq!(parse(text).is_ok(), taken, "{text}");
        check("203.0.113.11/24", true);
        check("198.51.100.7", true);
        check("2001:db8:1::11/64", true);
        check("fd12::1/128", true);
        check("192.0.2.5/32", true);
        check("127.0.0.2/8", true);
        check("10.0.0.1/24", false);
        check("8.8.8.8", false);
        check("fc00::1/64", false);
        check("2001:db9::1/64", false);
        check("203.0.113.11/33", false);
        check("localhost", false);
    }
}
