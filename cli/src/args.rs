//! The arguments, as types. Nothing is looked up here. What a verb with verbs of its own takes is in the file of its subject.

mod attack;
mod ca;
mod explain;
mod hosts;
mod operators;
mod parse;
mod paths;
mod plan;
mod shield;
#[cfg(test)]
mod tests;
mod validators;

pub(crate) use attack::{Attack, AttackVerb, Format};
pub(crate) use ca::{Ca, CaVerb, RotateStep};
pub(crate) use explain::{Events, Target};
pub(crate) use hosts::{Identities, IdentitiesVerb, KeysVerb, Nodes, NodesVerb, TokenVerb};
pub(crate) use operators::OperatorVerb;
pub(crate) use parse::parse_url;
pub(crate) use paths::{Drain, Paths};
pub(crate) use plan::{Plan, PlanVerb};
pub(crate) use shield::Shield;
pub(crate) use validators::{Validators, ValidatorsVerb};

use crate::{cloud_init::CloudInit, doctor, init::Init};
use clap::{Args, Parser, Subcommand};
use parse::{parse_generation, parse_reason, parse_wait};
use picket_manual::Manual;
use picket_model::{Generation, NodeId};
use picket_pki::Fingerprint;
use reqwest::Url;
use std::{net::IpAddr, num::NonZeroU16, path::PathBuf, time::Duration};

/// Where the controller on this host leaves its operator's context at its first start.
const DEFAULT_CONTEXT: &str = "/var/lib/picket/controller/operator.toml";

const EXIT_STATUS: &str = "\
Exit status:
  0  done; for `status`: all hosts are in force and there is no alarm
  1  not done: wrong arguments, no controller, or the controller said no
  2  done, and something wants attention: `status` has an alarm or a host that is not in force,
     `revoke` or `quarantine` is not yet in force on every host, something is still held after `validators approve|release`,
     an order of `shield` is not yet in force on every host it is for, a host still sends something through a sentry that
     `drain` has it leave, `plan --dry-run` found a plan that would be stopped,
     `audit` found a port that is not as promised, or nothing that answers,
     `doctor` found something bad (--strict: or a warning), `advertise` found something wrong, `dns` has a name that is not as it shall be,
     the controller's database does not answer, and what is shown is what the controller said before (its age is on stderr)

The controller is found by a context file (url, ca_fingerprint, token), which the controller writes at its
first start. --url and --ca go before what the file says, as does the token in PICKET_TOKEN.";

/// See and steer a Picket mesh.
#[derive(Debug, Parser)]
#[command(name = "picket", version, after_help = EXIT_STATUS, propagate_version = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Why, in one line: for the audit log, with whatever changes something
    #[arg(long, global = true, value_name = "TEXT", value_parser = parse_reason)]
    pub(crate) reason: Option<String>,
    /// Print the controller's answer as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Every verb, by whom it needs.
#[derive(Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Mesh(Verb),
    #[command(flatten)]
    Here(Here),
}

/// What is done on this machine, without a controller.
#[derive(Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum Here {
    /// What of this machine would keep it from its part in a mesh, why that matters, and how to mend it; changes nothing
    Doctor(doctor::Asked),
    /// Write the files of a mesh: the controller's configuration, an Ansible inventory, Terraform variables; asks where flags do not say
    Init(Box<Init>),
    /// User data (cloud-init's) with which a new machine becomes a member, without a secret in it
    CloudInit(Box<CloudInit>),
    /// The controllers that have a name here: `--context NAME`, or PICKET_CONTEXT=NAME, asks one of them
    Contexts,
    #[command(flatten)]
    Manual(Manual),
}

/// Which controller.
#[derive(Debug, Args)]
pub(crate) struct Connection {
    /// Context file, or the name of one in ~/.config/picket/contexts, as `contexts` lists them
    #[arg(long, global = true, value_name = "FILE or NAME", env = "PICKET_CONTEXT", default_value = DEFAULT_CONTEXT)]
    pub(crate) context: PathBuf,
    /// The controller's operator listener, https://host:port
    #[arg(long, global = true, value_parser = parse_url)]
    pub(crate) url: Option<Url>,
    /// Fingerprint of the mesh's CA; with it the token must come from PICKET_TOKEN
    #[arg(long, global = true, value_name = "FINGERPRINT")]
    pub(crate) ca: Option<Fingerprint>,
}

/// What is asked of a controller.
#[derive(Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum Verb {
    /// The one-screen truth: what is wanted, what is in force, what is wrong
    Status {
        /// Look again every two seconds, until somebody ends it; as JSON one line each
        #[arg(long)]
        watch: bool,
    },
    /// Hosts, flows, drops and attacks on a full screen, as they change: 1 to 4 or tab turn the page, q ends it
    Top,
    /// All hosts: what each should hold and what it has read back
    Nodes(Nodes),
    /// The validator set in force, how it came about, and orders about it
    Validators(Validators),
    /// Join tokens
    #[command(subcommand)]
    Token(TokenVerb),
    /// Keys for machines that run no agent, and other keys for hosts that do
    #[command(subcommand)]
    Keys(KeysVerb),
    /// Cut a host from the mesh for good and wait until its peers say so
    Revoke {
        /// Its name or id
        node: NodeId,
        /// How long to wait for the peers, e.g. 500ms; at most 30s
        #[arg(long, default_value = "2s", value_parser = parse_wait)]
        wait: Duration,
    },
    /// Take a host's tunnels and grants and wait until its peers say so; it stays a member and goes on reporting
    Quarantine {
        /// Its name or id
        node: NodeId,
        /// How long to wait for the peers, e.g. 500ms; at most 30s
        #[arg(long, default_value = "2s", value_parser = parse_wait)]
        wait: Duration,
    },
    /// End a host's quarantine: it gets its tunnels and grants back
    Readmit {
        /// Its name or id
        node: NodeId,
    },
    /// Identities that clouds and token issuers vouched for, and orders about them
    Identities(Identities),
    /// Would this address reach which guarded port on which host, and why
    Explain {
        /// ADDR, ADDR:PORT, [V6]:PORT or V6; without a port, all guarded ports
        #[arg(value_name = "ADDR[:PORT]")]
        target: Target,
        /// By this past generation: by the set, the policy and the refused entries of then
        #[arg(long, value_name = "N", value_parser = parse_generation)]
        generation: Option<Generation>,
    },
    /// What changed between two plans, and what another configuration would change
    Plan(Plan),
    /// Tighten limits while hosts are attacked, for all or some, and see how they stand
    Shield(Shield),
    /// What hosts refuse and whom: sources by address and by network, rates, which limits act; and that as a blocklist
    Attack(Attack),
    /// Have hidden validators leave a sentry before it goes: nothing that can be kept is lost
    Drain(Drain),
    /// Hidden validators' ways: which sentry carries what, since when and why, and how the way through each stands
    Paths(Paths),
    /// Knock at a host's ports from this machine, and hold what is open against what the plan says for its address
    Audit {
        /// Its name or id
        node: NodeId,
        /// Where it is; the endpoint of its tunnels unless you say otherwise
        #[arg(long, value_name = "IP")]
        address: Option<IpAddr>,
        /// One more port to try
        #[arg(long = "port", value_name = "PORT")]
        ports: Vec<NonZeroU16>,
        /// What another host found, as `picket-*-agent probe` prints it there; - for standard input. With --address where the
        /// controller does not know the address at which it knocked
        #[arg(long, value_name = "FILE", conflicts_with = "ports")]
        found: Option<PathBuf>,
    },
    /// What the operator of a hidden validator must set, and whether chain, name, sentries and the way through them agree
    Advertise {
        /// Name or id of the validator's host; all hidden ones unless you say otherwise
        #[arg(value_name = "PREP")]
        prep: Option<NodeId>,
        /// What another host found at an address, as `picket-*-agent probe` prints it there; - for standard input
        #[arg(long, value_name = "FILE")]
        found: Vec<PathBuf>,
    },
    /// Names that follow the sentries: what stands there, what shall, and why a sentry is not in one
    Dns,
    /// The newest lines of the audit log, newest last
    Events(Events),
    /// Who may ask: people and programs
    #[command(subcommand)]
    Operator(OperatorVerb),
    /// The mesh's CA, and how far its rotation is
    Ca(Ca),
}

impl Verb {
    /// Whether it writes on the terminal by itself as long as it runs.
    pub(crate) fn draws_itself(&self) -> bool {
        matches!(self, Self::Top | Self::Status { watch: true } | Self::Events(Events { follow: true, .. }))
    }
}
