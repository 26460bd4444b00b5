//! What the views are made from. Values only: gathered elsewhere, from one moment each.

use crate::Tunnel;
use picket_api::{
    operator::{EventView, NodeView, StatusView},
    validators::HeldView,
};
use picket_model::{Explanation, Generation, NodeConfig, NodeName};
use std::sync::Arc;

/// One host as far as the page tells of it.
#[derive(Clone, Debug)]
pub struct HostState {
    /// What is wanted and in force.
    pub view: NodeView,
    /// Why it is not in force; `None` where it is, or where it is no member.
    pub lag: Option<String>,
    /// Whether nothing was heard of it for so long that its last report is believed no more.
    pub is_silent: bool,
    /// What it shall be; `None` where it is in no plan.
    pub config: Option<Arc<NodeConfig>>,
    /// How far its cut is in force; `None` where it was not cut.
    pub cut: Option<CutState>,
}

impl HostState {
    /// Its name.
    pub fn name(&self) -> &str {
        self.view.node.name.as_str()
    }
}

/// How far a cut is in force: done when nobody is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutState {
    /// The plan that cut the host.
    pub generation: Generation,
    /// Hosts that had to do with it and read back what is wanted of them since.
    pub confirmed: Vec<NodeName>,
    /// Hosts that do not yet.
    pub missing: Vec<NodeName>,
}

/// All that the first view needs.
#[derive(Clone, Debug)]
pub struct Overview {
    /// The one-screen truth.
    pub status: StatusView,
    /// Members and others.
    pub hosts: Vec<HostState>,
    /// Tunnels between members.
    pub tunnels: Vec<Tunnel>,
    /// What is held back.
    pub held: Option<HeldView>,
    /// The last events, newest last.
    pub events: Vec<EventView>,
}

/// What is done to a host with one form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutKind {
    /// For good.
    Revoke,
    /// Until it is readmitted.
    Quarantine,
}

impl CutKind {
    /// As in paths.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Revoke => "revoke",
            Self::Quarantine => "quarantine",
        }
    }
}

/// A question before a host is cut.
#[derive(Clone, Debug)]
pub struct CutForm {
    /// The host.
    pub name: NodeName,
    /// What is asked.
    pub kind: CutKind,
    /// Hosts that have a tunnel to it.
    pub peers: Vec<NodeName>,
}

/// What was asked about one address, and the answer.
#[derive(Clone, Debug, Default)]
pub struct WhyForm {
    /// The address as it was typed.
    pub address: String,
    /// The host, all where empty.
    pub host: String,
    /// The port as it was typed, all where empty.
    pub port: String,
    /// What came of it; `None` before anything was asked.
    pub answer: Option<Result<Explanation, String>>,
}
