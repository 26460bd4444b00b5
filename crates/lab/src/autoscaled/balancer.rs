//! A network load balancer's look at its targets: a request to their health port, so many answers in a row. Passes nothing on.

use super::cloud::Health;
use crate::{Host, LabError, Waited, mesh::SOON, wait_until};
use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// How long a target may take to answer; the group's own health check has 6 s.
const ANSWERED: Duration = Duration::from_secs(6);
/// A host that is off answers nothing, and the next look is at once: AWS's interval is left out.
const CONNECTED: Duration = Duration::from_secs(1);

/// Waits until a target is as wanted: so many answers in a row say so.
pub(super) fn wait(from: &Host, to: SocketAddr, health: &Health, wanted: bool) -> Result<Waited<()>, LabError> {
    let enough = if wanted { health.healthy } else { health.unhealthy };
    let (mut in_a_row, what) = (0, if wanted { "ready" } else { "not ready" });
    wait_until(&format!("{to} to be {what}, by its {}", health.path), SOON * 3, || {
        let said = from.inside(|| ask(to, &health.path)).map_err(|error| error.to_string())?;
        let is_well = said.as_ref().is_ok_and(|status| *status == health.matcher);
        in_a_row = if is_well == wanted { in_a_row + 1 } else { 0 };
        if in_a_row >= enough { Ok(()) } else { Err(format!("{in_a_row} answers in a row; last {said:?}")) }
    })
}

/// The status that a target answers with.
fn ask(to: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&to, CONNECTED)?;
    stream.set_read_timeout(Some(ANSWERED))?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {to}\r\nUser-Agent: ELB-HealthChecker/2.0\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    // HTTP/1.1 200 OK
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.split_whitespace().next());
    status.map(str::to_owned).ok_or_else(|| io::Error::other(format!("no HTTP: {answer:?}")))
}
