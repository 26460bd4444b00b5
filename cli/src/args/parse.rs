//! Texts of arguments to values, each refusal with what to write.

use crate::time::parse_duration;
use picket_model::Generation;
use reqwest::Url;
use std::time::Duration;

/// Longest time the controller lets a revoke wait (`picket_api::operator::RevokeQuery`).
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// A controller's URL: https, since the token travels with every call.
pub(crate) fn parse_url(text: &str) -> Result<Url, String> {
    let example = "give it as https://host:port";
    let url = Url::parse(text).map_err(|error| format!("{error}; {example}"))?;
    if url.scheme() == "https" { Ok(url) } else { Err(format!("the scheme is not https; {example}")) }
}

pub(super) fn parse_generation(text: &str) -> Result<Generation, String> {
    text.parse().map(Generation).map_err(|_| "give a generation's number, as `picket status` shows it".to_owned())
}

pub(super) fn parse_wait(text: &str) -> Result<Duration, String> {
    let wait = parse_duration(text)?;
    if wait <= LONGEST_WAIT { Ok(wait) } else { Err("the controller waits 30s at most".to_owned()) }
}

pub(super) fn parse_reason(text: &str) -> Result<String, String> {
    let fits = (1..=200).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    if fits { Ok(text.to_owned()) } else { Err("give one line of 1 to 200 characters".to_owned()) }
}

pub(super) fn parse_lease(text: &str) -> Result<Duration, String> {
    if text == "none" { Ok(Duration::ZERO) } else { parse_ttl(text) }
}

/// A drain's time; the controller takes a day at most (`picket_api::paths::DrainNode`).
pub(super) fn parse_drain(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text)?;
    if time <= Duration::from_hours(24) { Ok(time) } else { Err("give a day at most".to_owned()) }
}

pub(super) fn parse_wait_for(text: &str) -> Result<Duration, String> {
    parse_duration(text)
}

pub(super) fn parse_ttl(text: &str) -> Result<Duration, String> {
    let ttl = parse_duration(text)?;
    if ttl >= Duration::from_secs(1) { Ok(ttl) } else { Err("give 1s or more".to_owned()) }
}
