//! Pages that only show: each gathers its values and has them written.

use super::{
    Desk, Shared, gather,
    guard::{Failed, Seen, page},
};
use crate::{
    api::{ApiProblem, views},
    now,
};
use axum::{
    extract::{Path, Query, State, rejection::QueryRejection},
    response::Response,
};
use picket_api::{
    ProblemKind,
    operator::{ExplainQuery, FindingView},
};
use picket_model::NodeName;
use picket_page::{CutForm, CutKind, Frame, Section, WhyForm};
use serde::Deserialize;

pub(super) type Page = Result<Response, Failed>;

/// Events on one page.
const EVENTS: usize = 100;

pub(super) fn frame(desk: &Desk, seen: &Seen, section: Section) -> Frame {
    Frame { mesh: desk.controller.mesh.clone(), viewer: seen.viewer(), section }
}

pub(super) async fn overview(State(desk): Shared, seen: Seen) -> Page {
    let of = gather::overview(&desk.controller, now()).await?;
    Ok(page(picket_page::overview(&frame(&desk, &seen, Section::Overview), &of)))
}

pub(super) async fn map(State(desk): Shared, seen: Seen) -> Page {
    let now = now();
    let of = gather::members(&desk.controller, now).await?;
    Ok(page(picket_page::map(&frame(&desk, &seen, Section::Map), &of.hosts, &of.tunnels, now)))
}

pub(super) async fn hosts(State(desk): Shared, seen: Seen) -> Page {
    let now = now();
    let (of, gone) = (gather::members(&desk.controller, now).await?, gather::revoked(&desk.controller, now).await?);
    Ok(page(picket_page::hosts(&frame(&desk, &seen, Section::Hosts), &of.hosts, &gone, &of.tunnels, now)))
}

pub(super) async fn host(State(desk): Shared, seen: Seen, Path(host): Path<String>) -> Page {
    let now = now();
    let (state, tunnels) = gather::host(&desk.controller, &host, now).await?;
    let (_, findings) = views::status_and_findings(&desk.controller, now).await?;
    let is_it = |called: &str| called == state.name() || called == state.view.node.id.as_str();
    let mut findings: Vec<FindingView> = findings
        .iter()
        .map(|finding| views::finding_view(finding, is_it))
        .filter(|found| found.host.is_some())
        .collect();
    findings.sort_by(|a, b| a.kind.cmp(&b.kind));
    Ok(page(picket_page::host(&frame(&desk, &seen, Section::Hosts), &state, &tunnels, &findings, now)))
}

/// What to do, where it is needed.
pub(super) async fn runbook(State(desk): Shared, seen: Seen, Path(name): Path<String>) -> Page {
    let found = picket_page::runbook(&frame(&desk, &seen, Section::Overview), &name);
    let found = found.ok_or_else(|| ApiProblem::new(ProblemKind::NotFound, "there is no such runbook"))?;
    Ok(page(found))
}

pub(super) async fn revoke(desk: Shared, seen: Seen, host: Path<String>) -> Page {
    cut_form(desk, seen, host, CutKind::Revoke).await
}

pub(super) async fn quarantine(desk: Shared, seen: Seen, host: Path<String>) -> Page {
    cut_form(desk, seen, host, CutKind::Quarantine).await
}

fn only_admins(Frame { viewer, .. }: &Frame) -> Result<(), ApiProblem> {
    if viewer.is_admin() {
        return Ok(());
    }
    let detail = format!("operator {} is a {} and this needs an admin", viewer.operator, viewer.role);
    Err(ApiProblem::new(ProblemKind::Forbidden, detail))
}

async fn cut_form(State(desk): Shared, seen: Seen, Path(host): Path<String>, kind: CutKind) -> Page {
    let frame = frame(&desk, &seen, Section::Hosts);
    only_admins(&frame)?;
    let (state, tunnels) = gather::host(&desk.controller, &host, now()).await?;
    let name = state.view.node.name;
    let others = tunnels.into_iter().filter_map(|tunnel| match name {
        _ if tunnel.prep == name => Some(tunnel.sentry),
        _ if tunnel.sentry == name => Some(tunnel.prep),
        _ => None,
    });
    let peers: Vec<NodeName> = others.collect();
    Ok(page(picket_page::cut_form(&frame, &CutForm { name, kind, peers })))
}

pub(super) async fn validators(State(desk): Shared, seen: Seen) -> Page {
    let now = now();
    let of = views::validators(&desk.controller, now).await?;
    Ok(page(picket_page::validators(&frame(&desk, &seen, Section::Validators), &of, now)))
}

/// What a brake holds, before an admin lets it through.
pub(super) async fn approve(State(desk): Shared, seen: Seen) -> Page {
    let frame = frame(&desk, &seen, Section::Validators);
    only_admins(&frame)?;
    let held = views::validators(&desk.controller, now()).await?.held;
    let Some((held, digest)) = held.and_then(|held| held.digest.clone().map(|digest| (held, digest))) else {
        let detail = "nothing is held back that could be let through";
        return Err(ApiProblem::new(ProblemKind::Conflict, detail).into());
    };
    Ok(page(picket_page::approve_form(&frame, &held, &digest)))
}

/// Which lines.
#[derive(Deserialize)]
pub(super) struct EventsQuery {
    #[serde(default)]
    before: Option<i64>,
}

pub(super) async fn events(State(desk): Shared, seen: Seen, query: Result<Query<EventsQuery>, QueryRejection>) -> Page {
    let before = query.ok().and_then(|Query(query)| query.before);
    let events = desk.controller.store.read().await?.events_before(before, EVENTS).await?;
    let older = events.first().filter(|first| first.id > 1).map(|first| first.id);
    Ok(page(picket_page::events(&frame(&desk, &seen, Section::Events), &events, older, now())))
}

/// What is asked, as it was typed.
#[derive(Deserialize)]
pub(super) struct WhyQuery {
    #[serde(default)]
    address: String,
    #[serde(default)]
    host: String,
    #[serde(default)]
    port: String,
}

pub(super) async fn why(State(desk): Shared, seen: Seen, query: Result<Query<WhyQuery>, QueryRejection>) -> Page {
    let typed =
        query.map_or_else(|_| WhyQuery { address: String::new(), host: String::new(), port: String::new() }, |q| q.0);
    let answer = match asked(&typed) {
        None => None,
        Some(Err(problem)) => Some(Err(problem)),
        Some(Ok(query)) => Some(views::explain(&desk.controller, &query).await.map_err(|problem| problem.0.detail)),
    };
    let WhyQuery { address, host, port } = typed;
    let nodes = desk.controller.store.read().await?.nodes().await?;
    let mut names: Vec<NodeName> =
        nodes.values().filter(|node| node.is_active()).map(|node| node.name.clone()).collect();
    names.sort();
    let form = WhyForm { address, host, port, answer };
    Ok(page(picket_page::why(&frame(&desk, &seen, Section::Why), &form, &names)))
}

/// `None` before anything was asked.
fn asked(typed: &WhyQuery) -> Option<Result<ExplainQuery, String>> {
    let (address, port) = (typed.address.trim(), typed.port.trim());
    if address.is_empty() {
        return None;
    }
    let read = || {
        let address = address
            .parse()
            .map_err(|_| format!("{address:?} is no address: write it as 203.0.113.7 or 2001:db8::7"))?;
        let port = match port {
            "" => None,
            port => Some(port.parse().map_err(|_| format!("{port:?} is no port: write 1 to 65535, or leave it out"))?),
        };
        Ok(ExplainQuery { address, port, generation: None })
    };
    Some(read())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_is_read_or_said_to_be_wrong() {
        let ask = |address: &str, port: &str| {
            let [address, port] = [address, port].map(str::to_owned);
            asked(&WhyQuery { address, host: String::new(), port })
        };
        assert!(ask(" ", "7100").is_none());
        assert_eq!(ask(" 203.0.113.7 ", "").unwrap().unwrap().port, None);
        assert_eq!(ask("2001:db8::7", "7100").unwrap().unwrap().port, Some(7100));
        for (address, port) in [("203.0.113", ""), ("<script>", ""), ("203.0.113.7", "x"), ("203.0.113.7", "70000")] {
            assert!(ask(address, port).unwrap().is_err(), "{address} {port}");
        }
    }
}
