//! Overlay addresses: the lowest that was never given out, found by an index. Rows of hosts are never deleted, revoked ones neither,
//! so that what was given out once stays given out.

use super::{
    StoreError, Transaction,
    error::sql,
    row::{number, text, to_json},
    statement::query,
};
use ipnet::Ipv4Net;
use picket_model::{NodeId, OverlayAddresses, OverlayPrefixes};
use picket_plan::overlay::{self, OverlayError};
use std::{collections::BTreeSet, net::Ipv4Addr};

/// Addresses that are looked at first: mostly the next one is free.
const FIRST: usize = 4;
/// Those looked at then, at once: what a program that starts has to go through.
const THEN: usize = 512;

/// A range, and an address below which all of it is known to be given out.
pub(super) type GivenBelow = (Ipv4Net, Ipv4Addr);

impl Transaction {
    /// Addresses for a new host, whom this change enters before it asks for another's: the lowest that was never given out.
    pub async fn free_addresses(
        &mut self,
        prefixes: &OverlayPrefixes,
        node: &NodeId,
    ) -> Result<Result<OverlayAddresses, OverlayError>, StoreError> {
        let known = self.hosts.given_below().filter(|(range, _)| *range == prefixes.v4);
        let from = known.map_or(prefixes.v4.network(), |(_, from)| from);
        let (mut candidates, mut at_once) = (overlay::addresses(&prefixes.v4, from), FIRST);
        loop {
            let some: Vec<Ipv4Addr> = candidates.by_ref().take(at_once).collect();
            if some.is_empty() {
                return Ok(Err(OverlayError { prefix: prefixes.v4, used: self.addresses_given().await? }));
            }
            let given = self.given_of(&some).await?;
            if let Some(free) = some.into_iter().find(|address| !given.contains(address)) {
                self.hosts.all_given_below((prefixes.v4, free));
                return Ok(Ok(overlay::given(prefixes, node, free)));
            }
            at_once = THEN;
        }
    }

    /// Those of some addresses that were given out.
    async fn given_of(&mut self, addresses: &[Ipv4Addr]) -> Result<BTreeSet<Ipv4Addr>, StoreError> {
        let rows =
            query("SELECT overlay_v4 FROM nodes WHERE mesh = $1 AND overlay_v4 IN (SELECT value FROM json_each($2))")
                .bind(self.mesh.as_str())
                .bind(to_json(&addresses, "addresses")?)
                .fetch_all(&mut self.sql)
                .await
                .map_err(sql("read overlay addresses"))?;
        rows.iter().map(|row| text(row, "overlay_v4")).collect()
    }

    /// How many addresses were ever given out.
    pub async fn addresses_given(&mut self) -> Result<usize, StoreError> {
        let row = query("SELECT COUNT(*) AS given FROM nodes WHERE mesh = $1")
            .bind(self.mesh.as_str())
            .fetch_one(&mut self.sql)
            .await
            .map_err(sql("count overlay addresses"))?;
        number(&row, "given")
    }
}
