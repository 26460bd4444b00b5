//! Rules and routes of our own table over rtnetlink. Ours are those with our protocol number.

use super::{
    netlink::{Links, ROUTE_PROTOCOL, io_error, route_mtu, with_mtu},
    steering::{PortRule, SteeredRoute, SteeringChange, SteeringState, TABLE},
};
use crate::error::Error;
use futures_util::TryStreamExt as _;
use ipnet::IpNet;
use rtnetlink::{
    IpVersion, RouteMessageBuilder,
    packet_route::{
        AddressFamily, IpProtocol,
        route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteType},
        rule::{RuleAction, RuleAttribute, RuleMessage, RulePortRange},
    },
};
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU16,
};

const OURS: RouteProtocol = RouteProtocol::Other(ROUTE_PROTOCOL);

impl Links {
    /// Our rules, and the routes of our table that are of our making. Routes into a link that is gone are gone with it.
    pub(crate) async fn steering(&self, index: u32) -> Result<SteeringState, Error> {
        let mut state = SteeringState::default();
        for version in [IpVersion::V4, IpVersion::V6] {
            let rules = self.handle().rule().get(version).execute().try_collect::<Vec<RuleMessage>>().await;
            match rules.map_err(io_error) {
                Ok(rules) => state.rules.extend(rules.iter().filter_map(our_rule)),
                // A host without IPv6.
                Err(error) if error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT) => {}
                Err(error) => return Err(Error::kernel("read routing rules", error)),
            }
        }
        for message in self.routes().await? {
            let Some(route) = our_route(&message, index) else { continue };
            state.routes.insert(route);
            if let (SteeredRoute::Into(network), Some(mtu)) = (route, route_mtu(&message)) {
                state.mtus.insert(network, mtu);
            }
        }
        Ok(state)
    }

    /// Makes one change.
    pub(crate) async fn steer(
        &self,
        index: u32,
        addresses: &BTreeSet<IpNet>,
        change: SteeringChange,
    ) -> Result<(), Error> {
        let handle = self.handle();
        let done = match change {
            SteeringChange::RemoveRule(rule) => handle.rule().del(message(rule)).execute().await,
            SteeringChange::AddRule(rule) => {
                let mut request = handle.rule().add();
                *request.message_mut() = message(rule);
                request.execute().await
            }
            SteeringChange::RemoveRoute(of) => handle.route().del(route(of, index, addresses)).execute().await,
            SteeringChange::SetMtu(of, mtu) => {
                handle.route().add(with_mtu(route(of, index, addresses), mtu)).replace().execute().await
            }
            SteeringChange::AddRoute(of) => handle.route().add(route(of, index, addresses)).execute().await,
        };
        done.map_err(|error| Error::kernel(change.to_string(), io_error(error)))
    }
}

fn message(rule: PortRule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = if rule.v6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
    message.header.action = RuleAction::ToTable;
    let port = rule.port.get();
    message.attributes = vec![
        RuleAttribute::Table(TABLE),
        RuleAttribute::Priority(TABLE),
        RuleAttribute::Protocol(OURS),
        RuleAttribute::IpProtocol(IpProtocol::Tcp),
        RuleAttribute::DestinationPortRange(RulePortRange { start: port, end: port }),
    ];
    message
}

/// The rule that a message speaks of, if it is of our making. One of ours that somebody changed is not read as a rule, and so
/// is made anew.
fn our_rule(found: &RuleMessage) -> Option<PortRule> {
    let port = found.attributes.iter().find_map(|attribute| match attribute {
        RuleAttribute::DestinationPortRange(range) if range.start == range.end => NonZeroU16::new(range.start),
        _ => None,
    })?;
    let rule = PortRule { v6: found.header.family == AddressFamily::Inet6, port };
    let wanted = message(rule);
    let is_ours = wanted.attributes.iter().all(|attribute| found.attributes.contains(attribute))
        && found.header.action == RuleAction::ToTable;
    is_ours.then_some(rule)
}

fn route(of: SteeredRoute, index: u32, addresses: &BTreeSet<IpNet>) -> RouteMessage {
    let source4 = addresses.iter().find_map(|net| if let IpNet::V4(net) = net { Some(net.addr()) } else { None });
    let source6 = addresses.iter().find_map(|net| if let IpNet::V6(net) = net { Some(net.addr()) } else { None });
    let (network, kind) = match of {
        SteeredRoute::Into(network) => (network, RouteType::Unicast),
        SteeredRoute::Near(network) => (network, RouteType::Throw),
    };
    let into = kind == RouteType::Unicast;
    match network {
        IpNet::V4(net) => {
            let route = RouteMessageBuilder::<Ipv4Addr>::new().table_id(TABLE).protocol(OURS).kind(kind);
            let mut route = route.destination_prefix(net.addr(), net.prefix_len());
            if into {
                route = route.output_interface(index);
                // The one address that answers come back to, whichever sentry they come through.
                route = source4.into_iter().fold(route, RouteMessageBuilder::<Ipv4Addr>::pref_source);
            }
            route.build()
        }
        IpNet::V6(net) => {
            let route = RouteMessageBuilder::<Ipv6Addr>::new().table_id(TABLE).protocol(OURS).kind(kind);
            let mut route = route.destination_prefix(net.addr(), net.prefix_len());
            if into {
                route = route.output_interface(index);
                route = source6.into_iter().fold(route, RouteMessageBuilder::<Ipv6Addr>::pref_source);
            }
            route.build()
        }
    }
}

fn our_route(found: &RouteMessage, index: u32) -> Option<SteeredRoute> {
    if found.header.protocol != OURS || !found.attributes.contains(&RouteAttribute::Table(TABLE)) {
        return None;
    }
    let destination = found.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
        RouteAttribute::Destination(RouteAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
        _ => None,
    });
    // A whole family has no destination.
    let any = || match found.header.address_family {
        AddressFamily::Inet => Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        AddressFamily::Inet6 => Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        _ => None,
    };
    let network = IpNet::new(destination.or_else(any)?, found.header.destination_prefix_length).ok()?;
    match found.header.kind {
        RouteType::Throw => Some(SteeredRoute::Near(network)),
        RouteType::Unicast if found.attributes.contains(&RouteAttribute::Oif(index)) => {
            Some(SteeredRoute::Into(network))
        }
        _ => None,
    }
}
