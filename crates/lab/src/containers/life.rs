//! The steps: what the images are, a mesh of containers, its life, and its end.

use super::site::Site;
use crate::{guarded::IN_FORCE, steps::Seen, wait_until};
use anyhow::{Context as _, Result, ensure};

const CONTROLLER: &str = "localhost/picket/controller:latest";
const AGENTS: [&str; 2] = ["localhost/picket/sentry-agent:latest", "localhost/picket/prep-agent:latest"];

/// No shell and no package manager; the controller is nobody special.
pub(super) fn lean(site: &mut Site) -> Seen {
    for image in AGENTS.into_iter().chain([CONTROLLER]) {
        for path in ["/bin/sh", "/usr/bin/apt-get", "/usr/bin/dpkg"] {
            site.is_absent(image, path)?;
        }
    }
    let inspect = |what: &str, image: &str| -> Result<String> {
        let said = site.controller.podman(&["image", "inspect", "--format", what, image])?.success()?;
        Ok(said.trim().to_owned())
    };
    let user = inspect("{{.Config.User}}", CONTROLLER)?;
    ensure!(user == "65532:65532", "the controller runs as {user:?}");
    let mut sizes = Vec::new();
    for image in AGENTS.into_iter().chain([CONTROLLER]) {
        let bytes: u64 = inspect("{{.Size}}", image)?.parse().context("read an image's size")?;
        sizes.push(format!("{} {} MB", image.rsplit('/').next().unwrap_or(image), bytes / 1_000_000));
    }
    Ok(sizes.join(", "))
}

/// With the configuration beside the compose file.
pub(super) fn controller(site: &mut Site) -> Seen {
    site.is_exposed()?;
    site.controller.compose(&["up", "--detach"])?.success()?;
    let name = site.controller.container("controller")?;
    let waited = wait_until("the health check to say yes", IN_FORCE, || {
        let said = site.controller.podman(&["healthcheck", "run", &name]).map_err(|error| error.to_string())?;
        if said.status.success() { Ok(()) } else { Err(said.stdout + &said.stderr) }
    })?;
    let top =
        site.controller.podman(&["inspect", "--format", "{{.EffectiveCaps}} {{.HostConfig.ReadonlyRootfs}}", &name])?;
    let rights = top.success()?;
    ensure!(rights.trim() == "[] true", "capabilities, and whether its files are read-only: {}", rights.trim());
    Ok(format!(
        "ready after {:.1} s, with no capability and nothing to write to but its volume",
        waited.took.as_secs_f64()
    ))
}

/// By one compose file each.
pub(super) fn mesh(site: &mut Site) -> Seen {
    for (role, engine, host) in site.agents() {
        let token = site.picket(&["token", "create", "--role", role])?;
        site.settings(role, host, Some(token.trim()))?;
        engine.compose(&["up", "--detach"])?.success()?;
    }
    let took = site.wait_in_force()?;
    site.is_guarded()?;
    for (role, engine, _) in site.agents() {
        let name = engine.container("agent")?;
        let caps = engine.podman(&["inspect", "--format", "{{.EffectiveCaps}}", &name])?.success()?;
        ensure!(caps.trim() == "[CAP_NET_ADMIN]", "the {role}'s agent has {}", caps.trim());
        engine.podman(&["healthcheck", "run", &name])?.success()?;
    }
    Ok(format!(
        "in force after {:.1} s; validators and operator are let in, strangers are not, the tunnel carries",
        took.as_secs_f64()
    ))
}

/// As an upgrade does it: containers go, volumes stay. The rules are the kernel's meanwhile.
pub(super) fn again(site: &mut Site) -> Seen {
    let ids =
        |site: &Site| Ok::<_, anyhow::Error>(site.nodes()?.into_iter().map(|view| view.node.id).collect::<Vec<_>>());
    let before = ids(site)?;
    site.begin_to_knock()?;
    for (role, engine, host) in site.agents() {
        site.settings(role, host, None)?;
        engine.compose(&["down"])?.success()?;
        engine.compose(&["up", "--detach"])?.success()?;
    }
    site.wait_in_force()?;
    site.is_guarded()?;
    let knocks = site.nothing_answered()?;
    ensure!(before == ids(site)?, "they are others than before");
    Ok(knocks)
}

/// The engine starts it again by itself.
pub(super) fn killed(site: &mut Site) -> Seen {
    let rules = site.rules()?;
    site.begin_to_knock()?;
    let name = site.prep.container("agent")?;
    let pid = |site: &Site| -> Result<String> {
        Ok(site.prep.podman(&["inspect", "--format", "{{.State.Pid}}", &name])?.success()?)
    };
    let old = pid(site)?;
    // From outside: a container that podman itself kills is not started again.
    let killed: i32 = old.trim().parse().context("read the agent's process id")?;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(killed), nix::sys::signal::Signal::SIGKILL)
        .context("kill the agent")?;
    ensure!(!rules.is_empty(), "there were no rules");
    site.is_closed_to_strangers()?;
    wait_until("another agent", IN_FORCE, || {
        let new = pid(site).map_err(|error| format!("{error:#}"))?;
        if new != old && new.trim() != "0" { Ok(()) } else { Err(format!("process {}", new.trim())) }
    })?;
    site.wait_in_force()?;
    site.is_guarded()?;
    site.nothing_answered()
}

/// Whoever takes them down has not left the mesh.
pub(super) fn down(site: &mut Site) -> Seen {
    for (_, engine, _) in site.agents() {
        engine.compose(&["down"])?.success()?;
    }
    site.controller.compose(&["down"])?.success()?;
    site.is_closed_to_strangers()?;
    Ok("and what nobody guards stays open".to_owned())
}
