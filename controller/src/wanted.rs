//! What each host shall be, in memory. A waiting poll sleeps on its own host's entry: a change that touches two hosts
//! wakes two polls, however many wait.

use crate::{
    encode::{Parts, Written},
    store::{SharedDigests, Target},
};
use picket_model::{Digest, Generation, NodeConfig, NodeId};
use picket_plan::Differences;
use picket_telemetry::TraceParent;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::watch, time::timeout};

/// What one host shall be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum HostWanted {
    /// Not in any plan yet.
    #[default]
    Unplanned,
    /// The content with this revision and digest.
    Content {
        /// Last generation in which the content changed.
        revision: Generation,
        /// Digest of the content.
        digest: Digest,
    },
    /// Cut from the mesh.
    Revoked,
}

/// Earlier contents of a host that are remembered until it has the present one: as many as there are changes while it is busy
/// with one. Beyond that it gets the whole.
const EARLIER: usize = 3;

/// What a host that asks is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// Nothing yet.
    Nothing,
    /// Its content, whole or as changes of what it holds.
    Content(Parts),
    /// That it is no member any more.
    Revoked,
}

/// Spans of plans that are remembered, for hosts that ask later.
const SPANS_KEPT: usize = 64;

/// Longest that whatever else hosts say waits until all who were woken have their answers.
const ANSWERED: Duration = Duration::from_secs(1);

/// The target and who waits for it.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    board: Mutex<Board>,
    /// Whether somebody was woken who has no answer yet.
    owes: watch::Sender<bool>,
    written: Written,
    digests: SharedDigests,
    changes: watch::Sender<()>,
}

/// A poll of a host that is under way; dropped once it has its answer, or nobody waits for that any more.
#[derive(Debug)]
pub(crate) struct Poll<'a> {
    wanted: &'a Wanted,
    node: &'a NodeId,
}

impl Drop for Poll<'_> {
    fn drop(&mut self) {
        let mut board = self.wanted.lock();
        if board.owed.remove(self.node) && board.owed.is_empty() {
            self.wanted.owes.send_replace(false);
        }
    }
}

#[derive(Debug, Default)]
struct Board {
    target: Option<Arc<Target>>,
    hosts: BTreeMap<NodeId, watch::Sender<HostWanted>>,
    /// Hosts that the target changed.
    changed: Vec<NodeId>,
    /// Hosts whose polls were woken by a target and have not been answered.
    owed: BTreeSet<NodeId>,
    /// Spans in which the last plans were made, where traces are on.
    spans: BTreeMap<Generation, TraceParent>,
    /// What hosts were to be before, and may still hold; the latest last.
    earlier: BTreeMap<NodeId, Vec<(Digest, Arc<NodeConfig>)>>,
}

impl Wanted {
    /// Nothing yet, with these digests.
    pub(crate) fn with(digests: SharedDigests) -> Self {
        Self { digests, ..Self::default() }
    }

    /// Puts a committed plan up and wakes the hosts it touches; nothing where a newer one is up by now.
    pub(crate) fn publish(&self, target: Target) {
        let target = Arc::new(target);
        let mut known = self.target();
        // Of two that are put up at once, one is by another controller.
        while known.as_ref().is_none_or(|known| known.plan.generation <= target.plan.generation) {
            match self.put_up(&target, known.as_ref()) {
                Ok(()) => {
                    self.changes.send_replace(());
                    return;
                }
                Err(meanwhile) => known = meanwhile,
            }
        }
    }

    /// Notes in which span a plan is made, before it is put up.
    pub(crate) fn plan_is_made_in(&self, plan: Generation, span: TraceParent) {
        let mut board = self.lock();
        board.spans.insert(plan, span);
        while board.spans.len() > SPANS_KEPT {
            board.spans.pop_first();
        }
    }

    /// In which span the content of this host was planned; `None` where another controller did it, long ago, or without traces.
    pub(crate) fn planned_in(&self, node: &NodeId) -> Option<TraceParent> {
        let board = self.lock();
        match &*board.hosts.get(node)?.borrow() {
            HostWanted::Content { revision, .. } => board.spans.get(revision).cloned(),
            _ => None,
        }
    }

    /// Puts it up in the place of what is known; else, with nothing done, what is up by now.
    fn put_up(&self, target: &Arc<Target>, known: Option<&Arc<Target>>) -> Result<(), Option<Arc<Target>>> {
        let Differences { came, changed, went } = target.plan.differences(known.map(|known| &known.plan));
        let wanted = came.into_iter().chain(changed.into_iter().map(|(_, after)| after));
        // Digests take most of the time and are made without the lock, which every answer needs.
        let contents: Vec<(NodeId, HostWanted)> = {
            let mut sets = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
            sets.tidy();
            let content = |config: &Arc<NodeConfig>| {
                let digest = config.digest_among(&mut sets);
                (config.node.clone(), HostWanted::Content { revision: config.revision, digest })
            };
            wanted.map(content).collect()
        };
        let unplanned = went.into_iter().map(|config| (config.node.clone(), HostWanted::Unplanned));
        let mut board = self.lock();
        if board.target.as_ref().map(Arc::as_ptr) != known.map(Arc::as_ptr) {
            return Err(board.target.clone());
        }
        board.target = Some(Arc::clone(target));
        self.written.tidy();
        board.changed = contents.iter().map(|(id, _)| id.clone()).collect();
        for (id, news) in contents.into_iter().chain(unplanned) {
            board.remember(&id, known.map(|known| &**known));
            let host = board.host(&id);
            let is_woken = host.send_if_modified(|wanted| {
                let changes = *wanted != HostWanted::Revoked && *wanted != news;
                if changes {
                    *wanted = news;
                }
                changes
            }) && host.receiver_count() > 0;
            if is_woken {
                board.owed.insert(id);
            }
        }
        self.owes.send_replace(!board.owed.is_empty());
        Ok(())
    }

    /// Tells a host that it is no member any more; false where it was told before.
    pub(crate) fn revoke(&self, node: &NodeId) -> bool {
        let is_news = self.lock().host(node).send_if_modified(|wanted| {
            let is_news = *wanted != HostWanted::Revoked;
            *wanted = HostWanted::Revoked;
            is_news
        });
        if is_news {
            self.changes.send_replace(());
        }
        is_news
    }

    /// Wakes a host's poll though there is nothing new of what it shall be: it is answered so, and the host looks at all else.
    pub(crate) fn nudge(&self, node: &NodeId) {
        self.lock().host(node).send_modify(|_| {});
    }

    /// Changes with every target, and with every host that is cut from the mesh.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// The target; `None` before the first plan.
    pub(crate) fn target(&self) -> Option<Arc<Target>> {
        self.lock().target.clone()
    }

    /// Hosts that a plan changed; `None` where another one is up.
    pub(crate) fn changed_by(&self, plan: Generation) -> Option<Vec<NodeId>> {
        let board = self.lock();
        let is_up = board.target.as_ref().is_some_and(|target| target.plan.generation == plan);
        is_up.then(|| board.changed.clone())
    }

    /// What a host shall be, now and whenever that changes.
    pub(crate) fn follow(&self, node: &NodeId) -> watch::Receiver<HostWanted> {
        self.lock().host(node).subscribe()
    }

    /// Begins a poll, before it follows.
    pub(crate) const fn poll<'a>(&'a self, node: &'a NodeId) -> Poll<'a> {
        Poll { wanted: self, node }
    }

    /// Waits while hosts that were woken have no answer, for a moment at most: of a change to all, the last is to hear before the
    /// first are heard.
    pub(crate) async fn answers_first(&self) {
        if *self.owes.borrow() {
            let mut owes = self.owes.subscribe();
            // The sender lives as long as the controller.
            let _ = timeout(ANSWERED, owes.wait_for(|owes| !owes)).await;
        }
    }

    /// What a host shall be.
    pub(crate) fn of(&self, node: &NodeId) -> HostWanted {
        self.lock().hosts.get(node).map_or(HostWanted::Unplanned, |host| host.borrow().clone())
    }

    /// What a host shall be, and whether a poll of it waits.
    pub(crate) fn stands(&self, node: &NodeId) -> (HostWanted, bool) {
        let board = self.lock();
        let host = board.hosts.get(node);
        host.map_or((HostWanted::Unplanned, false), |host| (host.borrow().clone(), host.receiver_count() > 0))
    }

    /// Whether a poll of this host waits.
    pub(crate) fn is_followed(&self, node: &NodeId) -> bool {
        self.lock().hosts.get(node).is_some_and(|host| host.receiver_count() > 0)
    }

    /// Hosts of which a poll waits.
    pub(crate) fn followed(&self) -> BTreeSet<NodeId> {
        let board = self.lock();
        board.hosts.iter().filter(|(_, host)| host.receiver_count() > 0).map(|(id, _)| id.clone()).collect()
    }

    /// What there is to tell a host that holds the revision `after`: the whole, or, where it says what it holds and that is known
    /// still, the changes of that. A member that is in no plan waits.
    pub(crate) fn news(&self, node: &NodeId, after: Generation, holds: Option<&Digest>) -> serde_json::Result<News> {
        let (target, wanted, before) = {
            let mut board = self.lock();
            let wanted = board.hosts.get(node).map(|host| host.borrow().clone()).unwrap_or_default();
            if matches!(&wanted, HostWanted::Content { revision, .. } if *revision == after) {
                board.earlier.remove(node);
            }
            let earlier = board.earlier.get(node).into_iter().flatten();
            let mut held = earlier.filter(|(digest, config)| Some(digest) == holds && config.revision == after);
            (board.target.clone(), wanted, held.next_back().map(|(_, config)| config.clone()))
        };
        let plan = target.as_ref().map(|target| target.plan.generation).unwrap_or_default();
        Ok(match (wanted, target.as_ref().and_then(|target| target.plan.nodes.get(node))) {
            (HostWanted::Revoked, _) => News::Revoked,
            (HostWanted::Content { revision, digest }, Some(config)) if revision > after => {
                News::Content(match before {
                    Some(before) => self.written.changes(plan, &digest, &before, config)?,
                    None => self.written.whole(plan, &digest, config)?,
                })
            }
            (HostWanted::Content { .. } | HostWanted::Unplanned, _) => News::Nothing,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Board {
    fn host(&mut self, node: &NodeId) -> &watch::Sender<HostWanted> {
        self.hosts.entry(node.clone()).or_default()
    }

    /// Keeps what a host was to be by the target before.
    fn remember(&mut self, node: &NodeId, before: Option<&Target>) {
        let digest = match self.hosts.get(node).map(|host| host.borrow().clone()) {
            Some(HostWanted::Content { digest, .. }) => digest,
            _ => return drop(self.earlier.remove(node)),
        };
        let Some(config) = before.and_then(|before| before.plan.nodes.get(node)) else { return };
        let earlier = self.earlier.entry(node.clone()).or_default();
        if earlier.len() >= EARLIER {
            earlier.remove(0);
        }
        earlier.push((digest, config.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use picket_model::{FirewallPolicy, NodeConfig, NodeRole, Timestamp, WireGuardConfig};
    use picket_plan::{Basis, Plan};

    fn target(generation: u64, hosts: &[&str]) -> Target {
        let generation = Generation(generation);
        let config = |name: &&str| NodeConfig {
            mesh: "m-1".parse().unwrap(),
            node: name.parse().unwrap(),
            role: NodeRole::Prep,
            generation,
            revision: generation,
            wireguard: WireGuardConfig {
                listen_port: 0,
                addresses: BTreeSet::new(),
                mtu: 1420,
                peers: BTreeMap::new(),
            },
            firewall: FirewallPolicy::default(),
        };
        let nodes = hosts.iter().map(config).map(|config| (config.node.clone(), Arc::new(config))).collect();
        let basis = Basis { policy_version: 1, validators: 0, validators_version: 0 };
        let plan = Plan { generation, parent: Generation(0), nodes, basis };
        Target { plan, planned_at: Timestamp::from_millis(0) }
    }

    #[test]
    fn a_member_in_no_plan_waits_and_only_a_revoked_host_hears_so() {
        let (wanted, node) = (Wanted::default(), "n-1".parse().unwrap());
        let news = |after| match wanted.news(&node, Generation(after), None).unwrap() {
            News::Content(parts) => parts.read().revision.to_string(),
            other => format!("{other:?}"),
        };
        assert_eq!(news(0), "Nothing");
        wanted.publish(target(1, &["n-1", "n-2"]));
        assert_eq!((news(0), news(1)), ("1".to_owned(), "Nothing".to_owned()));
        wanted.publish(target(2, &["n-2"]));
        assert_eq!((news(0), wanted.of(&node)), ("Nothing".to_owned(), HostWanted::Unplanned));
        wanted.publish(target(3, &["n-1"]));
        assert_eq!(news(1), "3");
        wanted.revoke(&node);
        wanted.publish(target(4, &["n-1"]));
        assert_eq!(news(0), "Revoked");
    }

    #[tokio::test]
    async fn who_was_woken_is_answered_before_others_are_heard() {
        let (wanted, nodes) = (Wanted::default(), ["n-1", "n-2", "n-3"].map(|id| id.parse::<NodeId>().unwrap()));
        let is_heard = || wanted.answers_first().now_or_never().is_some();
        let [one, two, three] = nodes.each_ref().map(|node| (wanted.poll(node), wanted.follow(node)));
        drop(three);
        assert!(is_heard());
        wanted.publish(target(1, &["n-1", "n-2", "n-3"]));
        assert!(!is_heard());
        drop(one);
        assert!(!is_heard());
        let mut waiting = Box::pin(wanted.answers_first());
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(two);
        waiting.await;
        assert!(is_heard());
        // Nobody waits for this one, and a host that asks anew was not woken.
        wanted.publish(target(2, &["n-1", "n-2", "n-3"]));
        assert!(is_heard());
    }

    #[test]
    fn whom_a_plan_changed_is_known_while_it_is_up() {
        let (wanted, mut next) = (Wanted::default(), target(2, &["n-1", "n-3"]));
        wanted.publish(target(1, &["n-1", "n-2"]));
        let before = wanted.target().unwrap().plan.nodes.get(&"n-1".parse().unwrap()).cloned().unwrap();
        next.plan.nodes.insert(before.node.clone(), before);
        wanted.publish(next);
        assert_eq!(wanted.changed_by(Generation(2)), Some(vec!["n-3".parse().unwrap()]));
        assert_eq!(wanted.changed_by(Generation(1)), None);
    }

    #[test]
    fn who_says_what_it_holds_gets_the_changes_of_it_while_that_is_known() {
        let (wanted, node): (_, NodeId) = (Wanted::default(), "n-1".parse().unwrap());
        let shaped = |generation, mtu| {
            let mut target = target(generation, &["n-1"]);
            target.plan.nodes.values_mut().for_each(|config| Arc::make_mut(config).wireguard.mtu = mtu);
            target
        };
        let content = |(generation, mtu)| NodeConfig::clone(&shaped(generation, mtu).plan.nodes[&node]);
        let contents: Vec<NodeConfig> = (1..=6).zip(1301..).map(content).collect();
        let news = |held: &NodeConfig, holds: Option<Digest>| match wanted.news(&node, held.revision, holds.as_ref()) {
            Ok(News::Content(parts)) => parts.read(),
            other => panic!("{other:?}"),
        };
        for (generation, mtu) in (1..=6).zip(1301..) {
            wanted.publish(shaped(generation, mtu));
        }
        let last = &contents[5];
        for (held, is_known) in contents[..5].iter().zip([false, false, true, true, true]) {
            let told = news(held, Some(held.digest()));
            assert_eq!((told.full.is_none(), told.changes.is_some()), (is_known, is_known), "{}", held.revision);
            assert_eq!(told.of(Some(held)).unwrap().full, *last);
            // Agents of before do not say what they hold, and some hold another content under that number.
            for holds in [None, Some(last.digest())] {
                assert_eq!(news(held, holds).full.as_ref(), Some(last));
            }
        }
        // Who has it by now needs no earlier one.
        assert_eq!(wanted.news(&node, last.revision, Some(&last.digest())).unwrap(), News::Nothing);
        assert!(wanted.lock().earlier.is_empty());
        wanted.publish(shaped(7, 1307));
        assert!(news(last, Some(last.digest())).changes.is_some());
        wanted.publish(target(8, &[]));
        wanted.publish(shaped(9, 1309));
        assert!(news(last, Some(last.digest())).full.is_some(), "it was in no plan in between");
    }
}
