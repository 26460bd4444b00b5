//! How the agent stands, and its tunnels.

use crate::doctor::{
    Finding, Verdict,
    facts::{Agent, Facts, LastWord, Part, Status},
};
use picket_model::Timestamp;

/// The agent writes its last word with each round, which takes it ten seconds at most.
const STALE_SECONDS: u64 = 120;
/// WireGuard makes a handshake every two minutes while packets run, and a session ends after three.
const SILENT_SECONDS: u64 = 180;

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "agent";
    if !facts.part.has_agent() {
        return Vec::new();
    }
    let program = facts.part.program();
    let agent = match &facts.agent {
        Ok(Some(agent)) => agent,
        Ok(None) => {
            return vec![Finding::bad(
                CHECK,
                format!("{program} is not installed here"),
                "without it nothing guards this host",
                format!("apt-get install {program}"),
            )];
        }
        Err(why) => return vec![Finding::not_known(CHECK, why.clone()).or("sudo picket doctor")],
    };
    let status = match &agent.status {
        Ok(status) => status,
        Err(why) => return vec![Finding::not_known(CHECK, why.clone()).or("sudo picket doctor")],
    };
    let mut findings = vec![standing(facts.part, status)];
    findings.extend(firewall(facts, agent));
    if let Some(word) = &status.agent {
        findings.extend(reported(facts.part, word, status.agent_seconds_ago.unwrap_or(u64::MAX)));
    }
    findings
}

fn standing(part: Part, status: &Status) -> Finding {
    const CHECK: &str = "agent";
    let program = part.program();
    let Status { state, identity, guard_refuses, agent, agent_seconds_ago } = status;
    if let Some(found) = identity.as_ref().map(|identity| Part::of(identity.role)).filter(|found| *found != part) {
        let found = format!("this host is enrolled as {}, and was looked at as {}", found.name(), part.name());
        return Finding::warn(CHECK, found, "the findings are about another part", "picket doctor    # without --part");
    }
    let name = identity.as_ref().map_or("this host", |identity| identity.name.as_str());
    match (state.as_str(), guard_refuses) {
        ("released", _) => Finding::bad(
            CHECK,
            format!("{name} was released by hand: every guarded port is open to everybody"),
            "it stays so through restarts and reboots",
            format!("{program} close"),
        ),
        ("revoked", _) => Finding::bad(
            CHECK,
            format!("{name} was revoked: it has no tunnels, and its guarded ports are closed"),
            "a revoked host does not come back by itself",
            format!(
                "systemctl stop {program}; rm -r /var/lib/picket/agent; {program} enroll --controller URL --token-file FILE"
            ),
        ),
        (_, Some(refused)) => Finding::bad(
            CHECK,
            format!("the guard of {name} refuses what the controller wants: {refused}"),
            "what was in force before stays; changes do not arrive",
            "editor /etc/picket/guard.toml    # or change the policy; then restart the agent",
        ),
        ("locked down", _) => Finding::warn(
            CHECK,
            "this host is not enrolled",
            "guarded ports are closed to all but admin networks until it is",
            format!("{program} enroll --controller URL --token-file FILE"),
        ),
        (_, None) if agent.is_none() || agent_seconds_ago.is_none_or(|seconds| seconds > STALE_SECONDS) => {
            let found = match agent_seconds_ago {
                Some(seconds) => format!("the agent of {name} has said nothing for {seconds} s"),
                None => format!("the agent of {name} has not run yet"),
            };
            Finding::bad(
                CHECK,
                found,
                "the firewall stays as it is, and tunnels of the agent's own engine end with it",
                format!("systemctl restart {program}"),
            )
        }
        ("controller away", None) => Finding::warn(
            CHECK,
            format!("{name} works on without its controller"),
            "everything stays as it is; changes do not arrive",
            format!("journalctl -u {program}    # and the finding `controller`"),
        ),
        (state, None) => Finding::ok(CHECK, format!("{name} is {state}")),
    }
}

fn firewall(facts: &Facts, agent: &Agent) -> Option<Finding> {
    const CHECK: &str = "firewall";
    let report = &agent.status.as_ref().ok()?.agent.as_ref()?.report;
    let failed = (!report.firewall.is_in_force()).then(|| report.firewall.to_string());
    match (failed, &facts.firewalls.ours) {
        (Some(failed), _) => Some(Finding::bad(
            CHECK,
            format!("the rules are not in force: {failed}"),
            "guarded ports may be open",
            format!("{} rules show --dry-run", facts.part.program()),
        )),
        (None, Ok(false)) => Some(Finding::bad(
            CHECK,
            "table inet picket is not in the kernel",
            "guarded ports are open",
            format!("systemctl restart {}", facts.part.program()),
        )),
        (None, Ok(true)) => {
            Some(Finding::ok(CHECK, format!("in force, {} addresses and prefixes", report.kernel.elements)))
        }
        (None, Err(why)) => Some(Finding::not_known(CHECK, format!("whether the table is in the kernel: {why}"))),
    }
}

fn reported(part: Part, word: &LastWord, seconds_ago: u64) -> Vec<Finding> {
    let report = &word.report;
    let mut findings = Vec::new();
    if !report.wireguard.is_in_force() {
        findings.push(Finding::bad(
            "tunnels",
            format!("the tunnels are not as wanted: {}", report.wireguard),
            "without them peers are not reached",
            format!("journalctl -u {}", part.program()),
        ));
    }
    if let Some(taken) = &report.taken_back {
        findings.push(Finding::bad(
            "taken-back",
            format!("revision {} was taken back: {}", taken.revision, taken.reason),
            "the change cut this host off from its controller",
            "picket explain ADDRESS:7443    # then change the policy: only a newer revision is taken",
        ));
    }
    // What was heard by a moment in the past says nothing of now.
    if seconds_ago <= STALE_SECONDS {
        findings.extend(peers(part, word));
    }
    for (peer, bytes) in &report.narrow {
        findings.push(Finding::warn(
            "mtu",
            format!("the tunnel to {peer} carries packets of {bytes} bytes at most"),
            "it works, and costs a few percent",
            "ping -M do -s 1452 PEER    # finds the narrow link on the way",
        ));
    }
    findings
}

/// By the moment of the report, so that ages are right whenever it is read.
fn peers(part: Part, word: &LastWord) -> Vec<Finding> {
    const CHECK: &str = "peers";
    let peers = &word.report.peers;
    let is_silent = |at: Option<Timestamp>| at.is_none_or(|at| word.at.since(at).as_secs() > SILENT_SECONDS);
    let silent: Vec<_> = peers.iter().filter(|(_, peer)| is_silent(peer.last_handshake)).collect();
    if peers.is_empty() {
        let found = "there is no peer yet";
        let fix = match part {
            Part::Sentry => "picket token create --role prep    # enrol a validator's host",
            _ => "picket token create --role sentry    # enrol a sentry",
        };
        return vec![Finding::warn(CHECK, found, "a tunnel has two ends", fix)];
    }
    if silent.is_empty() {
        return vec![Finding::ok(CHECK, format!("{} of {} have shaken hands", peers.len(), peers.len()))];
    }
    let fix = match part {
        Part::Sentry => "ss -ulpn 'sport = :51820'    # and every firewall before it: UDP 51820 from anywhere",
        _ => "picket nodes    # is the sentry there? then: its firewall and cloud, UDP 51820 from anywhere",
    };
    let verdict = if silent.len() == peers.len() { Verdict::Bad } else { Verdict::Warn };
    let each = silent.into_iter().map(|(key, peer)| {
        let at = peer.endpoint.map_or_else(|| "an address not known yet".to_owned(), |endpoint| endpoint.to_string());
        let heard = peer.last_handshake.map_or_else(|| "never".to_owned(), |last| format!("last at {last}"));
        let found = format!("peer {key} at {at} has not shaken hands: {heard}");
        Finding { verdict, ..Finding::warn(CHECK, found, "what runs through this tunnel does not arrive", fix) }
    });
    each.collect()
}
