//! The screen as a function of what was seen. Texts of others are shown escaped.

use super::model::{Look, Seen, Tab, View};
use crate::{
    table::visible,
    time::{ago, rough},
};
use picket_api::operator::NodeView;
use picket_model::{NodeName, Timestamp};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::Line,
    widgets::{Paragraph, Row, Table},
};
use std::{collections::BTreeMap, time::Duration};

/// Handshakes come each two minutes where anything passes.
const SHAKEN: Duration = Duration::from_secs(180);
/// Alarms that are shown above the tables.
const ALARMS: usize = 3;

/// Columns of a table: their names and least widths, the last one with what is left.
type Columns = &'static [(&'static str, u16)];

const HOSTS: Columns = &[
    ("HOST", 16),
    ("ROLE", 6),
    ("WANTED", 7),
    ("HOLDS", 7),
    ("TUNNELS", 8),
    ("HEARD", 10),
    ("STOPPED/S", 10),
    ("STATE", 10),
];
const FLOWS: Columns = &[
    ("HOST", 16),
    ("PEER", 16),
    ("HANDSHAKE", 12),
    ("RECEIVED/S", 11),
    ("SENT/S", 11),
    ("LOSS", 6),
    ("ROUND TRIP", 10),
];
const DROPS: Columns = &[("HOST", 16), ("DECISION", 28), ("A SECOND", 10), ("IN ALL", 14)];
const ATTACK: Columns = &[
    ("HOST", 16),
    ("STOPPED/S", 10),
    ("ATTACK AT", 10),
    ("LIMITS", 8),
    ("SINCE", 12),
    ("TRACKING", 14),
    ("MOST STOPPED BY", 20),
    ("MOST FROM", 18),
];

/// Draws all of it.
pub(super) fn screen(frame: &mut Frame<'_>, seen: &Seen, view: &mut View, now: Timestamp) {
    let Some(look) = seen.last() else { return };
    let alarms = alarms(look, seen.error());
    let lines = |count: usize| Constraint::Length(u16::try_from(count).unwrap_or(u16::MAX));
    let layout = Layout::vertical([lines(2), lines(alarms.len()), Constraint::Min(1), lines(1)]);
    let [head, above, body, foot] = layout.areas(frame.area());
    frame.render_widget(Paragraph::new(heading(look, now)), head);
    frame.render_widget(Paragraph::new(alarms), above);
    let (columns, rows) = match view.tab {
        Tab::Hosts => (HOSTS, hosts(look, seen, now)),
        Tab::Flows => (FLOWS, flows(look, seen, now)),
        Tab::Drops => (DROPS, drops(seen)),
        Tab::Attack => (ATTACK, attack(look, seen, now)),
    };
    let room = usize::from(body.height.saturating_sub(1));
    view.above = view.above.min(rows.len().saturating_sub(room));
    table(frame, body, columns, rows, view.above);
    frame.render_widget(Paragraph::new(keys(view.tab)), foot);
}

fn heading(look: &Look, now: Timestamp) -> Vec<Line<'static>> {
    let status = &look.status;
    let is_well = status.in_force == status.nodes && status.alarms.is_empty();
    let word = if is_well { "all is well".to_owned() } else { format!("{} alarms", status.alarms.len()) };
    let style = Style::new().fg(if is_well { Color::Green } else { Color::Red });
    let first = format!(
        "picket {}  generation {}  {} of {} hosts in force  {} validators  {word}",
        status.mesh, status.generation, status.in_force, status.nodes, status.validators
    );
    let sources = status.sources.iter().map(|source| match (&source.error, source.height) {
        (None, Some(height)) => format!("{} at {height}", source.id),
        _ => format!("{} FAILS", source.id),
    });
    let sources: Vec<String> = sources.collect();
    let second = format!("sources: {}  seen {}", sources.join(", "), ago(Some(status.now), now));
    vec![Line::styled(first, style.add_modifier(Modifier::BOLD)), Line::raw(second)]
}

fn alarms(look: &Look, error: Option<&str>) -> Vec<Line<'static>> {
    let red = Style::new().fg(Color::Red);
    let lost = error.map(|error| format!("no answer, what is below is old: {}", visible(error)));
    let shown = look.status.alarms.iter().take(ALARMS).map(|alarm| format!("! {}", visible(alarm)));
    let more = look.status.alarms.len().saturating_sub(ALARMS);
    let rest = (more > 0).then(|| format!("! and {more} more: picket status"));
    lost.into_iter().chain(shown).chain(rest).map(|line| Line::styled(line, red)).collect()
}

fn keys(tab: Tab) -> Line<'static> {
    let tabs =
        (1..).zip(Tab::ALL).map(
            |(number, (its, name))| {
                if its == tab { format!("[{number} {name}]") } else { format!(" {number} {name} ") }
            },
        );
    Line::raw(format!("{}   tab: next   up/down: scroll   q: end", tabs.collect::<String>()))
}

/// One line of a table, and whether somebody should look at it.
type Cells = (Vec<String>, bool);

fn table(frame: &mut Frame<'_>, area: Rect, columns: Columns, rows: Vec<Cells>, above: usize) {
    let last = columns.len().saturating_sub(1);
    let widths = columns
        .iter()
        .enumerate()
        .map(|(place, (_, width))| if place == last { Constraint::Min(*width) } else { Constraint::Length(*width) });
    let header = Row::new(columns.iter().map(|(name, _)| *name)).style(Style::new().add_modifier(Modifier::BOLD));
    let rows = rows.into_iter().skip(above).map(|(cells, is_bad)| {
        let style = if is_bad { Style::new().fg(Color::Yellow) } else { Style::new() };
        Row::new(cells).style(style)
    });
    frame.render_widget(Table::new(rows, widths).header(header), area);
}

fn hosts(look: &Look, seen: &Seen, now: Timestamp) -> Vec<Cells> {
    let row = |view: &NodeView| {
        let node = &view.node;
        let report = view.report.as_ref();
        let alive = report.map(|report| {
            let shaken = report.peers.values().filter(|peer| peer.last_handshake.is_some()).count();
            format!("{shaken} of {}", report.peers.len())
        });
        let stopped: f64 = seen.drops().iter().filter(|drop| *drop.0 == node.name).filter_map(|drop| drop.2).sum();
        let state = match (view.in_force, &view.wanted) {
            (true, _) => "in force",
            (false, None) => "no member",
            (false, Some(_)) => "NOT IN FORCE",
        };
        let cells = vec![
            node.name.to_string(),
            node.role.to_string(),
            view.wanted.map_or_else(dash, |wanted| wanted.to_string()),
            report.map_or_else(dash, |report| report.applied.to_string()),
            alive.unwrap_or_else(dash),
            if view.connected { "connected".to_owned() } else { ago(view.reported_at, now) },
            fast(Some(stopped)),
            state.to_owned(),
        ];
        (cells, !view.in_force && view.wanted.is_some())
    };
    look.nodes.iter().filter(|view| view.node.is_active()).map(row).collect()
}

fn flows(look: &Look, seen: &Seen, now: Timestamp) -> Vec<Cells> {
    let names: BTreeMap<_, &NodeView> = look.nodes.iter().map(|view| (view.node.wireguard_key, view)).collect();
    let reports = look.nodes.iter().filter_map(|view| Some((&view.node.name, view.report.as_ref()?)));
    let rows = reports.flat_map(|(host, report)| report.peers.iter().map(move |peer| (host, report, peer)));
    rows.map(|(host, report, (key, peer))| {
        let other = names.get(key);
        let way = other.zip(report.paths.as_ref()).and_then(|(other, paths)| paths.sentries.get(&other.node.id));
        let is_old = peer.last_handshake.is_none_or(|at| now.since(at) > SHAKEN);
        let rate = |what: &str| seen.rate(host, &format!("{what} {key}")).map_or_else(dash, bytes);
        let cells = vec![
            host.to_string(),
            other.map_or_else(|| key.to_string(), |other| other.node.name.to_string()),
            ago(peer.last_handshake, now),
            rate("received"),
            rate("sent"),
            way.map_or_else(dash, |way| format!("{:.1}%", f64::from(way.lost_permille) / 10.0)),
            way.and_then(|way| way.round_trip_us).map_or_else(dash, |us| format!("{:.1} ms", f64::from(us) / 1000.0)),
        ];
        (cells, is_old)
    })
    .collect()
}

fn drops(seen: &Seen) -> Vec<Cells> {
    let row = |(host, decision, rate, count): (&NodeName, String, Option<f64>, u64)| {
        (
            vec![host.to_string(), visible(&decision), fast(rate), count.to_string()],
            rate.is_some_and(|rate| rate >= 1.0),
        )
    };
    seen.drops().into_iter().map(row).collect()
}

fn attack(look: &Look, seen: &Seen, now: Timestamp) -> Vec<Cells> {
    let drops = seen.drops();
    let said = look.nodes.iter().filter_map(|view| Some((&view.node.name, view.report.as_ref()?)));
    let said = said.filter_map(|(host, report)| Some((host, report, report.defences.as_ref()?)));
    said.map(|(host, report, defences)| {
        let sources = report.refused_sources.iter().flat_map(|refused| &refused.addresses);
        let loudest = sources.max_by_key(|(_, source)| source.samples).map(|(address, _)| address.to_string());
        let tracking = defences.tracking.map(|tracking| format!("{} ({}%)", tracking.connections, tracking.percent()));
        let most = drops.iter().find(|drop| drop.0 == host).map(|drop| visible(&drop.1));
        let stopped = defences.stopped_per_second;
        let cells = vec![
            host.to_string(),
            stopped.map_or_else(dash, |stopped| stopped.to_string()),
            defences.attack_per_second.to_string(),
            if defences.is_tight { "tight" } else { "as ever" }.to_owned(),
            rough(now.since(defences.since)),
            tracking.unwrap_or_else(dash),
            most.unwrap_or_else(dash),
            loudest.unwrap_or_else(dash),
        ];
        let is_attacked = stopped.is_some_and(|stopped| stopped >= defences.attack_per_second);
        (cells, is_attacked || defences.is_tight)
    })
    .collect()
}

fn dash() -> String {
    "-".to_owned()
}

/// So many a second.
fn fast(rate: Option<f64>) -> String {
    rate.map_or_else(dash, |rate| if rate < 10.0 { format!("{rate:.1}") } else { format!("{rate:.0}") })
}

/// Bytes a second, as people read them.
fn bytes(rate: f64) -> String {
    let units = [("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    let found = units.into_iter().find(|(_, size)| rate >= *size);
    found.map_or_else(|| format!("{rate:.0} B"), |(unit, size)| format!("{:.1} {unit}", rate / size))
}
