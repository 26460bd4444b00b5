//! Calls that leave through the link though the main table would send them elsewhere: rules for destination ports, and a
//! table of our own. Values; the kernel's side of them is in `steering_netlink`.

use ipnet::IpNet;
use picket_model::network::{PRIVATE4, PRIVATE6};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    num::NonZeroU16,
};

/// Number of our table, which is also the priority of our rules: before the main table's, which has 32766.
pub(crate) const TABLE: u32 = 7100;

/// TCP calls to these ports, of this host and of what it forwards for, go into the link; nothing else does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steering {
    /// Destination ports.
    pub ports: BTreeSet<NonZeroU16>,
    /// Destinations; a whole family is everything of it that is not near. Near are the private ranges: a call to one of them goes
    /// where the main table says, unless the address is steered by itself.
    pub networks: BTreeSet<IpNet>,
    /// Largest packet that is sent into the link on any of its routes, the peers' own among them, where that is less than the
    /// link's own: what the ways carry is found by larger ones, which the link has to let through.
    pub mtu: Option<u16>,
}

/// A rule: TCP to this port asks our table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortRule {
    /// Whether it is about IPv6.
    pub v6: bool,
    /// Destination port.
    pub port: NonZeroU16,
}

/// What a route of our table does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SteeredRoute {
    /// Into the link.
    Into(IpNet),
    /// Back to the next rule, the main table's.
    Near(IpNet),
}

/// Rules and routes, wanted or found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SteeringState {
    /// Our rules.
    pub rules: BTreeSet<PortRule>,
    /// Routes of our table.
    pub routes: BTreeSet<SteeredRoute>,
    /// Routes into the link that have a largest packet of their own.
    pub mtus: BTreeMap<IpNet, u32>,
}

/// One step. Its text is one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SteeringChange {
    /// Take a rule away.
    RemoveRule(PortRule),
    /// Take a route away.
    RemoveRoute(SteeredRoute),
    /// Add a route.
    AddRoute(SteeredRoute),
    /// Give a route another largest packet, or the link's.
    SetMtu(SteeredRoute, Option<u16>),
    /// Add a rule.
    AddRule(PortRule),
}

impl Steering {
    /// The rules and routes that do this; none where there are no ports.
    pub fn wanted(&self) -> SteeringState {
        if self.ports.is_empty() {
            return SteeringState::default();
        }
        let near = PRIVATE4.map(IpNet::from).into_iter().chain(PRIVATE6.map(IpNet::from));
        let is_near = |network: &IpNet| near.clone().any(|near| near.contains(network));
        // What a whole family covers needs no route of its own.
        let covered = |network: &IpNet| {
            network.prefix_len() > 0
                && !is_near(network)
                && self.networks.iter().any(|wide| wide.prefix_len() == 0 && wide.contains(network))
        };
        let into = self.networks.iter().map(IpNet::trunc).filter(|network| !covered(network));
        let rules = |port: &NonZeroU16| [false, true].map(|v6| PortRule { v6, port: *port });
        let into: BTreeSet<IpNet> = into.collect();
        let mtus = self.mtu.map(|mtu| into.iter().map(|network| (*network, u32::from(mtu))).collect());
        SteeringState {
            rules: self.ports.iter().flat_map(rules).collect(),
            routes: into.into_iter().map(SteeredRoute::Into).chain(near.clone().map(SteeredRoute::Near)).collect(),
            mtus: mtus.unwrap_or_default(),
        }
    }
}

/// What makes the found rules and routes the wanted ones: no rule before its routes, no route taken away before the rules.
pub(crate) fn diff(wanted: &SteeringState, found: &SteeringState) -> Vec<SteeringChange> {
    let rules = |a: &SteeringState, b: &SteeringState| a.rules.difference(&b.rules).copied().collect::<Vec<_>>();
    let routes = |a: &SteeringState, b: &SteeringState| a.routes.difference(&b.routes).copied().collect::<Vec<_>>();
    // New routes come before old ones go: in between, no call finds neither.
    let changes = rules(found, wanted).into_iter().map(SteeringChange::RemoveRule);
    let changes = changes.chain(routes(wanted, found).into_iter().map(SteeringChange::AddRoute));
    let changes = changes.chain(routes(found, wanted).into_iter().map(SteeringChange::RemoveRoute));
    let other_mtu = wanted.routes.iter().filter_map(|route| match route {
        SteeredRoute::Into(network) => {
            let mtu = wanted.mtus.get(network);
            let set = mtu.and_then(|mtu| u16::try_from(*mtu).ok());
            // A route that comes anew has none yet.
            let had = found.mtus.get(network).filter(|_| found.routes.contains(route));
            (mtu != had).then_some(SteeringChange::SetMtu(*route, set))
        }
        SteeredRoute::Near(_) => None,
    });
    let changes = changes.chain(other_mtu.collect::<Vec<_>>());
    changes.chain(rules(wanted, found).into_iter().map(SteeringChange::AddRule)).collect()
}

impl fmt::Display for PortRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule for tcp port {} over {}", self.port, if self.v6 { "IPv6" } else { "IPv4" })
    }
}

impl fmt::Display for SteeredRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Into(network) => write!(f, "route {network} in table {TABLE}"),
            Self::Near(network) => write!(f, "exception {network} in table {TABLE}"),
        }
    }
}

impl fmt::Display for SteeringChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RemoveRule(rule) => write!(f, "remove {rule}"),
            Self::RemoveRoute(route) => write!(f, "remove {route}"),
            Self::AddRoute(route) => write!(f, "add {route}"),
            Self::SetMtu(route, Some(mtu)) => write!(f, "set mtu {mtu} of {route}"),
            Self::SetMtu(route, None) => write!(f, "take mtu off {route}"),
            Self::AddRule(rule) => write!(f, "add {rule}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn steering(ports: &[u16], networks: &[&str]) -> Steering {
        Steering {
            ports: ports.iter().map(|port| NonZeroU16::new(*port).unwrap()).collect(),
            networks: networks.iter().map(|text| text.parse().unwrap()).collect(),
            mtu: None,
        }
    }

    #[test]
    fn without_ports_nothing_is_steered() {
        assert_eq!(steering(&[], &["0.0.0.0/0"]).wanted(), SteeringState::default());
    }

    #[test]
    fn a_validator_has_a_route_of_its_own_only_where_the_family_does_not_cover_it() {
        let networks = ["0.0.0.0/0", "192.0.2.7/32", "10.0.0.7/32", "2001:db8::7/128"];
        let wanted = steering(&[7100], &networks).wanted();
        let into: Vec<String> = wanted
            .routes
            .iter()
            .filter_map(|route| match route {
                SteeredRoute::Into(network) => Some(network.to_string()),
                SteeredRoute::Near(_) => None,
            })
            .collect();
        assert_eq!(into, ["0.0.0.0/0", "10.0.0.7/32", "2001:db8::7/128"]);
        assert_eq!((wanted.rules.len(), wanted.routes.len()), (2, 3 + 7));
    }

    #[test]
    fn changes_read_as_lines_and_keep_their_order() {
        let (wanted, found) =
            (steering(&[7100], &["10.0.0.7/32"]).wanted(), steering(&[9000], &["10.0.0.8/32"]).wanted());
        let lines: Vec<String> = diff(&wanted, &found).iter().map(SteeringChange::to_string).collect();
        let expect = [
            "remove rule for tcp port 9000 over IPv4",
            "remove rule for tcp port 9000 over IPv6",
            "add route 10.0.0.7/32 in table 7100",
            "remove route 10.0.0.8/32 in table 7100",
            "add rule for tcp port 7100 over IPv4",
            "add rule for tcp port 7100 over IPv6",
        ];
        assert_eq!(lines, expect);
    }

    fn some() -> impl Strategy<Value = Steering> {
        let ports = proptest::collection::btree_set((1..6_u16).prop_map(|port| NonZeroU16::new(port).unwrap()), 0..4);
        let networks =
            proptest::collection::btree_set((0..6_u8).prop_map(|n| format!("10.{n}.0.0/16").parse().unwrap()), 0..4);
        let mtu = proptest::option::of(1280..1420_u16);
        (ports, networks, mtu).prop_map(|(ports, networks, mtu)| Steering { ports, networks, mtu })
    }

    proptest! {
        #[test]
        fn what_is_applied_is_what_is_wanted(wanted in some(), had in some()) {
            let (wanted, mut state) = (wanted.wanted(), had.wanted());
            for change in diff(&wanted, &state) {
                match change {
                    SteeringChange::RemoveRule(rule) => prop_assert!(state.rules.remove(&rule)),
                    SteeringChange::RemoveRoute(route) => {
                        prop_assert!(state.routes.remove(&route));
                        if let SteeredRoute::Into(network) = route {
                            state.mtus.remove(&network);
                        }
                    }
                    SteeringChange::SetMtu(route, mtu) => {
                        prop_assert!(state.routes.contains(&route));
                        let SteeredRoute::Into(network) = route else { panic!("{route}") };
                        match mtu {
                            Some(mtu) => drop(state.mtus.insert(network, mtu.into())),
                            None => drop(state.mtus.remove(&network)),
                        }
                    }
                    SteeringChange::AddRoute(route) => prop_assert!(state.routes.insert(route)),
                    SteeringChange::AddRule(rule) => prop_assert!(state.rules.insert(rule)),
                }
            }
            prop_assert_eq!(diff(&wanted, &state), vec![]);
            prop_assert_eq!(state, wanted);
        }
    }
}
