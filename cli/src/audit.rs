//! `picket audit`: a host's ports as this machine, or another one that was asked, finds them. What the answers mean is decided
//! in `show::audit`.

use crate::show::audit::{Audit, Promise, Where};
use anyhow::{Context as _, bail, ensure};
use picket_api::{
    OperatorClient,
    operator::{ExplainQuery, NodeView},
    probe::{Probe, knock, with_usual},
};
use picket_model::{GuardedPort, Node, NodeId, Protocol};
use picket_progress::Progress;
use std::{
    collections::BTreeSet,
    fs::File,
    io::{Read, stdin},
    net::IpAddr,
    num::NonZeroU16,
    path::Path,
};

/// Bytes of a file of findings; one of all ports there are is smaller.
const MOST_BYTES: u64 = 16 * 1024 * 1024;

/// What to look at, and from where.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    /// The host.
    pub(crate) node: &'a NodeId,
    /// Where it is; `None` for the endpoint of its tunnels.
    pub(crate) address: Option<IpAddr>,
    /// More TCP ports than the guarded and the usual ones.
    pub(crate) more: &'a [NonZeroU16],
    /// What another machine found; `None` for this one.
    pub(crate) found: Option<&'a Path>,
}

/// Holds what was found against what the plan says for the address it was found from.
pub(crate) async fn audit(client: &OperatorClient, asked: Asked<'_>, progress: &Progress) -> anyhow::Result<Audit> {
    let Asked { node, address, more, found } = asked;
    let nodes = client.nodes_of(None).await?;
    let view = nodes.iter().find(|view| view.node.is_active() && is_called(view, node));
    let Some(view) = view else { bail!("there is no host {node}: see `picket nodes`") };
    let there = match found {
        Some(file) => Some(read(file)?),
        None => None,
    };
    let address = match &there {
        Some(probe) => {
            let others = nodes.iter().map(|view| &view.node).filter(|other| other.is_active());
            looked_at(&view.node, others, probe.address, address)?
        }
        None => address.or_else(|| view.node.endpoint.map(|endpoint| endpoint.ip())).with_context(|| {
            format!("the address of {} is not known to the controller: give it with --address", view.node.name)
        })?,
    };
    let from = match &there {
        Some(probe) => probe.from,
        None => here(address, BTreeSet::new()).await?.from,
    };
    progress.now(format!("what the plan says of {from}"));
    let explanation = client.explain(&ExplainQuery { address: from, port: None, generation: None }).await?;
    let verdict = explanation.hosts.iter().find(|host| host.node == view.node.id);
    let Some(verdict) = verdict else { bail!("{} is in no plan yet: nothing is promised of it", view.node.name) };
    let overlay = view.node.overlay;
    let is_inside = [IpAddr::from(overlay.v4), overlay.v6.into()].contains(&address);
    let mut promised = Promise::of(verdict, if is_inside { Where::Inside } else { Where::Outside });
    let probe = match there {
        Some(probe) => {
            // A guarded port that nobody knocked at is no kept promise.
            let tried: BTreeSet<_> = probe.ports.iter().map(|port| port.at).collect();
            untried(promised.keys().filter(|port| !tried.contains(port)))?;
            probe
        }
        None => {
            progress.now(format!("ports of {} at {address} to answer", view.node.name));
            here(address, promised.keys().copied().chain(with_usual(more.iter().copied())).collect()).await?
        }
    };
    for port in &probe.ports {
        promised.entry(port.at).or_insert(Promise::LeftAlone);
    }
    Ok(Audit::new(view.node.name.clone(), explanation.generation, &promised, probe))
}

/// The address of `node` at which another machine looked, as its file says. A file about another host, or about one that nobody
/// knows, says nothing of the promises of this one.
fn looked_at<'a>(
    node: &Node,
    mut others: impl Iterator<Item = &'a Node>,
    found: IpAddr,
    given: Option<IpAddr>,
) -> anyhow::Result<IpAddr> {
    let (found, given) = (found.to_canonical(), given.map(|given| given.to_canonical()));
    ensure!(
        given.is_none_or(|given| given == found),
        "the file is about {found}, not about the --address that you gave: leave that out, or knock there"
    );
    if addresses(node).any(|own| own == found) {
        return Ok(found);
    }
    if let Some(other) = others.find(|other| other.id != node.id && addresses(other).any(|its| its == found)) {
        bail!("the file is about {found}, which is {}, not {}: audit that, or knock at {1}", other.name, node.name);
    }
    ensure!(
        given.is_some(),
        "the file is about {found}, which the controller does not know: if that is {}, say so with --address {found}",
        node.name
    );
    Ok(found)
}

/// Where a host is reached, outside and inside the tunnels.
fn addresses(node: &Node) -> impl Iterator<Item = IpAddr> {
    let outside = node.endpoint.map(|endpoint| endpoint.ip().to_canonical());
    outside.into_iter().chain([node.overlay.v4.into(), node.overlay.v6.into()])
}

/// An error that says what to do about promised ports at which another machine did not knock; it can add TCP ports alone.
fn untried<'a>(missing: impl Iterator<Item = &'a GuardedPort>) -> anyhow::Result<()> {
    let missing: BTreeSet<_> = missing.collect();
    let shown: Vec<_> = missing.iter().map(ToString::to_string).collect();
    let tcp = missing.iter().filter(|port| port.protocol == Protocol::Tcp);
    let options: Vec<_> = tcp.map(|port| format!("--port {}", port.port)).collect();
    let by_hand = if options.is_empty() { String::new() } else { format!("knock with {} there; ", options.join(" ")) };
    let has_udp = missing.iter().any(|port| port.protocol == Protocol::Udp);
    let udp = "UDP ports are tried by a host whose own firewall guards them: look from one, or run `picket audit` without --found";
    ensure!(
        missing.is_empty(),
        "nobody knocked at {} there: {by_hand}{}",
        shown.join(", "),
        if has_udp { udp } else { "then look again" }
    );
    Ok(())
}

fn is_called(view: &NodeView, node: &NodeId) -> bool {
    view.node.id == *node || view.node.name.as_str() == node.as_str()
}

async fn here(address: IpAddr, ports: BTreeSet<GuardedPort>) -> anyhow::Result<Probe> {
    let knocked = tokio::task::spawn_blocking(move || knock(address, &ports)).await?;
    knocked.with_context(|| format!("find this machine's way to {address}"))
}

pub(crate) fn read(file: &Path) -> anyhow::Result<Probe> {
    let shown = file.display();
    let source: Box<dyn Read> = if file == Path::new("-") {
        Box::new(stdin())
    } else {
        Box::new(File::open(file).with_context(|| format!("open {shown}"))?)
    };
    let mut text = String::new();
    source.take(MOST_BYTES).read_to_string(&mut text).with_context(|| format!("read {shown}"))?;
    serde_json::from_str(&text).with_context(|| format!("{shown} is not what `picket-*-agent probe` prints"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, number: u8, endpoint: Option<&str>) -> Node {
        let overlay = serde_json::json!({"v4": format!("100.64.0.{number}"), "v6": format!("fd00::{number}")});
        let node = serde_json::json!({
            "id": name, "name": name, "role": "prep", "overlay": overlay, "tls_key_sha256": "",
            "wireguard_key": picket_model::WireGuardPublicKey::new([number; 32]).unwrap(),
            "endpoint": endpoint, "machine_id": null, "enrolled_at": picket_model::Timestamp::from_millis(0),
            "state": {"state": "active"},
        });
        serde_json::from_value(node).unwrap()
    }

    #[test]
    fn a_file_about_another_host_or_an_unknown_one_is_not_taken_for_this_one() {
        let nodes = [node("prep-1", 1, None), node("sentry-1", 2, Some("203.0.113.2:51820"))];
        let looked_at = |found: &str, given: Option<&str>| {
            let given = given.map(|given| given.parse().unwrap());
            looked_at(&nodes[0], nodes.iter(), found.parse().unwrap(), given).map_err(|error| error.to_string())
        };
        for (found, given) in
            [("100.64.0.1", None), ("fd00::1", None), ("::ffff:100.64.0.1", None), ("203.0.113.1", Some("203.0.113.1"))]
        {
            assert!(looked_at(found, given).is_ok(), "{found}");
        }
        for (found, given, expect) in [
            ("203.0.113.2", None, "is sentry-1, not prep-1"),
            ("203.0.113.2", Some("203.0.113.2"), "is sentry-1, not prep-1"),
            ("100.64.0.2", None, "is sentry-1, not prep-1"),
            ("fd00::2", None, "is sentry-1, not prep-1"),
            ("203.0.113.1", None, "--address 203.0.113.1"),
            ("203.0.113.1", Some("203.0.113.3"), "not about the --address"),
        ] {
            let error = looked_at(found, given).unwrap_err();
            assert!(error.contains(expect), "{found}: {error}");
        }
    }

    #[test]
    fn only_tcp_ports_are_to_be_added_by_hand() {
        let port = |protocol| GuardedPort { protocol, port: NonZeroU16::new(7100).unwrap() };
        let said = |ports: &[GuardedPort]| untried(ports.iter()).map_err(|error| error.to_string());
        assert_eq!(said(&[]), Ok(()));
        let tcp = said(&[port(Protocol::Tcp)]).unwrap_err();
        assert!(tcp.contains("nobody knocked at tcp/7100") && tcp.contains("--port 7100"), "{tcp}");
        let udp = said(&[port(Protocol::Udp)]).unwrap_err();
        assert!(udp.contains("udp/7100") && !udp.contains("--port"), "{udp}");
    }
}
