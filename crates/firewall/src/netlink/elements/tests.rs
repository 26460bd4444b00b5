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

fn sent(changes: &[Change], first: u32) -> Option<Batch> {
    batch(changes, &Provenance::default(), first)
}

fn add(set: &str, elements: Set) -> Change {
    Change::AddElements { set: set.to_owned(), elements }
}

#[test]
fn what_is_sent_is_what_nft_sends() {
    let batch = sent(&[add("p2p_hosts4", hosts4(&["203.0.113.14"]))], 0).unwrap();
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
        let sent = sent(&[add("any", set.clone())], 9).unwrap();
        assert_eq!(set_of(&set, read_all(&sent.bytes)), Some(set));
    }
}

#[test]
fn many_elements_are_several_messages_of_one_transaction() {
    let many = Set::Hosts6((0..2500_u128).map(|n| Ipv6Addr::from(n << 64 | n)).collect());
    let delete = Change::DeleteElements { set: "p2p_hosts6".into(), elements: many.clone() };
    let sent = sent(&[delete, add("rpc_hosts6", many.clone())], 100).unwrap();
    let messages: Vec<_> = Messages(&sent.bytes).map(Result::unwrap).collect();
    let kinds: Vec<_> = messages.iter().map(|message| message.kind).collect();
    assert_eq!(kinds, [BATCH_BEGIN, 0xa0e, 0xa0e, 0xa0c, 0xa0c, BATCH_END]);
    let sequences: Vec<_> = messages.iter().map(|message| message.sequence).collect();
    assert_eq!(sequences, [100, 101, 102, 103, 104, 105]);
    assert_eq!(sent.steps[1], "delete 1000 elements from p2p_hosts6");
    assert_eq!(sent.steps[2], "add 1500 elements to rpc_hosts6");
    let added = messages[3..5].iter().flat_map(|message| read(message).unwrap()).collect();
    assert_eq!(set_of(&many, added), Some(many));
}

#[test]
fn rules_do_not_go_this_way() {
    let changes = [add("p2p_hosts4", hosts4(&["203.0.113.14"])), Change::ReplaceTable(crate::ReplaceReason::Missing)];
    assert!(sent(&changes, 0).is_none());
}

#[test]
fn a_prefix_is_where_it_begins_and_where_it_has_ended() {
    let nets = |list: &[&str]| -> Vec<IpNet> { list.iter().map(|net| net.parse().unwrap()).collect() };
    let check = |list: &[&str], borders: usize| {
        let nets = nets(list);
        let set = match nets[0] {
            IpNet::V4(_) => Set::Nets4(
                nets.iter().filter_map(|net| if let IpNet::V4(net) = net { Some(*net) } else { None }).collect(),
            ),
            IpNet::V6(_) => Set::Nets6(
                nets.iter().filter_map(|net| if let IpNet::V6(net) = net { Some(*net) } else { None }).collect(),
            ),
        };
        let batch = sent(&[add("any", set.clone())], 0).unwrap();
        let elements = read_all(&batch.bytes);
        assert_eq!(elements.len(), borders, "{list:?}");
        assert_eq!(set_of(&set, elements), Some(set));
    };
    check(&["198.51.100.0/24"], 2);
    check(&["198.51.100.0/25", "198.51.100.128/26"], 4);
    check(&["0.0.0.0/0"], 1);
    check(&["0.0.0.0/8", "255.255.255.255/32"], 3);
    check(&["128.0.0.0/1"], 1);
    check(&["::/0"], 1);
    check(&["2001:db8::/32", "ff00::/8"], 3);
}

#[test]
fn who_an_element_is_goes_beside_it_and_is_read_past() {
    let mut allowed = picket_model::AllowSet::default();
    let why = |line: &str| picket_model::Reason::Policy { line: line.to_owned() };
    allowed.insert("203.0.113.14/32".parse().unwrap(), why("a"));
    allowed.insert("255.255.255.0/24".parse().unwrap(), why("b"));
    let mut provenance = Provenance::default();
    provenance.note("p2p_hosts4", &allowed);
    provenance.note("p2p_nets4", &allowed);
    let (hosts, nets) = (hosts4(&["203.0.113.14"]), Set::Nets4(["255.255.255.0/24".parse().unwrap()].into()));
    let changes = [add("p2p_hosts4", hosts.clone()), add("p2p_nets4", nets.clone())];
    let batch = batch(&changes, &provenance, 0).unwrap();
    let messages: Vec<_> = Messages(&batch.bytes).map(Result::unwrap).collect();
    for (message, userdata, set) in [
        (messages[1], &b"\x00\x09policy a\0"[..], hosts),
        (messages[2], &b"\x00\x09policy b\0\x01\x04\x01\0\0\0"[..], nets),
    ] {
        assert!(message.payload.windows(userdata.len()).any(|window| window == userdata), "{message:?}");
        assert_eq!(set_of(&set, read(&message).unwrap()), Some(set));
    }
    for (good, userdata) in [
        (true, &b"\x01\x04\x01\0\0\0\x00\x02x\0"[..]),
        (true, b""),
        (false, b"\x01\x04\x02\0\0\0"),
        (false, b"\x02\x01x"),
        (false, b"\x00\x05x"),
        (false, b"\x00"),
    ] {
        assert_eq!(is_known(userdata), good, "{userdata:?}");
    }
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
fn an_element_with_more_than_a_key_and_a_comment_is_not_as_we_write_them() {
    let elements = read_all(&bytes(COMMENTED));
    assert_eq!(set_of(&hosts4(&[]), elements.clone()), Some(hosts4(&["203.0.113.14"])));
    let counted: Vec<_> = elements.into_iter().map(|element| Element { is_plain: false, ..element }).collect();
    assert_eq!(set_of(&hosts4(&[]), counted), None);
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
