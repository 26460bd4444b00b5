//! What one listener grants to whoever connects. Values only.

use std::time::Duration;

/// Limits of one listener; the defaults suit the agents' one, which is public and knows its members by certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once, strangers apart; one more is closed after its handshake. Default 16,384.
    pub max_connections: usize,
    /// Connections of one member at once; with one more the oldest is closed. Default 8: an agent has one, another while it turns to
    /// a new certificate or looks whether its first controller is back, and those that a restart of its host left half open.
    pub of_one_member: usize,
    /// TLS handshakes under way: nobody is known yet, so these limits are everybody's. One more is closed as soon as it
    /// is accepted. Default 1024 in all, 64 for one source: hosts behind one address translation join together.
    pub handshakes: Share,
    /// What a client without a certificate is granted. `None` where nobody shows one: everybody is served like a member.
    pub strangers: Option<Strangers>,
    /// From accept to the end of the TLS handshake. Default 5 s.
    pub handshake_timeout: Duration,
    /// For the head of a request over HTTP/1, and for the first request over either version. Default 10 s.
    pub header_timeout: Duration,
    /// From a request's head to its answer's head, reading the body included; then 408. Default 60 s, longer than any poll waits.
    pub request_timeout: Duration,
    /// A silent HTTP/2 connection is pinged after so long, and given up after as long again. Default 10 s.
    pub keep_alive: Duration,
    /// Bytes of a request's body; more fails in the handler's extractor, with 413. Default 1 MiB.
    pub max_body: usize,
    /// How long requests may still run once the listener stops. Default 10 s.
    pub stop_grace: Duration,
}

/// What a client is granted that shows no certificate where members show one: enough to enrol, and apart from the
/// members' connections, so that strangers cannot keep members out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strangers {
    /// Connections at once; one more is closed after its handshake. Default 256 in all, 64 for one source.
    pub connections: Share,
    /// A connection ends after its first answer, and with or without one after so long; what is then in flight gets a
    /// second. Default 15 s.
    pub lifetime: Duration,
    /// Bytes of a request's body, as [`Limits::max_body`]. Default 32 KiB; an enrolment has about 2.
    pub max_body: usize,
}

/// How many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// From everywhere.
    pub all: usize,
    /// From one source: an IPv4 address, or an IPv6 /64.
    pub source: usize,
}

impl Limits {
    /// For a listener that asks for no certificates, as operators' and health's: no source has less than the whole.
    pub fn everybody_anonymous() -> Self {
        let limits = Self::default();
        Self { handshakes: Share::whole(limits.max_connections), strangers: None, ..limits }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 16_384,
            of_one_member: 8,
            handshakes: Share { all: 1024, source: 64 },
            strangers: Some(Strangers::default()),
            handshake_timeout: Duration::from_secs(5),
            header_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(60),
            keep_alive: Duration::from_secs(10),
            max_body: 1 << 20,
            stop_grace: Duration::from_secs(10),
        }
    }
}

impl Default for Strangers {
    fn default() -> Self {
        Self { connections: Share { all: 256, source: 64 }, lifetime: Duration::from_secs(15), max_body: 32 << 10 }
    }
}

impl Share {
    /// So many, also for a single source.
    pub(crate) fn whole(all: usize) -> Self {
        Self { all, source: all }
    }
}
