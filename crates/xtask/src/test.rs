//! `cargo xtask test`: everything, in the order in which it fails fastest, and one closing line of totals.

use crate::{fuzz, judges, machine, step, terraform, tidy};
use anyhow::Result;
use std::{fmt, path::Path, process::ExitCode, time::Instant};

/// They are a workspace of their own.
const FORMAT_FUZZ: [&str; 4] = ["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"];

/// The controller's own tests that are run once more on a database server, where `PICKET_TEST_DATABASE` says so: those that
/// change something, lose answers, look back, and start again.
const ON_SERVER: [&str; 7] = ["enroll::", "revoke::", "lost::", "history::", "restart::", "leases::", "rekey::"];

pub(crate) fn run(root: &Path) -> Result<ExitCode> {
    let started = Instant::now();
    machine::prepare()?;
    machine::toolchain_components()?;
    machine::cpp_compiler()?;
    machine::judges()?;
    machine::name_server()?;
    machine::database_server()?;
    judges::for_tests(root)?;
    machine::python_environments()?;
    let format = step::run("format", &mut step::cargo(root, &["fmt", "--all", "--check"]))?
        & step::run("format of fuzz targets", &mut step::cargo(root, &FORMAT_FUZZ))?
        // The rest of it has a command of its own, `cargo xtask test --terraform`.
        & terraform::format(root)?.unwrap_or(true);
    let rules = house_rules(root)?;
    let mut clippy = step::cargo(root, &["clippy", "--workspace", "--all-targets", "--locked", "--quiet"]);
    let lints = step::run("lints", clippy.args(["--", "--deny", "warnings"]))?;
    // Tests start the programs themselves, so all of them are built first, from one set of features.
    let build = step::run("build", &mut step::cargo(root, &["build", "--workspace", "--all-targets", "--locked"]))?;
    let mut totals = Totals::default();
    let mut cargo_test = step::cargo(root, &["test", "--workspace", "--locked", "--no-fail-fast"]);
    let tests = build && step::lines("tests", &mut cargo_test, |line| totals.add(line))?;
    let tests = tests & (build && on_server(root, &mut totals)?) & without_traces(root, &mut totals)?;
    let fuzzed = fuzz::run(root, fuzz::SECONDS)?;
    fuzzed.iter().flatten().for_each(|held| totals.count(*held));
    let fuzz = fuzzed.is_some_and(|held| held.iter().all(|held| *held));
    let steps = [
        ("format", format),
        ("house rules", rules),
        ("lints", lints),
        ("build", build),
        ("tests", tests),
        ("fuzz targets", fuzz),
    ];
    let failed: Vec<&str> = steps.iter().filter(|(_, ok)| !ok).map(|(name, _)| *name).collect();
    println!("steps: {} in {:.0} s", verdict(&failed), started.elapsed().as_secs_f64());
    println!("picket: {totals}");
    let good = failed.is_empty() && totals.failed == 0 && totals.passed > 0;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a program says that was built without its feature `opentelemetry`.
fn without_traces(root: &Path, totals: &mut Totals) -> Result<bool> {
    let mut cargo = step::cargo(root, &["test", "--package", "picket-telemetry", "--no-default-features", "--locked"]);
    step::lines("tests without traces", &mut cargo, |line| totals.add(line))
}

fn on_server(root: &Path, totals: &mut Totals) -> Result<bool> {
    let mut program = step::test_program(root, "controller", "serve")?;
    program.args(ON_SERVER).env("PICKET_TEST_DATABASE", "postgresql");
    step::lines("tests on PostgreSQL", &mut program, |line| totals.add(line))
}

fn verdict(failed: &[&str]) -> String {
    if failed.is_empty() { "all good".to_owned() } else { format!("FAILED {}", failed.join(", ")) }
}

fn house_rules(root: &Path) -> Result<bool> {
    eprintln!("==> house rules");
    let violations = tidy::run(root)?;
    violations.iter().for_each(|violation| println!("tidy: {violation}"));
    Ok(violations.is_empty())
}

/// What libtest's closing lines and the fuzz targets add up to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Totals {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        match self.ignored {
            0 => Ok(()),
            count => write!(f, ", {count} for another kernel not run (`cargo xtask test --kernel` does)"),
        }
    }
}

impl Totals {
    /// Adds one test.
    fn count(&mut self, passed: bool) {
        *if passed { &mut self.passed } else { &mut self.failed } += 1;
    }

    /// Adds a line such as `test result: ok. 3 passed; 0 failed; 0 ignored; ...`; other lines count nothing.
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else { return };
        let words: Vec<&str> = result.split_whitespace().collect();
        for pair in words.windows(2) {
            let [count, what] = pair else { continue };
            match (count.parse::<u64>(), *what) {
                (Ok(count), "passed;") => self.passed += count,
                (Ok(count), "failed;") => self.failed += count,
                (Ok(count), "ignored;") => self.ignored += count,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_add_up_over_test_programs() {
        let mut totals = Totals::default();
        totals.add("running 3 tests");
        totals.add("test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s");
        assert_eq!(totals.to_string(), "3 passed, 0 failed");
        totals.add("test result: FAILED. 2 passed; 1 failed; 4 ignored; 0 measured; 0 filtered out; finished in 0.2s");
        assert_eq!(totals, Totals { passed: 5, failed: 1, ignored: 4 });
        assert!(totals.to_string().starts_with("5 passed, 1 failed, 4 for another kernel"));
        totals.count(true);
        totals.count(false);
        assert_eq!(totals, Totals { passed: 6, failed: 2, ignored: 4 });
    }
}
