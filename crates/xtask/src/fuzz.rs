//! The fuzz targets of `fuzz/`: built for stable Rust with libFuzzer's instrumentation, each run for a short while on a
//! copy of its corpus. What they hold the parsers to is written there.

use crate::step;
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
    thread,
};

/// What `cargo fuzz` passes to rustc, without its sanitizer, which needs nightly Rust and here has no unsafe code to watch.
const RUSTFLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Ccodegen-units=1";
/// For each target, within everything else that is run.
pub(crate) const SECONDS: u32 = 15;
/// Memory that a target may take; past it, some input costs more than it should.
const MEGABYTES: u32 = 2048;
/// Time that one input may take.
const SECONDS_PER_INPUT: u32 = 5;
/// Lines of a failed target's output that are printed.
const LAST_LINES: usize = 40;

/// Builds all targets and runs them, each for so many seconds; `None` where they cannot be built, else whether each of them held.
pub(crate) fn run(root: &Path, seconds: u32) -> Result<Option<Vec<bool>>> {
    let (host, built) = (step::host()?, root.join("target/fuzz"));
    let arguments = ["build", "--manifest-path", "fuzz/Cargo.toml", "--locked", "--quiet"];
    // With a target named, build scripts are not instrumented.
    let mut build = step::cargo(root, &arguments);
    build.args(["--target", &host]).arg("--target-dir").arg(&built).env("RUSTFLAGS", RUSTFLAGS);
    if !step::run("build fuzz targets", &mut build)? {
        return Ok(None);
    }
    let names = targets(root)?;
    let waiting = Mutex::new(names.iter());
    let held = Mutex::new(Vec::new());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
    let programs = built.join(host).join("debug");
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(name) = next() {
                    let outcome = fuzz(root, &programs, name, seconds);
                    let holds = outcome.as_ref().is_ok_and(Option::is_none);
                    match outcome {
                        Ok(None) => println!("fuzz {name}: ok after {seconds} s"),
                        Ok(Some(said)) => println!("{said}\nfuzz {name}: FAILED"),
                        Err(error) => println!("fuzz {name}: FAILED: {error:#}"),
                    }
                    held.lock().unwrap_or_else(PoisonError::into_inner).push(holds);
                }
            });
        }
    });
    Ok(Some(held.into_inner().unwrap_or_else(PoisonError::into_inner)))
}

/// Names of all targets, in order.
fn targets(root: &Path) -> Result<Vec<String>> {
    let paths = files(&root.join("fuzz/fuzz_targets"))?;
    let names = paths.iter().filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()));
    let names: Vec<String> = names.collect();
    ensure!(!names.is_empty(), "fuzz/fuzz_targets is empty");
    Ok(names)
}

/// Runs one target on a copy of its corpus, which grows meanwhile. What it says at the end if it does not hold.
fn fuzz(root: &Path, programs: &Path, name: &str, seconds: u32) -> Result<Option<String>> {
    let (corpus, kept) = (root.join("target/fuzz/corpus").join(name), root.join("target/fuzz/failed"));
    if corpus.exists() {
        fs::remove_dir_all(&corpus).with_context(|| format!("remove {}", corpus.display()))?;
    }
    for folder in [&corpus, &kept] {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    let seeds = files(&root.join("fuzz/corpus").join(name))?;
    ensure!(!seeds.is_empty(), "fuzz/corpus/{name} is empty: give it an input or two to begin with");
    for seed in seeds {
        let copy = corpus.join(seed.file_name().unwrap_or_default());
        fs::copy(&seed, copy).with_context(|| format!("copy {}", seed.display()))?;
    }
    let output = Command::new(programs.join(name))
        .arg(&corpus)
        .arg(format!("-artifact_prefix={}/{name}-", kept.display()))
        .args([format!("-max_total_time={seconds}"), format!("-rss_limit_mb={MEGABYTES}")])
        .args([format!("-timeout={SECONDS_PER_INPUT}")])
        // It would push the reason out of what is printed.
        .env("RUST_BACKTRACE", "0")
        .output()
        .with_context(|| format!("start fuzz target {name}"))?;
    if output.status.success() {
        fs::remove_dir_all(&corpus).with_context(|| format!("remove {}", corpus.display()))?;
        return Ok(None);
    }
    Ok(Some(last_lines(&String::from_utf8_lossy(&output.stderr))))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    let paths: std::io::Result<Vec<PathBuf>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths.with_context(|| format!("list {}", folder.display()))?;
    paths.sort();
    Ok(paths)
}

/// The reason and the path of the input that was kept are among these.
fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_a_corpus_and_a_program() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        let manifest = fs::read_to_string(root.join("fuzz/Cargo.toml")).unwrap();
        for name in targets(root).unwrap() {
            assert!(!files(&root.join("fuzz/corpus").join(&name)).unwrap().is_empty(), "{name}");
            assert!(manifest.contains(&format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"")), "{name}");
        }
    }

    #[test]
    fn of_a_long_output_the_end_is_kept() {
        let text: Vec<String> = (1..=50).map(|line| line.to_string()).collect();
        let kept = last_lines(&text.join("\n"));
        assert!(kept.starts_with("11\n12\n") && kept.ends_with("\n50"), "{kept}");
        assert_eq!(last_lines("a\nb"), "a\nb");
    }
}
