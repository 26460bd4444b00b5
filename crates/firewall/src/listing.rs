//! Rules and expressions as `nft -j` lists them, read back into ours. Understood to the last word, or not ours.

use crate::{Family, Log, Match, Measure, Metered, Rate, Rule, Source, Verdict};
use serde::Deserialize;
use std::net::IpAddr;

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
}

/// What a packet is compared with: a value or set, or whether there is such a thing at all.
#[derive(Deserialize)]
#[serde(untagged)]
enum Compared {
    With(String),
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
    fn is_syn_ack(&self) -> bool {
        match self {
            Self::Flags(flags) | Self::Either { flags } => {
                flags.len() == 2 && ["syn", "ack"].iter().all(|flag| flags.iter().any(|found| found == flag))
            }
            Self::Address(_) => false,
        }
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
        };
        return statements.next().is_none().then_some(Rule { matches, counter, verdict });
    }
    None
}

fn read_match(left: &Expression, right: &str) -> Option<Match> {
    if let Some(set) = right.strip_prefix('@') {
        let set = set.to_owned();
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
        Expression::And(flags, mask) if flags.is_tcp_flags() && mask.is_syn_ack() && right == "syn" => {
            Some(Match::FirstSyn)
        }
        Expression::Meta { key } if key == "iifname" => right.parse().ok().map(Match::Interface),
        Expression::Fib { result, flags } if result == "type" && flags.is_just("daddr") && right == "unicast" => {
            Some(Match::Passing)
        }
        Expression::Fib { result, flags } if result == "oifname" && flags.is_just("daddr") => {
            right.parse().ok().map(Match::LeavesBy)
        }
        _ => None,
    }
}

fn read_exclusion(left: &Expression, right: &str) -> Option<Match> {
    if matches!(left, Expression::Ct { key } if key == "state") && right == "new" {
        return Some(Match::NotNew);
    }
    let set = right.strip_prefix('@')?.to_owned();
    match left {
        Expression::Payload { protocol, field } if field == "daddr" && protocol == "ip" => {
            Some(Match::NotDestination4(set))
        }
        Expression::Payload { protocol, field } if field == "daddr" && protocol == "ip6" => {
            Some(Match::NotDestination6(set))
        }
        _ => None,
    }
}
