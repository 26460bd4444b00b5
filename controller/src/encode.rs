//! Answers to polls as bytes. An allow set is written out once for all hosts that have it in common, and its bytes are shared:
//! a thousand answers under way hold one list.

use axum::body::{Body, Bytes};
use futures_util::stream;
use picket_api::node::ConfigNews;
use picket_model::{AllowSet, ConfigChanges, Digest, Generation, NodeConfig, Purpose};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Shorter than this, a set is written into the answer: a share of it would cost more than its bytes.
const SHARED: usize = 4096;

/// An answer's body, in parts of which some are shared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    done: Vec<Bytes>,
    text: String,
}

impl Parts {
    fn push(&mut self, part: &Bytes) {
        // What serde_json wrote is UTF-8.
        match std::str::from_utf8(part) {
            Ok(text) if text.len() < SHARED => self.text.push_str(text),
            _ => {
                self.flush();
                self.done.push(part.clone());
            }
        }
    }

    fn flush(&mut self) {
        if !self.text.is_empty() {
            self.done.push(std::mem::take(&mut self.text).into());
        }
    }

    /// Bytes in all.
    pub(crate) fn len(&self) -> usize {
        self.done.iter().map(Bytes::len).sum::<usize>() + self.text.len()
    }

    /// As whoever gets it reads it.
    #[cfg(test)]
    pub(crate) fn read(mut self) -> ConfigNews {
        self.flush();
        serde_json::from_slice(&self.done.concat()).unwrap()
    }

    /// As a body.
    pub(crate) fn into_body(mut self) -> Body {
        self.flush();
        match self.done.as_slice() {
            [only] => only.clone().into(),
            _ => Body::from_stream(stream::iter(self.done.into_iter().map(Ok::<_, Infallible>))),
        }
    }
}

/// Allow sets, and what became otherwise in them, as they were written out.
#[derive(Debug, Default)]
pub(crate) struct Written(Mutex<Known>);

/// By the addresses of the sets in memory; a clone of each is kept beside, so that it stays that set's for as long.
#[derive(Debug, Default)]
struct Known {
    sets: BTreeMap<usize, (AllowSet, Bytes)>,
    changes: BTreeMap<(usize, usize), (AllowSet, AllowSet, Bytes)>,
}

impl Written {
    /// Forgets what nobody else has any more, and the changes of before.
    pub(crate) fn tidy(&self) {
        let mut known = self.lock();
        known.changes.clear();
        known.sets.retain(|_, (set, _)| Arc::strong_count(&set.0) > 1);
    }

    /// An answer with the whole, by a plan.
    pub(crate) fn whole(&self, plan: Generation, digest: &Digest, config: &NodeConfig) -> serde_json::Result<Parts> {
        let news = ConfigNews {
            revision: config.revision,
            digest: digest.clone(),
            full: Some(NodeConfig { generation: plan, ..with_peers(config.rest(), config) }),
            changes: None,
        };
        let text = serde_json::to_string(&news)?;
        let sets = config.firewall.allow.iter().map(|(purpose, set)| Ok((*purpose, self.set(set)?)));
        around(&text, text.find(PLACE), &sets.collect::<serde_json::Result<_>>()?)
    }

    /// An answer with what makes `before` that content, by a plan.
    pub(crate) fn changes(
        &self,
        plan: Generation,
        digest: &Digest,
        before: &NodeConfig,
        config: &NodeConfig,
    ) -> serde_json::Result<Parts> {
        let changes = Some(ConfigChanges { generation: plan, ..before.changes_beside_sets(config) });
        let news = ConfigNews { revision: config.revision, digest: digest.clone(), full: None, changes };
        let text = serde_json::to_string(&news)?;
        let sets = before.sets_changed_to(config).into_iter().map(|(purpose, pair)| {
            let part = match pair {
                (_, None) => Bytes::from_static(b"null"),
                (before, Some(after)) => self.set_changes(before.unwrap_or(&AllowSet::default()), after)?,
            };
            Ok((purpose, part))
        });
        // What is otherwise beside the sets has an empty place of its own, before.
        around(&text, text.rfind(PLACE), &sets.collect::<serde_json::Result<_>>()?)
    }

    fn set(&self, set: &AllowSet) -> serde_json::Result<Bytes> {
        let mut known = self.lock();
        let address = Arc::as_ptr(&set.0).addr();
        if let Some((_, bytes)) = known.sets.get(&address) {
            return Ok(bytes.clone());
        }
        let bytes = json(set)?;
        known.sets.insert(address, (set.clone(), bytes.clone()));
        Ok(bytes)
    }

    fn set_changes(&self, before: &AllowSet, after: &AllowSet) -> serde_json::Result<Bytes> {
        let mut known = self.lock();
        let addresses = (Arc::as_ptr(&before.0).addr(), Arc::as_ptr(&after.0).addr());
        if let Some((_, _, bytes)) = known.changes.get(&addresses) {
            return Ok(bytes.clone());
        }
        let bytes = json(&before.changes_to(after))?;
        known.changes.insert(addresses, (before.clone(), after.clone(), bytes.clone()));
        Ok(bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn json(value: &impl Serialize) -> serde_json::Result<Bytes> {
    serde_json::to_vec(value).map(Bytes::from)
}

fn with_peers(rest: NodeConfig, config: &NodeConfig) -> NodeConfig {
    let mut whole = rest;
    whole.wireguard.peers.clone_from(&config.wireguard.peers);
    whole
}

/// Where allow sets have their place in a text without any. Quotation marks inside texts are escaped, so nothing else looks so.
const PLACE: &str = "\"allow\":{}";

/// Puts sets where the text has none.
fn around(text: &str, place: Option<usize>, sets: &BTreeMap<Purpose, Bytes>) -> serde_json::Result<Parts> {
    let Some(place) = place else {
        return Err(serde::ser::Error::custom("a content without its place for allow sets"));
    };
    let (head, tail) = text.split_at(place + PLACE.len() - 1);
    let mut parts = Parts { text: head.to_owned(), ..Parts::default() };
    for (number, (purpose, set)) in sets.iter().enumerate() {
        let comma = if number == 0 { "" } else { "," };
        parts.text.push_str(&format!("{comma}\"{purpose}\":"));
        parts.push(set);
    }
    parts.text.push_str(tail);
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_model::{FirewallPolicy, NodeRole, Reason, WireGuardConfig};
    use std::collections::BTreeSet;

    fn set(entries: u16) -> AllowSet {
        let mut set = AllowSet::default();
        for entry in 0..entries {
            let [high, low] = entry.to_be_bytes();
            let reason = Reason::Policy { line: "\"allow\":{} } \\\" \u{7}".to_owned() };
            set.insert(format!("10.0.{high}.{low}/32").parse().unwrap(), reason);
        }
        set
    }

    fn config(revision: u64, sets: &[(Purpose, AllowSet)]) -> NodeConfig {
        NodeConfig {
            mesh: "m-1".parse().unwrap(),
            node: "n-1".parse().unwrap(),
            role: NodeRole::Prep,
            generation: Generation(revision),
            revision: Generation(revision),
            wireguard: WireGuardConfig {
                listen_port: 0,
                addresses: BTreeSet::new(),
                mtu: 1420,
                peers: BTreeMap::new(),
            },
            firewall: FirewallPolicy { allow: sets.iter().cloned().collect(), ..FirewallPolicy::default() },
        }
    }

    #[test]
    fn an_answer_in_parts_is_the_answer() {
        let (few, many) = (set(3), set(500));
        for sets in [
            vec![],
            vec![(Purpose::Admin, few.clone())],
            vec![(Purpose::P2p, many), (Purpose::Admin, few), (Purpose::Overlay, AllowSet::default())],
        ] {
            let config = config(7, &sets);
            let digest = config.digest();
            let parts = Written::default().whole(config.generation, &digest, &config).unwrap();
            assert_eq!(parts.len(), serde_json::to_string(&parts.clone().read()).unwrap().len());
            let answer = parts.read().of(None).unwrap();
            assert_eq!((answer.revision, answer.digest, &answer.full), (Generation(7), digest, &config));
        }
    }

    #[test]
    fn changes_in_parts_make_the_content() {
        let (before, after) = (set(500), set(900));
        let one = config(7, &[(Purpose::P2p, before), (Purpose::Admin, set(2))]);
        let other = config(8, &[(Purpose::P2p, after), (Purpose::Rpc, set(1))]);
        let (written, digest) = (Written::default(), other.digest());
        let news = written.changes(other.generation, &digest, &one, &other).unwrap().read();
        assert_eq!(news.clone().of(Some(&one)).unwrap().full, other);
        // Of something else they make nothing that is taken, and without anything held neither.
        let another = config(7, &[]);
        assert_eq!(news.clone().of(Some(&another)), None);
        assert_eq!(news.of(None), None);
    }

    #[test]
    fn a_long_set_is_written_once_and_its_bytes_are_shared() {
        let (written, long) = (Written::default(), set(500));
        let answer = |revision| {
            let config = config(revision, &[(Purpose::P2p, long.clone()), (Purpose::Rpc, long.clone())]);
            written.whole(config.generation, &config.digest(), &config).unwrap()
        };
        let (one, other) = (answer(1), answer(2));
        let shared =
            |parts: &Parts| parts.done.iter().filter(|part| part.len() > SHARED).map(|part| part.as_ptr()).collect();
        let [one, other]: [BTreeSet<_>; 2] = [shared(&one), shared(&other)];
        assert_eq!((one.len(), one), (1, other));
        assert_eq!(written.lock().sets.len(), 1);
        drop(long);
        written.tidy();
        assert!(written.lock().sets.is_empty());
    }
}
