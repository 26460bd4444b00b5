//! The largest packet that a tunnel carries there and back, found by probes of growing size: messages that say a packet was too
//! large are often lost, and then whatever is larger just vanishes. Values in, values out; `now` is passed in.

use std::time::{Duration, Instant};

/// The smallest that any way carries: IPv6's least, RFC 8200 section 5. What carries less is broken and not narrow.
pub const SMALLEST: u16 = 1280;
/// UDP port on a sentry's overlay addresses, beside that of the small probes.
pub const PORT: u16 = 27101;

/// What a packet has around a probe: IPv4 and UDP.
const HEADERS: u16 = 28;
/// How long a probe is waited for.
const PATIENCE: Duration = Duration::from_millis(700);
/// So many in a row must be lost, while small ones of the same time are answered.
const TRIES: u8 = 3;
/// How finely it is found: eight bytes are half a percent of nothing.
const STEP: u16 = 8;
/// How often what is known is asked for again.
const RECHECK: Duration = Duration::from_secs(20);
/// How often more is tried than is known to get through.
const RETRY: Duration = Duration::from_secs(600);

const PROBE: [u8; 8] = *b"picket?m";
const ANSWER: [u8; 8] = *b"picket!m";
const HEAD: usize = 16;

/// A probe by its number, for a packet of this size.
pub fn probe(number: u64, size: u16) -> Vec<u8> {
    let mut message = [PROBE, number.to_be_bytes()].concat();
    message.resize(usize::from(size.saturating_sub(HEADERS)).max(HEAD), 0);
    message
}

/// Makes a probe the answer to it, of the same size; whether it was one.
pub fn answer(datagram: &mut [u8]) -> bool {
    match datagram.split_first_chunk_mut::<8>() {
        Some((kind, rest)) if *kind == PROBE && rest.len() >= 8 => {
            *kind = ANSWER;
            true
        }
        _ => false,
    }
}

/// The number in a datagram, if it is an answer.
pub fn answered(datagram: &[u8]) -> Option<u64> {
    let (kind, rest) = datagram.split_first_chunk::<8>()?;
    let number = rest.first_chunk::<8>()?;
    (*kind == ANSWER).then(|| u64::from_be_bytes(*number))
}

/// What is known of one tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mtu {
    wanted: u16,
    /// What packets are held to.
    in_force: u16,
    /// Gets through, as far as is known.
    low: u16,
    /// Does not; one more than is wanted where everything does.
    high: u16,
    round: Option<Round>,
    next: u64,
    next_round: Instant,
    next_retry: Instant,
}

/// Probes of one size, each beside a small one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Round {
    size: u16,
    /// Number of the first probe of the pair that is out; the small one has the next.
    number: u64,
    sent: Instant,
    tries: u8,
    small: u8,
}

impl Mtu {
    /// Of a tunnel that is to carry packets of this size.
    pub fn new(wanted: u16, now: Instant) -> Self {
        Self {
            wanted,
            in_force: wanted,
            low: SMALLEST.min(wanted),
            high: wanted.saturating_add(1),
            round: None,
            next: 1,
            next_round: now,
            next_retry: now + RETRY,
        }
    }

    /// What packets are to be held to.
    pub fn in_force(&self) -> u16 {
        self.in_force
    }

    /// Whether so much is wanted of it.
    pub fn is_of(&self, wanted: u16) -> bool {
        self.wanted == wanted
    }

    /// Whether it is less than is wanted.
    pub fn is_narrow(&self) -> bool {
        self.in_force < self.wanted
    }

    /// Probes to be sent now, as numbers and sizes.
    pub fn due(&mut self, now: Instant) -> Vec<(u64, u16)> {
        if self.wanted <= SMALLEST {
            return Vec::new();
        }
        if let Some(round) = &mut self.round {
            if now.saturating_duration_since(round.sent) < PATIENCE {
                return Vec::new();
            }
            if round.tries >= TRIES {
                let (size, small) = (round.size, round.small);
                self.round = None;
                self.lost(size, small, now);
                return self.due(now);
            }
        } else if now < self.next_round {
            return Vec::new();
        } else {
            let size = self.candidate(now);
            self.round = Some(Round { size, number: 0, sent: now, tries: 0, small: 0 });
        }
        let Some(round) = &mut self.round else { return Vec::new() };
        (round.number, round.sent, round.tries) = (self.next, now, round.tries + 1);
        self.next += 2;
        // The small one first: behind the large one it could leave the host in one piece with it, which says nothing of sizes.
        vec![(round.number + 1, SMALLEST), (round.number, round.size)]
    }

    /// The answer to a probe came.
    pub fn answered(&mut self, number: u64, now: Instant) {
        let Some(round) = &mut self.round else { return };
        if number == round.number + 1 {
            round.small += 1;
        } else if number == round.number {
            let size = round.size;
            self.round = None;
            self.passed(size, now);
        }
    }

    /// What is asked for next: all that is wanted first, then halves of what is not known, and what is known once more.
    fn candidate(&mut self, now: Instant) -> u16 {
        if self.is_settled() {
            if self.is_narrow() && now >= self.next_retry {
                self.next_retry = now + RETRY;
                self.high = self.wanted.saturating_add(1);
                return self.wanted;
            }
            return self.in_force;
        }
        if self.high > self.wanted { self.wanted } else { self.low.midpoint(self.high) }
    }

    fn is_settled(&self) -> bool {
        self.low >= self.wanted || self.high - self.low <= STEP
    }

    fn passed(&mut self, size: u16, now: Instant) {
        self.low = self.low.max(size);
        // Held to what was found only at the end, so that it does not change many times.
        if self.is_settled() {
            self.in_force = self.low.min(self.wanted);
            self.next_round = now + RECHECK;
        } else {
            self.next_round = now;
        }
    }

    fn lost(&mut self, size: u16, small: u8, now: Instant) {
        if small < TRIES - 1 {
            // The other end says nothing at all, or as little as by chance: of sizes, nothing is known.
            self.next_round = now + RECHECK;
            return;
        }
        self.high = size;
        if size <= self.low {
            self.low = SMALLEST;
        }
        if size <= self.in_force {
            // What is in flight vanishes: first what surely gets through.
            self.in_force = SMALLEST;
        }
        self.next_round = now;
        if self.is_settled() {
            self.in_force = self.low;
            self.next_round = now + RECHECK;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WANTED: u16 = 1420;

    /// Plays a tunnel for so many seconds, which carries packets of a size at a time; how often another size came into force.
    fn play(mtu: &mut Mtu, now: &mut Instant, seconds: u32, mut carries: impl FnMut(u16) -> bool) -> usize {
        let mut changes = 0;
        for _ in 0..seconds * 10 {
            let before = mtu.in_force();
            for (number, size) in mtu.due(*now) {
                if carries(size) {
                    mtu.answered(number, *now);
                }
            }
            *now += Duration::from_millis(100);
            changes += usize::from(before != mtu.in_force());
        }
        changes
    }

    #[test]
    fn a_wide_tunnel_stays_as_it_is() {
        let mut now = Instant::now();
        let mut mtu = Mtu::new(WANTED, now);
        assert_eq!(play(&mut mtu, &mut now, 3600, |_| true), 0);
        assert!(!mtu.is_narrow());
    }

    #[test]
    fn a_narrow_one_is_found_within_seconds_and_held_to_without_flapping() {
        for limit in [1280, 1281, 1300, 1320, 1375, 1412, 1419] {
            let mut now = Instant::now();
            let mut mtu = Mtu::new(WANTED, now);
            play(&mut mtu, &mut now, 3, |size| size <= limit);
            assert!(mtu.in_force() <= limit, "what surely gets through, until more is known: {}", mtu.in_force());
            play(&mut mtu, &mut now, 20, |size| size <= limit);
            let found = mtu.in_force();
            assert!(found <= limit && found + STEP >= limit, "{found} of {limit}");
            // Every ten minutes more is tried, and nothing changes by it.
            assert_eq!(play(&mut mtu, &mut now, 3000, |size| size <= limit), 0);
        }
    }

    #[test]
    fn a_way_that_becomes_narrow_or_wide_again_is_followed() {
        let mut now = Instant::now();
        let mut mtu = Mtu::new(WANTED, now);
        play(&mut mtu, &mut now, 60, |_| true);
        play(&mut mtu, &mut now, 60, |size| size <= 1350);
        assert!((1342..=1350).contains(&mtu.in_force()), "{}", mtu.in_force());
        play(&mut mtu, &mut now, 60, |size| size <= 1300);
        assert!((1292..=1300).contains(&mtu.in_force()), "{}", mtu.in_force());
        play(&mut mtu, &mut now, 700, |_| true);
        assert_eq!(mtu.in_force(), WANTED);
    }

    #[test]
    fn a_large_probe_is_the_last_of_its_pair() {
        let now = Instant::now();
        let sizes: Vec<u16> = Mtu::new(WANTED, now).due(now).into_iter().map(|(_, size)| size).collect();
        assert_eq!(sizes, [SMALLEST, WANTED]);
    }

    #[test]
    fn silence_says_nothing_about_sizes() {
        let mut now = Instant::now();
        let mut mtu = Mtu::new(WANTED, now);
        // A sentry whose agent knows no such probes, or that is away.
        assert_eq!(play(&mut mtu, &mut now, 600, |_| false), 0);
        assert!(!mtu.is_narrow());
    }

    proptest! {
        #[test]
        fn whatever_is_lost_it_stays_within_its_bounds(wanted in 1280..9000_u16, fates in proptest::collection::vec(any::<bool>(), 1..300)) {
            let mut now = Instant::now();
            let mut mtu = Mtu::new(wanted, now);
            let mut fates = fates.into_iter().cycle();
            for _ in 0..100 {
                play(&mut mtu, &mut now, 1, |_| fates.next().unwrap());
                prop_assert!((SMALLEST..=wanted).contains(&mtu.in_force()));
            }
        }

        #[test]
        fn an_answer_is_as_large_as_what_asked_and_bears_its_number(number: u64, size in SMALLEST..9000) {
            let mut datagram = probe(number, size);
            prop_assert_eq!(datagram.len() + usize::from(HEADERS), usize::from(size));
            prop_assert!(answered(&datagram).is_none() && answer(&mut datagram));
            prop_assert_eq!(answered(&datagram), Some(number));
            prop_assert!(!answer(&mut datagram), "two hosts that answer each other's answers would never stop");
        }

        #[test]
        fn anything_else_is_neither(mut datagram in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert!(answered(&datagram).is_none() && !answer(&mut datagram));
        }
    }
}
