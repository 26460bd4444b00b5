//! `nft -j list table inet picket` read back into a ruleset. What is not of a kind we write becomes a foreign item,
//! never an error: somebody else's rule in our table is a finding to repair, not a reason to stop.

use crate::{
    Elements, Family, HalfOpen, Hook, Meter, Ruleset, Set, TABLE,
    listing::{Expression, Flags, KeyKind, RuleObject},
};
use ipnet::{Ipv4Net, Ipv6Net};
use picket_model::{GuardedPort, Protocol};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
};
use thiserror::Error;

/// Our table as the kernel has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// What is in it; `None` where there is no table.
    pub ruleset: Option<Ruleset>,
    /// What its counters have counted, by name.
    pub counters: BTreeMap<String, Counter>,
    /// Elements that end by themselves and have less than half of their time left, by set.
    pub ageing: BTreeMap<String, Set>,
}

/// What a named counter has counted since the table was last replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Bytes, IP headers included.
    pub bytes: u64,
}

/// The listing is not what nft prints.
#[derive(Debug, Error)]
#[error("read the listing of table {TABLE}: it is not the JSON that nft prints")]
pub struct ObserveError(#[from] serde_json::Error);

/// Reads a listing of one table.
pub fn observe(listing: &[u8]) -> Result<Observed, ObserveError> {
    let Listing { nftables } = serde_json::from_slice(listing)?;
    let mut observed = Observed::default();
    for item in &nftables {
        match Object::deserialize(item) {
            Ok(Object::Metainfo(_)) => {}
            Ok(object) => observed.take(object, item),
            Err(_) => observed.foreign(item),
        }
    }
    Ok(observed)
}

impl Observed {
    fn take(&mut self, object: Object, item: &Value) {
        let ruleset = self.ruleset.get_or_insert_default();
        let taken = match object {
            Object::Metainfo(_) => Some(()),
            // A flag such as `dormant` takes the whole table out of force.
            Object::Table(table) => table.flags.is_none().then_some(()),
            Object::Counter(counter) => {
                let CounterObject { name, packets, bytes } = counter;
                self.counters.insert(name.clone(), Counter { packets, bytes });
                ruleset.counters.insert(name);
                Some(())
            }
            Object::Set(set) if set.is_meter() => set.read_meter().map(|meter| ruleset.meters.extend([meter])),
            Object::CtTimeout(timeout) => timeout.read().map(|half_open| ruleset.half_open.extend([half_open])),
            Object::Set(set) => set.read().map(|read| {
                ruleset.timeouts.extend(read.timeout.map(|seconds| (read.name.clone(), seconds)));
                self.ageing.extend(read.ageing.map(|ageing| (read.name.clone(), ageing)));
                ruleset.sets.insert(read.name, read.set);
            }),
            Object::Chain(chain) => chain.hook().map(|hook| ruleset.chains.entry(chain.name).or_default().hook = hook),
            Object::Rule(rule) => {
                rule.read().map(|(chain, read)| ruleset.chains.entry(chain).or_default().rules.push(read))
            }
        };
        if taken.is_none() {
            self.foreign(item);
        }
    }

    fn foreign(&mut self, item: &Value) {
        self.ruleset.get_or_insert_default().foreign.push(described(item));
    }
}

/// Kind, handle, name and chain of an item in a listing.
fn described(item: &Value) -> String {
    let Some((kind, object)) = item.as_object().and_then(|item| item.iter().next()) else {
        return "an item without a name".to_owned();
    };
    let field = |name: &str| object.get(name).map(|value| format!(" {name} {value}")).unwrap_or_default();
    format!("{}{}{}{}", kind.escape_debug(), field("name"), field("chain"), field("handle"))
}

#[derive(Deserialize)]
struct Listing {
    nftables: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Object {
    Metainfo(IgnoredAny),
    Table(TableObject),
    Counter(CounterObject),
    Set(SetObject),
    Chain(ChainObject),
    Rule(RuleObject),
    #[serde(rename = "ct timeout")]
    CtTimeout(TimeoutObject),
}

#[derive(Deserialize)]
struct TableObject {
    flags: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct CounterObject {
    name: String,
    packets: u64,
    bytes: u64,
}

#[derive(Deserialize)]
struct SetObject {
    name: String,
    #[serde(rename = "type")]
    key: SetKey,
    flags: Option<Flags>,
    timeout: Option<u32>,
    size: Option<u32>,
    #[serde(rename = "auto-merge")]
    auto_merge: Option<IgnoredAny>,
    #[serde(default)]
    elem: Vec<Value>,
}

#[derive(Deserialize)]
struct TimeoutObject {
    name: String,
    protocol: Value,
    l3proto: String,
    policy: BTreeMap<String, u32>,
}

/// Names of types, or since nft 1.1.2 the expression that `typeof` was given.
#[derive(Deserialize)]
#[serde(untagged)]
enum SetKey {
    Type(String),
    Concatenated(Vec<String>),
    Typeof { r#typeof: Expression },
}

#[derive(Deserialize)]
struct ChainObject {
    name: String,
    r#type: Option<String>,
    hook: Option<String>,
    prio: Option<i64>,
    policy: Option<String>,
    dev: Option<IgnoredAny>,
}

impl SetObject {
    /// Sets of ours have no size; those the kernel fills have one.
    fn is_meter(&self) -> bool {
        self.size.is_some()
    }

    /// What is in it is the kernel's. nft before 1.0.7 does not print the flag `dynamic`; a set without it could not be written
    /// to by rules.
    fn read_meter(self) -> Option<(String, Meter)> {
        let flags = self.flags.iter().flat_map(Flags::all);
        let is_usual = flags.clone().all(|flag| ["dynamic", "timeout"].contains(&flag));
        let timeout = self.timeout.filter(|_| flags.clone().any(|flag| flag == "timeout"));
        let family = match self.key.name()? {
            KeyKind::Source4 => Family::V4,
            KeyKind::Source6 => Family::V6,
            KeyKind::Port => return None,
        };
        if !is_usual || timeout != self.timeout || self.auto_merge.is_some() {
            return None;
        }
        Some((self.name, Meter { family, size: self.size?, timeout }))
    }

    fn read(self) -> Option<SetRead> {
        let flags = self.flags.iter().flat_map(Flags::all);
        let has = |flag| flags.clone().any(|found| found == flag);
        let is_usual = flags.clone().all(|flag| ["interval", "timeout"].contains(&flag));
        if !is_usual || has("timeout") != self.timeout.is_some() || self.size.is_some() || self.auto_merge.is_some() {
            return None;
        }
        let (mut elements, mut old) = (Vec::with_capacity(self.elem.len()), Vec::new());
        for element in &self.elem {
            let element = plain(element, self.timeout)?;
            elements.push(element.value);
            if element.is_old {
                old.push(element.value);
            }
        }
        let set = self.elements(&elements, has("interval"))?;
        let ageing = if old.is_empty() { None } else { self.elements(&old, has("interval")) };
        Some(SetRead { name: self.name, set, timeout: self.timeout, ageing })
    }

    fn elements(&self, elements: &[&Value], interval: bool) -> Option<Set> {
        Some(match (self.key.name()?, interval) {
            (KeyKind::Port, false) => Set::Ports(all(elements, port)?),
            (KeyKind::Source4, false) => Set::Hosts4(all(elements, host)?),
            (KeyKind::Source6, false) => Set::Hosts6(all(elements, host)?),
            (KeyKind::Source4, true) => Set::Nets4(all(elements, |net| {
                prefix(net, |address: Ipv4Addr, length| Ipv4Net::new(address, length.unwrap_or(32)).ok())
            })?),
            (KeyKind::Source6, true) => Set::Nets6(all(elements, |net| {
                prefix(net, |address: Ipv6Addr, length| Ipv6Net::new(address, length.unwrap_or(128)).ok())
            })?),
            (KeyKind::Port, true) => return None,
        })
    }
}

/// A set as it was read.
struct SetRead {
    name: String,
    set: Set,
    timeout: Option<u32>,
    ageing: Option<Set>,
}

impl SetKey {
    fn name(&self) -> Option<KeyKind> {
        match self {
            Self::Type(name) if name == "ipv4_addr" => Some(KeyKind::Source4),
            Self::Type(name) if name == "ipv6_addr" => Some(KeyKind::Source6),
            Self::Concatenated(names) if names == &["inet_proto", "inet_service"] => Some(KeyKind::Port),
            Self::Typeof { r#typeof } => r#typeof.key(),
            _ => None,
        }
    }
}

impl TimeoutObject {
    fn read(self) -> Option<(String, HalfOpen)> {
        let family = match self.l3proto.as_str() {
            "ip" => Family::V4,
            "ip6" => Family::V6,
            _ => return None,
        };
        let seconds = *self.policy.get("syn_recv")?;
        let policy = BTreeMap::from([("syn_sent".to_owned(), seconds), ("syn_recv".to_owned(), seconds)]);
        (protocol(&self.protocol) == Some(Protocol::Tcp) && self.policy == policy)
            .then_some((self.name, HalfOpen { family, seconds }))
    }
}

impl ChainObject {
    /// Outer `None`: not a chain of ours.
    fn hook(&self) -> Option<Option<Hook>> {
        match (self.r#type.as_deref(), self.hook.as_deref(), self.prio, self.policy.as_deref(), self.dev.is_some()) {
            (None, None, None, None, false) => Some(None),
            (Some(kind), Some(hook), Some(priority), Some("accept"), false) => {
                let is_there =
                    |place: &Hook| matches!(place.place(), (k, h, _, p) if (k, h, p) == (kind, hook, priority));
                Hook::ALL.into_iter().find(is_there).map(Some)
            }
            _ => None,
        }
    }
}

fn all<T: Ord>(elements: &[&Value], read: impl Fn(&Value) -> Option<T>) -> Option<Elements<T>> {
    elements.iter().map(|element| read(element)).collect()
}

/// An element, without what is said beside it.
struct Plain<'a> {
    value: &'a Value,
    /// Whether less than half of its time is left.
    is_old: bool,
}

/// `None` where it has more than a comment, and the time of its set that is left.
fn plain(element: &Value, timeout: Option<u32>) -> Option<Plain<'_>> {
    let Some(fields) = element.get("elem").and_then(Value::as_object) else {
        return timeout.is_none().then_some(Plain { value: element, is_old: false });
    };
    if !fields.keys().all(|field| ["val", "comment", "expires"].contains(&field.as_str())) {
        return None;
    }
    let left = fields.get("expires").map(Value::as_u64);
    let is_old = match (timeout, left) {
        (None, None) => false,
        (Some(timeout), Some(Some(left))) => left < u64::from(timeout) / 2,
        _ => return None,
    };
    Some(Plain { value: fields.get("val")?, is_old })
}

fn host<T: std::str::FromStr>(element: &Value) -> Option<T> {
    element.as_str()?.parse().ok()
}

/// A whole address is a prefix of full length: `length` is `None` then.
fn prefix<A: std::str::FromStr, N>(element: &Value, net: impl Fn(A, Option<u8>) -> Option<N>) -> Option<N> {
    if element.is_string() {
        return net(host(element)?, None);
    }
    let prefix = element.get("prefix")?;
    net(host(prefix.get("addr")?)?, Some(u8::try_from(prefix.get("len")?.as_u64()?).ok()?))
}

/// `{"concat": ["tcp", 7100]}`.
fn port(element: &Value) -> Option<GuardedPort> {
    let [of, port] = element.get("concat")?.as_array()?.as_slice() else { return None };
    let port = u16::try_from(port.as_u64()?).ok()?.try_into().ok()?;
    Some(GuardedPort { protocol: protocol(of)?, port })
}

/// A name, or an IANA protocol number where `/etc/protocols` is missing, as on a small Debian without netbase.
fn protocol(value: &Value) -> Option<Protocol> {
    match (value.as_str(), value.as_u64()) {
        (Some("tcp"), _) | (_, Some(6)) => Some(Protocol::Tcp),
        (Some("udp"), _) | (_, Some(17)) => Some(Protocol::Udp),
        _ => None,
    }
}
