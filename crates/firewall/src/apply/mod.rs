//! The edge: our table in the kernel, changed by the host's nft. Holds no decisions; those are `lower` and `diff`.

mod nft;
mod renew;
mod withdraw;

pub use nft::{Nft, NftError};

use crate::{
    Change, Counter, Features, Observed, Provenance, ReplaceReason, Ruleset, Set, TABLE, diff,
    netlink::{Kernel, NetlinkError},
    observe::{ObserveError, observe},
    render::{creation, replacement, transaction},
};
use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};
use thiserror::Error;
use tracing::{debug, warn};

/// Looks at the table, each under a generation of its own, before it is taken as it was last seen: others may write all
/// the time, and not to our table.
const LOOKS: usize = 3;
/// Of so many of our commits the generations are known.
const OWN_COMMITS: usize = 32;
/// Of a set in which more elements changed, all are read back; of sets of prefixes always: asked for a prefix, the kernel
/// answers with the one around its first address.
const READ_ONE_BY_ONE: usize = 512;
/// A set with more elements is filled on the socket, after the table. As text ten thousand take 40 ms to write and as
/// many to list; on the socket both take some 5 ms.
const FILLED_LATER: usize = 1000;
/// A reading in full that takes longer is one of meters that somebody fills: nft reads each source in them.
const SLOW: Duration = Duration::from_secs(1);
/// Of a table that was slow to read the generation is believed so long, and then it is read in full again: it may have become
/// fast, and the ages of grants that end by themselves are in a full reading alone.
const BELIEVED: Duration = Duration::from_mins(10);

/// Our table in the kernel of this network namespace: rules through nft, elements on a socket of our own. What is in
/// force is what the kernel said last, and holds as long as its generation does.
#[derive(Debug)]
pub struct Firewall {
    nft: Nft,
    kernel: Option<Kernel>,
    seen: Option<Seen>,
    /// What was in force when that was last known, where it is not known now.
    remembered: Option<Ruleset>,
    /// Generations that our commits made.
    own: VecDeque<u32>,
    /// Whether the last reading in full took long.
    is_slow: bool,
    /// When it began.
    read_at: Option<Instant>,
    /// Whether the generation was believed long enough.
    is_due: bool,
}

/// What the kernel had, and under which generation; `None` where that moved while we looked.
#[derive(Debug)]
struct Seen {
    generation: Option<u32>,
    observed: Observed,
}

/// What a reconciliation did, and what the kernel then said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The steps taken; none where everything was in force already.
    pub changes: Vec<Change>,
    /// Addresses and prefixes in all sets, read back.
    pub elements: usize,
    /// Elements that would have ended by themselves and were given all their time anew.
    pub renewed: usize,
    /// Counters, as they were when the table was last read in full.
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
    /// The kernel did not say what was counted.
    #[error("read the counters of table {TABLE}")]
    Count(#[source] NetlinkError),
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
        let own = VecDeque::new();
        Self { nft, kernel: None, seen: None, remembered: None, own, is_slow: false, read_at: None, is_due: false }
    }

    /// Which of the features this kernel has.
    pub async fn probe(&self, wanted: Features) -> Result<Features, FirewallError> {
        wanted.probe(async |text: &str| self.nft.takes(text).await).await.map_err(FirewallError::Probe)
    }

    /// Why nft and the kernel would refuse this table in place of the one there is, without making it; `None` where they would
    /// take it.
    pub async fn complaint(&self, wanted: &Ruleset) -> Result<Option<String>, FirewallError> {
        let text = replacement(wanted, &BTreeMap::new());
        self.nft.complaint(&text).await.map_err(FirewallError::Probe)
    }

    /// Our table as the kernel has it now, read in full.
    pub async fn observe(&self) -> Result<Observed, FirewallError> {
        match self.nft.list_table().await.map_err(FirewallError::List)? {
            Some(listing) => Ok(observe(&listing)?),
            None => Ok(Observed::default()),
        }
    }

    /// The same, without starting nft where the kernel says at once that there is no table.
    async fn observe_quickly(&mut self) -> Result<Observed, FirewallError> {
        match self.with_kernel(Kernel::has_table) {
            Some(false) => Ok(Observed::default()),
            _ => self.observe().await,
        }
    }

    /// The counters alone; none without a table. Asked for on a socket: nft 1.0.6 reads all elements for it, those of
    /// meters as well, and is asked only where there is no socket.
    pub async fn counters(&self) -> Result<BTreeMap<String, Counter>, FirewallError> {
        // A socket of its own, so that nothing here has to be changed; closing one that deleted nothing does not wait.
        match Kernel::open().and_then(|mut kernel| kernel.counters()) {
            Ok(counters) => return Ok(counters),
            Err(error @ NetlinkError::Open(_)) => debug!(error = &error as &dyn std::error::Error, "nf_tables"),
            Err(error) => return Err(FirewallError::Count(error)),
        }
        match self.nft.list_counters().await.map_err(FirewallError::List)? {
            Some(listing) => Ok(observe(&listing)?.counters),
            None => Ok(BTreeMap::new()),
        }
    }

    /// Makes the kernel's table the wanted one, in one transaction, and reads it back. Writes nothing where it is the
    /// wanted one already. A table that is missing is written in two where it has large sets: closed, then filled. Where
    /// the table cannot be listed or changed, what is known to be let in and is wanted no more is taken out all the same.
    pub async fn reconcile(&mut self, wanted: &Ruleset) -> Result<Applied, FirewallError> {
        let ahead = self.ahead(wanted);
        let done = self.reconcile_rest(wanted).await;
        if let Err(FirewallError::List(_) | FirewallError::Change(_)) = &done {
            self.withdraw(wanted);
        }
        let mut applied = done?;
        applied.changes.splice(0..0, ahead);
        Ok(applied)
    }

    async fn reconcile_rest(&mut self, wanted: &Ruleset) -> Result<Applied, FirewallError> {
        self.look().await?;
        let mut changes = self.left(wanted);
        if changes.is_empty() && self.is_due {
            self.look_again().await;
            changes = self.left(wanted);
        }
        if changes.is_empty() {
            let renewed = self.renew(wanted).await;
            return Ok(Applied { renewed, ..self.applied(changes) });
        }
        let is_missing = changes == [Change::ReplaceTable(ReplaceReason::Missing)];
        let (changes, is_read_back) = match wanted.without_many(FILLED_LATER) {
            Some(closed) if is_missing && self.generation().is_some() => {
                self.write(&closed, changes).await?;
                self.look().await?;
                let (filled, is_read_back) = self.write(wanted, self.left(wanted)).await?;
                let replaced = filled.iter().find(|change| matches!(change, Change::ReplaceTable(_))).cloned();
                (vec![replaced.unwrap_or(Change::ReplaceTable(ReplaceReason::Missing))], is_read_back)
            }
            _ => self.write(wanted, changes).await?,
        };
        if is_read_back {
            return Ok(self.applied(changes));
        }
        self.look().await?;
        let left = self.left(wanted);
        if left.is_empty() { Ok(self.applied(changes)) } else { Err(FirewallError::Different(left)) }
    }

    /// Takes nothing for granted at the next reconciliation: the table is read in full, whatever its generation. Where that took
    /// long the last time, the generation is believed for a while, and the counters alone are read: an attack that fills meters
    /// would keep changes waiting behind one reading after the other.
    pub fn look_afresh(&mut self, now: Instant) {
        if !self.is_slow {
            return self.forget();
        }
        self.is_due = self.read_at.is_none_or(|read| now.saturating_duration_since(read) > BELIEVED);
        if let Some(counters) = self.with_kernel(Kernel::counters)
            && let Some(seen) = &mut self.seen
        {
            seen.observed.counters = counters;
        }
    }

    /// Changes of mere elements, by what was last known, made before the table is read where that takes long and has to be done
    /// first: who comes and who goes does not wait for it. Whatever else is wrong is found by the reading. The changes made.
    fn ahead(&mut self, wanted: &Ruleset) -> Vec<Change> {
        if !self.is_slow {
            return Vec::new();
        }
        let generation = self.generation();
        if generation.is_none() || generation == self.compared() {
            return Vec::new();
        }
        let known = self.seen.as_ref().and_then(|seen| seen.observed.ruleset.as_ref()).or(self.remembered.as_ref());
        let Some(known) = known else { return Vec::new() };
        let changes = diff(wanted, Some(known));
        if changes.is_empty() || changes.iter().any(|change| matches!(change, Change::ReplaceTable(_))) {
            return Vec::new();
        }
        // Refused, where somebody changed them meanwhile.
        if !matches!(self.commit(&changes, &wanted.provenance), Some(Ok(()))) {
            return Vec::new();
        }
        self.note_own(generation);
        (self.seen, self.remembered) = (None, Some(wanted.clone()));
        changes
    }

    /// What was seen is not known to be so any more.
    fn forget(&mut self) {
        if let Some(seen) = self.seen.take() {
            self.remembered = seen.observed.ruleset;
        }
    }

    /// The generation under which the table was last read; what happened later is not known.
    pub fn compared(&self) -> Option<u32> {
        self.seen.as_ref()?.generation
    }

    /// Whether nothing was committed since the table was last read, by anybody.
    pub fn is_current(&mut self) -> bool {
        self.compared().is_some_and(|compared| self.generation() == Some(compared))
    }

    /// Whether a commit can be one of ours.
    pub fn is_own(&self, generation: u32) -> bool {
        self.own.contains(&generation)
    }

    /// Takes our table away, if it is there: for uninstalling only, every guarded port is open afterwards.
    pub async fn remove(&self) -> Result<(), FirewallError> {
        let text = format!("add table {TABLE}\ndelete table {TABLE}\n");
        self.nft.run_transaction(&text).await.map_err(FirewallError::Change)
    }

    /// Reads the table in full, unless nothing has changed since that was done.
    async fn look(&mut self) -> Result<(), FirewallError> {
        let generation = self.generation();
        if generation.is_some() && generation == self.compared() {
            return Ok(());
        }
        let mut before = generation;
        for _ in 0..LOOKS {
            self.forget();
            let started = Instant::now();
            (self.read_at, self.is_due) = (Some(started), false);
            let observed = self.observe_quickly().await;
            self.is_slow = started.elapsed() > SLOW;
            let observed = observed?;
            let after = self.generation();
            let is_one = before.is_some() && before == after;
            self.seen = Some(Seen { generation: after.filter(|_| is_one), observed });
            if is_one || after.is_none() {
                break;
            }
            before = after;
        }
        self.remembered = None;
        Ok(())
    }

    /// Reads the table in full though its generation stands, when nothing waits for that. Where it cannot be read now, the
    /// generation is believed on.
    async fn look_again(&mut self) {
        let Some(known) = self.seen.take() else { return };
        if let Err(error) = self.look().await {
            let error = &error as &dyn std::error::Error;
            warn!(error, "the table cannot be read in full; believing its generation");
            if known.generation.is_some() && known.generation == self.generation() {
                self.seen = Some(known);
            }
        }
    }

    /// What is left to do by what was read last; everything where nothing was.
    pub fn left(&self, wanted: &Ruleset) -> Vec<Change> {
        diff(wanted, self.seen.as_ref().and_then(|seen| seen.observed.ruleset.as_ref()))
    }

    /// The changes made: those given, or the whole table where the kernel refused to change elements, because somebody
    /// changed them since we looked. Whether they were read back and nothing else has changed.
    async fn write(&mut self, wanted: &Ruleset, changes: Vec<Change>) -> Result<(Vec<Change>, bool), FirewallError> {
        let (before, mut is_read_back) = (self.generation(), false);
        let written = if changes.iter().any(|change| matches!(change, Change::ReplaceTable(_))) {
            self.replace(wanted, changes).await
        } else if let Some(committed) = self.commit(&changes, &wanted.provenance) {
            match committed {
                Ok(()) => {
                    is_read_back = self.read_back(before, &changes);
                    Ok(changes)
                }
                Err(error) => self.replace_after(error.to_string(), wanted).await,
            }
        } else {
            match self.nft.run_transaction(&transaction(wanted, &changes)).await {
                Ok(()) => Ok(changes),
                Err(error @ NftError::Refused { .. }) => self.replace_after(error.to_string(), wanted).await,
                Err(error) => Err(FirewallError::Change(error)),
            }
        };
        let changes = written?;
        self.note_own(before);
        if !is_read_back {
            (self.seen, self.remembered) = (None, Some(wanted.clone()));
        }
        Ok((changes, is_read_back))
    }

    /// The whole table through nft, which goes on counting where the one before it ended.
    async fn replace(&mut self, wanted: &Ruleset, changes: Vec<Change>) -> Result<Vec<Change>, FirewallError> {
        if changes == [Change::ReplaceTable(ReplaceReason::Missing)] {
            match self.nft.run_transaction(&creation(wanted)).await {
                Ok(()) => return Ok(changes),
                // Somebody may have made one meanwhile.
                Err(NftError::Refused { .. }) => {}
                Err(error) => return Err(FirewallError::Change(error)),
            }
        }
        let counted = self.with_kernel(Kernel::counters).unwrap_or_default();
        let written = self.nft.run_transaction(&replacement(wanted, &counted)).await;
        written.map(|()| changes).map_err(FirewallError::Change)
    }

    async fn replace_after(&mut self, error: String, wanted: &Ruleset) -> Result<Vec<Change>, FirewallError> {
        warn!(error, "change of elements refused, replacing the table");
        self.replace(wanted, vec![Change::ReplaceTable(ReplaceReason::ElementsRefused)]).await
    }

    /// Changes elements on the socket; `None` where these cannot be changed so, or there is no socket.
    fn commit(&mut self, changes: &[Change], provenance: &Provenance) -> Option<Result<(), NetlinkError>> {
        self.with_kernel(|kernel| Ok(kernel.commit(changes, provenance)))?
    }

    /// Reads from the kernel whether elements are as they were changed, and nothing else is otherwise: the generation moved
    /// by ours alone. Where that is not so the table is to be read in full.
    fn read_back(&mut self, before: Option<u32>, changes: &[Change]) -> bool {
        let Some(mut seen) = self.seen.take() else { return false };
        let expected = before.filter(|before| seen.generation == Some(*before)).map(|before| before.wrapping_add(1));
        let Some(found) = seen.observed.ruleset.as_mut() else { return false };
        let is_as_changed = changes.iter().all(|change| match change {
            Change::AddElements { set, elements } => self.has(set, elements, true) && found.add(set, elements),
            Change::DeleteElements { set, elements } => {
                self.has(set, elements, false) && found.take_away(set, elements)
            }
            Change::ReplaceTable(_) => false,
        });
        let generation = self.generation();
        let is_read_back = is_as_changed && generation.is_some() && generation == expected;
        if is_read_back {
            self.seen = Some(Seen { generation, ..seen });
        }
        is_read_back
    }

    /// Whether the kernel has all of these elements, or none.
    fn has(&mut self, set: &str, elements: &Set, wanted: bool) -> bool {
        if elements.len() > READ_ONE_BY_ONE || matches!(elements, Set::Nets4(_) | Set::Nets6(_)) {
            let all = self.with_kernel(|kernel| kernel.set(set, elements)).flatten();
            let missing = all.and_then(|all| elements.without(&all));
            return missing.is_some_and(|missing| missing.len() == if wanted { 0 } else { elements.len() });
        }
        let found = self.with_kernel(|kernel| kernel.has(set, elements));
        found.is_some_and(|found| found.len() == elements.len() && found.iter().all(|is_there| *is_there == wanted))
    }

    fn generation(&mut self) -> Option<u32> {
        self.with_kernel(Kernel::generation)
    }

    /// What the socket gives, which is opened when it is first wanted. Without one everything goes through nft.
    fn with_kernel<T>(&mut self, ask: impl FnOnce(&mut Kernel) -> Result<T, NetlinkError>) -> Option<T> {
        let kernel = match &mut self.kernel {
            Some(kernel) => Ok(kernel),
            closed => Kernel::open().map(|kernel| closed.insert(kernel)),
        };
        kernel.and_then(ask).inspect_err(|error| debug!(error = error as &dyn std::error::Error, "nf_tables")).ok()
    }

    /// Remembers which commit was ours: the one after `before`, if there was one. What came later is somebody else's, and
    /// where somebody came between, ours is taken for theirs, which costs a look.
    fn note_own(&mut self, before: Option<u32>) {
        if let (Some(before), Some(after)) = (before, self.generation())
            && before != after
        {
            self.own.truncate(OWN_COMMITS - 1);
            self.own.push_front(before.wrapping_add(1));
        }
    }

    fn applied(&self, changes: Vec<Change>) -> Applied {
        let observed = self.seen.as_ref().map(|seen| &seen.observed);
        let elements = observed.and_then(|observed| observed.ruleset.as_ref()).map_or(0, Ruleset::elements);
        let counters = observed.map(|observed| observed.counters.clone()).unwrap_or_default();
        Applied { changes, elements, renewed: 0, counters }
    }
}

fn lines(changes: &[Change]) -> String {
    changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
