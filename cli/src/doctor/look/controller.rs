//! Controllers, asked as a host does before it is enrolled: which mesh it is, over TLS that is held against the fingerprint.

use super::network;
use crate::doctor::facts::{Answer, Controller, Seen};
use picket_chain::innermost;
use picket_model::Timestamp;
use picket_pki::{Fingerprint, client_config};
use reqwest::{Client, Url, header::DATE};
use std::time::{Duration, SystemTime};
use tokio::{net::TcpStream, time::timeout};

/// Long enough for a handshake that loses a packet or two.
const TIME_LIMIT: Duration = Duration::from_secs(8);

/// All of them; without a fingerprint only whether something takes connections there.
pub(super) async fn ask(urls: &[Url], pin: Option<Fingerprint>) -> Vec<Controller> {
    let mut asked = Vec::new();
    for url in urls {
        let answer = match pin {
            Some(pin) => hello(url, pin).await,
            None => connect(url).await,
        };
        asked.push(Controller { url: url.to_string().trim_end_matches('/').to_owned(), pinned: pin.is_some(), answer });
    }
    asked
}

async fn hello(url: &Url, pin: Fingerprint) -> Seen<Answer> {
    let tls = client_config(pin, None).map_err(|error| error.to_string())?;
    let client = Client::builder().tls_backend_preconfigured(tls).timeout(TIME_LIMIT).no_proxy().build();
    let client = client.map_err(|error| innermost(&error))?;
    let path = url.join("/v1/enroll").map_err(|error| error.to_string())?;
    let before = SystemTime::now();
    let response = client.get(path).send().await.map_err(|error| innermost(&error))?;
    let date = response.headers().get(DATE).and_then(|date| date.to_str().ok());
    let theirs = date.and_then(http_date);
    // The answer was written some time between question and answer.
    let ours: Timestamp = (before + before.elapsed().unwrap_or_default() / 2).into();
    Ok(Answer { ahead_ms: theirs.map(|theirs| theirs.as_millis() - ours.as_millis()) })
}

async fn connect(url: &Url) -> Seen<Answer> {
    let (host, port) = (network::host_of(url).unwrap_or_default(), url.port_or_known_default().unwrap_or(443));
    match timeout(TIME_LIMIT, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Ok(Answer { ahead_ms: None }),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", TIME_LIMIT.as_secs())),
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, the one form that servers may send (RFC 9110 section 5.6.7), in the middle of its second.
fn http_date(text: &str) -> Option<Timestamp> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let [_, day, month, year, time, "GMT"] = text.split(' ').collect::<Vec<_>>()[..] else { return None };
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let at: Timestamp = format!("{year}-{month:02}-{day}T{time}Z").parse().ok()?;
    Some(Timestamp::from_millis(at.as_millis() + 500))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_of_http_is_read() {
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap().as_millis(), 784_111_777_500);
        for wrong in
            ["", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun, 06 Nom 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 CET"]
        {
            assert_eq!(http_date(wrong), None, "{wrong}");
        }
    }
}
