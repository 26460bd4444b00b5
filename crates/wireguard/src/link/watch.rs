//! Hears at once when something is taken from what is around a device: its link, addresses, routes, steering rules. What is heard is
//! a reason to look and nothing else; what one did oneself is heard too.

use super::netlink::ROUTE_PROTOCOL;
use crate::error::Error;
use futures_util::StreamExt as _;
use nix::net::if_::if_nametoindex;
use rtnetlink::{
    MulticastGroup, new_multicast_connection,
    packet_core::NetlinkPayload,
    packet_route::{
        RouteNetlinkMessage,
        link::{LinkAttribute, LinkFlags, LinkMessage},
        route::{RouteAttribute, RouteProtocol},
        rule::RuleAttribute,
    },
};
use std::{fmt, pin::Pin};
use tokio::task::JoinHandle;

const GROUPS: [MulticastGroup; 7] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
];
const OURS: RouteProtocol = RouteProtocol::Other(ROUTE_PROTOCOL);

/// What is heard around one device, in the network namespace it was opened in.
pub struct Watch {
    place: Place,
    /// `None` is what could not be heard.
    heard: Pin<Box<dyn futures_util::Stream<Item = Option<RouteNetlinkMessage>> + Send>>,
    connection: JoinHandle<()>,
}

impl Watch {
    /// Begins to listen for what is around the device of that name, whether it is there yet or not. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Kernel`] if the kernel lets nobody listen.
    pub fn open(name: &str) -> Result<Self, Error> {
        let opened = new_multicast_connection(&GROUPS);
        let (connection, _, messages) = opened.map_err(|error| Error::kernel("listen to rtnetlink", error))?;
        let heard = messages.filter_map(|(message, _)| async {
            match message.payload {
                NetlinkPayload::InnerMessage(message) => Some(Some(message)),
                NetlinkPayload::Overrun(_) => Some(None),
                _ => None,
            }
        });
        let index = if_nametoindex(name).ok();
        Ok(Self {
            place: Place { name: name.to_owned(), index, stands: None },
            heard: Box::pin(heard),
            connection: tokio::spawn(connection),
        })
    }

    /// Waits until something is missing; `None` when there is nothing more to hear. May be dropped at any time.
    pub async fn missing(&mut self) -> Option<Missing> {
        loop {
            let missing = match self.heard.next().await? {
                Some(message) => self.place.missing(&message),
                None => Some(Missing::Unheard),
            };
            if missing.is_some() {
                return missing;
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("place", &self.place).finish_non_exhaustive()
    }
}

/// What is not as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The link is gone.
    Link,
    /// The link was set down.
    Up,
    /// The link has another MTU.
    Mtu,
    /// One of its addresses is gone.
    Address,
    /// One of our routes into it is gone.
    Route,
    /// One of our steering rules is gone.
    Rule,
    /// More happened than could be heard.
    Unheard,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Link => "the interface was removed",
            Self::Up => "the interface was set down",
            Self::Mtu => "the interface's MTU was changed",
            Self::Address => "an address was removed",
            Self::Route => "a route was removed",
            Self::Rule => "a routing rule was removed",
            Self::Unheard => "more happened than could be heard",
        })
    }
}

/// The link as it was heard of last.
#[derive(Debug)]
struct Place {
    name: String,
    index: Option<u32>,
    /// Whether it is up, and its MTU.
    stands: Option<(bool, u32)>,
}

impl Place {
    /// What a message says is missing. Pure but for what it remembers of the link.
    fn missing(&mut self, message: &RouteNetlinkMessage) -> Option<Missing> {
        match message {
            RouteNetlinkMessage::NewLink(link) if name(link) == Some(&self.name) => {
                let now = (link.header.flags.contains(LinkFlags::Up), mtu(link));
                self.index = Some(link.header.index);
                match self.stands.replace(now) {
                    Some((true, _)) if !now.0 => Some(Missing::Up),
                    Some((true, before)) if before != now.1 => Some(Missing::Mtu),
                    _ => None,
                }
            }
            RouteNetlinkMessage::DelLink(link) if name(link) == Some(&self.name) => {
                (self.index, self.stands) = (None, None);
                Some(Missing::Link)
            }
            RouteNetlinkMessage::DelAddress(address) => {
                (Some(address.header.index) == self.index).then_some(Missing::Address)
            }
            RouteNetlinkMessage::DelRoute(route) => {
                let into = route.attributes.iter().find_map(|attribute| match attribute {
                    RouteAttribute::Oif(index) => Some(*index),
                    _ => None,
                });
                (route.header.protocol == OURS && into.is_some() && into == self.index).then_some(Missing::Route)
            }
            RouteNetlinkMessage::DelRule(rule) => {
                rule.attributes.contains(&RuleAttribute::Protocol(OURS)).then_some(Missing::Rule)
            }
            _ => None,
        }
    }
}

fn name(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

fn mtu(link: &LinkMessage) -> u32 {
    let mtu = |attribute: &LinkAttribute| if let LinkAttribute::Mtu(mtu) = attribute { Some(*mtu) } else { None };
    link.attributes.iter().find_map(mtu).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtnetlink::packet_route::{address::AddressMessage, route::RouteMessage, rule::RuleMessage};

    fn link(name: &str, index: u32, is_up: bool, mtu: u32) -> LinkMessage {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.header.flags = if is_up { LinkFlags::Up } else { LinkFlags::empty() };
        link.attributes = vec![LinkAttribute::IfName(name.to_owned()), LinkAttribute::Mtu(mtu)];
        link
    }

    fn address(index: u32) -> RouteNetlinkMessage {
        let mut address = AddressMessage::default();
        address.header.index = index;
        RouteNetlinkMessage::DelAddress(address)
    }

    fn route(index: u32, protocol: RouteProtocol) -> RouteNetlinkMessage {
        let mut route = RouteMessage::default();
        route.header.protocol = protocol;
        route.attributes.push(RouteAttribute::Oif(index));
        RouteNetlinkMessage::DelRoute(route)
    }

    fn rule(protocol: RouteProtocol) -> RouteNetlinkMessage {
        let mut rule = RuleMessage::default();
        rule.attributes.push(RuleAttribute::Protocol(protocol));
        RouteNetlinkMessage::DelRule(rule)
    }

    #[test]
    fn what_is_taken_from_our_link_is_missing_and_what_is_taken_from_others_is_not() {
        use RouteNetlinkMessage::{DelLink, NewLink};
        let mut place = Place { name: "picket0".to_owned(), index: None, stands: None };
        let mut says = |message: &RouteNetlinkMessage| place.missing(message);
        // Made and set up, as we do it ourselves.
        for (is_up, mtu) in [(false, 1500), (false, 1420), (true, 1420), (true, 1420)] {
            assert_eq!(says(&NewLink(link("picket0", 7, is_up, mtu))), None, "{is_up} {mtu}");
        }
        for other in [NewLink(link("eth0", 2, false, 9000)), DelLink(link("eth0", 2, false, 9000)), address(2)] {
            assert_eq!(says(&other), None, "{other:?}");
        }
        for other in [route(2, OURS), route(7, RouteProtocol::Static), rule(RouteProtocol::Static)] {
            assert_eq!(says(&other), None, "{other:?}");
        }
        assert_eq!(says(&address(7)), Some(Missing::Address));
        assert_eq!(says(&route(7, OURS)), Some(Missing::Route));
        assert_eq!(says(&rule(OURS)), Some(Missing::Rule));
        assert_eq!(says(&NewLink(link("picket0", 7, true, 1280))), Some(Missing::Mtu));
        assert_eq!(says(&NewLink(link("picket0", 7, false, 1280))), Some(Missing::Up));
        assert_eq!(says(&DelLink(link("picket0", 7, false, 1280))), Some(Missing::Link));
        // Its number may be another's by now.
        assert_eq!(says(&address(7)), None);
    }
}
