//! Rules and expressions as `nft -j` lists them, read back into ours. Understood to the last word, or not ours.

use crate::{Family, Log, Match, Measure, Metered, Rate, Rule, Source, Verdict};
use serde::Deserialize;
use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
};

#[derive(Deserialize)]
pub(crate) struct RuleObject {
    chain: String,
    expr: Vec<Statement>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Statement {
    Match {
        op: String,
        left: Expression,
        right: Compared,
    },
    Counter(String),
    Accept,
    Drop,
    Goto {
        target: String,
    },
    Jump {
        target: String,
    },
    Log {
        prefix: String,
        group: u16,
    },
    Limit(LimitStatement),
    Set(SetStatement),
    #[serde(rename = "ct timeout")]
    CtTimeout(String),
    Dnat(Translation),
    Masquerade,
    Mangle(Mangled),
    Reject {
        r#type: String,
    },
}

/// Where a connection goes instead.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Translation {
    family: String,
    addr: IpAddr,
    port: u16,
}

/// What a rule writes into a packet.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mangled {
    key: Expression,
    value: Expression,
}

/// What a packet is compared with: a value or set, or whether there is such a thing at all.
#[derive(Deserialize)]
#[serde(untagged)]
enum Compared {
    With(String),
    Number(u64),
    Exists(bool),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitStatement {
    rate: u32,
    burst: u32,
    per: String,
    #[serde(default)]
    inv: bool,
}

/// A source that a rule adds to a meter, with what the meter asks of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetStatement {
    op: String,
    elem: Expression,
    set: String,
    stmt: [Measured; 1],
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Measured {
    Limit(LimitStatement),
    #[serde(rename = "ct count")]
    CtCount(CountStatement),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CountStatement {
    val: u32,
    #[serde(default)]
    inv: bool,
}

#[derive(PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Expression {
    Meta {
        key: String,
    },
    Payload {
        protocol: String,
        field: String,
    },
    Concat(Vec<Expression>),
    Fib {
        result: String,
        flags: Flags,
    },
    Ct {
        key: String,
    },
    Rt {
        key: String,
    },
    #[serde(rename = "tcp option")]
    TcpOption {
        name: String,
        field: String,
    },
    #[serde(rename = "&")]
    And(Box<Expression>, Mask),
}

/// What an expression is cut down with. Newer nft writes flags as an "or" of them.
#[derive(PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Mask {
    Flags(Vec<String>),
    Either {
        #[serde(rename = "|")]
        flags: Vec<String>,
    },
    Address(IpAddr),
}

/// What an address is compared or counted by.
pub(crate) enum KeyKind {
    Port,
    Source4,
    Source6,
}

/// Newer nft prints a single flag without the list around it.
#[derive(PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Flags {
    One(String),
    Many(Vec<String>),
}

impl Flags {
    pub(crate) fn is_just(&self, flag: &str) -> bool {
        match self {
            Self::One(one) => one == flag,
            Self::Many(many) => many == &[flag],
        }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &str> + Clone {
        let all = match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        };
        all.iter().map(String::as_str)
    }
}

impl Expression {
    pub(crate) fn key(&self) -> Option<KeyKind> {
        match self {
            Self::Payload { protocol, field } if field == "saddr" && protocol == "ip" => Some(KeyKind::Source4),
            Self::Payload { protocol, field } if field == "saddr" && protocol == "ip6" => Some(KeyKind::Source6),
            Self::Concat(parts) => match parts.as_slice() {
                [Self::Meta { key }, Self::Payload { protocol, field }]
                    if key == "l4proto" && protocol == "th" && field == "dport" =>
                {
                    Some(KeyKind::Port)
                }
                _ => None,
            },
            _ => None,
        }
    }
}

impl Expression {
    /// The family of a destination address: 4 or 6.
    fn destination(&self) -> Option<u8> {
        match self {
            Self::Payload { protocol, field } if field == "daddr" && protocol == "ip" => Some(4),
            Self::Payload { protocol, field } if field == "daddr" && protocol == "ip6" => Some(6),
            _ => None,
        }
    }

    fn is_tcp_flags(&self) -> bool {
        matches!(self, Self::Payload { protocol, field } if protocol == "tcp" && field == "flags")
    }

    /// A way to the destination by the interface of arrival. Newer nft calls asking for it `check`.
    fn is_way_back(&self) -> bool {
        match self {
            Self::Fib { result, flags } => {
                ["oif", "check"].contains(&result.as_str()) && flags.all().eq(["daddr", "iif"])
            }
            _ => false,
        }
    }

    /// The source address, whole or cut down to its first bits.
    fn source(&self) -> Option<Source> {
        let (address, mask) = match self {
            Self::And(address, Mask::Address(mask)) => (address.as_ref(), Some(ipnet::ip_mask_to_prefix(*mask).ok()?)),
            address => (address, None),
        };
        match address.key()? {
            KeyKind::Source4 => Some(Source::V4(mask.unwrap_or(32))),
            KeyKind::Source6 => Some(Source::V6(mask.unwrap_or(128))),
            KeyKind::Port => None,
        }
    }
}

impl Mask {
    fn is(&self, wanted: [&str; 2]) -> bool {
        match self {
            Self::Flags(flags) | Self::Either { flags } => {
                flags.len() == 2 && wanted.iter().all(|flag| flags.iter().any(|found| found == flag))
            }
            Self::Address(_) => false,
        }
    }
}

impl Translation {
    fn read(&self) -> Option<SocketAddr> {
        let is_whole = self.family == if self.addr.is_ipv4() { "ip" } else { "ip6" };
        is_whole.then_some(SocketAddr::new(self.addr, self.port))
    }
}

impl Mangled {
    fn clamps_segments(&self) -> bool {
        matches!(&self.key, Expression::TcpOption { name, field } if name == "maxseg" && field == "size")
            && matches!(&self.value, Expression::Rt { key } if key == "mtu")
    }
}

impl LimitStatement {
    fn rate(&self) -> Option<Rate> {
        (self.per == "second").then_some(Rate { per_second: self.rate, burst: self.burst })
    }
}

impl SetStatement {
    fn read(&self) -> Option<Metered> {
        let source = self.elem.source()?;
        let [measured] = &self.stmt;
        let measure = match (self.op.as_str(), measured) {
            ("update", Measured::Limit(limit)) if limit.inv => Measure::Over(limit.rate()?, source),
            ("update", Measured::Limit(limit)) => Measure::Within(limit.rate()?, source),
            ("add", Measured::CtCount(count)) if count.inv => Measure::MoreThan(count.val, source),
            ("add", Measured::CtCount(count)) => Measure::AtMost(count.val, source),
            _ => return None,
        };
        Some(Metered { meter: self.set.strip_prefix('@')?.to_owned(), measure })
    }
}

impl RuleObject {
    /// The chain's name and the rule; `None` where it is not of a kind we write.
    pub(crate) fn read(self) -> Option<(String, Rule)> {
        Some((self.chain, read_rule(self.expr)?))
    }
}

fn read_rule(statements: Vec<Statement>) -> Option<Rule> {
    let (mut matches, mut counter) = (Vec::new(), None);
    let mut statements = statements.into_iter();
    while let Some(statement) = statements.next() {
        let verdict = match statement {
            Statement::Match { op, left, right } if counter.is_none() => {
                matches.push(match (op.as_str(), right) {
                    ("==", Compared::With(right)) => read_match(&left, &right)?,
                    ("!=", Compared::With(right)) => read_exclusion(&left, &right)?,
                    ("==", Compared::Exists(true)) if left.is_way_back() => Match::GoesBack,
                    ("==", Compared::Number(number)) => read_number(&left, number)?,
                    ("in", Compared::With(right)) => read_status(&left, &right)?,
                    _ => return None,
                });
                continue;
            }
            Statement::Counter(name) if counter.is_none() => {
                counter = Some(name);
                continue;
            }
            Statement::Limit(limit) if counter.is_none() && !limit.inv => {
                matches.push(Match::Sampled(limit.rate()?));
                continue;
            }
            Statement::Set(asked) if counter.is_none() => {
                matches.push(Match::Metered(asked.read()?));
                continue;
            }
            Statement::Match { .. } | Statement::Counter(_) | Statement::Limit(_) | Statement::Set(_) => return None,
            Statement::Accept => Verdict::Accept,
            Statement::Drop => Verdict::Drop,
            Statement::Goto { target } => Verdict::Goto(target),
            Statement::Jump { target } => Verdict::Jump(target),
            Statement::Log { prefix, group } => Verdict::Log(Log { prefix, group }),
            Statement::CtTimeout(name) => Verdict::Expire(name),
            Statement::Dnat(translation) => Verdict::TranslateTo(translation.read()?),
            Statement::Masquerade => Verdict::Masquerade,
            Statement::Mangle(mangled) if mangled.clamps_segments() => Verdict::ClampSegments,
            Statement::Reject { r#type } if r#type == "tcp reset" => Verdict::Reset,
            Statement::Mangle(_) | Statement::Reject { .. } => return None,
        };
        return statements.next().is_none().then_some(Rule { matches, counter, verdict });
    }
    None
}

fn read_match(left: &Expression, right: &str) -> Option<Match> {
    if let Some(set) = right.strip_prefix('@') {
        let set = set.to_owned();
        if let Some(address) = left.destination() {
            return Some(if address == 4 { Match::Destination4(set) } else { Match::Destination6(set) });
        }
        return left.key().map(|key| match key {
            KeyKind::Port => Match::Port(set),
            KeyKind::Source4 => Match::Source4(set),
            KeyKind::Source6 => Match::Source6(set),
        });
    }
    match left {
        Expression::Meta { key } if key == "iif" && right == "lo" => Some(Match::Loopback),
        Expression::Meta { key } if key == "iifkind" && right == "bridge" => Some(Match::Bridged),
        Expression::Meta { key } if key == "nfproto" => match right {
            "ipv4" => Some(Match::Family(Family::V4)),
            "ipv6" => Some(Match::Family(Family::V6)),
            _ => None,
        },
        Expression::Meta { key } if key == "oifname" => right.parse().ok().map(Match::Leaves),
        Expression::Meta { key } if key == "l4proto" && right == "tcp" => Some(Match::Tcp),
        Expression::Ct { key } if key == "direction" => match right {
            "original" => Some(Match::Calls),
            "reply" => Some(Match::Answers),
            _ => None,
        },
        Expression::And(flags, mask) if flags.is_tcp_flags() && right == "syn" => match mask {
            mask if mask.is(["syn", "ack"]) => Some(Match::FirstSyn),
            mask if mask.is(["syn", "rst"]) => Some(Match::Opens),
            _ => None,
        },
        Expression::Meta { key } if key == "iifname" => right.parse().ok().map(Match::Interface),
        Expression::Fib { result, flags } if result == "type" && flags.is_just("daddr") => match right {
            "unicast" => Some(Match::Passing),
            "local" => Some(Match::OwnAddress),
            _ => None,
        },
        Expression::Fib { result, flags } if result == "oifname" && flags.is_just("daddr") => {
            right.parse().ok().map(Match::LeavesBy)
        }
        Expression::Payload { field, .. } if field == "saddr" => {
            let address = right.parse().ok()?;
            left.key().filter(|key| matches!(key, KeyKind::Source4) == IpAddr::is_ipv4(&address))?;
            Some(Match::From(address))
        }
        Expression::Payload { field, .. } if field == "daddr" => {
            let address = right.parse().ok()?;
            left.destination().filter(|family| (*family == 4) == IpAddr::is_ipv4(&address))?;
            Some(Match::To(address))
        }
        _ => None,
    }
}

/// A port, or a protocol where `/etc/protocols` is missing (IANA protocol numbers).
fn read_number(left: &Expression, number: u64) -> Option<Match> {
    if matches!(left, Expression::Meta { key } if key == "l4proto") {
        return (number == 6).then_some(Match::Tcp);
    }
    let is_port = matches!(left, Expression::Payload { protocol, field } if protocol == "tcp" && field == "dport");
    let port = u16::try_from(number).ok().and_then(NonZeroU16::new);
    port.filter(|_| is_port).map(Match::TcpPort)
}

fn read_status(left: &Expression, right: &str) -> Option<Match> {
    let is_status = matches!(left, Expression::Ct { key } if key == "status");
    (is_status && right == "dnat").then_some(Match::Translated)
}

fn read_exclusion(left: &Expression, right: &str) -> Option<Match> {
    if matches!(left, Expression::Ct { key } if key == "state") && right == "new" {
        return Some(Match::NotNew);
    }
    if let Expression::Meta { key } = left {
        return match key.as_str() {
            "iifname" => right.parse().ok().map(Match::NotInterface),
            "oifname" => right.parse().ok().map(Match::NotLeaves),
            _ => None,
        };
    }
    let set = right.strip_prefix('@')?.to_owned();
    Some(if left.destination()? == 4 { Match::NotDestination4(set) } else { Match::NotDestination6(set) })
}
