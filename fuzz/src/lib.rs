//! What must hold of anything that was parsed, whatever the bytes were. Each check ends the program where it does not.

use picket_model::{Advertised, DnsName, Host, NodeAddress, Observation, P2pEndpoint, PrepId, Refused, Timestamp};
use std::net::IpAddr;

/// Longest text of a refusal in bytes: some words around 120 characters, each of which may be escaped.
const LONGEST_REASON: usize = 2000;
/// Most characters kept of a P-Rep's name.
const LONGEST_NAME: usize = 64;

/// The moment every answer comes in.
pub const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// An endpoint reads back as it prints, and points to an IPv4 address or a name and to nothing else.
pub fn check_endpoint(endpoint: &P2pEndpoint) {
    let printed = endpoint.to_string();
    assert_eq!(printed.parse().as_ref(), Ok(endpoint));
    let (host, port) = printed.rsplit_once(':').expect("host:port");
    assert_eq!(port, endpoint.port.to_string());
    match &endpoint.host {
        Host::Address(address) => assert_eq!(host.parse(), Ok(*address)),
        Host::Name(name) => check_name(name),
    }
}

/// A name reads back as it prints, is safe in any text, and no parser takes it for an address.
pub fn check_name(name: &DnsName) {
    let text = name.as_str();
    assert_eq!(text.parse().as_ref(), Ok(name));
    assert!(text.len() <= 253 && text.split('.').count() >= 2, "{text:?}");
    assert!(text.split('.').all(|label| (1..=63).contains(&label.len())), "{text:?}");
    assert!(text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_')), "{text:?}");
    assert!(text.parse::<IpAddr>().is_err(), "{text:?}");
    // inet_aton(3) takes a last part of digits, decimal or hexadecimal, for the end of an address.
    let last = text.rsplit('.').next().unwrap_or_default();
    assert!(!last.starts_with(|c: char| c.is_ascii_digit()), "{text:?}");
}

/// What a source said is kept in the database: it must read back as it was written, and hold no entry twice.
pub fn check_observation(seen: &Observation) {
    for (prep, entry) in &seen.entries {
        assert_eq!(*prep, entry.prep);
        assert_eq!(prep.to_string().parse(), Ok(*prep));
        assert_eq!(entry.node_address.to_string().parse::<NodeAddress>(), Ok(entry.node_address));
        check_endpoint(&entry.endpoint);
        assert!(entry.name.chars().count() <= LONGEST_NAME, "{:?}", entry.name);
        assert!(!seen.doubted.contains_key(prep), "{prep} is taken and doubted");
    }
    seen.doubted.keys().for_each(|prep| assert!(is_refused(seen, prep), "{prep} is doubted and not refused"));
    seen.refused.iter().for_each(check_refused);
    let written = serde_json::to_vec(seen).expect("JSON");
    assert_eq!(serde_json::from_slice::<Observation>(&written).expect("what was written"), *seen);
}

/// What a node says of its peers goes over the wire: it must read back as it was written.
pub fn check_advertised(advertised: &Advertised) {
    assert!(!advertised.endpoints.is_empty());
    for (node, endpoints) in &advertised.endpoints {
        assert_eq!(node.to_string().parse::<NodeAddress>(), Ok(*node));
        endpoints.iter().for_each(check_endpoint);
    }
    advertised.refused.iter().for_each(check_refused);
    let written = serde_json::to_vec(advertised).expect("JSON");
    assert_eq!(serde_json::from_slice::<Advertised>(&written).expect("what was written"), *advertised);
}

fn check_refused(refused: &Refused) {
    assert!(refused.entry.len() <= LONGEST_REASON && refused.reason.len() <= LONGEST_REASON, "{refused:?}");
    assert!(!refused.reason.is_empty() && !refused.entry.is_empty());
}

fn is_refused(seen: &Observation, prep: &PrepId) -> bool {
    let text = prep.to_string();
    seen.refused.iter().any(|refused| refused.entry == text)
}
