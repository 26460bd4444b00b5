//! Starting, stopping and opening a host: no way but `release` opens a guarded port, whatever is broken.

use crate::support::{GUARDED, UNGUARDED, dropped, open, serve_on, small_mesh, table};
use picket_lab::{
    mesh::{Agent, Mesh, SOON},
    wait_until,
};
use std::{path::PathBuf, process::Command};

/// Guarded ports are closed to strangers and open to the operator; what is not guarded is open.
fn is_closed(mesh: &Mesh) {
    let host = &mesh.preps[0].host;
    for port in GUARDED {
        dropped(&mesh.stranger, host.v4(port).unwrap());
        dropped(&mesh.stranger, host.v6(port).unwrap());
    }
    open(&mesh.admin, host.v4(GUARDED[0]).unwrap());
    for from in [&mesh.stranger, &mesh.admin] {
        open(from, host.v4(UNGUARDED).unwrap());
    }
}

fn wait_state(agent: &Agent, state: &str) {
    wait_until(&format!("status to say {state:?}"), SOON, || {
        let said = agent.command(&["status"]).map_err(|error| error.to_string())?.stdout;
        if said.lines().any(|line| line == format!("state       {state}")) { Ok(()) } else { Err(said) }
    })
    .unwrap();
}

#[test]
fn stop_crash_and_restart_leave_the_table_as_it_is() {
    let mut mesh = small_mesh("stop");
    let _servers = serve_on(&mesh.preps[0]);
    let validator = mesh.validators[0].host.clone();
    let to = mesh.preps[0].host.v4(GUARDED[0]).unwrap();
    let stream = validator.stream(to).unwrap();
    let before = table(&mesh.preps[0]);
    wait_state(&mesh.preps[0], "in force");
    for crash in [false, true] {
        if crash {
            mesh.preps[0].kill();
        } else {
            mesh.preps[0].stop().unwrap();
        }
        wait_state(&mesh.preps[0], "before network");
        is_closed(&mesh);
        open(&validator, to);
        // A package upgrade is a stop, another program and a start.
        mesh.preps[0].start().unwrap();
        mesh.wait_for_tunnels().unwrap();
        wait_state(&mesh.preps[0], "in force");
        is_closed(&mesh);
        assert_eq!(before, table(&mesh.preps[0]), "not one rule was written anew");
    }
    mesh.preps[0].kill();
    mesh.preps[0].command(&["lockdown"]).unwrap().success().unwrap();
    assert_eq!(before, table(&mesh.preps[0]));
    stream.wait_flowing(SOON).unwrap();
}

#[test]
fn only_release_opens_a_host_and_it_stays_so_until_close() {
    let mut mesh = small_mesh("release");
    let _servers = serve_on(&mesh.preps[0]);
    let to = mesh.preps[0].host.v4(GUARDED[0]).unwrap();
    // Nobody is there to be asked.
    let refused = mesh.preps[0].command(&["release"]).unwrap();
    assert!(!refused.status.success() && refused.stderr.contains("--yes"), "{refused:?}");
    is_closed(&mesh);
    mesh.preps[0].command(&["release", "--yes"]).unwrap().success().unwrap();
    open(&mesh.stranger, to);
    let status = mesh.preps[0].command(&["status"]).unwrap().success().unwrap();
    assert!(status.starts_with("RELEASED    EVERY GUARDED PORT OF THIS HOST IS OPEN"), "{status}");
    // Neither a boot nor a restart of the agent ends what a person wanted.
    mesh.preps[0].command(&["lockdown"]).unwrap().success().unwrap();
    mesh.preps[0].kill();
    mesh.preps[0].start().unwrap();
    wait_until("the controller to know", SOON, || {
        let nodes = mesh.controller.nodes().map_err(|error| error.to_string())?;
        let report = nodes.into_iter().find(|view| view.node.name.as_str() == "prep-1").and_then(|view| view.report);
        let said = report.map(|report| (report.state.unwrap_or_default(), report.firewall.to_string()));
        match said {
            Some((state, firewall)) if state == "released" && firewall.contains("released by hand") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .unwrap();
    open(&mesh.stranger, to);
    mesh.preps[0].rules_in_kernel().unwrap_err();
    mesh.preps[0].host.run("ip", &["link", "show", "picket0"]).unwrap().success().unwrap_err();
    // Closed at once, not at the agent's leisure.
    mesh.preps[0].command(&["close"]).unwrap().success().unwrap();
    is_closed(&mesh);
    mesh.preps[0].kill();
    mesh.preps[0].start().unwrap();
    mesh.wait_for_tunnels().unwrap();
    mesh.wait_in_force().unwrap();
    is_closed(&mesh);
}

#[test]
fn a_guard_that_cannot_be_read_closes_and_locks_nobody_out() {
    let mut mesh = small_mesh("guard file");
    mesh.preps[0].kill();
    let _servers = serve_on(&mesh.preps[0]);
    let broken = mesh.preps[0].host.write("guard.toml", "guarded = [\n").unwrap();
    mesh.preps[0].guard = Some(broken.clone());
    for command in ["run", "lockdown"] {
        mesh.preps[0].host.nft(&["delete", "table", "inet", "picket"]).unwrap();
        open(&mesh.stranger, mesh.preps[0].host.v4(GUARDED[0]).unwrap());
        let output = mesh.preps[0].command(&[command, "--guard", &broken]).unwrap();
        assert!(!output.status.success() && output.stderr.contains("guard.toml:"), "{output:?}");
        is_closed(&mesh);
    }
}

/// A host whose nft is gone, as its own programs see it: each program has mounts of its own.
fn without_nft(agent: &Agent, command: &str) -> picket_lab::Output {
    let program = agent.program().path().unwrap();
    let script = format!(
        "for nft in /usr/sbin/nft /sbin/nft /usr/bin/nft; do [ ! -e $nft ] || mount --bind /dev/null $nft || exit 9; done; \
         exec {} {command} --state-dir {}",
        program.display(),
        agent.state_folder()
    );
    agent.host.run("unshare", &["--mount", "/bin/sh", "-c", &script]).unwrap()
}

#[test]
fn a_host_whose_nft_is_gone_stays_as_closed_as_it_is() {
    let mut mesh = small_mesh("no nft");
    let _servers = serve_on(&mesh.preps[0]);
    let before = table(&mesh.preps[0]);
    mesh.preps[0].kill();
    for command in ["run", "lockdown", "release --yes", "uninstall --yes"] {
        let output = without_nft(&mesh.preps[0], command);
        assert!(!output.status.success() && output.stderr.contains("no nft program"), "{command}: {output:?}");
        assert_eq!(before, table(&mesh.preps[0]), "{command}");
        is_closed(&mesh);
    }
    // Nothing was marked as opened that is not.
    wait_state(&mesh.preps[0], "before network");
}

/// A file system of a few pages in place of a folder, with what was in it and no room for more; gone when dropped.
pub(crate) struct FullDisk(PathBuf);

impl FullDisk {
    pub(crate) fn over(folder: &str) -> Self {
        let done = |command: &mut Command| assert!(command.status().unwrap().success(), "{command:?}");
        let aside = format!("{folder}.before");
        std::fs::rename(folder, &aside).unwrap();
        std::fs::create_dir(folder).unwrap();
        done(Command::new("mount").args(["-t", "tmpfs", "-o", "size=512k,mode=700", "tmpfs", folder]));
        let disk = Self(folder.into());
        done(Command::new("cp").args(["-a", &format!("{aside}/."), folder]));
        let filler = std::fs::write(disk.0.join("filler"), vec![0; 1 << 20]);
        assert!(filler.is_err(), "the disk is full");
        disk
    }
}

impl Drop for FullDisk {
    fn drop(&mut self) {
        // At the end of a test that failed there is nobody left to tell.
        let _ = Command::new("umount").args(["--lazy"]).arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_takes_nothing_new_and_opens_nothing() {
    let mut mesh = small_mesh("full disk");
    let _servers = serve_on(&mesh.preps[0]);
    mesh.preps[0].kill();
    let disk = FullDisk::over(mesh.preps[0].state_folder());
    // A machine that starts with a full disk.
    mesh.preps[0].host.nft(&["delete", "table", "inet", "picket"]).unwrap();
    mesh.preps[0].command(&["lockdown"]).unwrap().success().unwrap();
    is_closed(&mesh);
    let to = mesh.preps[0].host.v4(GUARDED[0]).unwrap();
    open(&mesh.validators[0].host, to);
    mesh.preps[0].start().unwrap();
    mesh.wait_for_tunnels().unwrap();
    let before = table(&mesh.preps[0]);
    mesh.chain.remove(mesh.validators[0].prep).unwrap();
    wait_until("the agent to say that it cannot write", SOON, || {
        let log = mesh.preps[0].process().unwrap().log();
        if log.contains("wanted state not written down, not taken") { Ok(()) } else { Err(log) }
    })
    .unwrap();
    assert_eq!(before, table(&mesh.preps[0]));
    is_closed(&mesh);
    // With room again it takes what it was told.
    std::fs::remove_file(disk.0.join("filler")).unwrap();
    mesh.preps[0].kill();
    mesh.preps[0].start().unwrap();
    mesh.wait_in_force().unwrap();
    dropped(&mesh.validators[0].host, to);
    mesh.preps[0].kill();
}
