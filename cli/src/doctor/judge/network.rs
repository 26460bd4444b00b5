//! What is around the host: names, controllers, how large packets may be.

use crate::doctor::{
    Finding,
    facts::{Controller, Facts, Part},
};
use std::net::IpAddr;

/// A tunnel's packets and what WireGuard and UDP put around them, in bytes (wg-quick's arithmetic).
const WHOLE: [u32; 2] = [1420 + 60, 1420 + 80];
/// The least that IPv6 may be carried in (RFC 8200 section 5), so wrapped.
const LEAST: [u32; 2] = [1280 + 60, 1280 + 80];

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let mut findings = names(facts);
    findings.extend(facts.controllers.iter().map(controller));
    if facts.controllers.is_empty() && facts.part != Part::Controller {
        findings.push(
            Finding::not_known("controller", "no controller is known to this host")
                .or("picket doctor --controller https://HOST:7443 --ca FINGERPRINT"),
        );
    }
    if facts.part.has_agent() {
        findings.extend(facts.widths.iter().map(|(to, seen)| width(*to, seen)));
    }
    findings
}

fn names(facts: &Facts) -> Vec<Finding> {
    const WHY: &str = "this host asks by these names";
    let servers = match &facts.name_servers {
        Ok(servers) if servers.is_empty() => "/etc/resolv.conf names no server".to_owned(),
        Ok(servers) => {
            let shown: Vec<_> = servers.iter().map(ToString::to_string).collect();
            format!("servers {}", shown.join(", "))
        }
        Err(why) => why.clone(),
    };
    if facts.names.is_empty() {
        return vec![Finding::ok("dns", format!("this host needs no name; {servers}"))];
    }
    let each = facts.names.iter().map(|(name, seen)| match seen {
        Ok(addresses) if !addresses.is_empty() => {
            let shown: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            Finding::ok("dns", format!("{name} is {}", shown.join(", ")))
        }
        Ok(_) => Finding::bad("dns", format!("{name} has no address; {servers}"), WHY, format!("getent ahosts {name}")),
        Err(why) => {
            let fix = format!("getent ahosts {name}    # then the servers in /etc/resolv.conf");
            Finding::bad("dns", format!("{name} cannot be looked up: {why}; {servers}"), WHY, fix)
        }
    });
    each.collect()
}

fn controller(controller: &Controller) -> Finding {
    const CHECK: &str = "controller";
    let url = &controller.url;
    match &controller.answer {
        Ok(_) if controller.pinned => Finding::ok(CHECK, format!("{url} answers, with the mesh's CA")),
        Ok(_) => Finding::ok(CHECK, format!("{url} answers; its CA was held against nothing (--ca FINGERPRINT)")),
        Err(why) => Finding::bad(
            CHECK,
            format!("{url} does not answer: {why}"),
            "hosts keep what they hold, and hear of no change: nobody joins and nobody is revoked",
            "systemctl status picket-controller    # there; then every firewall between, for its TCP port",
        ),
    }
}

fn width(to: IpAddr, seen: &Result<u32, String>) -> Finding {
    const CHECK: &str = "mtu";
    const WHY: &str = "a tunnel's whole packet has 1420 bytes and the tunnel's own around them";
    let family = usize::from(to.is_ipv6());
    let fix = || format!("ip route get {to}    # then: ip link set dev DEVICE mtu 1500, where the link carries it");
    match seen {
        Ok(bytes) if *bytes >= WHOLE[family] => Finding::ok(CHECK, format!("{bytes} bytes towards {to}")),
        Ok(bytes) if *bytes >= LEAST[family] => Finding::warn(
            CHECK,
            format!(
                "{bytes} bytes towards {to}: tunnels there carry smaller packets, which the agent finds out by itself"
            ),
            WHY,
            fix(),
        ),
        Ok(bytes) => Finding::bad(
            CHECK,
            format!("{bytes} bytes towards {to}: less than a tunnel with IPv6 inside needs ({})", LEAST[family]),
            WHY,
            fix(),
        ),
        Err(why) => Finding::bad(CHECK, format!("there is no way to {to}: {why}"), WHY, format!("ip route get {to}")),
    }
}
