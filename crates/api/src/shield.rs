//! The shield on the wire: what is ordered, what each host has of it and what it stops. `GET` and `POST /v1/shield`.

use picket_model::{Defences, Generation, NodeId, NodeName, Shield, ShieldOrder, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What may be ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ShieldWish {
    /// Limits are tight.
    On,
    /// They are as they are, whatever comes.
    Off,
    /// The host tightens them while it is attacked.
    Auto,
    /// As the policy has it: ends orders.
    Policy,
}

/// Body of `POST /v1/shield`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderShield {
    /// What.
    pub shield: ShieldWish,
    /// For which hosts, by name or id; all where empty, which ends orders about single ones.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    pub hosts: Vec<String>,
    /// Ends by itself after so many seconds. Where absent `on` lasts an hour, and the others until the next order.
    #[serde(default)]
    #[schemars(range(min = 1, max = 2_592_000))]
    pub seconds: Option<u64>,
}

/// How the shield stands, everywhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShieldView {
    /// The controller's clock.
    pub now: Timestamp,
    /// The wanted state by now.
    pub generation: Generation,
    /// What the policy says.
    pub policy: Shield,
    /// The order for all hosts, if there is one.
    pub all: Option<ShieldOrder>,
    /// Members that have an agent, in order of name; those that were named, where an order names hosts.
    pub hosts: Vec<HostShield>,
    /// Why the plan that would bring an order to the hosts is not in force, if so.
    #[serde(default)]
    pub refused: Vec<String>,
}

/// How the shield of one host stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostShield {
    /// The host.
    pub node: NodeId,
    /// Its name.
    pub name: NodeName,
    /// What is wanted of it, by order or policy.
    pub wanted: Shield,
    /// The order that it is under, its own or that for all; `None` where it is the policy.
    pub order: Option<ShieldOrder>,
    /// Whether it reads back exactly what is wanted of it.
    pub in_force: bool,
    /// How it defends itself, by its last report; `None` where it does not say.
    pub defences: Option<Defences>,
    /// When that report came.
    pub reported_at: Option<Timestamp>,
}
