//! `cargo xtask bench`: prepares the machine, builds, and hands over to the lab's benches.

use crate::{
    demo::{self, Build},
    machine,
};
use anyhow::Result;
use std::{path::Path, process::ExitCode};

pub(crate) fn run(
    root: &Path,
    which: &str,
    build: Build,
    json: bool,
    runs: Option<u8>,
    more: &[String],
) -> Result<ExitCode> {
    if ["firewall", "flood"].contains(&which) {
        machine::ipset()?;
    }
    let mut bench = demo::lab(root, build)?;
    bench.args(["bench", which]).args(json.then_some("--json"));
    if let Some(runs) = runs {
        bench.args(["--runs", &runs.to_string()]);
    }
    bench.args(more);
    demo::finish(bench)
}
