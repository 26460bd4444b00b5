//! Hosts and how they come to join: nodes, join tokens, keys without an agent, identities.

use super::parse::{parse_lease, parse_ttl};
use clap::{Args, Subcommand};
use ipnet::IpNet;
use picket_model::{NamePattern, NodeId, NodeName, NodeRole, PoolName, TokenId};
use std::{net::SocketAddr, time::Duration};

#[derive(Debug, Default, PartialEq, Eq, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Nodes {
    /// Only the hosts of this pool
    #[arg(long)]
    pub(crate) pool: Option<PoolName>,
    #[command(subcommand)]
    pub(crate) verb: Option<NodesVerb>,
}

#[derive(Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum NodesVerb {
    /// Say that you have looked at a host of which a copy came to join: its alarm ends
    Clear {
        /// Its name or id
        node: NodeId,
    },
}

#[derive(Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum TokenVerb {
    /// Make a join token: alone on stdout, how to use it on stderr
    Create {
        /// The only role it admits: sentry or prep
        #[arg(long)]
        role: NodeRole,
        /// How long it is good for, e.g. 90s, 15m, 1h30m
        #[arg(long, visible_alias = "expires", default_value = "1h", value_parser = parse_ttl)]
        ttl: Duration,
        /// How many hosts may enrol with it
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        uses: u32,
        /// The pool they are to be in, a name for hosts that are brought up alike
        #[arg(long)]
        pool: Option<PoolName>,
        /// Which names they may have, * standing for anything, e.g. 'sentry-*'
        #[arg(long, value_name = "PATTERN")]
        name: Option<NamePattern>,
        /// Network in which they must be seen; may be given several times
        #[arg(long, value_name = "NETWORK")]
        from: Vec<IpNet>,
        /// How long they are members without being heard, e.g. 10m, or `none` for ever; their role's own unless you say
        /// otherwise
        #[arg(long, value_name = "TIME", value_parser = parse_lease)]
        lease: Option<Duration>,
        /// What it is for, for people
        #[arg(long, default_value = "")]
        comment: String,
    },
    /// Join tokens as they are kept, oldest first
    List,
    /// Make a join token useless; hosts that joined by it stay
    Revoke {
        /// Its id, as `picket token list` names it
        id: TokenId,
    },
}

#[derive(Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum KeysVerb {
    /// Make a key here, enter its public half, and print a wg-quick configuration: the private key is in it and nowhere else
    Issue {
        /// What the machine is called
        #[arg(long)]
        name: NodeName,
        /// Its part: sentry or prep
        #[arg(long)]
        role: NodeRole,
        /// Where it is dialled, IP:PORT; needed for a sentry
        #[arg(long, value_name = "IP:PORT")]
        endpoint: Option<SocketAddr>,
        /// Take the place of the machine without an agent that has this name, and revoke that one: its private key is lost
        #[arg(long)]
        replace: bool,
    },
    /// Ask a host to replace its WireGuard key by one that it makes itself: in use once every peer knows it, tunnels go on
    Rotate {
        /// Its name or id
        node: NodeId,
        /// How long to wait until the new key is in use, e.g. 30s
        #[arg(long, value_name = "TIME", value_parser = parse_ttl)]
        wait: Option<Duration>,
    },
}

#[derive(Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct Identities {
    #[command(subcommand)]
    pub(crate) verb: Option<IdentitiesVerb>,
}

#[derive(Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum IdentitiesVerb {
    /// Let it join anew, with other keys: an instance that lost its disk. Its old host stays until it is revoked
    Forget {
        /// As `picket identities` shows it
        #[arg(value_name = "IDENTITY")]
        id: String,
        /// Even though it is forbidden
        #[arg(long)]
        forbidden: bool,
    },
    /// Never let it join, seen before or not. A host that came in with it stays until it is revoked
    Forbid {
        /// aws/ACCOUNT/INSTANCE, gcp/PROJECT/INSTANCE or oidc/ISSUER#SUBJECT
        #[arg(value_name = "IDENTITY")]
        id: String,
    },
}
