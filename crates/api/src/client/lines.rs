//! An answer that comes line by line, read as it comes. Knows nothing of what the lines say.

use super::{ApiError, body, unreachable};
use reqwest::{Response, StatusCode};
use serde::de::DeserializeOwned;
use std::{fmt, marker::PhantomData};

/// Longest line taken, in bytes: a receipt that names 1,000 hosts is below it.
const LONGEST_LINE: usize = 1024 * 1024;

/// The lines of an answer, each one JSON object.
pub struct Lines<T> {
    response: Response,
    /// What has arrived and is not given out yet.
    buffer: Vec<u8>,
    kind: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for Lines<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lines({})", self.response.url())
    }
}

impl<T: DeserializeOwned> Lines<T> {
    /// The lines of a successful answer; the problem where it is none.
    pub(super) async fn of(response: Response) -> Result<Self, ApiError> {
        if response.status().is_success() {
            return Ok(Self { response, buffer: Vec::new(), kind: PhantomData });
        }
        let (status, url) = (response.status(), response.url().to_string());
        match body(response).await {
            Err(error) => Err(error),
            Ok(_) => Err(foreign(url, status, "an answer that is neither a success nor a problem".to_owned())),
        }
    }

    /// The next line; `None` at the end. A line that is cut off is an error.
    pub async fn next(&mut self) -> Result<Option<T>, ApiError> {
        let (status, url) = (self.response.status(), self.response.url().clone());
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let read = serde_json::from_slice(&line);
                return read.map(Some).map_err(|error| foreign(url.to_string(), status, error.to_string()));
            }
            if self.buffer.len() > LONGEST_LINE {
                return Err(foreign(url.to_string(), status, format!("a line of more than {LONGEST_LINE} bytes")));
            }
            match self.response.chunk().await.map_err(unreachable(&url))? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(foreign(url.to_string(), status, "its last line is cut off".to_owned())),
            }
        }
    }
}

fn foreign(url: String, status: StatusCode, reason: String) -> ApiError {
    ApiError::Foreign { url, status: status.as_u16(), reason }
}
