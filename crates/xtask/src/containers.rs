//! `cargo xtask test --containers`: the Helm chart by Helm's own engine, our images built by buildah of our packages, and hosts that
//! run them by our compose files (`picket-lab containers`). The images' base is made here of Debian's mirror: no registry is asked
//! for anything.

use crate::{demo, dist, machine, outcome::Outcome, python, step};
use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Instant,
};

/// Pinned: it follows podman.
const COMPOSE: (&str, &[&str]) = ("compose", &["podman-compose==1.6.0"]);
const HELM: (&str, &[&str]) = ("helm", &["helm-sdkpy==0.1.32", "kubernetes-validate==1.37.0"]);
/// What the Dockerfile begins with, made here.
const BASE: &str = "docker.io/library/debian:bookworm-slim";
/// The images, and what of the Dockerfile each is.
const IMAGES: [(&str, &[&str]); 3] = [
    ("controller", &["--target=controller"]),
    ("sentry-agent", &["--target=agent", "--build-arg=ROLE=sentry"]),
    ("prep-agent", &["--target=agent", "--build-arg=ROLE=prep"]),
];

/// Runs all of it. `packages`: where the Debian packages are; made here where absent.
pub(crate) fn run(root: &Path, packages: Option<PathBuf>) -> Result<ExitCode> {
    let started = Instant::now();
    let mut outcome = Outcome::of_run("containers");
    machine::prepare()?;
    machine::containers()?;
    machine::python_environments()?;
    let scratch = step::target_folder(root)?.join("tmp/containers");
    chart(root, &scratch, &mut outcome)?;
    match python::environment(&scratch, COMPOSE)? {
        Some(python) => everything(root, &scratch, &python, packages, &mut outcome)?,
        None => outcome.not_run("all with images: podman-compose cannot be installed from PyPI"),
    }
    Ok(outcome.end(started, false))
}

/// The Helm chart: rendered by Helm's own engine, held against Kubernetes' schemas.
fn chart(root: &Path, scratch: &Path, outcome: &mut Outcome) -> Result<()> {
    let Some(interpreter) = python::at_least(12) else {
        outcome.not_run("Helm chart: Helm's library wants Python 3.12 or newer");
        return Ok(());
    };
    let Some(python) = python::environment_of(&interpreter, scratch, HELM)? else {
        outcome.not_run("Helm chart: Helm's library cannot be installed from PyPI");
        return Ok(());
    };
    let mut check = Command::new(python);
    check.arg("packaging/helm/tests/check.py").arg("packaging/helm/picket").current_dir(root);
    outcome.of("Helm chart", step::run("Helm chart", &mut check)?);
    Ok(())
}

fn everything(
    root: &Path,
    scratch: &Path,
    python: &Path,
    packages: Option<PathBuf>,
    outcome: &mut Outcome,
) -> Result<()> {
    let packages = dist::packages(root, packages)?;
    let storage = Storage::new(scratch)?;
    if !outcome.of("base", storage.base(scratch)?) {
        return Ok(());
    }
    for (image, target) in IMAGES {
        let mut build = storage.tool("buildah");
        build.args(["build", "--quiet", "--isolation=chroot", "--format=docker", "--pull-never", "--layers"]);
        build.arg("--file").arg(root.join("packaging/containers/Dockerfile")).args(target);
        build.arg(format!("--tag=localhost/picket/{image}:latest")).arg(&packages);
        let what = format!("image of {image}");
        if !outcome.of(&what, step::run(&what, &mut build)?) {
            return Ok(());
        }
    }
    let mut lab = demo::lab_with(root, &[])?;
    let compose = python.parent().context("a Python without a folder")?.join("podman-compose");
    lab.arg("containers").arg("--compose").arg(compose).arg("--images").arg(&storage.folder);
    lab.arg("--files").arg(root.join("packaging/containers"));
    outcome.of("a mesh of containers", step::run("a mesh of containers", &mut lab)?);
    Ok(())
}

/// Where images are kept: below the build folder, and nothing of this machine's own.
struct Storage {
    folder: PathBuf,
    settings: PathBuf,
}

impl Storage {
    fn new(scratch: &Path) -> Result<Self> {
        let (folder, settings) = (scratch.join("images"), scratch.join("storage.conf"));
        let text = format!(
            "[storage]\ndriver = \"vfs\"\ngraphroot = \"{}\"\nrunroot = \"{}\"\n",
            folder.display(),
            scratch.join("run").display()
        );
        fs::write(&settings, text).with_context(|| format!("write {}", settings.display()))?;
        Ok(Self { folder, settings })
    }

    fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.env("CONTAINERS_STORAGE_CONF", &self.settings);
        command
    }

    /// Whether the base is there; made once.
    fn base(&self, scratch: &Path) -> Result<bool> {
        let found = self.tool("buildah").args(["inspect", "--type=image", BASE]).output().context("start buildah")?;
        if found.status.success() {
            return Ok(true);
        }
        let archive = scratch.join("debian.tar");
        let mut make = Command::new("mmdebstrap");
        make.args(["--variant=minbase", "--quiet", "bookworm"]).arg(&archive);
        let mut import = self.tool("podman");
        import.args(["import", "--quiet"]).arg(&archive).arg(BASE);
        let made = step::run("a small Debian", &mut make)? && step::run("base of images", &mut import)?;
        fs::remove_file(&archive).with_context(|| format!("remove {}", archive.display()))?;
        Ok(made)
    }
}
