//! Whether there is a table, named counters and the generation as messages, and what the kernel answers. Pure.

use super::{
    FAMILY_INET,
    elements::message_type,
    kind, table_name,
    wire::{Attributes, DUMP, Malformed, Message, REQUEST, Writer, long_number, number, text},
};
use crate::Counter;

// linux/netfilter/nf_tables.h: `enum nft_table_attributes`, `nft_object_attributes`, `nft_counter_attributes`, `nft_gen_attributes`.
const TABLE_NAME: u16 = 1;
const OBJECT_TABLE: u16 = 1;
const OBJECT_NAME: u16 = 2;
const OBJECT_TYPE: u16 = 3;
const OBJECT_DATA: u16 = 4;
const TYPE_COUNTER: u32 = 1;
const COUNTER_BYTES: u16 = 1;
const COUNTER_PACKETS: u16 = 2;
const GENERATION_ID: u16 = 1;

/// The question for our table itself, without what is in it.
pub(crate) fn ask_table(sequence: u32) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.message((message_type(kind::GET_TABLE), REQUEST, sequence), (FAMILY_INET, 0), |writer| {
        writer.text(TABLE_NAME, table_name());
    });
    writer.into_bytes()
}

/// The question for all counters of our table.
pub(crate) fn dump_counters(sequence: u32) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.message((message_type(kind::GET_OBJECT), REQUEST | DUMP, sequence), (FAMILY_INET, 0), |writer| {
        writer.text(OBJECT_TABLE, table_name());
        writer.attribute(OBJECT_TYPE, &TYPE_COUNTER.to_be_bytes());
    });
    writer.into_bytes()
}

/// A counter's name and what it counted; `None` in a message of another kind.
pub(crate) fn read_counter(message: &Message<'_>) -> Result<Option<(String, Counter)>, Malformed> {
    let Some(head) = message.nf_tables() else { return Ok(None) };
    let (kind, attributes) = head?;
    let is_counter = attributes.get(OBJECT_TYPE)?.map(number).transpose()? == Some(TYPE_COUNTER);
    if kind != kind::NEW_OBJECT || !is_counter {
        return Ok(None);
    }
    let name = text(attributes.get(OBJECT_NAME)?.ok_or("a counter without a name")?)?;
    let counted = Attributes(attributes.get(OBJECT_DATA)?.ok_or("a counter without its numbers")?);
    let count = |kind| long_number(counted.get(kind)?.ok_or("a counter without one of its numbers")?);
    Ok(Some((name.to_owned(), Counter { packets: count(COUNTER_PACKETS)?, bytes: count(COUNTER_BYTES)? })))
}

/// The question for the generation: how often anything in nf_tables was changed in this network namespace.
pub(crate) fn ask_generation(sequence: u32) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.message((message_type(kind::GET_GENERATION), REQUEST, sequence), (0, 0), |_| {});
    writer.into_bytes()
}

/// The generation; `None` in a message of another kind.
pub(crate) fn read_generation(message: &Message<'_>) -> Result<Option<u32>, Malformed> {
    let Some(head) = message.nf_tables() else { return Ok(None) };
    let (kind, attributes) = head?;
    if kind != kind::NEW_GENERATION {
        return Ok(None);
    }
    number(attributes.get(GENERATION_ID)?.ok_or("a generation without its number")?).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::{elements::tests::bytes, wire::Messages};

    /// As Linux 6.18 answered `nft list set` for a table with `counter refused { packets 5 bytes 6 }`.
    const COUNTER: &str = "64000000 120a 0208 00000000 ff250000 01000002 0b000100 7069636b65740000 \
        0c000200 7265667573656400 08000300 00000001 0c000600 0000000000000001 08000500 00000000 \
        1c000400 0c000100 0000000000000006 0c000200 0000000000000005";
    const GENERATION: &str =
        "2c000000 0f0a 0000 00000000 ff250000 00000002 08000100 00000002 08000200 000025ff 08000300 6e667400";

    #[test]
    fn counters_are_read_as_the_kernel_writes_them() {
        let bytes = bytes(COUNTER);
        let message = Messages(&bytes).next().unwrap().unwrap();
        let counter = Counter { packets: 5, bytes: 6 };
        assert_eq!(read_counter(&message), Ok(Some(("refused".to_owned(), counter))));
        assert_eq!(read_generation(&message), Ok(None));
    }

    #[test]
    fn the_generation_is_read_as_the_kernel_writes_it() {
        let bytes = bytes(GENERATION);
        let message = Messages(&bytes).next().unwrap().unwrap();
        assert_eq!(read_generation(&message), Ok(Some(2)));
        assert_eq!(read_counter(&message), Ok(None));
    }

    #[test]
    fn half_a_counter_is_an_error() {
        let whole = bytes(COUNTER);
        for cut in [28, 40, 52, 76] {
            let mut half = whole[..whole.len() - cut].to_vec();
            half[0] = u8::try_from(half.len()).unwrap();
            let read = Messages(&half).next().unwrap().and_then(|message| read_counter(&message).map(|_| message));
            assert!(read.is_err() || cut == 76, "{cut} bytes short: {read:?}");
        }
    }
}
