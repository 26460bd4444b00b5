//! The states a host can be in, and the firewall that follows from each: the promise of `docs/security.md`, which names
//! the same states line by line. Values in, values out; reads no file and asks nobody.

use crate::{
    guard::GuardRules,
    ledger::{Ledger, Standing},
};
use picket_model::{FirewallPolicy, NodeConfig};
use std::fmt;

/// What a host is to itself right now. Exactly one at a time; the first that fits, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Posture {
    /// Somebody on the host opened it by hand: no table, no tunnels.
    Released,
    /// It was cut from its mesh, or left it.
    Revoked,
    /// Nothing is known but the guard's file: not enrolled, or what is on the disk cannot be read.
    LockedDown,
    /// A member that has not been told anything yet.
    Enrolled,
    /// What it holds breaks the guard's rules of now.
    RefusedByGuard,
    /// The machine starts, or the agent is not at work: the ledger's firewall without tunnels of its own making.
    BeforeNetwork,
    /// A change is in force that has not been confirmed yet.
    OnTrial,
    /// What is held is in force, and the controller does not answer.
    ControllerAway,
    /// What is held is in force.
    InForce,
}

/// What a posture follows from.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Whether the host was opened by hand.
    pub released: bool,
    /// Whether it has an identity.
    pub enrolled: bool,
    /// What it holds.
    pub ledger: &'a Ledger,
    /// Whether the guard refuses what it holds.
    pub refused: bool,
    /// Whether the agent is at work, and whether the controller answers it.
    pub agent: AgentIs,
}

/// Whether the agent is at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentIs {
    /// It is not: the machine starts, or somebody else asks.
    Away,
    /// It is; the controller answered the last call, did not, or was not asked yet.
    AtWork(Option<bool>),
}

impl Posture {
    /// All, in order.
    pub const ALL: [Self; 9] = [
        Self::Released,
        Self::Revoked,
        Self::LockedDown,
        Self::Enrolled,
        Self::RefusedByGuard,
        Self::BeforeNetwork,
        Self::OnTrial,
        Self::ControllerAway,
        Self::InForce,
    ];

    /// The one that follows from the facts.
    pub fn of(facts: Facts<'_>) -> Self {
        let Facts { released, enrolled, ledger, refused, agent } = facts;
        match agent {
            _ if released => Self::Released,
            _ if ledger.standing == Standing::Revoked => Self::Revoked,
            _ if !enrolled => Self::LockedDown,
            _ if ledger.config.is_none() => Self::Enrolled,
            _ if refused => Self::RefusedByGuard,
            AgentIs::Away => Self::BeforeNetwork,
            AgentIs::AtWork(_) if ledger.trial.is_some() => Self::OnTrial,
            AgentIs::AtWork(Some(false)) => Self::ControllerAway,
            AgentIs::AtWork(_) => Self::InForce,
        }
    }

    /// As in `docs/security.md`, reports and `status`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Revoked => "revoked",
            Self::LockedDown => "locked down",
            Self::Enrolled => "enrolled",
            Self::RefusedByGuard => "refused by guard",
            Self::BeforeNetwork => "before network",
            Self::OnTrial => "on trial",
            Self::ControllerAway => "controller away",
            Self::InForce => "in force",
        }
    }

    /// The firewall of a host with these rules that holds this; `None` where it is to have none.
    pub fn firewall(self, rules: &GuardRules, held: Option<&NodeConfig>) -> Option<FirewallPolicy> {
        let held = held.map(|config| &config.firewall);
        match (self, held) {
            (Self::Released, _) => None,
            (Self::BeforeNetwork | Self::OnTrial | Self::ControllerAway | Self::InForce, Some(firewall)) => {
                Some(rules.with_admin(firewall))
            }
            _ => Some(rules.closed(held)),
        }
    }

    /// Whether the host has tunnels.
    pub const fn has_tunnels(self) -> bool {
        matches!(self, Self::OnTrial | Self::ControllerAway | Self::InForce)
    }
}

impl fmt::Display for Posture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
#[path = "posture_tests.rs"]
mod tests;
