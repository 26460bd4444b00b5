//! Facts of the machine the agent runs on: its name, its id, and what this process may do. Reads only.

use anyhow::{Context as _, Result, bail};
use picket_model::{NodeName, Timestamp};
use std::time::SystemTime;

/// Where systemd keeps the id that a machine gets at first boot, machine-id(5).
const MACHINE_ID: &str = "/etc/machine-id";
/// Bit of CAP_NET_ADMIN, linux/capability.h.
const CAP_NET_ADMIN: u32 = 12;

/// Refuses where this process may not change links and rules.
pub fn require_network_admin() -> Result<()> {
    let status = std::fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    if !may_administer_network(&status) {
        bail!("needs root (or CAP_NET_ADMIN): run with sudo");
    }
    Ok(())
}

/// The machine's id; `None` where it has none.
pub fn machine_id() -> Option<String> {
    let text = std::fs::read_to_string(MACHINE_ID).ok()?;
    let id = text.trim();
    (!id.is_empty()).then(|| id.to_owned())
}

/// The host's own name as a node name.
pub fn name() -> Result<NodeName> {
    let name = nix::unistd::gethostname().context("read the host name")?;
    let name = name.to_string_lossy().to_ascii_lowercase();
    name.parse().context("the host name is no node name; give one with --name")
}

/// This moment.
pub fn now() -> Timestamp {
    SystemTime::now().into()
}

/// Whether `CapEff` of a proc(5) status has CAP_NET_ADMIN.
fn may_administer_network(status: &str) -> bool {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
    bits.is_some_and(|bits| bits >> CAP_NET_ADMIN & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_capability_counts_and_not_the_user() {
        assert!(may_administer_network("Name:\tx\nUid:\t1000\nCapEff:\t0000000000001000\n"));
        assert!(may_administer_network("CapEff:\t000001ffffffffff\n"));
        for status in ["CapEff:\t0000000000000000\n", "Uid:\t0\nCapEff:\t000001ffffffefff\n", "", "CapEff:\tx\n"] {
            assert!(!may_administer_network(status), "{status:?}");
        }
    }
}
