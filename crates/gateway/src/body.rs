//! Bodies on their way, piece by piece: never more in memory than is under way, and cut where they are too large, too slow or
//! stand still. Trailers stay behind.

use crate::{Limits, Outcome, answer::BodyError};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use std::{
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// Why a body was cut, for whoever has to say so.
pub(crate) type Fate = Arc<OnceLock<Outcome>>;

/// A request's body, on its way to the node.
pub(crate) struct Upload {
    body: Incoming,
    left: u64,
    deadline: Pin<Box<Sleep>>,
    fate: Fate,
}

impl Upload {
    /// # Errors
    /// Where it is too large by its own word.
    pub(crate) fn new(body: Incoming, limits: &Limits, fate: Fate) -> Result<Self, Outcome> {
        if body.size_hint().lower() > limits.body {
            return Err(Outcome::TooLarge);
        }
        let deadline = Box::pin(sleep_until(Instant::now() + limits.body_time));
        Ok(Self { body, left: limits.body, deadline, fate })
    }

    fn cut(&self, outcome: Outcome) -> BodyError {
        // The first reason is the one.
        self.fate.set(outcome).ok();
        outcome.as_str().into()
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(self.cut(Outcome::TooSlow))));
        }
        loop {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    let Some(left) = u64::try_from(data.len()).ok().and_then(|length| self.left.checked_sub(length))
                    else {
                        return Poll::Ready(Some(Err(self.cut(Outcome::TooLarge))));
                    };
                    self.left = left;
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body, on its way to the caller.
pub(crate) struct Download {
    body: Incoming,
    stall: Duration,
    /// Runs while the node is waited for, and not while the caller is.
    waits: Option<Pin<Box<Sleep>>>,
}

impl Download {
    pub(crate) fn new(body: Incoming, limits: &Limits) -> Self {
        Self { body, stall: limits.stall_time, waits: None }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(frame) => {
                    self.waits = None;
                    match frame {
                        None => return Poll::Ready(None),
                        Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                        Some(Ok(frame)) => match frame.into_data() {
                            Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                            Err(_) => continue,
                        },
                    }
                }
                Poll::Pending => {
                    let stall = self.stall;
                    let waits = self.waits.get_or_insert_with(|| Box::pin(sleep(stall)));
                    ready!(waits.as_mut().poll(cx));
                    let stands = io::Error::new(io::ErrorKind::TimedOut, "the node stands still within its answer");
                    return Poll::Ready(Some(Err(stands.into())));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
