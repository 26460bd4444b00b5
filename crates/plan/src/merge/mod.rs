//! From what sources say to the validator set in force: agreement between sources, judgement of each endpoint,
//! grace for the absent, brakes on the whole. Whatever is doubtful leaves the last good set as it is.

mod addresses;
mod ballot;
mod brakes;
mod heights;
mod memory;
mod names;

pub use brakes::Held;
pub use memory::{Change, ChangeKind, MergeMemory, NameRecord, Sighting};
pub use names::{names_due, next_lookup};

use crate::{Finding, FindingKind};
use addresses::{Found, Lookup, remember};
use ballot::{Ballot, Candidate, Votes, permitted};
use brakes::brake;
use heights::comparable;
use names::{findings as name_findings, hold_readdressed, take_lookups};
use picket_model::{
    Advertised, DnsName, EndpointSource, Host, Lookups, Observation, Orders, P2pEndpoint, Policy, PrepId, Provenance,
    Refused, SourceId, Timestamp, Validator, ValidatorSet,
};
use std::collections::BTreeSet;

/// Everything a merge is made from.
#[derive(Clone, Copy, Debug)]
pub struct MergeInput<'a> {
    /// The set in force.
    pub previous: &'a ValidatorSet,
    /// What earlier merges saw and did.
    pub memory: &'a MergeMemory,
    /// One round of answers, at most one of each source.
    pub seen: &'a [Observation],
    /// How many sources are configured.
    pub sources: usize,
    /// What the operator's own nodes say about the others.
    pub advertised: &'a [Advertised],
    /// What lookups of names gave since the last merge.
    pub lookups: &'a Lookups,
    /// The operator's wishes.
    pub policy: &'a Policy,
    /// What a person ordered.
    pub orders: &'a Orders,
    /// When this is.
    pub now: Timestamp,
}

/// The set to put in force, and what was not taken into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// The new set; the previous one, unchanged, where `held` says so.
    pub set: ValidatorSet,
    /// Entries refused, by source.
    pub refused: Vec<(SourceId, Refused)>,
    /// Why the previous set was held, and what the list would have changed.
    pub held: Option<Held>,
    /// Entries kept although in doubt: disputed, unresolved, ill-formed now and good before.
    pub findings: Vec<Finding>,
    /// Height of the newest answer.
    pub height: Option<u64>,
    /// The names to be looked up, as they come due.
    pub names: BTreeSet<DnsName>,
    /// To be given to the next merge.
    pub memory: MergeMemory,
}

/// Merges one round of answers into the set. A majority of the sources configured must agree on an entry, and as many
/// that a validator is gone, unless the policy says otherwise.
pub fn merge(input: &MergeInput<'_>) -> Merged {
    let MergeInput { previous, policy, now, .. } = *input;
    let needed = policy.agree.unwrap_or(input.sources / 2 + 1).max(1);
    let mut memory = input.memory.clone();
    let (seen, mut findings) = comparable(input.seen, needed, policy, now, &mut memory);
    remember(&mut memory, input.advertised, now);
    take_lookups(&mut memory, input.lookups, policy, now);
    let ballot = Ballot::count(&seen, policy);
    let mut refused = refused_by_sources(input);
    refused.extend(ballot.refused.iter().cloned());
    let height = seen.iter().map(|observation| observation.height).max();
    if seen.len() < needed {
        let reason = format!(
            "{} of {} sources answered at comparable heights and {needed} must agree: the last set stays",
            seen.len(),
            input.sources
        );
        let (set, held) = (previous.clone(), Some(Held::without_list(FindingKind::NoQuorum, reason)));
        let names = names_in_use(previous, &ballot, needed, policy, &memory);
        findings.extend(name_findings(&memory, &names, &policy.names, now));
        return Merged { set, refused, held, findings, height, names, memory };
    }

    let names = names_in_use(previous, &ballot, needed, policy, &memory);
    findings.extend(name_findings(&memory, &names, &policy.names, now));
    memory.names.retain(|name, _| names.contains(name));
    let lookup = Lookup { policy, memory: &memory, now };
    let mut set = ValidatorSet::default();
    for (prep, listed) in &ballot.listed {
        let known = previous.0.get(prep);
        match agreed(&ballot, prep, needed) {
            Some((candidate, votes)) => {
                let found = lookup.find(prep, candidate, &votes.sources, known);
                let problem = |text: &String| {
                    Finding::warning(FindingKind::NameUnresolved, prep, format!("P-Rep {prep}: {text}"))
                };
                findings.extend(found.problems.iter().map(problem));
                refused.extend(found.refused.iter().cloned());
                set.0.insert(*prep, validator(candidate.0, votes, known, found));
            }
            None if seen.len() - listed.len() >= needed => {
                let sources = names_of(listed);
                let text = format!(
                    "P-Rep {prep}: listed by {sources} alone, and {needed} sources do not have it: it is not let in"
                );
                findings.push(Finding::warning(FindingKind::EntryMinority, prep, text));
            }
            None => {
                let stays = known.filter(|known| known.addresses.iter().all(|a| permitted(*a, policy).is_ok()));
                findings.push(disputed(prep, listed, needed, stays));
                set.0.extend(stays.map(|validator| (*prep, validator.clone())));
            }
        }
    }

    if let Some(held) = brake(previous, &set, policy, input.orders, now, &mut memory) {
        return Merged { set: previous.clone(), refused, held: Some(held), findings, height, names, memory };
    }
    for validator in previous.iter().filter(|validator| !set.0.contains_key(&validator.prep)).collect::<Vec<_>>() {
        let since = validator.absent_since.unwrap_or(now);
        let penalised = ballot.penalised.get(&validator.prep).is_some_and(|sources| sources.len() >= needed);
        let grace = if penalised { policy.brakes.penalty_grace() } else { policy.brakes.grace() };
        if now.since(since) < grace {
            set.0.insert(validator.prep, Validator { absent_since: Some(since), ..validator.clone() });
        }
    }
    findings.extend(hold_readdressed(previous, &mut set, policy, now, &mut memory));
    let nodes: BTreeSet<_> = set.iter().map(|validator| validator.node_address).collect();
    memory.advertised.retain(|node, _| nodes.contains(node));
    Merged { set, refused, held: None, findings, height, names, memory }
}

/// Names of the set in force and of entries that enough sources agree on, registered and advertised: a source that names
/// thousands by itself makes us look up none of them.
fn names_in_use(
    previous: &ValidatorSet,
    ballot: &Ballot<'_>,
    needed: usize,
    policy: &Policy,
    memory: &MergeMemory,
) -> BTreeSet<DnsName> {
    let agreed =
        ballot.candidates.keys().filter_map(|prep| agreed(ballot, prep, needed)).map(|(candidate, _)| candidate);
    let known = previous.iter().map(|validator| (&validator.endpoint, validator.node_address));
    let mut names = BTreeSet::new();
    for (endpoint, node) in agreed.chain(known) {
        names.extend(name_of(endpoint).cloned());
        if policy.endpoints != EndpointSource::Chain {
            let seen = memory.advertised.get(&node).into_iter().flat_map(|sighting| sighting.endpoints.keys());
            names.extend(seen.filter_map(name_of).cloned());
        }
    }
    names
}

/// The endpoint that most sources agree on, if those are enough.
fn agreed<'b, 'a>(ballot: &'b Ballot<'a>, prep: &PrepId, needed: usize) -> Option<(Candidate<'a>, &'b Votes<'a>)> {
    let candidates = ballot.candidates.get(prep)?.iter().map(|(candidate, votes)| (*candidate, votes));
    let enough = candidates.filter(|(_, votes)| votes.sources.len() >= needed);
    enough.max_by_key(|(_, votes)| (votes.sources.len(), votes.height))
}

/// A P-Rep that is on the list, but not so that its entry could be taken.
fn disputed(prep: &PrepId, listed: &BTreeSet<SourceId>, needed: usize, stays: Option<&Validator>) -> Finding {
    let sources = names_of(listed);
    let end = stays.map_or("it is left out".to_owned(), |known| format!("{} from before stays", known.endpoint));
    let text =
        format!("P-Rep {prep}: no {needed} sources agree on an endpoint that may be used (listed by {sources}); {end}");
    Finding::warning(FindingKind::EntryDisputed, prep, text)
}

fn names_of(sources: &BTreeSet<SourceId>) -> String {
    sources.iter().map(SourceId::as_str).collect::<Vec<_>>().join(", ")
}

fn refused_by_sources(input: &MergeInput<'_>) -> Vec<(SourceId, Refused)> {
    let by_source = |observation: &Observation| {
        let source = observation.source.clone();
        observation.refused.clone().into_iter().map(move |entry| (source.clone(), entry))
    };
    input.seen.iter().flat_map(by_source).collect()
}

fn validator(endpoint: &P2pEndpoint, votes: &Votes<'_>, known: Option<&Validator>, found: Found) -> Validator {
    let (sources, since_height) = (votes.sources.clone(), votes.height);
    let mut provenance = Provenance { sources, since_height, advertised: found.advertised };
    // An endpoint that stays keeps its provenance, so that an unchanged list changes nothing anywhere.
    if let Some(known) = known.filter(|known| known.endpoint == *endpoint) {
        provenance.sources.extend(known.provenance.sources.iter().cloned());
        provenance.since_height = known.provenance.since_height;
        for (address, hosts) in &mut provenance.advertised {
            hosts.extend(known.provenance.advertised.get(address).into_iter().flatten().cloned());
        }
    }
    Validator {
        prep: votes.newest.prep,
        name: votes.newest.name.clone(),
        node_address: votes.newest.node_address,
        grade: votes.newest.grade,
        endpoint: endpoint.clone(),
        addresses: found.addresses,
        provenance,
        absent_since: None,
    }
}

fn name_of(endpoint: &P2pEndpoint) -> Option<&DnsName> {
    match &endpoint.host {
        Host::Name(name) => Some(name),
        Host::Address(_) => None,
    }
}

#[cfg(test)]
mod name_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod trust_tests;
