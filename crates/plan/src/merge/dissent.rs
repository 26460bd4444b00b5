//! What single sources say against those that agree: one line for each source, however much it says, since it chooses
//! what.

use super::ballot::{Candidate, Votes};
use crate::{Finding, FindingKind};
use picket_model::{Observation, Policy, PrepId, SourceId};
use std::collections::{BTreeMap, BTreeSet};

/// P-Reps that a source's line names; the rest is counted.
const NAMED: usize = 3;

/// What each source says against the others.
#[derive(Default)]
pub(super) struct Dissent(BTreeMap<SourceId, Vec<String>>);

impl Dissent {
    /// Takes those that say something else about a P-Rep than the sources that agree.
    pub(super) fn against(
        &mut self,
        seen: &[&Observation],
        prep: &PrepId,
        agreed: (Candidate<'_>, &Votes<'_>),
        policy: &Policy,
    ) {
        let ((endpoint, node), votes) = agreed;
        for observation in seen.iter().filter(|observation| !votes.sources.contains(&observation.source)) {
            let says = match observation.entries.get(prep) {
                Some(entry) if !policy.grades.contains(&entry.grade) => format!("is a {}", entry.grade),
                Some(entry) if entry.endpoint != *endpoint => format!("at {}", entry.endpoint),
                Some(entry) if entry.node_address != node => format!("with node key {}", entry.node_address),
                _ if observation.doubted.contains_key(prep) => "unreadable".to_owned(),
                _ => "missing".to_owned(),
            };
            self.add(&observation.source, prep, &says);
        }
    }

    /// Takes those that list a P-Rep which the others do not.
    pub(super) fn alone(&mut self, listed: &BTreeSet<SourceId>, prep: &PrepId) {
        for source in listed {
            self.add(source, prep, "not listed by enough others");
        }
    }

    fn add(&mut self, source: &SourceId, prep: &PrepId, says: &str) {
        self.0.entry(source.clone()).or_default().push(format!("{prep} {says}"));
    }

    /// A line for each source.
    pub(super) fn findings(&self) -> impl Iterator<Item = Finding> {
        self.0.iter().map(|(source, said)| {
            let first = said[..said.len().min(NAMED)].join(", ");
            let more = if said.len() > NAMED { format!(" and {} more", said.len() - NAMED) } else { String::new() };
            let text = format!(
                "source {source} says otherwise than enough others of {} P-Reps, and does not count there: {first}{more}",
                said.len()
            );
            Finding::warning(FindingKind::SourceDissents, source, text)
        })
    }
}
