//! Questions about why and when: whom `explain` is about, which lines of the audit log.

use clap::Args;
use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    num::NonZeroU16,
    str::FromStr,
};

#[derive(Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct Events {
    /// At most so many lines, 1 to 1000; 200 unless you say otherwise
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) limit: Option<u16>,
    /// Only lines before this number, as the oldest line of a page has it
    #[arg(long, value_name = "ID")]
    pub(crate) before: Option<i64>,
    /// Go on and tell each new line as it is written, until somebody ends it; as JSON one line each
    #[arg(short, long, conflicts_with_all = ["before", "verify"])]
    pub(crate) follow: bool,
    /// Check that no line of the whole log was changed, dropped or put in; prints its head, which is worth keeping elsewhere
    #[arg(long, conflicts_with_all = ["limit", "before"])]
    pub(crate) verify: bool,
}

/// Whom `explain` is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) address: IpAddr,
    pub(crate) port: Option<NonZeroU16>,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // An IPv6 address with a port needs its brackets: 2001:db8::1:7100 is an address.
        let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let address = text.parse().ok().or_else(|| bracketed?.parse::<Ipv6Addr>().ok().map(IpAddr::from));
        if let Some(address) = address {
            return Ok(Self { address, port: None });
        }
        match text.parse::<SocketAddr>().map(|both| (both.ip(), NonZeroU16::new(both.port()))) {
            Ok((address, Some(port))) => Ok(Self { address, port: Some(port) }),
            Ok((_, None)) => Err("port 0 is no port; give 1 to 65535".to_owned()),
            Err(_) => {
                Err("give an address, as in 192.0.2.1, 192.0.2.1:7100, 2001:db8::1 or [2001:db8::1]:7100".to_owned())
            }
        }
    }
}
