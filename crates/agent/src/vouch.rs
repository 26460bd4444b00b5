//! Which peers this host's own rules let in. With `[[enroll]]` lines in guard.toml the controller's word for a sentry is not
//! enough: its proof of identity must fit here as well, and is good for the keys it was first shown for. Values in, values out,
//! and the file they are kept in; who asks for proofs is `run::vouching`.

use crate::{
    cli::Place,
    guard::{Guard, GuardRules},
    state::{Kind, StateDir, StateError},
};
use anyhow::{Context as _, Result, ensure};
use ipnet::IpNet;
use picket_attest::{Identity, IdentityId};
use picket_model::{
    Digest, NodeConfig, NodeId, NodeName, NodeRole, Purpose, Timestamp, TokenId, WireGuardConfig, WireGuardPeer,
    WireGuardPublicKey,
};
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

const VOUCHED: Kind = Kind {
    name: "vouched.json",
    version: 1,
    remedy: "remove it: peers are asked for their proofs again, and identities may come with other keys than before",
};
/// Identities that are remembered; those seen longest ago are forgotten first.
const MOST: usize = 4096;

/// One identity, as it was first shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vouch {
    /// The WireGuard key it is good for.
    pub wireguard_key: WireGuardPublicKey,
    /// The key that the same host had before, and uses until it takes the next one into use.
    #[serde(default)]
    pub before: Option<WireGuardPublicKey>,
    /// The host it came in as.
    pub node: NodeId,
    /// That host's name then.
    pub name: NodeName,
    /// The rule of guard.toml that let it in.
    pub rule: TokenId,
    /// What that rule said, and whose proofs were believed: after a change of either its proof is looked at again.
    #[serde(default)]
    pub terms: Option<Digest>,
    /// When its proof was made, where it says so.
    pub made_at: Option<Timestamp>,
    /// When it was looked at here.
    pub seen_at: Timestamp,
}

/// Identities by their text, each bound to a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Vouched(BTreeMap<String, Vouch>);

impl Vouched {
    /// What is kept in the folder; nothing where there is none yet.
    pub fn load(state: &StateDir) -> Result<Self, StateError> {
        Ok(state.read_json(VOUCHED)?.unwrap_or_default())
    }

    /// Stores it; on the disk when this returns.
    pub fn save(&self, state: &StateDir) -> Result<(), StateError> {
        state.write_json(VOUCHED, self)
    }

    /// How many of these peers came in by each rule, but for one identity: whoever is in takes no further place.
    pub fn counts(&self, peers: &WireGuardConfig, except: &IdentityId) -> BTreeMap<TokenId, u32> {
        let mut counts = BTreeMap::new();
        let others = self.0.iter().filter(|(id, _)| *id != except.as_str()).map(|(_, vouch)| vouch);
        for vouch in others.filter(|vouch| vouch.is_peer(peers)) {
            *counts.entry(vouch.rule.clone()).or_default() += 1;
        }
        counts
    }

    /// Takes a proven identity for a peer. One that was shown for another key stays with that key, unless its proof names the
    /// keys and was made later: then the same instance has other ones now, by its cloud's word.
    ///
    /// # Errors
    /// What to do, where it stays with the other key.
    pub fn take(
        &mut self,
        id: &IdentityId,
        identity: &Identity,
        key: WireGuardPublicKey,
        wanted: &WireGuardConfig,
        (rule, terms): (TokenId, Option<Digest>),
        now: Timestamp,
    ) -> Result<(), String> {
        let wireguard_key = key;
        let Some(peer) = wanted.peers.get(&key) else { return Err(format!("{id} is of no peer any more")) };
        let known = self.0.get(id.as_str());
        // The key in use stays good until the host uses the next one: while its peer has addresses here.
        let keys = known.filter(|first| first.node == peer.node).map(|first| [Some(first.wireguard_key), first.before]);
        let in_use = |key: &WireGuardPublicKey| {
            wanted.peers.get(key).is_some_and(|twin| twin.node == peer.node && !twin.allowed_ips.is_empty())
        };
        let before = keys.into_iter().flatten().flatten().find(|key| *key != wireguard_key && in_use(key));
        if let Some(first) = known.filter(|first| first.wireguard_key != wireguard_key) {
            let is_newer = identity.kind.names_the_keys() && identity.issued_at > first.made_at;
            if !is_newer {
                return Err(format!(
                    "{id} was shown here for another WireGuard key, by {} ({}); if that instance has been set up anew, stop \
                     this agent and run `proofs forget {id}`",
                    first.name, first.node
                ));
            }
        }
        let (node, name, made_at) = (peer.node.clone(), peer.name.clone(), identity.issued_at);
        self.0.insert(
            id.as_str().to_owned(),
            Vouch { wireguard_key, before, node, name, rule, terms, made_at, seen_at: now },
        );
        // Those that are peers now are never forgotten.
        let others = self.0.iter().filter(|(_, vouch)| !vouch.is_peer(wanted));
        if self.0.len() > MOST
            && let Some(oldest) = others.min_by_key(|(_, vouch)| vouch.seen_at).map(|(id, _)| id.clone())
        {
            self.0.remove(&oldest);
        }
        Ok(())
    }

    /// Forgets the keys of before of hosts that use their next ones by now. Whether there were any.
    pub fn settle(&mut self, wanted: &WireGuardConfig) -> bool {
        let mut changed = false;
        for vouch in self.0.values_mut().filter(|vouch| vouch.before.is_some()) {
            let takes_over = |peer: &WireGuardPeer| peer.node == vouch.node && !peer.allowed_ips.is_empty();
            if wanted.peers.get(&vouch.wireguard_key).is_some_and(takes_over) {
                vouch.before = None;
                changed = true;
            }
        }
        changed
    }

    fn knows(&self, rules: &GuardRules, key: &WireGuardPublicKey, node: &NodeId) -> bool {
        let is_theirs =
            |vouch: &&Vouch| vouch.node == *node && [Some(vouch.wireguard_key), vouch.before].contains(&Some(*key));
        self.0.values().filter(is_theirs).any(|vouch| vouch.terms.is_some() && vouch.terms == rules.terms(&vouch.rule))
    }
}

impl Vouch {
    fn is_peer(&self, wanted: &WireGuardConfig) -> bool {
        let keys = [Some(self.wireguard_key), self.before];
        keys.into_iter().flatten().any(|key| wanted.peers.get(&key).is_some_and(|peer| peer.node == self.node))
    }
}

impl GuardRules {
    /// Whether a peer of a host of role `own` must have a proof that fits here.
    fn wants_proof(&self, own: NodeRole, key: &WireGuardPublicKey) -> bool {
        // Hosts of one role have no tunnel between them.
        self.enroll.iter().any(|rule| rule.role != own) && !self.without_proof.contains(key)
    }

    /// What a rule says now, and whose proofs are believed; `None` where there is no such rule.
    pub fn terms(&self, rule: &TokenId) -> Option<Digest> {
        let rule = self.enroll.iter().find(|known| known.id().as_ref() == Ok(rule))?;
        Some(Digest::of(&(&self.attest, rule)))
    }
}

impl Guard {
    /// Peers whose proof is wanted here and is not there.
    pub fn unproven<'a>(
        &'a self,
        wanted: &'a WireGuardConfig,
    ) -> impl Iterator<Item = (&'a WireGuardPublicKey, &'a WireGuardPeer)> {
        let is_proven =
            |key, node| !self.rules.wants_proof(self.role, key) || self.vouched.knows(&self.rules, key, node);
        wanted.peers.iter().filter(move |(key, peer)| !is_proven(key, &peer.node))
    }

    /// Those of them whose proof is to be asked for now. A host's next key waits until the one in use is known: the first that is
    /// shown for an identity is the one that counts.
    pub fn to_ask<'a>(
        &'a self,
        wanted: &'a WireGuardConfig,
    ) -> impl Iterator<Item = (&'a WireGuardPublicKey, &'a WireGuardPeer)> {
        let in_use =
            |node: &NodeId| self.unproven(wanted).any(|(_, peer)| peer.node == *node && !peer.allowed_ips.is_empty());
        self.unproven(wanted).filter(move |(_, peer)| !peer.allowed_ips.is_empty() || !in_use(&peer.node))
    }

    /// The wanted state without peers whose proof is missing: neither a tunnel nor a way in.
    pub fn proven<'a>(&self, wanted: &'a NodeConfig) -> Cow<'a, NodeConfig> {
        let missing: BTreeSet<WireGuardPublicKey> = self.unproven(&wanted.wireguard).map(|(key, _)| *key).collect();
        if missing.is_empty() {
            return Cow::Borrowed(wanted);
        }
        let addresses: BTreeSet<IpNet> =
            self.unproven(&wanted.wireguard).flat_map(|(_, peer)| peer.allowed_ips.clone()).collect();
        let mut wanted = wanted.clone();
        // What is let in from the mesh is let in out of a tunnel, and these are the addresses of tunnels that are not there.
        if let Some(overlay) = wanted.firewall.allow.get_mut(&Purpose::Overlay) {
            overlay.retain(|network| !addresses.contains(network));
        }
        wanted.wireguard.peers.retain(|key, _| !missing.contains(key));
        Cow::Owned(wanted)
    }
}

/// Prints the identities whose proofs have been looked at here.
pub fn list(place: &Place, json: bool) -> Result<()> {
    let vouched = Vouched::load(&StateDir::new(&place.state_dir))?;
    if json {
        println!("{}", serde_json::to_string_pretty(&vouched)?);
        return Ok(());
    }
    if vouched.0.is_empty() {
        println!("no proof has been looked at here");
    }
    for (id, Vouch { wireguard_key, name, node, rule, seen_at, .. }) in &vouched.0 {
        println!("{id}  {name} ({node})  key {wireguard_key}  {rule}  since {seen_at}");
    }
    Ok(())
}

/// Forgets an identity, for an instance that was set up anew. The agent must not run: it would write its own memory back.
pub fn forget(place: &Place, id: &IdentityId) -> Result<()> {
    let state = StateDir::new(&place.state_dir);
    let _lock = state.lock().context("stop this host's agent first")?;
    let mut vouched = Vouched::load(&state)?;
    ensure!(vouched.0.remove(id.as_str()).is_some(), "{id} has not been looked at here: `proofs` lists what has");
    vouched.save(&state)?;
    println!("{id} may come with another WireGuard key");
    Ok(())
}

#[cfg(test)]
mod tests;
