//! `cargo xtask openapi`: writes the document of the API anew. What it says is made in `crates/api`; the test that compares the
//! two is what writes, so that there is one way to make it.

use crate::step;
use anyhow::Result;
use std::{path::Path, process::ExitCode};

/// The test, and what tells it to write.
const TEST: [&str; 6] = [
    "test",
    "-p",
    "picket-api",
    "--lib",
    "--locked",
    "openapi::document::tests::the_committed_document_is_what_the_code_makes",
];
const WRITE: &str = "PICKET_WRITE_OPENAPI";

pub(crate) fn run(root: &Path) -> Result<ExitCode> {
    let written = step::run("docs/openapi.json", step::cargo(root, &TEST).env(WRITE, "1"))?;
    Ok(if written { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
