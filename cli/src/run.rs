//! From a verb to what is printed: one call to the controller, one rendering.

use crate::{
    advertise,
    args::{
        Attack, AttackVerb, Ca, CaVerb, Drain, Events, Format, IdentitiesVerb, KeysVerb, Nodes, NodesVerb,
        OperatorVerb, Paths, Plan, PlanVerb, RotateStep, Shield, TokenVerb, Validators, ValidatorsVerb, Verb,
    },
    audit, colour, cut, drain, follow, keys, show, top,
};
use anyhow::{Context as _, bail};
use picket_api::{
    ApiError, OperatorClient, ProblemKind,
    attack::BlocklistQuery,
    ca::{RotateCa, RotationStep},
    client::Lines,
    identities::{ForbidIdentity, ForgetIdentity},
    keys::IssueKey,
    operator::{CreateToken, CutStep, ExplainQuery, RevokeQuery, StatusView},
    operators::{CreateOperator, EventsQuery},
    paths::{DrainNode, PathsQuery},
    plans::{PlansQuery, PreviewPlan},
    shield::OrderShield,
    validators::{ApproveRequest, DiffQuery, HistoryQuery, HoldRequest, OrderReceipt},
};
use picket_model::{Advertising, Timestamp};
use picket_progress::Progress;
use picket_wireguard::PrivateKey;
use serde::Serialize;
use std::io::{self, ErrorKind, IsTerminal as _};
use zeroize::Zeroizing;

/// Exit status of a verb that was carried out and found something that wants attention.
pub(crate) const ATTENTION: u8 = 2;

/// What to do when there is no answer.
const REACH: &str = "see whether picket-controller runs there, and whether the URL and the CA fingerprint are its own";
/// What to do when the answer was lost, twice.
const LOST: &str = "it may have been carried out all the same: see `picket events` before you repeat it";

/// What a verb leaves behind.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Secrets that are shown once pass through it.
    pub(crate) stdout: Zeroizing<String>,
    pub(crate) stderr: String,
    pub(crate) code: u8,
}

impl Outcome {
    /// The same, with a word to whoever reads it of how old it is, where the controller could only say what it said before.
    #[must_use]
    pub(crate) fn of_before(mut self, age: Option<u64>) -> Self {
        if let Some(seconds) = age {
            let word =
                format!("picket: the controller's database does not answer: this is what it said {seconds} s ago\n");
            self.stderr.insert_str(0, &word);
            self.code = self.code.max(ATTENTION);
        }
        self
    }
}

fn status(view: &StatusView) -> String {
    let page = show::status::page(view);
    if colour::is_wanted() { colour::page(&page) } else { page }
}

/// Carries out a verb. `now` is this host's clock, for ages; `progress` tells what takes long.
pub(crate) async fn run(
    client: &OperatorClient,
    verb: &Verb,
    json: bool,
    now: Timestamp,
    progress: &Progress,
) -> anyhow::Result<Outcome> {
    match verb {
        Verb::Status { watch: true } => {
            let look = async || client.status().await;
            ended(follow::status(&mut shown(json), look, pause, status).await)
        }
        Verb::Status { watch: false } => {
            let view = client.status().await?;
            let code = if show::status::is_well(&view) { 0 } else { ATTENTION };
            outcome(&view, json, code, status)
        }
        Verb::Plan(arguments) => plan(client, arguments, json).await,
        Verb::Top => ended(top::run(client, json).await),
        Verb::Nodes(Nodes { verb: None, pool }) => {
            let view = client.nodes_of(pool.as_ref()).await?;
            outcome(&view, json, 0, |view| show::nodes::page(view, pool.as_ref(), now))
        }
        Verb::Nodes(Nodes { verb: Some(NodesVerb::Clear { node }), .. }) => {
            let view = client.clear_node(node.as_str()).await?;
            outcome(&view, json, 0, |node| format!("{} is flagged no more\n", node.name))
        }
        Verb::Validators(arguments) => validators(client, arguments, json, now).await,
        Verb::Token(verb) => token(client, verb, json, now).await,
        Verb::Operator(verb) => operator(client, verb, json, now).await,
        Verb::Identities(identities) => match &identities.verb {
            None => outcome(&client.identities().await?, json, 0, |views| show::identities::page(views)),
            Some(IdentitiesVerb::Forget { id, forbidden }) => {
                let request = ForgetIdentity { identity: id.clone(), forbidden: *forbidden };
                outcome(&client.forget_identity(&request).await?, json, 0, show::identities::forgotten)
            }
            Some(IdentitiesVerb::Forbid { id }) => {
                let request = ForbidIdentity { identity: id.clone() };
                outcome(&client.forbid_identity(&request).await?, json, 0, show::identities::forbidden)
            }
        },
        Verb::Keys(KeysVerb::Issue { name, role, endpoint, replace }) => {
            let private = PrivateKey::from_random(picket_pki::random().context("make a key")?);
            let (name, role, endpoint, replace) = (name.clone(), *role, *endpoint, *replace);
            let request = IssueKey { name, role, wireguard_key: private.public(), endpoint, replace };
            let view = match client.issue_key(&request).await {
                // This private key was shown to nobody, and never will be.
                Err(lost) if lost.is_answer_lost() || lost.kind() == Some(ProblemKind::AnswerLost) => {
                    bail!(show::keys::lost(&lost, &request.name))
                }
                answered => answered?,
            };
            let text = show::keys::wg_quick(&view, &private);
            let stderr = show::keys::explanation(&view);
            // As JSON too the private key is only in the configuration, which is shown once.
            let stdout = if json { show::keys::json(&view, &text)? } else { text };
            Ok(Outcome { stdout, stderr, code: 0 })
        }
        Verb::Keys(KeysVerb::Rotate { node, wait }) => {
            let asked = client.replace_key(node.as_str()).await?;
            progress.now(format!("{} to use another key", asked.name));
            let used = keys::replaced(client, &asked, wait.unwrap_or_default()).await?;
            let code = if used.is_none() && wait.is_some() { ATTENTION } else { 0 };
            outcome(used.as_ref().unwrap_or(&asked), json, code, |_| show::keys::rotated(&asked, used.as_ref(), *wait))
        }
        Verb::Ca(Ca { verb: None }) => outcome(&client.ca().await?, json, 0, |view| show::ca::page(view, now)),
        Verb::Ca(Ca { verb: Some(CaVerb::Rotate { step, force }) }) => {
            let step = match step {
                RotateStep { start: true, .. } => RotationStep::Start,
                RotateStep { switch: true, .. } => RotationStep::Switch,
                RotateStep { .. } => RotationStep::Finish,
            };
            let view = client.rotate_ca(&RotateCa { step, force: *force }).await?;
            outcome(&view, json, 0, |view| show::ca::page(view, now))
        }
        Verb::Revoke { node, wait } => {
            let query = RevokeQuery { wait_ms: Some(cut::millis(*wait)?) };
            cut_off(client.revoke_in_steps(node.as_str(), &query).await?, json, progress).await
        }
        Verb::Quarantine { node, wait } => {
            let query = RevokeQuery { wait_ms: Some(cut::millis(*wait)?) };
            cut_off(client.quarantine(node.as_str(), &query).await?, json, progress).await
        }
        Verb::Readmit { node } => outcome(&client.readmit(node.as_str()).await?, json, 0, show::revoke::readmitted),
        Verb::Explain { target, generation } => {
            let (address, port) = (target.address, target.port.map(Into::into));
            let query = ExplainQuery { address, port, generation: *generation };
            let view = client.explain(&query).await?;
            outcome(&view, json, 0, |view| show::explain::page(view, target.port))
        }
        Verb::Shield(Shield { wish: None, .. }) => outcome(&client.shield().await?, json, 0, show::shield::page),
        Verb::Shield(Shield { wish: Some(wish), nodes, time }) => {
            let hosts = nodes.iter().map(ToString::to_string).collect();
            let request = OrderShield { shield: *wish, hosts, seconds: time.map(|time| time.as_secs()) };
            let view = client.order_shield(&request).await?;
            let code = if show::shield::is_done(&view, nodes) { 0 } else { ATTENTION };
            outcome(&view, json, code, show::shield::page)
        }
        Verb::Attack(Attack { verb: None }) => outcome(&client.attack().await?, json, 0, show::attack::page),
        Verb::Attack(Attack { verb: Some(AttackVerb::Export(export)) }) => {
            let query = BlocklistQuery { by: Some(export.by), least: export.least };
            let list = client.blocklist(&query).await?;
            let (stdout, stderr) = show::attack::export(&list, if json { Format::Json } else { export.format })?;
            Ok(Outcome { stdout: stdout.into(), stderr, code: 0 })
        }
        Verb::Paths(Paths { node }) => {
            let query = PathsQuery { node: node.as_ref().map(ToString::to_string) };
            let is_one = node.is_some();
            outcome(&client.paths(&query).await?, json, 0, |view| show::paths::page(view, is_one))
        }
        Verb::Drain(Drain { node, undo: true, .. }) => {
            outcome(&client.undrain(node.as_str()).await?, json, 0, show::paths::undrained)
        }
        Verb::Drain(Drain { node, time, wait, force, .. }) => {
            let request = DrainNode { seconds: Some(time.as_secs()), force: *force };
            let asked = client.drain(node.as_str(), &request).await?;
            let view = match wait {
                Some(wait) => drain::left(client, asked, *wait, progress).await?,
                None => asked,
            };
            let is_done = if wait.is_some() { view.is_empty() } else { view.refused.is_empty() };
            outcome(&view, json, if is_done { 0 } else { ATTENTION }, |view| show::paths::drained(view, now))
        }
        Verb::Audit { node, address, ports, found } => {
            let asked = audit::Asked { node, address: *address, more: ports, found: found.as_deref() };
            let audit = audit::audit(client, asked, progress).await?;
            let code = if audit.is_kept() { 0 } else { ATTENTION };
            outcome(&audit, json, code, show::audit::page)
        }
        Verb::Advertise { prep, found } => {
            let view = advertise::advertise(client, prep.as_ref(), found).await?;
            let is_good = !view.validators.is_empty() && view.validators.iter().all(Advertising::is_good);
            outcome(&view, json, if is_good { 0 } else { ATTENTION }, show::advertise::page)
        }
        Verb::Dns => {
            let view = client.dns().await?;
            let code = if show::dns::is_well(&view) { 0 } else { ATTENTION };
            outcome(&view, json, code, show::dns::page)
        }
        Verb::Events(Events { verify: true, .. }) => {
            let view = client.verify_events().await?;
            let code = if view.broken.is_none() { 0 } else { ATTENTION };
            outcome(&view, json, code, show::events::verified)
        }
        Verb::Events(Events { follow: true, limit, .. }) => {
            let look = async |query: EventsQuery| client.events_page(&query).await;
            ended(follow::events(&mut shown(json), limit.map(usize::from), look, pause, show::events::page).await)
        }
        Verb::Events(Events { limit, before, .. }) => {
            let query = EventsQuery { before: *before, limit: limit.map(usize::from) };
            outcome(&client.events_page(&query).await?, json, 0, |view| show::events::page(view))
        }
    }
}

async fn token(client: &OperatorClient, verb: &TokenVerb, json: bool, now: Timestamp) -> anyhow::Result<Outcome> {
    match verb {
        TokenVerb::Create { role, ttl, uses, pool, name, from, lease, comment } => {
            let request = CreateToken {
                role: *role,
                uses: *uses,
                ttl_seconds: ttl.as_secs(),
                lease_seconds: lease.map(|lease| lease.as_secs()),
                pool: pool.clone(),
                name: name.clone(),
                from: from.clone(),
                comment: comment.clone(),
            };
            let view = client.create_token(&request).await?;
            let created = outcome(&view, json, 0, |view| format!("{}\n", view.token))?;
            Ok(Outcome { stderr: show::token::explanation(&view, now), ..created })
        }
        TokenVerb::List => outcome(&client.tokens().await?, json, 0, |tokens| show::token::list(tokens, now)),
        TokenVerb::Revoke { id } => {
            let view = client.revoke_token(id).await?;
            outcome(&view, json, 0, |view| format!("{} lets nobody in any more\n", view.id))
        }
    }
}

async fn operator(client: &OperatorClient, verb: &OperatorVerb, json: bool, now: Timestamp) -> anyhow::Result<Outcome> {
    match verb {
        OperatorVerb::Create { role, expires, comment } => {
            let (expires_seconds, comment) = (expires.map(|time| time.as_secs()), comment.clone());
            let view = client.create_operator(&CreateOperator { role: *role, expires_seconds, comment }).await?;
            outcome(&view, json, 0, |view| show::operators::context(view, client.base()))
        }
        OperatorVerb::List => {
            outcome(&client.operators().await?, json, 0, |operators| show::operators::list(operators, now))
        }
        OperatorVerb::Revoke { id } => {
            let view = client.revoke_operator(id).await?;
            outcome(&view, json, 0, |view| format!("{} may ask nothing any more\n", view.id))
        }
        OperatorVerb::Readmit { id } => {
            let view = client.readmit_operator(id).await?;
            outcome(&view, json, 0, |view| format!("{} may log in again\n", view.id))
        }
    }
}

async fn cut_off(steps: Lines<CutStep>, json: bool, progress: &Progress) -> anyhow::Result<Outcome> {
    progress.now("hosts to read it back");
    let view = cut::follow(steps, |line, confirmed, of| {
        progress.done(confirmed, of);
        if let Some(line) = line.filter(|_| !json) {
            progress.line(line);
        }
    })
    .await?;
    let code = if view.missing.is_empty() { 0 } else { ATTENTION };
    outcome(&view, json, code, show::revoke::page)
}

async fn plan(client: &OperatorClient, arguments: &Plan, json: bool) -> anyhow::Result<Outcome> {
    match arguments {
        Plan { verb: Some(PlanVerb::Diff { from, to }), .. } => {
            let view = client.plans_diff(&PlansQuery { from: *from, to: *to }).await?;
            outcome(&view, json, 0, show::plan::diff)
        }
        Plan { dry_run: Some(file), .. } => {
            let configuration = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
            let view = client.preview_plan(&PreviewPlan { configuration }).await?;
            let code = if view.errors.is_empty() { 0 } else { ATTENTION };
            outcome(&view, json, code, show::plan::preview)
        }
        Plan { dry_run: None, verb: None } => bail!("say `plan diff` or `plan --dry-run FILE`"),
    }
}

async fn validators(
    client: &OperatorClient,
    arguments: &Validators,
    json: bool,
    now: Timestamp,
) -> anyhow::Result<Outcome> {
    match &arguments.verb {
        None if arguments.history => {
            let query = HistoryQuery {
                prep: arguments.prep,
                before: arguments.before,
                limit: arguments.limit.map(usize::from),
            };
            outcome(&client.history(&query).await?, json, 0, |changes| show::changes::history(changes, query.limit))
        }
        None => outcome(&client.validators().await?, json, 0, |view| match arguments.refused {
            true => show::validators::refused(view),
            false => show::validators::page(view, now),
        }),
        Some(ValidatorsVerb::Diff { from, to }) => {
            let view = client.diff(&DiffQuery { from: *from, to: *to }).await?;
            outcome(&view, json, 0, show::changes::diff)
        }
        Some(ValidatorsVerb::Approve { digest }) => {
            receipt(&client.approve(&ApproveRequest { digest: digest.clone() }).await?, json)
        }
        Some(ValidatorsVerb::Hold { comment, time }) => {
            let request = HoldRequest { comment: comment.clone(), seconds: time.map(|time| time.as_secs()) };
            receipt(&client.hold(&request).await?, json)
        }
        Some(ValidatorsVerb::Release) => receipt(&client.release().await?, json),
    }
}

fn receipt(view: &OrderReceipt, json: bool) -> anyhow::Result<Outcome> {
    let code = if show::orders::is_done(view) { 0 } else { ATTENTION };
    outcome(view, json, code, show::orders::page)
}

pub(crate) fn outcome<V: Serialize>(
    view: &V,
    json: bool,
    code: u8,
    page: impl FnOnce(&V) -> String,
) -> anyhow::Result<Outcome> {
    let stdout =
        if json { serde_json::to_string_pretty(view).context("write the answer as JSON")? + "\n" } else { page(view) };
    Ok(Outcome { stdout: Zeroizing::new(stdout), stderr: String::new(), code })
}

/// Standard output, for what goes on.
fn shown(json: bool) -> follow::Shown<io::Stdout> {
    let (to, beside) = (io::stdout(), Box::new(io::stderr()));
    follow::Shown { is_terminal: to.is_terminal(), to, beside, json }
}

/// A reader that has gone away is no fault of ours.
fn ended(done: anyhow::Result<()>) -> anyhow::Result<Outcome> {
    match done {
        Err(error) if error.downcast_ref::<io::Error>().is_none_or(|error| error.kind() != ErrorKind::BrokenPipe) => {
            Err(error)
        }
        _ => Ok(Outcome::default()),
    }
}

/// Between two looks, which go on until the program is ended.
async fn pause() -> bool {
    tokio::time::sleep(follow::PAUSE).await;
    true
}

/// An error on one line, with the next step where it does not name one itself.
pub(crate) fn sentence(error: &anyhow::Error) -> String {
    match error.downcast_ref::<ApiError>() {
        Some(lost) if lost.is_answer_lost() => format!("{lost}; {LOST}"),
        Some(unreachable @ ApiError::Unreachable { .. }) => format!("{unreachable}; {REACH}"),
        // A problem is both the text of the error and its cause; once is enough.
        Some(other) => other.to_string(),
        None => format!("{error:#}"),
    }
}
