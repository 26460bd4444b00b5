//! From facts to findings. Pure: every sentence and every fix comes from here, and nothing is looked up.

mod agent;
mod clock;
mod firewalls;
mod kernel;
mod network;
mod node;
mod ports;
#[cfg(test)]
mod tests;

use super::{Finding, facts::Facts};

/// All findings, in the order in which a person would mend things: what the host is made of, what is around it, what runs on it.
pub(crate) fn findings(facts: &Facts) -> Vec<Finding> {
    let parts = [
        kernel::findings(facts),
        firewalls::findings(facts),
        clock::findings(facts),
        network::findings(facts),
        agent::findings(facts),
        ports::findings(facts),
        node::findings(facts),
    ];
    parts.into_iter().flatten().collect()
}
