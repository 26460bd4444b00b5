//! What stands at a name, what shall stand there, and what is to be done about it. Values in, values out.

use picket_model::DnsName;
use std::{collections::BTreeSet, net::IpAddr};

/// Label of the record beside a name that says whose the name's addresses are.
const MARK_LABEL: &str = "_picket";

/// How long others keep the addresses of each family, in seconds; `None` where it has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ttls {
    /// Those of IPv4.
    pub v4: Option<u32>,
    /// Those of IPv6.
    pub v6: Option<u32>,
}

impl Ttls {
    /// The longest.
    pub fn longest(self) -> Option<u32> {
        self.v4.max(self.v6)
    }

    /// Whether it is this wherever there is one.
    pub fn are(self, ttl: u32) -> bool {
        [self.v4, self.v6].into_iter().flatten().all(|found| found == ttl)
    }

    /// An address was found, with this one.
    pub fn add(&mut self, address: &IpAddr, ttl: Option<u32>) {
        let of = if address.is_ipv4() { &mut self.v4 } else { &mut self.v6 };
        *of = (*of).max(ttl);
    }
}

/// What a server says of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Its addresses, of both families.
    pub addresses: BTreeSet<IpAddr>,
    /// How long they are kept by others.
    pub ttl: Ttls,
    /// That something else stands there which admits of no addresses, or of none of ours: an alias, a policy of the cloud.
    pub other: Option<String>,
    /// Texts of the record that says whose they are.
    pub marks: BTreeSet<String>,
    /// What a wildcard of the zone answers for the name, at which nothing stands by itself.
    pub wild: BTreeSet<IpAddr>,
}

/// A change of what stands at a name. It is carried out only where `from` still stands there, as far as the provider can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The name.
    pub name: DnsName,
    /// What was found there.
    pub from: Found,
    /// Addresses that shall stand there; never none.
    pub to: BTreeSet<IpAddr>,
    /// How long others may keep them, in seconds.
    pub ttl: u32,
    /// The text that says whose they are.
    pub mark: String,
}

/// What is to be done about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is as it shall be.
    Nothing,
    /// This.
    Write(Change),
    /// Nothing, because it is not ours, and what to do.
    Refuse(String),
}

/// The text that says that a mesh keeps a name.
pub fn mark(mesh: &str) -> String {
    format!("heritage=picket,mesh={mesh}")
}

/// Whether a text says whose a name is, in whosever words: external-dns begins its own so too.
pub(crate) fn is_mark(text: &str) -> bool {
    text.starts_with("heritage=")
}

/// Where that text stands: beside the name, so that it is in nobody's way.
///
/// # Errors
/// The name is too long to have one beside it.
pub fn mark_name(name: &DnsName) -> Result<DnsName, String> {
    format!("{MARK_LABEL}.{name}").parse().map_err(|error| format!("{name} leaves no room for {MARK_LABEL}: {error}"))
}

/// What is to be done, where these addresses are wanted and that was found. `adopt` takes over addresses that nobody marked.
pub fn step(name: &DnsName, wanted: &BTreeSet<IpAddr>, ttl: u32, mark: &str, adopt: bool, found: &Found) -> Step {
    if wanted.is_empty() {
        // Whoever calls knows better than to empty a name; this holds where that is wrong.
        return Step::Nothing;
    }
    if let Some(other) = &found.other {
        return Step::Refuse(format!(
            "{} stands at {name}, which leaves no room for addresses: take it away",
            escaped(other)
        ));
    }
    let is_ours = found.marks.len() == 1 && found.marks.contains(mark);
    if !found.marks.is_empty() && !is_ours {
        let others: Vec<String> = found.marks.iter().map(|mark| escaped(mark)).collect();
        return Step::Refuse(format!(
            "{name} is marked as somebody else's ({}): take the record {MARK_LABEL}.{name} away if that is over",
            others.join(" and ")
        ));
    }
    if !is_ours && !found.addresses.is_empty() && !adopt {
        return Step::Refuse(format!(
            "{name} has addresses that Picket did not write ({}): take them away, or write adopt = true",
            shown(&found.addresses)
        ));
    }
    if !is_ours && !found.wild.is_empty() && !adopt {
        return Step::Refuse(format!(
            "a wildcard of the zone answers for {name} ({}), and who calls it is led there: write adopt = true to have the name's \
             own addresses in its place",
            shown(&found.wild)
        ));
    }
    if is_ours && found.addresses == *wanted && found.ttl.are(ttl) {
        return Step::Nothing;
    }
    Step::Write(Change { name: name.clone(), from: found.clone(), to: wanted.clone(), ttl, mark: mark.to_owned() })
}

/// Addresses as people read them.
pub fn shown(addresses: &BTreeSet<IpAddr>) -> String {
    if addresses.is_empty() {
        return "none".to_owned();
    }
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Somebody else's words.
fn escaped(text: &str) -> String {
    text.chars().take(120).collect::<String>().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> BTreeSet<IpAddr> {
        list.iter().map(|address| address.parse().unwrap()).collect()
    }

    fn found(list: &[&str], marks: &[&str]) -> Found {
        let mut found = Found {
            addresses: addresses(list),
            marks: marks.iter().map(|mark| (*mark).to_owned()).collect(),
            ..Found::default()
        };
        found.addresses.iter().for_each(|address| found.ttl.add(address, Some(30)));
        found
    }

    #[track_caller]
    fn check(wanted: &[&str], adopt: bool, found: &Found, expect: &str) {
        let name = "p2p.example.org".parse().unwrap();
        let told = match step(&name, &addresses(wanted), 30, &mark("m-1"), adopt, found) {
            Step::Nothing => "nothing".to_owned(),
            Step::Write(change) => format!("{} -> {}", shown(&change.from.addresses), shown(&change.to)),
            Step::Refuse(why) => why,
        };
        assert!(told.contains(expect), "{told}");
    }

    #[test]
    fn only_what_is_ours_or_free_is_written() {
        let ours = mark("m-1");
        check(&["192.0.2.1"], false, &found(&[], &[]), "none -> 192.0.2.1");
        check(&["192.0.2.1"], false, &found(&["192.0.2.1"], &[&ours]), "nothing");
        check(&["192.0.2.2"], false, &found(&["192.0.2.1"], &[&ours]), "192.0.2.1 -> 192.0.2.2");
        check(&["192.0.2.1", "2001:db8::1"], false, &found(&["192.0.2.1"], &[&ours]), "-> 192.0.2.1, 2001:db8::1");
        check(&["192.0.2.1"], false, &found(&["198.51.100.1"], &[]), "did not write (198.51.100.1)");
        // The very addresses that are wanted, and still somebody else's.
        check(&["192.0.2.1"], false, &found(&["192.0.2.1"], &[]), "did not write");
        check(&["192.0.2.1"], true, &found(&["198.51.100.1"], &[]), "198.51.100.1 -> 192.0.2.1");
        // A mark outlives its addresses: somebody took those away, and they come back.
        check(&["192.0.2.1"], false, &found(&[], &[&ours]), "none -> 192.0.2.1");
    }

    #[test]
    fn what_another_marked_is_left_alone_whoever_wants_to_adopt_it() {
        let (ours, other) = (mark("m-1"), mark("m-2"));
        check(&["192.0.2.1"], true, &found(&["198.51.100.1"], &[&other]), "mesh=m-2");
        check(&["192.0.2.1"], true, &found(&["198.51.100.1"], &[&ours, "x\u{1b}[2J"]), "x\\u{1b}");
        check(
            &["192.0.2.1"],
            true,
            &Found { other: Some("CNAME a.example".into()), ..Found::default() },
            "CNAME a.example",
        );
    }

    #[test]
    fn no_name_is_ever_emptied_and_another_ttl_is_put_right() {
        check(&[], true, &found(&["192.0.2.1"], &[&mark("m-1")]), "nothing");
        let ttl = Ttls { v4: Some(3600), v6: None };
        let stale = Found { ttl, ..found(&["192.0.2.1"], &[&mark("m-1")]) };
        check(&["192.0.2.1"], false, &stale, "192.0.2.1 -> 192.0.2.1");
        let both = ["192.0.2.1", "2001:db8::1"];
        check(&both, false, &found(&both, &[&mark("m-1")]), "nothing");
        let stale = Found { ttl: Ttls { v4: Some(30), v6: Some(20) }, ..found(&both, &[&mark("m-1")]) };
        check(&both, false, &stale, "-> 192.0.2.1, 2001:db8::1");
    }

    #[test]
    fn a_name_without_room_for_its_mark_is_told() {
        let name =
            |length: usize| format!("{}.{}.{}.{}", "a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(length));
        assert!(mark_name(&name(50).parse().unwrap()).is_ok());
        assert!(mark_name(&name(60).parse().unwrap()).unwrap_err().contains("no room"));
    }
}
