//! What one door grants. Values only.

use picket_http::Share;
use std::time::Duration;

/// Limits of one door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once, and so requests: each has one at a time. Default 512 in all, 64 for one source.
    pub connections: Share,
    /// Of these, streams over WebSocket. Default 64 in all, 8 for one source; goloop itself has 10 (`wsMaxSession`).
    pub streams: Share,
    /// Bytes of a request's head. Default 16 KiB.
    pub head: usize,
    /// Header lines of a request. Default 48.
    pub header_lines: usize,
    /// Bytes of a request's body. Default 4 MiB: a contract of 1 MiB, the most that ICON takes, in hexadecimal, with room.
    pub body: u64,
    /// For the head of a request, the wait between two requests included. Default 15 s.
    pub head_time: Duration,
    /// For a request's body, whole. Default 60 s.
    pub body_time: Duration,
    /// For a connection to the node. Default 5 s.
    pub connect_time: Duration,
    /// From a request's end to the head of the node's answer. Default 60 s: goloop may wait for a transaction's result.
    pub answer_time: Duration,
    /// For which the node may send nothing in the middle of an answer, or the caller take nothing of it. Default 30 s.
    pub stall_time: Duration,
    /// For which neither end of a stream may say anything. Default 10 min: events may be seldom.
    pub stream_idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: Share { all: 512, source: 64 },
            streams: Share { all: 64, source: 8 },
            head: 16 << 10,
            header_lines: 48,
            body: 4 << 20,
            head_time: Duration::from_secs(15),
            body_time: Duration::from_secs(60),
            connect_time: Duration::from_secs(5),
            answer_time: Duration::from_secs(60),
            stall_time: Duration::from_secs(30),
            stream_idle: Duration::from_mins(10),
        }
    }
}
