//! What the demo, or another story, has seen: progress while it runs, a table or JSON lines of the checks.

use crate::LabError;
use serde::Serialize;
use std::time::{Duration, Instant};

/// One check.
#[derive(Debug, Serialize)]
struct Check {
    check: String,
    ok: bool,
    /// What was measured, in milliseconds; absent where the check has no time to tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    measured_ms: Option<f64>,
    detail: String,
}

/// What a check saw when it held.
pub(crate) struct Seen {
    pub(crate) measured: Option<Duration>,
    pub(crate) detail: String,
}

impl Seen {
    /// Saw it, with no time to tell.
    pub(crate) fn that(detail: impl Into<String>) -> Self {
        Self { measured: None, detail: detail.into() }
    }

    /// Saw it, and it took this long.
    pub(crate) fn after(measured: Duration, detail: impl Into<String>) -> Self {
        Self { measured: Some(measured), detail: detail.into() }
    }
}

/// All checks so far.
pub(crate) struct Report {
    json: bool,
    started: Instant,
    checks: Vec<Check>,
}

impl Report {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, started: Instant::now(), checks: Vec::new() }
    }

    /// Tells what happens now.
    pub(crate) fn say(&self, text: &str) {
        self.line(&format!("[{:6.2} s] {text}", self.started.elapsed().as_secs_f64()));
    }

    /// A line for people; with `--json` on standard error, where it disturbs no program.
    pub(crate) fn line(&self, text: &str) {
        if self.json { eprintln!("{text}") } else { println!("{text}") }
    }

    /// Tries one check and tells how it went.
    pub(crate) fn check(&mut self, check: &str, attempt: impl FnOnce() -> Result<Seen, LabError>) {
        let (ok, measured, detail) = match attempt() {
            Ok(seen) => (true, seen.measured, seen.detail),
            Err(error) => (false, None, error.to_string()),
        };
        let measured_ms = measured.map(milliseconds);
        let check = Check { check: check.to_owned(), ok, measured_ms, detail };
        self.say(&format!("{}  {}{}", mark(ok), check.check, time(&check)));
        if !ok {
            self.line(&format!("           {}", check.detail));
        }
        if self.json
            && let Ok(line) = serde_json::to_string(&check)
        {
            println!("{line}");
        }
        self.checks.push(check);
    }

    /// Whether there were checks and all held.
    pub(crate) fn all_held(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|check| check.ok)
    }

    /// All checks as a table.
    pub(crate) fn table(&self) {
        let width = self.checks.iter().map(|check| check.check.len()).max().unwrap_or(0);
        self.line("");
        for check in &self.checks {
            let time = check.measured_ms.map_or_else(String::new, |ms| format!("{ms:.1} ms"));
            self.line(&format!("{}  {:width$}  {time:>11}  {}", mark(check.ok), check.check, check.detail));
        }
        let held = self.checks.iter().filter(|check| check.ok).count();
        let seconds = self.started.elapsed().as_secs_f64();
        self.line(&format!("\n{held} of {} checks held, in {seconds:.1} s", self.checks.len()));
    }
}

fn mark(ok: bool) -> &'static str {
    if ok { "ok  " } else { "FAIL" }
}

fn time(check: &Check) -> String {
    check.measured_ms.map_or_else(String::new, |ms| format!(" ({ms:.1} ms)"))
}

/// To a tenth: more digits would claim what was not measured.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}
