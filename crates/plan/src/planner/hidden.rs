//! The part of the plan that is about hidden validators: what sentries forward to them, and what leaves through which.

use crate::PlanInput;
use picket_model::{Forward, Hidden, HiddenPrep, Node, NodeRole, Policy, ValidatorSet};
use std::{
    collections::{BTreeMap, BTreeSet},
    num::{NonZeroU8, NonZeroU16},
};

/// The share of a sentry of which the policy says nothing.
const ONE: NonZeroU8 = NonZeroU8::MIN;

/// Below lie the ports of everything else that a host calls: names, time, packages. No validator's word may send those through
/// a sentry.
const LOWEST: NonZeroU16 = NonZeroU16::MIN.saturating_add(1024 - 1);

/// TCP ports that a hidden validator calls others at: those that validators are registered with, and the guarded ones.
pub(super) fn calls(policy: &Policy, validators: &ValidatorSet) -> BTreeSet<NonZeroU16> {
    if policy.hidden.is_empty() {
        return BTreeSet::new();
    }
    let registered = validators.iter().map(|validator| validator.endpoint.port).filter(|port| *port >= LOWEST);
    registered.chain(policy.ports.p2p.iter().copied()).chain(policy.ports.rpc.iter().copied()).collect()
}

/// What a sentry forwards, of the hosts that it has tunnels to. One that was to be left by now takes no call for them any more: who
/// calls there hears no at once, and calls elsewhere. It lets theirs out still, for they may have no other way.
pub(super) fn forwards(
    input: &PlanInput<'_>,
    calls: &BTreeSet<NonZeroU16>,
    node: &Node,
    others: &[&Node],
) -> BTreeSet<Forward> {
    let lines = &input.policy.hidden;
    let line = |other: &Node| lines.iter().find(|line| line.prep == other.name && line.is_behind(&node.name));
    let is_left = input.drains.get(&node.id).is_some_and(|drain| drain.is_over(input.now));
    let preps = others.iter().filter(|_| node.role == NodeRole::Sentry);
    let forward = |prep: &&Node| line(prep).map(|line| Forward { is_closed: is_left, ..forward(line, calls, prep) });
    preps.filter_map(forward).collect()
}

fn forward(line: &HiddenPrep, calls: &BTreeSet<NonZeroU16>, prep: &Node) -> Forward {
    Forward {
        prep: prep.id.clone(),
        name: prep.name.clone(),
        port: line.port,
        addresses: line.addresses.clone(),
        to: prep.overlay,
        to_port: line.to_port.unwrap_or(line.port),
        calls: calls.clone(),
        is_closed: false,
    }
}

/// How a validator's host calls validators; `None` where it is not hidden.
pub(super) fn hidden(
    input: &PlanInput<'_>,
    calls: &BTreeSet<NonZeroU16>,
    node: &Node,
    others: &[&Node],
) -> Option<Hidden> {
    let mut lines = input.policy.hidden.iter().filter(|_| node.role == NodeRole::Prep);
    let line = lines.find(|line| line.prep == node.name)?;
    let behind = others.iter().filter(|other| line.is_behind(&other.name));
    let share = |sentry: &Node| line.weights.get(&sentry.name).copied().unwrap_or(ONE);
    let sentries: BTreeMap<_, _> = behind.map(|sentry| (sentry.id.clone(), share(sentry))).collect();
    let left = input.drains.iter().filter(|(sentry, _)| sentries.contains_key(*sentry));
    let draining = left.map(|(sentry, drain)| (sentry.clone(), drain.until)).collect();
    let near_milliseconds = line.near_milliseconds;
    Some(Hidden {
        calls: calls.clone(),
        sentries,
        draining,
        near_milliseconds,
        strict: line.strict,
        ..Hidden::default()
    })
}

#[cfg(test)]
#[path = "hidden_tests.rs"]
mod tests;
