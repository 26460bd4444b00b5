//! What names of validators resolve to, from one merge to the next: addresses linger, failures have a grace, and names
//! that give others for many P-Reps at once are held.

use super::{
    ballot::permitted,
    memory::{Change, ChangeKind, MergeMemory, NameRecord},
};
use crate::{Finding, FindingKind};
use picket_model::{
    DnsName, Host, Lookups, NameAnswer, NamePolicy, Policy, PrepId, Timestamp, Validator, ValidatorSet,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

/// The first wait after a name did not resolve; it doubles up to the longest pause of the policy.
const FIRST_RETRY: Duration = Duration::from_secs(5);

/// Names among `wanted` whose lookup is due.
pub fn names_due(memory: &MergeMemory, wanted: &BTreeSet<DnsName>, now: Timestamp) -> BTreeSet<DnsName> {
    wanted.iter().filter(|name| memory.names.get(*name).is_none_or(|record| record.due_at <= now)).cloned().collect()
}

/// When the next lookup of a name among `wanted` is due; `None` where there are none.
pub fn next_lookup(memory: &MergeMemory, wanted: &BTreeSet<DnsName>) -> Option<Timestamp> {
    wanted.iter().map(|name| memory.names.get(name).map_or(Timestamp::default(), |record| record.due_at)).min()
}

/// Takes what lookups gave into the memory.
pub(super) fn take_lookups(memory: &mut MergeMemory, lookups: &Lookups, policy: &Policy, now: Timestamp) {
    for (name, answer) in lookups {
        let record = memory.names.entry(name.clone()).or_default();
        match answer {
            Ok(answer) => match usable(answer, policy) {
                Ok((usable, unusable)) => record.answered(answer, &usable, unusable, policy, now),
                Err(reason) => record.failed(&reason, &policy.names, now),
            },
            Err(error) => record.failed(error, &policy.names, now),
        }
    }
}

/// The addresses that may be used and those that may not, or why none may.
fn usable(answer: &NameAnswer, policy: &Policy) -> Result<(BTreeSet<IpAddr>, BTreeSet<IpAddr>), String> {
    let (usable, unusable): (BTreeSet<IpAddr>, BTreeSet<IpAddr>) =
        answer.addresses.iter().partition(|address| permitted(**address, policy).is_ok());
    if !usable.is_empty() {
        return Ok((usable, unusable));
    }
    let refused = unusable.first().and_then(|address| permitted(*address, policy).err());
    Err(refused
        .map_or("it gives no address".to_owned(), |refused| format!("it gives none that may be used: {refused}")))
}

impl NameRecord {
    fn answered(
        &mut self,
        answer: &NameAnswer,
        usable: &BTreeSet<IpAddr>,
        unusable: BTreeSet<IpAddr>,
        policy: &Policy,
        now: Timestamp,
    ) {
        self.addresses.retain(|address, gone_since| {
            if usable.contains(address) {
                return true;
            }
            permitted(*address, policy).is_ok() && now.since(*gone_since.get_or_insert(now)) < policy.names.linger()
        });
        let mut left_out = 0;
        for address in usable {
            // Those known before go first, so that a name whose answers change does not move the firewall each time.
            if self.addresses.contains_key(address) || self.addresses.len() < policy.max_addresses_per_prep {
                self.addresses.insert(*address, None);
            } else {
                left_out += 1;
            }
        }
        self.surplus = left_out + answer.surplus;
        self.unusable = unusable;
        self.first_answered_at = self.first_answered_at.or(Some(now));
        self.answered_at = Some(now);
        self.failing = None;
        self.due_at = now.plus(policy.names.pause(answer.time_to_live));
    }

    fn failed(&mut self, error: &str, policy: &NamePolicy, now: Timestamp) {
        let since = self.failing.as_ref().map_or(now, |(since, _)| *since);
        self.failing = Some((since, error.to_owned()));
        let longest = Duration::from_secs(policy.longest_seconds);
        self.due_at = now.plus(now.since(since).clamp(FIRST_RETRY, longest.max(FIRST_RETRY)));
    }

    /// The addresses that stand, or why there are none.
    pub(super) fn standing(&self, policy: &NamePolicy, now: Timestamp) -> Result<BTreeSet<IpAddr>, String> {
        let addresses = || self.addresses.keys().copied().collect();
        match (&self.failing, self.answered_at) {
            (None, Some(_)) => Ok(addresses()),
            (Some((since, _)), Some(_)) if now.since(*since) < policy.grace() => Ok(addresses()),
            (Some((since, error)), Some(_)) => {
                let days = now.since(*since).as_secs() / 86_400;
                Err(format!("has not resolved for {days} days ({}): its grace is over", error.escape_debug()))
            }
            (Some((_, error)), None) => Err(format!("does not resolve: {}", error.escape_debug())),
            (None, None) => Err("was not looked up yet".to_owned()),
        }
    }
}

/// What the operator should know about the names in use.
pub(super) fn findings(
    memory: &MergeMemory,
    used: &BTreeSet<DnsName>,
    policy: &NamePolicy,
    now: Timestamp,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, record) in memory.names.iter().filter(|(name, _)| used.contains(*name)) {
        if let (Some((since, error)), Ok(_)) = (&record.failing, record.standing(policy, now)) {
            let (error, end) = (error.escape_debug(), since.plus(policy.grace()));
            let text = format!("{name} has not resolved since {since} ({error}): its last addresses stand until {end}");
            findings.push(Finding::warning(FindingKind::NameUnresolved, name, text));
        }
        if record.surplus > 0 {
            let (kept, surplus) = (record.addresses.len(), record.surplus);
            let text = format!("{name} gives more addresses than are taken: {kept} stand, {surplus} were left out");
            findings.push(Finding::warning(FindingKind::NameOverfull, name, text));
        }
    }
    findings
}

/// Holds other addresses of names where too many P-Reps have them within the window: who controls a name server does not
/// move them all. Those that changed last come last, so that names that flap do not keep the others waiting for ever.
pub(super) fn hold_readdressed(
    previous: &ValidatorSet,
    set: &mut ValidatorSet,
    policy: &Policy,
    now: Timestamp,
    memory: &mut MergeMemory,
) -> Vec<Finding> {
    let mut last: BTreeMap<PrepId, Timestamp> = BTreeMap::new();
    for change in memory.changes.iter().filter(|change| change.kind == ChangeKind::Readdressed) {
        last.insert(change.prep, change.at);
    }
    let counts = |at: &Timestamp| now.since(*at) < policy.brakes.window();
    let mut lately: BTreeSet<PrepId> = last.iter().filter(|(_, at)| counts(at)).map(|(prep, _)| *prep).collect();
    let mut findings = Vec::new();
    let mut readdressed: Vec<(PrepId, Validator)> = previous
        .iter()
        .filter(|old| set.0.get(&old.prep).is_some_and(|new| is_readdressed(old, new, memory, now)))
        .map(|old| (old.prep, old.clone()))
        .collect();
    readdressed.sort_by_key(|(prep, _)| (last.get(prep).copied(), *prep));
    for (prep, old) in readdressed {
        if lately.contains(&prep) {
            // It has its place already, until the window has passed since it took it.
        } else if lately.len() < policy.names.max_readdressed {
            lately.insert(prep);
            memory.changes.push(Change { at: now, prep, kind: ChangeKind::Readdressed });
        } else if let Some(new) = set.0.get_mut(&prep) {
            let text = format!(
                "P-Rep {prep}: {} gives other addresses, as do more than max_readdressed {} names within {} s: those from \
                 before stay",
                old.endpoint, policy.names.max_readdressed, policy.brakes.window_seconds
            );
            findings.push(Finding::warning(FindingKind::NameReaddressed, &prep, text));
            new.addresses = old.addresses.into_iter().filter(|address| permitted(*address, policy).is_ok()).collect();
            new.provenance.advertised = old.provenance.advertised;
        }
    }
    findings
}

/// Whether the same name gives other addresses than before. The first ones are no change, unless it gave some long ago.
fn is_readdressed(old: &Validator, new: &Validator, memory: &MergeMemory, now: Timestamp) -> bool {
    let Host::Name(name) = &new.endpoint.host else { return false };
    let record = memory.names.get(name);
    let is_first = record.and_then(|record| record.first_answered_at).is_none_or(|first| first == now);
    let had_some = !old.addresses.is_empty() || !is_first;
    old.endpoint == new.endpoint && had_some && old.addresses != new.addresses
}
