//! From what sources say to the validator set in force: agreement between sources, judgement of each endpoint,
//! grace for the absent, brakes on the whole. Whatever is doubtful leaves the last good set as it is.

mod ballot;
mod brakes;
mod memory;

pub use brakes::Held;
pub use memory::{Change, ChangeKind, MergeMemory, Sighting};

use crate::Finding;
use ballot::{Ballot, Votes, permitted};
use brakes::brake;
use picket_model::{
    Advertised, DnsName, Host, Observation, P2pEndpoint, Policy, PrepId, Provenance, Refused, SourceId, Timestamp,
    Validator, ValidatorSet,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// What each name resolved to, or why it did not.
pub type Names = BTreeMap<DnsName, Result<BTreeSet<IpAddr>, String>>;

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
    /// What names resolved to.
    pub names: &'a Names,
    /// The operator's wishes.
    pub policy: &'a Policy,
    /// Digest of the one change that a person approved.
    pub approved: Option<&'a str>,
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
    /// To be given to the next merge.
    pub memory: MergeMemory,
}

/// The names to resolve before a merge.
pub fn names_in(seen: &[Observation], policy: &Policy) -> BTreeSet<DnsName> {
    let entries = seen.iter().flat_map(|observation| observation.entries.values());
    let wanted = entries.filter(|entry| policy.grades.contains(&entry.grade));
    wanted.filter_map(|entry| name_of(&entry.endpoint).cloned()).collect()
}

/// Merges one round of answers into the set. A majority of the sources configured must agree on an entry, unless the
/// policy says otherwise.
pub fn merge(input: &MergeInput<'_>) -> Merged {
    let MergeInput { previous, seen, sources, names, policy, now, .. } = *input;
    let needed = policy.agree.unwrap_or(sources / 2 + 1).max(1);
    let ballot = Ballot::count(seen, policy);
    let height = seen.iter().map(|observation| observation.height).max();
    let mut refused: Vec<(SourceId, Refused)> = seen
        .iter()
        .flat_map(|observation| observation.refused.iter().map(|entry| (observation.source.clone(), entry.clone())))
        .chain(ballot.refused.iter().cloned())
        .collect();
    let held = |held: Held, refused, findings| Merged {
        set: previous.clone(),
        refused,
        held: Some(held),
        findings,
        height,
        memory: input.memory.clone(),
    };
    if seen.len() < needed {
        let reason =
            format!("{} of {sources} sources answered and {needed} must agree: the last set stays", seen.len());
        return held(Held::without_list(reason), refused, Vec::new());
    }

    let mut findings = Vec::new();
    let mut set = ValidatorSet::default();
    for (prep, candidates) in &ballot.candidates {
        let known = previous.0.get(prep);
        let chosen = candidates
            .iter()
            .filter(|(_, votes)| votes.sources.len() >= needed)
            .max_by_key(|(_, votes)| (votes.sources.len(), votes.height));
        let Some((&endpoint, votes)) = chosen else {
            let sources: BTreeSet<&str> =
                candidates.values().flat_map(|votes| votes.sources.iter().map(SourceId::as_str)).collect();
            findings.push(Finding::warning(format!(
                "P-Rep {prep}: fewer than {needed} sources agree on its endpoint (named by {}); {}",
                sources.into_iter().collect::<Vec<_>>().join(", "),
                if known.is_some() { "its last good entry stays" } else { "it is left out" },
            )));
            set.0.extend(known.map(|validator| (*prep, validator.clone())));
            continue;
        };
        let addresses = addresses_of(prep, endpoint, votes, names, policy, &mut refused).or_else(|problem| {
            let same = known.filter(|validator| validator.endpoint == *endpoint);
            findings.push(Finding::warning(format!("P-Rep {prep}: {problem}")));
            same.map(|validator| validator.addresses.clone()).ok_or(())
        });
        set.0.insert(*prep, validator(endpoint, votes, known, addresses.unwrap_or_default()));
    }
    for prep in ballot.doubted.iter().filter(|prep| !ballot.candidates.contains_key(prep)) {
        let known = previous.0.get(prep);
        if let Some(known) =
            known.filter(|known| known.addresses.iter().all(|address| permitted(*address, policy).is_ok()))
        {
            findings.push(Finding::warning(format!(
                "P-Rep {prep}: its endpoint is refused now; {} from before stays",
                known.endpoint
            )));
            set.0.insert(*prep, known.clone());
        }
    }

    if let Some(reason) = brake(previous, &set, policy, input.approved) {
        return held(reason, refused, findings);
    }
    let absent: Vec<&Validator> = previous.iter().filter(|validator| !set.0.contains_key(&validator.prep)).collect();
    for validator in absent {
        let since = validator.absent_since.unwrap_or(now);
        if now.since(since) < policy.brakes.grace() {
            set.0.insert(validator.prep, Validator { absent_since: Some(since), ..validator.clone() });
        }
    }
    Merged { set, refused, held: None, findings, height, memory: input.memory.clone() }
}

/// The addresses an endpoint stands for; an error where a name gave none that may be used.
fn addresses_of(
    prep: &PrepId,
    endpoint: &P2pEndpoint,
    votes: &Votes<'_>,
    names: &Names,
    policy: &Policy,
    refused: &mut Vec<(SourceId, Refused)>,
) -> Result<BTreeSet<IpAddr>, String> {
    let name = match &endpoint.host {
        Host::Address(address) => return Ok(BTreeSet::from([IpAddr::from(*address)])),
        Host::Name(name) => name,
    };
    let found = match names.get(name) {
        Some(Ok(found)) => found,
        Some(Err(error)) => return Err(format!("{name} did not resolve: {}", error.escape_debug())),
        None => return Err(format!("{name} was not resolved")),
    };
    let mut usable = BTreeSet::new();
    for address in found {
        match permitted(*address, policy) {
            Ok(()) => drop(usable.insert(*address)),
            Err(reason) => {
                let entry = Refused { entry: prep.to_string(), reason: format!("{name} resolves to: {reason}") };
                refused.extend(votes.sources.iter().map(|source| (source.clone(), entry.clone())));
            }
        }
    }
    if usable.is_empty() { Err(format!("{name} resolves to no usable address")) } else { Ok(usable) }
}

fn validator(
    endpoint: &P2pEndpoint,
    votes: &Votes<'_>,
    known: Option<&Validator>,
    addresses: BTreeSet<IpAddr>,
) -> Validator {
    let mut provenance = Provenance { sources: votes.sources.clone(), since_height: votes.height };
    // An endpoint that stays keeps its provenance, so that an unchanged list changes nothing anywhere.
    if let Some(known) = known.filter(|known| known.endpoint == *endpoint) {
        provenance.sources.extend(known.provenance.sources.iter().cloned());
        provenance.since_height = known.provenance.since_height;
    }
    Validator {
        prep: votes.newest.prep,
        node_address: votes.newest.node_address,
        grade: votes.newest.grade,
        endpoint: endpoint.clone(),
        addresses,
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
mod tests;
