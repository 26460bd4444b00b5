//! Counts which source names which endpoint for which P-Rep, and judges each entry by policy before it counts.

use picket_model::{
    Grade, Host, Observation, ObservedValidator, P2pEndpoint, Policy, PrepId, Refused, SourceId,
    endpoint::check_public_address,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// Entries of allowed grade, counted by P-Rep and endpoint, and those that policy refuses.
#[derive(Default)]
pub(super) struct Ballot<'a> {
    pub(super) candidates: BTreeMap<PrepId, BTreeMap<&'a P2pEndpoint, Votes<'a>>>,
    pub(super) refused: Vec<(SourceId, Refused)>,
    /// P-Reps on the list of whom no entry could be taken.
    pub(super) doubted: BTreeSet<PrepId>,
}

/// The sources that agree on one endpoint; at least one.
pub(super) struct Votes<'a> {
    pub(super) sources: BTreeSet<SourceId>,
    /// The entry of the source with the highest chain.
    pub(super) newest: &'a ObservedValidator,
    /// Height of that source.
    pub(super) height: u64,
}

impl<'a> Ballot<'a> {
    pub(super) fn count(seen: &'a [Observation], policy: &Policy) -> Self {
        let mut ballot = Self::default();
        for observation in seen {
            let counts = |grade: &Option<Grade>| grade.is_none_or(|grade| policy.grades.contains(&grade));
            let doubted = observation.doubted.iter().filter(|(_, grade)| counts(grade));
            ballot.doubted.extend(doubted.map(|(prep, _)| *prep));
            for entry in observation.entries.values().filter(|entry| policy.grades.contains(&entry.grade)) {
                match judge(entry, policy) {
                    Ok(()) => ballot.vote(observation, entry),
                    Err(reason) => {
                        ballot.doubted.insert(entry.prep);
                        let entry = Refused { entry: entry.prep.to_string(), reason };
                        ballot.refused.push((observation.source.clone(), entry));
                    }
                }
            }
        }
        ballot
    }

    fn vote(&mut self, observation: &Observation, entry: &'a ObservedValidator) {
        let votes = self.candidates.entry(entry.prep).or_default().entry(&entry.endpoint).or_insert_with(|| Votes {
            sources: BTreeSet::new(),
            newest: entry,
            height: observation.height,
        });
        votes.sources.insert(observation.source.clone());
        if observation.height > votes.height {
            (votes.newest, votes.height) = (entry, observation.height);
        }
    }
}

/// Whether the policy takes an endpoint; a name is judged by what it resolves to.
fn judge(entry: &ObservedValidator, policy: &Policy) -> Result<(), String> {
    match entry.endpoint.host {
        Host::Address(address) => permitted(address.into(), policy),
        Host::Name(_) => Ok(()),
    }
}

/// Whether a validator may live at an address.
pub(super) fn permitted(address: IpAddr, policy: &Policy) -> Result<(), String> {
    check_public_address(address, &policy.special_ranges).map_err(|error| error.to_string())?;
    match policy.deny.iter().find(|network| network.contains(&address)) {
        Some(network) => Err(format!("{address} is in {network}, which the policy denies")),
        None => Ok(()),
    }
}
