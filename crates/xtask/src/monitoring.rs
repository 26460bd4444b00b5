//! `cargo xtask test --monitoring`: what is under `monitoring/`, by Prometheus' own tools, and on a real Prometheus and
//! Alertmanager that look at a mesh of real programs (`picket-lab monitoring`). The tools are Debian's, unpacked under target and
//! installed nowhere: no service of this machine starts or changes.

use crate::{demo, machine, outcome::Outcome, step};
use anyhow::{Context, Result, ensure};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Instant,
};

/// Packages with prometheus and promtool, prometheus-alertmanager and amtool.
const PACKAGES: [&str; 2] = ["prometheus", "prometheus-alertmanager"];
const TOOLS: [&str; 4] = ["prometheus", "promtool", "prometheus-alertmanager", "amtool"];

/// Runs all of it.
pub(crate) fn run(root: &Path) -> Result<ExitCode> {
    let started = Instant::now();
    let mut outcome = Outcome::of_run("monitoring");
    let folder = root.join("monitoring");
    outcome.of("a page and a test for each alert", said(&pages(root)));
    match tools(&step::target_folder(root)?.join("tools/monitoring")) {
        Ok(tools) => {
            let rules = folder.join("rules");
            let tests = files(&rules.join("tests"), "yml")?;
            check(&mut outcome, &tools, "rules", "promtool", &["check", "rules", "picket.yml"], &rules)?;
            let all: Vec<&str> = ["test", "rules"].into_iter().chain(tests.iter().map(String::as_str)).collect();
            check(&mut outcome, &tools, "tests of rules", "promtool", &all, &rules.join("tests"))?;
            let config = ["check", "config", "prometheus/prometheus.yml"];
            check(&mut outcome, &tools, "example of Prometheus", "promtool", &config, &folder)?;
            let config = ["check-config", "alertmanager/alertmanager.yml"];
            check(&mut outcome, &tools, "example of Alertmanager", "amtool", &config, &folder)?;
            for (severity, receivers) in [("critical", "page,channel"), ("warning", "channel")] {
                let severity = format!("severity={severity}");
                let file = "--config.file=alertmanager/alertmanager.yml";
                let expect = format!("--verify.receivers={receivers}");
                let route = ["config", "routes", "test", file, &expect, &severity];
                check(&mut outcome, &tools, &format!("way of {severity}"), "amtool", &route, &folder)?;
            }
            live(root, &tools, &mut outcome)?;
        }
        Err(error) => outcome.not_run(format!("all that needs Prometheus: {error:#}")),
    }
    Ok(outcome.end(started, false))
}

fn said(held: &Result<()>) -> bool {
    held.as_ref().err().into_iter().for_each(|error| println!("monitoring: {error:#}"));
    held.is_ok()
}

fn check(outcome: &mut Outcome, tools: &Path, what: &str, tool: &str, args: &[&str], folder: &Path) -> Result<()> {
    let held = step::run(what, Command::new(tools.join(tool)).args(args).current_dir(folder))?;
    outcome.of(what, held);
    Ok(())
}

/// The mesh and who looks at it.
fn live(root: &Path, tools: &Path, outcome: &mut Outcome) -> Result<()> {
    machine::prepare()?;
    machine::terminal()?;
    let programs = ["picket", "picket-controller", "picket-sentry-agent", "picket-prep-agent"];
    let mut lab = demo::lab_with(root, &programs)?;
    lab.arg("monitoring").arg("--tools").arg(tools).arg("--project").arg(root);
    let held = step::run("a mesh that is watched", &mut lab)?;
    outcome.of("a mesh that is watched", held);
    Ok(())
}

/// Each alert has a page, each page its alert, and each alert tests of both kinds.
fn pages(root: &Path) -> Result<()> {
    let read = |path: PathBuf| fs::read_to_string(&path).with_context(|| format!("read {}", path.display()));
    let rules = read(root.join("monitoring/rules/picket.yml"))?;
    let named = |start: &str| -> BTreeSet<String> {
        rules.lines().filter_map(|line| line.trim().strip_prefix(start)).map(str::to_owned).collect()
    };
    let alerts = named("- alert: ");
    let linked: BTreeSet<String> = named("runbook_url: ")
        .iter()
        .filter_map(|link| Some(link.rsplit_once("/runbooks/")?.1.strip_suffix(".md")?.to_owned()))
        .collect();
    let pages = files(&root.join("docs/runbooks"), "md")?;
    let pages = pages.iter().filter_map(|page| page.strip_suffix(".md")).filter(|page| *page != "README");
    let pages: BTreeSet<String> = pages.map(str::to_owned).collect();
    ensure!(!alerts.is_empty() && alerts == linked, "alerts and their runbook_url differ: {alerts:?}, {linked:?}");
    ensure!(alerts == pages, "alerts and docs/runbooks differ: {:?}", alerts.symmetric_difference(&pages));
    let folder = root.join("monitoring/rules/tests");
    let tests: String = files(&folder, "yml")?.iter().map(|name| read(folder.join(name))).collect::<Result<_>>()?;
    for alert in alerts {
        for kind in ["fires", "does not fire"] {
            let name = format!("  - name: {alert} {kind}\n");
            ensure!(tests.contains(&name), "no test that {alert} {kind}");
        }
        let page = read(root.join(format!("docs/runbooks/{alert}.md")))?;
        let parts = ["## Meaning", "## Check", "## Fix"];
        ensure!(parts.iter().all(|part| page.contains(part)), "docs/runbooks/{alert}.md lacks a part of {parts:?}");
    }
    Ok(())
}

/// Names of files of a kind, in order.
fn files(folder: &Path, kind: &str) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| Path::new(name).extension().is_some_and(|e| e == kind)).collect();
    names.sort();
    Ok(names)
}

/// Folder of the tools, fetched once.
fn tools(folder: &Path) -> Result<PathBuf> {
    let programs = folder.join("usr/bin");
    if TOOLS.iter().all(|tool| programs.join(tool).is_file()) {
        return Ok(programs);
    }
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let apt = |what: &str, words: &[&str]| step::run(what, Command::new("apt-get").args(words).current_dir(folder));
    ensure!(apt("what packages there are", &["update", "-qq"])?, "apt-get update failed, what it says is above");
    let download = [&["download", "-qq"], &PACKAGES[..]].concat();
    ensure!(
        apt("Prometheus and Alertmanager of this Debian", &download)?,
        "apt-get download failed, what it says is above"
    );
    for package in files(folder, "deb")? {
        let mut unpack = Command::new("dpkg-deb");
        unpack.arg("-x").arg(&package).arg(".").current_dir(folder);
        ensure!(step::run(&format!("unpack {package}"), &mut unpack)?, "{package} cannot be unpacked");
    }
    ensure!(TOOLS.iter().all(|tool| programs.join(tool).is_file()), "{} lacks a tool", programs.display());
    Ok(programs)
}
