//! What hidden validators' hosts tell of their ways: taken within bounds, and each move written to the audit log once. Hosts tell of
//! the last moves with every report, so that none is missed and most are known.

use crate::store::{Actor, StoreError, Transaction};
use picket_model::{
    Node, NodeId, NodeName, NodeRole, PathsReport, Timestamp,
    limits::MOST_PEERS,
    paths::{MOST_CARRIED, MOST_MOVES, Moved},
};
use std::{collections::BTreeMap, time::Duration};

/// Lines of one host that the audit log takes in an hour: ways that go up and down all the time say so in the metrics.
const MOST_AN_HOUR: u32 = 120;
const HOUR: Duration = Duration::from_hours(1);
/// Longest word of a host, in characters.
const LONGEST_WORD: usize = 60;

/// A report's ways within bounds; none from a host that can have none.
pub(crate) fn accepted(node: &Node, paths: Option<Box<PathsReport>>) -> Option<Box<PathsReport>> {
    let mut paths = paths.filter(|_| node.role == NodeRole::Prep)?;
    let PathsReport { sentries, carried, more: _, moves, moved } = &mut *paths;
    let mut most = MOST_PEERS;
    sentries.retain(|_, way| {
        shorten(&mut way.way);
        way.burden.as_mut().map(shorten);
        most = most.saturating_sub(1);
        most > 0
    });
    let mut room = MOST_CARRIED;
    carried.retain_mut(|carried| {
        carried.destinations.truncate(room);
        room -= carried.destinations.len();
        shorten(&mut carried.cause);
        !carried.destinations.is_empty()
    });
    moves.drain(..moves.len().saturating_sub(MOST_MOVES));
    moves.iter_mut().for_each(|moved| shorten(&mut moved.cause));
    moved.retain(|cause, _| cause.len() <= LONGEST_WORD);
    while moved.len() > MOST_MOVES {
        moved.pop_last();
    }
    Some(paths)
}

fn shorten(text: &mut String) {
    if let Some((at, _)) = text.char_indices().nth(LONGEST_WORD) {
        text.truncate(at);
    }
}

/// One move that the audit log is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    node: NodeId,
    name: NodeName,
    moved: Moved,
    heard_at: Timestamp,
}

/// Moves that the audit log does not have yet, and how many each host had lately.
#[derive(Debug, Default)]
pub(crate) struct Told {
    waiting: Vec<Line>,
    lately: BTreeMap<NodeId, (Timestamp, u32)>,
}

impl Told {
    /// Notes what a report tells and the one before it did not.
    pub(crate) fn note(
        &mut self,
        node: &Node,
        before: Option<&PathsReport>,
        after: Option<&PathsReport>,
        now: Timestamp,
    ) {
        let known = before.and_then(|before| before.moves.last()).map(|moved| (moved.run, moved.number));
        let is_known = |moved: &&Moved| known.is_some_and(|(run, number)| moved.run == run && moved.number <= number);
        for moved in after.iter().flat_map(|after| &after.moves).filter(|moved| !is_known(moved)) {
            let (since, count) = self.lately.entry(node.id.clone()).or_insert((now, 0));
            if now.since(*since) >= HOUR || now < *since {
                (*since, *count) = (now, 0);
            }
            *count = count.saturating_add(1);
            if *count <= MOST_AN_HOUR {
                let (node, name) = (node.id.clone(), node.name.clone());
                self.waiting.push(Line { node, name, moved: moved.clone(), heard_at: now });
            } else if *count == MOST_AN_HOUR + 1 {
                tracing::warn!(node = %node.name, "ways move all the time: no more lines in the audit log for an hour");
            }
        }
    }

    /// All that wait, which do not any more.
    pub(crate) fn take(&mut self) -> Vec<Line> {
        std::mem::take(&mut self.waiting)
    }

    /// Those that could not be written.
    pub(crate) fn put_back(&mut self, lines: Vec<Line>) {
        self.waiting.splice(0..0, lines);
    }
}

/// Writes them down.
pub(crate) async fn record(tx: &mut Transaction, lines: &[Line]) -> Result<(), StoreError> {
    if lines.is_empty() {
        return Ok(());
    }
    let nodes = tx.nodes().await?;
    let name = |id: &Option<NodeId>| {
        let known = |id: &NodeId| nodes.get(id).map_or_else(|| id.to_string(), |node| node.name.to_string());
        id.as_ref().map_or_else(|| "several".to_owned(), known)
    };
    for Line { node, name: prep, moved, heard_at } in lines {
        let Moved { count, from, to, cause, .. } = moved;
        let what = if *count == 1 { "destination" } else { "destinations" };
        let detail = format!("{count} {what} from {} to {}: {}", name(from), name(to), cause.escape_debug());
        tx.record(*heard_at, &Actor::Node(node.clone()), "paths.moved", prep.as_str(), &detail).await?;
    }
    Ok(())
}
