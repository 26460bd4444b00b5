//! A second sentry for a while: a hidden P-Rep is upgraded with its sentries, one drained while the other carries; and the second one
//! goes again while no controller answers. No other step has more than one.

use super::{packages, site::Site};
use crate::{Machine, guarded, steps::Seen, wait_until};
use anyhow::{Context as _, Result, ensure};
use picket_api::paths::PathsView;
use std::time::Duration;

/// A way is told of some seconds after it is good.
const SEEN: Duration = Duration::from_secs(60);
/// Where roles leave packages and what apt trusts, which nobody needs who is no member any more.
const LEFT: &str = "ls -d /usr/bin/picket* /var/cache/picket /etc/apt/keyrings/picket.asc 2>/dev/null";

/// Each sentry is left before it is upgraded, and has its share back afterwards.
pub(super) fn upgraded(site: &mut Site) -> Seen {
    let host = &site.mesh.sentries.get(1).context("no second sentry")?.host;
    let mut machine = Machine::managed(host, &[], &site.ansible.public_key()?)?;
    machine.boot().context("boot sentry-2")?;
    let address = machine.ports(0)[0].ip();
    let inventory =
        format!("all:\n  children:\n    sentries:\n      hosts:\n        sentry-2: {{ansible_host: \"{address}\"}}\n");
    let inventory = site.ansible.write("second.yml", &inventory)?;
    let inventory = inventory.to_string_lossy().into_owned();
    let with = ["-i", &inventory, "-e", "picket_drain_for=3s"];
    let play = |site: &Site, playbook: &str, more: &[&str]| {
        site.ansible.play(playbook, &site.packages, &[&with[..], more].concat())
    };
    play(site, "site", &["--limit", "sentry-2"])?.success()?;
    both_carry(site)?;

    let folder = site.ansible.path("newest");
    packages::newer(&site.packages, &folder)?;
    site.packages = folder;
    let dry = play(site, "upgrade", &["--check"])?.success()?;
    let played = play(site, "upgrade", &[])?.success()?;
    for name in ["sentry-1", "sentry-2"] {
        for text in [&dry.text, &played.text] {
            ensure!(text.contains(&format!("{name}: drained before it is upgraded, for prep-1")), "{name}:\n{text}");
        }
    }
    ensure!(dry.changed.values().all(|changed| *changed > 0), "a dry run foretold {}", dry.changes());
    let drained = drains(site)?;
    ensure!(drained == ["drained", "undrained", "drained", "undrained"], "the log has {drained:?}");
    both_carry(site)?;
    let again = play(site, "upgrade", &[])?.success()?;
    ensure!(again.is_quiet() && drains(site)? == drained, "a second run: {}", again.changes());
    goes_alone(site, &machine, &play)?;
    Ok(format!("{}; again: {}; sentry-2 forgot its mesh without a controller", played.changes(), again.changes()))
}

/// Until the P-Rep says that both of its ways are good, and neither is to be left.
fn both_carry(site: &Site) -> Result<()> {
    wait_until("two good ways of the P-Rep's", SEEN, || {
        let said = site.picket(&["paths", "--json"]).map_err(|error| format!("{error:#}"))?;
        let view: PathsView = serde_json::from_str(&said).map_err(|error| error.to_string())?;
        let ways = view.hosts.iter().flat_map(|host| &host.sentries).filter_map(|sentry| sentry.way.as_ref());
        let good = ways.filter(|way| way.way == "good" && !way.draining).count();
        if good == 2 && view.drains.is_empty() { Ok(()) } else { Err(said) }
    })?;
    Ok(())
}

/// What the log has of drains, oldest first.
fn drains(site: &Site) -> Result<Vec<&'static str>> {
    let log = site.picket(&["events", "--limit", "1000"])?;
    let word = |line: &str| ["undrained", "drained"].into_iter().find(|word| line.contains(&format!("node.{word}")));
    Ok(log.lines().filter_map(word).collect())
}

/// No controller answers: a host leaves where the operator says that it shall forget its mesh, and not otherwise.
fn goes_alone(
    site: &Site,
    machine: &Machine,
    play: &impl Fn(&Site, &str, &[&str]) -> Result<super::ansible::Played>,
) -> Result<()> {
    site.controller.run(&["systemctl", "stop", "picket-controller"])?.success()?;
    let kept = play(site, "remove", &["--limit", "sentry-2"])?.failure()?;
    ensure!(kept.text.contains("picket_forget"), "{}", kept.tail());
    play(site, "remove", &["--limit", "sentry-2", "-e", "picket_forget=true"])?.success()?;
    let left = machine.run(&["sh", "-c", LEFT])?.stdout;
    ensure!(left.is_empty(), "a removal left {left}");
    site.controller.run(&["systemctl", "start", "picket-controller"])?.success()?;
    site.controller_answers()?;
    site.picket(&["revoke", "sentry-2", "--wait", "30s"]).map(drop)?;
    guarded::wait_in_force(|| site.members()).map(drop)
}
