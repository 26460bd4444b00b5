//! The arguments, as types. Nothing is looked up here.

mod ca;

pub(crate) use ca::{Ca, CaVerb, RotateStep};

use crate::time::parse_duration;
use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;
use picket_model::{Generation, NamePattern, NodeId, NodeName, NodeRole, PrepId, TokenId};
use picket_pki::{Fingerprint, OperatorRole};
use reqwest::Url;
use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    num::NonZeroU16,
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

/// Where the controller on this host leaves its operator's context at its first start.
const DEFAULT_CONTEXT: &str = "/var/lib/picket/controller/operator.toml";
/// Longest time the controller lets a revoke wait (`picket_api::operator::RevokeQuery`).
const LONGEST_WAIT: Duration = Duration::from_secs(30);

const EXIT_STATUS: &str = "\
Exit status:
  0  done; for `status`: all hosts are in force and there is no alarm
  1  not done: wrong arguments, no controller, or the controller said no
  2  done, and something wants attention: `status` has an alarm or a host that is not in force,
     `revoke` or `quarantine` is not yet in force on every host, something is still held after `validators approve|release`

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
    pub(crate) verb: Verb,
}

/// Which controller.
#[derive(Debug, Args)]
pub(crate) struct Connection {
    /// Context file
    #[arg(long, global = true, value_name = "FILE", env = "PICKET_CONTEXT", default_value = DEFAULT_CONTEXT)]
    pub(crate) context: PathBuf,
    /// The controller's operator listener, https://host:port
    #[arg(long, global = true, value_parser = parse_url)]
    pub(crate) url: Option<Url>,
    /// Fingerprint of the mesh's CA; with it the token must come from PICKET_TOKEN
    #[arg(long, global = true, value_name = "FINGERPRINT")]
    pub(crate) ca: Option<Fingerprint>,
}

#[derive(Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum Verb {
    /// The one-screen truth: what is wanted, what is in force, what is wrong
    Status,
    /// All hosts: what each should hold and what it has read back
    Nodes(Nodes),
    /// The validator set in force, how it came about, and orders about it
    Validators(Validators),
    /// Join tokens
    #[command(subcommand)]
    Token(TokenVerb),
    /// Keys for machines that run no agent
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
    /// The newest lines of the audit log, newest last
    Events(Events),
    /// Who may ask: people and programs
    #[command(subcommand)]
    Operator(OperatorVerb),
    /// The mesh's CA, and how far its rotation is
    Ca(Ca),
}

#[derive(Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct Nodes {
    #[command(subcommand)]
    pub(crate) verb: Option<NodesVerb>,
}

#[derive(Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum NodesVerb {
    /// Say that you have looked at a host of which a copy came to join: its alarm ends
    Clear {
        /// Its name or id
        node: NodeId,
    },
}

#[derive(Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct Events {
    /// At most so many lines, 1 to 1000; 200 unless you say otherwise
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) limit: Option<u16>,
    /// Only lines before this number, as the oldest line of a page has it
    #[arg(long, value_name = "ID")]
    pub(crate) before: Option<i64>,
    /// Check that no line of the whole log was changed, dropped or put in; prints its head, which is worth keeping elsewhere
    #[arg(long, conflicts_with_all = ["limit", "before"])]
    pub(crate) verify: bool,
}

#[derive(Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum OperatorVerb {
    /// Make an operator's token: a context file on stdout, shown once
    Create {
        /// enroller (join tokens of its own, and the hosts), viewer (everything, no change) or admin
        #[arg(long)]
        role: OperatorRole,
        /// How long it is good for, e.g. 90d; until it is revoked unless you say otherwise
        #[arg(long, value_name = "TIME", value_parser = parse_ttl)]
        expires: Option<Duration>,
        /// Whose it is, for people
        #[arg(long, default_value = "")]
        comment: String,
    },
    /// All operators, without their secrets
    List,
    /// Make an operator's token useless, at once
    Revoke {
        /// Its id, as `picket operator list` names it
        id: TokenId,
    },
}

#[derive(Debug, Default, PartialEq, Eq, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Validators {
    /// Show the entries that were refused, and why
    #[arg(long, conflicts_with = "history")]
    pub(crate) refused: bool,
    /// Show how the set changed, newest last
    #[arg(long)]
    pub(crate) history: bool,
    /// Only changes of this P-Rep
    #[arg(long, value_name = "HX", requires = "history")]
    pub(crate) prep: Option<PrepId>,
    /// At most so many changes, 1 to 1000; 200 unless you say otherwise
    #[arg(long, value_name = "N", requires = "history", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) limit: Option<u16>,
    /// Only changes before this version of the set
    #[arg(long, value_name = "VERSION", requires = "history")]
    pub(crate) before: Option<u64>,
    #[command(subcommand)]
    pub(crate) verb: Option<ValidatorsVerb>,
}

#[derive(Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum ValidatorsVerb {
    /// How the sets of two generations differ
    Diff {
        /// From this generation
        #[arg(value_parser = parse_generation)]
        from: Generation,
        /// To this one
        #[arg(value_parser = parse_generation)]
        to: Generation,
    },
    /// Let exactly the change through that is held back now
    Approve {
        /// Its digest, as `picket validators` names it
        digest: String,
    },
    /// Freeze the set: nothing of the list changes it
    Hold {
        /// Why, in 1 to 200 characters: shown wherever the set is
        #[arg(long, value_name = "TEXT")]
        comment: String,
        /// For how long, e.g. 6h; until it is released unless you say otherwise
        #[arg(long = "for", value_name = "TIME", value_parser = parse_ttl)]
        time: Option<Duration>,
    },
    /// Let the list change the set again
    Release,
}

#[derive(Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct Identities {
    #[command(subcommand)]
    pub(crate) verb: Option<IdentitiesVerb>,
}

#[derive(Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum IdentitiesVerb {
    /// Let it join anew, with other keys: an instance that lost its disk. Its old host stays until it is revoked
    Forget {
        /// As `picket identities` shows it
        #[arg(value_name = "IDENTITY")]
        id: String,
        /// Even though it is forbidden
        #[arg(long)]
        forbidden: bool,
    },
    /// Never let it join, seen before or not. A host that came in with it stays until it is revoked
    Forbid {
        /// aws/ACCOUNT/INSTANCE, gcp/PROJECT/INSTANCE or oidc/ISSUER#SUBJECT
        #[arg(value_name = "IDENTITY")]
        id: String,
    },
}

#[derive(Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum TokenVerb {
    /// Make a join token: alone on stdout, how to use it on stderr
    Create {
        /// The only role it admits: sentry or prep
        #[arg(long)]
        role: NodeRole,
        /// How long it is good for, e.g. 90s, 15m, 1h30m
        #[arg(long, visible_alias = "expires", default_value = "1h", value_parser = parse_ttl)]
        ttl: Duration,
        /// How many hosts may enrol with it
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        uses: u32,
        /// Which names they may have, * standing for anything, e.g. 'sentry-*'
        #[arg(long, value_name = "PATTERN")]
        name: Option<NamePattern>,
        /// Network in which they must be seen; may be given several times
        #[arg(long, value_name = "NETWORK")]
        from: Vec<IpNet>,
        /// How long they are members without being heard, e.g. 10m, or `none` for ever; their role's own unless you say
        /// otherwise
        #[arg(long, value_name = "TIME", value_parser = parse_lease)]
        lease: Option<Duration>,
        /// What it is for, for people
        #[arg(long, default_value = "")]
        comment: String,
    },
    /// Join tokens as they are kept, oldest first
    List,
    /// Make a join token useless; hosts that joined by it stay
    Revoke {
        /// Its id, as `picket token list` names it
        id: TokenId,
    },
}

#[derive(Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum KeysVerb {
    /// Make a key here, enter its public half, and print a wg-quick configuration: the private key is in it and nowhere else
    Issue {
        /// What the machine is called
        #[arg(long)]
        name: NodeName,
        /// Its part: sentry or prep
        #[arg(long)]
        role: NodeRole,
        /// Where it is dialled, IP:PORT; needed for a sentry
        #[arg(long, value_name = "IP:PORT")]
        endpoint: Option<SocketAddr>,
    },
}

/// Whom `explain` is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) address: IpAddr,
    pub(crate) port: Option<NonZeroU16>,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // An IPv6 address with a port needs its brackets: 2001:db8::1:7100 is an address.
        let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let address = text.parse().ok().or_else(|| bracketed?.parse::<Ipv6Addr>().ok().map(IpAddr::from));
        if let Some(address) = address {
            return Ok(Self { address, port: None });
        }
        match text.parse::<SocketAddr>().map(|both| (both.ip(), NonZeroU16::new(both.port()))) {
            Ok((address, Some(port))) => Ok(Self { address, port: Some(port) }),
            Ok((_, None)) => Err("port 0 is no port; give 1 to 65535".to_owned()),
            Err(_) => {
                Err("give an address, as in 192.0.2.1, 192.0.2.1:7100, 2001:db8::1 or [2001:db8::1]:7100".to_owned())
            }
        }
    }
}

/// A controller's URL: https, since the token travels with every call.
pub(crate) fn parse_url(text: &str) -> Result<Url, String> {
    let example = "give it as https://host:port";
    let url = Url::parse(text).map_err(|error| format!("{error}; {example}"))?;
    if url.scheme() == "https" { Ok(url) } else { Err(format!("the scheme is not https; {example}")) }
}

fn parse_generation(text: &str) -> Result<Generation, String> {
    text.parse().map(Generation).map_err(|_| "give a generation's number, as `picket status` shows it".to_owned())
}

fn parse_wait(text: &str) -> Result<Duration, String> {
    let wait = parse_duration(text)?;
    if wait <= LONGEST_WAIT { Ok(wait) } else { Err("the controller waits 30s at most".to_owned()) }
}

fn parse_reason(text: &str) -> Result<String, String> {
    let fits = (1..=200).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    if fits { Ok(text.to_owned()) } else { Err("give one line of 1 to 200 characters".to_owned()) }
}

fn parse_lease(text: &str) -> Result<Duration, String> {
    if text == "none" { Ok(Duration::ZERO) } else { parse_ttl(text) }
}

fn parse_ttl(text: &str) -> Result<Duration, String> {
    let ttl = parse_duration(text)?;
    if ttl >= Duration::from_secs(1) { Ok(ttl) } else { Err("give 1s or more".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn verb(line: &str) -> Result<Verb, String> {
        let words = std::iter::once("picket").chain(line.split_whitespace());
        Arguments::try_parse_from(words).map(|arguments| arguments.verb).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_verb_is_understood() {
        let check = |line: &str, expect: Verb| assert_eq!(verb(line).unwrap(), expect, "{line}");
        check("status", Verb::Status);
        check("nodes --json", Verb::Nodes(Nodes::default()));
        let clear = NodesVerb::Clear { node: "sentry-1".parse().unwrap() };
        check("nodes clear sentry-1 --reason looked", Verb::Nodes(Nodes { verb: Some(clear) }));
        let validators = |validators| Verb::Validators(validators);
        check("validators", validators(Validators::default()));
        check("validators --refused", validators(Validators { refused: true, ..Validators::default() }));
        let prep = format!("hx{}", "1".repeat(40));
        let history = Validators {
            history: true,
            prep: prep.parse().ok(),
            limit: Some(5),
            before: Some(9),
            ..Validators::default()
        };
        check(&format!("validators --history --prep {prep} --limit 5 --before 9"), validators(history));
        let order = |verb| Verb::Validators(Validators { verb: Some(verb), ..Validators::default() });
        let diff = ValidatorsVerb::Diff { from: Generation(3), to: Generation(7) };
        check("validators diff 3 7 --json", order(diff));
        check("--json validators release", order(ValidatorsVerb::Release));
        check("validators approve 0123456789ab", order(ValidatorsVerb::Approve { digest: "0123456789ab".to_owned() }));
        let hold = |time| order(ValidatorsVerb::Hold { comment: "incident".to_owned(), time });
        check("validators hold --comment incident", hold(None));
        check("validators hold --comment incident --for 6h", hold(Some(Duration::from_secs(6 * 3600))));
        let create = |role, ttl, uses| {
            let (name, from, lease, comment) = (None, Vec::new(), None, String::new());
            Verb::Token(TokenVerb::Create { role, ttl: Duration::from_secs(ttl), uses, name, from, lease, comment })
        };
        let narrow = TokenVerb::Create {
            role: NodeRole::Sentry,
            ttl: Duration::from_secs(3600),
            uses: 20,
            name: Some("sentry-*".parse().unwrap()),
            from: vec!["203.0.113.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
            lease: Some(Duration::from_secs(600)),
            comment: "eu".to_owned(),
        };
        let line = "token create --role sentry --uses 20 --expires 1h --name sentry-* --from 203.0.113.0/24 \
                    --from 2001:db8::/32 --lease 10m --comment eu";
        check(line, Verb::Token(narrow));
        check("token list", Verb::Token(TokenVerb::List));
        check("token revoke t-1", Verb::Token(TokenVerb::Revoke { id: "t-1".parse().unwrap() }));
        check("token create --role sentry", create(NodeRole::Sentry, 3600, 1));
        check("token create --role prep --ttl 15m --uses 3", create(NodeRole::Prep, 900, 3));
        let (node, two) = (|| "sentry-1".parse().unwrap(), Duration::from_secs(2));
        check("revoke sentry-1", Verb::Revoke { node: node(), wait: two });
        check("revoke sentry-1 --wait 500ms --reason x", Verb::Revoke { node: node(), wait: two / 4 });
        check("quarantine sentry-1", Verb::Quarantine { node: node(), wait: two });
        check("readmit sentry-1", Verb::Readmit { node: node() });
        let target = Target { address: "192.0.2.1".parse().unwrap(), port: NonZeroU16::new(7100) };
        check("explain 192.0.2.1:7100", Verb::Explain { target, generation: None });
        check("explain 192.0.2.1:7100 --generation 7", Verb::Explain { target, generation: Some(Generation(7)) });
        let identities = |verb| Verb::Identities(Identities { verb });
        check("identities", identities(None));
        let id = || "aws/1/i-1".to_owned();
        check("identities forget aws/1/i-1", identities(Some(IdentitiesVerb::Forget { id: id(), forbidden: false })));
        let forget = IdentitiesVerb::Forget { id: id(), forbidden: true };
        check("identities forget --forbidden aws/1/i-1", identities(Some(forget)));
        check("identities forbid aws/1/i-1", identities(Some(IdentitiesVerb::Forbid { id: id() })));
        check("--json events", Verb::Events(Events::default()));
        check("events --limit 5 --before 9", Verb::Events(Events { limit: Some(5), before: Some(9), verify: false }));
        check("events --verify", Verb::Events(Events { verify: true, ..Events::default() }));
        let ninety = Some(Duration::from_secs(90 * 24 * 3600));
        let operator = OperatorVerb::Create { role: OperatorRole::Enroller, expires: ninety, comment: "ci".to_owned() };
        check("operator create --role enroller --expires 90d --comment ci", Verb::Operator(operator));
        check("operator revoke op-1", Verb::Operator(OperatorVerb::Revoke { id: "op-1".parse().unwrap() }));
        let issue = KeysVerb::Issue { name: "laptop".parse().unwrap(), role: NodeRole::Prep, endpoint: None };
        check("keys issue --name laptop --role prep", Verb::Keys(issue));
    }

    #[test]
    fn wrong_arguments_are_refused_with_the_reason() {
        let check = |line: &str, expect: &str| {
            let error = verb(line).unwrap_err();
            assert!(error.contains(expect), "{line}: {error}");
        };
        check("token create", "--role");
        check("token create --role king", "sentry or prep");
        check("token create --role prep --ttl 90", "has no unit");
        check("token create --role prep --ttl 10ms", "1s or more");
        check("token create --role prep --uses 0", "0 is not in");
        check("token create --role sentry --lease 10", "has no unit");
        check("token create --role sentry --name Sentry", "name pattern");
        check("events --verify --limit 3", "cannot be used with");
        check("operator create", "--role");
        check("status --reason \u{1}", "one line");
        check("revoke ../tokens", "is not 1 to 64 characters");
        check("revoke sentry-1 --wait 31s", "30s at most");
        check("status --url http://controller:8443", "not https");
        check("status --url controller", "https://host:port");
        check("status --ca abc", "64 lower-case hexadecimal digits");
        check("explain 192.0.2.1:0", "port 0");
        check("explain 192.0.2.1 --generation last", "`picket status` shows it");
        check("validators hold", "--comment");
        check("validators hold --comment x --for 6", "has no unit");
        check("validators --prep hx11", "hx11");
        check("validators --limit 5", "--history");
        check("validators --history --limit 0", "0 is not in");
        check("validators --history --refused", "cannot be used with");
        check("validators --refused release", "cannot be used with");
    }

    #[test]
    fn targets_are_addresses_with_or_without_a_port() {
        let check = |text: &str, expect: Option<(&str, Option<u16>)>| {
            let found = text.parse::<Target>().ok().map(|t| (t.address.to_string(), t.port.map(NonZeroU16::get)));
            assert_eq!(found, expect.map(|(address, port)| (address.to_owned(), port)), "{text}");
        };
        check("192.0.2.1", Some(("192.0.2.1", None)));
        check("192.0.2.1:7100", Some(("192.0.2.1", Some(7100))));
        check("2001:db8::1", Some(("2001:db8::1", None)));
        check("2001:db8::1:7100", Some(("2001:db8::1:7100", None)));
        check("[2001:db8::1]", Some(("2001:db8::1", None)));
        check("[2001:db8::1]:7100", Some(("2001:db8::1", Some(7100))));
        for wrong in
            ["", "localhost", "192.0.2.1:", "192.0.2.1:65536", "[192.0.2.1]", "[2001:db8::1", "2001:db8::1%eth0"]
        {
            check(wrong, None);
        }
    }
}
