//! `p2pEndpoint` as it stands on chain: hostile text, parsed once into an address or a name and a port.
//! Anyone with 2000 ICX can register any text that goloop lets through (goloop `icon/iiss/icutils/utils.go`),
//! and ICON 1.0 let more through; lax parsers read `012.034.056.078` and `123.45.67` as other addresses.

use crate::{ids::shortened, network};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, net::IpAddr, net::Ipv4Addr, num::NonZeroU16, str::FromStr};
use thiserror::Error;

/// Longest host name in DNS, RFC 1035 section 2.3.4, without the trailing dot.
const LONGEST_NAME: usize = 253;
/// Longest label of a host name, RFC 1035 section 2.3.4.
const LONGEST_LABEL: usize = 63;

/// Why an endpoint was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EndpointError {
    /// Not `host:port` with exactly one colon.
    #[error("{0:?} is not host:port")]
    Shape(String),
    /// A character outside printable ASCII, a space or a line end among them.
    #[error("{0:?} has a character other than printable ASCII")]
    Character(String),
    /// The port is not 1 to 65535 in at most five digits.
    #[error("{0:?} has no port from 1 to 65535")]
    Port(String),
    /// All digits and dots, yet not an IPv4 address in canonical form.
    #[error("{0:?} looks like an IPv4 address and is not one in canonical form")]
    Address(String),
    /// Not a host name of two labels or more, each of 1 to 63 letters, digits, '-' or '_'.
    #[error("{0:?} is not a host name")]
    Name(String),
    /// A host name of more than 253 characters.
    #[error("host name of {length} characters, longer than {LONGEST_NAME}: {start:?}…")]
    TooLong {
        /// Length in characters.
        length: usize,
        /// How it begins.
        start: String,
    },
    /// An address that no host on the internet has.
    #[error("{address} is not an address of the public internet: {range}")]
    NotPublic {
        /// The address.
        address: IpAddr,
        /// Name of the special range it lies in.
        range: &'static str,
    },
}

/// A host name, lower case, two labels or more, never one that could be read as an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DnsName(String);

impl DnsName {
    /// The name as text, without a trailing dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DnsName {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if text.len() > LONGEST_NAME {
            return Err(EndpointError::TooLong { length: text.len(), start: shortened(text) });
        }
        let name = text.to_ascii_lowercase();
        let labels: Vec<&str> = name.split('.').collect();
        let top = labels.last().copied().unwrap_or_default();
        let is_name = labels.len() >= 2
            && labels.iter().all(|label| is_label(label))
            // A last label of digits (or hexadecimal, as inet_aton reads it) makes the whole an address for lax parsers.
            && !top.starts_with(|c: char| c.is_ascii_digit());
        if is_name { Ok(Self(name)) } else { Err(EndpointError::Name(shortened(text))) }
    }
}

fn is_label(label: &str) -> bool {
    (1..=LONGEST_LABEL).contains(&label.len())
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

impl TryFrom<String> for DnsName {
    type Error = EndpointError;

    fn try_from(text: String) -> Result<Self, EndpointError> {
        text.parse()
    }
}

impl From<DnsName> for String {
    fn from(name: DnsName) -> Self {
        name.0
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where an endpoint points.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Host {
    /// A literal IPv4 address: goloop registers and dials no other (`tcp4` only).
    Address(Ipv4Addr),
    /// A name, looked up by goloop at every dial.
    Name(DnsName),
}

impl FromStr for Host {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            // Rust's parser takes only the canonical dotted quad: no leading zeros, no shortened forms.
            return Ok(Self::Address(text.parse().map_err(|_| EndpointError::Address(shortened(text)))?));
        }
        text.parse().map(Self::Name)
    }
}

impl TryFrom<String> for Host {
    type Error = EndpointError;

    fn try_from(text: String) -> Result<Self, EndpointError> {
        text.parse()
    }
}

impl From<Host> for String {
    fn from(host: Host) -> Self {
        host.to_string()
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// A validator's registered P2P endpoint: an IPv4 address or a host name, and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct P2pEndpoint {
    /// Address or name.
    pub host: Host,
    /// TCP port.
    pub port: NonZeroU16,
}

impl P2pEndpoint {
    /// An error where the endpoint is a literal address that no public host has; `except` says which such ranges the
    /// operator lets through (private networks, tests). Names are judged by what they resolve to.
    pub fn check_public(&self, except: &[ipnet::IpNet]) -> Result<(), EndpointError> {
        match self.host {
            Host::Address(address) => check_public_address(address.into(), except),
            Host::Name(_) => Ok(()),
        }
    }
}

/// An error where `address` is one that no public host has and `except` does not let through.
pub fn check_public_address(address: IpAddr, except: &[ipnet::IpNet]) -> Result<(), EndpointError> {
    let address = network::canonical(address);
    match network::special_range(address) {
        Some(range) if !except.iter().any(|net| net.contains(&address)) => {
            Err(EndpointError::NotPublic { address, range })
        }
        _ => Ok(()),
    }
}

impl FromStr for P2pEndpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(EndpointError::Character(shortened(text)));
        }
        let (host, port) = match text.split_once(':') {
            Some((host, port)) if !host.is_empty() && !port.contains(':') => (host, port),
            _ => return Err(EndpointError::Shape(shortened(text))),
        };
        let digits = (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit());
        let port = digits.then(|| port.parse().ok()).flatten().ok_or_else(|| EndpointError::Port(shortened(text)))?;
        // Who reads of an address that is none finds the whole text.
        let host = host.parse().map_err(|error| match error {
            EndpointError::Address(_) => EndpointError::Address(shortened(text)),
            other => other,
        });
        Ok(Self { host: host?, port })
    }
}

impl TryFrom<String> for P2pEndpoint {
    type Error = EndpointError;

    fn try_from(text: String) -> Result<Self, EndpointError> {
        text.parse()
    }
}

impl From<P2pEndpoint> for String {
    fn from(endpoint: P2pEndpoint) -> Self {
        endpoint.to_string()
    }
}

impl fmt::Display for P2pEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        let found = match text.parse::<P2pEndpoint>() {
            Ok(endpoint) => match endpoint.check_public(&[]) {
                Ok(()) => endpoint.to_string(),
                Err(error) => variant(&error).to_owned(),
            },
            Err(error) => variant(&error).to_owned(),
        };
        assert_eq!(found, expect, "{text:?}");
    }

    fn variant(error: &EndpointError) -> &'static str {
        match error {
            EndpointError::Shape(_) => "shape",
            EndpointError::Character(_) => "character",
            EndpointError::Port(_) => "port",
            EndpointError::Address(_) => "address",
            EndpointError::Name(_) => "name",
            EndpointError::TooLong { .. } => "too long",
            EndpointError::NotPublic { .. } => "not public",
        }
    }

    #[test]
    fn hostile_endpoints_are_refused_with_their_reason() {
        check("999.999.999.999:7100", "address");
        check("300.10.10.10:7100", "address");
        check("012.034.056.078:7100", "address");
        check("123.45.67:7100", "address");
        check("127.0.0.1:7100", "not public");
        check("10.0.0.1:7100", "not public");
        check("0.0.0.0:7100", "not public");
        check("255.255.255.255:1", "not public");
        check("host.example.com:7100\n", "character");
        check("bücher.example:7100", "character");
        check("\u{212a}elvin.example.com:7100", "character");
        check(&format!("{}example.com:7100", "abcdefghi.".repeat(33)), "too long");
        check("1.2.3.4:0", "port");
        check("1.2.3.4:65536", "port");
        check("1.2.3.4:+7100", "port");
        check("1.2.3.4:007100", "port");
        check("1.2.3.4", "shape");
        check("1.2.3.4:71:00", "shape");
        check("[2001:db8::1]:7100", "shape");
        check(":7100", "shape");
        check("localhost:7100", "name");
        check("a..b:7100", "name");
        check("-a.example.com:7100", "name");
        check("0x7f.0x1:7100", "name");
        check("1.2.3.0x4:7100", "name");
        check("a b.example:7100", "character");
        check("drop;accept.example:7100", "name");
    }

    /// What goloop 1.4.4 and iconservice 1.8.10 were seen to take or refuse, and what we make of each.
    #[test]
    fn whatever_nodes_let_somebody_register_is_judged() {
        #[derive(serde::Deserialize)]
        struct Case {
            endpoint: String,
            picket: String,
        }
        let cases = include_str!("../../../tests/fixtures/icon/endpoints.json");
        let cases: Vec<Case> = serde_json::from_str(cases).unwrap();
        assert_eq!(cases.len(), 39);
        cases.iter().for_each(|case| check(&case.endpoint, &case.picket));
    }

    #[test]
    fn endpoints_of_real_validators_are_taken() {
        check("210.180.69.101:7100", "210.180.69.101:7100");
        check("1.2.3.4:07100", "1.2.3.4:7100");
        check("UPPER.Example.COM:9000", "upper.example.com:9000");
        check("under_score.example.com:7100", "under_score.example.com:7100");
    }

    #[test]
    fn the_operator_may_let_a_special_range_through() {
        let endpoint: P2pEndpoint = "203.0.113.7:7100".parse().unwrap();
        assert!(endpoint.check_public(&[]).is_err());
        assert!(endpoint.check_public(&["203.0.113.0/24".parse().unwrap()]).is_ok());
    }
}
