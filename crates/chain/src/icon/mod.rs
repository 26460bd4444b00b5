//! The P-Rep list over ICON's JSON-RPC: what is asked and how an answer is read. Values only: bytes in, values out.

pub mod answer;
pub mod request;

pub use answer::{AnswerError, Expected, parse};
