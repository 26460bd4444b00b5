//! What came of a run of many checks, some of which a machine may not be able to run.

use std::{process::ExitCode, time::Instant};

/// What holds, what does not, and what was not looked at.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    run: &'static str,
    passed: Vec<String>,
    failed: Vec<String>,
    not_run: Vec<String>,
}

impl Outcome {
    /// Of a run of this name.
    pub(crate) fn of_run(run: &'static str) -> Self {
        Self { run, ..Self::default() }
    }

    /// Notes whether something held, and gives it back.
    pub(crate) fn of(&mut self, what: impl Into<String>, held: bool) -> bool {
        if held { &mut self.passed } else { &mut self.failed }.push(what.into());
        held
    }

    /// Notes what cannot be run here, and why.
    pub(crate) fn not_run(&mut self, what: impl Into<String>) {
        self.not_run.push(what.into());
    }

    /// Prints the closing line, and is the run's exit status.
    pub(crate) fn end(&self, started: Instant, allow_missing: bool) -> ExitCode {
        println!("{} in {:.0} s", self.closing(), started.elapsed().as_secs_f64());
        if self.is_good(allow_missing) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// The closing line.
    fn closing(&self) -> String {
        let Self { run, passed, failed, not_run } = self;
        format!("{run}: {} passed{}{}", passed.len(), named("FAILED", failed), named("NOT RUN", not_run))
    }

    /// Whether the run succeeded.
    fn is_good(&self, allow_missing: bool) -> bool {
        self.failed.is_empty() && !self.passed.is_empty() && (allow_missing || self.not_run.is_empty())
    }
}

/// A part of a closing line: what became of these; nothing where there are none.
pub(crate) fn named<T: AsRef<str>>(what: &str, of: &[T]) -> String {
    let names: Vec<&str> = of.iter().map(AsRef::as_ref).collect();
    if names.is_empty() { String::new() } else { format!("; {what}: {}", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_run_is_said_and_fails_unless_allowed() {
        let mut outcome = Outcome::of_run("terraform");
        assert!(!outcome.is_good(true), "nothing was looked at");
        assert!(outcome.of("a", true));
        assert!(outcome.is_good(false));
        assert_eq!(outcome.closing(), "terraform: 1 passed");
        outcome.not_run("b: no c");
        assert!(!outcome.is_good(false) && outcome.is_good(true));
        assert_eq!(outcome.closing(), "terraform: 1 passed; NOT RUN: b: no c");
        assert!(!outcome.of("d", false));
        assert!(!outcome.is_good(true));
        assert_eq!(outcome.closing(), "terraform: 1 passed; FAILED: d; NOT RUN: b: no c");
    }
}
