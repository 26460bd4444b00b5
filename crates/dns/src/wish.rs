//! Which addresses a name shall have: those of the sentries that are there and forward for every validator behind the name. A
//! sentry that fails leaves at once, one that returns waits until it has been well for a while, and no name is emptied: where nobody
//! is well, one that is about to leave and forwards still does, and else only who is no member any more is taken out. Values in,
//! values out; `now` is passed in.

use picket_model::{NodeId, NodeName, Timestamp};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

/// A sentry as the controller knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentry {
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: NodeName,
    /// Addresses at which others reach it.
    pub addresses: BTreeSet<IpAddr>,
    /// Whether it is a member that others have tunnels to: neither revoked nor quarantined.
    pub is_member: bool,
    /// Whether it is about to leave.
    pub is_leaving: bool,
    /// Hosts of validators that the plan has it forward to.
    pub forwards: BTreeSet<NodeName>,
    /// Those of them that it takes no calls for any more, because it was to be left by now.
    pub closed_for: BTreeSet<NodeName>,
    /// What it said of itself last; `None` where it never did.
    pub report: Option<Reported>,
    /// How long it has not been heard.
    pub unheard: Duration,
    /// Hosts of validators that say that nothing comes back through it.
    pub silent_for: BTreeSet<NodeName>,
    /// Hosts of validators that say that they have had a handshake with it.
    pub joined_to: BTreeSet<NodeName>,
}

/// What a sentry said of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reported {
    /// Whether its firewall and its tunnels are as they were wanted when it last looked.
    pub in_force: bool,
    /// Whether what it holds is what is wanted now.
    pub is_latest: bool,
}

/// A name and its rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Hosts of the validators that advertise the name.
    pub preps: BTreeSet<NodeName>,
    /// How long a sentry must have been well before it comes back.
    pub returns_after: Duration,
    /// After so long without a word a sentry is not believed to be there.
    pub silence: Duration,
    /// Most addresses.
    pub most: usize,
}

/// How a sentry stands to a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its name.
    pub name: NodeName,
    /// Its addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// Why its addresses are not in the name; `None` where they are.
    pub out: Option<String>,
}

/// What a name shall be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Its addresses; none where it is to stay as it is.
    pub addresses: BTreeSet<IpAddr>,
    /// How each sentry stands to it, in order of name.
    pub sentries: Vec<Standing>,
    /// Why others than the well are in it: nobody is.
    pub held: Option<String>,
}

/// What is remembered of a name between two looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Since when those are well that are not in the name.
    well_since: BTreeMap<NodeId, Timestamp>,
}

impl Memory {
    /// What the name shall be, where these addresses stand there now.
    pub fn wish(&mut self, rules: &Rules, sentries: &[Sentry], stands: &BTreeSet<IpAddr>, now: Timestamp) -> Wish {
        let mut sentries: Vec<&Sentry> = sentries.iter().filter(|sentry| concerns(sentry, rules)).collect();
        sentries.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        let is_in = |sentry: &Sentry| !sentry.addresses.is_disjoint(stands);
        let mut faults: Vec<Option<String>> = sentries.iter().map(|s| named_fault(s, rules, is_in(s))).collect();
        let is_nobody_well = faults.iter().all(Option::is_some);
        if is_nobody_well {
            // Better one that is about to leave, and forwards until it does, than nobody.
            for (sentry, fault_now) in sentries.iter().zip(&mut faults).filter(|(sentry, _)| sentry.is_leaving) {
                *fault_now = named_fault(&Sentry { is_leaving: false, ..(*sentry).clone() }, rules, is_in(sentry));
            }
        }
        let well = |index: usize| faults.get(index).is_some_and(Option::is_none);

        let mut known = BTreeMap::new();
        for (index, sentry) in sentries.iter().enumerate() {
            if well(index) && !is_in(sentry) {
                // A clock that was set back makes nobody wait for longer than from now.
                let since = self.well_since.get(&sentry.id).copied().filter(|since| *since <= now).unwrap_or(now);
                known.insert(sentry.id.clone(), since);
            }
        }
        self.well_since = known;
        let waits = |sentry: &Sentry| {
            let since = self.well_since.get(&sentry.id)?;
            rules.returns_after.checked_sub(now.since(*since)).filter(|left| !left.is_zero())
        };

        // Where nobody who is in the name is well, whoever is well comes at once.
        let is_kept = (0..sentries.len()).any(|index| well(index) && sentries.get(index).is_some_and(|s| is_in(s)));
        let mut order: Vec<usize> = (0..sentries.len()).filter(|index| well(*index)).collect();
        // Who is there stays before others come.
        order.sort_by_key(|index| (sentries.get(*index).is_none_or(|sentry| !is_in(sentry)), *index));
        let mut wish = Wish::default();
        let mut outs: BTreeMap<usize, String> = BTreeMap::new();
        for index in order {
            let Some(sentry) = sentries.get(index) else { continue };
            match waits(sentry).filter(|_| is_kept) {
                Some(left) => {
                    outs.insert(index, format!("is well, and comes back in {} s", left.as_secs().max(1)));
                }
                None if wish.addresses.len() + sentry.addresses.len() > rules.most => {
                    outs.insert(index, format!("is well, and the name has {} addresses at most", rules.most));
                }
                None => wish.addresses.extend(&sentry.addresses),
            }
        }
        if !wish.addresses.is_empty() {
            wish.held = is_nobody_well.then(|| "every sentry that forwards for it is about to leave".to_owned());
        } else if sentries.is_empty() {
            wish.held = Some("no sentry forwards for it".to_owned());
        } else {
            wish.held = Some("no sentry that forwards for it is well".to_owned());
            wish.addresses = without_strangers(&sentries, stands);
        }
        let standing = sentries.iter().zip(faults).enumerate().map(|(index, (sentry, fault))| Standing {
            name: sentry.name.clone(),
            addresses: sentry.addresses.clone(),
            out: fault.or_else(|| outs.remove(&index)),
        });
        wish.sentries = standing.collect();
        wish
    }
}

/// What stands there without the addresses of those that are no members any more; none where that changes nothing, or would leave
/// nothing.
fn without_strangers(sentries: &[&Sentry], stands: &BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
    let of = |is_member: bool| -> BTreeSet<IpAddr> {
        let those = sentries.iter().filter(|sentry| sentry.is_member == is_member);
        those.flat_map(|sentry| sentry.addresses.iter().copied()).collect()
    };
    let gone = &of(false) - &of(true);
    let left = stands - &gone;
    if left == *stands { BTreeSet::new() } else { left }
}

/// Whether a sentry has to do with a name at all: it forwards for one of its validators, or its addresses may stand there still.
pub fn concerns(sentry: &Sentry, rules: &Rules) -> bool {
    !sentry.forwards.is_disjoint(&rules.preps)
}

/// Why a sentry's addresses must not be in a name, or cannot; `None` where they may.
fn named_fault(sentry: &Sentry, rules: &Rules, is_in: bool) -> Option<String> {
    let unknown = || "has no public address that the controller knows: write it in dns.sentries".to_owned();
    fault(sentry, rules, is_in).or_else(|| sentry.addresses.is_empty().then(unknown))
}

/// Why a sentry is of no use to others' calls, whatever its addresses; `None` where it is. One that is in the name is believed more
/// than one that is not.
pub fn fault(sentry: &Sentry, rules: &Rules, is_in: bool) -> Option<String> {
    let named = |preps: &BTreeSet<NodeName>| {
        let names: Vec<&str> = preps.iter().map(NodeName::as_str).collect();
        names.join(" and ")
    };
    let of_ours =
        |preps: &BTreeSet<NodeName>| -> BTreeSet<NodeName> { rules.preps.intersection(preps).cloned().collect() };
    if !sentry.is_member {
        return Some("is revoked or quarantined".to_owned());
    }
    if sentry.is_leaving {
        return Some("is about to leave".to_owned());
    }
    let missing: BTreeSet<NodeName> = rules.preps.difference(&sentry.forwards).cloned().collect();
    if !missing.is_empty() {
        return Some(format!("does not forward for {}", named(&missing)));
    }
    let closed = of_ours(&sentry.closed_for);
    if !closed.is_empty() {
        return Some(format!("takes no calls for {} any more, because it is drained", named(&closed)));
    }
    let silent = of_ours(&sentry.silent_for);
    if !silent.is_empty() {
        return Some(format!("answers {} no more", named(&silent)));
    }
    if sentry.unheard >= rules.silence {
        return Some(format!("has not been heard for {} s", sentry.unheard.as_secs()));
    }
    match sentry.report {
        None => return Some("has not reported yet".to_owned()),
        Some(Reported { in_force: false, .. }) => return Some("is not in force".to_owned()),
        // Every plan makes everybody late for a moment, which is no reason to leave.
        Some(Reported { is_latest: false, .. }) if !is_in => {
            return Some("does not hold the latest state yet".to_owned());
        }
        Some(_) => {}
    }
    let joined = of_ours(&sentry.joined_to);
    if !is_in && joined != rules.preps {
        let missing: BTreeSet<NodeName> = rules.preps.difference(&joined).cloned().collect();
        return Some(format!("has no tunnel to {} yet", named(&missing)));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> NodeName {
        text.parse().unwrap()
    }

    fn sentry(number: u8) -> Sentry {
        Sentry {
            id: format!("n-{number}").parse().unwrap(),
            name: name(&format!("sentry-{number}")),
            addresses: [IpAddr::from([192, 0, 2, number])].into(),
            is_member: true,
            is_leaving: false,
            forwards: [name("prep-1")].into(),
            closed_for: BTreeSet::new(),
            report: Some(Reported { in_force: true, is_latest: true }),
            unheard: Duration::ZERO,
            silent_for: BTreeSet::new(),
            joined_to: [name("prep-1")].into(),
        }
    }

    fn rules() -> Rules {
        Rules {
            preps: [name("prep-1")].into(),
            returns_after: Duration::from_secs(10),
            silence: Duration::from_secs(90),
            most: 8,
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn stands(numbers: &[u8]) -> BTreeSet<IpAddr> {
        numbers.iter().map(|number| [192, 0, 2, *number].into()).collect()
    }

    #[track_caller]
    fn out(change: impl FnOnce(&mut Sentry), is_in: bool, expect: &str) {
        let (mut bad, good) = (sentry(1), sentry(2));
        change(&mut bad);
        let now = stands(if is_in { &[1, 2] } else { &[2] });
        let wish = Memory::default().wish(&rules(), &[bad, good], &now, at(0));
        assert_eq!(wish.addresses, stands(if expect.is_empty() { &[1, 2] } else { &[2] }), "{expect}");
        let told = wish.sentries.iter().find(|standing| standing.name == name("sentry-1")).unwrap();
        assert!(told.out.as_deref().unwrap_or_default().contains(expect), "{:?}", told.out);
    }

    #[test]
    fn whoever_does_not_forward_leaves_at_once_and_is_told_of() {
        out(|_| (), true, "");
        out(|sentry| sentry.is_member = false, true, "revoked");
        out(|sentry| sentry.is_leaving = true, true, "about to leave");
        out(|sentry| sentry.silent_for = [name("prep-1")].into(), true, "answers prep-1 no more");
        out(|sentry| sentry.unheard = Duration::from_secs(90), true, "heard for 90 s");
        out(|sentry| sentry.report = None, true, "not reported");
        out(|sentry| sentry.report = Some(Reported { in_force: false, is_latest: true }), true, "not in force");
        out(|sentry| sentry.closed_for = [name("prep-1")].into(), true, "takes no calls for prep-1");
        // Of another name's validator it says nothing here.
        out(|sentry| sentry.silent_for = [name("prep-9")].into(), true, "");
    }

    #[test]
    fn a_sentry_without_an_address_has_no_place_in_a_name_and_forwards_all_the_same() {
        let nowhere = Sentry { addresses: BTreeSet::new(), ..sentry(1) };
        assert_eq!((concerns(&nowhere, &rules()), fault(&nowhere, &rules(), false)), (true, None));
        let wish = Memory::default().wish(&rules(), &[nowhere, sentry(2)], &stands(&[2]), at(0));
        assert_eq!(wish.addresses, stands(&[2]));
        assert!(wish.sentries[0].out.as_deref().unwrap().contains("dns.sentries"));
    }

    #[test]
    fn a_new_plan_takes_nobody_out_and_lets_nobody_in_before_it_holds() {
        out(|sentry| sentry.report = Some(Reported { in_force: true, is_latest: false }), true, "");
        out(|sentry| sentry.report = Some(Reported { in_force: true, is_latest: false }), false, "latest state");
        out(|sentry| sentry.joined_to.clear(), true, "");
        out(|sentry| sentry.joined_to.clear(), false, "no tunnel to prep-1");
    }

    #[test]
    fn one_that_returns_waits_and_one_that_flaps_waits_again() {
        let (mut memory, rules) = (Memory::default(), rules());
        let both = [sentry(1), sentry(2)];
        let mut bad = both.clone();
        bad[0].silent_for = [name("prep-1")].into();
        let mut wish =
            |sentries: &[Sentry], seconds| memory.wish(&rules, sentries, &stands(&[2]), at(seconds)).addresses;
        assert_eq!(wish(&both, 0), stands(&[2]));
        assert_eq!(wish(&both, 9), stands(&[2]));
        assert_eq!(wish(&bad, 9), stands(&[2]));
        assert_eq!(wish(&both, 10), stands(&[2]), "it was away in between");
        assert_eq!(wish(&both, 19), stands(&[2]));
        assert_eq!(wish(&both, 20), stands(&[1, 2]));
        // A clock that is set back keeps nobody waiting for longer.
        assert_eq!(wish(&bad, 5), stands(&[2]));
        assert_eq!(wish(&both, 5), stands(&[2]));
        assert_eq!(wish(&both, 15), stands(&[1, 2]));
    }

    #[test]
    fn where_nobody_is_well_the_name_stays_and_who_comes_first_comes_at_once() {
        let (mut memory, rules) = (Memory::default(), rules());
        let mut bad = sentry(1);
        bad.is_member = false;
        let held = memory.wish(&rules, &[bad.clone()], &stands(&[1]), at(0));
        assert_eq!((held.addresses.len(), held.held.as_deref()), (0, Some("no sentry that forwards for it is well")));
        assert_eq!(memory.wish(&rules, &[], &stands(&[1]), at(0)).held.as_deref(), Some("no sentry forwards for it"));
        let wish = memory.wish(&rules, &[bad, sentry(2)], &stands(&[1]), at(0));
        assert_eq!((wish.addresses, wish.held), (stands(&[2]), None));
        assert_eq!(memory.wish(&rules, &[sentry(1), sentry(2)], &BTreeSet::new(), at(0)).addresses, stands(&[1, 2]));
    }

    #[test]
    fn where_nobody_is_well_one_that_is_about_to_leave_is_better_than_one_that_is_revoked() {
        let (mut memory, rules) = (Memory::default(), rules());
        let (mut leaving, mut revoked) = (sentry(1), sentry(2));
        leaving.is_leaving = true;
        let wish = memory.wish(&rules, &[leaving.clone(), revoked.clone()], &stands(&[1, 2]), at(0));
        assert_eq!((wish.addresses, wish.held), (stands(&[2]), None));
        revoked.is_member = false;
        let wish = memory.wish(&rules, &[leaving.clone(), revoked.clone()], &stands(&[2]), at(1));
        assert_eq!((&wish.addresses, wish.sentries[0].out.as_deref()), (&stands(&[1]), None));
        assert!(wish.held.unwrap().contains("about to leave"));
        let closed = Sentry { closed_for: [name("prep-1")].into(), ..leaving.clone() };
        let wish = memory.wish(&rules, &[closed, revoked.clone()], &stands(&[1]), at(1));
        assert_eq!(wish.addresses, stands(&[]));
        assert!(wish.sentries[0].out.as_deref().unwrap().contains("is drained"));
        // Whoever is well takes its place at once.
        let wish = memory.wish(&rules, &[leaving, revoked, sentry(3)], &stands(&[1]), at(2));
        assert_eq!((wish.addresses, wish.held), (stands(&[3]), None));
    }

    #[test]
    fn where_nobody_is_well_only_the_revoked_are_taken_out_and_no_name_is_emptied() {
        let (mut bad, mut revoked) = (sentry(1), sentry(2));
        bad.report = Some(Reported { in_force: false, is_latest: true });
        revoked.is_member = false;
        let wish = |sentries: &[Sentry], now: &[u8]| Memory::default().wish(&rules(), sentries, &stands(now), at(0));
        let left = wish(&[bad.clone(), revoked.clone()], &[1, 2]);
        assert_eq!((&left.addresses, left.held.is_some()), (&stands(&[1]), true));
        for now in [&[1][..], &[2], &[]] {
            assert_eq!(wish(&[bad.clone(), revoked.clone()], now).addresses, stands(&[]), "{now:?}");
        }
        // A host that came again under its old address.
        let mut again = bad.clone();
        again.addresses = revoked.addresses.clone();
        assert_eq!(wish(&[bad, again, revoked], &[1, 2]).addresses, stands(&[]));
    }

    #[test]
    fn validators_behind_one_name_share_the_sentries_that_forward_for_all() {
        let rules = Rules { preps: [name("prep-1"), name("prep-2")].into(), ..rules() };
        let mut both = sentry(1);
        both.forwards.insert(name("prep-2"));
        both.joined_to.insert(name("prep-2"));
        let wish = Memory::default().wish(&rules, &[both, sentry(2)], &BTreeSet::new(), at(0));
        assert_eq!(wish.addresses, stands(&[1]));
        assert_eq!(wish.sentries[1].out.as_deref(), Some("does not forward for prep-2"));
    }

    #[test]
    fn no_name_has_more_addresses_than_it_may_and_who_is_there_stays() {
        let rules = Rules { most: 2, ..rules() };
        let sentries = [sentry(1), sentry(2), sentry(3)];
        let wish = Memory::default().wish(&rules, &sentries, &stands(&[2, 3]), at(0));
        assert_eq!(wish.addresses, stands(&[2, 3]));
        let wish = Memory::default().wish(&rules, &sentries, &BTreeSet::new(), at(0));
        assert_eq!(wish.addresses, stands(&[1, 2]));
        assert!(wish.sentries[2].out.as_deref().unwrap().contains("2 addresses at most"));
    }

    #[test]
    fn the_order_of_sentries_does_not_matter() {
        let mut sentries = [sentry(3), sentry(1), sentry(2)];
        let one = Memory::default().wish(&Rules { most: 2, ..rules() }, &sentries, &stands(&[3]), at(0));
        sentries.reverse();
        assert_eq!(Memory::default().wish(&Rules { most: 2, ..rules() }, &sentries, &stands(&[3]), at(0)), one);
    }
}
