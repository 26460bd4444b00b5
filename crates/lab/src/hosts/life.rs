//! The steps: from bare machines to a mesh, its life, and its end.

use super::{
    packages,
    site::{P2P, Site},
};
use crate::{Connect, Machine, guarded::tried, steps::Seen};
use anyhow::{Context as _, Result, ensure};
use std::process::Command;

/// What join tokens begin with: nothing of one may be left anywhere.
const TOKEN: &str = "picket1.";
/// Files of /etc stay as they are, and nobody is asked.
const APT: &str = "DEBIAN_FRONTEND=noninteractive apt-get -y -q -o Dpkg::Options::=--force-confold";
const GUARD: &str = "/etc/picket/guard.toml";
const LEDGER: &str = "/var/lib/picket/agent/ledger.json";

/// Before anything: whoever comes is let in.
pub(super) fn exposed(site: &mut Site) -> Seen {
    for to in site.prep.ports(P2P) {
        tried(&site.mesh.stranger, to, &Connect::Open)?;
    }
    Ok("a stranger reaches the P-Rep's P2P port".to_owned())
}

/// The mesh is in force, by packets; no token is in what Ansible said at its most talkative, nor on any disk.
pub(super) fn site(site: &mut Site) -> Seen {
    let dry = site.ansible.play("site", &site.packages, &["--check", "--diff"])?.success()?;
    ensure!(dry.changed.values().all(|changed| *changed > 0), "a dry run on bare machines: {}", dry.changes());
    for (name, machine) in site.machines() {
        let found = machine.run(&["sh", "-c", "ls /usr/bin/picket* /etc/picket /var/cache/picket 2>/dev/null"])?.stdout;
        ensure!(found.is_empty(), "a dry run left something on {name}: {found}");
    }
    closes_nothing_yet(site)?;
    let played = site.ansible.play("site", &site.packages, &["-vvv", "--diff"])?.success()?;
    site.wait_in_force()?;
    site.is_guarded()?;
    site.tunnel_carries()?;
    site.begin_to_knock()?;
    ensure!(!played.text.contains(TOKEN), "what Ansible said has a join token in it");
    for (name, machine) in site.machines() {
        // The disk from outside, with what was removed meanwhile gone; programs have the word in them, and are left out.
        let own = machine.path("etc")?;
        let own = own.parent().context("a machine without files")?;
        let mut grep = Command::new("grep");
        grep.args(["-rlIa", "--exclude-dir=usr", "--exclude=*.deb", TOKEN]).arg(own);
        let found = grep.output().context("look for tokens on disks")?;
        let found = String::from_utf8_lossy(&found.stdout).into_owned();
        ensure!(found.is_empty(), "{name} has a join token on its disk: {found}");
    }
    Ok(format!("{}; validators reach the P-Rep, strangers do not, its tunnel carries packets", played.changes()))
}

/// Packages and files alone, and a host that cannot join: who is no member has no lockdown either, and is told why.
fn closes_nothing_yet(site: &Site) -> Result<()> {
    site.ansible.play("site", &site.packages, &["--tags", "install,configure,start"])?.success()?;
    let nowhere = "picket_controller_url=https://127.0.0.1:1";
    let cannot = ["--limit", "prep-1", "--tags", "enrol", "-e", nowhere];
    let cannot = site.ansible.play("site", &site.packages, &cannot)?.failure()?;
    let says_why = cannot.text.contains("prep-1 could not enrol") && cannot.text.contains("127.0.0.1:1");
    ensure!(says_why && !cannot.text.contains(TOKEN), "{}", cannot.tail());
    for to in site.prep.ports(P2P) {
        tried(&site.mesh.stranger, to, &Connect::Open)?;
    }
    tried(site.validator()?, site.prep.ports(P2P)[0], &Connect::Open)
}

/// Nothing changes on any host.
pub(super) fn again(site: &mut Site) -> Seen {
    let played = site.ansible.play("site", &site.packages, &[])?.success()?;
    ensure!(played.changed.len() == 3 && played.is_quiet(), "{}\n{}", played.changes(), played.text);
    Ok(played.changes())
}

/// What a dry run says would change is what changes then; the dry run itself changes nothing.
pub(super) fn dry_run(site: &mut Site) -> Seen {
    let ours = site.prep.run(&["cat", GUARD])?.success()?;
    let theirs = format!("echo 'keep_sentries = 1' >> {GUARD}");
    site.prep.run(&["sh", "-c", &theirs])?.success()?;
    let changed = site.prep.run(&["cat", GUARD])?.success()?;
    let dry = site.ansible.play("site", &site.packages, &["--check", "--diff"])?.success()?;
    ensure!(dry.text.contains("-keep_sentries = 1"), "the difference is not shown:\n{}", dry.text);
    ensure!(site.prep.run(&["cat", GUARD])?.success()? == changed, "a dry run changed {GUARD}");
    let real = site.ansible.play("site", &site.packages, &[])?.success()?;
    let (foretold, done) = (dry.changes(), real.changes());
    ensure!(foretold == done && !dry.is_quiet(), "foretold {foretold}, done {done}");
    ensure!(site.prep.run(&["cat", GUARD])?.success()? == ours, "{GUARD} is not as the inventory has it");
    site.wait_in_force()?;
    site.is_guarded()?;
    Ok(format!("foretold and done: {}", real.changes()))
}

/// Each comes back into force by itself.
pub(super) fn reboots(site: &mut Site) -> Seen {
    site.controller.reboot()?;
    site.is_guarded()?;
    site.wait_in_force()?;
    site.sentry.reboot()?;
    site.wait_in_force()?;
    site.tunnel_carries()?;
    site.prep.reboot()?;
    let took = site.wait_in_force()?;
    site.is_guarded()?;
    site.tunnel_carries()?;
    Ok(format!("the P-Rep was in force {:.1} s after it was up", took.as_secs_f64()))
}

/// Nobody but the operator is let in where what was in force cannot be known; the ledger of before, and it is as it was.
pub(super) fn corrupt_ledger(site: &mut Site) -> Seen {
    let halve = format!("cp -p {LEDGER} /var/tmp/ledger && truncate --size=200 {LEDGER}");
    site.prep.run(&["systemctl", "stop", "picket-prep-agent"])?.success()?;
    site.prep.run(&["sh", "-c", &halve])?.success()?;
    site.prep.reboot()?;
    let to = site.prep.ports(P2P)[0];
    tried(&site.mesh.admin, to, &Connect::Open)?;
    tried(&site.mesh.stranger, to, &Connect::Filtered)?;
    tried(site.validator()?, to, &Connect::Filtered)?;
    site.prep.run(&["sh", "-c", &format!("cp -p /var/tmp/ledger {LEDGER} && rm /var/tmp/ledger")])?.success()?;
    site.prep.reboot()?;
    site.wait_in_force()?;
    site.is_guarded()?;
    Ok("open to the operator alone; with the ledger of before, as before".to_owned())
}

/// Newer packages everywhere, no open instant, and a second run changes nothing.
pub(super) fn upgrade(site: &mut Site) -> Seen {
    let folder = site.ansible.path("newer");
    let version = packages::newer(&site.packages, &folder)?;
    let played = site.ansible.play("upgrade", &folder, &[])?.success()?;
    site.packages = folder;
    for (name, installed) in site.versions()? {
        let all_newer = !installed.is_empty() && installed.iter().all(|installed| *installed == version);
        ensure!(all_newer, "on {name} is {installed:?}, and not {version}");
    }
    site.is_guarded()?;
    site.tunnel_carries()?;
    ensure!(in_order(&played.text), "not one after the other:\n{}", played.text);
    let again = site.ansible.play("upgrade", &site.packages, &[])?.success()?;
    ensure!(again.is_quiet(), "a second run: {}", again.changes());
    Ok(format!("{version}: {}; again: {}", played.changes(), again.changes()))
}

/// A package that was removed and comes again goes on where it was, but not with another role's identity.
pub(super) fn reinstall(site: &mut Site) -> Seen {
    for (name, machine, package) in [
        ("controller", &site.controller, "picket-controller"),
        ("sentry-1", &site.sentry, "picket-sentry-agent"),
        ("prep-1", &site.prep, "picket-prep-agent"),
    ] {
        let agents = ["picket-controller", "picket-prep-agent", "picket-sentry-agent"];
        let files = agents.iter().map(|name| packages::file(&site.packages, name)).collect::<Result<Vec<_>>>()?;
        site.ansible.copy(&files, machine.ports(0)[0].ip())?;
        let install =
            |package: &str| machine.run(&["sh", "-c", &format!("cd ~root && {APT} install ./{package}_*.deb 2>&1")]);
        let is_active =
            || machine.run(&["systemctl", "is-active", "--quiet", package]).map(|said| said.status.success());
        if package == "picket-sentry-agent" {
            let said = install("picket-prep-agent")?.success()?;
            ensure!(said.contains("is a member with another role"), "{said}");
            let is_up = machine.run(&["systemctl", "is-active", "--quiet", "picket-prep-agent"])?.status.success();
            ensure!(!is_up, "the agent of role prep runs with a sentry's identity");
        }
        machine.run(&["sh", "-c", &format!("{APT} remove {package}")])?.success()?;
        ensure!(!is_active()?, "{package} runs on {name} though it is removed");
        install(package)?.success()?;
        ensure!(is_active()?, "{package} on {name} is installed again and does not run");
        if package == "picket-controller" {
            site.controller_answers()?;
        }
    }
    site.sentry.run(&["sh", "-c", &format!("{APT} purge picket-prep-agent && test -e {GUARD}")])?.success()?;
    site.wait_in_force()?;
    site.is_guarded()?;
    site.tunnel_carries()?;
    Ok("removed and installed again, each runs as before; with another role's identity none does".to_owned())
}

/// Controllers, then sentries, then validators' hosts.
fn in_order(text: &str) -> bool {
    let place = |play: &str| text.find(&format!("PLAY [{play}"));
    let places = ["Controllers", "Sentries", "Validators' hosts"].map(place);
    places.iter().all(Option::is_some) && places.is_sorted()
}

/// Refused with too few sentries; taken back where a check fails; and then hidden, as packets find it.
pub(super) fn hide(site: &mut Site) -> Seen {
    site.configure(|text| text + "\n[[policy.hidden]]\nprep = \"prep-1\"\nstrict = false\n")?;
    let named =
        ["-e", "picket_hide=prep-1", "-e", "picket_hide_sentries=1", "-e", "{\"picket_hide_ignore\": [\"dns\"]}"];
    let few = site.ansible.play("hide", &site.packages, &["-e", "picket_hide=prep-1"])?.failure()?;
    ensure!(few.text.contains("1 sentries are in force") && few.is_quiet(), "{}", few.tail());
    let through = site.sentry.ports(P2P)[0];
    tried(&site.mesh.admin, through, &Connect::Filtered)
        .or_else(|_| tried(&site.mesh.admin, through, &Connect::Refused))?;

    // A rule of somebody else's keeps the way through the tunnel shut: no check may pass then.
    let shut = "add table inet theirs; add chain inet theirs c { type filter hook prerouting priority -450; }; \
                add rule inet theirs c iifname picket0 drop";
    site.prep.run(&["nft", shut])?.success()?;
    let backed_out = site
        .ansible
        .play("hide", &site.packages, &[&named[..], &["-e", "picket_hide_retries=10"]].concat())?
        .failure()?;
    site.prep.run(&["nft", "delete table inet theirs"])?.success()?;
    ensure!(backed_out.text.contains("is as it was before"), "{}", backed_out.tail());
    let held = site.controller.run(&["cat", "/etc/picket/controller.toml"])?.success()?;
    ensure!(!held.contains("[[policy.hidden]]"), "the controller has its new configuration still");
    site.wait_in_force()?;

    let played = site.ansible.play("hide", &site.packages, &named)?.success()?;
    site.wait_in_force()?;
    site.is_guarded()?;
    // What answers at the sentry's port is the P-Rep: nothing listens on the sentry itself.
    let stream = site.validator()?.stream(through).context("a validator's connection to the sentry's port")?;
    drop(stream);
    tried(&site.mesh.stranger, through, &Connect::Filtered)?;
    Ok(format!(
        "{}; a validator's bytes go through the sentry to the P-Rep and back, a stranger's do not",
        played.changes()
    ))
}

/// Agents leave, packages are gone; ports stay closed until the next boot, as was said.
pub(super) fn remove(site: &mut Site) -> Seen {
    let played = site.ansible.play("remove", &site.packages, &[])?.success()?;
    for (name, machine) in site.machines() {
        let installed = |machine: &Machine| -> Result<bool> {
            Ok(machine.run(&["sh", "-c", "ls /usr/bin/picket*"])?.status.success())
        };
        ensure!(!installed(machine)?, "{name} has programs of ours still");
    }
    for to in site.prep.ports(P2P) {
        tried(&site.mesh.stranger, to, &Connect::Filtered)?;
    }
    let again = site.ansible.play("remove", &site.packages, &[])?.success()?;
    ensure!(again.is_quiet(), "a second run: {}", again.changes());
    let knocks = site.nothing_answered()?;
    site.prep.reboot()?;
    exposed(site)?;
    Ok(format!("{}; {knocks}; after a reboot everybody is let in again", played.changes()))
}

/// As somebody who works on the collection runs it. It ends where it began.
pub(super) fn molecule(site: &mut Site) -> Seen {
    let played = site.ansible.molecule(&site.packages)?.success()?;
    for action in ["converge", "idempotence", "verify", "cleanup"] {
        let held = format!("mesh > {action}: Executed: Successful");
        ensure!(played.text.contains(&held), "it did not {action}:\n{}", played.tail());
    }
    for (name, machine) in site.machines() {
        let left = machine.run(&["sh", "-c", "ls /usr/bin/picket*"])?;
        ensure!(!left.status.success(), "{name} has programs of ours still: {}", left.stdout);
    }
    Ok("converge, idempotence, verify, cleanup".to_owned())
}
