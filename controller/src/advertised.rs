//! Whether a host's word about advertised addresses is taken: only about its own goloop, only from validators' hosts, and
//! only in a believable size. Values in, values out; whose address counts is for the merge.

use picket_chain::node::answer::{MOST_ENDPOINTS, MOST_ENTRIES};
use picket_model::{Advertised, Node, NodeRole, Timestamp};
use std::collections::BTreeSet;

/// Whether this host's word counts: a member that runs a validator and is not in quarantine.
pub(crate) fn may_tell(node: &Node) -> bool {
    node.role == NodeRole::Prep && node.is_meshed()
}

/// What `node` said, as it is taken at `now`; `None` where it said nothing that may be.
pub(crate) fn accepted(node: &Node, said: Option<Advertised>, now: Timestamp) -> Option<Advertised> {
    let said = said.filter(|_| may_tell(node))?;
    let entries = said.endpoints.values().map(BTreeSet::len);
    if entries.clone().sum::<usize>() > MOST_ENTRIES || entries.max() > Some(MOST_ENDPOINTS) {
        tracing::warn!(node = %node.name, "advertised addresses refused: more than any agent of ours reports");
        return None;
    }
    // It speaks for itself alone, and not of the future.
    Some(Advertised { node: node.id.clone(), seen_at: said.seen_at.min(now), ..said })
}

/// Whether a host says something else than before. A new height or time alone is no news.
pub(crate) fn is_news(said: &Advertised, before: Option<&Advertised>) -> bool {
    before.is_none_or(|before| before.channel != said.channel || before.endpoints != said.endpoints)
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_model::{NodeState, fixture};
    use std::collections::BTreeMap;

    const NOW: Timestamp = Timestamp::from_millis(1000);

    fn node(role: NodeRole) -> Node {
        fixture::node("n-1", role, 1)
    }

    /// So many nodes that advertise so many addresses each.
    fn said(nodes: usize, each: u8) -> Advertised {
        let addresses = |n: usize| -> BTreeSet<_> {
            (0..each).map(|last| format!("10.{}.{}.{last}:7100", n / 250, n % 250).parse().unwrap()).collect()
        };
        let endpoints = (0..nodes).map(|n| (format!("hx{n:040x}").parse().unwrap(), addresses(n)));
        Advertised {
            node: "n-9".parse().unwrap(),
            channel: "icon_dex".into(),
            height: 5,
            seen_at: Timestamp::from_millis(5000),
            endpoints: endpoints.collect::<BTreeMap<_, _>>(),
            refused: Vec::new(),
        }
    }

    #[test]
    fn a_host_speaks_for_itself_and_not_of_the_future() {
        let taken = accepted(&node(NodeRole::Prep), Some(said(3, 1)), NOW).unwrap();
        assert_eq!((taken.node.as_str(), taken.seen_at, taken.endpoints.len()), ("n-1", NOW, 3));
    }

    #[test]
    fn sentries_revoked_hosts_and_floods_are_not_heard() {
        assert_eq!(accepted(&node(NodeRole::Sentry), Some(said(3, 1)), NOW), None);
        let revoked = Node { state: NodeState::Revoked { at: NOW }, ..node(NodeRole::Prep) };
        assert_eq!(accepted(&revoked, Some(said(3, 1)), NOW), None);
        let aside = Node { state: NodeState::Quarantined { since: NOW }, ..node(NodeRole::Prep) };
        assert_eq!(accepted(&aside, Some(said(3, 1)), NOW), None);
        assert!(accepted(&node(NodeRole::Prep), Some(said(1000, 1)), NOW).is_some());
        assert_eq!(accepted(&node(NodeRole::Prep), Some(said(1001, 1)), NOW), None);
        assert!(accepted(&node(NodeRole::Prep), Some(said(1, 4)), NOW).is_some());
        assert_eq!(accepted(&node(NodeRole::Prep), Some(said(1, 5)), NOW), None);
    }

    #[test]
    fn heights_and_times_are_no_news() {
        let before = said(3, 1);
        let later = Advertised { height: 6, seen_at: NOW, ..before.clone() };
        assert!(!is_news(&later, Some(&before)) && is_news(&later, None) && is_news(&said(3, 2), Some(&before)));
    }
}
