//! A probe and its answer, as they travel inside a tunnel. Strangers cannot send either: the tunnel says who did.

/// Bytes of a probe and of an answer: an answer is never larger than what asked for it.
pub const LENGTH: usize = 16;
/// UDP port on a sentry's overlay addresses. Ours alone: in the range that nobody registers and no host calls from by itself.
pub const PORT: u16 = 27100;

const PROBE: [u8; 8] = *b"picket?1";
const ANSWER: [u8; 8] = *b"picket!1";

/// A probe, by its number.
pub fn probe(number: u64) -> [u8; LENGTH] {
    message(PROBE, number)
}

/// The answer to a datagram, if it is a probe.
pub fn answer(datagram: &[u8]) -> Option<[u8; LENGTH]> {
    let (kind, number) = read(datagram)?;
    (kind == PROBE).then(|| message(ANSWER, number))
}

/// The number in a datagram, if it is an answer.
pub fn answered(datagram: &[u8]) -> Option<u64> {
    let (kind, number) = read(datagram)?;
    (kind == ANSWER).then_some(number)
}

fn message(kind: [u8; 8], number: u64) -> [u8; LENGTH] {
    let mut message = [0; LENGTH];
    message.iter_mut().zip(kind.into_iter().chain(number.to_be_bytes())).for_each(|(place, byte)| *place = byte);
    message
}

fn read(datagram: &[u8]) -> Option<([u8; 8], u64)> {
    let (kind, number) = datagram.split_first_chunk::<8>()?;
    Some((*kind, u64::from_be_bytes(number.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_answer_bears_the_number_that_was_asked(number: u64) {
            let answer = answer(&probe(number)).unwrap();
            prop_assert_eq!(answered(&answer), Some(number));
            // Two hosts that answer each other's answers would never stop.
            prop_assert_eq!(super::answer(&answer), None);
            prop_assert_eq!(answered(&probe(number)), None);
        }

        #[test]
        fn anything_else_is_neither(datagram in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(answer(&datagram), None);
            prop_assert_eq!(answered(&datagram), None);
        }
    }

    #[test]
    fn a_datagram_of_another_length_is_neither() {
        let long: Vec<u8> = probe(1).into_iter().chain([0]).collect();
        assert_eq!((answer(&long), answer(&long[..15]), answer(&long[..7])), (None, None, None));
    }
}
