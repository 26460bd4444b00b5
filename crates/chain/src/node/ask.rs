//! Asks goloop on this host, over plain HTTP or its socket: one GET under limits of time and size. No TLS, no name
//! lookup, no redirect: it is small, for agents.

use super::{Channel, Inspected, Place, PrepStanding, System, answer, answer::AnswerError, prep, system};
use crate::quote::{innermost, shortened, start};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1, header, http::request::Builder};
use hyper_util::rt::TokioIo;
use picket_model::{NodeId, PrepId, Timestamp};
use serde_json::{Value, json};
use std::{error::Error, time::Duration};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    task::JoinSet,
    time::timeout,
};

/// Time for everything, from the connection to the last byte.
const LONGEST: Duration = Duration::from_secs(3);
/// The chain's own SCORE.
const CHAIN_SCORE: &str = "cx0000000000000000000000000000000000000000";
/// Largest body read, in bytes; a mainnet validator's answer has some 30 KiB.
const LARGEST: usize = 1 << 20;

/// Why goloop gave no answer that can be used: plain data, with the place in its text, to be kept and shown.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AskError {
    /// No connection, or one that broke.
    #[error("goloop at {place} cannot be reached: {reason}")]
    Unreachable {
        /// Where.
        place: String,
        /// The innermost cause.
        reason: String,
    },
    /// No whole answer in time.
    #[error("goloop at {place} gave no whole answer within {LONGEST:?}")]
    Timeout {
        /// Where.
        place: String,
    },
    /// The body is beyond the limit; the rest was not read.
    #[error("goloop at {place} answers with more than {LARGEST} bytes")]
    TooLarge {
        /// Where.
        place: String,
    },
    /// It runs, and not this chain.
    #[error("goloop at {place} has no chain {channel}; it has: {}", if .has.is_empty() { "none" } else { .has })]
    NoChain {
        /// Where.
        place: String,
        /// The channel asked about.
        channel: String,
        /// The channels it names, separated by commas.
        has: String,
    },
    /// Any other HTTP status than 200.
    #[error("goloop at {place} answers HTTP {status} {said:?}")]
    Status {
        /// Where.
        place: String,
        /// The status.
        status: u16,
        /// How the body begins.
        said: String,
    },
    /// An answer that cannot be used.
    #[error("goloop at {place}: {reason}")]
    Answer {
        /// Where.
        place: String,
        /// What is wrong with it.
        reason: AnswerError,
    },
}

/// A node's last block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastBlock {
    /// Its height.
    pub height: u64,
    /// When it was made, by those who made it.
    pub at: Timestamp,
}

/// A goloop on this host and the chain it is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goloop {
    /// Where.
    pub place: Place,
    /// Which chain.
    pub channel: Channel,
}

impl Goloop {
    /// Asks once. `node` is the host that asks, `now` the moment of asking, which becomes `seen_at`.
    ///
    /// # Errors
    /// An [`AskError`] for anything but an answer about this chain, whatever state it is in.
    pub async fn ask(&self, node: &NodeId, now: Timestamp) -> Result<Inspected, AskError> {
        timeout(LONGEST, self.ask_slowly(node, now)).await.map_err(|_| AskError::Timeout { place: self.name() })?
    }

    async fn ask_slowly(&self, node: &NodeId, now: Timestamp) -> Result<Inspected, AskError> {
        let (place, channel) = (self.name(), &self.channel);
        let (status, body) = self.get(&format!("/chain/{channel}")).await?;
        match status {
            StatusCode::OK => {
                answer::parse(node, channel, &body, now).map_err(|reason| AskError::Answer { place, reason })
            }
            StatusCode::NOT_FOUND => {
                Err(AskError::NoChain { place, channel: channel.to_string(), has: self.channels().await? })
            }
            _ => Err(AskError::Status { place, status: status.as_u16(), said: start(&body) }),
        }
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// An [`AskError`] for anything but that.
    pub async fn system(&self) -> Result<System, AskError> {
        let asked = async {
            let (place, (status, body)) = (self.name(), self.get("/system").await?);
            match status {
                StatusCode::OK => system::parse(&body).map_err(|reason| AskError::Answer { place, reason }),
                _ => Err(AskError::Status { place, status: status.as_u16(), said: start(&body) }),
            }
        };
        timeout(LONGEST, asked).await.map_err(|_| AskError::Timeout { place: self.name() })?
    }

    /// The channels goloop says it has.
    async fn channels(&self) -> Result<String, AskError> {
        let (status, body) = self.get("/chain").await?;
        match (status, serde_json::from_slice::<Vec<Value>>(&body)) {
            (StatusCode::OK, Ok(chains)) => {
                let names: Vec<&str> = chains.iter().filter_map(|chain| chain.get("channel")?.as_str()).collect();
                Ok(shortened(&names.join(", ")))
            }
            // No goloop answers 404 to this.
            _ => Err(AskError::Status { place: self.name(), status: status.as_u16(), said: start(&body) }),
        }
    }

    /// The height of its last block, by `icx_getLastBlock` as everybody asks it.
    ///
    /// # Errors
    /// An [`AskError`] for anything but a height; its socket, which answers nothing else than about itself, has none.
    pub async fn height(&self) -> Result<u64, AskError> {
        self.last_block().await.map(|block| block.height)
    }

    /// Its last block.
    ///
    /// # Errors
    /// As [`height`](Self::height).
    pub async fn last_block(&self) -> Result<LastBlock, AskError> {
        let question = json!({"jsonrpc": "2.0", "id": 1, "method": "icx_getLastBlock"});
        let (status, body) = self.call(&question).await?;
        let answer: Option<Value> = serde_json::from_slice(&body).ok();
        let block = answer.as_ref().and_then(|answer| {
            let block = answer.get("result")?;
            // goloop counts microseconds.
            let at = i64::try_from(block.get("time_stamp")?.as_u64()? / 1000).ok()?;
            Some(LastBlock { height: block.get("height")?.as_u64()?, at: Timestamp::from_millis(at) })
        });
        block.filter(|_| status == StatusCode::OK).ok_or_else(|| self.refused(status, &body))
    }

    /// How the chain judges a validator, by this node's word.
    ///
    /// # Errors
    /// As [`height`](Self::height), and where the chain does not know it.
    pub async fn prep(&self, prep: PrepId) -> Result<PrepStanding, AskError> {
        let data = json!({"method": "getPRep", "params": {"address": prep}});
        let params = json!({"to": CHAIN_SCORE, "dataType": "call", "data": data});
        let question = json!({"jsonrpc": "2.0", "id": 1, "method": "icx_call", "params": params});
        let (status, body) = self.call(&question).await?;
        if status != StatusCode::OK {
            return Err(self.refused(status, &body));
        }
        prep::parse(&body).map_err(|reason| AskError::Answer { place: self.name(), reason })
    }

    /// One call of its JSON-RPC, within the time that a question may take.
    async fn call(&self, question: &Value) -> Result<(StatusCode, Bytes), AskError> {
        let Place::Http(address) = &self.place else {
            let reason = "its socket tells no height: give its RPC port, http://127.0.0.1:PORT".to_owned();
            return Err(AskError::Unreachable { place: self.name(), reason });
        };
        let called = async {
            let stream = TcpStream::connect(address).await.map_err(|error| self.transport(&error))?;
            let request = Request::post("/api/v3").header(header::CONTENT_TYPE, "application/json");
            self.exchange(stream, request, question.to_string()).await
        };
        timeout(LONGEST, called).await.map_err(|_| AskError::Timeout { place: self.name() })?
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> AskError {
        AskError::Status { place: self.name(), status: status.as_u16(), said: start(body) }
    }

    async fn get(&self, path: &str) -> Result<(StatusCode, Bytes), AskError> {
        match &self.place {
            Place::Http(address) => {
                let stream = TcpStream::connect(address).await.map_err(|error| self.transport(&error))?;
                self.exchange(stream, Request::get(format!("/admin{path}")), String::new()).await
            }
            Place::Socket(file) => {
                let stream = UnixStream::connect(file).await.map_err(|error| self.transport(&error))?;
                self.exchange(stream, Request::get(path), String::new()).await
            }
        }
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        request: Builder,
        body: String,
    ) -> Result<(StatusCode, Bytes), AskError> {
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.transport(&error))?;
        // Ends with this call, however it ends.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let request = request
            .header(header::HOST, "localhost")
            .header(header::CONNECTION, "close")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| self.transport(&error))?;
        let response = sender.send_request(request).await.map_err(|error| self.transport(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LARGEST).collect().await.map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() {
                AskError::TooLarge { place: self.name() }
            } else {
                self.transport(&*error)
            }
        })?;
        Ok((status, body.to_bytes()))
    }

    fn transport(&self, error: &(dyn Error + 'static)) -> AskError {
        AskError::Unreachable { place: self.name(), reason: shortened(&innermost(error)) }
    }

    fn name(&self) -> String {
        self.place.to_string()
    }
}
