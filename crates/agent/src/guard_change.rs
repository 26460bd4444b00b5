//! What the guard says of a change, which no look at the wanted state alone tells: which ports it closes, how much it adds, and
//! whom it takes away. Values in, values out.

use crate::{
    additions::added,
    guard::{Guard, GuardRules, GuardViolation},
    ledger::Ledger,
};
use picket_model::{GuardedPort, NodeConfig, NodeId, NodeRole, Timestamp};
use std::collections::BTreeSet;

/// Whether the step from what is held to what is offered keeps to the guard's rules; the first rule it breaks where not.
pub fn admit_change(guard: &Guard, held: &Ledger, offered: &NodeConfig, now: Timestamp) -> Result<(), GuardViolation> {
    admit_ports(&guard.rules, held.config.as_ref(), offered)?;
    // A host that holds nothing has to be told everything.
    let Some(before) = &held.config else { return Ok(()) };
    admit_peers(&guard.rules, before, offered)?;
    // Last: what is refused for this alone still takes away whom it takes away.
    admit_additions(&guard.rules, held, before, offered, now)
}

/// A port that is guarded already stays so whatever the file says by now: a restart opens and closes nothing.
fn admit_ports(rules: &GuardRules, before: Option<&NodeConfig>, offered: &NodeConfig) -> Result<(), GuardViolation> {
    let was_guarded = |port: &GuardedPort| before.is_some_and(|before| before.firewall.guarded.contains_key(port));
    let may_be = |port: &GuardedPort| rules.guarded.contains(&port.port) || rules.guardable.contains(&port.port);
    match offered.firewall.guarded.keys().find(|port| !was_guarded(port) && !may_be(port)) {
        Some(port) => Err(GuardViolation::NotGuardable(*port)),
        None => Ok(()),
    }
}

fn admit_additions(
    rules: &GuardRules,
    held: &Ledger,
    before: &NodeConfig,
    offered: &NodeConfig,
    now: Timestamp,
) -> Result<(), GuardViolation> {
    let added = added(Some(&before.firewall), &offered.firewall);
    let (within, limit) = (held.additions.within(now), rules.max_additions_per_hour);
    // What adds nobody is never too much, however full the hour is.
    if added > 0 && within + added > limit {
        return Err(GuardViolation::TooManyAdditions { added, within, limit });
    }
    Ok(())
}

fn admit_peers(rules: &GuardRules, before: &NodeConfig, offered: &NodeConfig) -> Result<(), GuardViolation> {
    if offered.role != NodeRole::Prep {
        return Ok(());
    }
    let nodes = |config: &NodeConfig| -> BTreeSet<NodeId> {
        config.wireguard.peers.values().map(|peer| peer.node.clone()).collect()
    };
    let (had, has) = (nodes(before), nodes(offered));
    let (kept, had) = (had.intersection(&has).count(), had.len());
    let limit = rules.keep_sentries;
    if kept < limit.min(had) { Err(GuardViolation::SentriesGone { kept, had, limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        additions::Additions,
        guard::tests::{config, guard},
    };
    use picket_model::{Protocol, Purpose, Reason, WireGuardPublicKey};
    use std::{num::NonZeroU16, time::Duration};

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000).plus(Duration::from_secs(seconds))
    }

    /// What the guard says to the change from the good state; empty where it takes it.
    fn said(guard: &Guard, held: &Ledger, offered: &NodeConfig, now: Timestamp) -> String {
        admit_change(guard, held, offered, now).err().map(|violation| violation.to_string()).unwrap_or_default()
    }

    fn with_more(count: u8) -> NodeConfig {
        let mut config = config();
        let set = config.firewall.allow.entry(Purpose::Rpc).or_default();
        for n in 0..count {
            set.insert(std::net::IpAddr::from([198, 51, 100, n]).into(), Reason::Policy { line: "x".into() });
        }
        config
    }

    #[test]
    fn a_port_is_closed_only_if_the_file_names_it_and_one_that_is_stays_so() {
        let port = |number| GuardedPort { protocol: Protocol::Udp, port: NonZeroU16::new(number).unwrap() };
        let guarding = |numbers: &[u16]| {
            let mut config = config();
            config.firewall.guarded.extend(numbers.iter().map(|number| (port(*number), Purpose::Rpc)));
            config
        };
        let held = Ledger { config: Some(config()), ..Ledger::default() };
        let mut guard = guard();
        let refused = "it guards udp/53, which neither `guarded` nor `guardable` in guard.toml names";
        for held in [&held, &Ledger::default()] {
            assert_eq!(said(&guard, held, &guarding(&[53]), at(0)), refused);
        }
        let holds = Ledger { config: Some(guarding(&[53])), ..Ledger::default() };
        assert_eq!(said(&guard, &holds, &guarding(&[53]), at(0)), "", "by an agent that knew no `guardable`");
        assert!(said(&guard, &holds, &guarding(&[53, 54]), at(0)).contains("it guards udp/54"));
        guard.rules.guardable.insert(NonZeroU16::new(53).unwrap());
        assert_eq!(said(&guard, &held, &guarding(&[53]), at(0)), "");
        guard.rules.guardable.clear();
        guard.rules.guarded.insert(NonZeroU16::new(53).unwrap());
        assert_eq!(said(&guard, &held, &guarding(&[53]), at(0)), "");
    }

    #[test]
    fn only_so_many_are_let_in_within_an_hour_and_a_restart_forgets_none() {
        let mut guard = guard();
        guard.rules.max_additions_per_hour = 10;
        let held = Ledger { config: Some(config()), ..Ledger::default() };
        assert_eq!(said(&guard, &held, &with_more(10), at(0)), "");
        assert!(said(&guard, &held, &with_more(11), at(0)).contains("`max_additions_per_hour` in guard.toml is 10"));
        let used = Ledger { additions: Additions::default().plus(8, at(0)), ..held.clone() };
        let used: Ledger = serde_json::from_str(&serde_json::to_string(&used).unwrap()).unwrap();
        assert_eq!(said(&guard, &used, &with_more(2), at(600)), "");
        assert!(said(&guard, &used, &with_more(3), at(600)).contains("lets 3 more in, 8 were let in within the hour"));
        assert_eq!(said(&guard, &used, &with_more(3), at(3700)), "");
        // Nobody new, though the hour is overfull: a revoke goes through.
        let full = Ledger { additions: Additions::default().plus(99, at(0)), ..held };
        assert_eq!(said(&guard, &full, &config(), at(1)), "");
    }

    #[test]
    fn the_first_wanted_state_counts_for_nothing() {
        let mut guard = guard();
        (guard.rules.max_additions_per_hour, guard.rules.keep_sentries) = (0, 3);
        assert_eq!(said(&guard, &Ledger::default(), &with_more(9), at(0)), "");
    }

    fn with_sentries(nodes: &[&str]) -> NodeConfig {
        let mut config = config();
        let peer = config.wireguard.peers.pop_first().unwrap().1;
        for (n, node) in (1..).zip(nodes) {
            let key = WireGuardPublicKey::new([n; 32]).unwrap();
            config
                .wireguard
                .peers
                .insert(key, picket_model::WireGuardPeer { node: node.parse().unwrap(), ..peer.clone() });
        }
        config
    }

    #[test]
    fn a_validator_keeps_so_many_of_its_sentries_through_a_change() {
        let check = |keep, before: &[&str], after: &[&str], expect: &str| {
            let mut guard = guard();
            guard.rules.keep_sentries = keep;
            let held = Ledger { config: Some(with_sentries(before)), ..Ledger::default() };
            let found = said(&guard, &held, &with_sentries(after), at(0));
            assert!(
                if expect.is_empty() { found.is_empty() } else { found.contains(expect) },
                "{found:?}, not {expect:?}"
            );
        };
        check(0, &["n-2"], &[], "");
        check(1, &["n-2"], &[], "keeps 0 of the 1 sentries");
        check(1, &["n-2", "n-3"], &["n-3"], "");
        check(1, &["n-2", "n-3"], &["n-8", "n-9"], "keeps 0 of the 2 sentries");
        check(2, &["n-2"], &["n-2"], "");
        check(2, &["n-2", "n-3", "n-4"], &["n-4"], "keeps 1 of the 3 sentries");
        check(1, &[], &["n-2"], "");
    }
}
