//! What travels inside a tunnel: a probe and its answer, which say that the way carries packets, and the question how a sentry fares
//! and its answer. Two kinds, so that a host of now and a sentry of before, or the other way round, still probe each other.
//! Strangers can send none of them: the tunnel says who did.

use picket_model::paths::Condition;

/// Bytes of a probe and of an answer: an answer is never larger than what asked for it.
pub const LENGTH: usize = 16;
/// Bytes of a question and of what is said to it.
pub const LONG: usize = 32;
/// UDP port on a sentry's overlay addresses. Ours alone: in the range that nobody registers and no host calls from by itself.
pub const PORT: u16 = 27100;

const PROBE: [u8; 8] = *b"picket?1";
const ANSWER: [u8; 8] = *b"picket!1";
const QUESTION: [u8; 8] = *b"picket?2";
const SAID: [u8; 8] = *b"picket!2";
/// A height or a share that is not known.
const UNKNOWN_HEIGHT: u64 = u64::MAX;
const UNKNOWN: u16 = u16::MAX;

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

/// Asks how the sentry fares.
pub fn question() -> [u8; LONG] {
    filled(QUESTION.into_iter())
}

/// What is said to a datagram, if it asks that.
pub fn said(datagram: &[u8], condition: Condition) -> Option<[u8; LONG]> {
    if datagram.len() != LONG || !datagram.starts_with(&QUESTION) {
        return None;
    }
    let Condition { load_permille, tracking_permille, height } = condition;
    let height = height.unwrap_or(UNKNOWN_HEIGHT).to_be_bytes();
    let [load, tracking] = [load_permille, tracking_permille].map(|share| share.unwrap_or(UNKNOWN).to_be_bytes());
    Some(filled(SAID.into_iter().chain(height).chain(load).chain(tracking)))
}

/// How a sentry fares by a datagram, if it says so. What follows is for later versions, and is not looked at.
pub fn heard(datagram: &[u8]) -> Option<Condition> {
    if datagram.len() != LONG {
        return None;
    }
    let (kind, rest) = datagram.split_first_chunk::<8>()?;
    let (height, rest) = rest.split_first_chunk::<8>()?;
    let (load, rest) = rest.split_first_chunk::<2>()?;
    let (tracking, _) = rest.split_first_chunk::<2>()?;
    let share = |bytes: &[u8; 2]| Some(u16::from_be_bytes(*bytes)).filter(|share| *share != UNKNOWN);
    (*kind == SAID).then(|| Condition {
        load_permille: share(load),
        tracking_permille: share(tracking),
        height: Some(u64::from_be_bytes(*height)).filter(|height| *height != UNKNOWN_HEIGHT),
    })
}

fn message(kind: [u8; 8], number: u64) -> [u8; LENGTH] {
    filled(kind.into_iter().chain(number.to_be_bytes()))
}

fn filled<const N: usize>(bytes: impl Iterator<Item = u8>) -> [u8; N] {
    let mut message = [0; N];
    message.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte);
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
        fn a_sentry_says_what_it_knows(load in 0..u16::MAX, tracking in 0..u16::MAX, height in 0..u64::MAX, known: [bool; 3]) {
            let condition = Condition {
                load_permille: known[0].then_some(load),
                tracking_permille: known[1].then_some(tracking),
                height: known[2].then_some(height),
            };
            let said = said(&question(), condition).unwrap();
            prop_assert_eq!(heard(&said), Some(condition));
            // Those of before take neither for anything.
            prop_assert_eq!((answer(&question()), answered(&said), super::said(&said, condition)), (None, None, None));
            prop_assert_eq!((super::said(&probe(height), condition), heard(&probe(height))), (None, None));
        }

        #[test]
        fn anything_else_is_neither(datagram in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(answer(&datagram), None);
            prop_assert_eq!(answered(&datagram), None);
            prop_assert_eq!(said(&datagram, Condition::default()), None);
            prop_assert_eq!(heard(&datagram), None);
        }
    }

    #[test]
    fn a_datagram_of_another_length_is_neither() {
        let long: Vec<u8> = probe(1).into_iter().chain([0]).collect();
        assert_eq!((answer(&long), answer(&long[..15]), answer(&long[..7])), (None, None, None));
        assert_eq!(said(&question()[..31], Condition::default()), None);
    }
}
