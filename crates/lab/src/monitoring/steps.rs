//! What is looked at, one function each.

use super::{
    site::{SOON, Site},
    texts::{documented, expressions, undocumented},
};
use crate::{Output, Program, icon::Behaviour, steps::Seen, wait_until};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

/// How long a stranger waits for an answer that never comes.
const KNOCK: Duration = Duration::from_millis(50);

/// Every target is up.
pub(super) fn scraped(site: &mut Site) -> Seen {
    let programs = site.programs().len();
    wait_until("Prometheus to scrape everybody", SOON, || {
        let up = site.query("sum(up)").map_err(|error| format!("{error:#}"))?;
        let up = up.first().and_then(|sample| sample["value"][1].as_str().map(str::to_owned));
        if up.as_deref() == Some(&programs.to_string()) { Ok(()) } else { Err(format!("{up:?} of {programs}")) }
    })?;
    Ok(format!("{programs} programs"))
}

/// What one program tells, and how many samples that is.
fn told_by(site: &Site, program: &str) -> Result<usize> {
    let page = fs::read_to_string(site.project.join("docs/metrics.md")).context("read docs/metrics.md")?;
    let is_agent = site.agents.iter().any(|agent| agent == program);
    let heading = if is_agent { "picket-prep-agent and picket-sentry-agent" } else { "picket-controller" };
    let (status, text) = site.told(program, "/metrics")?;
    ensure!(status == 200, "{program}: {status}");
    lint(site, program, &text)?;
    let strange = undocumented(&text, &documented(&page, heading)?);
    ensure!(strange.is_empty(), "{program} tells what is not documented: {strange:?}");
    Ok(text.lines().filter(|line| !line.starts_with('#')).count())
}

/// All of them.
pub(super) fn all_documented(site: &mut Site) -> Seen {
    let mut samples = 0;
    for program in site.programs() {
        samples += told_by(site, &program)?;
    }
    Ok(format!("{samples} samples"))
}

/// What promtool says of a program's text; anything is too much.
fn lint(site: &Site, program: &str, text: &str) -> Result<()> {
    let mut promtool = Command::new(site.tools.join("promtool"));
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = promtool.spawn().context("start promtool")?;
    child.stdin.take().context("promtool has no input")?.write_all(text.as_bytes()).context("tell promtool")?;
    let output = child.wait_with_output().context("wait for promtool")?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && said.trim().is_empty(), "promtool says of {program}: {}", said.trim());
    Ok(())
}

/// The validator's host is ready while its node goes on.
pub(super) fn ready(site: &mut Site) -> Seen {
    let prep = site.agents.first().context("no validator")?;
    let until = |what: &str, expect: u16, reason: &str| {
        wait_until(what, SOON, || {
            let (status, text) = site.told(prep, "/ready").map_err(|error| format!("{error:#}"))?;
            if status == expect && text.contains(reason) { Ok(text) } else { Err(format!("{status} {text}")) }
        })
    };
    until("the host to be ready", 200, "\"ready\":true")?;
    site.node.set_behaviour(Behaviour::Status(503));
    let away = until("the host not to be ready, because of its node", 503, "the node: ")?;
    site.node.set_behaviour(Behaviour::Normal);
    let back = until("the host to be ready again", 200, "\"ready\":true")?;
    Ok(format!("not ready after {:.0} s, ready again after {:.0} s", away.took.as_secs_f64(), back.took.as_secs_f64()))
}

/// Something happens on the mesh, and every panel shows something.
pub(super) fn dashboards(site: &mut Site) -> Seen {
    // A stranger knocks, an operator asks for what is not there, and a validator moves.
    let guarded = site.mesh().preps[0].host.v4(7100)?;
    let mut places = ["198.51.100.98:7100", "198.51.100.99:7100"].into_iter().cycle();
    let mut disturb = || -> Result<()> {
        let mesh = site.mesh();
        let moving = mesh.validators.last().context("no validator of others")?.prep;
        let place = places.next().context("nowhere to move to")?;
        mesh.chain.set_endpoint(moving, place).context("move a validator")?;
        // That it is refused is what others look at.
        let _ = mesh.stranger.can_connect(guarded, KNOCK);
        mesh.controller.picket(&["revoke", "nobody"])?;
        Ok(())
    };
    let folder = site.project.join("monitoring/grafana");
    let instance = site.agents.first().context("no validator")?;
    let mut panels = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry.context("read a dashboard")?.path();
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        panels.extend(
            expressions(&text, instance)?.into_iter().map(|(title, expression)| (name.clone(), title, expression)),
        );
    }
    ensure!(panels.len() > 40, "only {} expressions in {}", panels.len(), folder.display());
    wait_until("every expression to give something", SOON, || {
        disturb().map_err(|error| format!("{error:#}"))?;
        let mut empty = Vec::new();
        for (dashboard, title, expression) in &panels {
            match site.query(expression) {
                Ok(result) if result.iter().any(is_number) => {}
                Ok(_) => empty.push(format!("{dashboard}, {title}: {expression}")),
                Err(error) => return Err(format!("{error:#}")),
            }
        }
        if empty.is_empty() { Ok(()) } else { Err(format!("nothing from {}", empty.join("; "))) }
    })?;
    Ok(format!("{} expressions", panels.len()))
}

/// Whether a sample is a number: a quantile over nothing is none, and draws an empty panel.
fn is_number(sample: &Value) -> bool {
    sample["value"][1].as_str().is_some_and(|text| text != "NaN")
}

/// All rules are known to Prometheus and well, and nothing critical fires.
pub(super) fn quiet(site: &mut Site) -> Seen {
    let rules = fs::read_to_string(site.project.join("monitoring/rules/picket.yml")).context("read the rules")?;
    let names: BTreeSet<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    wait_until("all alerts to be evaluated and nothing critical to fire", SOON, || {
        let answer = site.prometheus("/api/v1/rules?type=alert").map_err(|error| format!("{error:#}"))?;
        let groups = answer["data"]["groups"].as_array().cloned().unwrap_or_default();
        let all: Vec<Value> = groups.iter().flat_map(|group| group["rules"].as_array().cloned()).flatten().collect();
        let good = all.iter().filter(|rule| rule["health"] == "ok").count();
        let firing = all.iter().filter(|rule| rule["state"] == "firing" && rule["labels"]["severity"] == "critical");
        let firing: Vec<&str> = firing.filter_map(|rule| rule["name"].as_str()).collect();
        if good == names.len() && firing.is_empty() { Ok(()) } else { Err(format!("{good} are well, {firing:?} fire")) }
    })?;
    Ok(format!("{} alerts", names.len()))
}

/// The validator's agent and the sentries' log JSON.
pub(super) fn logged(site: &mut Site) -> Seen {
    let mesh = site.mesh();
    let logs = mesh.agents().filter_map(|agent| agent.process().map(|process| process.log()));
    let text: String = logs.collect();
    for line in text.lines() {
        let event: Value = serde_json::from_str(line).with_context(|| format!("read {line}"))?;
        let event = event.as_object().with_context(|| format!("{line} is no object"))?;
        for field in ["timestamp", "level", "target", "message"] {
            ensure!(event.get(field).is_some_and(Value::is_string), "{line} has no {field}");
        }
        ensure!(!event.values().any(|value| value.is_object() || value.is_array()), "{line} is not flat");
    }
    ensure!(text.lines().count() > 10, "only {} lines", text.lines().count());
    Ok(format!("{} lines of {} agents", text.lines().count(), mesh.agents().count()))
}

/// The full screen on a terminal: turned from page to page, and ended.
pub(super) fn top(site: &mut Site) -> Seen {
    const ENVIRONMENT: [(&str, &str); 2] = [("TERM", "xterm-256color"), ("LC_ALL", "C.UTF-8")];
    let mesh = site.mesh();
    let host = &mesh.controller.host;
    let socket = host.path("tmux");
    let tmux = |args: &[&str]| -> Result<Output> {
        Ok(host.run_with("tmux", &[&["-S", &socket, "-f", "/dev/null"], args].concat(), &ENVIRONMENT, SOON)?)
    };
    let picket = Program::Cli.path()?;
    let picket = format!("{} --context {} top", picket.display(), mesh.controller.context());
    tmux(&["new-session", "-d", "-x", "120", "-y", "24", &picket])?.success()?;
    let sees = |what: &str| {
        wait_until(&format!("the screen to show {what}"), SOON, || {
            let screen = tmux(&["capture-pane", "-p"]).map_err(|error| format!("{error:#}"))?.stdout;
            if screen.contains(what) { Ok(screen) } else { Err(screen) }
        })
    };
    let pages = [("1", "in force"), ("2", "HANDSHAKE"), ("3", "refused_p2p"), ("4", "ATTACK AT")];
    let shown = || -> Result<()> {
        for (key, what) in pages {
            tmux(&["send-keys", key])?.success()?;
            let screen = sees(what)?.value;
            ensure!(screen.contains("prep-1"), "no host on page {key}: {screen}");
        }
        tmux(&["send-keys", "q"])?.success()?;
        wait_until("the screen to end", SOON, || tmux(&["has-session"]).is_ok_and(|output| output.success().is_err()))?;
        Ok(())
    };
    let shown = shown();
    // Where all is well it has ended with its only session.
    let _ = tmux(&["kill-server"]);
    shown?;
    Ok(format!("{} pages", pages.len()))
}

/// Prometheus, Alertmanager and the pager: the whole way.
pub(super) fn told(site: &mut Site) -> Seen {
    const ALERT: &str = "PicketControllerDown";
    let paged = |status: &str| {
        wait_until(&format!("the pager to hear that {ALERT} is {status}"), SOON * 3, || {
            let pages = site.pages();
            let alerts = pages.iter().flat_map(|page| page["alerts"].as_array().into_iter().flatten());
            let mut of_it = alerts.filter(|alert| alert["labels"]["alertname"] == ALERT && alert["status"] == status);
            of_it.next().cloned().ok_or_else(|| format!("{} pages", pages.len()))
        })
    };
    site.mesh().controller.kill();
    let fired = paged("firing")?;
    let runbook = fired.value["annotations"]["runbook_url"].as_str().unwrap_or_default();
    let Some(page) = runbook.rsplit_once("/runbooks/").map(|(_, page)| page) else { bail!("no runbook: {runbook:?}") };
    ensure!(site.project.join("docs/runbooks").join(page).is_file(), "there is no docs/runbooks/{page}");
    site.mesh().controller.start()?;
    let resolved = paged("resolved")?;
    Ok(format!(
        "told after {:.0} s, with its runbook; that it is over after {:.0} s",
        fired.took.as_secs_f64(),
        resolved.took.as_secs_f64()
    ))
}
