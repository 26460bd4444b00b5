//! Which addresses a validator is let in from: those of its registered endpoint and those its node advertises, judged
//! alike, as the policy chooses, and never more than it allows.

use super::{
    ballot::permitted,
    memory::{MergeMemory, Sighting},
    name_of,
};
use picket_model::{
    Advertised, DnsName, EndpointSource, Host, NodeAddress, NodeId, P2pEndpoint, Policy, PrepId, Refused, SourceId,
    Timestamp, Validator,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

/// How long what was last seen of a node stands after nobody sees it any more: silence is not an order.
const SEEN_STANDS: Duration = Duration::from_hours(24);

/// Takes what our own nodes see into the memory: what they say now replaces what they said before of the same node.
pub(super) fn remember(memory: &mut MergeMemory, advertised: &[Advertised], now: Timestamp) {
    let mut sighted: BTreeMap<NodeAddress, Sighting> = BTreeMap::new();
    for said in advertised {
        let at = said.seen_at.min(now);
        for (node, endpoints) in said.endpoints.iter().filter(|(_, endpoints)| !endpoints.is_empty()) {
            let sighting = sighted.entry(*node).or_insert_with(|| Sighting { at, endpoints: BTreeMap::new() });
            sighting.at = sighting.at.max(at);
            for endpoint in endpoints {
                sighting.endpoints.entry(endpoint.clone()).or_default().insert(said.node.clone());
            }
        }
    }
    memory.advertised.extend(sighted);
    memory.advertised.retain(|_, sighting| now.since(sighting.at) < SEEN_STANDS);
}

/// What turns endpoints into addresses.
pub(super) struct Lookup<'a> {
    pub(super) policy: &'a Policy,
    pub(super) memory: &'a MergeMemory,
    pub(super) now: Timestamp,
}

/// Where one validator is.
#[derive(Default)]
pub(super) struct Found {
    pub(super) addresses: BTreeSet<IpAddr>,
    pub(super) advertised: BTreeMap<IpAddr, BTreeSet<NodeId>>,
    /// Addresses that were not taken, with who named them.
    pub(super) refused: Vec<(SourceId, Refused)>,
    /// What the operator should know.
    pub(super) problems: Vec<String>,
}

impl Lookup<'_> {
    /// The addresses of a validator by the policy; where its name was never answered yet, those from before.
    pub(super) fn find(
        &self,
        prep: &PrepId,
        (endpoint, node): (&P2pEndpoint, NodeAddress),
        sources: &BTreeSet<SourceId>,
        known: Option<&Validator>,
    ) -> Found {
        let mut found = Found::default();
        if self.policy.endpoints != EndpointSource::Chain {
            self.advertised(prep, node, &mut found);
        }
        if self.policy.endpoints != EndpointSource::Advertised || found.advertised.is_empty() {
            match self.usable(prep, endpoint, sources, &mut found.refused) {
                Ok(usable) => found.addresses.extend(usable),
                Err(problem) if !self.is_awaited(endpoint) => {
                    let entry = Refused { entry: prep.to_string(), reason: problem.clone() };
                    found.refused.extend(sources.iter().map(|source| (source.clone(), entry.clone())));
                    found.problems.push(problem);
                }
                Err(problem) => {
                    found.problems.push(problem);
                    let kept = known.into_iter().flat_map(|known| known.addresses.iter().copied());
                    found.addresses.extend(kept.filter(|address| permitted(*address, self.policy).is_ok()));
                }
            }
        }
        found.addresses.extend(found.advertised.keys());
        self.cap(prep, known, sources, &mut found);
        found
    }

    fn advertised(&self, prep: &PrepId, node: NodeAddress, found: &mut Found) {
        let endpoints = self.memory.advertised.get(&node).into_iter().flat_map(|sighting| &sighting.endpoints);
        for (endpoint, hosts) in endpoints {
            // A host's id has the form of a source's.
            let tellers: BTreeSet<SourceId> = hosts.iter().filter_map(|host| host.as_str().parse().ok()).collect();
            match self.usable(prep, endpoint, &tellers, &mut found.refused) {
                Ok(usable) => {
                    for address in usable {
                        found.advertised.entry(address).or_default().extend(hosts.iter().cloned());
                    }
                }
                Err(problem) => found.problems.push(format!("advertised: {problem}")),
            }
        }
    }

    /// The addresses an endpoint stands for; an error where it gave none that may be used.
    fn usable(
        &self,
        prep: &PrepId,
        endpoint: &P2pEndpoint,
        tellers: &BTreeSet<SourceId>,
        refused: &mut Vec<(SourceId, Refused)>,
    ) -> Result<BTreeSet<IpAddr>, String> {
        let (named, addresses) = match &endpoint.host {
            Host::Address(address) => (endpoint.to_string(), BTreeSet::from([IpAddr::from(*address)])),
            Host::Name(name) => (name.to_string(), self.resolved(name)?),
        };
        let unusable = name_of(endpoint).and_then(|name| self.memory.names.get(name));
        let addresses = addresses.into_iter().chain(unusable.into_iter().flat_map(|record| &record.unusable).copied());
        let mut usable = BTreeSet::new();
        for address in addresses {
            match permitted(address, self.policy) {
                Ok(()) => drop(usable.insert(address)),
                Err(reason) => {
                    let entry = Refused { entry: prep.to_string(), reason: format!("{named} means: {reason}") };
                    refused.extend(tellers.iter().map(|source| (source.clone(), entry.clone())));
                }
            }
        }
        if usable.is_empty() { Err(format!("{named} gives no usable address")) } else { Ok(usable) }
    }

    /// Whether a name's first answer may still come: where the P-Rep was before, it stays meanwhile.
    fn is_awaited(&self, endpoint: &P2pEndpoint) -> bool {
        let Some(name) = name_of(endpoint) else { return false };
        let Some(record) = self.memory.names.get(name) else { return true };
        let within = |since: Timestamp| self.now.since(since) < self.policy.names.grace();
        record.answered_at.is_none() && record.failing.as_ref().is_none_or(|(since, _)| within(*since))
    }

    fn resolved(&self, name: &DnsName) -> Result<BTreeSet<IpAddr>, String> {
        let record = self.memory.names.get(name).ok_or_else(|| format!("{name} was not looked up yet"))?;
        record.standing(&self.policy.names, self.now).map_err(|reason| format!("{name} {reason}"))
    }

    /// Keeps as many addresses as the policy allows: those known before first, so that a name whose answers change
    /// does not move the firewall each time; then registered ones before those that hosts of ours tell of.
    fn cap(&self, prep: &PrepId, known: Option<&Validator>, sources: &BTreeSet<SourceId>, found: &mut Found) {
        let most = self.policy.max_addresses_per_prep;
        let surplus = found.addresses.len().saturating_sub(most);
        if surplus == 0 {
            return;
        }
        let before = |address: &IpAddr| known.is_some_and(|known| known.addresses.contains(address));
        let mut in_order: Vec<IpAddr> = found.addresses.iter().copied().collect();
        in_order.sort_by_key(|address| (!before(address), found.advertised.contains_key(address), *address));
        found.addresses = in_order.into_iter().take(most).collect();
        found.advertised.retain(|address, _| found.addresses.contains(address));
        let reason = format!("{surplus} addresses more than max_addresses_per_prep {most}");
        let entry = Refused { entry: prep.to_string(), reason };
        found.refused.extend(sources.iter().map(|source| (source.clone(), entry.clone())));
    }
}
