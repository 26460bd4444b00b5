//! Names that follow the sentries, and how hidden validators are advertised.

use super::{Answer, Shared, auth::Viewer, problem::Asked};
use crate::{dns, now, revoke::not_found};
use axum::{Json, extract::State};
use picket_api::dns::{AdvertiseQuery, AdvertiseView, DnsView};
use picket_chain::Resolver;
use picket_model::{HiddenPrep, Host};
use picket_plan::{AdvertiseInput, advertise as judge};

/// Validators of one answer: each has a name looked up.
const MOST: usize = 32;

/// How names stand.
pub(super) async fn names(State(controller): Shared, _: Viewer) -> Answer<DnsView> {
    Ok(Json(DnsView { now: now(), names: controller.dns.views() }))
}

/// Whether chain, name and sentries agree.
pub(super) async fn advertise(
    State(controller): Shared,
    _: Viewer,
    Asked(query): Asked<AdvertiseQuery>,
) -> Answer<AdvertiseView> {
    let at = now();
    let mut tx = controller.store.read().await?;
    let (nodes, drains) = (tx.nodes().await?, tx.drains().await?);
    let (policy, listed) = (tx.policy().await?.unwrap_or_default().1, tx.listed_at(at).await?);
    drop(tx);
    let is_meant = |line: &&HiddenPrep| {
        let Some(prep) = &query.prep else { return true };
        let is_id = |id: &str| nodes.values().any(|node| node.id.as_str() == id && node.name == line.prep);
        line.prep.as_str() == prep || is_id(prep)
    };
    let lines: Vec<&HiddenPrep> = policy.hidden.iter().filter(is_meant).take(MOST).collect();
    if let Some(prep) = query.prep.as_ref().filter(|_| lines.is_empty()) {
        return Err(not_found(prep));
    }
    let resolver = Resolver::new();
    let lookups = lines.iter().map(async |line| match &line.advertise {
        Some(Host::Name(name)) => Some(resolver.lookup(name).await),
        _ => None,
    });
    let resolved = futures_util::future::join_all(lookups).await;
    let validators = lines.iter().zip(&resolved).map(|(line, resolved)| {
        let sentries = dns::facts(&controller, (&nodes, &drains), line, at);
        judge(AdvertiseInput { line, listed: &listed, resolved: resolved.as_ref(), sentries: &sentries })
    });
    Ok(Json(AdvertiseView { validators: validators.collect() }))
}
