//! `picket keys issue`: the configuration of a machine that runs no agent, in the words of wg-quick(8).

use crate::table::visible;
use anyhow::Context as _;
use picket_api::{ApiError, keys::KeyIssued};
use picket_model::{Node, NodeName, WireGuardConfig};
use picket_wireguard::PrivateKey;
use serde::Serialize;
use std::{fmt::Write as _, mem, time::Duration};
use zeroize::Zeroizing;

/// Room for what is before the peers, and for one of them: a text that grows leaves copies behind which nobody wipes.
const ROOM: (usize, usize) = (1024, 1024);

/// The whole configuration, private key included.
pub(crate) fn wg_quick(issued: &KeyIssued, private: &PrivateKey) -> Zeroizing<String> {
    let KeyIssued { node, wireguard } = issued;
    let mut text = Zeroizing::new(String::with_capacity(ROOM.0 + ROOM.1 * wireguard.peers.len()));
    // Writing to a text cannot fail.
    let _ = writeln!(text, "# {} ({}), a {} of the mesh", node.name, node.id, node.role);
    let _ = writeln!(text, "[Interface]\nPrivateKey = {}", private.to_text().as_str());
    let _ = writeln!(text, "Address = {}\nMTU = {}", list(&wireguard.addresses), wireguard.mtu);
    if wireguard.listen_port != 0 {
        let _ = writeln!(text, "ListenPort = {}", wireguard.listen_port);
    }
    // A peer without addresses is the next key of one that has them: its change waits, or is refused, while this member is there.
    for (key, peer) in wireguard.peers.iter().filter(|(_, peer)| !peer.allowed_ips.is_empty()) {
        let _ =
            writeln!(text, "\n# {}\n[Peer]\nPublicKey = {key}\nAllowedIPs = {}", peer.name, list(&peer.allowed_ips));
        if let Some(endpoint) = peer.endpoint {
            let _ = writeln!(text, "Endpoint = {endpoint}");
        }
        if let Some(seconds) = peer.keepalive_seconds {
            let _ = writeln!(text, "PersistentKeepalive = {seconds}");
        }
    }
    text
}

/// What to do with it.
pub(crate) fn explanation(issued: &KeyIssued) -> String {
    let name = visible(issued.node.name.as_str());
    format!(
        "{name} is a member. Keep this configuration on that machine alone (/etc/wireguard/picket.conf, 0600): its private key \
         was made here, is stored nowhere, and is not shown again.\nIt has the peers of now and no firewall of ours; \
         `picket revoke {name}` ends it.\n"
    )
}

/// What came of asking a host for another key.
pub(crate) fn rotated(asked: &Node, used: Option<&Node>, wait: Option<Duration>) -> String {
    let (name, key) = (visible(asked.name.as_str()), asked.wireguard_key);
    match (used, wait) {
        (Some(used), _) => format!("{name} uses key {} in place of {key}\n", used.wireguard_key),
        (None, None) => {
            format!("{name} is asked to replace key {key}; `picket events` has node.rekeyed once it did\n")
        }
        (None, Some(wait)) => format!(
            "{name} is asked to replace key {key} and still uses it after {} s: it does once it is heard and every peer has read \
             the next key back. `picket nodes` names hosts that have not; the host's own log says what keeps it\n",
            wait.as_secs_f64()
        ),
    }
}

/// For programs: the member, and the configuration as one text.
pub(crate) fn json(issued: &KeyIssued, configuration: &str) -> anyhow::Result<Zeroizing<String>> {
    #[derive(Serialize)]
    struct View<'a> {
        node: &'a Node,
        wireguard: &'a WireGuardConfig,
        wg_quick: &'a str,
    }
    let doing = "write the answer as JSON";
    let public = serde_json::to_vec_pretty(issued).context(doing)?.len();
    // Escaped, a text is twice as long at most.
    let mut text = Zeroizing::new(Vec::with_capacity(ROOM.0 + public + 2 * configuration.len()));
    let view = View { node: &issued.node, wireguard: &issued.wireguard, wg_quick: configuration };
    serde_json::to_writer_pretty(&mut *text, &view).context(doing)?;
    text.push(b'\n');
    Ok(Zeroizing::new(String::from_utf8(mem::take(&mut *text)).context(doing)?))
}

/// What to do when the answer was lost: the member may be there, and its private key is not.
pub(crate) fn lost(error: &ApiError, name: &NodeName) -> String {
    format!(
        "{error}; {name} may be a member by now, whose private key nobody has and was shown to nobody: give the command again \
         with --replace, which revokes that one and enters a new one, or end it with `picket revoke {name}`"
    )
}

fn list<T: ToString>(values: impl IntoIterator<Item = T>) -> String {
    values.into_iter().map(|value| value.to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_model::{Node, NodeRole, OverlayAddresses, WireGuardConfig, WireGuardPeer, fixture::node};

    #[test]
    fn the_configuration_is_what_wg_quick_reads() {
        let private = PrivateKey::from_random([1; 32]);
        let overlay = OverlayAddresses { v4: "10.86.0.2".parse().unwrap(), v6: "fd00::2".parse().unwrap() };
        let peer = WireGuardPeer {
            node: "n-2".parse().unwrap(),
            name: "sentry-1".parse().unwrap(),
            endpoint: Some("192.0.2.1:51820".parse().unwrap()),
            allowed_ips: ["10.86.0.3/32".parse().unwrap(), "fd00::3/128".parse().unwrap()].into(),
            keepalive_seconds: Some(25),
            pairing: None,
        };
        let next = WireGuardPeer { allowed_ips: [].into(), ..peer.clone() };
        let issued = KeyIssued {
            node: Node {
                id: "n-1".parse().unwrap(),
                wireguard_key: private.public(),
                overlay,
                issued: true,
                ..node("laptop", NodeRole::Prep, 1)
            },
            wireguard: WireGuardConfig {
                listen_port: 0,
                addresses: overlay.networks().into(),
                mtu: 1420,
                peers: [
                    (PrivateKey::from_random([2; 32]).public(), peer),
                    (PrivateKey::from_random([3; 32]).public(), next),
                ]
                .into(),
            },
        };
        let text = wg_quick(&issued, &private);
        let public = PrivateKey::from_random([2; 32]).public();
        let expected = format!(
            "# laptop (n-1), a prep of the mesh\n[Interface]\nPrivateKey = {}\nAddress = 10.86.0.2/32, fd00::2/128\n\
             MTU = 1420\n\n# sentry-1\n[Peer]\nPublicKey = {public}\nAllowedIPs = 10.86.0.3/32, fd00::3/128\n\
             Endpoint = 192.0.2.1:51820\nPersistentKeepalive = 25\n",
            private.to_text().as_str()
        );
        assert_eq!(text.as_str(), expected);
        assert!(!explanation(&issued).contains(private.to_text().as_str()));
        let used = Node { wireguard_key: public, ..issued.node.clone() };
        let key = private.public();
        let second = Some(Duration::from_secs(1));
        assert_eq!(rotated(&issued.node, Some(&used), second), format!("laptop uses key {public} in place of {key}\n"));
        assert!(rotated(&issued.node, None, None).starts_with(&format!("laptop is asked to replace key {key}; ")));
        assert!(rotated(&issued.node, None, second).contains("still uses it after 1 s"));
        // Neither text grew while it was written.
        assert_eq!(text.capacity(), ROOM.0 + 2 * ROOM.1);
        let whole = json(&issued, &text).unwrap();
        let value: serde_json::Value = serde_json::from_str(&whole).unwrap();
        assert_eq!((value["wg_quick"].as_str(), &value["node"]["name"]), (Some(text.as_str()), &"laptop".into()));
        assert!(whole.capacity() > whole.len() && whole.ends_with("}\n"));
    }
}
