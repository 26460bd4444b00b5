//! Counts which source names which endpoint for which P-Rep, and judges each entry by policy before it counts.

use picket_model::{
    Grade, Host, NodeAddress, Observation, ObservedValidator, P2pEndpoint, Policy, PrepId, Refused, SourceId,
    endpoint::check_public_address,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// What sources have to agree on: where a P-Rep is, and by which key its node is known.
pub(super) type Candidate<'a> = (&'a P2pEndpoint, NodeAddress);

/// Entries of allowed grade, counted by P-Rep and endpoint, and those that policy refuses.
#[derive(Default)]
pub(super) struct Ballot<'a> {
    pub(super) candidates: BTreeMap<PrepId, BTreeMap<Candidate<'a>, Votes<'a>>>,
    pub(super) refused: Vec<(SourceId, Refused)>,
    /// Sources that have a P-Rep on the list, even if its entry could not be taken.
    pub(super) listed: BTreeMap<PrepId, BTreeSet<SourceId>>,
    /// Sources that say that a P-Rep is a candidate for a penalty.
    pub(super) penalised: BTreeMap<PrepId, BTreeSet<SourceId>>,
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
    /// Counts the answers, which come in order of source.
    pub(super) fn count(seen: &[&'a Observation], policy: &Policy) -> Self {
        let mut ballot = Self::default();
        for observation in seen {
            let counts = |grade: &Option<Grade>| grade.is_none_or(|grade| policy.grades.contains(&grade));
            for (prep, _) in observation.doubted.iter().filter(|(_, grade)| counts(grade)) {
                ballot.listed.entry(*prep).or_default().insert(observation.source.clone());
            }
            for entry in observation.entries.values() {
                if policy.grades.contains(&entry.grade) {
                    ballot.take(observation, entry, policy);
                } else if entry.grade == Grade::Candidate && entry.penalty != 0 {
                    ballot.penalised.entry(entry.prep).or_default().insert(observation.source.clone());
                }
            }
        }
        ballot
    }

    fn take(&mut self, observation: &'a Observation, entry: &'a ObservedValidator, policy: &Policy) {
        self.listed.entry(entry.prep).or_default().insert(observation.source.clone());
        match judge(entry, policy) {
            Ok(()) => self.vote(observation, entry),
            Err(reason) => {
                let entry = Refused { entry: entry.prep.to_string(), reason };
                self.refused.push((observation.source.clone(), entry));
            }
        }
    }

    fn vote(&mut self, observation: &'a Observation, entry: &'a ObservedValidator) {
        let candidates = self.candidates.entry(entry.prep).or_default();
        let votes = candidates.entry((&entry.endpoint, entry.node_address)).or_insert_with(|| Votes {
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
    check_public_address(address, &policy.special_ranges).map_err(|error| error.to_string())
}
