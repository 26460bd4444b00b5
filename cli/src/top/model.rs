//! What was seen, and what follows from two looks: rates. And what of it somebody wants to see. No IO, no clock.

use picket_api::operator::{NodeView, StatusView};
use picket_model::{NodeName, Timestamp};
use ratatui::crossterm::event::KeyCode;
use std::collections::BTreeMap;

/// One look at the mesh.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub(crate) status: StatusView,
    pub(crate) nodes: Vec<NodeView>,
}

/// What was seen so far.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    last: Option<Look>,
    /// Each host's last report but one, for rates: a report comes each 30 seconds, a look each two.
    before: BTreeMap<NodeName, Counted>,
    now: BTreeMap<NodeName, Counted>,
    /// Why the last look gave nothing.
    error: Option<String>,
}

/// A host's counts at the time of a report.
#[derive(Clone, Debug, PartialEq)]
struct Counted {
    at: Timestamp,
    counts: BTreeMap<String, u64>,
}

/// A host with its name, and a count a second; `None` before there were two reports.
pub(crate) type Rated<'a> = (&'a NodeName, String, Option<f64>, u64);

impl Seen {
    /// Takes a look.
    pub(crate) fn took(&mut self, look: Look) {
        for view in &look.nodes {
            let (Some(report), Some(at)) = (&view.report, view.reported_at) else { continue };
            let packets = report.kernel.packets.iter().map(|(decision, count)| (decision.clone(), *count));
            let bytes = report.peers.iter().flat_map(|(key, peer)| {
                [(format!("received {key}"), peer.received_bytes), (format!("sent {key}"), peer.sent_bytes)]
            });
            let counted = Counted { at, counts: packets.chain(bytes).collect() };
            let name = view.node.name.clone();
            if let Some(held) = self.now.insert(name.clone(), counted)
                && held.at < at
            {
                self.before.insert(name, held);
            }
        }
        let is_there = |name: &NodeName| look.nodes.iter().any(|view| view.node.name == *name);
        self.before.retain(|name, _| is_there(name));
        self.now.retain(|name, _| is_there(name));
        (self.last, self.error) = (Some(look), None);
    }

    /// Notes that a look gave nothing; what was seen stays.
    pub(crate) fn missed(&mut self, error: String) {
        self.error = Some(error);
    }

    /// The last look.
    pub(crate) fn last(&self) -> Option<&Look> {
        self.last.as_ref()
    }

    /// Why the last look gave nothing.
    pub(crate) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// How fast a host's count rises, a second; a count that fell began anew.
    pub(crate) fn rate(&self, host: &NodeName, count: &str) -> Option<f64> {
        let (before, now) = (self.before.get(host)?, self.now.get(host)?);
        let took = now.at.since(before.at).as_secs_f64();
        let (was, is) = (before.counts.get(count).copied().unwrap_or_default(), *now.counts.get(count)?);
        // Packets of half a minute are far below what a fraction of 53 bits holds.
        (took > 0.0).then(|| is.checked_sub(was).unwrap_or(is) as f64 / took)
    }

    /// What hosts stopped, by host and decision, the fastest first.
    pub(crate) fn drops(&self) -> Vec<Rated<'_>> {
        let stopped = |name: &str| name.starts_with("refused_") || name.starts_with("limited_");
        let hosts = self.now.iter();
        let mut drops: Vec<Rated<'_>> = hosts
            .flat_map(|(host, counted)| counted.counts.iter().map(move |(name, count)| (host, name, *count)))
            .filter(|(_, name, count)| stopped(name) && *count > 0)
            .map(|(host, name, count)| (host, name.clone(), self.rate(host, name), count))
            .collect();
        drops.sort_by(|a, b| b.2.unwrap_or_default().total_cmp(&a.2.unwrap_or_default()).then_with(|| b.3.cmp(&a.3)));
        drops
    }
}

/// The parts of the screen, of which one is seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tab {
    #[default]
    Hosts,
    Flows,
    Drops,
    Attack,
}

impl Tab {
    /// All, in order of their keys.
    pub(crate) const ALL: [(Self, &'static str); 4] =
        [(Self::Hosts, "hosts"), (Self::Flows, "flows"), (Self::Drops, "drops"), (Self::Attack, "attack")];
}

/// What somebody wants to see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) tab: Tab,
    /// Lines that are above the screen; drawing keeps it within what there is.
    pub(crate) above: usize,
}

impl View {
    /// Follows a key; false where it ends the screen.
    pub(crate) fn pressed(&mut self, key: KeyCode) -> bool {
        let place = Tab::ALL.iter().position(|(tab, _)| *tab == self.tab).unwrap_or_default();
        let turn = |by: usize| Self { tab: Tab::ALL[(place + by) % Tab::ALL.len()].0, above: 0 };
        match key {
            KeyCode::Char('q') | KeyCode::Esc => return false,
            KeyCode::Char(number @ '1'..='4') => {
                let place = number.to_digit(10).map_or(0, |number| number as usize - 1);
                *self = Self { tab: Tab::ALL[place].0, above: 0 };
            }
            KeyCode::Tab | KeyCode::Right => *self = turn(1),
            KeyCode::BackTab | KeyCode::Left => *self = turn(Tab::ALL.len() - 1),
            KeyCode::Down | KeyCode::Char('j') => self.above = self.above.saturating_add(1),
            KeyCode::Up | KeyCode::Char('k') => self.above = self.above.saturating_sub(1),
            KeyCode::PageDown => self.above = self.above.saturating_add(10),
            KeyCode::PageUp => self.above = self.above.saturating_sub(10),
            KeyCode::Home => self.above = 0,
            _ => {}
        }
        true
    }
}
