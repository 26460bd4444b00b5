//! The controller with many agents: what a change costs it, how soon the last agent has it, what the agents take of its memory, and
//! how soon all are back after a restart. Here are the order, and what is told.

mod fleet;
mod link;
mod place;
mod planning;

use super::{Figures, Report, figures::rounded, millis};
use anyhow::Context as _;
use fleet::{Fleet, Said, Word, name};
use picket_api::{
    shield::{OrderShield, ShieldWish},
    validators::HoldRequest,
};
use place::{Database, Place};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// What this bench is told beyond what all are.
#[derive(Clone, Debug, clap::Args)]
#[group(id = "controller")]
pub(super) struct Options {
    /// Of the controller bench, so many agents, in rising order.
    #[arg(long, value_delimiter = ',', default_values_t = [50, 1_000, 5_000, 10_000], value_parser = clap::value_parser!(u32).range(1..=20_000))]
    hosts: Vec<u32>,
    /// Of the controller bench, these databases.
    #[arg(long, value_delimiter = ',', default_values = ["sqlite", "postgres"])]
    database: Vec<Database>,
    /// Of the controller bench, so many validators, each of whom is in two allow sets.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 4_900], value_parser = clap::value_parser!(u32).range(20..=4_900))]
    validators: Vec<u32>,
    /// Of the controller bench, so many controllers on one database, over which agents spread; more than one on PostgreSQL alone.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=5))]
    controllers: u16,
}

/// A part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Part {
    /// A change that touches one agent.
    One,
    /// A change that touches all.
    All,
    /// All agents back after a restart, and the memory they take.
    Connect,
    /// Memory while every agent has answers outstanding that it does not read.
    Stalled,
    /// How long a plan takes by itself.
    Planning,
}

/// Changes to one agent for each of the runs asked for: one alone is too small to be measured.
const CHANGES: u32 = 10;
/// Answers that an agent leaves unread: as many as it may have at once.
const UNREAD: usize = 64;
/// Reports are written to the database a second after they came; what a change costs is counted to the end of that.
const SETTLED: Duration = Duration::from_millis(2_500);
/// So much of agents' first wanted states goes over the loopback at most: agents times validators.
const MOST_ENTRIES: u64 = 5_000_000;

pub(super) fn run(report: &Report, runs: u8, parts: &[Part], options: &Options) -> anyhow::Result<()> {
    if parts.contains(&Part::Planning) {
        planning::measure(report, runs)?;
    }
    if parts == [Part::Planning] {
        return Ok(());
    }
    for database in &options.database {
        if options.controllers > 1 && *database == Database::Sqlite {
            report.say("a file of SQLite's has one controller: not measured with more");
            continue;
        }
        for validators in &options.validators {
            let bench = Bench {
                report,
                runs,
                parts,
                database: *database,
                validators: *validators,
                controllers: options.controllers,
            };
            bench.run(&options.hosts)?;
        }
    }
    Ok(())
}

/// One database and one length of the list.
struct Bench<'a> {
    report: &'a Report,
    runs: u8,
    parts: &'a [Part],
    database: Database,
    validators: u32,
    controllers: u16,
}

impl Bench<'_> {
    fn run(&self, hosts: &[u32]) -> anyhow::Result<()> {
        let database = format!("{:?}", self.database).to_lowercase();
        self.report.say(&format!("starts a controller on {database} with {} validators", self.validators));
        let mut place = Place::new(self.database, self.controllers, usize::try_from(self.validators)?)?;
        let mut fleet = Fleet::new(&place)?;
        let mut cpu_of_one = BTreeMap::new();
        for agents in hosts {
            if u64::from(*agents) * u64::from(self.validators) > MOST_ENTRIES {
                self.row(*agents, json!({ "case": "all", "not_measured": "the loopback would be what is measured" }))?;
                continue;
            }
            let more = agents.checked_sub(fleet.len()).context("name --hosts in rising order")?;
            if more > 0 {
                self.report.say(&format!("enrols {more} agents"));
                self.enrol(&place, &mut fleet, more)?;
            }
            // Once for both: it takes longer than they do.
            let changes = self.parts.contains(&Part::One) || self.parts.contains(&Part::All);
            let idle = if changes { idle(&place, &fleet)? } else { 0.0 };
            if self.parts.contains(&Part::One) {
                let cpu = self.one(&place, &mut fleet, idle)?;
                cpu_of_one.insert(*agents, cpu);
            }
            if self.parts.contains(&Part::All) {
                self.all(&mut place, &mut fleet, idle)?;
            }
            if self.parts.contains(&Part::Stalled) {
                self.stalled(&place, &fleet)?;
            }
            if self.parts.contains(&Part::Connect) {
                self.connect(&mut place, &mut fleet)?;
            }
        }
        if let (Some(few), Some((most, many))) = (cpu_of_one.get(&50), cpu_of_one.last_key_value())
            && *most > 50
        {
            let row = json!({
                "case": "one", "agents": format!("{most}/50"), "db": database, "validators": self.validators,
                "cpu_ratio": rounded(many / few), "goal": { "cpu_ratio": 1.5 },
            });
            self.report.row(&row)?;
        }
        Ok(())
    }

    fn row(&self, agents: u32, mut fields: Value) -> anyhow::Result<()> {
        fields["agents"] = json!(agents);
        fields["validators"] = json!(self.validators);
        if self.controllers > 1 {
            fields["controllers"] = json!(self.controllers);
        }
        fields["db"] = json!(format!("{:?}", self.database).to_lowercase());
        self.report.row(&fields)
    }

    fn enrol(&self, place: &Place, fleet: &mut Fleet, more: u32) -> anyhow::Result<()> {
        let cpu = place.cpu_ms()?;
        let took = fleet.grow(more)?;
        let cpu = place.cpu_ms()? - cpu;
        self.row(
            fleet.len(),
            json!({
                "case": "enrol", "enrolled": more, "seconds": rounded(took.as_secs_f64()),
                "per_second": rounded(f64::from(more) / took.as_secs_f64()),
                "cpu_ms_each": rounded(cpu / f64::from(more)), "rss_mib": rounded(place.memory_mib()?),
            }),
        )
    }

    /// An order about one host's shield: from the operator's call to the agent's having read it.
    fn one(&self, place: &Place, fleet: &mut Fleet, idle: f64) -> anyhow::Result<f64> {
        self.report.say(&format!("changes one of {} agents", fleet.len()));
        let changes = CHANGES * u32::from(self.runs);
        fleet.forget();
        let (mut times, mut bodies) = (Figures::default(), 0);
        let (began, cpu, wire) = (Instant::now(), place.cpu_ms()?, place.wire_bytes()?);
        for change in 0..changes {
            let agent = change * 7 % fleet.len();
            let shield = if fleet.shielded.insert(agent) { ShieldWish::On } else { ShieldWish::Policy };
            if shield == ShieldWish::Policy {
                fleet.shielded.remove(&agent);
            }
            let order = OrderShield { shield, hosts: vec![name(agent)], seconds: None };
            let (operator, started) = (fleet.operator.clone(), Instant::now());
            let ordered = fleet.spawn(async move { Ok(operator.order_shield(&order).await?) });
            let said = fleet.wait_for(&[agent], |word| matches!(word, Word::News(_)))?;
            let said = said.get(&agent).context("the agent heard nothing")?;
            times.add(millis(said.at.saturating_duration_since(started)));
            bodies += body(said);
            fleet.finish(ordered)?;
        }
        fleet.rest(SETTLED);
        let cpu = (place.cpu_ms()? - cpu - idle * began.elapsed().as_secs_f64()) / f64::from(changes);
        let wire = (place.wire_bytes()? - wire) / u64::from(changes);
        self.row(
            fleet.len(),
            json!({
                "case": "one", "changes": changes, "last_ms": rounded(times.median()), "p99_ms": rounded(times.p99()),
                "most_ms": rounded(times.most()), "cpu_ms": rounded(cpu), "bytes": bodies / usize::try_from(changes)?,
                "wire_bytes": wire, "idle_cpu_ms_per_s": rounded(idle), "rss_mib": rounded(place.memory_mib()?),
                "goal": { "cpu_ms": 2.0 },
            }),
        )?;
        Ok(cpu)
    }

    /// One validator more: from the operator's call that lets it through to the last agent's having read it.
    fn all(&self, place: &mut Place, fleet: &mut Fleet, idle: f64) -> anyhow::Result<()> {
        self.report.say(&format!("changes all of {} agents", fleet.len()));
        let (mut last, mut median, mut p99, mut spread) =
            (Figures::default(), Figures::default(), Figures::default(), Figures::default());
        let (mut cpu, mut bodies, mut changes_only) = (Figures::default(), 0, 0);
        for _ in 0..self.runs {
            let operator = fleet.operator.clone();
            let hold = HoldRequest { comment: "bench".to_owned(), seconds: None };
            fleet.run(async move { Ok(operator.hold(&hold).await?) })?;
            place.lengthen_list()?;
            fleet.rest(SETTLED);
            fleet.forget();
            let (operator, all, began) = (fleet.operator.clone(), fleet.all(), place.cpu_ms()?);
            let started = Instant::now();
            let released = fleet.spawn(async move { Ok(operator.release().await?) });
            let said = fleet.wait_for(&all, |word| matches!(word, Word::News(_)))?;
            fleet.finish(released)?;
            let times = said.values().map(|said| millis(said.at.saturating_duration_since(started)));
            let times = Figures::from(times.collect::<Vec<_>>());
            last.add(times.most());
            median.add(times.median());
            p99.add(times.p99());
            spread.add(times.most() - times.least());
            bodies += said.values().map(body).sum::<usize>();
            changes_only +=
                said.values().filter(|said| matches!(&said.word, Word::News(news) if news.is_changes)).count();
            fleet.rest(SETTLED);
            cpu.add(place.cpu_ms()? - began - idle * started.elapsed().as_secs_f64());
        }
        let goal = match fleet.len() {
            0..=1_000 => json!({ "last_ms": 100 }),
            1_001..=5_000 => json!({ "last_ms": 500 }),
            _ => Value::Null,
        };
        self.row(
            fleet.len(),
            json!({
                "case": "all", "runs": self.runs, "last_ms": rounded(last.median()), "most_ms": rounded(last.most()),
                "median_ms": rounded(median.median()), "p99_ms": rounded(p99.median()),
                "first_to_last_ms": rounded(spread.median()), "cpu_ms": rounded(cpu.median()),
                "bytes": bodies / usize::from(self.runs), "changes_only": changes_only / usize::from(self.runs),
                "rss_mib": rounded(place.memory_mib()?), "from": "the operator's call", "goal": goal,
            }),
        )
    }

    /// Every agent opens one more connection, asks for its whole state as often as it may, and reads nothing.
    fn stalled(&self, place: &Place, fleet: &Fleet) -> anyhow::Result<()> {
        self.report.say(&format!("has {} agents leave answers unread", fleet.len()));
        let before = place.memory_mib()?;
        let during = fleet.stalled(UNREAD, SETTLED, || place.memory_mib())?;
        fleet.rest(SETTLED);
        let each = (during - before) * 1024.0 / f64::from(fleet.len());
        self.row(
            fleet.len(),
            json!({
                "case": "stalled", "unread_each": UNREAD, "rss_mib_before": rounded(before), "rss_mib": rounded(during),
                "rss_mib_after": rounded(place.memory_mib()?), "kib_each": rounded(each),
            }),
        )
    }

    /// The controller is killed and started again: until it answers, and until it has every agent's word on a new connection.
    fn connect(&self, place: &mut Place, fleet: &mut Fleet) -> anyhow::Result<()> {
        if place.len() > 1 {
            return self.move_over(place, fleet);
        }
        self.report.say(&format!("restarts the controller of {} agents", fleet.len()));
        let (mut last, mut up, mut cpu, mut memory) =
            (Figures::default(), Figures::default(), Figures::default(), Figures::default());
        fleet.forget();
        fleet.failures();
        for _ in 0..self.runs {
            let started = Instant::now();
            place.kill(0)?;
            up.add(millis(place.start(0)?));
            let said = fleet.wait_for(&fleet.all(), |word| matches!(word, Word::Back))?;
            let slowest = said.values().map(|said| said.at.saturating_duration_since(started)).max();
            last.add(millis(slowest.unwrap_or_default()));
            cpu.add(place.cpu_ms()?);
            fleet.rest(SETTLED);
            memory.add(place.memory_mib()?);
        }
        let agents = fleet.len();
        let goal = match agents {
            0..=50 => json!({ "rss_mib": 30 }),
            51..=1_000 => json!({ "rss_mib": 64, "last_ms": 5_000 }),
            more => json!({ "rss_mib": 64.0 + f64::from(more - 1_000) * 40.0 / 1024.0 }),
        };
        self.row(
            agents,
            json!({
                "case": "connect", "runs": self.runs, "last_ms": rounded(last.median()), "most_ms": rounded(last.most()),
                "up_ms": rounded(up.median()), "cpu_ms": rounded(cpu.median()), "rss_mib": rounded(memory.median()),
                "attempts_in_vain": fleet.failures() / u32::from(self.runs), "from": "the start of the program",
                "goal": goal,
            }),
        )
    }

    /// Of several controllers one is killed, not the operator's, and another one each time: until its agents' word is with the others.
    fn move_over(&self, place: &mut Place, fleet: &mut Fleet) -> anyhow::Result<()> {
        self.report.say(&format!("kills one of {} controllers of {} agents", place.len(), fleet.len()));
        let (mut last, mut memory, mut moved) = (Figures::default(), Figures::default(), Figures::default());
        for killed in (1..place.len()).rev().cycle().take(self.runs.into()) {
            fleet.forget();
            let theirs = fleet.at(killed);
            let started = Instant::now();
            place.kill(killed)?;
            let said = fleet.wait_for(&theirs, |word| matches!(word, Word::Back))?;
            let slowest = said.values().map(|said| said.at.saturating_duration_since(started)).max();
            last.add(millis(slowest.unwrap_or_default()));
            moved.add(f64::from(u32::try_from(theirs.len())?));
            fleet.rest(SETTLED);
            memory.add(place.memory_mib()?);
            place.start(killed)?;
        }
        self.row(
            fleet.len(),
            json!({
                "case": "move", "runs": self.runs, "moved": rounded(moved.median()), "last_ms": rounded(last.median()),
                "most_ms": rounded(last.most()), "rss_mib": rounded(memory.most()), "from": "the kill",
                "goal": { "last_ms": 5_000 },
            }),
        )
    }
}

/// Processor time that connections take while nothing happens, in milliseconds a second.
fn idle(place: &Place, fleet: &Fleet) -> anyhow::Result<f64> {
    const QUIET: Duration = Duration::from_secs(13);
    const LOOK: Duration = Duration::from_secs(10);
    // What hosts told a moment ago is looked at by all controllers for ten seconds, for clocks that differ.
    fleet.rest(QUIET);
    let (began, cpu) = (Instant::now(), place.cpu_ms()?);
    fleet.rest(LOOK);
    Ok((place.cpu_ms()? - cpu) / began.elapsed().as_secs_f64())
}

/// How large an answer was.
fn body(said: &Said) -> usize {
    match &said.word {
        Word::News(news) => news.bytes,
        Word::Back => 0,
    }
}
