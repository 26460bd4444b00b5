//! What one listener grants to whoever connects. Values only.

use std::time::Duration;

/// Limits of one listener; the defaults suit the agents' one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; one more is closed as soon as it is accepted. Default 4096.
    pub max_connections: usize,
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

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            handshake_timeout: Duration::from_secs(5),
            header_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(60),
            keep_alive: Duration::from_secs(10),
            max_body: 1 << 20,
            stop_grace: Duration::from_secs(10),
        }
    }
}
