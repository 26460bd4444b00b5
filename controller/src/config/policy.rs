//! `[policy]`: what the file says of it beyond the type, which is the model's own.

use picket_model::Policy;
use std::net::SocketAddr;

/// Refuses values out of their range; `sources` is how many the chain has, `listen` where the controller is reached.
pub(super) fn check(policy: &Policy, sources: usize, listen: &[SocketAddr]) -> Result<(), String> {
    // No guard stands before loopback.
    let own = listen.iter().filter(|address| !address.ip().to_canonical().is_loopback());
    let mut own = own.map(|address| address.port());
    let is_guarded =
        |port: &u16| policy.ports.p2p.iter().chain(&policy.ports.rpc).any(|guarded| guarded.get() == *port);
    if let Some(port) = own.find(is_guarded) {
        return Err(format!(
            "policy.ports has {port}, on which this controller listens: beside an agent nobody would reach it; take another port"
        ));
    }
    if policy.names.shortest_seconds == 0 {
        return Err("policy.names.shortest_seconds is 0: write at least 1".to_owned());
    }
    if let Some(agree) = policy.agree
        && !(1..=sources).contains(&agree)
    {
        return Err(format!("policy.agree is {agree}: write 1 to {sources}, the number of chain.sources"));
    }
    Ok(())
}

/// Whether the file itself sets `policy.brakes.min_size`.
pub(super) fn says_min_size(text: &str) -> bool {
    let file: Option<toml::Table> = text.parse().ok();
    file.is_some_and(|file| file.get("policy").and_then(|p| p.get("brakes")?.get("min_size")).is_some())
}

/// What to write, where the type that was expected does not say it.
pub(super) fn with_hint(message: String) -> String {
    if message.contains("DenyLine") || message.contains("PolicyDeny") {
        let line = "{ network = \"192.0.2.0/24\", comment = \"why\" }";
        return format!("a line of policy.deny is written {line}, or with prep = \"hx...\" in place of network");
    }
    if message.contains("PolicyAllow") {
        let line = "{ purpose = \"p2p\", network = \"192.0.2.0/24\", comment = \"why\" }";
        return format!("a line of policy.allow is written {line}");
    }
    message
}
