//! The edge: our table in the kernel, changed by the host's nft. Holds no decisions; those are `lower` and `diff`.

mod nft;

pub use nft::{Nft, NftError};

use crate::{
    Change, Counter, Features, Observed, ReplaceReason, Ruleset, TABLE, diff,
    observe::{ObserveError, observe},
    transaction,
};
use std::collections::BTreeMap;
use thiserror::Error;
use tracing::warn;

/// Our table in the kernel of this network namespace.
#[derive(Debug)]
pub struct Firewall {
    nft: Nft,
}

/// What a reconciliation did, and what the kernel then said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The steps taken; none where everything was in force already.
    pub changes: Vec<Change>,
    /// Addresses and prefixes in all sets, read back.
    pub elements: usize,
    /// Counters, read back.
    pub counters: BTreeMap<String, Counter>,
}

/// Why the table is not, or may not be, what is wanted.
#[derive(Debug, Error)]
pub enum FirewallError {
    /// nft could not list the table.
    #[error("list table {TABLE}")]
    List(#[source] NftError),
    /// The listing could not be read.
    #[error(transparent)]
    Read(#[from] ObserveError),
    /// nft could not tell what the kernel can do.
    #[error("try what this kernel's nf_tables can do")]
    Probe(#[source] NftError),
    /// nft could not make the change; the table is as it was.
    #[error("change table {TABLE}")]
    Change(#[source] NftError),
    /// nft reported success and the kernel has something else.
    #[error("table {TABLE} was written and reads back different: still to do: {}", lines(.0))]
    Different(Vec<Change>),
}

impl Firewall {
    /// A firewall that works through `nft`.
    pub fn new(nft: Nft) -> Self {
        Self { nft }
    }

    /// Which of the features this kernel has.
    pub async fn probe(&self, wanted: Features) -> Result<Features, FirewallError> {
        wanted.probe(async |text: &str| self.nft.takes(text).await).await.map_err(FirewallError::Probe)
    }

    /// Our table as the kernel has it now.
    pub async fn observe(&self) -> Result<Observed, FirewallError> {
        match self.nft.list_table().await.map_err(FirewallError::List)? {
            Some(listing) => Ok(observe(&listing)?),
            None => Ok(Observed::default()),
        }
    }

    /// The counters alone, which cost the same however many elements there are; none without a table.
    pub async fn counters(&self) -> Result<BTreeMap<String, Counter>, FirewallError> {
        match self.nft.list_counters().await.map_err(FirewallError::List)? {
            Some(listing) => Ok(observe(&listing)?.counters),
            None => Ok(BTreeMap::new()),
        }
    }

    /// Makes the kernel's table the wanted one, in one transaction, and reads it back. Writes nothing where it is the
    /// wanted one already.
    pub async fn reconcile(&mut self, wanted: &Ruleset) -> Result<Applied, FirewallError> {
        let found = self.observe().await?;
        let changes = diff(wanted, found.ruleset.as_ref());
        if changes.is_empty() {
            return Ok(applied(changes, found));
        }
        let changes = self.write(wanted, changes).await?;
        let found = self.observe().await?;
        let left = diff(wanted, found.ruleset.as_ref());
        if left.is_empty() { Ok(applied(changes, found)) } else { Err(FirewallError::Different(left)) }
    }

    /// Takes our table away, if it is there: for uninstalling only, every guarded port is open afterwards.
    pub async fn remove(&self) -> Result<(), FirewallError> {
        let text = format!("add table {TABLE}\ndelete table {TABLE}\n");
        self.nft.run_transaction(&text).await.map_err(FirewallError::Change)
    }

    /// The changes made: those given, or the whole table where the kernel refused to change elements, because somebody
    /// changed them since we looked.
    async fn write(&self, wanted: &Ruleset, changes: Vec<Change>) -> Result<Vec<Change>, FirewallError> {
        let whole = changes.iter().any(|change| matches!(change, Change::ReplaceTable(_)));
        match self.nft.run_transaction(&transaction(wanted, &changes)).await {
            Ok(()) => Ok(changes),
            Err(NftError::Refused { stderr, .. }) if !whole => {
                warn!(%stderr, "change of elements refused, replacing the table");
                let changes = vec![Change::ReplaceTable(ReplaceReason::ElementsRefused)];
                let written = self.nft.run_transaction(&transaction(wanted, &changes)).await;
                written.map(|()| changes).map_err(FirewallError::Change)
            }
            Err(error) => Err(FirewallError::Change(error)),
        }
    }
}

fn applied(changes: Vec<Change>, found: Observed) -> Applied {
    let elements = found.ruleset.as_ref().map_or(0, Ruleset::elements);
    Applied { changes, elements, counters: found.counters }
}

fn lines(changes: &[Change]) -> String {
    changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
