//! Where a subscription stands, as a value: the height to go on from after a connection was lost, and how long to wait
//! before the next one. No clock, no dice: both are given.

use super::message::Message;
use std::time::Duration;

/// Longest time between two beats of a connection that lives: three beats of 10 s that did not come.
pub const LONGEST_SILENCE: Duration = Duration::from_secs(30);
/// Longest pause before a source that failed is tried again.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Pause before a source without WebSocket is tried again.
pub const ABSENT_PAUSE: Duration = Duration::from_mins(10);

/// Longest pause after a first failure; doubled by each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// How a connection, or the try to make one, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It lived this long, or was never made.
    Lost(Duration),
    /// There is no WebSocket at this source.
    Absent,
}

/// One source's subscription over all its connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscription {
    next_height: Option<u64>,
    heard: bool,
    failures: u32,
}

impl Subscription {
    /// A connection is to be made: the first height to ask for. After the last one heard of; where there is none, the one
    /// at which the source was last polled (what had happened by then, that poll has seen).
    pub fn begin(&mut self, polled: u64) -> u64 {
        self.heard = false;
        self.next_height.unwrap_or(polled)
    }

    /// A message came. Whether it is an event, so that it is time to ask for the list.
    pub fn hear(&mut self, message: Message) -> bool {
        let (height, is_event) = match message {
            Message::Accepted => return false,
            Message::Event { height } => (height, true),
            Message::Progress { height } => (height, false),
        };
        self.heard = true;
        self.next_height = Some(height.saturating_add(1));
        is_event
    }

    /// The connection ended; how long to wait before the next: anything up to a limit that doubles (full jitter, so that
    /// those who lost the same node do not come back in step). `dice` is a random number.
    ///
    /// A connection on which nothing was heard may have been at a height that the source does not have, or has no more:
    /// the next one begins at the height of the last poll.
    pub fn end(&mut self, end: End, dice: u16) -> Duration {
        if !self.heard {
            self.next_height = None;
        }
        match end {
            End::Absent => return ABSENT_PAUSE,
            // Not on the first message: who accepts, speaks and closes again and again gets no rest from us otherwise.
            End::Lost(lived) if lived >= LONGEST_SILENCE && self.heard => self.failures = 0,
            End::Lost(_) => {}
        }
        let limit = FIRST_PAUSE.saturating_mul(1 << self.failures.min(8)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        limit.mul_f64(f64::from(dice) / f64::from(u16::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BRIEF: End = End::Lost(Duration::from_secs(1));
    const POLLED: u64 = 100;

    fn pause(subscription: &mut Subscription) -> u64 {
        subscription.end(BRIEF, u16::MAX).as_secs()
    }

    #[test]
    fn it_goes_on_after_the_last_height_heard_of() {
        let mut subscription = Subscription::default();
        assert_eq!(subscription.begin(POLLED), POLLED);
        assert!(!subscription.hear(Message::Accepted));
        assert!(!subscription.hear(Message::Progress { height: 104 }));
        assert!(subscription.hear(Message::Event { height: 107 }));
        subscription.end(BRIEF, 0);
        assert_eq!(subscription.begin(POLLED), 108);
        subscription.hear(Message::Progress { height: u64::MAX });
        assert_eq!(subscription.begin(POLLED), u64::MAX);
    }

    #[test]
    fn a_height_that_brings_nothing_is_given_up() {
        let mut subscription = Subscription::default();
        subscription.begin(POLLED);
        subscription.hear(Message::Event { height: 9000 });
        subscription.end(BRIEF, 0);
        assert_eq!(subscription.begin(POLLED), 9001);
        subscription.end(BRIEF, 0);
        assert_eq!(subscription.begin(POLLED), POLLED);
    }

    #[test]
    fn pauses_double_up_to_half_a_minute_and_the_dice_take_any_part() {
        let mut subscription = Subscription::default();
        let pauses: Vec<u64> = (0..8).map(|_| pause(&mut subscription)).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(subscription.end(BRIEF, 0), Duration::ZERO);
        let half = subscription.end(BRIEF, u16::MAX / 2).as_secs_f64();
        assert!((14.9..15.1).contains(&half), "{half}");
    }

    #[test]
    fn only_a_connection_that_lasted_makes_pauses_short_again() {
        let mut subscription = Subscription::default();
        for _ in 0..3 {
            subscription.begin(POLLED);
            subscription.hear(Message::Event { height: 1 });
            subscription.end(BRIEF, 0);
        }
        assert_eq!(pause(&mut subscription), 8);
        // As long, but silent.
        subscription.begin(POLLED);
        assert_eq!(subscription.end(End::Lost(LONGEST_SILENCE), u16::MAX).as_secs(), 16);
        subscription.begin(POLLED);
        subscription.hear(Message::Progress { height: 1 });
        assert_eq!(subscription.end(End::Lost(LONGEST_SILENCE), u16::MAX).as_secs(), 1);
    }

    #[test]
    fn a_source_without_websocket_is_left_alone_for_ten_minutes() {
        assert_eq!(Subscription::default().end(End::Absent, 0), ABSENT_PAUSE);
    }
}
