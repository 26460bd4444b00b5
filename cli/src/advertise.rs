//! `picket advertise`: what the controller knows, and what a call from this machine, or from another one, finds at each address.
//! What that means is decided in [`tried`].

use crate::audit::read;
use picket_api::{
    OperatorClient,
    dns::{AdvertiseQuery, AdvertiseView},
    probe::{Found, Probe, knock},
};
use picket_model::{AdvertisedFact, Advertising, GuardedPort, NodeId, Protocol, Verdict};
use std::{net::SocketAddr, num::NonZeroU16, path::PathBuf};

/// Asks the controller, and tries the way to each address.
pub(crate) async fn advertise(
    client: &OperatorClient,
    prep: Option<&NodeId>,
    found: &[PathBuf],
) -> anyhow::Result<AdvertiseView> {
    let query = AdvertiseQuery { prep: prep.map(ToString::to_string) };
    let mut view = client.advertise(&query).await?;
    let there = found.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
    for validator in &mut view.validators {
        for at in validator.at.clone() {
            let Some(port) = NonZeroU16::new(at.port()) else { continue };
            let port = GuardedPort { protocol: Protocol::Tcp, port };
            let fact = match there.iter().find(|probe| probe.address.to_canonical() == at.ip()) {
                Some(probe) => tried(at, port, probe, true),
                None => match tokio::task::spawn_blocking(move || knock(at.ip(), &[port].into())).await? {
                    Ok(probe) => tried(at, port, &probe, false),
                    Err(error) => not_tried(at, &format!("no way from this machine: {error}")),
                },
            };
            validator.facts.push(fact);
        }
    }
    Ok(view)
}

/// What was found at an address. A host that is no validator's is dropped there, as it should be, and has seen nothing.
fn tried(at: SocketAddr, port: GuardedPort, probe: &Probe, is_there: bool) -> AdvertisedFact {
    let from = if is_there { format!("from {}", probe.from) } else { format!("from this machine, {}", probe.from) };
    let about = format!("way to {at}");
    let Some(found) = probe.ports.iter().find(|probed| probed.at == port).map(|probed| &probed.found) else {
        return not_tried(at, &format!("nobody knocked at {port} {from}"));
    };
    match found {
        Found::Open => {
            AdvertisedFact { about, found: format!("{from}: somebody answers"), verdict: Verdict::Good, remedy: None }
        }
        Found::NobodyListens => AdvertisedFact {
            about,
            found: format!("{from}: packets get through and nobody listens"),
            verdict: Verdict::Wrong,
            remedy: Some("see whether goloop runs and listens on the port that policy.hidden.to_port says".to_owned()),
        },
        Found::Silent if is_there => AdvertisedFact {
            about,
            found: format!("{from}: no answer"),
            verdict: Verdict::Wrong,
            remedy: Some(
                "see `picket explain` for the address it was tried from, and `picket audit` of the sentry".to_owned(),
            ),
        },
        Found::Silent => not_tried(at, &format!("{from}: no answer, as for any stranger")),
        Found::Unreachable(why) => not_tried(at, &format!("{from}: {why}")),
    }
}

fn not_tried(at: SocketAddr, found: &str) -> AdvertisedFact {
    let (address, port) = (at.ip(), at.port());
    AdvertisedFact {
        about: format!("way to {at}"),
        found: found.to_owned(),
        verdict: Verdict::Unknown,
        remedy: Some(format!(
            "on the host of another validator: picket-prep-agent probe {address} --port {port} > found.json, then \
             `picket advertise --found found.json` here"
        )),
    }
}

/// Everything that is to be done, in order.
pub(crate) fn remedies(validator: &Advertising) -> impl Iterator<Item = (&AdvertisedFact, &str)> {
    let open = validator.facts.iter().filter(|fact| fact.verdict != Verdict::Good);
    open.filter_map(|fact| fact.remedy.as_deref().map(|remedy| (fact, remedy)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_api::probe::ProbedPort;

    #[test]
    fn silence_is_wrong_only_where_it_was_looked_from_on_purpose() {
        let at: SocketAddr = "192.0.2.1:7100".parse().unwrap();
        let port = GuardedPort { protocol: Protocol::Tcp, port: 7100.try_into().unwrap() };
        let check = |found: Option<Found>, is_there: bool, expect: Verdict| {
            let ports = found.map(|found| ProbedPort { at: port, found }).into_iter().collect();
            let probe = Probe { from: [198, 51, 100, 1].into(), address: at.ip(), ports };
            let fact = tried(at, port, &probe, is_there);
            assert_eq!(fact.verdict, expect, "{fact:?}");
            assert_eq!(fact.remedy.is_none(), expect == Verdict::Good);
        };
        check(Some(Found::Open), false, Verdict::Good);
        check(Some(Found::NobodyListens), false, Verdict::Wrong);
        check(Some(Found::Silent), false, Verdict::Unknown);
        check(Some(Found::Silent), true, Verdict::Wrong);
        check(Some(Found::Unreachable("x".into())), true, Verdict::Unknown);
        check(None, true, Verdict::Unknown);
    }
}
