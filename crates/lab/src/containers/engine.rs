//! podman and podman-compose on one host: containers and their state are the host's own, images are read from where they were built.

use super::Args;
use crate::{Host, LabError, Output};
use anyhow::{Context as _, Result, ensure};
use std::{fs, path::PathBuf, time::Duration};

/// Time to copy an image and start what is in it, on a loaded machine.
const SOON: Duration = Duration::from_secs(120);

/// podman has systemd run health checks, and without one starts no container with such a timer again: here the steps run them.
const TIMED: &str = "interval: 10s";

/// Folder of what runs. podman takes no path of more than 50 characters, and notices only when a container ends.
const RUNNING: &str = "run";

/// What works without systemd, and below control groups of any version.
const SETTINGS: &str = r#"[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
lock_type = "file"
tmp_dir = "TEMPORARY"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
"#;

/// A host's engine, and the folder of its one project. What runs there ends with it.
#[derive(Debug)]
pub(super) struct Engine {
    host: Host,
    compose: PathBuf,
    /// The compose file, in the project's folder.
    file: String,
    settings: [String; 2],
}

impl Engine {
    /// For the host, with a copy of the compose file of this name.
    pub(super) fn new(host: &Host, args: &Args, file: &str) -> Result<Self> {
        let storage = format!(
            "[storage]\ndriver = \"vfs\"\ngraphroot = \"{}\"\nrunroot = \"{}\"\n[storage.options]\nadditionalimagestores = [\"{}\"]\n",
            host.path("graph"),
            host.path(RUNNING),
            args.images.display()
        );
        let text = fs::read_to_string(args.files.join(file)).with_context(|| format!("read {file}"))?;
        ensure!(text.contains(TIMED), "{file} has no health check {TIMED}");
        let text = text.replace(TIMED, "interval: disable");
        // Locks and endings of containers are each engine's own, as on machines of their own.
        let settings = SETTINGS.replace("TEMPORARY", &host.path("libpod"));
        let settings = [host.write("containers.conf", &settings)?, host.write("storage.conf", &storage)?];
        Ok(Self { host: host.clone(), compose: args.compose.clone(), file: host.write(file, &text)?, settings })
    }

    /// What podman says.
    pub(super) fn podman(&self, args: &[&str]) -> Result<Output, LabError> {
        self.run("podman", args)
    }

    /// What podman-compose says of the project.
    pub(super) fn compose(&self, args: &[&str]) -> Result<Output, LabError> {
        self.run(&self.compose.to_string_lossy(), &[&["--file", &self.file], args].concat())
    }

    /// The one container of a service.
    pub(super) fn container(&self, service: &str) -> Result<String, LabError> {
        let filter = format!("label=com.docker.compose.service={service}");
        let names = self.podman(&["ps", "--all", "--filter", &filter, "--format", "{{.Names}}"])?.success()?;
        match names.split_whitespace().collect::<Vec<_>>()[..] {
            [name] => Ok(name.to_owned()),
            _ => Err(LabError::Unexpected { found: format!("containers of {service}: {names:?}") }),
        }
    }

    /// What a service's container wrote.
    pub(super) fn log(&self, service: &str) -> String {
        let log = self.container(service).and_then(|name| self.podman(&["logs", &name]));
        log.map_or_else(|error| error.to_string(), |output| output.stdout + &output.stderr)
    }

    fn run(&self, program: &str, args: &[&str]) -> Result<Output, LabError> {
        let [containers, storage] = &self.settings;
        let env = [("CONTAINERS_CONF", containers.as_str()), ("CONTAINERS_STORAGE_CONF", storage)];
        // The host's network, and the mounts of this process: among them are control groups.
        let mounts = format!("--mount=/proc/{}/ns/mnt", std::process::id());
        self.host.run_with("nsenter", &[&[&mounts, "--", program][..], args].concat(), &env, SOON)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Mounts and control groups go with the containers; the lab takes the files.
        if let Err(error) = self.podman(&["rm", "--all", "--force", "--depend", "--time=0"]).and_then(Output::success) {
            eprintln!("containers on {} are not all gone: {error}", self.host.name());
        }
    }
}
