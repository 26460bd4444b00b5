//! `picket revoke` and `quarantine`: how far a cut is in force; `readmit`: that it is over.

use crate::table::{Page, count};
use picket_api::operator::{HostReceipt, RevokeReceipt};
use picket_model::{Node, NodeState};

/// The receipt: the sum on one line, then each host.
pub(crate) fn page(receipt: &RevokeReceipt) -> String {
    let mut page = Page::default();
    let (node, generation) = (&receipt.node, receipt.generation);
    let state = match node.state {
        NodeState::Quarantined { .. } => "quarantined",
        NodeState::Active | NodeState::Revoked { .. } => "revoked",
    };
    page.line(format_args!("{} ({}) is {state} since generation {generation}", node.name, node.id));
    let affected = receipt.in_force.len() + receipt.missing.len();
    if affected == 0 {
        page.line("no host had a tunnel or a grant for it");
        return page.finish();
    }
    let slowest = receipt.in_force.iter().map(|host| host.after_ms).max();
    let slowest = slowest.map_or_else(String::new, |after| format!(", slowest after {after} ms"));
    page.line(format_args!("in force on {} of {}{slowest}", receipt.in_force.len(), count(affected, "host")));
    let done = receipt.in_force.iter().map(|host| [format!("  {}", host.name), format!("{} ms", host.after_ms)]);
    let waiting = receipt.missing.iter().map(|name| [format!("  {name}"), "not in force yet".to_owned()]);
    page.rows(&done.chain(waiting).collect::<Vec<_>>());
    if !receipt.missing.is_empty() {
        page.line("a host that is not in force yet may still let it in: `picket nodes` shows when it was last heard");
    }
    page.finish()
}

/// One more host has confirmed.
pub(crate) fn progress(confirmed: usize, of: usize, host: &HostReceipt) -> String {
    format!("{confirmed} of {of}: {} after {} ms", host.name, host.after_ms)
}

/// A host is out of quarantine.
pub(crate) fn readmitted(node: &Node) -> String {
    let mut page = Page::default();
    page.line(format_args!("{} ({}) is in quarantine no more; its peers hear of it now", node.name, node.id));
    page.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_model::{Generation, NodeRole, Timestamp, fixture::node};

    fn receipt(in_force: &[(&str, u64)], missing: &[&str]) -> RevokeReceipt {
        RevokeReceipt {
            node: Node {
                id: "n-3".parse().unwrap(),
                state: NodeState::Revoked { at: Timestamp::from_millis(1) },
                ..node("sentry-2", NodeRole::Sentry, 3)
            },
            generation: Generation(8),
            in_force: in_force
                .iter()
                .map(|(name, after_ms)| HostReceipt { name: name.parse().unwrap(), after_ms: *after_ms })
                .collect(),
            missing: missing.iter().map(|name| name.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn a_revoke_in_force_everywhere_names_the_slowest() {
        insta::assert_snapshot!(page(&receipt(&[("prep-1", 17), ("prep-2", 41)], &[])), @r#"
        sentry-2 (n-3) is revoked since generation 8
        in force on 2 of 2 hosts, slowest after 41 ms
          prep-1  17 ms
          prep-2  41 ms
        "#);
    }

    #[test]
    fn hosts_that_have_not_said_so_are_named() {
        insta::assert_snapshot!(page(&receipt(&[("prep-1", 17)], &["prep-2"])), @r#"
        sentry-2 (n-3) is revoked since generation 8
        in force on 1 of 2 hosts, slowest after 17 ms
          prep-1  17 ms
          prep-2  not in force yet
        a host that is not in force yet may still let it in: `picket nodes` shows when it was last heard
        "#);
        insta::assert_snapshot!(page(&receipt(&[], &["prep-2"])), @r#"
        sentry-2 (n-3) is revoked since generation 8
        in force on 0 of 1 host
          prep-2  not in force yet
        a host that is not in force yet may still let it in: `picket nodes` shows when it was last heard
        "#);
    }

    #[test]
    fn a_quarantine_is_called_so_and_progress_is_one_line_a_host() {
        let mut quarantine = receipt(&[("prep-1", 17)], &[]);
        quarantine.node.state = NodeState::Quarantined { since: Timestamp::from_millis(1) };
        insta::assert_snapshot!(page(&quarantine), @r#"
        sentry-2 (n-3) is quarantined since generation 8
        in force on 1 of 1 host, slowest after 17 ms
          prep-1  17 ms
        "#);
        assert_eq!(progress(1, 3, &quarantine.in_force[0]), "1 of 3: prep-1 after 17 ms");
        assert_eq!(readmitted(&quarantine.node), "sentry-2 (n-3) is in quarantine no more; its peers hear of it now\n");
    }

    #[test]
    fn a_host_that_nobody_knew_needs_no_receipt() {
        insta::assert_snapshot!(page(&receipt(&[], &[])), @r#"
        sentry-2 (n-3) is revoked since generation 8
        no host had a tunnel or a grant for it
        "#);
    }
}
