//! The operator's wishes, versioned: what is guarded, who is let in, and how far one answer may move the list.

mod lines;
mod names;

pub use lines::{Denied, PolicyAllow, PolicyDeny};
pub use names::NamePolicy;

use crate::{Grade, HiddenPrep, Limits, NodeRole, Shield, SyncLine, Timestamp};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    num::{NonZeroU16, NonZeroU32},
    time::Duration,
};

/// The operator's policy. Every field has a default that suits ICON mainnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Grades whose members may reach guarded ports.
    pub grades: BTreeSet<Grade>,
    /// Guarded ports by purpose.
    pub ports: Ports,
    /// Guarded ports that are open to everybody, within limits, on hosts of a role.
    pub public: PublicPorts,
    /// How much one source may ask of a guarded port; hosts' defaults where there are none.
    pub limits: Option<Limits>,
    /// Whether those limits are tight: `on`, `off`, or `auto` while a host is attacked.
    pub shield: Shield,
    /// Validators that are called, and call, through sentries alone.
    pub hidden: Vec<HiddenPrep>,
    /// Where sentries serve nodes' JSON-RPC, and to whom.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sync: Vec<SyncLine>,
    /// After how many seconds whatever was granted ends by itself, in each host's kernel, where no agent lives to renew it;
    /// never where absent. At least a day. Admin networks stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grants_last_seconds: Option<NonZeroU32>,
    /// Networks that always reach every guarded port, so that the operator is never locked out.
    pub admin: Vec<IpNet>,
    /// Further networks let in, each for one purpose and with a comment that says why.
    pub allow: Vec<PolicyAllow>,
    /// Networks and P-Reps never let in by the validator list, whatever it says.
    pub deny: Vec<PolicyDeny>,
    /// Special-purpose ranges in which validators may live nevertheless: private chains, tests.
    pub special_ranges: Vec<IpNet>,
    /// Which addresses a validator is let in from.
    pub endpoints: EndpointSource,
    /// How many sources must name an entry; `None` is a majority of those configured.
    pub agree: Option<usize>,
    /// How many blocks a source may be away from the others for its answer to count; goloop makes one in two seconds.
    pub lag_blocks: u64,
    /// How far the time of a source's last block may be from the controller's clock, in seconds: beyond it the source's
    /// chain stands still, or one of the two clocks is wrong.
    pub max_clock_difference_seconds: u64,
    /// Most addresses that one P-Rep may have, however many its names resolve to.
    pub max_addresses_per_prep: usize,
    /// Most addresses that all P-Reps may have together.
    pub max_addresses: usize,
    /// How names of validators are looked up and how long answers stand.
    pub names: NamePolicy,
    /// How far the list may move the set.
    pub brakes: Brakes,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            grades: BTreeSet::from([Grade::Main, Grade::Sub]),
            ports: Ports::default(),
            public: PublicPorts::default(),
            limits: None,
            shield: Shield::Off,
            hidden: Vec::new(),
            sync: Vec::new(),
            grants_last_seconds: None,
            admin: Vec::new(),
            allow: Vec::new(),
            deny: Vec::new(),
            special_ranges: Vec::new(),
            endpoints: EndpointSource::default(),
            agree: None,
            lag_blocks: 30,
            max_clock_difference_seconds: 300,
            max_addresses_per_prep: 8,
            max_addresses: 2000,
            names: NamePolicy::default(),
            brakes: Brakes::default(),
        }
    }
}

/// Which addresses a validator is let in from: goloop dials the address a node advertises, which is not always the one
/// registered on chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndpointSource {
    /// The registered endpoint alone.
    #[default]
    Chain,
    /// What the operator's own nodes see it advertise, where they see it; else the registered endpoint.
    Advertised,
    /// Both.
    Both,
}

/// Guarded ports. Each is guarded for TCP and UDP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ports {
    /// Validator to validator; 7100 in the official node image (iconloop icon2-docker).
    pub p2p: BTreeSet<NonZeroU16>,
    /// JSON-RPC, by which nodes sync: 9000 in the official image, 9080 goloop's own default.
    pub rpc: BTreeSet<NonZeroU16>,
}

impl Default for Ports {
    fn default() -> Self {
        let ports = |list: &[u16]| list.iter().filter_map(|port| NonZeroU16::new(*port)).collect();
        Self { p2p: ports(&[7100]), rpc: ports(&[9000, 9080]) }
    }
}

/// Guarded TCP ports that strangers may reach within the limits for strangers, by the role of the host. A host opens one only
/// where its own guard allows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PublicPorts {
    /// On sentries.
    pub sentry: BTreeSet<NonZeroU16>,
    /// On validators.
    pub prep: BTreeSet<NonZeroU16>,
}

impl PublicPorts {
    /// Those of hosts of that role.
    pub const fn of(&self, role: NodeRole) -> &BTreeSet<NonZeroU16> {
        match role {
            NodeRole::Sentry => &self.sentry,
            NodeRole::Prep => &self.prep,
        }
    }
}

impl Policy {
    /// The deny lines in force at `now`.
    pub fn denies(&self, now: Timestamp) -> impl Iterator<Item = &PolicyDeny> {
        self.deny.iter().filter(move |line| line.until.is_none_or(|until| now < until))
    }

    /// The allow lines in force at `now`.
    pub fn allows(&self, now: Timestamp) -> impl Iterator<Item = &PolicyAllow> {
        self.allow.iter().filter(move |line| line.until.is_none_or(|until| now < until))
    }

    /// When the next allow or deny line after `now` ends by itself.
    pub fn next_end(&self, now: Timestamp) -> Option<Timestamp> {
        let ends = self.allow.iter().map(|line| line.until).chain(self.deny.iter().map(|line| line.until));
        ends.flatten().filter(|until| now < *until).min()
    }
}

/// How far the list may move the validator set, at once and within a window of time. Beyond it the last good set stays in force and an alarm says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Brakes {
    /// The window of time over which changes are counted together, in seconds: a slow bleed is a bleed.
    pub window_seconds: u64,
    /// Most validators that may leave, or change their endpoint, within the window.
    pub max_removed: usize,
    /// The same as a share of the set, in percent; one validator may always leave.
    pub max_removed_percent: usize,
    /// Most validators that may be new within the window. The first list of all is exempt.
    pub max_added: usize,
    /// Fewest validators of a believable list.
    pub min_size: usize,
    /// Most validators of a believable list: a flood of entries must not open the firewall to everybody.
    pub max_size: usize,
    /// How long a validator that is missing from the list is kept, in seconds.
    pub grace_seconds: u64,
    /// How long a validator that a penalty made a candidate is kept, in seconds; where it is longer than the other grace.
    pub penalty_grace_seconds: u64,
}

impl Brakes {
    /// How long a validator that is missing from the list is kept.
    pub const fn grace(&self) -> Duration {
        Duration::from_secs(self.grace_seconds)
    }

    /// How long a validator that a penalty made a candidate is kept.
    pub fn penalty_grace(&self) -> Duration {
        Duration::from_secs(self.penalty_grace_seconds.max(self.grace_seconds))
    }

    /// The window of time over which changes are counted together.
    pub const fn window(&self) -> Duration {
        Duration::from_secs(self.window_seconds)
    }
}

impl Default for Brakes {
    /// Mainnet has about 100 main and sub P-Reps, and about two of them change in a week; a tenth at once is no accident.
    fn default() -> Self {
        Self {
            window_seconds: 3600,
            max_removed: 10,
            max_removed_percent: 10,
            max_added: 20,
            min_size: 20,
            max_size: 500,
            grace_seconds: 0,
            penalty_grace_seconds: 0,
        }
    }
}
