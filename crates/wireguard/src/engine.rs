//! The two WireGuards a host may have, behind one trait, and the choice between them.

use crate::{
    device::DeviceState,
    diff::DeviceChange,
    error::Error,
    kernel::KernelDevice,
    link::netlink::{Link, Links},
    userspace::{Offloads, UserspaceDevice},
};
use picket_model::WireGuardPublicKey;
use rtnetlink::packet_route::link::InfoKind;
use std::{fmt, str::FromStr};
use thiserror::Error as ThisError;

/// Bytes of TCP that the host hands to the embedded engine at once: sealed, with what that adds to each of its segments, they
/// still fit one call to the network, at an MTU from 1280 on.
const AT_ONCE: u32 = 61_600;

/// Which WireGuard carries the tunnels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// The kernel's module.
    Kernel,
    /// The engine in this process.
    Userspace,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "kernel",
            Self::Userspace => "userspace",
        })
    }
}

/// Which WireGuard the operator prefers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preference {
    /// The kernel's where it has one, else the engine in this process.
    #[default]
    Auto,
    /// The kernel's or none.
    Kernel,
    /// The engine in this process.
    Userspace,
}

/// The text names no preference.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[error("{0:?} is none of auto, kernel, userspace")]
pub struct PreferenceError(String);

impl FromStr for Preference {
    type Err = PreferenceError;

    fn from_str(text: &str) -> Result<Self, PreferenceError> {
        match text {
            "auto" => Ok(Self::Auto),
            "kernel" => Ok(Self::Kernel),
            "userspace" => Ok(Self::Userspace),
            _ => Err(PreferenceError(text.to_owned())),
        }
    }
}

/// A WireGuard device: its key, port and peers. What is around it is the link's business.
pub trait Device {
    /// Reads it back.
    fn observe(&self) -> impl Future<Output = Result<DeviceState, Error>> + Send;

    /// Makes the changes in their order. Stops at the first that fails; those before it are in force.
    fn apply(&mut self, changes: &[DeviceChange]) -> impl Future<Output = Result<(), Error>> + Send;

    /// Which WireGuard it belongs to.
    fn engine(&self) -> Engine;
}

/// A device of either WireGuard.
#[derive(Debug)]
pub enum AnyDevice {
    /// In the kernel.
    Kernel(KernelDevice),
    /// In this process.
    Userspace(UserspaceDevice),
}

impl Device for AnyDevice {
    async fn observe(&self) -> Result<DeviceState, Error> {
        match self {
            Self::Kernel(device) => device.observe().await,
            Self::Userspace(device) => device.observe().await,
        }
    }

    async fn apply(&mut self, changes: &[DeviceChange]) -> Result<(), Error> {
        match self {
            Self::Kernel(device) => device.apply(changes).await,
            Self::Userspace(device) => device.apply(changes).await,
        }
    }

    fn engine(&self) -> Engine {
        match self {
            Self::Kernel(device) => device.engine(),
            Self::Userspace(device) => device.engine(),
        }
    }
}

/// Opens the device of that name in the network namespace of the calling thread, making it where there is none. A
/// kernel device that an earlier process of ours left is adopted: it bears our mark, or has the public key `own`. Needs
/// a tokio runtime and CAP_NET_ADMIN.
pub async fn open(name: &str, preference: Preference, own: Option<WireGuardPublicKey>) -> Result<AnyDevice, Error> {
    open_on(&Links::open()?, name, preference, own).await
}

pub(crate) async fn open_on(
    links: &Links,
    name: &str,
    preference: Preference,
    own: Option<WireGuardPublicKey>,
) -> Result<AnyDevice, Error> {
    let Some(link) = links.find(name).await? else {
        return make(links, name, preference).await;
    };
    let key = match link.kind {
        Some(InfoKind::Wireguard) if own.is_some() => KernelDevice::open(name)?.observe().await?.public_key,
        _ => None,
    };
    if may_adopt(&link, key, preference, own) {
        links.mark(link.index).await?;
        return kernel(name);
    }
    let kind = link.kind.map_or_else(|| "hardware".to_owned(), |kind| kind.to_string());
    Err(Error::NameTaken { name: name.to_owned(), kind })
}

/// Whether a link, with the public key found on it, is a device of ours that can be used as it is.
fn may_adopt(
    link: &Link,
    found: Option<WireGuardPublicKey>,
    preference: Preference,
    own: Option<WireGuardPublicKey>,
) -> bool {
    let ours = link.marked || (own.is_some() && found == own);
    link.kind == Some(InfoKind::Wireguard) && preference != Preference::Userspace && ours
}

async fn make(links: &Links, name: &str, preference: Preference) -> Result<AnyDevice, Error> {
    if preference == Preference::Userspace {
        return userspace(links, name).await;
    }
    match links.add_wireguard(name).await {
        Ok(()) => {
            let link = links.find(name).await?.ok_or_else(|| Error::Gone { name: name.to_owned() })?;
            if let Err(error) = links.mark(link.index).await {
                // Without its mark the next process would take it for somebody else's.
                links.remove(link.index).await?;
                return Err(error);
            }
            kernel(name)
        }
        Err(error) if error.raw_os_error() == Some(nix::libc::EOPNOTSUPP) => match preference {
            Preference::Auto => userspace(links, name).await,
            _ => Err(Error::NoKernelWireGuard),
        },
        Err(error) => Err(Error::kernel(format!("make WireGuard link {name}"), error)),
    }
}

fn kernel(name: &str) -> Result<AnyDevice, Error> {
    Ok(AnyDevice::Kernel(KernelDevice::open(name)?))
}

async fn userspace(links: &Links, name: &str) -> Result<AnyDevice, Error> {
    let device = UserspaceDevice::open(name, Offloads::default())?;
    if let Some(link) = links.find(name).await? {
        links.mark(link.index).await?;
        links.without_link_local(link.index).await?;
        links.hand_over_at_most(link.index, AT_ONCE).await;
    }
    Ok(AnyDevice::Userspace(device))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferences_are_read_by_their_names() {
        assert_eq!("auto".parse(), Ok(Preference::Auto));
        assert_eq!("kernel".parse(), Ok(Preference::Kernel));
        assert_eq!("userspace".parse(), Ok(Preference::Userspace));
        let error = "wg".parse::<Preference>().unwrap_err();
        assert_eq!(error.to_string(), "\"wg\" is none of auto, kernel, userspace");
    }

    #[test]
    fn only_a_device_that_is_ours_is_adopted() {
        use Preference::{Auto, Kernel, Userspace};
        let key = |byte| WireGuardPublicKey::new([byte; 32]).ok();
        let check = |kind, marked, found, preference, own, expect| {
            let link = Link { kind: Some(kind), marked, ..Link::default() };
            assert_eq!(may_adopt(&link, found, preference, own), expect, "{link:?} {found:?} {preference:?} {own:?}");
        };
        for preference in [Auto, Kernel] {
            check(InfoKind::Wireguard, true, key(1), preference, key(2), true);
            check(InfoKind::Wireguard, true, None, preference, None, true);
            check(InfoKind::Wireguard, false, key(1), preference, key(1), true);
            check(InfoKind::Wireguard, false, key(1), preference, key(2), false);
            check(InfoKind::Wireguard, false, None, preference, None, false);
            check(InfoKind::Tun, true, None, preference, key(1), false);
        }
        check(InfoKind::Wireguard, true, key(1), Userspace, key(1), false);
    }
}
