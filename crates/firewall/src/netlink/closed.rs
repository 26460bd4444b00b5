//! The smallest table that closes guarded ports, as messages: for a machine whose nft is missing or broken. No sets, no
//! counters, no limits; admin networks and the host itself are let in. Pure but for `close`; everything else about rules is
//! text, through the host's nft, which replaces this table by the whole one as soon as it runs again.

use super::{
    FAMILY_INET, Kernel, NetlinkError, SUBSYSTEM,
    elements::message_type,
    kind, table_name,
    wire::{
        ACKNOWLEDGE, APPEND, Attributes, BATCH_BEGIN, BATCH_END, CREATE, DUMP, EXCLUSIVE, Malformed, Message, REQUEST,
        Writer, number, text,
    },
};
use crate::Hook;
use ipnet::IpNet;
use nix::errno::Errno;
use picket_model::{FirewallPolicy, Protocol, Purpose};
use std::net::IpAddr;

/// The one chain.
const CHAIN: &str = "raw_in";

// linux/netfilter/nf_tables.h: attributes of tables, chains, hooks, rules and expressions.
const TABLE_NAME: u16 = 1;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const LIST_ITEM: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const META_REGISTER: u16 = 1;
const META_KEY: u16 = 2;
const PAYLOAD_REGISTER: u16 = 1;
const PAYLOAD_BASE: u16 = 2;
const PAYLOAD_OFFSET: u16 = 3;
const PAYLOAD_LENGTH: u16 = 4;
const BITWISE_FROM: u16 = 1;
const BITWISE_TO: u16 = 2;
const BITWISE_LENGTH: u16 = 3;
const BITWISE_MASK: u16 = 4;
const BITWISE_XOR: u16 = 5;
const COMPARE_REGISTER: u16 = 1;
const COMPARE_OPERATOR: u16 = 2;
const COMPARE_DATA: u16 = 3;
const IMMEDIATE_REGISTER: u16 = 1;
const IMMEDIATE_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;

/// `NF_INET_PRE_ROUTING`, linux/netfilter.h.
const PREROUTING: u32 = 0;
/// `NF_DROP` and `NF_ACCEPT`, the same file.
const DROP: u32 = 0;
const ACCEPT: u32 = 1;
/// `NFT_REG_VERDICT` and `NFT_REG_1`.
const VERDICT: u32 = 0;
const REGISTER: u32 = 1;
/// `NFT_CMP_EQ`.
const EQUAL: u32 = 0;
/// `NFT_META_IIF`, `NFT_META_NFPROTO`, `NFT_META_L4PROTO`.
const META_INTERFACE: u32 = 4;
const META_FAMILY: u32 = 15;
const META_PROTOCOL: u32 = 16;
/// `NFT_PAYLOAD_NETWORK_HEADER` and `NFT_PAYLOAD_TRANSPORT_HEADER`.
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
/// `LOOPBACK_IFINDEX`, net/flow.h: the same in every namespace.
const LOOPBACK: u32 = 1;

/// One step of a rule. A packet that a step does not fit goes to the next rule.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Looks at something the kernel knows of the packet.
    Meta(u32),
    /// Looks at bytes of the packet: in which header, from where, how many.
    Payload(u32, u32, u32),
    /// Keeps the bits of what is looked at that are set here.
    Mask(Vec<u8>),
    /// What is looked at is this.
    Is(Vec<u8>),
    /// What becomes of the packet.
    Verdict(u32),
}

/// A rule: all steps in order.
type Line = Vec<Step>;

/// The rules that close a policy's guarded ports to all but its admin networks and the host itself.
fn lines(policy: &FirewallPolicy) -> Vec<Line> {
    let host = vec![Step::Meta(META_INTERFACE), Step::Is(LOOPBACK.to_ne_bytes().into()), Step::Verdict(ACCEPT)];
    let admins = policy.allowed(Purpose::Admin).0.keys().map(|network| admin(*network));
    let guarded = policy.guarded.keys().map(|guarded| {
        // IANA protocol numbers; destination ports of both are at the same place.
        let protocol = match guarded.protocol {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
        };
        let port = guarded.port.get().to_be_bytes().into();
        let protocol = [Step::Meta(META_PROTOCOL), Step::Is(vec![protocol])];
        let port = [Step::Payload(TRANSPORT_HEADER, 2, 2), Step::Is(port), Step::Verdict(DROP)];
        protocol.into_iter().chain(port).collect()
    });
    [host].into_iter().chain(admins).chain(guarded).collect()
}

/// Lets a network in. Its source addresses are at RFC 791's and RFC 8200's places.
fn admin(network: IpNet) -> Line {
    let bytes = |address| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    // `NFPROTO_IPV4` and `NFPROTO_IPV6`, linux/netfilter.h.
    let (family, offset, length) = match network {
        IpNet::V4(_) => (2, 12, 4),
        IpNet::V6(_) => (10, 8, 16),
    };
    let mut line = vec![Step::Meta(META_FAMILY), Step::Is(vec![family]), Step::Payload(NETWORK_HEADER, offset, length)];
    if network.prefix_len() < network.max_prefix_len() {
        line.push(Step::Mask(bytes(network.netmask())));
    }
    line.extend([Step::Is(bytes(network.network())), Step::Verdict(ACCEPT)]);
    line
}

/// The transaction that makes the table with these rules, which fails where there is one; its messages are numbered from
/// `first`. Also what each message does that is acknowledged.
fn batch(lines: &[Line], first: u32) -> (Vec<u8>, Vec<String>) {
    let (mut writer, mut sequence, mut steps) = (Writer::default(), first, Vec::new());
    let mut add = |head: (u16, u16), family: (u8, u16), step: Option<&str>, body: &dyn Fn(&mut Writer)| {
        writer.message((head.0, REQUEST | head.1, sequence), family, |writer| body(writer));
        steps.extend(step.map(str::to_owned));
        sequence = sequence.wrapping_add(1);
    };
    let (edge, ours) = ((0, SUBSYSTEM.into()), (FAMILY_INET, 0));
    add((BATCH_BEGIN, 0), edge, None, &|_| {});
    let table = (message_type(kind::NEW_TABLE), ACKNOWLEDGE | CREATE | EXCLUSIVE);
    add(table, ours, Some("add the table"), &|writer| writer.text(TABLE_NAME, table_name()));
    let chain = (message_type(kind::NEW_CHAIN), ACKNOWLEDGE | CREATE);
    add(chain, ours, Some("add its chain"), &|writer| {
        writer.text(CHAIN_TABLE, table_name());
        writer.text(CHAIN_NAME, CHAIN);
        writer.nested(CHAIN_HOOK, |writer| {
            writer.attribute(HOOK_NUMBER, &PREROUTING.to_be_bytes());
            writer.attribute(HOOK_PRIORITY, &priority().to_be_bytes());
        });
        writer.attribute(CHAIN_POLICY, &ACCEPT.to_be_bytes());
        writer.text(CHAIN_TYPE, "filter");
    });
    for line in lines {
        let rule = (message_type(kind::NEW_RULE), ACKNOWLEDGE | CREATE | APPEND);
        add(rule, ours, Some("add a rule"), &|writer| {
            writer.text(RULE_TABLE, table_name());
            writer.text(RULE_CHAIN, CHAIN);
            writer.nested(RULE_EXPRESSIONS, |writer| line.iter().for_each(|step| expression(writer, step)));
        });
    }
    add((BATCH_END, 0), edge, None, &|_| {});
    (writer.into_bytes(), steps)
}

/// Fits: it is -300.
fn priority() -> i32 {
    let (_, _, _, priority) = Hook::PreroutingRaw.place();
    i32::try_from(priority).unwrap_or(i32::MIN)
}

fn expression(writer: &mut Writer, step: &Step) {
    let numbers = |writer: &mut Writer, numbers: &[(u16, u32)]| {
        numbers.iter().for_each(|(kind, number)| writer.attribute(*kind, &number.to_be_bytes()));
    };
    let value = |writer: &mut Writer, kind, value: &[u8]| {
        writer.nested(kind, |writer| writer.attribute(DATA_VALUE, value));
    };
    let (name, write): (_, &dyn Fn(&mut Writer)) = match step {
        Step::Meta(key) => ("meta", &|writer| numbers(writer, &[(META_REGISTER, REGISTER), (META_KEY, *key)])),
        Step::Payload(base, offset, length) => ("payload", &|writer| {
            let place = [(PAYLOAD_BASE, *base), (PAYLOAD_OFFSET, *offset), (PAYLOAD_LENGTH, *length)];
            numbers(writer, &[(PAYLOAD_REGISTER, REGISTER)]);
            numbers(writer, &place);
        }),
        Step::Mask(mask) => ("bitwise", &|writer| {
            let length = u32::try_from(mask.len()).unwrap_or(0);
            numbers(writer, &[(BITWISE_FROM, REGISTER), (BITWISE_TO, REGISTER), (BITWISE_LENGTH, length)]);
            value(writer, BITWISE_MASK, mask);
            value(writer, BITWISE_XOR, &vec![0; mask.len()]);
        }),
        Step::Is(wanted) => ("cmp", &|writer| {
            numbers(writer, &[(COMPARE_REGISTER, REGISTER), (COMPARE_OPERATOR, EQUAL)]);
            value(writer, COMPARE_DATA, wanted);
        }),
        Step::Verdict(code) => ("immediate", &|writer| {
            numbers(writer, &[(IMMEDIATE_REGISTER, VERDICT)]);
            writer.nested(IMMEDIATE_DATA, |writer| {
                writer.nested(DATA_VERDICT, |writer| numbers(writer, &[(VERDICT_CODE, *code)]));
            });
        }),
    };
    writer.nested(LIST_ITEM, |writer| {
        writer.text(EXPRESSION_NAME, name);
        writer.nested(EXPRESSION_DATA, |writer| write(writer));
    });
}

/// A rule as the kernel tells it; an error where it has a step that none of ours has.
fn read_rule(attributes: Attributes<'_>) -> Result<Line, Malformed> {
    let expressions = attributes.get(RULE_EXPRESSIONS)?.ok_or("a rule without expressions")?;
    Attributes(expressions).map(|item| item.and_then(|(_, content)| read_step(Attributes(content)))).collect()
}

fn read_step(expression: Attributes<'_>) -> Result<Step, Malformed> {
    let name = text(expression.get(EXPRESSION_NAME)?.ok_or("an expression without a name")?)?;
    let data = Attributes(expression.get(EXPRESSION_DATA)?.ok_or("an expression without its data")?);
    let content = |data: Attributes<'_>, kind| data.get(kind)?.map(<[u8]>::to_vec).ok_or("an expression cut short");
    let word = |kind| number(&content(data, kind)?);
    let value = |kind| content(Attributes(&content(data, kind)?), DATA_VALUE);
    let is = |kind, wanted| if word(kind)? == wanted { Ok(()) } else { Err("an expression that is none of ours") };
    match name {
        "meta" => is(META_REGISTER, REGISTER).and(Ok(Step::Meta(word(META_KEY)?))),
        "payload" => is(PAYLOAD_REGISTER, REGISTER).and(Ok(Step::Payload(
            word(PAYLOAD_BASE)?,
            word(PAYLOAD_OFFSET)?,
            word(PAYLOAD_LENGTH)?,
        ))),
        "bitwise" if value(BITWISE_XOR)?.iter().all(|byte| *byte == 0) => {
            is(BITWISE_FROM, REGISTER).and(is(BITWISE_TO, REGISTER)).and(Ok(Step::Mask(value(BITWISE_MASK)?)))
        }
        "cmp" => {
            is(COMPARE_REGISTER, REGISTER).and(is(COMPARE_OPERATOR, EQUAL)).and(Ok(Step::Is(value(COMPARE_DATA)?)))
        }
        "immediate" => {
            let verdict = content(Attributes(&content(data, IMMEDIATE_DATA)?), DATA_VERDICT)?;
            is(IMMEDIATE_REGISTER, VERDICT)
                .and(Ok(Step::Verdict(number(&content(Attributes(&verdict), VERDICT_CODE)?)?)))
        }
        _ => Err("an expression that is none of ours"),
    }
}

/// Whether this is our chain, hooked in where it has to be.
fn is_our_chain(attributes: Attributes<'_>) -> Result<bool, Malformed> {
    let word = |attributes: Attributes<'_>, kind| attributes.get(kind)?.map(number).transpose();
    let Some(hook) = attributes.get(CHAIN_HOOK)?.map(Attributes) else { return Ok(false) };
    Ok(attributes.get(CHAIN_NAME)?.map(text).transpose()? == Some(CHAIN)
        && attributes.get(CHAIN_TYPE)?.map(text).transpose()? == Some("filter")
        && word(hook, HOOK_NUMBER)? == Some(PREROUTING)
        && word(hook, HOOK_PRIORITY)? == Some(priority().cast_unsigned()))
}

/// Closes the guarded ports of a policy to all but its admin networks and the host itself, where our table is not in the
/// kernel, and reads that back; a table that is there stays as it is. Whether there was none.
///
/// # Errors
/// What the kernel said, or that it has something else than was written.
pub fn close(policy: &FirewallPolicy) -> Result<bool, NetlinkError> {
    let (mut kernel, wanted) = (Kernel::open()?, lines(policy));
    let first = kernel.numbers(wanted.len() + 4);
    let (bytes, steps) = batch(&wanted, first);
    match kernel.send_batch(first, "close guarded ports", &bytes, &steps) {
        Err(NetlinkError::Refused { errno: Errno::EEXIST, .. }) => return Ok(false),
        written => written?,
    }
    let (mut rules, mut chains) = (Vec::new(), Vec::new());
    let ask = |kind, writer: &dyn Fn(&mut Writer), sequence| {
        let mut asked = Writer::default();
        asked.message((message_type(kind), REQUEST | DUMP, sequence), (FAMILY_INET, 0), |asked| writer(asked));
        asked.into_bytes()
    };
    let whose = |writer: &mut Writer| {
        writer.text(RULE_TABLE, table_name());
        writer.text(RULE_CHAIN, CHAIN);
    };
    let what = "read the closed table back";
    kernel.dump(
        what,
        |sequence| ask(kind::GET_RULE, &whose, sequence),
        &mut rules,
        |message, rules| {
            rules.extend(attributes(message, kind::NEW_RULE)?.map(read_rule).transpose()?);
            Ok(())
        },
    )?;
    kernel.dump(
        what,
        |sequence| ask(kind::GET_CHAIN, &|_| {}, sequence),
        &mut chains,
        |message, chains| {
            if let Some(chain) = attributes(message, kind::NEW_CHAIN)?
                && chain.get(CHAIN_TABLE)?.map(text).transpose()? == Some(table_name())
            {
                chains.push(is_our_chain(chain)?);
            }
            Ok(())
        },
    )?;
    if rules == wanted && chains == [true] { Ok(true) } else { Err(NetlinkError::Different) }
}

/// The attributes of a message of that kind; `None` in one of another.
fn attributes<'a>(message: &Message<'a>, wanted: u8) -> Result<Option<Attributes<'a>>, Malformed> {
    let head = message.nf_tables().transpose()?;
    Ok(head.filter(|(kind, _)| *kind == wanted).map(|(_, attributes)| attributes))
}

#[cfg(test)]
mod tests {
    use super::{super::wire::Messages, *};
    use picket_model::{AllowSet, GuardedPort, Reason};

    fn policy() -> FirewallPolicy {
        let mut admin = AllowSet::default();
        for network in ["198.51.100.248/29", "192.0.2.1/32", "2001:db8:ad::/48"] {
            admin.insert(network.parse().unwrap(), Reason::Policy { line: "admin".to_owned() });
        }
        let port = |protocol, port: u16| GuardedPort { protocol, port: port.try_into().unwrap() };
        let guarded = [port(Protocol::Tcp, 7100), port(Protocol::Udp, 7100)];
        crate::baseline(&guarded.map(|port| (port, Purpose::Admin)).into(), &admin)
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let wanted = lines(&policy());
        assert_eq!(wanted.len(), 1 + 3 + 2);
        let (bytes, steps) = batch(&wanted, 7);
        let messages: Vec<_> = Messages(&bytes).map(Result::unwrap).collect();
        assert_eq!(messages.len(), steps.len() + 2);
        assert!(messages.iter().zip(7..).all(|(message, number)| message.sequence == number));
        let rules = messages.iter().filter_map(|message| attributes(message, kind::NEW_RULE).unwrap());
        assert_eq!(rules.map(read_rule).collect::<Result<Vec<_>, _>>(), Ok(wanted));
        let mut chains = messages.iter().filter_map(|message| attributes(message, kind::NEW_CHAIN).unwrap());
        assert_eq!(chains.next().map(is_our_chain), Some(Ok(true)));
    }

    #[test]
    fn a_rule_with_anything_else_in_it_is_none_of_ours() {
        let step = |name: &str, register: u32| {
            let mut writer = Writer::default();
            writer.text(EXPRESSION_NAME, name);
            writer.nested(EXPRESSION_DATA, |writer| {
                writer.attribute(META_REGISTER, &register.to_be_bytes());
                writer.attribute(META_KEY, &META_FAMILY.to_be_bytes());
            });
            read_step(Attributes(&writer.into_bytes()))
        };
        assert_eq!(step("meta", REGISTER), Ok(Step::Meta(META_FAMILY)));
        assert!(step("meta", 2).is_err() && step("counter", REGISTER).is_err() && step("cmp", REGISTER).is_err());
    }
}
