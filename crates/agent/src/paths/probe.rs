//! A probe and its answer, as they travel inside a tunnel. Strangers cannot send either: the tunnel says who did.

/// Bytes of a probe and of an answer: an answer is never larger than what asked for it.
pub const LENGTH: usize = 40;
/// UDP port on a sentry's overlay addresses. Ours alone: in the range that nobody registers and no host calls from by itself.
pub const PORT: u16 = 27100;

const PROBE: [u8; 8] = *b"picket?1";
const ANSWER: [u8; 8] = *b"picket!1";

/// What a sentry says of itself with each answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// Runnable tasks for each processor over the last minute, in hundredths.
    pub load: u32,
    /// How full its connection tracking is, in thousandths.
    pub tracked: u16,
    /// Height of the chain beside it; zero where there is none.
    pub height: u64,
}

/// A probe, by its number.
pub fn probe(number: u64) -> [u8; LENGTH] {
    message(PROBE, number, Condition::default())
}

/// The answer to a datagram, if it is a probe.
pub fn answer(datagram: &[u8], condition: Condition) -> Option<[u8; LENGTH]> {
    let (kind, number, _) = read(datagram)?;
    (kind == PROBE).then(|| message(ANSWER, number, condition))
}

/// The number and the sender's condition in a datagram, if it is an answer.
pub fn answered(datagram: &[u8]) -> Option<(u64, Condition)> {
    let (kind, number, condition) = read(datagram)?;
    (kind == ANSWER).then_some((number, condition))
}

fn message(kind: [u8; 8], number: u64, condition: Condition) -> [u8; LENGTH] {
    let Condition { load, tracked, height } = condition;
    let fields = kind.into_iter().chain(number.to_be_bytes()).chain(load.to_be_bytes()).chain(tracked.to_be_bytes());
    let fields = fields.chain([0; 2]).chain(height.to_be_bytes());
    let mut message = [0; LENGTH];
    message.iter_mut().zip(fields).for_each(|(place, byte)| *place = byte);
    message
}

fn read(datagram: &[u8]) -> Option<([u8; 8], u64, Condition)> {
    if datagram.len() != LENGTH {
        return None;
    }
    let (kind, rest) = datagram.split_first_chunk::<8>()?;
    let (number, rest) = rest.split_first_chunk::<8>()?;
    let (load, rest) = rest.split_first_chunk::<4>()?;
    let (tracked, rest) = rest.split_first_chunk::<2>()?;
    let (height, _) = rest.get(2..)?.split_first_chunk::<8>()?;
    let condition = Condition {
        load: u32::from_be_bytes(*load),
        tracked: u16::from_be_bytes(*tracked),
        height: u64::from_be_bytes(*height),
    };
    Some((*kind, u64::from_be_bytes(*number), condition))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_answer_bears_the_number_and_what_the_sentry_says(
            number: u64, load: u32, tracked: u16, height: u64,
        ) {
            let condition = Condition { load, tracked, height };
            let answer = answer(&probe(number), condition).unwrap();
            prop_assert_eq!(answered(&answer), Some((number, condition)));
            // Two hosts that answer each other's answers would never stop.
            prop_assert_eq!(super::answer(&answer, condition), None);
            prop_assert_eq!(answered(&probe(number)), None);
        }

        #[test]
        fn anything_else_is_neither(datagram in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(answer(&datagram, Condition::default()), None);
            prop_assert_eq!(answered(&datagram), None);
        }
    }

    #[test]
    fn a_datagram_of_another_length_is_neither() {
        let long: Vec<u8> = probe(1).into_iter().chain([0]).collect();
        assert_eq!((answer(&long, Condition::default()), answer(&long[..39], Condition::default())), (None, None));
    }
}
