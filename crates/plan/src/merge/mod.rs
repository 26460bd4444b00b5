//! From what sources say to the validator set in force: agreement between sources, judgement of each endpoint,
//! grace for the absent, brakes on the whole. Whatever is doubtful leaves the last good set as it is.

mod addresses;
mod ballot;
mod brakes;
mod dissent;
mod heights;
mod memory;
mod names;

pub use brakes::Held;
pub use memory::{Change, ChangeKind, MergeMemory, NameRecord, Sighting};
pub use names::{names_due, next_lookup};

use crate::{Finding, FindingKind};
use addresses::{Found, Lookup, remember};
use ballot::{Ballot, Candidate, Votes, permitted};
use brakes::{brake, moves_too_often};
use dissent::Dissent;
use heights::comparable;
use names::{findings as name_findings, hold_readdressed, take_lookups};
use picket_model::{
    Advertised, DnsName, EndpointSource, Grade, Host, Lookups, Observation, Orders, P2pEndpoint, Policy, PrepId,
    Provenance, Refused, SourceId, Timestamp, Validator, ValidatorSet,
};
use std::{cmp::Reverse, collections::BTreeSet};

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

/// How many of so many sources must agree: a majority, unless the policy says otherwise.
pub fn needed(policy: &Policy, sources: usize) -> usize {
    policy.agree.unwrap_or(sources / 2 + 1).max(1)
}

/// Merges one round of answers into the set. A majority of the sources configured must agree on an entry, and as many
/// that a validator is gone, unless the policy says otherwise.
pub fn merge(input: &MergeInput<'_>) -> Merged {
    let MergeInput { previous, policy, now, .. } = *input;
    let needed = needed(policy, input.sources);
    let mut memory = input.memory.clone();
    memory.forget_the_future(now, policy);
    let (seen, mut findings) = comparable(input.seen, needed, policy, now, &mut memory);
    remember(&mut memory, input.advertised, now);
    take_lookups(&mut memory, input.lookups, policy, now);
    let ballot = Ballot::count(&seen, policy);
    forget_strangers(&mut memory, previous, &ballot, needed, policy);
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
    let mut dissent = Dissent::default();
    for (prep, listed) in &ballot.listed {
        let known = previous.0.get(prep);
        match agreed(&ballot, prep, needed) {
            Some((candidate, votes)) => {
                dissent.against(&seen, prep, (candidate, votes), policy);
                if let Some(known) = known.filter(|known| known.endpoint != *candidate.0)
                    && moves_too_often(prep, policy, now, &memory)
                {
                    findings.push(moving(known, candidate.0, policy));
                    set.0.insert(*prep, Validator { absent_since: None, ..known.clone() });
                    continue;
                }
                let found = lookup.find(prep, candidate, &votes.sources, known);
                let problem = |text: &String| {
                    Finding::warning(FindingKind::NameUnresolved, prep, format!("P-Rep {prep}: {text}"))
                };
                findings.extend(found.problems.iter().map(problem));
                refused.extend(found.refused.iter().cloned());
                set.0.insert(*prep, validator(prep, candidate, votes, needed, known, found));
            }
            None if seen.len() - listed.len() >= needed || (known.is_none() && listed.len() < needed) => {
                dissent.alone(listed, prep);
            }
            None => {
                let stays = known.filter(|known| known.addresses.iter().all(|a| permitted(*a, policy).is_ok()));
                findings.push(disputed(prep, listed, needed, stays, &refused));
                set.0.extend(stays.map(|validator| (*prep, validator.clone())));
            }
        }
    }

    findings.extend(dissent.findings());
    if let Some(held) = brake(previous, &set, policy, input.orders, now, &mut memory) {
        return Merged { set: previous.clone(), refused, held: Some(held), findings, height, names, memory };
    }
    keep_absent(previous, &mut set, &ballot, needed, policy, now);
    findings.extend(hold_readdressed(previous, &mut set, policy, now, &mut memory));
    Merged { set, refused, held: None, findings, height, names, memory }
}

/// Those that are missing from the list stay for their grace, as far as the set has room; the last to go first.
fn keep_absent(
    previous: &ValidatorSet,
    set: &mut ValidatorSet,
    ballot: &Ballot<'_>,
    needed: usize,
    policy: &Policy,
    now: Timestamp,
) {
    let mut absent: Vec<(Timestamp, &Validator)> = Vec::new();
    for validator in previous.iter().filter(|validator| !set.0.contains_key(&validator.prep)) {
        let since = validator.absent_since.unwrap_or(now);
        let penalised = ballot.penalised.get(&validator.prep).is_some_and(|sources| sources.len() >= needed);
        let grace = if penalised { policy.brakes.penalty_grace() } else { policy.brakes.grace() };
        if now.since(since) < grace {
            absent.push((since, validator));
        }
    }
    absent.sort_by_key(|(since, validator)| (Reverse(*since), validator.prep));
    let mut addresses: usize = set.iter().map(|validator| validator.addresses.len()).sum();
    for (since, validator) in absent {
        addresses += validator.addresses.len();
        if set.len() < policy.brakes.max_size && addresses <= policy.max_addresses {
            set.0.insert(validator.prep, Validator { absent_since: Some(since), ..validator.clone() });
        }
    }
}

/// What hosts of ours say about nodes that are no validators' is nothing to remember; nor is any of it where the policy
/// does not count it.
fn forget_strangers(
    memory: &mut MergeMemory,
    previous: &ValidatorSet,
    ballot: &Ballot<'_>,
    needed: usize,
    policy: &Policy,
) {
    let agreed = ballot.candidates.keys().filter_map(|prep| agreed(ballot, prep, needed));
    let mut nodes: BTreeSet<_> = agreed.map(|((_, node), _)| node).collect();
    nodes.extend(previous.iter().map(|validator| validator.node_address));
    memory.advertised.retain(|node, _| policy.endpoints != EndpointSource::Chain && nodes.contains(node));
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

/// A P-Rep whose endpoint changes again and again.
fn moving(known: &Validator, endpoint: &P2pEndpoint, policy: &Policy) -> Finding {
    let text = format!(
        "P-Rep {}: moves too often within {} s; it stays at {} and is at {endpoint} once the first of its moves is as old",
        known.prep, policy.brakes.window_seconds, known.endpoint
    );
    Finding::warning(FindingKind::EntryMoving, &known.prep, text)
}

/// A P-Rep that is on the list, but not so that its entry could be taken.
fn disputed(
    prep: &PrepId,
    listed: &BTreeSet<SourceId>,
    needed: usize,
    stays: Option<&Validator>,
    refused: &[(SourceId, Refused)],
) -> Finding {
    let sources = names_of(listed);
    let mut text =
        format!("P-Rep {prep}: no {needed} sources agree on an endpoint that may be used (listed by {sources}); ");
    text += &stays.map_or("it is left out".to_owned(), |known| format!("{} from before stays", known.endpoint));
    let owner = prep.to_string();
    if let Some((source, entry)) = refused.iter().find(|(_, entry)| entry.entry == owner) {
        text += &format!("; {source}: {}", entry.reason);
    }
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
    let mut seen: Vec<&Observation> = input.seen.iter().collect();
    seen.sort_by(|a, b| a.source.cmp(&b.source));
    seen.into_iter().flat_map(by_source).collect()
}

/// An entry that enough sources agree on. What they need not agree on, its name and grade, changes when enough say so: one
/// source alone does not write history.
fn validator(
    prep: &PrepId,
    (endpoint, node_address): Candidate<'_>,
    votes: &Votes<'_>,
    needed: usize,
    known: Option<&Validator>,
    found: Found,
) -> Validator {
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
    let name = votes.by_enough(|entry| entry.name.clone(), needed, known.map(|known| known.name.clone()));
    let grade = votes.by_enough(|entry| entry.grade, needed, known.map(|known| known.grade));
    Validator {
        prep: *prep,
        name: name.unwrap_or_default(),
        node_address,
        grade: grade.unwrap_or(Grade::None),
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
mod limit_tests;
#[cfg(test)]
mod name_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod trust_tests;
