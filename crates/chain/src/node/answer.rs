//! An answer to `GET /chain/<channel>`, parsed strictly. Every address in it is a stranger's claim: it ends here as a
//! type, or shortened in a reason. Whose address counts is for the merge to judge, by node address.

use super::Channel;
use crate::quote::{shortened, start};
use picket_model::{
    Advertised, ChainHealth, EndpointError, IdError, NodeAddress, NodeId, P2pEndpoint, Refused, Timestamp,
};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use thiserror::Error;

/// Most entries read from one answer; goloop itself sends at most 200 roots and 200 seeds to a peer.
pub const MOST_ENTRIES: usize = 1000;
/// Most addresses of one node: it advertises one at a time, and old ones stay known for a while.
pub const MOST_ENDPOINTS: usize = 4;
/// Most refused entries that are named; the rest is counted.
const MOST_REFUSED: usize = 100;
/// goloop's word for a chain at work; while a task runs, the state is that task's own text.
const STARTED: &str = "started";

/// Why an answer was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AnswerError {
    /// HTML or anything else that is not JSON.
    #[error("the answer is not JSON, it begins with {start:?}; is this goloop's RPC port?")]
    NotJson {
        /// First characters.
        start: String,
    },
    /// JSON of another shape.
    #[error("the answer has no valid {what}; is this goloop's RPC port?")]
    Shape {
        /// The part that is missing or of another kind.
        what: &'static str,
    },
    /// Another chain's answer.
    #[error("the answer is about channel {found:?}, not {expected}")]
    WrongChannel {
        /// The channel asked about.
        expected: String,
        /// The channel named.
        found: String,
    },
}

/// What a node says of its chain and of its peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// How its chain stands.
    pub health: ChainHealth,
    /// How its consensus goes.
    pub pace: Pace,
    /// What its peers advertise; `None` where the chain is not started or knows nobody yet: that is silence, not an empty
    /// list.
    pub advertised: Option<Advertised>,
}

/// How a node's consensus goes, as it counts it. Shown, and nothing is decided by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// Validators with a link to it.
    pub peers: usize,
    /// Round of the consensus at its height; 0 where all is well.
    pub round: Option<u64>,
    /// How long the last round took: less than a block's time while it catches up.
    pub round_took: Option<Duration>,
}

/// Reads one answer. `node` is the host that asked its own goloop.
///
/// Validators with a link count first, then roots, then seeds, so that a flood of seeds, which anybody may claim to be,
/// pushes out no validator. An address without a node address was never authenticated and is passed over.
///
/// # Errors
/// An [`AnswerError`] where the answer as a whole cannot be used. A bad entry spoils no other; it becomes a [`Refused`].
pub fn parse(node: &NodeId, channel: &Channel, body: &[u8], seen_at: Timestamp) -> Result<Inspected, AnswerError> {
    let answer: Value = serde_json::from_slice(body).map_err(|_| AnswerError::NotJson { start: start(body) })?;
    let found = answer.get("channel").and_then(Value::as_str).ok_or(AnswerError::Shape { what: "channel" })?;
    if found != channel.as_str() {
        let expected = channel.to_string();
        return Err(AnswerError::WrongChannel { expected, found: shortened(found) });
    }
    let health = read_health(&answer)?;
    let advertised = match health.state.as_str() {
        STARTED => {
            let mut advertised = Advertised {
                node: node.clone(),
                channel: channel.to_string(),
                height: health.height.unwrap_or_default(),
                seen_at,
                endpoints: BTreeMap::new(),
                refused: Vec::new(),
            };
            read_peers(&answer, &mut advertised)?;
            Some(advertised).filter(|advertised| !advertised.endpoints.is_empty())
        }
        _ => None,
    };
    Ok(Inspected { health, pace: read_pace(&answer), advertised })
}

fn read_health(answer: &Value) -> Result<ChainHealth, AnswerError> {
    let text = |what: &'static str| text(answer.get(what)).ok_or(AnswerError::Shape { what });
    // goloop counts heights in an int64.
    let height = answer.get("height").and_then(Value::as_i64).and_then(|height| u64::try_from(height).ok());
    let error = text("lastError")?;
    Ok(ChainHealth {
        state: shortened(text("state")?),
        height: Some(height.ok_or(AnswerError::Shape { what: "height" })?),
        error: (!error.is_empty()).then(|| shortened(error)),
    })
}

/// What is missing or of another kind is not known; goloop says null before the first block.
fn read_pace(answer: &Value) -> Pace {
    let number = |what: &str| answer.pointer(&format!("/module/metrics/{what}")).and_then(Value::as_u64);
    let friends = answer.pointer("/module/network/p2p/friends").and_then(Value::as_array);
    Pace {
        peers: friends.map_or(0, Vec::len),
        round: number("consensus_round"),
        round_took: number("consensus_round_duration").map(Duration::from_millis),
    }
}

fn read_peers(answer: &Value, advertised: &mut Advertised) -> Result<(), AnswerError> {
    let p2p = answer.pointer("/module/network/p2p").ok_or(AnswerError::Shape { what: "module.network.p2p" })?;
    let friends = part(p2p, "friends", Value::as_array)?.into_iter().flatten();
    let friends = friends.map(|friend| Claim { address: text(friend.get("addr")), id: text(friend.get("id")) });
    let roots = part(p2p, "roots", Value::as_object)?.ok_or(AnswerError::Shape { what: "roots" })?;
    let seeds = part(p2p, "seeds", Value::as_object)?;
    let claims: Vec<Claim<'_>> = friends.chain(claims(roots)).chain(seeds.into_iter().flat_map(claims)).collect();
    for (place, claim) in (1..).zip(claims.iter().take(MOST_ENTRIES)) {
        if let Err(reason) = take(claim, &mut advertised.endpoints) {
            let address = claim.address.filter(|address| !address.is_empty());
            let entry = address.map_or_else(|| format!("entry {place}"), shortened);
            advertised.refused.push(Refused { entry, reason: reason.to_string() });
        }
    }
    let unnamed = advertised.refused.len().saturating_sub(MOST_REFUSED);
    advertised.refused.truncate(MOST_REFUSED);
    let unread = claims.len().saturating_sub(MOST_ENTRIES);
    let counted =
        [(unnamed, "refused too".to_owned()), (unread, format!("not read: only the first {MOST_ENTRIES} are"))];
    for (entries, reason) in counted.into_iter().filter(|(entries, _)| *entries > 0) {
        advertised.refused.push(Refused { entry: format!("{entries} more entries"), reason });
    }
    Ok(())
}

/// A part that may be missing and must otherwise be of its kind.
fn part<'a, T>(
    p2p: &'a Value,
    what: &'static str,
    kind: impl FnOnce(&'a Value) -> Option<T>,
) -> Result<Option<T>, AnswerError> {
    match p2p.get(what) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => kind(value).map(Some).ok_or(AnswerError::Shape { what }),
    }
}

/// A node and the address it is said to advertise.
struct Claim<'a> {
    address: Option<&'a str>,
    id: Option<&'a str>,
}

/// Entries of a map from advertised address to node address.
fn claims(map: &Map<String, Value>) -> impl Iterator<Item = Claim<'_>> {
    map.iter().map(|(address, id)| Claim { address: Some(address), id: text(Some(id)) })
}

/// Why one entry was not taken.
#[derive(Debug, Error)]
enum EntryError {
    #[error("no address")]
    NoAddress,
    #[error("its node address is not a text")]
    NoId,
    #[error("node address: {0}")]
    Id(IdError),
    #[error("advertised address: {0}")]
    Endpoint(EndpointError),
    #[error("{0} advertises more than {MOST_ENDPOINTS} addresses")]
    TooMany(NodeAddress),
}

fn take(claim: &Claim<'_>, endpoints: &mut BTreeMap<NodeAddress, BTreeSet<P2pEndpoint>>) -> Result<(), EntryError> {
    let address = claim.address.ok_or(EntryError::NoAddress)?;
    let id = match claim.id.ok_or(EntryError::NoId)? {
        // Heard of, and never had a link with: nobody has signed for it.
        "" => return Ok(()),
        id => id.parse().map_err(EntryError::Id)?,
    };
    let endpoint = address.parse().map_err(EntryError::Endpoint)?;
    let known = endpoints.entry(id).or_default();
    if known.len() >= MOST_ENDPOINTS && !known.contains(&endpoint) {
        return Err(EntryError::TooMany(id));
    }
    known.insert(endpoint);
    Ok(())
}

fn text(value: Option<&Value>) -> Option<&str> {
    value.and_then(Value::as_str)
}

#[cfg(test)]
mod tests;
