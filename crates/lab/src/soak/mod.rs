//! A mesh of real programs for as long as somebody likes, with something going wrong again and again, while a stranger knocks
//! without a rest and a validator's connection has to go on. What goes wrong is in `fault`, what is measured in `sample`.

mod fault;
mod sample;

use crate::{
    EchoServer, Knocks, LabError, Random, Stream, clean_left_overs,
    mesh::{Mesh, MeshSize, SOON},
    stop,
};
use fault::Fault;
use sample::{Growth, Sample};
use serde_json::json;
use std::{
    collections::BTreeMap,
    net::{Ipv6Addr, SocketAddr},
    sync::mpsc::TryRecvError,
    time::{Duration, Instant},
};

/// How the soak runs.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {
    /// For how long; what is under way then is ended.
    #[arg(long, default_value_t = 10)]
    minutes: u32,
    /// Which faults come in which order; the same number, the same order.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print one JSON object per fault and per figure, and nothing else, on standard output.
    #[arg(long)]
    json: bool,
}

/// How long a fault may take that is under way when the soak is told to stop.
const IN_ORDER: Duration = Duration::from_secs(30);
const SIZE: MeshSize = MeshSize { preps: 2, sentries: 3 };
/// The P2P port, which is guarded on every host.
const GUARDED: u16 = 7100;
/// Chain endpoints change their minds often here; the brakes are not what is tried.
const BRAKES: &str = "\n[policy.brakes]\nmax_removed = 1000\nmax_removed_percent = 100\nmax_added = 1000\n";

/// Runs it; whether nobody got in, nothing was cut, everything came back, and nothing grew.
///
/// # Errors
/// What keeps it from going on at all. All namespaces and files are gone then, too.
pub fn run(args: Args) -> anyhow::Result<bool> {
    let stop = stop::on_signal(IN_ORDER)?;
    clean_left_overs()?;
    let mut soak = Soak::start(args)?;
    let mut random = Random::new(args.seed);
    let (began, length) = (Instant::now(), Duration::from_secs(60 * u64::from(args.minutes)));
    while began.elapsed() < length && stop.try_recv() == Err(TryRecvError::Empty) {
        let fault = Fault::draw(&mut random, &soak.mesh);
        if let Err(error) = soak.round(fault) {
            soak.broken.push(format!("fault {}, {fault}: {error}", soak.rounds));
            soak.mesh.lab.print_logs();
            break;
        }
    }
    Ok(soak.tell(began.elapsed()))
}

struct Soak {
    args: Args,
    rounds: u32,
    /// How often each fault came, and the longest until all was as wanted again.
    back: BTreeMap<String, (u32, Duration)>,
    broken: Vec<String>,
    growth: Growth,
    /// A validator's connection that outlasts everything.
    stream: Stream,
    _servers: Vec<EchoServer>,
    // Last: it ends all that runs on the hosts.
    mesh: Mesh,
}

impl Soak {
    fn start(args: Args) -> Result<Self, LabError> {
        let mut mesh = Mesh::new("soak", SIZE)?;
        mesh.controller.configure(|text| text + BRAKES)?;
        mesh.start()?;
        mesh.wait_in_force()?;
        mesh.wait_for_tunnels()?;
        let all = SocketAddr::from((Ipv6Addr::UNSPECIFIED, GUARDED));
        let servers = mesh.preps.iter().map(|prep| prep.host.listen_echo(all)).collect::<Result<_, _>>()?;
        let stream = mesh.validators[0].host.stream(mesh.preps[0].host.v4(GUARDED)?)?;
        let growth = Growth::default();
        Ok(Self { args, rounds: 0, back: BTreeMap::new(), broken: Vec::new(), growth, stream, _servers: servers, mesh })
    }

    /// One fault, and all is as wanted again. An error ends the soak.
    fn round(&mut self, fault: Fault) -> Result<(), LabError> {
        self.rounds += 1;
        let knocks = self.knock()?;
        let echoes = self.stream.echoes();
        fault.happen(&mut self.mesh)?;
        let began = Instant::now();
        self.mesh.wait_in_force()?;
        self.mesh.wait_for_tunnels()?;
        self.stream.wait_flowing(SOON)?;
        let took = began.elapsed();
        let heard = knocks.end()?;
        let open: Vec<_> = heard.answers.keys().filter_map(|to| Some((to, heard.window(*to)?))).collect();
        // Whoever takes the whole ruleset away by hand opens the host until the agent has seen it.
        for (to, window) in open.iter().filter(|_| !fault.takes_the_rules()) {
            self.broken.push(format!("fault {}, {fault}: a stranger was let in at {to}, {window:?} long", self.rounds));
        }
        if self.stream.echoes() == echoes {
            self.broken.push(format!("fault {}, {fault}: the validator's connection carried nothing", self.rounds));
        }
        let widest = open.iter().map(|(_, window)| window.as_millis()).max().unwrap_or_default();
        let back = self.back.entry(fault.kind().to_owned()).or_default();
        *back = (back.0 + 1, back.1.max(took));
        self.growth.add(Sample::of(&self.mesh)?);
        let (number, fault, back) = (self.rounds, fault.to_string(), took.as_millis());
        let told = json!({ "fault": number, "what": fault, "back_ms": back, "open_ms": widest });
        self.say(&format!("{number}: {fault}; back after {back} ms, open for {widest} ms"), &told);
        Ok(())
    }

    fn knock(&self) -> Result<Knocks, LabError> {
        let mut ports = Vec::new();
        for agent in self.mesh.agents() {
            ports.extend([agent.host.v4(GUARDED)?, agent.host.v6(GUARDED)?]);
        }
        self.mesh.stranger.knock(&ports)
    }

    /// Prints what came of it; whether it was good.
    fn tell(mut self, lasted: Duration) -> bool {
        for (kind, (times, longest)) in &self.back {
            let longest = longest.as_millis();
            let told = json!({ "kind": kind, "times": times, "longest_back_ms": longest });
            self.say(&format!("{kind}: {times} times, back after {longest} ms at most"), &told);
        }
        for line in self.growth.lines() {
            self.say(&line.to_string(), &json!(line));
            if line.is_a_leak() {
                self.broken.push(format!("it grows: {line}"));
            }
        }
        let silence = self.stream.longest_silence().as_millis();
        self.say(
            &format!("longest silence of the validator's connection: {silence} ms"),
            &json!({ "silence_ms": silence }),
        );
        for broken in &self.broken {
            self.say(&format!("BROKEN: {broken}"), &json!({ "broken": broken }));
        }
        let (seconds, faults, broken) = (lasted.as_secs(), self.rounds, self.broken.len());
        let told = json!({ "seconds": seconds, "faults": faults, "broken": broken, "seed": self.args.seed });
        let line = format!("soak: {faults} faults in {seconds} s, {broken} broken (seed {})", self.args.seed);
        self.say(&line, &told);
        self.broken.is_empty() && self.rounds > 0
    }

    fn say(&self, line: &str, json: &serde_json::Value) {
        if self.args.json {
            println!("{json}");
        } else {
            println!("{line}");
        }
    }
}
