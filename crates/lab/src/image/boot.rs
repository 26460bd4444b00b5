//! A machine that starts with the image, in a sentry's place and by a seed of its own, as an instance of a cloud does; and a stranger who
//! knocks at it from before its power-on.

use super::{Site, build::BUILDER};
use crate::{
    Connect, Output,
    emulated::{self, CARD, QEMU},
    guarded::{nothing_answered, tried},
    steps::Seen,
    wait_until,
};
use anyhow::{Context as _, Result, ensure};
use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    time::{Duration, Instant},
};

/// What is guarded on a host that knows no mesh yet, and a port that nobody guards or listens on.
const GUARDED: [u16; 3] = [7100, 9000, 9080];
const UNGUARDED: u16 = 2222;
/// From one round of knocks to the next: fifty times the usual, since the processor that drops them is emulated.
const KNOCKS: Duration = Duration::from_millis(100);
/// The instance's name, and whose key it lets in.
const INSTANCE: &str = "instance";
/// From power-on until cloud-init is done: two minutes, on a loaded machine many more.
const UP_WITHIN: Duration = Duration::from_secs(1200);
/// What holds inside, each line of it.
const INSIDE: &str = "set -eux; cloud-init status --wait --long; systemctl is-active picket-lockdown.service; \
     grep -E '^[0-9a-f]{32}$' /etc/machine-id; test -e /etc/ssh/ssh_host_ed25519_key; \
     sudo nft list table inet picket > /dev/null; sudo test ! -e /var/lib/picket/agent/identity.json";

/// It comes up, and no guarded port answers meanwhile.
pub(super) fn booted(site: &mut Site) -> Seen {
    let at = |port: u16| -> Result<[SocketAddr; 2]> { Ok([site.sentry.v4(port)?, site.sentry.v6(port)?]) };
    let (mut guarded, [unguarded, _], [sshd, _]) = (Vec::new(), at(UNGUARDED)?, at(22)?);
    for port in GUARDED {
        guarded.extend(at(port)?);
    }
    let network = format!(
        "version: 2\nethernets:\n  eth0:\n    addresses: [{}/24, \"{}/64\"]\n",
        guarded[0].ip(),
        guarded[1].ip()
    );
    let seed = site.seed(INSTANCE, Some(&network))?;
    for address in &guarded[..2] {
        // Who is known need not be asked for: knocks are on the wire from the first moment.
        let known = format!("neigh replace {} lladdr {CARD} dev eth0 nud permanent\n", address.ip());
        site.stranger.namespace.ip(&known)?;
    }
    let began = Instant::now();
    let knocks = site.stranger.knock_every(KNOCKS, &[&guarded[..], &[unguarded]].concat())?;
    let machine = site.sentry.start(
        "machine",
        QEMU,
        &hardware(site, &seed)?.iter().map(String::as_str).collect::<Vec<_>>(),
        &[],
    )?;
    wait_until("sshd of the machine to let its operator in", UP_WITHIN, || {
        machine.must_run().map_err(|error| error.to_string())?;
        let found = site.stranger.can_connect(sshd, KNOCKS * 10);
        if found != Connect::Open {
            return Err(format!("its port of sshd is {found}"));
        }
        let said = ssh(site, INSTANCE, sshd.ip(), "true").map_err(|error| format!("{error:#}"))?;
        said.success().map(drop).map_err(|error| error.to_string())
    })?;
    let inside = ssh(site, INSTANCE, sshd.ip(), INSIDE)?;
    ensure!(inside.status.success(), "inside: {}{}", inside.stdout, inside.stderr);
    let took = began.elapsed();
    let refused = ssh(site, BUILDER, sshd.ip(), "true")?;
    ensure!(refused.stderr.contains("Permission denied"), "whoever made the image: {refused:?}");
    guarded.iter().try_for_each(|to| tried(&site.stranger, *to, &Connect::Filtered))?;
    tried(&site.stranger, unguarded, &Connect::Refused)?;
    let heard = nothing_answered(Some(knocks), &guarded, unguarded)?;
    Ok(format!(
        "cloud-init done {:.0} s after power-on, emulated; {heard}; whoever made the image is not let in",
        took.as_secs_f64()
    ))
}

/// The image stays as it is: what is written is thrown away. Its seed is a small disk beside it.
fn hardware(site: &Site, seed: &Path) -> Result<Vec<String>> {
    let image = format!("if=none,id=image,format=qcow2,snapshot=on,file={}", site.image().display());
    let seed = format!("driver=vvfat,node-name=seed,label=CIDATA,read-only=on,dir={}", seed.display());
    let disks = ["-drive", &image, "-device", "virtio-blk-pci,drive=image,bootindex=0"];
    let seed = ["-blockdev", &seed, "-device", "virtio-blk-pci,drive=seed"];
    let cable = emulated::take_cable(&site.sentry).context("give the machine its cable")?;
    Ok(emulated::words(&[&["-m", "1024"], &disks[..], &seed, &cable].concat()))
}

/// What a command says on the machine, where this key is let in.
fn ssh(site: &Site, key: &str, machine: IpAddr, command: &str) -> Result<Output> {
    let (key, to) = (site.key(key).display().to_string(), format!("debian@{machine}"));
    let quiet = [
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "IdentitiesOnly=yes",
        "BatchMode=yes",
        "ConnectTimeout=20",
    ];
    let mut words = vec!["-F", "/dev/null", "-i", &key];
    words.extend(quiet.iter().flat_map(|option| ["-o", option]));
    words.extend([&*to, command]);
    Ok(site.stranger.run_with("ssh", &words, &[], UP_WITHIN)?)
}
