//! The command line of both agents, and what becomes of each command. The role is given by the program, not the user.

mod options;

pub use options::{EnrollOptions, GoloopOptions, how_to_join};

use crate::{
    capture, dry_run,
    enroll::enroll,
    host, leave, lockdown, rekey, release, run,
    state::StateDir,
    status, trust_by_hand, vouch,
    watch::{self, Board},
    wg_bench,
};
use anyhow::{Context as _, Result, bail};
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use picket_attest::IdentityId;
use picket_firewall::{Features, HostFacts, InterfaceName, features::LOG_GROUP};
use picket_manual::Manual;
use picket_model::NodeRole;
use picket_pki::Fingerprint;
use picket_telemetry::{Collector, ask_ready};
use picket_wireguard::Preference;
use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};
use tokio::task::JoinSet;

const SENTRY: &str = "picket-sentry-agent";
const PREP: &str = "picket-prep-agent";
/// sysexits.h EX_CONFIG: a service manager need not start a revoked host's agent again.
const REVOKED: u8 = 78;

/// Carries out the command line of the agent for `role`.
pub fn main(role: NodeRole) -> ExitCode {
    let command = command_of(role);
    let program = match role {
        NodeRole::Sentry => SENTRY,
        NodeRole::Prep => PREP,
    };
    let cli = match Cli::from_arg_matches(&command.get_matches()) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    match carry_out(cli, role, program) {
        Ok(run::End::Stopped | run::End::Left) => ExitCode::SUCCESS,
        Ok(run::End::Revoked) => {
            eprintln!(
                "{program}: this host was revoked: its tunnels are gone and guarded ports are closed; it stays so until it is enrolled anew"
            );
            ExitCode::from(REVOKED)
        }
        Err(error) => {
            eprintln!("{program}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The command line of the program for `role`, as its manual shows it too.
fn command_of(role: NodeRole) -> clap::Command {
    let (program, about) = match role {
        NodeRole::Sentry => (SENTRY, "Keeps a sentry's tunnels and firewall as the mesh wants them"),
        NodeRole::Prep => (PREP, "Keeps a validator's tunnels and firewall as the mesh wants them"),
    };
    Cli::command().name(program).bin_name(program).about(about)
}

#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

/// Where the agent's files and its interface are.
#[derive(Args)]
pub struct Place {
    /// Folder of identity, keys and ledger.
    #[arg(long, global = true, value_name = "DIR", env = "PICKET_STATE_DIR", default_value = "/var/lib/picket/agent")]
    pub state_dir: PathBuf,
    /// Rules no controller may break [default: /etc/picket/guard.toml, if there is one].
    #[arg(long, global = true, value_name = "FILE", env = "PICKET_GUARD")]
    pub guard: Option<PathBuf>,
    /// WireGuard interface of the mesh.
    #[arg(long, global = true, value_name = "NAME", default_value = "picket0")]
    pub interface: InterfaceName,
    /// Netlink group that hears of some of the refused packets, for `nflog` programs; the agent listens to the one after it. 0 for
    /// none.
    #[arg(long, global = true, value_name = "GROUP", env = "PICKET_LOG_GROUP", default_value_t = LOG_GROUP)]
    pub log_group: u16,
}

impl Place {
    /// What lowering has to know, with all that is asked of the kernel.
    pub fn host_facts(&self) -> HostFacts {
        let log_group = Some(self.log_group).filter(|group| *group != 0);
        HostFacts { overlay_interface: self.interface.clone(), features: Features { log_group, ..Features::default() } }
    }
}

#[derive(Subcommand)]
enum Command {
    /// Join a mesh, with a join token or a proof of identity.
    Enroll(Box<EnrollOptions>),
    /// Keep this host as the mesh wants it, until stopped.
    Run {
        /// Which WireGuard carries the tunnels: auto, kernel or userspace.
        #[arg(long, value_name = "ENGINE", default_value = "auto")]
        wireguard: Preference,
        /// On SIGTERM or SIGINT leave the mesh for good: for hosts that an autoscaling group ends.
        #[arg(long, env = "PICKET_LEAVE_ON_STOP")]
        leave_on_stop: bool,
        /// Make another key for the tunnels when the one in use is so many days old, as `rotate-key` does.
        #[arg(long, value_name = "DAYS", env = "PICKET_ROTATE_KEY_DAYS", value_parser = clap::value_parser!(u16).range(1..=3650))]
        rotate_key_days: Option<u16>,
        /// Where to answer `/health`, `/ready` and `/metrics`: on loopback, or inside the mesh for who watches from there. `off`
        /// for nowhere.
        #[arg(long, value_name = "IP:PORT", env = "PICKET_HEALTH", default_value = "127.0.0.1:7447")]
        health: watch::Place,
        /// Where to answer a load balancer `/ready`, 200 or 503 and nothing else; nowhere unless it is given.
        #[arg(long, value_name = "IP:PORT", env = "PICKET_READY")]
        ready: Option<SocketAddr>,
        /// OpenTelemetry collector to send traces to, as OTLP over HTTP: http://127.0.0.1:4318. Nowhere unless it is given.
        #[arg(long, value_name = "URL", env = "PICKET_TRACES")]
        traces: Option<Collector>,
        #[command(flatten)]
        goloop: GoloopOptions,
    },
    /// Ask the agent that runs on this host whether it is ready, as a container's health check does; exit status 0 where it is.
    Ready {
        /// Where it answers.
        #[arg(long, value_name = "IP:PORT", env = "PICKET_HEALTH", default_value = "127.0.0.1:7447")]
        health: watch::Place,
    },
    /// Leave the mesh for good: its tunnels end everywhere, and its name is free again. Guarded ports close.
    Leave,
    /// Make another key for the tunnels; the agent that runs takes it into use once every peer knows it.
    RotateKey,
    /// Trust another CA than the one this host pins: after a rotation that it was away for. The agent must not run.
    Trust {
        /// The mesh's CA, as `picket-controller fingerprint` prints it; from somebody you believe.
        #[arg(long, value_name = "HEX")]
        ca_fingerprint: Fingerprint,
    },
    /// Close guarded ports before the network is up: the last known firewall, or all closed.
    Lockdown,
    /// The firewall this host is to have.
    Rules {
        #[command(subcommand)]
        command: Rules,
    },
    /// What this host holds, and what its agent last read back.
    Status {
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Knock at another host's ports from here, for `picket audit --found`: changes nothing and asks no controller.
    Probe {
        /// The other host, by an address outside or inside the tunnels.
        address: IpAddr,
        /// One more TCP port to try beside those that this host guards and some usual ones.
        #[arg(long = "port", value_name = "PORT")]
        ports: Vec<NonZeroU16>,
    },
    /// Write samples of refused packets to a capture file, for tcpdump or Wireshark; the agent goes on meanwhile.
    Capture {
        /// The file; - for standard output.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Ends after so many packets.
        #[arg(long, value_name = "N", default_value_t = 1000)]
        count: u64,
        /// Ends after so many seconds.
        #[arg(long = "for", value_name = "SECONDS", default_value_t = 60)]
        seconds: u32,
    },
    /// Peers whose proofs of identity this host's guard has looked at.
    Proofs {
        #[command(subcommand)]
        command: Option<Proofs>,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// The WireGuard engines of this host.
    Wg {
        #[command(subcommand)]
        command: Wg,
    },
    /// Open every guarded port of this host to everybody, until `close`; asks first.
    Release {
        /// Do it without asking.
        #[arg(long)]
        yes: bool,
    },
    /// End a release: the host's firewall is in force again.
    Close,
    /// Remove firewall table and tunnel device: opens every guarded port.
    Uninstall {
        /// Do it.
        #[arg(long)]
        yes: bool,
    },
    #[command(flatten)]
    Manual(Manual),
}

impl Command {
    /// Whether it needs the right to. Enrolment does: a host that cannot carry out what it is told shall not use a token.
    fn touches_the_network(&self) -> bool {
        !matches!(
            self,
            Self::Status { .. }
                | Self::Ready { .. }
                | Self::Probe { .. }
                | Self::Proofs { .. }
                | Self::Trust { .. }
                | Self::RotateKey
                | Self::Manual(_)
                | Self::Rules { command: Rules::Show { diff: false, dry_run: false, load: false, .. } }
        )
    }
}

#[derive(Subcommand)]
enum Wg {
    /// Measure each engine between two networks of its own, which end with it: throughput, its price, latency.
    Bench {
        /// How long each of three parts takes, for each engine.
        #[arg(long, value_name = "SECONDS", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=60))]
        seconds: u8,
        /// One JSON object for each engine.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
enum Proofs {
    /// Let an instance that was set up anew come with another key; the agent must not run meanwhile.
    Forget {
        /// As `proofs` shows it, aws/ACCOUNT/INSTANCE for one.
        identity: IdentityId,
    },
}

#[derive(Subcommand)]
enum Rules {
    /// Print it as nft text.
    Show {
        /// One JSON object, with the reason for each address.
        #[arg(long)]
        json: bool,
        /// Print what would have to change in the kernel instead, as `rules diff` does.
        #[arg(long, conflicts_with = "dry_run")]
        diff: bool,
        /// Have guard, nft and kernel judge it instead, and print what would change; nothing does. Fails where one of them
        /// would refuse.
        #[arg(long)]
        dry_run: bool,
        /// Print it for `nft -f` instead, as this kernel takes it, in the place of the table that is in force: without a change
        /// on trial where no agent runs.
        #[arg(long, conflicts_with_all = ["json", "diff", "dry_run"])]
        load: bool,
    },
    /// Print what would have to change in the kernel.
    Diff {
        /// A JSON list.
        #[arg(long)]
        json: bool,
    },
}

fn carry_out(cli: Cli, role: NodeRole, program: &str) -> Result<run::End> {
    let Cli { place, command } = cli;
    if command.touches_the_network() {
        host::require_network_admin()?;
    }
    // Logs are for what runs unattended; the other commands speak for themselves.
    let collector = match &command {
        Command::Run { traces, .. } => Some(traces.as_ref()),
        Command::Lockdown => Some(None),
        _ => None,
    };
    let _telling = collector.map(|to| picket_telemetry::init(program, env!("CARGO_PKG_VERSION"), to)).transpose()?;
    // The agent's loop runs on the main thread; tunnels in this process and connections on a worker, so that neither
    // waits for the other.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("start the runtime")?;
    runtime.block_on(async {
        match command {
            Command::Run { wireguard, leave_on_stop, rotate_key_days, health, ready, goloop, traces: _ } => {
                let leaving = leave::Leaving::when(leave_on_stop);
                let every = rotate_key_days.map(|days| Duration::from_hours(24 * u64::from(days)));
                let (watched, board) = (goloop.watched(), Board::new(program));
                let mut answering = JoinSet::new();
                answering.spawn(board.clone().serve(health));
                if let Some(address) = ready {
                    answering.spawn(board.clone().serve_ready(address));
                }
                return tokio::select! {
                    ended = run::run(&place, wireguard, (goloop.beside(role)?, watched), (role, leaving), board) => ended,
                    never = rekey::keep_fresh(StateDir::new(&place.state_dir), every) => match never {},
                };
            }
            Command::Ready { health: watch::Place::At(address) } => ask_ready(address).await?,
            Command::Ready { health: watch::Place::Off } => {
                bail!("PICKET_HEALTH is off: the agent of this host answers nowhere whether it is ready")
            }
            Command::RotateKey => println!("{}", rekey::rotate(&place)?),
            Command::Trust { ca_fingerprint } => println!("{}", trust_by_hand::trust(&place, ca_fingerprint).await?),
            Command::Leave => println!("{}", leave::leave(&place).await?),
            Command::Enroll(options) => println!("{}", enroll(&place, &options, role).await?),
            Command::Lockdown => lockdown::lockdown(&place).await?,
            Command::Rules { command: Rules::Show { json, dry_run: true, .. } } => {
                dry_run::dry_run(&place, json).await?;
            }
            Command::Rules { command: Rules::Show { json, diff: true, .. } | Rules::Diff { json } } => {
                status::diff_rules(&place, json).await?;
            }
            Command::Rules { command: Rules::Show { load: true, .. } } => status::load_rules(&place).await?,
            Command::Rules { command: Rules::Show { json, .. } } => status::show_rules(&place, json)?,
            Command::Status { json } => status::status(&place, json)?,
            Command::Probe { address, ports } => println!("{}", status::probe(&place, address, &ports)?),
            Command::Capture { file, count, seconds } => {
                let lasts = Duration::from_secs(seconds.into());
                eprintln!("{}", capture::capture(&place, &file, count, lasts).await?);
            }
            Command::Proofs { command: Some(Proofs::Forget { identity }), .. } => vouch::forget(&place, &identity)?,
            Command::Proofs { command: None, json } => vouch::list(&place, json)?,
            Command::Wg { command: Wg::Bench { seconds, json } } => {
                wg_bench::run(Duration::from_secs(seconds.into()), json)?;
            }
            Command::Release { yes } => println!("{}", release::release(&place, yes, host::now()).await?),
            Command::Close => println!("{}", release::close(&place).await?),
            Command::Uninstall { yes } => lockdown::uninstall(&place, yes).await?,
            Command::Manual(manual) => manual.write(command_of(role))?,
        }
        Ok(run::End::Stopped)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn both_programs_have_their_manual() {
        for role in [NodeRole::Sentry, NodeRole::Prep] {
            let folder = tempfile::tempdir().unwrap();
            Manual::Man { out: folder.path().to_owned() }.write(command_of(role)).unwrap();
            for verb in ["", "-enroll", "-run", "-lockdown", "-rules-show", "-status", "-release"] {
                let page = folder.path().join(format!("picket-{role}-agent{verb}.1"));
                assert!(page.is_file(), "{}", page.display());
            }
        }
        let parse = |line: &str| Cli::try_parse_from(line.split(' ')).unwrap().command;
        assert!(!parse("agent completions bash").touches_the_network());
        assert!(!parse("agent man --out x").touches_the_network());
    }

    #[test]
    fn measuring_engines_needs_the_right_to_make_networks() {
        let command = |line: &str| Cli::try_parse_from(line.split(' ')).unwrap().command;
        assert!(command("agent wg bench --seconds 1 --json").touches_the_network());
        assert!(Cli::try_parse_from("agent wg bench --seconds 0".split(' ')).is_err());
    }

    #[test]
    fn a_proof_takes_the_place_of_a_token() {
        let parse = |more: &str| {
            let line = format!("agent enroll --controller https://192.0.2.1:7443 {more}");
            Cli::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())
        };
        let ca = format!("--ca-fingerprint {}", "ab".repeat(32));
        for good in ["--proof aws", "--proof gcp --metadata http://192.0.2.9", "--proof oidc --proof-file token"] {
            let Command::Enroll(options) = parse(&format!("{ca} {good}")).unwrap().command else { panic!() };
            assert!(options.proof.chosen().unwrap().is_some(), "{good}");
        }
        for (bad, expect) in [
            ("--proof aws", "--ca-fingerprint <HEX>"),
            ("--proof azure --ca-fingerprint ab", "aws-sts"),
            (&format!("{ca} --proof aws --token x"), "cannot be used with"),
            (&format!("{ca} --proof oidc --proof-file a --proof-command b"), "cannot be used with"),
            (&format!("{ca} --proof-file a"), "--proof <KIND>"),
        ] {
            let error = parse(bad).err().unwrap();
            assert!(error.contains(expect), "{bad}: {error}");
        }
    }

    #[test]
    fn a_wrong_token_is_never_quoted() {
        let arguments = ["agent", "enroll", "--controller", "https://192.0.2.1:7400", "--token", "hunter2"];
        let Command::Enroll(options) = Cli::try_parse_from(arguments).unwrap().command else { panic!() };
        let error = format!("{:#}", options.token().unwrap_err());
        assert!(error.contains("begins with `picket1.`") && !error.contains("hunter2"), "{error}");
    }

    /// The file is held against what the module writes by `cargo xtask test --terraform`.
    #[test]
    fn the_command_lines_that_terraform_writes_are_understood() {
        let script = include_str!("../../../terraform/tests/sentry-user-data.sh").replace("\\\n", " ");
        let instance = "$(/usr/local/lib/picket/metadata instance-id)";
        let (enroll, lines): (Vec<_>, Vec<_>) = script
            .lines()
            .filter_map(|line| line.split_once("picket-sentry-agent "))
            .map(|(_, rest)| rest.replace(instance, "i-0123456789abcdef0").replace(['\'', '"'], ""))
            .filter(|rest| ["enroll", "run", "lockdown"].iter().any(|command| rest.starts_with(command)))
            .partition(|rest| rest.starts_with("enroll"));
        let parse = |rest: &str| Cli::try_parse_from(["agent"].into_iter().chain(rest.split_whitespace()));
        assert_eq!(lines, ["lockdown", "run"]);
        lines.iter().for_each(|line| assert!(parse(line).is_ok(), "{line}"));
        let [enroll] = enroll.as_slice() else { panic!("{enroll:?}") };
        let Command::Enroll(options) = parse(enroll).unwrap().command else { panic!() };
        assert_eq!(options.proof.chosen().unwrap().unwrap().0, crate::proof::ProofKind::Aws);
        assert_eq!(options.name.unwrap().as_str(), "mesh-edge-i-0123456789abcdef0");
        assert!(script.contains("Environment=PICKET_LEAVE_ON_STOP=true"));
        let ready = script.lines().find_map(|line| line.strip_prefix("Environment=PICKET_READY=")).unwrap();
        assert!(ready.parse::<SocketAddr>().is_ok(), "{ready}");
    }
}
