//! Asking a program on the same host whether it is ready: what a container's health check runs, where there is no curl.

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};
use thiserror::Error;
use tokio::{net::TcpStream, time::timeout};

/// The answer is a list of sentences.
const MOST_BYTES: usize = 64 << 10;
/// `/ready` waits for nothing: a program that takes longer hangs.
const TIME_LIMIT: Duration = Duration::from_secs(3);

/// Why a program is not known to be ready.
#[derive(Debug, Error)]
pub enum AskError {
    /// It says so itself.
    #[error("not ready: {0}")]
    NotReady(String),
    /// Nothing of use came back.
    #[error(
        "nobody says at http://{address}/ready whether the program is ready ({why}); does it run, and answer there?"
    )]
    NoAnswer {
        /// Who was asked.
        address: SocketAddr,
        /// What came instead.
        why: String,
    },
}

/// Asks the program whose health address this is; one that listens at every address is asked on loopback.
///
/// # Errors
/// [`AskError`]: it is not ready, or did not answer within three seconds.
pub async fn ask_ready(listens: SocketAddr) -> Result<(), AskError> {
    let address = SocketAddr::new(asked_at(listens.ip()), listens.port());
    let no_answer = |why: String| AskError::NoAnswer { address, why };
    let answer = timeout(TIME_LIMIT, answer(address)).await;
    match answer
        .map_err(|_| no_answer("no answer in time".to_owned()))?
        .map_err(|error| no_answer(error.to_string()))?
    {
        (StatusCode::OK, _) => Ok(()),
        (StatusCode::SERVICE_UNAVAILABLE, text) => Err(AskError::NotReady(text)),
        (status, _) => Err(no_answer(format!("it answers {status}"))),
    }
}

async fn answer(address: SocketAddr) -> Result<(StatusCode, String), Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get("/ready").header(HOST, address.to_string()).body(Empty::<Bytes>::new())?;
    // Ends with the sender, which is dropped here.
    tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await?.into_parts();
    let bytes = Limited::new(body, MOST_BYTES).collect().await?.to_bytes();
    Ok((head.status, String::from_utf8_lossy(&bytes).trim_end().to_owned()))
}

const fn asked_at(listens: IpAddr) -> IpAddr {
    match listens {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Metrics, Readiness, health};
    use std::sync::Arc;
    use tokio::net::TcpListener;

    async fn asked(reasons: &[&str]) -> Result<(), AskError> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let readiness = Readiness { reasons: reasons.iter().map(|reason| (*reason).to_owned()).collect() };
        let router = health::router(move || readiness.clone(), Arc::new(Metrics::new("picket-test", "1.2.3")));
        tokio::spawn(async move { axum::serve(listener, router).await });
        ask_ready((Ipv4Addr::UNSPECIFIED, port).into()).await
    }

    #[tokio::test]
    async fn who_is_ready_says_so_and_who_is_not_says_why() {
        asked(&[]).await.unwrap();
        let error = asked(&["no plan yet"]).await.unwrap_err().to_string();
        assert_eq!(error, r#"not ready: {"ready":false,"reasons":["no plan yet"]}"#);
    }

    #[tokio::test]
    async fn nobody_there_is_no_answer() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = ask_ready(address).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("nobody says at http://{address}/ready")), "{error}");
    }
}
