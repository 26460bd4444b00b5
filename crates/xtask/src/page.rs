//! `cargo xtask test --page` and `cargo xtask screenshots`: the status page of a real mesh in headless Chromium. The mesh is the lab's
//! (`picket-lab page`), what is looked for is `tests/page`'s.

use crate::{
    demo::{Build, finish, lab},
    machine, python,
};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    path::Path,
    process::{Command, ExitCode},
    time::Instant,
};

/// Pinned: what drives the browser, what judges whether everybody can use a page (it brings axe-core along), and an identity provider
/// that people log in by.
const DRIVER: (&str, &[&str]) = (
    "playwright",
    &["playwright==1.65.2", "axe-playwright-python==0.1.8", "canaille[front,oidc,server,sqlite]==0.3.6"],
);

/// Looks at every view.
pub(crate) fn test(root: &Path) -> Result<ExitCode> {
    let started = Instant::now();
    let pictures = root.join("target/tmp/page/pictures");
    let good = driver(root, &pictures)?.status().context("start the lab")?.success();
    println!(
        "page: {} in {:.0} s; pictures in {}",
        if good { "all good" } else { "FAILED" },
        started.elapsed().as_secs_f64(),
        pictures.display()
    );
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Makes the pictures that the README shows.
pub(crate) fn screenshots(root: &Path) -> Result<ExitCode> {
    let mut driver = driver(root, &root.join("docs/screenshots"))?;
    driver.arg("--pictures-only");
    finish(driver)
}

fn driver(root: &Path, pictures: &Path) -> Result<Command> {
    machine::browser()?;
    machine::python_environments()?;
    let Some(python) = python::environment(&root.join("target/tmp/page"), DRIVER)? else {
        bail!("{} cannot be installed from PyPI: is there a network?", DRIVER.1.join(" and "));
    };
    fs::create_dir_all(pictures).with_context(|| format!("make {}", pictures.display()))?;
    let mut lab = lab(root, Build::Dev)?;
    lab.arg("page").arg("--python").arg(python).arg("--driver").arg(root.join("tests/page/drive.py"));
    lab.arg("--issuer").arg(root.join("tests/page/issuer.py"));
    lab.arg("--pictures").arg(pictures);
    Ok(lab)
}
