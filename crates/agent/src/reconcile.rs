//! From wanted to in force: tunnels prepared, firewall, tunnels connected, read back. Never a peer before its filter.
//! What goes wrong is part of what is found, not the end of anything.

use crate::{
    cli::Place,
    endpoints::{Endpoints, greet},
    host,
    pairing::{Moment, PairKeys, Waits, give_keys},
    rekey::hand_over,
    spans,
};
use anyhow::{Context as _, Result, anyhow};
use picket_firewall::{
    Change, Firewall, FirewallError, HostFacts, InterfaceName, Nft, diff, lower, netlink::events::Commit,
};
use picket_model::{FirewallPolicy, KernelView, PeerHealth, ReconcilerStatus, WireGuardConfig, WireGuardPublicKey};
use picket_wireguard::{DeviceConfig, DeviceState, Preference, PrivateKey, Steering, Tunnel, remove_steering};
use std::{collections::BTreeMap, time::Instant};
use tracing::{Instrument as _, info, warn};

/// What is said of the firewall of a host that was released.
const OPENED: &str = "released by hand: every guarded port of this host is open until `close`";

/// What a host shall be: its tunnels, `None` where it is to have none, and its firewall.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// The tunnels.
    pub wireguard: Option<&'a WireGuardConfig>,
    /// The firewall, the guard's admin networks included; `None` where somebody opened the host by hand.
    pub firewall: Option<FirewallPolicy>,
}

/// What was read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// How the tunnels stand.
    pub wireguard: ReconcilerStatus,
    /// How the firewall stands.
    pub firewall: ReconcilerStatus,
    /// Counts.
    pub kernel: KernelView,
    /// Tunnels by peer key.
    pub peers: BTreeMap<WireGuardPublicKey, PeerHealth>,
}

/// The host's tunnels.
pub trait Tunnels {
    /// Everything that lets nobody in: peers that are not wanted go, link and addresses come.
    fn prepare(&mut self, wanted: &WireGuardConfig) -> impl Future<Output = Result<()>>;
    /// Peers and routes.
    fn connect(&mut self, wanted: &WireGuardConfig) -> impl Future<Output = Result<()>>;
    /// Takes the device away, with all tunnels; nothing where there is none.
    fn remove(&mut self) -> impl Future<Output = Result<()>>;
    /// Tunnels as they are.
    fn observe(&self) -> impl Future<Output = Result<BTreeMap<WireGuardPublicKey, PeerHealth>>>;
}

/// The host's firewall.
pub trait Filter {
    /// Makes the firewall the wanted one; what was read back.
    fn apply(&mut self, wanted: &FirewallPolicy) -> impl Future<Output = Result<Filtered>>;
    /// Takes the firewall away; nothing where there is none.
    fn remove(&mut self) -> impl Future<Output = Result<()>>;
}

/// What was read back of the firewall.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filtered {
    /// Addresses and prefixes in all allow sets.
    pub elements: usize,
    /// Packets by what was decided about them.
    pub packets: BTreeMap<String, u64>,
}

/// Brings what is wanted into force, in the one order that lets nobody in unfiltered.
pub async fn reconcile(tunnels: &mut impl Tunnels, filter: &mut impl Filter, wanted: &Wanted<'_>) -> Found {
    let prepared = match wanted.wireguard {
        Some(wireguard) => tunnels.prepare(wireguard).instrument(spans::wireguard("prepare")).await,
        // An earlier process may have left tunnels in the kernel.
        None => tunnels.remove().instrument(spans::wireguard("remove")).await,
    };
    let filtered = apply_or_remove(filter, wanted.firewall.as_ref()).await;
    let connected = match (wanted.wireguard, prepared, &filtered) {
        (Some(wireguard), Ok(()), Ok(_)) => tunnels.connect(wireguard).instrument(spans::wireguard("connect")).await,
        (Some(_), Ok(()), Err(_)) => Err(anyhow!("no peer is added while the firewall is not in force")),
        (_, prepared, _) => prepared,
    };
    let observed = tunnels.observe().instrument(spans::wireguard("read back")).await;
    let Filtered { elements, packets } = filtered.as_ref().map(Clone::clone).unwrap_or_default();
    let wireguard = status(connected.and(observed.as_ref().map(drop).map_err(|error| anyhow!("{error:#}"))));
    let peers = observed.unwrap_or_default();
    let kernel = KernelView { peers: peers.len(), elements, packets };
    Found { wireguard, firewall: status(filtered), kernel, peers }
}

/// Brings the firewall alone into force, between reconciliations.
pub async fn filter_alone(filter: &mut impl Filter, wanted: Option<&FirewallPolicy>, found: &mut Found) {
    let filtered = apply_or_remove(filter, wanted).await;
    Filtered { elements: found.kernel.elements, packets: found.kernel.packets } =
        filtered.as_ref().map(Clone::clone).unwrap_or_default();
    found.firewall = status(filtered);
}

async fn apply_or_remove(filter: &mut impl Filter, wanted: Option<&FirewallPolicy>) -> Result<Filtered> {
    match wanted {
        Some(firewall) => filter.apply(firewall).instrument(spans::firewall()).await,
        // That it is gone is what was wanted here, and is not in force for anybody who asks from afar.
        None => filter.remove().await.and(Err(anyhow!("{OPENED}"))),
    }
}

impl Found {
    /// Whether everything that is wanted was read back.
    pub fn is_in_force(&self) -> bool {
        self.wireguard.is_in_force() && self.firewall.is_in_force()
    }
}

/// The real tunnels, opened when they are first wanted, so that a host that cannot have them still gets its firewall.
#[derive(Debug)]
pub struct HostTunnels {
    name: String,
    preference: Preference,
    key: PrivateKey,
    pairs: PairKeys,
    waits: Waits,
    steering: Steering,
    /// Where peers were before this process started, until that was used.
    were: Endpoints,
    tunnel: Option<Tunnel>,
}

impl HostTunnels {
    /// Tunnels on the interface `name` with the host's private keys.
    pub fn new(name: &InterfaceName, preference: Preference, key: PrivateKey, pairs: PairKeys) -> Self {
        Self {
            name: name.to_string(),
            preference,
            key,
            pairs,
            waits: Waits::default(),
            steering: Steering::default(),
            were: Endpoints::new(),
            tunnel: None,
        }
    }

    /// Looks for peers that have no place of their own where they were, once.
    pub fn look_at(&mut self, were: Endpoints) {
        self.were = were;
    }

    /// Name of the interface.
    pub fn interface(&self) -> &str {
        &self.name
    }

    /// Which WireGuard carries the tunnels: `kernel`, `userspace`, or `none` before there are any.
    pub fn engine(&self) -> String {
        self.tunnel.as_ref().map_or_else(|| "none".to_owned(), |tunnel| tunnel.engine().to_string())
    }

    /// The public half of the tunnels' key.
    pub fn public_key(&self) -> WireGuardPublicKey {
        self.key.public()
    }

    /// Uses another key from the next reconciliation on.
    pub fn use_key(&mut self, key: PrivateKey) {
        self.key = key;
    }

    /// Sends calls to chosen ports through the tunnels from the next reconciliation on.
    pub fn steer(&mut self, steering: Steering) {
        self.steering = steering;
    }

    /// Dials peers that have not had a handshake yet once more.
    pub async fn redial(&mut self) -> Result<()> {
        if let Some(tunnel) = &mut self.tunnel {
            tunnel.redial().await.context("dial peers again")?;
        }
        Ok(())
    }

    /// Gives tunnels whose handshakes fail the preshared key of the other epoch, in turn; nothing where all is well.
    pub async fn turn_keys(&mut self, wanted: &WireGuardConfig) -> Result<()> {
        let is_moving = wanted.peers.values().any(|peer| peer.allowed_ips.is_empty());
        if self.tunnel.is_none() || !is_moving && wanted.peers.values().all(|peer| peer.pairing.is_none()) {
            return Ok(());
        }
        self.connect(wanted).await
    }

    fn device(&self, wanted: &WireGuardConfig) -> Result<DeviceConfig> {
        let device = DeviceConfig::from_model(&self.name, self.key.clone(), wanted)?;
        Ok(DeviceConfig { steering: self.steering.clone(), ..device })
    }
}

impl Tunnels for HostTunnels {
    async fn prepare(&mut self, wanted: &WireGuardConfig) -> Result<()> {
        let device = self.device(wanted)?;
        let tunnel = match &mut self.tunnel {
            Some(tunnel) => tunnel,
            closed => closed.insert(
                Tunnel::open(&self.name, self.preference, Some(self.key.public())).await.context("open the tunnels")?,
            ),
        };
        let changes = tunnel.prepare(&device).await.context("prepare the tunnels")?;
        if !changes.is_empty() {
            info!(interface = self.name, device = changes.device.len(), link = changes.link.len(), "tunnels prepared");
        }
        Ok(())
    }

    async fn connect(&mut self, wanted: &WireGuardConfig) -> Result<()> {
        let mut device = self.device(wanted)?;
        let now = Moment { steady: Instant::now(), wall: host::now() };
        self.waits.note(wanted, now.steady);
        let found = self.observe().await?;
        give_keys(&mut device, &self.pairs, wanted, &found, &self.waits, now)?;
        hand_over(&mut device, wanted, &found);
        let tunnel = self.tunnel.as_mut().context("the tunnels are not open")?;
        let changes = tunnel.connect(&device).await.context("connect the tunnels")?;
        if !changes.is_empty() {
            info!(interface = self.name, peers = device.peers.len(), "tunnels connected");
        }
        let were = std::mem::take(&mut self.were);
        if !were.is_empty() {
            let looked_for = tunnel.look_for(&were).await.context("look for peers where they were")?;
            greet(wanted, &looked_for);
        }
        Ok(())
    }

    async fn remove(&mut self) -> Result<()> {
        match self.tunnel.take() {
            Some(tunnel) => tunnel.remove().await.context("remove the tunnels"),
            None => remove_device(&self.name, Some(self.key.public())).await,
        }
    }

    async fn observe(&self) -> Result<BTreeMap<WireGuardPublicKey, PeerHealth>> {
        match &self.tunnel {
            Some(tunnel) => Ok(health(tunnel.observe().await.context("read the tunnels back")?)),
            None => Ok(BTreeMap::new()),
        }
    }
}

/// The real firewall.
#[derive(Debug)]
pub struct HostFilter {
    firewall: Firewall,
    facts: HostFacts,
    probed: bool,
    has_written: bool,
}

impl HostFilter {
    /// A firewall written with the host's nft, as the place has it.
    pub fn new(nft: Nft, place: &Place) -> Self {
        Self { firewall: Firewall::new(nft), facts: place.host_facts(), probed: false, has_written: false }
    }

    /// What is known of the host, its kernel asked; a kernel that lacks something is told of once.
    pub async fn facts(&mut self) -> Result<&HostFacts> {
        if !self.probed {
            let wanted = self.facts.features;
            self.facts.features = self.firewall.probe(wanted).await?;
            self.probed = true;
            for missing in self.facts.features.missing(&wanted) {
                warn!(
                    missing,
                    "this kernel lacks a part of nf_tables: guarded ports stay closed to strangers, without it"
                );
            }
        }
        Ok(&self.facts)
    }

    /// How many packets our table has stopped in all since it was written.
    pub async fn stopped(&self) -> Result<u64> {
        let counters = self.firewall.counters().await?;
        let stopped = counters.iter().filter(|(name, _)| name.starts_with("refused_") || name.starts_with("limited_"));
        Ok(stopped.map(|(_, counter)| counter.packets).sum())
    }

    /// What the kernel would have to change to have that firewall.
    pub async fn changes(&mut self, wanted: &FirewallPolicy) -> Result<Vec<Change>> {
        let wanted = lower(wanted, self.facts().await?);
        Ok(diff(&wanted, self.firewall.observe().await?.ruleset.as_ref()))
    }

    /// Why nft and the kernel would refuse that firewall, without making it; `None` where they would take it.
    pub async fn complaint(&mut self, wanted: &FirewallPolicy) -> Result<Option<String>> {
        let wanted = lower(wanted, self.facts().await?);
        Ok(self.firewall.complaint(&wanted).await?)
    }

    /// Whether our table is in the kernel at all.
    pub async fn is_present(&self) -> Result<bool> {
        Ok(self.firewall.observe().await?.ruleset.is_some())
    }

    /// Reads the whole table at the next time, whatever the kernel says of changes.
    pub fn look_afresh(&mut self) {
        self.firewall.look_afresh(Instant::now());
    }

    /// Whether the last time something had to be written.
    pub fn has_written(&self) -> bool {
        self.has_written
    }

    /// Whether a commit in nf_tables may have changed our table since it was compared.
    pub fn is_reason_to_look(&self, commit: &Commit) -> bool {
        commit.is_reason_to_look(self.firewall.compared())
    }

    /// Whether nothing was committed in nf_tables since our table was last read.
    pub fn is_current(&mut self) -> bool {
        self.firewall.is_current()
    }

    /// Whether a commit can be one of ours.
    pub fn is_own(&self, commit: &Commit) -> bool {
        self.firewall.is_own(commit.generation)
    }
}

impl Filter for HostFilter {
    async fn apply(&mut self, wanted: &FirewallPolicy) -> Result<Filtered> {
        let wanted = lower(wanted, self.facts().await?);
        let applied = self.firewall.reconcile(&wanted).await;
        // What reads back different was written, and changed by somebody meanwhile.
        self.has_written = match &applied {
            Ok(applied) => !applied.changes.is_empty(),
            Err(error) => matches!(error, FirewallError::Different(_)),
        };
        let applied = applied?;
        for change in &applied.changes {
            info!(%change, "firewall changed");
        }
        if applied.renewed > 0 {
            info!(elements = applied.renewed, "grants that end by themselves renewed");
        }
        let packets = applied.counters.into_iter().map(|(name, counter)| (name, counter.packets));
        Ok(Filtered { elements: applied.elements, packets: packets.collect() })
    }

    async fn remove(&mut self) -> Result<()> {
        self.has_written = false;
        if self.is_present().await? {
            self.firewall.remove().await?;
            info!("firewall removed: this host was released by hand");
        }
        Ok(())
    }
}

/// Takes the device of that name away, which an earlier process may have left, and what was steered into it; an error if it is
/// not ours, which it is by its mark or by the public key `own`.
pub async fn remove_device(name: &str, own: Option<WireGuardPublicKey>) -> Result<()> {
    if nix::net::if_::if_nametoindex(name) == Err(nix::errno::Errno::ENODEV) {
        // A device of our own process ends with it, its rules do not.
        return remove_steering().await.context("remove what was steered into the tunnels");
    }
    let tunnel = Tunnel::open(name, Preference::Auto, own).await.context("open the tunnels")?;
    tunnel.remove().await.context("remove the tunnels")
}

fn health(device: DeviceState) -> BTreeMap<WireGuardPublicKey, PeerHealth> {
    let health = |(key, peer): (_, picket_wireguard::PeerState)| {
        let health = PeerHealth {
            last_handshake: peer.last_handshake,
            endpoint: peer.endpoint,
            received_bytes: peer.received_bytes,
            sent_bytes: peer.sent_bytes,
        };
        (key, health)
    };
    device.peers.into_iter().map(health).collect()
}

fn status<T>(result: Result<T>) -> ReconcilerStatus {
    match result {
        Ok(_) => ReconcilerStatus::InForce,
        Err(error) => ReconcilerStatus::Failed { error: format!("{error:#}") },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::tests::config;
    use std::{cell::RefCell, rc::Rc};

    /// A host that writes down what is done to it and fails where told.
    #[derive(Clone, Default)]
    struct Host {
        steps: Rc<RefCell<Vec<&'static str>>>,
        fails: &'static str,
    }

    impl Host {
        fn step(&self, name: &'static str) -> Result<()> {
            self.steps.borrow_mut().push(name);
            if self.fails == name { Err(anyhow!("{name} went wrong")) } else { Ok(()) }
        }
    }

    impl Tunnels for Host {
        async fn prepare(&mut self, _: &WireGuardConfig) -> Result<()> {
            self.step("prepare")
        }
        async fn connect(&mut self, _: &WireGuardConfig) -> Result<()> {
            self.step("connect")
        }
        async fn remove(&mut self) -> Result<()> {
            self.step("remove")
        }
        async fn observe(&self) -> Result<BTreeMap<WireGuardPublicKey, PeerHealth>> {
            self.step("observe").map(|()| BTreeMap::new())
        }
    }

    impl Filter for Host {
        async fn apply(&mut self, _: &FirewallPolicy) -> Result<Filtered> {
            self.step("filter").map(|()| Filtered { elements: 2, packets: [("refused_p2p".to_owned(), 3)].into() })
        }
        async fn remove(&mut self) -> Result<()> {
            self.step("open")
        }
    }

    /// Steps taken, and what is said of tunnels and firewall, on a host on which one step fails.
    fn check(fails: &'static str, steps: &[&str], wireguard: &str, firewall: &str) {
        let host = Host { fails, ..Host::default() };
        let config = config();
        let wanted = Wanted { wireguard: Some(&config.wireguard), firewall: Some(config.firewall.clone()) };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let found = runtime.block_on(reconcile(&mut host.clone(), &mut host.clone(), &wanted));
        assert_eq!(*host.steps.borrow(), steps);
        assert_eq!((found.wireguard.to_string().as_str(), found.firewall.to_string().as_str()), (wireguard, firewall));
        assert_eq!(found.is_in_force(), fails.is_empty());
    }

    #[test]
    fn never_a_peer_before_its_filter() {
        check("", &["prepare", "filter", "connect", "observe"], "in force", "in force");
    }

    #[test]
    fn no_peer_is_added_without_its_filter() {
        check(
            "filter",
            &["prepare", "filter", "observe"],
            "failed: no peer is added while the firewall is not in force",
            "failed: filter went wrong",
        );
    }

    #[test]
    fn the_firewall_does_not_wait_for_tunnels_that_fail() {
        check("prepare", &["prepare", "filter", "observe"], "failed: prepare went wrong", "in force");
        check("connect", &["prepare", "filter", "connect", "observe"], "failed: connect went wrong", "in force");
        check("observe", &["prepare", "filter", "connect", "observe"], "failed: observe went wrong", "in force");
    }

    #[test]
    fn a_host_that_is_to_have_no_tunnels_loses_those_that_were_left_and_says_so() {
        for (fails, wireguard) in [("", "in force"), ("remove", "failed: remove went wrong")] {
            let host = Host { fails, ..Host::default() };
            let wanted = Wanted { wireguard: None, firewall: Some(FirewallPolicy::default()) };
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let found = runtime.block_on(reconcile(&mut host.clone(), &mut host.clone(), &wanted));
            assert_eq!((*host.steps.borrow()).as_slice(), ["remove", "filter", "observe"]);
            assert_eq!(
                (found.wireguard.to_string().as_str(), found.firewall.to_string().as_str()),
                (wireguard, "in force")
            );
            assert_eq!(
                found.kernel,
                KernelView { peers: 0, elements: 2, packets: [("refused_p2p".to_owned(), 3)].into() }
            );
        }
    }

    #[test]
    fn a_host_that_was_opened_by_hand_loses_its_tunnels_first_and_is_not_in_force() {
        let host = Host::default();
        let wanted = Wanted { wireguard: None, firewall: None };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let found = runtime.block_on(reconcile(&mut host.clone(), &mut host.clone(), &wanted));
        assert_eq!((*host.steps.borrow()).as_slice(), ["remove", "open", "observe"]);
        assert!(!found.is_in_force() && found.firewall.to_string().contains("released by hand"), "{found:?}");
    }
}
