//! The reverse proxy in front of a node's JSON-RPC. What passes is written anew from what was understood of it: chosen paths,
//! from chosen callers, within limits. Who gets as far as the port is the firewall's business, and which ports there are the
//! agent's.

mod answer;
mod body;
mod counts;
mod cut;
mod limits;
mod listen;
mod path;
mod relay;
mod stalled;
mod upstream;

pub use counts::{Counts, Outcome};
pub use limits::Limits;
pub use listen::{ListenError, Listener};
pub use path::{Admitted, Rules, Stream, admit};

use ipnet::IpNet;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
};

/// One port, wanted whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    /// The port.
    pub port: NonZeroU16,
    /// Addresses to listen at; every one where there are none.
    pub addresses: BTreeSet<IpAddr>,
    /// Whom it serves; nobody else gets more than a refusal.
    pub callers: BTreeSet<IpNet>,
    /// The node.
    pub node: SocketAddr,
    /// What of the node's HTTP passes.
    pub rules: Rules,
}

impl Door {
    /// Whether this one may become that one with its connections as they are: nothing is otherwise but that it serves more callers.
    fn grows_into(&self, wanted: &Self) -> bool {
        let Self { port, addresses, callers, node, rules } = self;
        (port, addresses, node, rules) == (&wanted.port, &wanted.addresses, &wanted.node, &wanted.rules)
            && callers.is_subset(&wanted.callers)
    }
}

/// All doors of a host. Each lives as long as it is wanted as it is, or for more callers: dropped or changed otherwise, its
/// connections are cut.
#[derive(Debug, Default)]
pub struct Gateway {
    limits: Limits,
    open: BTreeMap<NonZeroU16, (Door, Result<Listener, String>)>,
}

/// How a door stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stands {
    /// Why it cannot be opened, where it cannot.
    pub error: Option<String>,
    /// Requests by what became of them.
    pub requests: BTreeMap<String, u64>,
}

impl Gateway {
    /// With other limits than the usual ones.
    pub fn with_limits(limits: Limits) -> Self {
        Self { limits, open: BTreeMap::new() }
    }

    /// Opens and closes until exactly these doors are open. What could not be opened before is tried again. A door that is not
    /// wanted any more, or is wanted otherwise, is closed with all that goes through it before anything is opened.
    pub async fn follow(&mut self, wanted: &[Door]) {
        self.close_all_but(wanted).await;
        for door in wanted {
            if let Some((stands, Ok(listener))) = self.open.get_mut(&door.port) {
                if stands != door {
                    listener.serve(door.callers.clone());
                    stands.clone_from(door);
                }
                continue;
            }
            let open = Listener::open(door, self.limits).await.map_err(|error| error.to_string());
            self.open.insert(door.port, (door.clone(), open));
        }
    }

    /// Closes every door but these, and those that serve fewer callers than is wanted: whoever is to be served as well waits for
    /// [`Self::follow`].
    pub async fn close_all_but(&mut self, wanted: &[Door]) {
        let unwanted = self
            .open
            .extract_if(.., |_, (door, open)| open.is_err() || !wanted.iter().any(|wanted| door.grows_into(wanted)));
        for listener in unwanted.filter_map(|(_, (_, open))| open.ok()).collect::<Vec<_>>() {
            listener.close().await;
        }
    }

    /// How each door stands.
    pub fn stands(&self) -> BTreeMap<NonZeroU16, Stands> {
        let stands = |open: &Result<Listener, String>| match open {
            Ok(listener) => Stands { error: None, requests: listener.counts().read() },
            Err(error) => Stands { error: Some(error.clone()), requests: BTreeMap::new() },
        };
        self.open.iter().map(|(port, (_, open))| (*port, stands(open))).collect()
    }
}

#[cfg(test)]
mod tests;
