//! Where a goloop is asked, and about which chain: texts of the operator, parsed. Nothing is sent here.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};
use thiserror::Error;

/// Longest channel name taken.
const LONGEST_CHANNEL: usize = 64;

/// Why a text names no place or channel.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlaceError {
    /// Neither of the two forms.
    #[error("{0:?} is neither http://127.0.0.1:PORT nor the whole path of goloop's cli.sock")]
    Shape(String),
    /// On another host: the answers are not authenticated, so whoever is on the way could change them.
    #[error("{0} is not an address of this host: run the agent beside goloop, or give the path of its cli.sock")]
    NotLoopback(SocketAddr),
    /// A channel goloop could not have.
    #[error("{0:?} is not a channel: 1 to {LONGEST_CHANNEL} letters, digits, '_' or '-'")]
    Channel(String),
}

/// Where goloop answers for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Its RPC port, under `/admin`; every GET there is open (goloop `node/auth.go`).
    Http(SocketAddr),
    /// Its socket `cli.sock`, the same tree without `/admin`.
    Socket(PathBuf),
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        if text.starts_with('/') {
            return Ok(Self::Socket(text.into()));
        }
        let shape = || PlaceError::Shape(text.to_owned());
        let authority = text.strip_prefix("http://").ok_or_else(shape)?.trim_end_matches('/');
        let address: SocketAddr = match authority.strip_prefix("localhost:") {
            Some(port) => (Ipv4Addr::LOCALHOST, port.parse::<u16>().map_err(|_| shape())?).into(),
            None => authority.parse().map_err(|_| shape())?,
        };
        if address.ip().is_loopback() { Ok(Self::Http(address)) } else { Err(PlaceError::NotLoopback(address)) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(address) => write!(f, "http://{address}"),
            Self::Socket(path) => write!(f, "{}", path.display()),
        }
    }
}

/// The name of a chain in goloop, `icon_dex` on ICON's networks; safe in a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel(String);

impl Channel {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Channel {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let fits = (1..=LONGEST_CHANNEL).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if fits { Ok(Self(text.to_owned())) } else { Err(PlaceError::Channel(text.to_owned())) }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        let found = text.parse::<Place>().map_or_else(|error| error.to_string(), |place| place.to_string());
        assert!(found.contains(expect), "{text:?}: {found}");
    }

    #[test]
    fn a_goloop_is_asked_on_this_host_only() {
        check("http://127.0.0.1:9080", "http://127.0.0.1:9080");
        check("http://localhost:9000/", "http://127.0.0.1:9000");
        check("http://[::1]:9080", "http://[::1]:9080");
        check("/goloop/data/cli.sock", "/goloop/data/cli.sock");
        check("http://192.0.2.1:9080", "not an address of this host");
        check("http://0.0.0.0:9080", "not an address of this host");
        check("https://127.0.0.1:9080", "neither");
        check("http://127.0.0.1", "neither");
        check("http://localhost.example:9080", "neither");
        check("http://user@127.0.0.1:9080", "neither");
        check("http://127.0.0.1:9080/admin", "neither");
        check("cli.sock", "neither");
        check("", "neither");
    }

    #[test]
    fn a_channel_is_safe_in_a_path() {
        assert_eq!("icon_dex".parse::<Channel>().unwrap().as_str(), "icon_dex");
        for text in ["", "..", "a/b", "a?b", "a b", "a\r\nb", "\u{fc}", &"a".repeat(65)] {
            assert!(text.parse::<Channel>().is_err(), "{text:?}");
        }
    }
}
