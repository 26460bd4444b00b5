//! What could grow in a soak and must not: memory and descriptors of each process, rules and elements of each host, rows of the
//! database. A process that was killed begins anew.

use crate::{LabError, Process, mesh::Mesh};
use serde::Serialize;
use sqlx::{Connection as _, Row as _, SqliteConnection, sqlite::SqliteConnectOptions};
use std::{collections::BTreeMap, fmt, fs};

/// Tables that tell of the past, which is kept: each fault adds to them.
const HISTORY: [&str; 16] = [
    "answers",
    "ca_trust",
    "certificates",
    "configs",
    "cuts",
    "events",
    "former_keys",
    "nodes",
    "observation_days",
    "observations",
    "parts",
    "plans",
    "reports",
    "tokens",
    "validator_changes",
    "validator_sets",
];
/// Samples of a process, or of a host, that are left out at first: it is warming up.
const FIRST: usize = 3;
/// Fewest samples beyond those that tell of growth.
const FEWEST: usize = 8;

/// What a figure is of; what it may grow by without being called a leak, and beyond how many percent of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    MemoryKib,
    Descriptors,
    RuleLines,
    Rows,
    HistoryRows,
}

impl Kind {
    /// What is too much: more than that, and more than a quarter more. History may grow.
    fn allowed(self) -> Option<u64> {
        match self {
            Self::MemoryKib => Some(6 << 10),
            Self::Descriptors => Some(12),
            Self::RuleLines => Some(4),
            Self::Rows => Some(40),
            Self::HistoryRows => None,
        }
    }
}

/// Everything at one moment, after a fault was mended.
pub(super) struct Sample(BTreeMap<(String, Kind), u64>);

impl Sample {
    pub(super) fn of(mesh: &Mesh) -> Result<Self, LabError> {
        let mut figures = BTreeMap::new();
        let mut process = |name: &str, process: Option<&Process>| -> Result<(), LabError> {
            let Some(process) = process else { return Ok(()) };
            let of = format!("{name}, process {}", process.id());
            figures.insert((of.clone(), Kind::MemoryKib), process.resident_memory_bytes()? >> 10);
            let descriptors = fs::read_dir(format!("/proc/{}/fd", process.id())).map_or(0, Iterator::count);
            figures.insert((of, Kind::Descriptors), u64::try_from(descriptors).unwrap_or_default());
            Ok(())
        };
        process("controller", mesh.controller.process())?;
        for agent in mesh.agents() {
            process(agent.name(), agent.process())?;
        }
        for agent in mesh.agents() {
            let lines = agent.rules_in_kernel()?.lines().count();
            figures.insert((agent.name().to_owned(), Kind::RuleLines), u64::try_from(lines).unwrap_or_default());
        }
        for (table, rows) in rows(mesh)? {
            let kind = if HISTORY.contains(&table.as_str()) { Kind::HistoryRows } else { Kind::Rows };
            figures.insert((table, kind), rows);
        }
        Ok(Self(figures))
    }
}

/// How many rows each table of the controller's database has.
fn rows(mesh: &Mesh) -> Result<BTreeMap<String, u64>, LabError> {
    let what = |error: sqlx::Error| LabError::Unexpected { found: format!("count the database's rows: {error}") };
    let file = mesh.controller.state_folder().join("controller.db");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| LabError::io("start a runtime", error))?;
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(&file).read_only(true);
        let mut database = SqliteConnection::connect_with(&options).await.map_err(what)?;
        let tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND name NOT LIKE '\\_%' ESCAPE '\\'";
        let tables = sqlx::query(tables).fetch_all(&mut database).await.map_err(what)?;
        let mut counts = BTreeMap::new();
        for table in tables {
            let name: String = table.try_get("name").map_err(what)?;
            // The name is the database's own.
            let count = sqlx::AssertSqlSafe(format!("SELECT COUNT(*) AS rows FROM \"{name}\""));
            let count: i64 = sqlx::query(count).fetch_one(&mut database).await.map_err(what)?.try_get("rows").map_err(what)?;
            counts.insert(name, u64::try_from(count).unwrap_or_default());
        }
        database.close().await.map_err(what)?;
        Ok(counts)
    })
}

/// All samples.
#[derive(Default)]
pub(super) struct Growth(BTreeMap<(String, Kind), Vec<u64>>);

/// How one figure went.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    of: String,
    kind: Kind,
    samples: usize,
    /// Medians of the first and of the last quarter, warm-up left out.
    early: u64,
    late: u64,
    most: u64,
}

impl Growth {
    pub(super) fn add(&mut self, sample: Sample) {
        for (of, figure) in sample.0 {
            self.0.entry(of).or_default().push(figure);
        }
    }

    /// Those of which there are enough samples.
    pub(super) fn lines(&self) -> Vec<Line> {
        let enough = self.0.iter().filter(|(_, samples)| samples.len() >= FIRST + FEWEST);
        enough.map(|((of, kind), samples)| Line::of(of.clone(), *kind, &samples[FIRST..])).collect()
    }
}

impl Line {
    fn of(of: String, kind: Kind, samples: &[u64]) -> Self {
        let quarter = samples.len() / 4;
        let (early, late) = (median(&samples[..quarter]), median(&samples[samples.len() - quarter..]));
        Self { of, kind, samples: samples.len(), early, late, most: samples.iter().copied().max().unwrap_or_default() }
    }

    /// Whether it grew by more than such a figure may.
    pub(super) fn is_a_leak(&self) -> bool {
        let Some(allowed) = self.kind.allowed() else { return false };
        self.late > self.early + allowed && self.late > self.early + self.early / 4
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { of, kind, samples, early, late, most } = self;
        write!(f, "{of}: {kind:?} {early} early, {late} late, {most} at most, of {samples} samples")
    }
}

fn median(samples: &[u64]) -> u64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_a_leak(samples: impl Iterator<Item = u64>) -> bool {
        let mut growth = Growth::default();
        for figure in samples {
            growth.add(Sample(BTreeMap::from([(("it".to_owned(), Kind::MemoryKib), figure)])));
        }
        let lines = growth.lines();
        assert_eq!(lines.len(), 1);
        lines[0].is_a_leak()
    }

    #[test]
    fn what_grows_without_end_is_a_leak_and_what_warms_up_or_swings_is_not() {
        assert!(is_a_leak((0..40).map(|at| 20_000 + at * 500)));
        assert!(!is_a_leak([5_000, 15_000, 19_000].into_iter().chain((0..40).map(|at| 20_000 + at % 7 * 500))));
        assert!(!is_a_leak((0..40).map(|at| 20_000 + at * 50)));
    }
}
