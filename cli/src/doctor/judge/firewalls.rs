//! Others who decide about packets here. Picket leaves them alone; what they drop does not arrive, and what flushes them
//! flushes ours.

use crate::doctor::{
    Finding,
    facts::{Chain, Facts, Part},
};

/// Where tunnels arrive.
pub(super) const WIREGUARD: u16 = 51820;
/// Where validators talk to each other.
pub(super) const P2P: u16 = 7100;
/// Where hosts ask a controller.
pub(super) const AGENTS: u16 = 7443;

const WHY: &str = "what another firewall drops never arrives, whatever Picket lets in";

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let firewalls = &facts.firewalls;
    let mut findings = Vec::new();
    let needed = needed(facts);
    match &firewalls.chains {
        Err(why) => findings.push(
            Finding::not_known("other-firewalls", format!("tables of this host: {why}")).or("sudo picket doctor"),
        ),
        Ok(chains) => {
            let shut: Vec<_> = chains.iter().filter(|chain| chain.drops).collect();
            for chain in &shut {
                let missing: Vec<_> = needed.iter().filter(|(_, port)| !chain.accepts.contains(port)).collect();
                findings.extend(missing.into_iter().map(|(protocol, port)| shut_port(facts, chain, protocol, *port)));
            }
            if findings.is_empty() {
                let found = match (chains.len(), shut.is_empty()) {
                    (0, _) => "no other firewall".to_owned(),
                    (_, true) => format!("left alone: {}", tables(chains)),
                    (_, false) => format!("left alone: {}; they seem to let in what is needed", tables(chains)),
                };
                findings.push(Finding::ok("other-firewalls", found));
            }
        }
    }
    match &firewalls.legacy {
        Ok(names) if names.is_empty() => {}
        Ok(names) => findings.push(Finding::warn(
            "iptables-legacy",
            format!("the old iptables has tables: {}", names.join(", ")),
            "nft does not show them, and they drop packets beside Picket's rules",
            "iptables-legacy-save    # look; then: update-alternatives --set iptables /usr/sbin/iptables-nft",
        )),
        Err(why) => findings.push(Finding::not_known("iptables-legacy", format!("tables of the old iptables: {why}"))),
    }
    if facts.part.has_agent() {
        findings.extend(boot(facts));
    }
    findings
}

/// What must arrive at such a host.
fn needed(facts: &Facts) -> Vec<(&'static str, u16)> {
    match facts.part {
        Part::Sentry => vec![("udp", WIREGUARD), ("tcp", P2P)],
        Part::Prep if facts.agent.as_ref().is_ok_and(|agent| agent.as_ref().is_some_and(|agent| agent.is_hidden())) => {
            Vec::new()
        }
        Part::Prep => vec![("tcp", P2P)],
        Part::Controller => vec![("tcp", AGENTS)],
        Part::Operator => Vec::new(),
    }
}

fn tables(chains: &[Chain]) -> String {
    let mut names: Vec<_> = chains.iter().map(|chain| format!("table {}", chain.table)).collect();
    names.dedup();
    names.join(", ")
}

/// Which command opens it depends on who wrote the chain.
fn shut_port(facts: &Facts, chain: &Chain, protocol: &str, port: u16) -> Finding {
    let Chain { table, chain: name, .. } = chain;
    let (who, fix) = if facts.firewalls.services.ufw {
        ("ufw", format!("ufw allow {port}/{protocol}"))
    } else if facts.firewalls.services.firewalld {
        ("firewalld", format!("firewall-cmd --permanent --add-port={port}/{protocol} && firewall-cmd --reload"))
    } else if table == "ip filter" || table == "ip6 filter" {
        let program = if table == "ip filter" { "iptables" } else { "ip6tables" };
        (program, format!("{program} -I {name} -p {protocol} --dport {port} -j ACCEPT"))
    } else {
        ("another program", format!("nft insert rule {table} {name} {protocol} dport {port} accept"))
    };
    let found = format!(
        "chain {name} of table {table} ({who}) drops what no rule takes, and none is seen for {protocol}/{port}"
    );
    Finding::warn("other-firewalls", found, WHY, fix)
}

fn boot(facts: &Facts) -> Vec<Finding> {
    let flusher = facts.firewalls.services.flusher;
    let mut findings = Vec::new();
    if flusher.enabled && flusher.flushes && !flusher.has_our_file {
        findings.push(Finding::bad(
            "nftables-service",
            "nftables.service is enabled, its file says `flush ruleset`, and Picket's drop-in is not there",
            "its start, reload and stop take Picket's table away: guarded ports are open until the agent puts it back",
            "systemctl disable nftables.service    # or put packaging/systemd/nftables.service.d/picket.conf beside it",
        ));
    }
    match facts.firewalls.services.lockdown {
        Some(true) => findings.push(Finding::ok("lockdown", "guarded ports are closed before the network is up")),
        Some(false) => findings.push(Finding::warn(
            "lockdown",
            "picket-lockdown.service does not start at boot",
            "from the network's start to the agent's, guarded ports are open",
            "systemctl enable picket-lockdown.service",
        )),
        None => {}
    }
    findings
}
