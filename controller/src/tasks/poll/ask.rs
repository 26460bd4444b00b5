//! One round of questions: all sources at once, and those that are ahead once more where the lists differ. No judgement.

use super::{Answer, common::common_height, rest::Rests};
use crate::{config::Chain, now};
use picket_chain::{FetchError, FetchLimits, Fetcher, Network, Source, SourceKind, fetch::FetcherError};
use picket_model::{Observation, Policy, SourceId};
use picket_plan::needed;
use picket_telemetry::{SPANS, traces::number};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use tokio::{task::JoinSet, time::timeout_at};
use tracing::{Instrument as _, Span, field::Empty, info_span};

/// How long the others wait for the last ones once enough have answered: a removal must not wait for a source that hangs.
const LAST_CALL: Duration = Duration::from_secs(2);
/// How long all wait for the second answers, of which none is needed.
const SECOND_CALL: Duration = Duration::from_secs(1);

/// What asks the sources, and which of them asked to be left alone.
pub(crate) struct Asker {
    fetcher: Fetcher,
    sources: Vec<Source>,
    network: Network,
    rests: Rests,
    poll: Duration,
}

impl Asker {
    /// For the sources configured.
    pub(crate) fn new(chain: &Chain) -> Result<Self, FetcherError> {
        Ok(Self {
            fetcher: Fetcher::new(FetchLimits::default())?,
            sources: chain.sources.iter().map(|source| source.0.clone()).collect(),
            network: chain.network(),
            rests: Rests::default(),
            poll: chain.poll(),
        })
    }

    /// Asks every source once, and gives each one's answer or why there is none. Those that rest are asked too where the
    /// others are too few.
    pub(super) async fn ask(&mut self, needed: usize) -> BTreeMap<SourceId, Answer> {
        let enough = needed.max(self.sources.len() / 2 + 1);
        let mut answers = BTreeMap::new();
        self.ask_those_awake(enough, &mut answers).await;
        if answers.values().filter(|answer| answer.is_ok()).count() < enough && self.rests.relent(Instant::now()) {
            self.ask_those_awake(enough, &mut answers).await;
        }
        answers
    }

    /// Asks the sources that have not answered and do not rest. Waits for all until `enough` have given a list.
    async fn ask_those_awake(&mut self, enough: usize, answers: &mut BTreeMap<SourceId, Answer>) {
        let mut asked = JoinSet::new();
        for source in &self.sources {
            if answers.get(source.id()).is_some_and(Result::is_ok) {
                continue;
            }
            let resting = self.rests.of(source.id(), Instant::now());
            if resting.is_none() {
                asked.spawn(self.question(source, None));
            }
            let silent = || format!("no answer within {LAST_CALL:?} after most others had answered");
            answers.insert(source.id().clone(), Err(resting.unwrap_or_else(silent)));
        }
        let mut good = answers.values().filter(|answer| answer.is_ok()).count();
        let mut deadline = None;
        let mut failed = Vec::new();
        while let Some((id, answer)) = next(&mut asked, deadline).await {
            let answer = match answer {
                Ok(observation) => {
                    good += 1;
                    self.rests.answered(&id);
                    Ok(observation)
                }
                Err(error) => {
                    let text = error.to_string();
                    failed.push((id.clone(), error));
                    Err(text)
                }
            };
            answers.insert(id, answer);
            if good >= enough && deadline.is_none() {
                deadline = Some(Instant::now() + LAST_CALL);
            }
        }
        for (id, error) in failed {
            self.rests.failed(&id, &error, good >= enough, self.poll, Instant::now());
        }
    }

    /// Where the lists differ, asks the sources that are ahead for their lists at the height that enough have reached. An
    /// endpoint that keeps no past says no (goloop pruned: -31004, ICON 1.0: -32602), and its first answer stays.
    pub(super) async fn ask_again(&self, answers: &mut BTreeMap<SourceId, Answer>, policy: &Policy) {
        let chains = self.sources.iter().filter(|source| source.kind() == SourceKind::Rpc);
        let seen: Vec<&Observation> =
            chains.clone().filter_map(|source| answers.get(source.id())?.as_ref().ok()).collect();
        let Some((height, ahead)) = common_height(&seen, needed(policy, self.sources.len()), policy.lag_blocks) else {
            return;
        };
        let mut asked = JoinSet::new();
        for source in chains.filter(|source| ahead.contains(source.id())) {
            asked.spawn(self.question(source, Some(height)));
        }
        let deadline = Some(Instant::now() + SECOND_CALL);
        while let Some((id, answer)) = next(&mut asked, deadline).await {
            match answer {
                Ok(observation) => drop(answers.insert(id, Ok(observation))),
                Err(error) => tracing::debug!(source = %id, height, %error, "no list of a past height"),
            }
        }
    }

    fn question(&self, source: &Source, height: Option<u64>) -> impl Future<Output = Told> + Send + 'static {
        let (fetcher, source, network) = (self.fetcher.clone(), source.clone(), self.network.clone());
        let span = info_span!(
            target: SPANS, "ask source", otel.kind = "client", otel.status_code = Empty, source = %source.id(), height = height.map(number)
        );
        async move {
            let answer = fetcher.observe(&source, &network, height, now()).await;
            if answer.is_err() {
                Span::current().record("otel.status_code", "ERROR");
            }
            (source.id().clone(), answer)
        }
        .instrument(span)
    }
}

/// A source and what it said.
type Told = (SourceId, Result<Observation, FetchError>);

/// The next answer; `None` where there are no more, or none in time.
async fn next(asked: &mut JoinSet<Told>, deadline: Option<Instant>) -> Option<Told> {
    loop {
        let next = match deadline {
            None => asked.join_next().await,
            Some(deadline) => timeout_at(deadline.into(), asked.join_next()).await.ok()?,
        };
        match next? {
            Ok(told) => return Some(told),
            Err(error) => tracing::error!(%error, "asking a source ended in a panic"),
        }
    }
}
