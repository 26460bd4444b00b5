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
    /// Their entries.
    pub(super) entries: Vec<&'a ObservedValidator>,
    /// The greatest of their heights.
    pub(super) height: u64,
}

impl<'a> Votes<'a> {
    /// What enough of them say beside the endpoint, as a name or a grade; else what was known, else what the first says.
    pub(super) fn by_enough<T: Ord + Clone>(
        &self,
        of: impl Fn(&'a ObservedValidator) -> T,
        needed: usize,
        known: Option<T>,
    ) -> Option<T> {
        let mut counts: BTreeMap<T, usize> = BTreeMap::new();
        self.entries.iter().for_each(|entry| *counts.entry(of(entry)).or_default() += 1);
        let enough = counts.into_iter().filter(|(_, count)| *count >= needed).max_by_key(|(_, count)| *count);
        enough.map(|(value, _)| value).or(known).or_else(|| self.entries.first().map(|entry| of(entry)))
    }
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
            entries: Vec::new(),
            height: observation.height,
        });
        votes.sources.insert(observation.source.clone());
        votes.entries.push(entry);
        votes.height = votes.height.max(observation.height);
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
