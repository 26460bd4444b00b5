//! Whether what a hidden validator advertises leads to it: what is registered, by the word of each source; what the name gives
//! now; and which sentries forward.

use picket_model::{
    AdvertisedFact, Advertising, HiddenPrep, Host, NameAnswer, NodeName, ObservedValidator, P2pEndpoint, PrepId,
    SourceId, Verdict,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

/// What is known about one line of `policy.hidden`.
#[derive(Clone, Copy, Debug)]
pub struct AdvertiseInput<'a> {
    /// The line.
    pub line: &'a HiddenPrep,
    /// What each source lists.
    pub listed: &'a BTreeMap<SourceId, BTreeMap<PrepId, ObservedValidator>>,
    /// What the advertised name gives now; `None` where an address is advertised, or nothing.
    pub resolved: Option<&'a Result<NameAnswer, String>>,
    /// The sentries that are to forward for it.
    pub sentries: &'a [SentryFacts],
}

/// A sentry as far as one validator goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentryFacts {
    /// Its name.
    pub name: NodeName,
    /// Where others reach it; none where that is not known.
    pub addresses: BTreeSet<IpAddr>,
    /// Why it is of no use now; `None` where it forwards.
    pub fault: Option<String>,
}

/// All that can be said without calling anybody.
pub fn advertise(input: AdvertiseInput<'_>) -> Advertising {
    let AdvertiseInput { line, .. } = input;
    let endpoint = line.endpoint();
    let prep_id = prep_id(&input, endpoint.as_ref());
    let mut facts = vec![policy(line, endpoint.as_ref())];
    facts.extend(forwarding(&input));
    if let Some(endpoint) = &endpoint {
        facts.extend(registered(&input, prep_id.as_ref(), endpoint));
    }
    let (of_addresses, at) = addresses(&input, endpoint.as_ref());
    facts.extend(of_addresses);
    Advertising {
        prep: line.prep.clone(),
        prep_id,
        set: endpoint.map(|endpoint| endpoint.to_string()),
        facts,
        at: at.into_iter().map(|address| SocketAddr::new(address, line.port.get())).collect(),
    }
}

fn policy(line: &HiddenPrep, endpoint: Option<&P2pEndpoint>) -> AdvertisedFact {
    match endpoint {
        Some(endpoint) => fact(
            "policy",
            format!("{} advertises {endpoint}", line.prep),
            Verdict::Good,
            format!(
                "on {}: GOLOOP_P2P={endpoint}, and p2pEndpoint {endpoint} by setPRep; goloop reads the first when it starts",
                line.prep
            ),
        ),
        None => fact(
            "policy",
            format!("does not say what {} advertises", line.prep),
            Verdict::Wrong,
            format!("write advertise = \"NAME\" in [[policy.hidden]] of {}, or the address of a sentry", line.prep),
        ),
    }
}

/// Whether anybody forwards at all.
fn forwarding(input: &AdvertiseInput<'_>) -> Vec<AdvertisedFact> {
    let port = input.line.port;
    let mut facts: Vec<_> = input
        .sentries
        .iter()
        .map(|sentry| {
            let about = format!("sentry {}", sentry.name);
            match &sentry.fault {
                None => good(about, format!("forwards port {port}")),
                Some(fault) => unknown(about, fault.clone(), "it takes no part until then".to_owned()),
            }
        })
        .collect();
    if input.sentries.iter().all(|sentry| sentry.fault.is_some()) {
        let remedy = "nobody reaches the validator: see `picket nodes` and policy.hidden.sentries".to_owned();
        facts.push(fact("sentries", "none forwards for it now".to_owned(), Verdict::Wrong, remedy));
    }
    facts
}

/// Which P-Rep it is: as the policy says, else the only one that is registered with what it advertises.
fn prep_id(input: &AdvertiseInput<'_>, endpoint: Option<&P2pEndpoint>) -> Option<PrepId> {
    if let Some(id) = &input.line.prep_id {
        return Some(*id);
    }
    let endpoint = endpoint?;
    let all = input.listed.values().flat_map(BTreeMap::values);
    let same: BTreeSet<&PrepId> =
        all.filter(|validator| validator.endpoint == *endpoint).map(|validator| &validator.prep).collect();
    let mut same = same.into_iter();
    same.next().cloned().filter(|_| same.next().is_none())
}

/// What is on chain, by the word of each source.
fn registered(input: &AdvertiseInput<'_>, id: Option<&PrepId>, endpoint: &P2pEndpoint) -> Vec<AdvertisedFact> {
    if input.listed.is_empty() {
        return vec![unknown(
            "on chain".to_owned(),
            "no source has given a list yet".to_owned(),
            "see `picket status`".to_owned(),
        )];
    }
    let Some(id) = id else {
        let remedy =
            format!("register it by setPRep, or write prep_id = \"hx...\" in [[policy.hidden]] of {}", input.line.prep);
        return vec![fact(
            "on chain",
            format!("no single P-Rep is registered with {endpoint}"),
            Verdict::Wrong,
            remedy,
        )];
    };
    let of_source = |(source, listed): (&SourceId, &BTreeMap<PrepId, ObservedValidator>)| {
        let about = format!("on chain, by {source}");
        match listed.get(id) {
            None => unknown(
                about,
                format!("{id} is not on its list"),
                "a P-Rep that is registered and active is".to_owned(),
            ),
            Some(found) if found.endpoint == *endpoint => good(about, format!("{id} is registered with {endpoint}")),
            Some(found) => fact(
                &about,
                format!("{id} is registered with {}", found.endpoint),
                Verdict::Wrong,
                format!("setPRep with p2pEndpoint {endpoint}; others call the old one until then"),
            ),
        }
    };
    input.listed.iter().map(of_source).collect()
}

/// Where others call it, and whose addresses those are.
fn addresses(input: &AdvertiseInput<'_>, endpoint: Option<&P2pEndpoint>) -> (Vec<AdvertisedFact>, BTreeSet<IpAddr>) {
    let mut facts = Vec::new();
    let at: BTreeSet<IpAddr> = match (endpoint.map(|endpoint| &endpoint.host), input.resolved) {
        (None, _) => return (facts, BTreeSet::new()),
        (Some(Host::Address(address)), _) => [IpAddr::from(*address)].into(),
        (Some(Host::Name(name)), None) => {
            facts.push(unknown("name".to_owned(), format!("{name} was not looked up"), "try again".to_owned()));
            BTreeSet::new()
        }
        (Some(Host::Name(name)), Some(Err(why))) => {
            let remedy =
                format!("{name} must have an address of a sentry: see [[dns]], or write it at the name's server");
            facts.push(fact("name", format!("{name}: {why}"), Verdict::Wrong, remedy));
            BTreeSet::new()
        }
        (Some(Host::Name(name)), Some(Ok(answer))) => {
            // goloop dials IPv4 alone.
            let dialled: BTreeSet<IpAddr> = answer.addresses.iter().copied().filter(IpAddr::is_ipv4).collect();
            if dialled.is_empty() {
                let remedy = format!("{name} needs an address of a sentry, of IPv4: goloop dials no other");
                facts.push(fact("name", format!("{name} has no IPv4 address"), Verdict::Wrong, remedy));
            }
            dialled
        }
    };
    let nowhere = input.sentries.iter().find(|sentry| sentry.addresses.is_empty());
    for address in &at {
        let about = format!("address {address}");
        facts.push(match input.sentries.iter().find(|sentry| sentry.addresses.contains(address)) {
            None if let Some(sentry) = nowhere => unknown(
                about,
                format!("may be {}, whose public address is not known here", sentry.name),
                format!("make sure of it; a [[dns]] with sentries = {{ \"{}\" = [\"{address}\"] }} says so", sentry.name),
            ),
            None => fact(
                &about,
                "is no sentry's that forwards for it".to_owned(),
                Verdict::Wrong,
                "whoever calls it does not come here: take it out of the name, or write it in dns.sentries of the sentry whose it is".to_owned(),
            ),
            Some(sentry) => match &sentry.fault {
                None => good(about, format!("is {}, which forwards", sentry.name)),
                Some(fault) => fact(
                    &about,
                    format!("is {}, which {fault}", sentry.name),
                    Verdict::Wrong,
                    "take it out of the name until the sentry is back; with [[dns]] that is done by itself".to_owned(),
                ),
            },
        });
    }
    let is_named = |sentry: &&SentryFacts| {
        sentry.fault.is_none() && !sentry.addresses.is_empty() && sentry.addresses.is_disjoint(&at)
    };
    if matches!(endpoint.map(|endpoint| &endpoint.host), Some(Host::Name(_))) && !at.is_empty() {
        facts.extend(input.sentries.iter().filter(is_named).map(|sentry| {
            let found = format!("{} forwards and is not in the name", sentry.name);
            unknown(
                "name".to_owned(),
                found,
                "others that let in only what the name gives refuse calls that leave through it".to_owned(),
            )
        }));
    }
    (facts, at)
}

fn good(about: String, found: String) -> AdvertisedFact {
    AdvertisedFact { about, found, verdict: Verdict::Good, remedy: None }
}

fn unknown(about: String, found: String, remedy: String) -> AdvertisedFact {
    AdvertisedFact { about, found, verdict: Verdict::Unknown, remedy: Some(remedy) }
}

fn fact(about: &str, found: String, verdict: Verdict, remedy: String) -> AdvertisedFact {
    AdvertisedFact { about: about.to_owned(), found, verdict, remedy: Some(remedy) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_model::Grade;
    use std::time::Duration;

    fn line(more: &str) -> HiddenPrep {
        serde_json::from_str(&format!(r#"{{"prep": "prep-1"{more}}}"#)).unwrap()
    }

    fn listed(endpoint: &str) -> BTreeMap<SourceId, BTreeMap<PrepId, ObservedValidator>> {
        let prep: PrepId = format!("hx{:040x}", 7).parse().unwrap();
        let validator = ObservedValidator {
            prep,
            name: String::new(),
            node_address: format!("hx{:040x}", 7).parse().unwrap(),
            grade: Grade::Main,
            endpoint: endpoint.parse().unwrap(),
            penalty: 0,
            jail_flags: None,
            power: None,
        };
        [("s-1".parse().unwrap(), [(prep, validator)].into())].into()
    }

    fn sentry(number: u8, fault: Option<&str>) -> SentryFacts {
        SentryFacts {
            name: format!("sentry-{number}").parse().unwrap(),
            addresses: [IpAddr::from([5, 0, 0, number])].into(),
            fault: fault.map(str::to_owned),
        }
    }

    fn names(addresses: &[&str]) -> Result<NameAnswer, String> {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Ok(NameAnswer { addresses, time_to_live: Duration::from_secs(30), ..NameAnswer::default() })
    }

    /// The verdicts that are not good, one line each.
    fn check(
        line: &HiddenPrep,
        chain: &str,
        resolved: Option<&Result<NameAnswer, String>>,
        sentries: &[SentryFacts],
        expect: &[&str],
    ) {
        let listed = listed(chain);
        let found = advertise(AdvertiseInput { line, listed: &listed, resolved, sentries });
        let told: Vec<String> = found
            .facts
            .iter()
            .filter(|fact| fact.verdict != Verdict::Good)
            .map(|fact| format!("{:?} {}: {}", fact.verdict, fact.about, fact.found))
            .collect();
        assert_eq!(told, expect);
        assert_eq!(found.is_good(), !expect.iter().any(|line| line.starts_with("Wrong")));
    }

    const NAME: &str = r#", "advertise": "p2p.example.org""#;

    #[test]
    fn all_is_well_where_chain_name_and_sentries_agree() {
        let sentries = [sentry(1, None), sentry(2, None)];
        check(&line(NAME), "p2p.example.org:7100", Some(&names(&["5.0.0.1", "5.0.0.2"])), &sentries, &[]);
        check(&line(r#", "advertise": "5.0.0.1""#), "5.0.0.1:7100", None, &sentries, &[]);
        let found = advertise(AdvertiseInput {
            line: &line(NAME),
            listed: &listed("p2p.example.org:7100"),
            resolved: Some(&names(&["5.0.0.1", "2001:db8::1"])),
            sentries: &sentries,
        });
        assert_eq!(found.set.as_deref(), Some("p2p.example.org:7100"));
        assert_eq!(found.at, ["5.0.0.1:7100".parse().unwrap()].into(), "goloop dials no IPv6");
    }

    #[test]
    fn an_address_may_be_that_of_a_sentry_whose_address_is_not_known() {
        let mut behind = sentry(1, None);
        behind.addresses.clear();
        let expect = ["Unknown address 5.0.0.9: may be sentry-1, whose public address is not known here"];
        check(&line(r#", "advertise": "5.0.0.9""#), "5.0.0.9:7100", None, &[behind.clone()], &expect);
        check(&line(NAME), "p2p.example.org:7100", Some(&names(&["5.0.0.9"])), &[behind.clone()], &expect);
        // One that is known is that one's.
        check(&line(NAME), "p2p.example.org:7100", Some(&names(&["5.0.0.2"])), &[behind, sentry(2, None)], &[]);
    }

    #[test]
    fn what_disagrees_is_told_with_what_was_found() {
        let sentries = [sentry(1, None), sentry(2, Some("answers prep-1 no more"))];
        let id = format!("hx{:040x}", 7);
        let known = line(&format!(r#"{NAME}, "prep_id": "{id}""#));
        check(
            &known,
            "198.51.100.9:7100",
            Some(&names(&["5.0.0.2", "9.9.9.9"])),
            &sentries,
            &[
                "Unknown sentry sentry-2: answers prep-1 no more",
                &format!("Wrong on chain, by s-1: {id} is registered with 198.51.100.9:7100"),
                "Wrong address 5.0.0.2: is sentry-2, which answers prep-1 no more",
                "Wrong address 9.9.9.9: is no sentry's that forwards for it",
                "Unknown name: sentry-1 forwards and is not in the name",
            ],
        );
        // Another port is another endpoint.
        check(
            &line(NAME),
            "p2p.example.org:7101",
            Some(&Err("no such name (NXDOMAIN)".to_owned())),
            &sentries[..1],
            &[
                "Wrong on chain: no single P-Rep is registered with p2p.example.org:7100",
                "Wrong name: p2p.example.org: no such name (NXDOMAIN)",
            ],
        );
        check(
            &line(""),
            "5.0.0.1:7100",
            None,
            &[],
            &["Wrong policy: does not say what prep-1 advertises", "Wrong sentries: none forwards for it now"],
        );
    }
}
