//! What goes out of a table that cannot be read or replaced: who was revoked does not stay in because a kernel or an nft
//! refuses something else. Nothing is let in here, and no port comes out of guard.

use super::Firewall;
use crate::{Change, Ruleset, Set, ruleset::lets_in};
use ipnet::IpNet;
use tracing::warn;

impl Firewall {
    /// Takes addresses and prefixes out that are wanted no more, by what is remembered; each set by itself, so that what cannot
    /// be taken out of one stays there alone.
    pub(super) fn withdraw(&mut self, wanted: &Ruleset) {
        let known = self.seen.as_ref().and_then(|seen| seen.observed.ruleset.as_ref()).or(self.remembered.as_ref());
        let steps = known.map_or_else(Vec::new, |known| narrowing(wanted, known));
        if steps.is_empty() {
            return;
        }
        self.forget();
        let Some(mut known) = self.remembered.take() else { return };
        for step in steps {
            let before = self.generation();
            let said: Vec<String> = step.iter().map(ToString::to_string).collect();
            match self.commit(&step, &wanted.provenance) {
                Some(Ok(())) => {
                    warn!(changes = ?said, "made although the table cannot be read, or cannot be replaced");
                    self.note_own(before);
                    for change in &step {
                        match change {
                            Change::DeleteElements { set, elements } => known.take_away(set, elements),
                            Change::AddElements { set, elements } => known.add(set, elements),
                            Change::ReplaceTable(_) => false,
                        };
                    }
                }
                Some(Err(error)) => {
                    let error = &error as &dyn std::error::Error;
                    warn!(changes = ?said, error, "cannot be made, nor can the table be read or replaced");
                }
                None => {}
            }
        }
        self.remembered = Some(known);
    }
}

/// For each set that lets somebody in who is wanted no more, the changes that leave in it what is wanted and was in: of a prefix
/// of which a part is wanted, that part.
fn narrowing(wanted: &Ruleset, known: &Ruleset) -> Vec<Vec<Change>> {
    let addresses = known.sets.iter().filter(|(name, set)| lets_in(name, set));
    let step = |(name, set): (&String, &Set)| {
        let purpose = purpose(name);
        let covered = wanted.sets.iter().filter(|(other, _)| self::purpose(other) == purpose);
        let covered: Vec<IpNet> = covered.flat_map(|(_, set)| set.networks()).collect();
        let kept = set.of_kind(&common(&set.networks(), &IpNet::aggregate(&covered)));
        let (gone, parts) = set.both_ways(&kept)?;
        let set = || name.clone();
        let changes = [
            Change::DeleteElements { set: set(), elements: gone },
            Change::AddElements { set: set(), elements: parts },
        ];
        Some(changes.into_iter().filter(|change| !change.is_empty()).collect())
    };
    addresses.filter_map(step).filter(|step: &Vec<Change>| !step.is_empty()).collect()
}

/// What a set is for: `p2p` of `p2p_hosts4` and of `p2p_nets4`.
fn purpose(set: &str) -> &str {
    set.rsplit_once('_').map_or(set, |(purpose, _)| purpose)
}

/// What both have, where each is in order and overlaps nothing of its own: of two that overlap, the narrower.
fn common(mut one: &[IpNet], mut other: &[IpNet]) -> Vec<IpNet> {
    let mut both = Vec::new();
    while let (Some((a, after_a)), Some((b, after_b))) = (one.split_first(), other.split_first()) {
        if a.contains(b) {
            both.push(*b);
            other = after_b;
        } else if b.contains(a) {
            both.push(*a);
            one = after_a;
        } else if a < b {
            one = after_a;
        } else {
            other = after_b;
        }
    }
    both
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(text: &[&str]) -> Vec<IpNet> {
        text.iter().map(|net| net.parse().unwrap()).collect()
    }

    fn ruleset(hosts: &[&str], prefixes: &[&str]) -> Ruleset {
        let hosts = Set::Hosts4(hosts.iter().map(|host| host.parse().unwrap()).collect());
        let prefixes = Set::Nets4(prefixes.iter().map(|net| net.parse().unwrap()).collect());
        let sets = [("p2p_hosts4".to_owned(), hosts), ("p2p_nets4".to_owned(), prefixes)];
        Ruleset { sets: sets.into(), ..Ruleset::default() }
    }

    /// What is done to go from one to the other without letting anybody in.
    fn check(known: (&[&str], &[&str]), wanted: (&[&str], &[&str]), expect: &[&str]) {
        let steps = narrowing(&ruleset(wanted.0, wanted.1), &ruleset(known.0, known.1));
        let said: Vec<String> = steps.iter().flatten().map(ToString::to_string).collect();
        assert_eq!(said, expect);
    }

    #[test]
    fn what_both_have_is_the_narrower_of_what_overlaps() {
        let one = nets(&["10.0.0.0/24", "10.0.2.0/25", "192.0.2.1/32", "2001:db8::/32"]);
        let other = nets(&["10.0.0.0/26", "10.0.0.128/26", "10.0.2.0/23", "198.51.100.0/24", "2001:db8:1::/48"]);
        let both = nets(&["10.0.0.0/26", "10.0.0.128/26", "10.0.2.0/25", "2001:db8:1::/48"]);
        assert_eq!((common(&one, &other), common(&other, &one)), (both.clone(), both));
    }

    #[test]
    fn who_is_wanted_no_more_goes_and_nobody_comes() {
        check(
            (&["192.0.2.1", "192.0.2.2"], &[]),
            (&["192.0.2.2", "192.0.2.3"], &[]),
            &["delete from p2p_hosts4: 192.0.2.1"],
        );
        check((&[], &["192.0.2.0/24"]), (&[], &["198.51.100.0/24"]), &["delete from p2p_nets4: 192.0.2.0/24"]);
        check((&[], &["192.0.2.0/24"]), (&[], &["192.0.0.0/16"]), &[]);
    }

    #[test]
    fn what_is_wanted_still_stays_in_a_set_of_another_shape() {
        // Merged into one before, and one half is wanted still.
        let halves = ["delete from p2p_nets4: 192.0.2.0/23", "add to p2p_nets4: 192.0.2.0/24"];
        check((&[], &["192.0.2.0/23"]), (&[], &["192.0.2.0/24"]), &halves);
        let single = ["delete from p2p_nets4: 192.0.2.0/24", "add to p2p_nets4: 192.0.2.7/32"];
        check((&[], &["192.0.2.0/24"]), (&["192.0.2.7"], &[]), &single);
        check((&["192.0.2.7"], &[]), (&[], &["192.0.2.0/24"]), &[]);
    }

    #[test]
    fn a_set_that_is_wanted_no_more_is_emptied_and_one_that_lets_nobody_in_is_left_alone() {
        let mut known = ruleset(&["192.0.2.7"], &[]);
        known.sets.insert("near_hosts4".to_owned(), known.sets["p2p_hosts4"].clone());
        let steps = narrowing(&Ruleset::default(), &known);
        assert_eq!(
            steps.concat().iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["delete from p2p_hosts4: 192.0.2.7"]
        );
    }
}
