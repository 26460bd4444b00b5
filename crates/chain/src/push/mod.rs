//! Word from a source that something about its P-Reps changed, over goloop's WebSocket: what is asked, how it is read, when
//! a connection is dead. An event only says that it is time to ask for the list: nothing in one is believed.

pub mod client;
pub mod message;
pub mod request;
pub mod subscription;

pub use client::{Dialer, PushError, PushLimits, Stream};
pub use message::{Message, MessageError};
pub use subscription::{End, Subscription};
