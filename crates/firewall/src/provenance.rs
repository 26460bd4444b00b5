//! Why an element is in its set, as the comment that nft shows beside it. A word for people: nothing is decided by it, and
//! what the kernel has there is read past. Made when it is written, from the policy that is shared, so that it costs nothing
//! where nothing is written.

use crate::Set;
use ipnet::IpNet;
use picket_model::{AllowSet, Reason};
use std::collections::BTreeMap;

/// Longest comment, in bytes; nft takes 128 (`NFTNL_UDATA_COMMENT_MAXLEN` of libnftnl).
const LONGEST: usize = 120;
/// Longest word about one reason, in bytes: two validators at one address fit.
const LONGEST_WORD: usize = 56;
/// Room for "+100000" behind the reasons.
const ROOM_FOR_MORE: usize = 9;

/// The reasons behind the elements of allow sets.
#[derive(Clone, Debug, Default)]
pub struct Provenance {
    sets: BTreeMap<String, AllowSet>,
}

/// All are equal: a table is as it is wanted whatever is said beside its elements. What was written stays until the element
/// is written anew; `explain` has what holds now.
impl PartialEq for Provenance {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Provenance {}

impl Provenance {
    /// The elements of that set come from this part of the policy.
    pub(crate) fn note(&mut self, set: &str, allowed: &AllowSet) {
        self.sets.insert(set.to_owned(), allowed.clone());
    }

    /// What is said beside an element of that set; `None` where nothing is known. Printable ASCII without quotes and
    /// backslashes, at most 120 bytes.
    pub fn comment(&self, set: &str, element: &IpNet) -> Option<String> {
        let allowed = &self.sets.get(set)?.0;
        if let Some(reasons) = allowed.get(element) {
            return said(reasons);
        }
        // A prefix that was merged of others.
        let last = IpNet::from(element.broadcast());
        let within = allowed.range(element..=&last).filter(|(network, _)| element.contains(*network));
        said(within.flat_map(|(_, reasons)| reasons))
    }

    /// The elements of that set in nft syntax, in order, each with what is said beside it.
    pub(crate) fn commented(&self, name: &str, set: &Set) -> Vec<String> {
        let comments = set.networks().into_iter().map(|network| self.comment(name, &network));
        let mut comments = comments.chain(std::iter::repeat(None));
        let commented = |element: String| match comments.next().flatten() {
            Some(comment) => format!("{element} comment \"{comment}\""),
            None => element,
        };
        set.elements().into_iter().map(commented).collect()
    }
}

/// As many of the reasons as there is room for, each once, and how many more there are.
fn said<'a>(reasons: impl IntoIterator<Item = &'a Reason>) -> Option<String> {
    let (mut text, mut last, mut more) = (String::new(), String::new(), 0_usize);
    for reason in reasons {
        let word = word(reason);
        if word == last {
            continue;
        }
        let separator = if text.is_empty() { "" } else { ", " };
        if text.len() + separator.len() + word.len() + ROOM_FOR_MORE > LONGEST {
            more += 1;
        } else {
            text = text + separator + &word;
        }
        last = word;
    }
    if more > 0 {
        text += &format!(", +{more}");
    }
    (!text.is_empty()).then_some(text)
}

/// Who it is. Of a P-Rep its id alone: what it says of itself on the chain has no place in a ruleset.
fn word(reason: &Reason) -> String {
    let word = match reason {
        Reason::Prep { prep, .. } => format!("prep {prep}"),
        Reason::Node { name, .. } => format!("node {name}"),
        Reason::Policy { line } => format!("policy {line}"),
    };
    let harmless = |c: char| if c.is_ascii_graphic() && c != '"' && c != '\\' || c == ' ' { c } else { '?' };
    word.chars().take(LONGEST_WORD).map(harmless).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn policy(line: &str) -> Reason {
        Reason::Policy { line: line.to_owned() }
    }

    fn check(entries: &[(&str, &str)], element: &str, expect: Option<&str>) {
        let mut allowed = AllowSet::default();
        for (network, line) in entries {
            allowed.insert(network.parse().unwrap(), policy(line));
        }
        let mut provenance = Provenance::default();
        provenance.note("p2p_nets4", &allowed);
        assert_eq!(provenance.comment("p2p_nets4", &element.parse().unwrap()).as_deref(), expect, "{entries:?}");
        assert_eq!(provenance.comment("rpc_nets4", &element.parse().unwrap()), None);
    }

    #[test]
    fn an_element_says_who_it_is() {
        let office = ("192.0.2.0/25", "office");
        check(&[office], "192.0.2.0/25", Some("policy office"));
        check(&[office, ("192.0.2.0/25", "bank")], "192.0.2.0/25", Some("policy bank, policy office"));
        check(&[office, ("192.0.2.128/25", "lab")], "192.0.2.0/24", Some("policy office, policy lab"));
        check(&[office, ("192.0.2.128/25", "office")], "192.0.2.0/24", Some("policy office"));
        check(&[office, ("198.51.100.0/24", "lab")], "192.0.2.0/24", Some("policy office"));
        check(&[office], "203.0.113.0/24", None);
    }

    #[test]
    fn no_more_is_said_than_there_is_room_for() {
        let lines: Vec<String> = (10..40).map(|n| format!("{n} {}", "x".repeat(40))).collect();
        let reasons: Vec<Reason> = lines.iter().map(|line| policy(line)).collect();
        let text = said(&reasons).unwrap();
        assert!(text.len() <= LONGEST && text.starts_with("policy 10 x") && text.ends_with(", +28"), "{text}");
    }

    #[test]
    fn nothing_of_a_line_can_end_the_comment() {
        let text = said(&[policy("a\" } ; flush ruleset\n\u{202e}\\\0é")]).unwrap();
        assert_eq!(text, "policy a? } ; flush ruleset?????");
    }

    proptest! {
        #[test]
        fn whatever_a_line_says_a_comment_is_short_and_harmless(lines in proptest::collection::vec(any::<String>(), 1..9)) {
            let reasons: Vec<Reason> = lines.iter().map(|line| policy(line)).collect();
            let text = said(&reasons).unwrap();
            prop_assert!(text.len() <= LONGEST, "{text}");
            prop_assert!(text.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'"' && b != b'\\'), "{text}");
        }
    }
}
