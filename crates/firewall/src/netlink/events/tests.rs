//! What the kernel told a listener, read; and what it never should tell.

use super::*;
use crate::netlink::elements::tests::bytes;
use proptest::prelude::*;

// What Linux 6.18 sent to a listener while nft 1.0.6 did what the name says.
const ELEMENT_ADDED: &str = "440000000c0a000400000000752f0000010000040b0001007069636b657400000f0002007032705f686f73747334000014000300100001000c00010008000100cb0071632c0000000f0a000001000000752f00000000000408000100000000040800020000002f75080003006e667400";
const OTHER_TABLE: &str = "34000000020a000001000000772f0000010000060b000100746865697273000008000300000000000c00040000000000000000022c0000000f0a000001000000772f00000000000608000100000000060800020000002f77080003006e667400";
const CHAIN_AND_RULE: &str = "40000000030a000402000000802f0000010000070b0001007069636b657400000b0003007261775f696e00000c000200000000000000000608000600000000016c000000060a000c03000000802f0000010000070b0001007069636b657400000b0002007261775f696e00000c000300000000000000000734000400300001000e000100696d6d6564696174650000001c0002000800010000000000100002000c00020008000100000000012c0000000f0a000001000000802f00000000000708000100000000070800020000002f80080003006e667400";
const FLUSH: &str = "3c0000000b0a000001000000d32f0000010000080b0001007069636b657400000f0002007032705f686f7374733400000c001000000000000000000238000000050a000001000000d32f0000010000080b0001007069636b657400000b0003007261775f696e00000c000200000000000000000634000000020a000001000000d32f0000010000080b0001007069636b6574000008000300000000000c00040000000000000000012c0000000f0a000001000000d32f00000000000808000100000000080800020000002fd3080003006e667400";

fn commits(recorded: &str) -> Vec<Commit> {
    Commits::default().take(&bytes(recorded)).unwrap()
}

/// What is said of the only commit in it.
fn check(recorded: &str, touched: Option<&str>, generation: u32, process: u32) {
    let author = Author { program: "nft".to_owned(), process };
    let [commit] = commits(recorded).try_into().unwrap();
    assert_eq!(commit.touched.as_ref().map(Touched::to_string).as_deref(), touched);
    assert_eq!((commit.generation, &commit.author), (generation, &author));
    assert_eq!(author.to_string(), format!("nft (process {process})"));
}

#[test]
fn who_did_what_to_our_table_is_read_as_the_kernel_tells_it() {
    check(ELEMENT_ADDED, Some("element added to p2p_hosts4"), 4, 12_149);
    check(CHAIN_AND_RULE, Some("chain raw_in added or changed, and 1 changes more"), 7, 12_160);
    check(FLUSH, Some("table deleted, and 2 changes more"), 8, 12_243);
    check(OTHER_TABLE, None, 6, 12_151);
}

#[test]
fn a_table_of_our_name_in_another_family_is_not_ours() {
    let mut other = bytes(ELEMENT_ADDED);
    // NFPROTO_IPV4
    other[16] = 2;
    assert_eq!(Commits::default().take(&other).unwrap()[0].touched, None);
}

#[test]
fn a_commit_may_come_in_pieces_and_ends_with_its_generation() {
    let whole = bytes(CHAIN_AND_RULE);
    let mut gathered = Commits::default();
    assert_eq!(gathered.take(&whole[..64]), Ok(vec![]));
    assert_eq!(gathered.take(&whole[64..172]), Ok(vec![]));
    assert_eq!(gathered.take(&whole[172..]), Ok(commits(CHAIN_AND_RULE)));
    // The next commit begins anew, and so does one after a loss.
    assert_eq!(gathered.take(&bytes(OTHER_TABLE)), Ok(commits(OTHER_TABLE)));
    assert_eq!(gathered.take(&whole[..64]), Ok(vec![]));
    gathered.forget();
    assert_eq!(gathered.take(&bytes(OTHER_TABLE)), Ok(commits(OTHER_TABLE)));
}

#[test]
fn only_what_came_after_the_comparison_and_touched_us_is_a_reason_to_look() {
    let check = |recorded, compared, expect| {
        assert_eq!(commits(recorded)[0].is_reason_to_look(compared), expect, "compared under {compared:?}");
    };
    for (compared, expect) in
        [(None, true), (Some(3), true), (Some(4), false), (Some(5), false), (Some(u32::MAX), true)]
    {
        check(ELEMENT_ADDED, compared, expect);
        check(OTHER_TABLE, compared, false);
    }
}

#[test]
fn a_programs_name_is_its_own_word_and_is_shown_escaped() {
    let mut hostile = bytes(ELEMENT_ADDED);
    let name = hostile.len() - 4;
    hostile[name..].copy_from_slice(b"\x1b[2\xff");
    let author = Commits::default().take(&hostile).unwrap()[0].author.to_string();
    assert_eq!(author, "\\u{1b}[2\u{fffd} (process 12149)");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn hostile_bytes_are_an_error_or_commits_and_never_a_panic(
        recorded in prop::sample::select(vec![ELEMENT_ADDED, OTHER_TABLE, CHAIN_AND_RULE, FLUSH]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        length in any::<prop::sample::Index>(),
    ) {
        let mut hostile = bytes(recorded);
        for (index, byte) in changes {
            *index.get_mut(&mut hostile) = byte;
        }
        hostile.truncate(length.index(hostile.len() + 1));
        for commit in Commits::default().take(&hostile).into_iter().flatten() {
            prop_assert!(commit.author.program.chars().count() <= 15);
            prop_assert!(commit.touched.is_none_or(|touched| touched.to_string().chars().count() < 120));
        }
    }
}
