//! From the validator list to the stored set: all sources at once, names resolved, merged, and then the plan. A source
//! that fails leaves its reason and changes nothing else.

use super::{plan, report};
use crate::{
    config::Chain,
    controller::Controller,
    now,
    store::{Actor, MergeRow, SourceRow, StoreError, Transaction},
};
use picket_api::validators::RefusedView;
use picket_chain::{FetchError, FetchLimits, Fetcher, Network, Resolver, Source, fetch::FetcherError};
use picket_model::{DnsName, Lookups, Observation, SourceId, Timestamp, ValidatorSet};
use picket_plan::{MergeInput, MergeMemory, Merged, merge, names_in};
use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout_at},
};

/// How long the others wait for the last ones once a majority has answered: a removal must not wait for a source that
/// hangs.
const LAST_CALL: Duration = Duration::from_secs(2);
/// Longest rest a source may ask for by `Retry-After`.
const LONGEST_REST: Duration = Duration::from_mins(10);

/// Hosts that say something else about advertised addresses within this time share a merge.
const GATHER: Duration = Duration::from_millis(100);

/// What asks the sources, what they answered last, which of them asked to be left alone, and what names resolved to in the last round.
pub(crate) struct Poller {
    fetcher: Fetcher,
    sources: Vec<Source>,
    network: Network,
    resting: BTreeMap<SourceId, Instant>,
    names: Lookups,
    resolver: Resolver,
    answers: Arc<BTreeMap<SourceId, Answer>>,
    /// The lookups for the rounds to come.
    looking_up: JoinSet<Lookups>,
}

/// What one source gave.
type Answer = Result<Observation, String>;

impl Poller {
    /// For the sources configured.
    pub(crate) fn new(chain: &Chain) -> Result<Self, FetcherError> {
        Ok(Self {
            fetcher: Fetcher::new(FetchLimits::default())?,
            sources: chain.sources.iter().map(|source| source.0.clone()).collect(),
            network: chain.network(),
            resting: BTreeMap::new(),
            names: Lookups::new(),
            resolver: Resolver::new(),
            answers: Arc::default(),
            looking_up: JoinSet::new(),
        })
    }

    /// Asks every source once, and gives each one's answer or why there is none.
    async fn ask(&mut self) -> BTreeMap<SourceId, Answer> {
        self.resting.retain(|_, until| *until > Instant::now());
        let mut answers: BTreeMap<SourceId, Answer> = BTreeMap::new();
        let mut asked = JoinSet::new();
        for source in &self.sources {
            let missing = match self.resting.contains_key(source.id()) {
                true => "it asked to be left alone for a while (Retry-After)".to_owned(),
                false => format!("no answer within {LAST_CALL:?} after most others had answered"),
            };
            answers.insert(source.id().clone(), Err(missing));
            if !self.resting.contains_key(source.id()) {
                let (fetcher, source, network) = (self.fetcher.clone(), source.clone(), self.network.clone());
                asked.spawn(async move {
                    let answer = fetcher.observe(&source, &network, None, now()).await;
                    (source.id().clone(), answer)
                });
            }
        }
        let majority = self.sources.len() / 2 + 1;
        let mut good = 0;
        let mut deadline = None;
        loop {
            let next = match deadline {
                None => asked.join_next().await,
                Some(deadline) => match timeout_at(deadline, asked.join_next()).await {
                    Ok(next) => next,
                    Err(_) => return answers,
                },
            };
            let (id, answer) = match next {
                None => return answers,
                Some(Ok(done)) => done,
                Some(Err(error)) => {
                    tracing::error!(%error, "asking a source ended in a panic");
                    continue;
                }
            };
            good += usize::from(answer.is_ok());
            if good >= majority && deadline.is_none() {
                deadline = Some(tokio::time::Instant::now() + LAST_CALL);
            }
            if let Some(rest) = answer.as_ref().err().and_then(FetchError::retry_after) {
                self.resting.insert(id.clone(), Instant::now() + rest.min(LONGEST_REST));
            }
            answers.insert(id, answer.map_err(|error| error.to_string()));
        }
    }

    /// Looks up the names that no round has seen yet; the others are used as they were found last.
    async fn resolve_new(&mut self, names: &BTreeSet<DnsName>) {
        while let Some(Ok(found)) = self.looking_up.try_join_next() {
            self.names.extend(found);
        }
        let new = names.iter().filter(|name| !self.names.contains_key(*name)).cloned().collect();
        let found = self.resolver.lookup_all(new).await;
        self.names.extend(found);
    }

    /// Looks up all names again for the rounds to come, and forgets those that are in use no more. Nobody waits for it:
    /// an event that a source pushes meanwhile must not wait for a dead name server.
    fn refresh(&mut self, names: BTreeSet<DnsName>) {
        self.names.retain(|name, _| names.contains(name));
        if self.looking_up.is_empty() {
            let resolver = self.resolver.clone();
            self.looking_up.spawn(async move { resolver.lookup_all(names).await });
        }
    }
}

/// Polls at once, and then again and again: by the clock, and when a source says that something changed.
pub(crate) async fn run(controller: Arc<Controller>, mut poller: Poller) {
    let mut wakes = controller.push.wakes();
    let mut heard = controller.reports.advertised_news();
    let mut asked = controller.anew.asked();
    loop {
        let began = Instant::now();
        if let Err(error) = run_once(&controller, &mut poller).await {
            report("poll", &error);
        }
        let mut pause = pin!(sleep(with_jitter(controller.chain.poll())));
        let mut woken = pin!(wakes.woken(began));
        loop {
            tokio::select! {
                () = &mut pause => break,
                () = &mut woken => break,
                _ = heard.changed() => {
                    sleep(GATHER).await;
                    heard.mark_unchanged();
                    again(&controller, &mut poller).await;
                }
                _ = asked.changed() => again(&controller, &mut poller).await,
            }
        }
    }
}

/// Merges the last answers once more: a host has said something else about what its goloop's peers advertise, or somebody
/// asked for it.
async fn again(controller: &Controller, poller: &mut Poller) {
    if let Err(error) = take(controller, poller, Instant::now()).await {
        report("poll", &error);
    }
}

/// One round: ask, resolve, merge, keep, plan, and only then look again at names that were known: a dead name server must
/// not hold up a removal.
pub(crate) async fn run_once(controller: &Controller, poller: &mut Poller) -> Result<(), StoreError> {
    let answers = Arc::new(poller.ask().await);
    poller.answers = answers.clone();
    let arrived = Instant::now();
    for (id, answer) in answers.iter() {
        controller.counts.polled(id.as_str(), answer.is_ok());
        if let Err(error) = answer {
            tracing::warn!(source = %id, error, "source failed");
        }
    }
    controller.push.polled(answers.iter().filter_map(|(id, answer)| Some((id.clone(), answer.as_ref().ok()?.height))));
    take(controller, poller, arrived).await
}

/// Takes what the sources answered last, which `arrived` then, and what hosts say now.
async fn take(controller: &Controller, poller: &mut Poller, arrived: Instant) -> Result<(), StoreError> {
    let began = controller.anew.begin();
    let answers = poller.answers.clone();
    let seen: Vec<Observation> = answers.values().filter_map(|answer| answer.as_ref().ok().cloned()).collect();
    let mut tx = controller.store.read().await?;
    let policy = tx.policy().await?.unwrap_or_default().1;
    let advertised = controller.reports.advertised(tx.nodes().await?.values());
    drop(tx);
    let names = names_in(&seen, &advertised, &policy);
    poller.resolve_new(&names).await;

    let at = now();
    let mut tx = controller.store.write().await?;
    keep_sources(&mut tx, &poller.sources, &answers).await?;
    let before = tx.merged().await?;
    let orders = tx.orders().await?;
    let first = ValidatorSet::default();
    let previous = before.as_ref().map_or(&first, |row| &row.set);
    let nothing = MergeMemory::default();
    let merged = merge(&MergeInput {
        previous,
        memory: before.as_ref().map_or(&nothing, |row| &row.memory),
        seen: &seen,
        sources: poller.sources.len(),
        advertised: &advertised,
        lookups: &poller.names,
        policy: &policy,
        orders: &orders,
        now: at,
    });
    say_what_changed(&mut tx, before.as_ref(), &merged, at).await?;
    tx.put_merged(&row(&merged, before.as_ref(), &seen, at)).await?;
    tx.commit().await?;
    controller.listed.store(!merged.set.is_empty(), Ordering::Relaxed);
    if let plan::Planned::Committed(_) = plan::run_once(controller).await? {
        controller.counts.list_to_commit.observe(arrived.elapsed().as_secs_f64());
    }
    controller.anew.done(began);
    if !seen.is_empty() {
        poller.refresh(names);
    }
    Ok(())
}

async fn keep_sources(
    tx: &mut Transaction,
    sources: &[Source],
    answers: &BTreeMap<SourceId, Answer>,
) -> Result<(), StoreError> {
    for source in sources {
        // Path and query may hold an access key: the host is enough to know the source by.
        let url = format!("{}://{}", source.url().scheme(), source.host());
        match answers.get(source.id()) {
            Some(Ok(observation)) => {
                let good = SourceRow {
                    id: source.id().clone(),
                    url,
                    height: Some(observation.height),
                    seen_at: Some(observation.seen_at),
                    entries: observation.entries.len(),
                    refused: observation.refused.len(),
                    error: None,
                    push: None,
                };
                tx.put_source(&good).await?;
            }
            Some(Err(error)) => tx.put_source_error(source.id(), &url, error).await?,
            None => {}
        }
    }
    Ok(())
}

/// The merge as kept. What a source that did not answer refused or named before still stands.
fn row(merged: &Merged, before: Option<&MergeRow>, seen: &[Observation], at: Timestamp) -> MergeRow {
    let now = merged.refused.iter().map(|(source, refused)| {
        let (source, refused) = (source.clone(), refused.clone());
        RefusedView { source, refused }
    });
    let silent = |entry: &&RefusedView| !seen.iter().any(|observation| observation.source == entry.source);
    let former = before.into_iter().flat_map(|row| row.refused.iter()).filter(silent).cloned();
    MergeRow {
        set: merged.set.clone(),
        version: before.map_or(1, |row| row.version + u64::from(row.set != merged.set)),
        refused: now.chain(former).collect(),
        held: merged.held.clone(),
        findings: merged.findings.clone(),
        height: merged.height.or(before.and_then(|row| row.height)),
        merged_at: at,
        memory: merged.memory.clone(),
    }
}

/// One line in the audit log for each change of the set, of a brake's hold, and of its end.
async fn say_what_changed(
    tx: &mut Transaction,
    before: Option<&MergeRow>,
    merged: &Merged,
    at: Timestamp,
) -> Result<(), StoreError> {
    let first = ValidatorSet::default();
    let old = before.map_or(&first, |row| &row.set);
    let moved = merged.set.iter().filter(|new| {
        let known = old.0.get(&new.prep);
        known.is_none_or(|known| known.endpoint != new.endpoint || known.addresses != new.addresses)
    });
    let came = moved.map(|validator| format!("+ {} {}", validator.prep, validator.endpoint));
    let left = old.iter().filter(|old| !merged.set.0.contains_key(&old.prep));
    let lines: Vec<String> = came.chain(left.map(|old| format!("- {} {}", old.prep, old.endpoint))).collect();
    let subject = format!("{} validators", merged.set.len());
    if !lines.is_empty() {
        tracing::info!(validators = merged.set.len(), changes = lines.len(), "validator set changed");
        tx.record(at, &Actor::Controller, "validators.changed", &subject, &plan::summary(&lines)).await?;
    }
    match (before.and_then(|row| row.held.as_ref()), &merged.held) {
        (None, Some(held)) => {
            tracing::error!(reason = %held, "validator set held");
            tx.record(at, &Actor::Controller, "validators.held", &subject, &held.to_string()).await
        }
        (Some(_), None) => tx.record(at, &Actor::Controller, "validators.released", &subject, "").await,
        _ => Ok(()),
    }
}

/// A tenth more or less, so that controllers do not ask an endpoint in step.
fn with_jitter(interval: Duration) -> Duration {
    let [byte] = picket_pki::random().unwrap_or([128]);
    interval.mul_f64(0.9 + f64::from(byte) / 255.0 * 0.2)
}
