//! What a person on the host sees: what is held, what the agent last read back, and the rules as nft text. Changes nothing.

use crate::{
    cli::Place,
    confirm::interrupted,
    guard::{Guard, GuardRules},
    host,
    identity::Identity,
    ledger::{Ledger, Standing},
    posture::{AgentIs, Facts, Posture},
    reconcile::HostFilter,
    release::{is_released, released},
    state::{Kind, StateDir, StateError},
    vouch::Vouched,
};
use anyhow::{Context as _, Result};
use picket_api::probe::{knock, with_usual};
use picket_firewall::{Nft, Ruleset, lower, render::replacement};
use picket_model::{Defences, FirewallPolicy, Generation, NodeReport, PathsReport, Shield, Timestamp};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::IpAddr, num::NonZeroU16};

const LAST_WORD: Kind = Kind { name: "status.json", version: 1, remedy: "remove it: the agent writes it again" };

const RELEASED: &str = "this host was released by hand: it has no firewall until `close`";

/// What the running agent read back last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastWord {
    /// When.
    pub at: Timestamp,
    /// Whether the controller answered the last call; `None` before the first.
    pub controller_answers: Option<bool>,
    /// What it told the controller, or would have.
    pub report: NodeReport,
}

/// What this host finds at another's ports, as JSON: those that this one guards itself, which are the mesh's, and some more.
pub fn probe(place: &Place, address: IpAddr, more: &[NonZeroU16]) -> Result<String> {
    let state = StateDir::new(&place.state_dir);
    let held = match &Identity::load(&state)? {
        Some(identity) => Ledger::load_of(&state, identity)?.config,
        None => None,
    };
    let mut ports = with_usual(more.iter().copied());
    ports.extend(held.iter().flat_map(|config| config.firewall.guarded.keys()));
    let probe = knock(address, &ports).with_context(|| format!("find a way to {address}"))?;
    Ok(serde_json::to_string(&probe)?)
}

/// Stores it for `status`.
pub fn save(state: &StateDir, word: &LastWord) -> Result<(), StateError> {
    state.note_json(LAST_WORD, word)
}

/// What an agent said last here, this one or the one before it.
pub fn last_word(state: &StateDir) -> Result<Option<LastWord>, StateError> {
    state.read_json(LAST_WORD)
}

#[derive(Serialize)]
struct View {
    state: &'static str,
    released_at: Option<Timestamp>,
    identity: Option<Identity>,
    standing: Standing,
    generation: Option<Generation>,
    revision: Option<Generation>,
    guard_refuses: Option<String>,
    agent: Option<LastWord>,
    agent_seconds_ago: Option<u64>,
}

/// Prints what is held and what was last read back.
pub fn status(place: &Place, json: bool) -> Result<()> {
    let state = StateDir::new(&place.state_dir);
    let identity = Identity::load(&state)?;
    let ledger = match &identity {
        Some(identity) => Ledger::load_of(&state, identity)?,
        None => Ledger::default(),
    };
    let agent = last_word(&state)?;
    let rules = GuardRules::load(place.guard.as_deref())?;
    let guard = match &identity {
        Some(identity) => Some(Guard::new(rules, identity, Vouched::load(&state)?)),
        None => None,
    };
    let refusal = guard.and_then(|guard| ledger.admitted(&guard).err());
    let answers = agent.as_ref().and_then(|word: &LastWord| word.controller_answers);
    let posture = Posture::of(Facts {
        released: is_released(&state),
        enrolled: identity.is_some(),
        ledger: &ledger,
        refused: refusal.is_some(),
        agent: if state.is_locked() { AgentIs::AtWork(answers) } else { AgentIs::Away },
    });
    let view = View {
        state: posture.name(),
        released_at: released(&state).ok().flatten().map(|released| released.at),
        standing: ledger.standing,
        generation: ledger.config.as_ref().map(|config| config.generation),
        revision: ledger.config.as_ref().map(|config| config.revision),
        guard_refuses: refusal.map(|violation| violation.to_string()),
        agent_seconds_ago: agent.as_ref().map(|word| host::now().since(word.at).as_secs()),
        identity,
        agent,
    };
    if json {
        return print_json(&view);
    }
    print_status(&view);
    Ok(())
}

/// Prints the ruleset that is to be in force.
pub fn show_rules(place: &Place, json: bool) -> Result<()> {
    #[derive(Serialize)]
    struct Rules {
        policy: FirewallPolicy,
        nft: String,
    }
    let policy = policy(place)?;
    let nft = wanted_rules(place, &policy).to_string();
    if json {
        return print_json(&Rules { policy, nft });
    }
    print!("{nft}");
    Ok(())
}

/// Prints the ruleset for `nft -f`, in the place of a table of ours that is there or not: without what this kernel lacks, and
/// where no agent is at work without a change that nobody would confirm.
pub async fn load_rules(place: &Place) -> Result<()> {
    let policy = if StateDir::new(&place.state_dir).is_locked() {
        policy(place)?
    } else {
        wanted_policy(place, |ledger| interrupted(&ledger, host::now()))?.context(RELEASED)?
    };
    let mut filter = HostFilter::new(Nft::locate()?, place);
    print!("{}", replacement(&lower(&policy, filter.facts().await?), &BTreeMap::new()));
    Ok(())
}

/// Prints the changes that would bring the ruleset into force; says so where there are none.
pub async fn diff_rules(place: &Place, json: bool) -> Result<()> {
    let changes = HostFilter::new(Nft::locate()?, place).changes(&policy(place)?).await?;
    let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
    if json {
        return print_json(&changes);
    }
    if changes.is_empty() {
        println!("in force: nothing to change");
    }
    changes.iter().for_each(|change| println!("{change}"));
    Ok(())
}

/// The firewall that a host's files ask for, the ledger seen as somebody wants to see it; closed where the host is not
/// enrolled, `None` where somebody opened it by hand.
pub fn wanted_policy(place: &Place, see: impl FnOnce(Ledger) -> Ledger) -> Result<Option<FirewallPolicy>> {
    let state = StateDir::new(&place.state_dir);
    if is_released(&state) {
        return Ok(None);
    }
    let rules = GuardRules::load(place.guard.as_deref())?;
    Ok(match Identity::load(&state)? {
        Some(identity) => {
            let guard = Guard::new(rules, &identity, Vouched::load(&state)?);
            let ledger = see(Ledger::load_of(&state, &identity)?);
            ledger.firewall(&guard, ledger.posture(&guard, false, AgentIs::Away))
        }
        None => Posture::LockedDown.firewall(&rules, None),
    })
}

/// As [`wanted_policy`] of what is held, its limits tight where the agent at work has tightened them by itself; an error where
/// the host is open by hand.
pub fn policy(place: &Place) -> Result<FirewallPolicy> {
    let wanted = wanted_policy(place, |ledger| ledger)?;
    let mut policy = wanted.context(RELEASED)?;
    let state = StateDir::new(&place.state_dir);
    if policy.shield == Shield::Auto && state.is_locked() {
        let word = last_word(&state)?;
        if word.and_then(|word| word.report.defences).is_some_and(|said| said.is_tight) {
            policy.shield = Shield::On;
        }
    }
    Ok(policy)
}

fn wanted_rules(place: &Place, policy: &FirewallPolicy) -> Ruleset {
    lower(policy, &place.host_facts())
}

fn print_status(view: &View) {
    if let Some(at) = view.released_at {
        println!("RELEASED    EVERY GUARDED PORT OF THIS HOST IS OPEN since {at}; `close` ends it");
    }
    println!("state       {}", view.state);
    match &view.identity {
        Some(identity) => {
            let standing = if view.standing == Standing::Revoked { ", revoked" } else { "" };
            println!(
                "host        {} ({}), {} in mesh {}{standing}",
                identity.name, identity.node, identity.role, identity.mesh
            );
            println!("overlay     {}, {}", identity.overlay.v4, identity.overlay.v6);
            println!("controller  {}", identity.controllers.join(", "));
        }
        None => println!("host        not enrolled"),
    }
    match (view.generation, view.revision) {
        (Some(generation), Some(revision)) => println!("holds       revision {revision} of generation {generation}"),
        _ => println!("holds       nothing yet"),
    }
    if let Some(violation) = &view.guard_refuses {
        println!("guard       refuses what is held: {violation}");
    }
    if view.revision.is_none() || view.guard_refuses.is_some() || view.standing == Standing::Revoked {
        println!("closed      guarded ports are for admin networks only");
    }
    let (Some(word), Some(seconds)) = (&view.agent, view.agent_seconds_ago) else {
        println!("agent       has not run yet");
        return;
    };
    let report = &word.report;
    let answers = match word.controller_answers {
        Some(true) => "controller answers",
        Some(false) => "controller does not answer",
        None => "controller not asked",
    };
    println!("agent       last word {seconds} s ago, {answers}");
    println!("in force    revision {}", report.applied);
    println!("firewall    {}, {} addresses and prefixes", report.firewall, report.kernel.elements);
    if let Some(repairs) = &report.firewall_repairs {
        println!("repaired    {repairs}");
    }
    if let Some(said) = &report.defences {
        print_defences(said);
    }
    println!("tunnels     {}, {} peers, engine {}", report.wireguard, report.kernel.peers, report.engine);
    for (port, served) in &report.syncs {
        println!("sync {port:<6} {}, {} requests", served.status, served.requests.values().sum::<u64>());
    }
    for (peer, mtu) in &report.narrow {
        println!("narrow      {peer} carries packets of {mtu} bytes at most");
    }
    for (key, peer) in &report.peers {
        let handshake = peer.last_handshake.map_or_else(|| "never".to_owned(), |at| at.to_string());
        let endpoint = peer.endpoint.map_or_else(|| "-".to_owned(), |endpoint| endpoint.to_string());
        println!("  {key}  {endpoint}  handshake {handshake}");
    }
    if let Some(paths) = &report.paths {
        print_paths(paths);
    }
    if let Some(chain) = &report.chain {
        println!("goloop      {chain}");
    }
    if let Some(said) = &report.advertised {
        println!("peers       {} advertise an address, {} refused", said.endpoints.len(), said.refused.len());
    }
    if let Some(refused) = &report.refused {
        println!("refused     {}", refused.escape_debug());
    }
    if let Some(taken) = &report.taken_back {
        println!("taken back  revision {} at {}: {}", taken.revision, taken.at, taken.reason.escape_debug());
    }
}

fn print_defences(said: &Defences) {
    let limits = if said.is_tight { "tight" } else { "relaxed" };
    let stopped =
        said.stopped_per_second.map_or_else(|| "not counted yet".to_owned(), |stopped| format!("{stopped} a second"));
    println!("limits      {limits} since {}, stopped {stopped} (attack: {})", said.since, said.attack_per_second);
    let cookies = said.syn_cookies.map_or("not known", |on| if on { "on" } else { "OFF" });
    let tracking = said.tracking.map_or_else(
        || "not at work".to_owned(),
        |tracking| format!("{} % full, {} of {}", tracking.percent(), tracking.connections, tracking.most),
    );
    println!("kernel      SYN cookies {cookies}, connection tracking {tracking}");
}

fn print_paths(paths: &PathsReport) {
    println!("ways        through {} sentries", paths.sentries.len());
    for (sentry, way) in &paths.sentries {
        let trip = way.round_trip_us.map_or_else(|| "-".to_owned(), |took| format!("{took} us"));
        let drained = if way.draining { ", drained" } else { "" };
        let burden = way.burden.as_ref().map_or_else(String::new, |burden| format!(", {burden}"));
        let (share, lost) = (paths.share(sentry), way.lost_permille);
        println!(
            "  {sentry}  {} since {}{drained}{burden}, {share} destinations, round trip {trip}, lost {lost} of 1000",
            way.way, way.since
        );
    }
}

/// Prints a value as JSON.
pub fn print_json(value: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string_pretty(value).context("print as JSON")?);
    Ok(())
}
