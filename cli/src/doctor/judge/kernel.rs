//! What the kernel and its tools can do.

use crate::doctor::{
    Finding,
    facts::{Facts, Module, Seen},
};

/// From this version on nft knows everything that our rules use; it is Debian 12's, with which they are tested.
const TESTED_NFT: [u32; 3] = [1, 0, 6];

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    if !facts.part.has_agent() {
        return Vec::new();
    }
    let kernel = &facts.kernel;
    // Whoever has seen our table or others' has seen that tables work.
    let lists = facts.firewalls.ours.is_ok();
    let nf_tables = if lists { Ok(Module::Present) } else { kernel.nf_tables.clone() };
    vec![
        module(
            "kernel-nf-tables",
            "nf_tables",
            &nf_tables,
            Finding::bad(
                "kernel-nf-tables",
                "this kernel has no nf_tables",
                "the firewall is an nftables table: without it no port is guarded",
                "apt-get install linux-image-amd64 && reboot",
            ),
        ),
        nft(&facts.nft),
        module(
            "kernel-conntrack",
            "nf_conntrack",
            &kernel.conntrack,
            Finding::warn(
                "kernel-conntrack",
                "this kernel has no connection tracking",
                "a sentry forwards to hidden validators by it; what is guarded is guarded without",
                "apt-get install linux-image-amd64 && reboot",
            ),
        ),
        wireguard(&kernel.wireguard, &kernel.tun),
    ]
}

fn module(check: &'static str, name: &str, seen: &Seen<Module>, missing: Finding) -> Finding {
    match seen {
        Ok(Module::Present) => Finding::ok(check, format!("{name} is there")),
        Ok(Module::Loadable) => Finding::ok(check, format!("{name} is there, and loaded when it is needed")),
        Ok(Module::Missing) => missing,
        Err(why) => Finding::not_known(check, format!("{name}: {why}")),
    }
}

fn nft(seen: &Seen<String>) -> Finding {
    const CHECK: &str = "nft-version";
    const WHY: &str = "the agent writes its rules by the host's nft program";
    match seen {
        Err(why) => Finding::bad(CHECK, why.clone(), WHY, "apt-get install nftables"),
        Ok(said) => match version(said) {
            Some(version) if version >= TESTED_NFT => Finding::ok(CHECK, said.clone()),
            Some(_) => Finding::warn(
                CHECK,
                format!("{said} is older than 1.0.6, with which Picket is tested"),
                WHY,
                "apt-get install nftables",
            ),
            None => Finding::not_known(CHECK, format!("nft names no version that can be read: {said}")),
        },
    }
}

/// `nftables v1.0.6 (Lester Gooch #5)`.
fn version(said: &str) -> Option<[u32; 3]> {
    let word = said.split_whitespace().find_map(|word| word.strip_prefix('v'))?;
    let mut numbers = word.split('.').map(|part| part.parse::<u32>());
    let mut next = || numbers.next().unwrap_or(Ok(0)).ok();
    Some([next()?, next()?, next()?])
}

/// Either of both carries tunnels.
fn wireguard(kernel: &Seen<Module>, tun: &Seen<()>) -> Finding {
    const CHECK: &str = "wireguard";
    match (kernel, tun) {
        (Ok(Module::Present | Module::Loadable), _) => Finding::ok(CHECK, "the kernel has WireGuard"),
        (Ok(Module::Missing), Ok(())) => Finding::warn(
            CHECK,
            "the kernel has no WireGuard; /dev/net/tun is there, and the agent carries the tunnels itself",
            "it works, and each gigabit costs more of the processor (docs/performance.md)",
            "apt-get install linux-image-amd64 && reboot",
        ),
        (Err(why), Ok(())) => {
            Finding::ok(CHECK, format!("/dev/net/tun is there; whether the kernel has WireGuard is not known: {why}"))
        }
        (Ok(Module::Missing), Err(tun)) => Finding::bad(
            CHECK,
            format!("the kernel has no WireGuard, and {tun}"),
            "without one of both there is no tunnel",
            "modprobe tun    # in a container: run it with --device /dev/net/tun --cap-add NET_ADMIN",
        ),
        (Err(why), Err(tun)) => Finding::not_known(CHECK, format!("WireGuard: {why}; {tun}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_with_or_without_its_last_number() {
        assert_eq!(version("nftables v1.0.6 (Lester Gooch #5)"), Some([1, 0, 6]));
        assert_eq!(version("nftables v1.1 (x)"), Some([1, 1, 0]));
        assert_eq!(version("nftables"), None);
        assert_eq!(version("nftables vx.1"), None);
    }
}
