//! Links, addresses and routes over rtnetlink. Touches one link by its name and what hangs on it, nothing else.

use super::{LinkChange, LinkState};
use crate::error::Error;
use futures_util::TryStreamExt as _;
use ipnet::IpNet;
use rtnetlink::{
    AddressMessageBuilder, Handle, LinkUnspec, LinkWireguard, RouteMessageBuilder,
    packet_route::{
        address::{AddressAttribute, AddressHeaderFlags, AddressMessage},
        link::{AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
        route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol, RouteScope},
    },
};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Our mark on routes, so that others' are never taken for ours: a protocol number that neither the kernel
/// (`linux/rtnetlink.h`) nor iproute2's `rt_protos` gives to anybody.
pub(super) const ROUTE_PROTOCOL: u8 = 112;

/// Our mark on links, so that others' are never taken for ours: their alias, which `ip link` shows.
const ALIAS: &str = "picket";

/// A connection to the kernel's links in the network namespace it was opened in.
#[derive(Clone, Debug)]
pub(crate) struct Links(Handle);

/// A link that exists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) kind: Option<InfoKind>,
    /// Whether it bears our mark.
    pub(crate) marked: bool,
    pub(crate) mtu: u32,
    pub(crate) up: bool,
}

impl Links {
    /// Opens the connection. Needs a tokio runtime.
    pub(crate) fn open() -> Result<Self, Error> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(|e| Error::kernel("open rtnetlink", e))?;
        tokio::spawn(connection);
        Ok(Self(handle))
    }

    /// The link of that name, if there is one.
    pub(crate) async fn find(&self, name: &str) -> Result<Option<Link>, Error> {
        match self.0.link().get().match_name(name).execute().try_next().await.map_err(io_error) {
            Ok(message) => Ok(message.map(link)),
            Err(error) if error.raw_os_error() == Some(nix::libc::ENODEV) => Ok(None),
            Err(error) => Err(Error::kernel(format!("look for link {name}"), error)),
        }
    }

    /// Makes a link of kind wireguard. The error is the kernel's own, for the caller to tell "no module" from the rest.
    pub(crate) async fn add_wireguard(&self, name: &str) -> io::Result<()> {
        self.0.link().add(LinkWireguard::new(name).build()).execute().await.map_err(io_error)
    }

    /// Puts our mark on a link. The kernel takes no alias with the message that makes it.
    pub(crate) async fn mark(&self, index: u32) -> Result<(), Error> {
        let alias = LinkAttribute::IfAlias(ALIAS.to_owned());
        let message = LinkUnspec::new_with_index(index).append_extra_attribute(alias).build();
        self.0.link().set(message).execute().await.map_err(|e| Error::kernel("mark link as ours", io_error(e)))
    }

    /// Takes a link away.
    pub(crate) async fn remove(&self, index: u32) -> Result<(), Error> {
        self.0.link().del(index).execute().await.map_err(|e| Error::kernel("remove link", io_error(e)))
    }

    /// Keeps the kernel from giving the link an IPv6 link-local address and speaking from it.
    pub(crate) async fn without_link_local(&self, index: u32) -> Result<(), Error> {
        let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
        let spec = LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])]);
        let message = LinkUnspec::new_with_index(index).append_extra_attribute(spec).build();
        match self.0.link().set(message).execute().await.map_err(io_error) {
            Ok(()) => Ok(()),
            // A host without IPv6.
            Err(error) if error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT) => Ok(()),
            Err(error) => Err(Error::kernel("switch off link-local addresses", error)),
        }
    }

    /// Has the host hand over at most so many bytes at once. What a kernel does not take it does without.
    pub(crate) async fn hand_over_at_most(&self, index: u32, bytes: u32) {
        let message =
            LinkUnspec::new_with_index(index).append_extra_attribute(LinkAttribute::GsoMaxSize(bytes)).build();
        if let Err(error) = self.0.link().set(message).execute().await.map_err(io_error) {
            tracing::debug!(%error, bytes, "the size of what the host hands over stays");
        }
    }

    /// The link with all that hangs on it and is ours.
    pub(crate) async fn observe(&self, link: &Link) -> Result<LinkState, Error> {
        let addresses = self.0.address().get().set_link_index_filter(link.index).execute();
        let addresses: Vec<AddressMessage> =
            addresses.try_collect().await.map_err(|e| Error::kernel("read addresses", io_error(e)))?;
        let routes = self.routes().await?;
        Ok(LinkState {
            mtu: link.mtu,
            up: link.up,
            addresses: addresses.iter().filter_map(address).collect(),
            routes: routes.iter().filter_map(|message| our_route(message, link.index)).collect(),
            mtus: routes
                .iter()
                .filter_map(|message| Some((our_route(message, link.index)?, route_mtu(message)?)))
                .collect(),
        })
    }

    /// Routes of all tables.
    pub(super) async fn routes(&self) -> Result<Vec<RouteMessage>, Error> {
        let mut routes = Vec::new();
        for family in [RouteMessageBuilder::<Ipv4Addr>::new().build(), RouteMessageBuilder::<Ipv6Addr>::new().build()] {
            let found = self.0.route().get(family).execute().try_collect::<Vec<RouteMessage>>().await;
            routes.extend(found.map_err(|e| Error::kernel("read routes", io_error(e)))?);
        }
        Ok(routes)
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.0
    }

    /// Makes one change.
    pub(crate) async fn apply(&self, index: u32, change: &LinkChange) -> Result<(), Error> {
        let handle = &self.0;
        let done = match change {
            LinkChange::RemoveRoute(network) => handle.route().del(route(*network, index)).execute().await,
            LinkChange::RemoveAddress(address) => {
                handle.address().del(address_message(*address, index)).execute().await
            }
            LinkChange::SetMtu(mtu) => {
                let message = LinkUnspec::new_with_index(index).mtu(u32::from(*mtu)).build();
                handle.link().set(message).execute().await
            }
            LinkChange::AddAddress(net) => {
                let mut request = handle.address().add(index, net.addr(), net.prefix_len());
                // Nobody else on a tunnel can have it, and until the kernel has made sure no route may name it as its source.
                request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
                request.execute().await
            }
            LinkChange::Up => handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await,
            LinkChange::AddRoute(network) => handle.route().add(route(*network, index)).execute().await,
            LinkChange::SetRouteMtu(network, mtu) => {
                handle.route().add(with_mtu(route(*network, index), *mtu)).replace().execute().await
            }
        };
        done.map_err(|error| match (change, io_error(error)) {
            // Not EPERM, which is about the caller (`inet6_addr_add` in `net/ipv6/addrconf.c`).
            (LinkChange::AddAddress(IpNet::V6(_)), error) if error.raw_os_error() == Some(nix::libc::EACCES) => {
                Error::NoIpv6 { action: change.to_string() }
            }
            (_, error) => Error::kernel(change.to_string(), error),
        })
    }
}

fn link(message: LinkMessage) -> Link {
    let up = message.header.flags.contains(LinkFlags::Up);
    let mut found = Link { index: message.header.index, up, ..Link::default() };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::Mtu(mtu) => found.mtu = mtu,
            LinkAttribute::IfAlias(alias) => found.marked = alias == ALIAS,
            LinkAttribute::LinkInfo(infos) => {
                found.kind = infos.into_iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    found
}

/// An address with its prefix, but for link-local ones.
fn address(message: &AddressMessage) -> Option<IpNet> {
    // On a link with a peer address, `Local` is ours and `Address` is the peer's.
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let address = local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })?;
    let link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    if link_local { None } else { IpNet::new(address, message.header.prefix_len).ok() }
}

fn address_message(net: IpNet, index: u32) -> AddressMessage {
    match net {
        IpNet::V4(net) => {
            AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(net.addr(), net.prefix_len()).build()
        }
        IpNet::V6(net) => {
            AddressMessageBuilder::<Ipv6Addr>::new().index(index).address(net.addr(), net.prefix_len()).build()
        }
    }
}

fn route(network: IpNet, index: u32) -> RouteMessage {
    let protocol = RouteProtocol::Other(ROUTE_PROTOCOL);
    match network {
        IpNet::V4(net) => RouteMessageBuilder::<Ipv4Addr>::new()
            .protocol(protocol)
            .output_interface(index)
            .scope(RouteScope::Link)
            .destination_prefix(net.addr(), net.prefix_len())
            .build(),
        IpNet::V6(net) => RouteMessageBuilder::<Ipv6Addr>::new()
            .protocol(protocol)
            .output_interface(index)
            .destination_prefix(net.addr(), net.prefix_len())
            .build(),
    }
}

/// The route with a largest packet of its own, or without.
pub(super) fn with_mtu(mut message: RouteMessage, mtu: Option<u16>) -> RouteMessage {
    if let Some(mtu) = mtu {
        message.attributes.push(RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu.into())]));
    }
    message
}

/// The largest packet of a route that has one of its own.
pub(super) fn route_mtu(message: &RouteMessage) -> Option<u32> {
    let metrics = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Metrics(metrics) => Some(metrics),
        _ => None,
    })?;
    metrics.iter().find_map(|metric| match metric {
        RouteMetric::Mtu(mtu) => Some(*mtu),
        _ => None,
    })
}

/// The destination of a route that is ours.
fn our_route(message: &RouteMessage, index: u32) -> Option<IpNet> {
    let header = &message.header;
    let ours = header.protocol == RouteProtocol::Other(ROUTE_PROTOCOL) && header.table == RouteHeader::RT_TABLE_MAIN;
    if !ours || !message.attributes.contains(&RouteAttribute::Oif(index)) {
        return None;
    }
    let destination = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
        RouteAttribute::Destination(RouteAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
        _ => None,
    })?;
    IpNet::new(destination, header.destination_prefix_length).ok()
}

pub(super) fn io_error(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}
