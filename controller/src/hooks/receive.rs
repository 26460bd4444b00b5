//! Messages as they arrive: who sends them is verified, whether they are allowed is decided, and what they ask for is written
//! down in one transaction with the message's id. Nothing is done here: clouds wait five seconds for an answer.

use super::{Hooks, certificates::NoCertificate, digest};
use crate::{
    api::ApiProblem,
    controller::Controller,
    start::new_id,
    store::{Actor, HookSource, HookState, HookTask, StoreError},
};
use axum::http::HeaderMap;
use picket_api::{Problem, ProblemKind};
use picket_attest::{
    Issuer, Kind, Unverified,
    hooks::{
        HookError, Notice, Transition,
        event::Event,
        in_time,
        pubsub::Push,
        sns::{self, Purpose},
        webhook::{self, Headers, Order},
    },
    token,
};
use picket_model::Timestamp;
use serde_json::Value;
use std::net::IpAddr;
use subtle::ConstantTimeEq as _;

/// The header with EventBridge's secret.
const SECRET: &str = "x-picket-hook-secret";

/// A request as it came.
pub(crate) struct Arrived<'a> {
    /// Its headers.
    pub(crate) headers: &'a HeaderMap,
    /// Its body.
    pub(crate) body: &'a [u8],
    /// Where it came from, in canonical form.
    pub(crate) from: IpAddr,
    /// When.
    pub(crate) now: Timestamp,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It will be done.
    New,
    /// It was taken before, and does nothing now. No error: clouds send a message again whose answer was lost, and some would
    /// go on for a day.
    Repeated,
    /// It is good, and asks for nothing.
    Nothing,
}

/// Why one is not taken.
enum Refused {
    /// The sender's fault, as they are told.
    Sender(Problem),
    /// Ours.
    Ours(ApiProblem),
}

impl From<HookError> for Refused {
    fn from(error: HookError) -> Self {
        let kind = match error {
            HookError::Signature | HookError::Certificate | HookError::Sha1 | HookError::Version(_) => {
                ProblemKind::Unauthorized
            }
            _ => ProblemKind::BadRequest,
        };
        refused(kind, error.to_string())
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Ours(error.into())
    }
}

fn refused(kind: ProblemKind, detail: impl Into<String>) -> Refused {
    Refused::Sender(Problem::new(kind, detail))
}

/// From AWS: EventBridge, which shows a secret, or SNS, which signs.
pub(crate) async fn aws(controller: &Controller, arrived: &Arrived<'_>) -> Result<Taken, ApiProblem> {
    let is_eventbridge = arrived.headers.contains_key(SECRET);
    let source = if is_eventbridge { HookSource::EventBridge } else { HookSource::Sns };
    let taken =
        if is_eventbridge { eventbridge(controller, arrived).await } else { from_sns(controller, arrived).await };
    told(controller, source, arrived, taken).await
}

/// From Google's Pub/Sub.
pub(crate) async fn gcp(controller: &Controller, arrived: &Arrived<'_>) -> Result<Taken, ApiProblem> {
    told(controller, HookSource::PubSub, arrived, pubsub(controller, arrived).await).await
}

/// From whoever has the secret.
pub(crate) async fn generic(controller: &Controller, arrived: &Arrived<'_>) -> Result<Taken, ApiProblem> {
    told(controller, HookSource::Generic, arrived, signed(controller, arrived).await).await
}

async fn eventbridge(controller: &Controller, arrived: &Arrived<'_>) -> Result<Taken, Refused> {
    let Hooks { lines, eventbridge, .. } = &controller.hooks;
    let known = eventbridge.ok_or_else(|| not_listened("EventBridge", "hooks.eventbridge_secret_file"))?;
    // Hashes of one length: neither time nor length tells anything of the secret.
    let given = arrived.headers.get(SECRET).map(|value| digest(value.as_bytes())).unwrap_or_default();
    if !bool::from(given.ct_eq(&known)) {
        return Err(refused(ProblemKind::Unauthorized, format!("the secret in {SECRET} is wrong")));
    }
    let event = Event::parse(arrived.body)?;
    in_time(event.at, lines.oldest(), arrived.now)?;
    allowed_aws(&controller.hooks, &event.notice)?;
    enter(controller, HookSource::EventBridge, &event.id, Some(of(event.notice)), arrived).await
}

async fn from_sns(controller: &Controller, arrived: &Arrived<'_>) -> Result<Taken, Refused> {
    let Hooks { lines, topics, certificates, .. } = &controller.hooks;
    if topics.is_empty() {
        return Err(not_listened("SNS", "hooks.topics"));
    }
    let message = sns::Unverified::parse(arrived.body)?;
    let topic = topics.iter().find(|topic| *topic == message.topic());
    let topic =
        topic.ok_or_else(|| refused(ProblemKind::Forbidden, "hooks.topics does not name the message's topic"))?;
    let path = message.certificate_path(lines.sns_sha1)?;
    let certificate = certificates.of(topic, &path, arrived.from, arrived.now).await.map_err(|error| {
        let kind = match error {
            NoCertificate::None { .. } => ProblemKind::Unauthorized,
            NoCertificate::TooMany => ProblemKind::TooManyRequests,
            NoCertificate::Unavailable(_) => ProblemKind::Unavailable,
        };
        refused(kind, format!("the certificate that signed the message cannot be had: {error}"))
    })?;
    let verified = message.verify(&certificate, lines.sns_sha1, lines.oldest(), arrived.now)?;
    let task = match verified.purpose {
        Purpose::Notice(notice) => {
            allowed_aws(&controller.hooks, &notice)?;
            Some(of(*notice))
        }
        Purpose::Test => None,
        Purpose::Subscription { path } => {
            certificates.confirm(topic, &path).await.map_err(|error| {
                refused(ProblemKind::Unavailable, format!("the subscription was not confirmed: {error}"))
            })?;
            return note(controller, &verified.id, subscription(topic, "hook.subscribed"), arrived).await;
        }
        Purpose::Unsubscribed => {
            return note(controller, &verified.id, subscription(topic, "hook.unsubscribed"), arrived).await;
        }
    };
    enter(controller, HookSource::Sns, &verified.id, task, arrived).await
}

async fn pubsub(controller: &Controller, arrived: &Arrived<'_>) -> Result<Taken, Refused> {
    let Hooks { lines, google, .. } = &controller.hooks;
    let gcp = lines.gcp.as_ref().ok_or_else(|| not_listened("Pub/Sub", "[hooks.gcp]"))?;
    let unauthorized = |detail: String| refused(ProblemKind::Unauthorized, detail);
    let token = header(arrived.headers, "authorization").strip_prefix("Bearer ").unwrap_or_default();
    let token = Unverified::parse(token).map_err(|error| unauthorized(error.to_string()))?;
    let keys = google.of(super::GOOGLE, token.key(), arrived.now).await.map_err(|error| {
        refused(ProblemKind::Unavailable, format!("the keys of {} cannot be had: {error}", super::GOOGLE))
    })?;
    let issuer = Issuer { kind: Kind::Oidc, url: super::GOOGLE.to_owned(), account: None };
    let proven = token::identify(&issuer, token, &keys, &gcp.audience, arrived.now);
    let claims = proven.map_err(|error| unauthorized(error.to_string()))?.claims;
    // An address that Google has not verified is whatever its owner wrote.
    let is_sender = claims.get("email").and_then(Value::as_str) == Some(gcp.service_account.as_str())
        && claims.get("email_verified").and_then(Value::as_bool) == Some(true);
    if !is_sender {
        return Err(refused(ProblemKind::Forbidden, "the token is not of hooks.gcp.service_account"));
    }
    let push = Push::parse(arrived.body, gcp.preempted)?;
    if push.subscription != gcp.subscription {
        return Err(refused(ProblemKind::Forbidden, "the message is not of hooks.gcp.subscription"));
    }
    match in_time(push.at, lines.oldest(), arrived.now) {
        // Whatever is refused is sent again for days, and others wait behind it.
        Err(error @ HookError::TooOld(_)) => {
            let subject = push.notice.map_or_else(|| gcp.subscription.clone(), |notice| notice.identity.to_string());
            let noted = Noted { source: HookSource::PubSub, action: "hook.stale", subject, detail: error.to_string() };
            return note(controller, &push.id, noted, arrived).await;
        }
        in_time => in_time?,
    }
    if push.notice.as_ref().is_some_and(|notice| !gcp.projects.contains(&notice.account)) {
        return Err(refused(ProblemKind::Forbidden, "hooks.gcp.projects does not name the instance's project"));
    }
    enter(controller, HookSource::PubSub, &push.id, push.notice.map(of), arrived).await
}

async fn signed(controller: &Controller, arrived: &Arrived<'_>) -> Result<Taken, Refused> {
    let secret = controller.hooks.generic.as_ref();
    let secret = secret.ok_or_else(|| not_listened("signed webhooks", "hooks.generic_secret_file"))?;
    let [id, timestamp, signature] =
        [webhook::ID, webhook::TIMESTAMP, webhook::SIGNATURE].map(|name| header(arrived.headers, name));
    secret.verify(Headers { id, timestamp, signature }, arrived.body, arrived.now)?;
    let Order { action, node } = Order::parse(arrived.body)?;
    let what = format!("signed webhook: {action}");
    let task = Asked { transition: action, subject: node, action: None, what };
    enter(controller, HookSource::Generic, id, Some(task), arrived).await
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn not_listened(what: &str, line: &str) -> Refused {
    refused(ProblemKind::NotFound, format!("{what} is not listened to here: see {line}"))
}

fn allowed_aws(hooks: &Hooks, notice: &Notice) -> Result<(), Refused> {
    let Notice { account, place, group, .. } = notice;
    if hooks.lines.allows_aws(account, place, group.as_deref()) {
        return Ok(());
    }
    let group = group.as_ref().map_or_else(String::new, |group| format!(", group {}", group.escape_debug()));
    let detail = format!("no [[hooks.aws]] allows account {account}, region {place}{group}");
    Err(refused(ProblemKind::Forbidden, detail))
}

/// What a message asks for.
struct Asked {
    transition: Transition,
    subject: String,
    action: Option<picket_attest::hooks::LifecycleAction>,
    what: String,
}

fn of(notice: Notice) -> Asked {
    let Notice { transition, identity, action, what, .. } = notice;
    Asked { transition, subject: identity.to_string(), action, what }
}

/// Writes down what a message asks for, once.
async fn enter(
    controller: &Controller,
    source: HookSource,
    id: &str,
    asked: Option<Asked>,
    arrived: &Arrived<'_>,
) -> Result<Taken, Refused> {
    let now = arrived.now;
    let mut tx = controller.store.write().await?;
    if !tx.claim_message(source, id, now).await? {
        return Ok(Taken::Repeated);
    }
    let taken = match asked {
        None => Taken::Nothing,
        Some(Asked { transition, subject, action, what }) => {
            if transition == Transition::Terminating {
                tx.end_launches(&subject, now).await?;
            }
            let detail = match &action {
                Some(action) => format!("{what}, group {}, hook {}", action.group, action.hook),
                None => what.clone(),
            };
            tx.record(now, &Actor::Hook(source), "hook.taken", &subject, &detail).await?;
            let task = HookTask {
                id: new_id(),
                source,
                transition,
                subject,
                action,
                what,
                address: Some(arrived.from),
                state: HookState::Waiting,
                outcome: None,
                note: String::new(),
                received_at: now,
                changed_at: now,
            };
            tx.insert_hook_task(&task).await?;
            tracing::info!(%source, subject = task.subject, transition = %task.transition, "a hook's message was taken");
            Taken::New
        }
    };
    tx.commit().await?;
    controller.hooks.wake.notify_one();
    Ok(taken)
}

/// What a good message leaves in the log that asks for nothing.
struct Noted {
    source: HookSource,
    action: &'static str,
    subject: String,
    detail: String,
}

/// A subscription began or ended.
fn subscription(topic: &sns::Topic, action: &'static str) -> Noted {
    let detail = "by a message that the topic's own SNS signed".to_owned();
    Noted { source: HookSource::Sns, action, subject: topic.to_string(), detail }
}

/// Writes it down, once.
async fn note(controller: &Controller, id: &str, noted: Noted, arrived: &Arrived<'_>) -> Result<Taken, Refused> {
    let Noted { source, action, subject, detail } = noted;
    let mut tx = controller.store.write().await?;
    if !tx.claim_message(source, id, arrived.now).await? {
        return Ok(Taken::Repeated);
    }
    tx.record(arrived.now, &Actor::Hook(source), action, &subject, &detail).await?;
    tx.commit().await?;
    tracing::info!(%source, subject, action, detail, "a hook's message asks for nothing");
    Ok(Taken::Nothing)
}

/// Writes a refusal down, and not more of them than a log can bear; counts what became of the message.
async fn told(
    controller: &Controller,
    source: HookSource,
    arrived: &Arrived<'_>,
    taken: Result<Taken, Refused>,
) -> Result<Taken, ApiProblem> {
    let problem = match taken {
        Ok(taken) => {
            controller.counts.hook(
                source.as_str(),
                match taken {
                    Taken::New => "taken",
                    Taken::Repeated => "repeated",
                    Taken::Nothing => "nothing",
                },
            );
            return Ok(taken);
        }
        Err(Refused::Ours(problem)) => return Err(problem),
        Err(Refused::Sender(problem)) => problem,
    };
    controller.counts.hook(source.as_str(), "refused");
    if problem.kind != ProblemKind::Unavailable && controller.may_log_refusal(arrived.now) {
        tracing::warn!(%source, from = %arrived.from, reason = problem.detail, "a hook's message was refused");
        let mut tx = controller.store.write().await?;
        let actor = Actor::Stranger(arrived.from);
        tx.record(arrived.now, &actor, "hook.refused", source.as_str(), &problem.detail).await?;
        tx.commit().await?;
    }
    Err(problem.into())
}
