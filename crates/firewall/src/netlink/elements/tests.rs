//! Bytes that nft and the kernel wrote, read; what we write, read back; and what nobody should have written.

use super::*;
use crate::netlink::wire::Messages;
use proptest::prelude::*;

/// Bytes from hexadecimal digits, blanks between them for the reader.
pub(crate) fn bytes(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|digit| !digit.is_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
}

/// Recorded with strace: what nft 1.0.6 sends for `add element inet picket p2p_hosts4 { 203.0.113.14 }`, less the set's
/// number within the batch, which is for sets made in the same batch.
const ADDED_BY_NFT: &str = "
    14000000 1000 0100 00000000 00000000 0000000a
    44000000 0c0a 0104 01000000 00000000 01000000
        0b000100 7069636b65740000 0f000200 7032705f686f737473340000
        14000380 10000180 0c000180 08000100 cb00710e
    14000000 1100 0100 02000000 00000000 0000000a";

/// Linux 6.18 on the dump of a set with `198.51.100.128/25` and `255.255.255.0/24`, written by nft 1.0.6.
const INTERVALS: &str = "
    90000000 0c0a 0200 00000000 ff250000 01000002
        0b000100 7069636b65740000 0e000200 7032705f6e657473 34000000
        60000300
            1c000100 0c000100 08000100 ffffff00 0a000600 010401000000 0000
            18000100 0c000100 08000100 c6336500 08000300 00000001
            10000100 0c000100 08000100 c6336480
            18000100 0c000100 08000100 00000000 08000300 00000001";

/// What nft sends for an element with `comment "why"`.
const COMMENTED: &str = "
    50000000 0c0a 0104 01000000 00000000 01000000
        0b000100 7069636b65740000 0f000200 7032705f686f737473340000
        20000380 1c000180 0c000180 08000100 cb00710e 0a000600 0004776879000000";

fn hosts4(addresses: &[&str]) -> Set {
    Set::Hosts4(addresses.iter().map(|text| text.parse().unwrap()).collect())
}

fn read_all(bytes: &[u8]) -> Vec<Element> {
    Messages(bytes).flat_map(|message| read(&message.unwrap()).unwrap()).collect()
}

fn add(set: &str, elements: Set) -> Change {
    Change::AddElements { set: set.to_owned(), elements }
}

#[test]
fn what_is_sent_is_what_nft_sends() {
    let batch = batch(&[add("p2p_hosts4", hosts4(&["203.0.113.14"]))], 0).unwrap();
    let mut expected = bytes(ADDED_BY_NFT);
    // We want an acknowledgement.
    expected[26] |= 4;
    assert_eq!(batch.bytes, expected);
    assert_eq!(batch.steps, ["add 1 elements to p2p_hosts4"]);
}

#[test]
fn what_is_sent_is_read_back_of_every_kind_of_key() {
    let port = |protocol, port| GuardedPort { protocol, port: std::num::NonZero::new(port).unwrap() };
    let sets = [
        hosts4(&["203.0.113.14", "0.0.0.0", "255.255.255.255"]),
        Set::Hosts6(["2001:db8::1".parse().unwrap(), Ipv6Addr::UNSPECIFIED].into()),
        Set::Ports([port(Protocol::Tcp, 7100), port(Protocol::Udp, 1), port(Protocol::Udp, 65_535)].into()),
    ];
    for set in sets {
        let sent = batch(&[add("any", set.clone())], 9).unwrap();
        assert_eq!(set_of(&set, read_all(&sent.bytes)), Some(set));
    }
}

#[test]
fn many_elements_are_several_messages_of_one_transaction() {
    let many = Set::Hosts6((0..2500_u128).map(|n| Ipv6Addr::from(n << 64 | n)).collect());
    let delete = Change::DeleteElements { set: "p2p_hosts6".into(), elements: many.clone() };
    let sent = batch(&[delete, add("rpc_hosts6", many.clone())], 100).unwrap();
    let messages: Vec<_> = Messages(&sent.bytes).map(Result::unwrap).collect();
    let kinds: Vec<_> = messages.iter().map(|message| message.kind).collect();
    assert_eq!(kinds, [BATCH_BEGIN, 0xa0e, 0xa0e, 0xa0e, 0xa0c, 0xa0c, 0xa0c, BATCH_END]);
    let sequences: Vec<_> = messages.iter().map(|message| message.sequence).collect();
    assert_eq!(sequences, [100, 101, 102, 103, 104, 105, 106, 107]);
    assert_eq!(sent.steps[2], "delete 500 elements from p2p_hosts6");
    assert_eq!(sent.steps[3], "add 1000 elements to rpc_hosts6");
    let added = messages[4..7].iter().flat_map(|message| read(message).unwrap()).collect();
    assert_eq!(set_of(&many, added), Some(many));
}

#[test]
fn rules_and_intervals_do_not_go_this_way() {
    let nets = Set::Nets4(["198.51.100.0/24".parse().unwrap()].into());
    assert!(batch(&[add("p2p_hosts4", hosts4(&["203.0.113.14"])), add("p2p_nets4", nets)], 0).is_none());
    assert!(batch(&[Change::ReplaceTable(crate::ReplaceReason::Missing)], 0).is_none());
}

#[test]
fn intervals_are_read_as_the_kernel_writes_them() {
    let like = Set::Nets4([].into());
    let expected = Set::Nets4(["198.51.100.128/25".parse().unwrap(), "255.255.255.0/24".parse().unwrap()].into());
    assert_eq!(set_of(&like, read_all(&bytes(INTERVALS))), Some(expected));
    assert_eq!(set_of(&hosts4(&[]), read_all(&bytes(INTERVALS))), None, "not of that kind");
}

#[test]
fn neighbouring_intervals_share_a_border_and_what_is_no_prefix_is_not_ours() {
    let element = |address: &str, is_end| Element { key: Key::v4(address.parse().unwrap()), is_end, is_plain: true };
    let check = |borders: &[(&str, bool)], expect: Option<&[&str]>| {
        let elements = borders.iter().map(|(address, is_end)| element(address, *is_end)).collect();
        let nets = expect.map(|nets| Set::Nets4(nets.iter().map(|net| net.parse().unwrap()).collect()));
        assert_eq!(set_of(&Set::Nets4([].into()), elements), nets, "{borders:?}");
    };
    let neighbours = [("10.0.3.0", true), ("10.0.2.0", false), ("10.0.2.0", true), ("10.0.1.0", false)];
    check(&neighbours, Some(&["10.0.1.0/24", "10.0.2.0/24"]));
    check(&[("0.0.0.0", false)], Some(&["0.0.0.0/0"]));
    check(&[("10.0.0.1", false), ("10.0.0.7", true)], None);
    check(&[("10.0.0.1", false), ("10.0.0.3", true)], None);
    check(&[("10.0.0.1", true)], None);
    check(&[("10.0.0.0", false), ("10.0.0.8", false)], None);
    let v6 = [(Key::v6(Ipv6Addr::from(u128::MAX - 1)), false)];
    let elements = v6.map(|(key, is_end)| Element { key, is_end, is_plain: true }).to_vec();
    let expected = Set::Nets6(["ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127".parse().unwrap()].into());
    assert_eq!(set_of(&Set::Nets6([].into()), elements), Some(expected));
}

#[test]
fn an_element_with_more_than_a_key_is_not_as_we_write_them() {
    let elements = read_all(&bytes(COMMENTED));
    assert_eq!(elements.len(), 1);
    assert!(!elements[0].is_plain);
    assert_eq!(set_of(&hosts4(&[]), elements), None);
    let strange = Element { key: Key::new(&[6, 0, 0, 1, 27, 188, 0, 0]).unwrap(), is_end: false, is_plain: true };
    assert_eq!(set_of(&Set::Ports([].into()), vec![strange]), None, "what fills up is zero");
    assert!(Key::new(&[0; 17]).is_err());
}

#[test]
fn questions_are_one_message_for_each_key() {
    let keys = keys(&hosts4(&["203.0.113.14", "203.0.113.15"])).unwrap();
    let sent = questions("p2p_hosts4", &keys, 5);
    let messages: Vec<_> = Messages(&sent).map(Result::unwrap).collect();
    assert_eq!(messages.len(), 2);
    assert_eq!((messages[1].kind, messages[1].sequence), (0xa0d, 6));
    let (_, attributes) = messages[0].nf_tables().unwrap().unwrap();
    assert_eq!(attributes.get(LIST_SET), Ok(Some(b"p2p_hosts4\0".as_slice())));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn hostile_bytes_are_an_error_or_elements_and_never_a_panic(
        recorded in prop::sample::select(vec![INTERVALS, COMMENTED, ADDED_BY_NFT]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        length in any::<prop::sample::Index>(),
    ) {
        let mut hostile = bytes(recorded);
        for (index, byte) in changes {
            *index.get_mut(&mut hostile) = byte;
        }
        hostile.truncate(length.index(hostile.len() + 1));
        for elements in Messages(&hostile).flatten().filter_map(|message| read(&message).ok()) {
            for like in [hosts4(&[]), Set::Hosts6([].into()), Set::Nets4([].into()), Set::Nets6([].into()), Set::Ports([].into())] {
                if let Some(set) = set_of(&like, elements.clone()) {
                    prop_assert!(set.len() <= elements.len());
                }
            }
        }
    }
}
