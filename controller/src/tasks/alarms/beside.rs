//! What is wrong with the nodes beside hosts' agents, by those hosts' own word. Values in, findings out. A host whose agent was told of
//! no node says nothing of one, and nothing is found.

use super::gather::SHOWN;
use picket_model::{ChainHealth, Node, Timestamp};
use picket_plan::{Finding, FindingKind};
use std::time::Duration;

/// A node that is restarted is not at work for as long.
const PATIENCE: Duration = Duration::from_secs(60);
/// Blocks that a node may be behind: more than a minute and a half of them. Reports come each 30 s, so some always are.
const MOST_BEHIND: u64 = 50;

/// What a host says of the node beside it, and since when that is not well.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beside<'a> {
    pub(super) said: &'a ChainHealth,
    pub(super) unwell_since: Option<Timestamp>,
    /// Whether that was said lately enough to hold its height against the sources'.
    pub(super) is_fresh: bool,
}

/// What is wrong with one; `height` is where the sources are.
pub(super) fn finding(host: &Node, beside: Beside<'_>, height: Option<u64>, now: Timestamp) -> Option<Finding> {
    let Beside { said, unwell_since, is_fresh } = beside;
    let name = &host.name;
    if let Some(since) = unwell_since {
        let word: String = said.to_string().chars().take(SHOWN).collect();
        let text = format!("host {name}: the node beside it is not well since {since}: {word}");
        return (now.since(since) >= PATIENCE).then(|| Finding::warning(FindingKind::NodeNotWell, name, text));
    }
    // Zero is said in some states though the chain is fine.
    let own = said.height.filter(|own| is_fresh && *own > 0)?;
    let behind = height?.saturating_sub(own);
    let text = format!("host {name}: the node beside it is {behind} blocks behind the sources, at height {own}");
    (behind > MOST_BEHIND).then(|| Finding::warning(FindingKind::NodeBehind, name, text))
}

/// Where the chain is by several sources' word: of the heights the middle one, the lower of two. One source that lies moves it
/// nowhere.
pub(super) fn middle(mut heights: Vec<u64>) -> Option<u64> {
    heights.sort_unstable();
    heights.get(heights.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_model::{NodeRole, fixture::node};

    fn check(
        said: &ChainHealth,
        unwell: Option<i64>,
        is_fresh: bool,
        height: Option<u64>,
        expect: Option<(FindingKind, &str)>,
    ) {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        let beside = Beside { said, unwell_since: unwell.map(at), is_fresh };
        let found = finding(&node("prep-1", NodeRole::Prep, 1), beside, height, at(1000));
        assert_eq!(found.as_ref().map(|found| found.kind), expect.map(|(kind, _)| kind), "{found:?}");
        if let (Some(found), Some((_, part))) = (found, expect) {
            assert!(found.subject == "prep-1" && found.text.contains(part), "{found:?}");
        }
    }

    #[test]
    fn a_node_that_stopped_is_told_of_once_a_restart_would_be_over() {
        let stopped =
            ChainHealth { state: "stopped".to_owned(), height: Some(7), error: Some("disk full\n".to_owned()) };
        let told = "not well since 1970-01-01T00:15:40Z: stopped at height 7: disk full\\n";
        check(&stopped, Some(940), true, Some(1000), Some((FindingKind::NodeNotWell, told)));
        check(&stopped, Some(941), true, Some(1000), None);
        // Its last word stands, though it is old.
        check(&stopped, Some(0), false, None, Some((FindingKind::NodeNotWell, "stopped")));
        let unknown = ChainHealth::unknown("connect: refused".to_owned());
        check(&unknown, Some(900), true, None, Some((FindingKind::NodeNotWell, "unknown: connect: refused")));
    }

    #[test]
    fn a_node_at_work_is_held_against_the_sources() {
        let at = |height| ChainHealth { state: "started".to_owned(), height, error: None };
        let behind = Some((FindingKind::NodeBehind, "51 blocks behind the sources, at height 949"));
        check(&at(Some(949)), None, true, Some(1000), behind);
        check(&at(Some(950)), None, true, Some(1000), None);
        check(&at(Some(2000)), None, true, Some(1000), None);
        // What nobody knows is no alarm: an old word, no height, no source.
        check(&at(Some(949)), None, false, Some(1000), None);
        check(&at(Some(0)), None, true, Some(1000), None);
        check(&at(None), None, true, Some(1000), None);
        check(&at(Some(949)), None, true, None, None);
    }

    #[test]
    fn one_source_that_lies_makes_no_node_late() {
        assert_eq!(middle(vec![]), None);
        assert_eq!(middle(vec![5]), Some(5));
        assert_eq!(middle(vec![9_000_000, 5]), Some(5));
        assert_eq!(middle(vec![9_000_000, 7, 5]), Some(7));
    }
}
