//! How the tunnels of the mesh stand, from what the validators' hosts report.

use crate::HostState;
use picket_model::{Node, NodeId, NodeName, NodeRole, PoolName, Timestamp};
use std::{collections::BTreeMap, time::Duration};

/// A tunnel that carries anything shakes hands every two minutes, and after three its keys are not used any more (WireGuard's
/// REJECT_AFTER_TIME).
const FRESH: Duration = Duration::from_secs(180);

/// How one tunnel stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TunnelState {
    /// Its last handshake is fresh, and the host at its end does not complain.
    Up,
    /// It carries, and loses part of it, by the host's own word.
    Lossy,
    /// It had a handshake, and not lately; or nothing comes back through it.
    Silent,
    /// It never had one.
    Never,
    /// Nobody reports of it, or not any more.
    Unknown,
}

impl TunnelState {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Up, Self::Lossy, Self::Silent, Self::Never, Self::Unknown];

    /// In one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Lossy => "lossy",
            Self::Silent => "silent",
            Self::Never => "never up",
            Self::Unknown => "unknown",
        }
    }

    /// As the name of a style.
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Never => "never",
            other => other.as_str(),
        }
    }
}

/// One tunnel, from a validator's host to a sentry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// The validator's host.
    pub prep: NodeName,
    /// The sentry.
    pub sentry: NodeName,
    /// With which hosts the sentry was brought up.
    pub pool: Option<PoolName>,
    /// How it stands.
    pub state: TunnelState,
    /// Its last handshake.
    pub handshake: Option<Timestamp>,
    /// Of the last probes, how many in a thousand had no answer; `None` where nobody probes.
    pub lost_permille: Option<u16>,
    /// Round trip of those probes, in microseconds.
    pub round_trip_us: Option<u32>,
    /// Bytes from the validator to the sentry, and back.
    pub bytes: (u64, u64),
}

/// Every tunnel that is wanted and that somebody reports of, in order of the two names: a machine with an issued key may be switched
/// off for weeks.
pub fn tunnels(hosts: &[HostState], now: Timestamp) -> Vec<Tunnel> {
    let known: BTreeMap<&NodeId, &HostState> = hosts.iter().map(|host| (&host.view.node.id, host)).collect();
    let is_prep = |node: &Node| node.role == NodeRole::Prep && node.is_meshed() && node.reports();
    let preps = hosts.iter().filter(|host| is_prep(&host.view.node));
    let mut tunnels: Vec<Tunnel> = preps.flat_map(|prep| of_prep(prep, &known, now)).collect();
    tunnels.sort_by(|a, b| (&a.prep, &a.sentry).cmp(&(&b.prep, &b.sentry)));
    tunnels
}

fn of_prep(prep: &HostState, known: &BTreeMap<&NodeId, &HostState>, now: Timestamp) -> Vec<Tunnel> {
    let Some(config) = &prep.config else { return Vec::new() };
    let report = prep.view.report.as_ref().filter(|_| !prep.is_silent);
    // A next key carries nothing yet.
    let peers = config.wireguard.peers.iter().filter(|(_, peer)| !peer.allowed_ips.is_empty());
    peers
        .map(|(key, peer)| {
            let health = report.and_then(|report| report.peers.get(key));
            let paths = report.and_then(|report| report.paths.as_ref());
            let way = paths.and_then(|paths| paths.sentries.get(&peer.node));
            let handshake = health.and_then(|health| health.last_handshake);
            let sentry = known.get(&peer.node);
            Tunnel {
                prep: prep.view.node.name.clone(),
                sentry: peer.name.clone(),
                pool: sentry.and_then(|host| host.view.node.pool.clone()),
                state: state(
                    report.is_some(),
                    handshake,
                    way.map(|way| way.way.as_str()),
                    prep.view.reported_at.unwrap_or(now),
                ),
                handshake,
                lost_permille: way.map(|way| way.lost_permille),
                round_trip_us: way.and_then(|way| way.round_trip_us),
                bytes: health.map_or((0, 0), |health| (health.sent_bytes, health.received_bytes)),
            }
        })
        .collect()
}

/// As it was when the report was made, which is not long ago.
fn state(is_reported: bool, handshake: Option<Timestamp>, way: Option<&str>, at: Timestamp) -> TunnelState {
    match (handshake, way) {
        _ if !is_reported => TunnelState::Unknown,
        (None, _) => TunnelState::Never,
        (Some(handshake), _) if at.since(handshake) > FRESH => TunnelState::Silent,
        (Some(_), Some("silent")) => TunnelState::Silent,
        (Some(_), Some("lossy")) => TunnelState::Lossy,
        (Some(_), _) => TunnelState::Up,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{NOW, issued, prep, with_tunnel};
    use picket_model::PeerHealth;

    /// A validator's host with one tunnel, of which it reports nothing.
    fn dialling() -> HostState {
        let mut host = prep("prep-1", false);
        host.config = host.config.map(|config| with_tunnel(&config, "sentry-1"));
        host
    }

    #[test]
    fn a_machine_without_an_agent_has_no_tunnel_that_could_be_down() {
        let found = tunnels(&[dialling(), issued("laptop")], NOW);
        let names: Vec<&str> = found.iter().map(|tunnel| tunnel.prep.as_str()).collect();
        assert_eq!(names, ["prep-1"]);
    }

    #[test]
    fn nobody_knows_the_tunnels_of_a_host_that_is_silent() {
        let mut host = dialling();
        let (config, report) = (host.config.clone().unwrap(), host.view.report.as_mut().unwrap());
        let (key, _) = config.wireguard.peers.first_key_value().unwrap();
        let health = PeerHealth { last_handshake: Some(NOW), endpoint: None, received_bytes: 1, sent_bytes: 1 };
        report.peers.insert(*key, health);
        let state =
            |host: &HostState| tunnels(std::slice::from_ref(host), NOW.plus(Duration::from_secs(3600)))[0].clone();
        assert_eq!(state(&host).state, TunnelState::Up);
        host.is_silent = true;
        let found = state(&host);
        assert_eq!((found.state, found.handshake, found.bytes), (TunnelState::Unknown, None, (0, 0)));
    }

    #[test]
    fn a_tunnel_is_what_its_last_report_says() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        let check = |reported, handshake: Option<i64>, way, expect| {
            assert_eq!(state(reported, handshake.map(at), way, at(1000)), expect);
        };
        check(false, Some(999), None, TunnelState::Unknown);
        check(true, None, None, TunnelState::Never);
        check(true, Some(820), None, TunnelState::Up);
        check(true, Some(819), None, TunnelState::Silent);
        check(true, Some(999), Some("good"), TunnelState::Up);
        check(true, Some(999), Some("lossy"), TunnelState::Lossy);
        check(true, Some(999), Some("silent"), TunnelState::Silent);
        check(true, Some(100), Some("lossy"), TunnelState::Silent);
    }
}
