//! Whom hosts refuse, as operators see it: put together from reports, and as a blocklist without anybody who belongs here, by API and
//! page.

use crate::{
    fixture::{Mesh, report},
    page::{Browser, PAGE},
};
use picket_api::attack::BlocklistQuery;
use picket_model::{BlocklistBy, Defences, NodeReport, NodeRole, RefusedSource, RefusedSources, Timestamp};
use reqwest::{StatusCode, header};
use std::{net::IpAddr, time::SystemTime};

fn now() -> Timestamp {
    SystemTime::now().into()
}

fn refused(sources: &[(IpAddr, u64)]) -> RefusedSources {
    let source = |samples| RefusedSource { samples, last: now(), ports: [].into() };
    RefusedSources {
        seconds: 600,
        samples: sources.iter().map(|(_, samples)| samples).sum(),
        addresses: sources.iter().map(|(address, samples)| (*address, source(*samples))).collect(),
        networks: sources
            .iter()
            .map(|(at, samples)| (picket_model::attack::network_of(*at), source(*samples)))
            .collect(),
        acting: [("refused_p2p".to_owned(), 900)].into(),
    }
}

#[tokio::test]
async fn who_is_refused_is_shown_and_exported_and_nobody_who_belongs_here_is_in_the_list() {
    let lines = format!("{PAGE}[policy]\nadmin = [\"9.8.7.0/28\"]\n");
    let mesh = Mesh::start_with(&lines).await;
    let sentry = mesh.join(NodeRole::Sentry, "sentry-1").await;
    mesh.join(NodeRole::Prep, "prep-1").await;
    let operator = mesh.operator();
    let validators = operator.validators().await.unwrap().validators;
    let validator = *validators.iter().find_map(|validator| validator.addresses.first()).unwrap();
    let [stranger, quiet, admin] = ["9.9.9.9", "8.8.8.8", "9.8.7.3"].map(|address| address.parse().unwrap());
    let said = refused(&[(stranger, 60), (quiet, 5), (admin, 25), (validator, 30)]);
    let defences = Defences {
        is_tight: false,
        since: now(),
        stopped_per_second: Some(1200),
        attack_per_second: 1000,
        syn_cookies: None,
        tracking: None,
    };
    let wanted = sentry.wanted().await;
    let told = NodeReport { refused_sources: Some(Box::new(said)), defences: Some(defences), ..report(&wanted) };
    sentry.client().report(&told).await.unwrap();

    let view = operator.attack().await.unwrap();
    let hosts: Vec<_> = view.hosts.iter().map(|host| (host.name.as_str(), host.samples)).collect();
    assert_eq!(hosts, [("prep-1", None), ("sentry-1", Some((120, 600)))]);
    assert_eq!(view.hosts[1].acting["refused_p2p"], 900);
    let loudest = &view.addresses[0];
    assert_eq!((loudest.source, loudest.samples, loudest.per_second), (stranger.into(), 60, 600));
    assert_eq!((view.addresses.len(), view.networks.len()), (4, 4));

    let list = operator.blocklist(&BlocklistQuery::default()).await.unwrap();
    assert_eq!(list.sources.iter().map(|source| source.source).collect::<Vec<_>>(), [stranger.into()]);
    let left_out: Vec<String> = list.left_out.iter().map(ToString::to_string).collect();
    assert!(left_out[0].starts_with(&format!("left out {validator}: validator hx")), "{left_out:?}");
    assert_eq!(left_out[1..], ["left out 9.8.7.3: admin network 9.8.7.0/28 of the policy".to_owned()]);
    let by_prefix = BlocklistQuery { by: Some(BlocklistBy::Prefix), least: Some(1) };
    let list = operator.blocklist(&by_prefix).await.unwrap();
    let listed: Vec<String> = list.sources.iter().map(|source| source.source.to_string()).collect();
    assert_eq!(listed, ["9.9.9.0/24", "8.8.8.0/24"]);

    let mut browser = Browser::of(&mesh, &mesh.token_of_operator()).await;
    let page = browser.text("/attack").await;
    for expect in
        ["sentry-1 is attacked", ">9.9.9.9<", "<code>refused_p2p</code> 900/s", "/attack/blocklist.txt?by=prefix"]
    {
        assert!(page.contains(expect), "{expect}: {page}");
    }
    let file = browser.get("/attack/blocklist.txt?by=prefix&least=1").await;
    assert_eq!(file.headers()[header::CONTENT_DISPOSITION], "attachment; filename=\"blocklist.txt\"");
    let text = file.text().await.unwrap();
    assert!(
        text.ends_with("8.8.8.0/24\n9.9.9.0/24\n") && text.contains("# left out 9.8.7.0/24: admin network"),
        "{text}"
    );
    assert!(browser.text("/attack/blocklist.nft").await.contains("table inet blocklist {"));
    assert!(browser.text("/attack/blocklist.json").await.contains("\"9.9.9.9/32\""));
    assert_eq!(browser.get("/attack/blocklist.exe").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(browser.get("/attack/blocklist.txt?by=country").await.status(), StatusCode::BAD_REQUEST);
}
