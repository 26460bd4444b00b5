//! The client against a fake ICON endpoint over loopback, and against servers that break the rules of HTTP and TLS.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use picket_chain::{FetchError, FetchLimits, Fetcher, Network, Source, fixed::Checksum, icon::AnswerError};
use picket_lab::icon::{Behaviour, ChainState, FakeIcon};
use picket_model::{Observation, Timestamp};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{RootCertStore, ServerConfig, crypto::ring, pki_types::PrivateKeyDer};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

#[tokio::test]
async fn a_list_is_fetched_and_its_change_seen() {
    let (fake, address) = FakeIcon::start(ChainState::mainnet()).await.unwrap();
    let seen = observe(&format!("http://{address}")).await.unwrap();
    assert_eq!((seen.entries.len(), seen.refused.len(), seen.height, seen.seen_at), (100, 0, 30_642_672, NOW));
    assert_eq!(seen.source.to_string(), format!("127.0.0.1-{}", address.port()));

    let first = *seen.entries.keys().next().unwrap();
    fake.remove(first).unwrap();
    let seen = observe(&format!("http://{address}/api/v3/icon_dex")).await.unwrap();
    assert_eq!((seen.entries.len(), seen.height), (99, 30_642_673));
    assert!(!seen.entries.contains_key(&first));
    assert_eq!(fake.requests(), 2);
}

#[tokio::test]
async fn a_list_comes_with_the_endpoints_clock_and_from_the_height_asked_for() {
    let (fake, address) = FakeIcon::start(ChainState::mainnet()).await.unwrap();
    let fetcher = Fetcher::with_roots(FetchLimits::default(), RootCertStore::empty()).unwrap();
    let source = Source::new(&format!("http://{address}")).unwrap();
    let at = async |height| fetcher.observe(&source, &Network::mainnet(), Some(height), NOW).await;
    let seen = at(30_642_672).await.unwrap();
    assert!(seen.block_time.unwrap() > NOW, "{:?}", seen.block_time);
    assert_eq!(seen.height, 30_642_672);
    fake.next_block();
    assert_eq!(at(30_642_672).await.unwrap().height, 30_642_672);
    fake.set_behaviour(Behaviour::Pruned(1));
    let error = at(30_642_672).await.unwrap_err().to_string();
    assert!(error.contains("-31004") && error.contains("PrunedBlock"), "{error}");
}

#[tokio::test]
async fn a_hostile_registration_costs_only_itself() {
    let (fake, address) = FakeIcon::start(ChainState::mainnet()).await.unwrap();
    let prep = *observe(&format!("http://{address}")).await.unwrap().entries.keys().next().unwrap();
    fake.set_endpoint(prep, "012.034.056.078:7100").unwrap();
    let seen = observe(&format!("http://{address}")).await.unwrap();
    assert_eq!(seen.entries.len(), 99);
    assert_eq!(seen.refused[0].entry, prep.to_string());
    assert!(seen.refused[0].reason.contains("012.034.056.078"), "{:?}", seen.refused);
}

#[tokio::test]
async fn misbehaving_endpoints_are_named_with_their_host() {
    let (fake, address) = FakeIcon::start(ChainState::mainnet()).await.unwrap();
    let check = async |behaviour: Behaviour, expect: &str| {
        fake.set_behaviour(behaviour);
        let error = observe(&format!("http://{address}")).await.unwrap_err();
        assert_eq!(error.to_string(), format!("chain endpoint {address}{expect}"));
    };
    let page = r#""<!DOCTYPE html>\n<html><head><title>Maintenance</title></head><body>Back soon.</body></html>\n""#;
    let not_json = "the answer is not JSON, it begins with";
    check(Behaviour::Html, &format!(": {not_json} {page}; is the URL that of a JSON-RPC endpoint?")).await;
    check(Behaviour::WrongChain, ": the endpoint is on chain 0x2, not on 0x1").await;
    check(Behaviour::EmptyPreps, ": the list `preps` is empty").await;
    check(Behaviour::Huge(10_000_000), " answers with more than 4194304 bytes").await;
    check(Behaviour::Status(502), &format!(" answers HTTP 502 {page}")).await;
    check(Behaviour::Status(400), &format!(" answers HTTP 400 {page}")).await;
    check(Behaviour::Status(429), &format!(" is busy: HTTP 429 {page}")).await;
}

#[tokio::test]
async fn an_endpoint_that_never_answers_runs_out_of_time() {
    let (fake, address) = FakeIcon::start(ChainState::mainnet()).await.unwrap();
    fake.set_behaviour(Behaviour::Stall);
    let error = observe_briefly(&format!("http://{address}")).await.unwrap_err();
    assert_eq!(error.to_string(), format!("chain endpoint {address} gave no whole answer within 100ms"));
}

#[tokio::test]
async fn a_busy_endpoint_says_when_to_come_back() {
    let (fake, address) = FakeIcon::start(ChainState::mainnet()).await.unwrap();
    fake.set_behaviour(Behaviour::Status(503));
    let error = observe(&format!("http://{address}")).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(30)));
    let error = observe(&format!("http://{address}/api/v3/other")).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(30)));
}

#[tokio::test]
async fn a_channel_that_is_not_there_is_told_from_a_wrong_path() {
    let (_fake, address) = FakeIcon::start(ChainState::mainnet()).await.unwrap();
    let error = observe(&format!("http://{address}/api/v3/other")).await.unwrap_err();
    assert_eq!(error, FetchError::NoChannel { host: address.to_string() });
    let error = observe(&format!("http://{address}/api/v4")).await.unwrap_err();
    assert_eq!(error, FetchError::Status { host: address.to_string(), status: 404, said: String::new() });
}

#[tokio::test]
async fn an_endpoint_that_is_down_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = observe(&format!("http://{address}")).await.unwrap_err();
    let reason = "Connection refused (os error 111)".to_owned();
    assert_eq!(error, FetchError::Unreachable { host: address.to_string(), reason });

    let error = observe("http://no-such-host.invalid").await.unwrap_err();
    assert!(matches!(error, FetchError::Unreachable { .. } | FetchError::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (_fake, real) = FakeIcon::start(ChainState::mainnet()).await.unwrap();
    let answer =
        format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: http://{real}/api/v3\r\ncontent-length: 0\r\n\r\n");
    let address = serve(answer.into_bytes()).await;
    let error = observe(&format!("http://{address}")).await.unwrap_err();
    let to = format!("http://{real}/api/v3");
    assert_eq!(error, FetchError::Redirect { host: address.to_string(), to });
}

#[tokio::test]
async fn a_body_without_length_is_cut_off_at_the_limit() {
    let mut answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..200 {
        answer.extend(b"8000\r\n");
        answer.extend([b' '; 0x8000]);
        answer.extend(b"\r\n");
    }
    let address = serve(answer).await;
    let error = observe(&format!("http://{address}")).await.unwrap_err();
    assert_eq!(error, FetchError::TooLarge { host: address.to_string(), limit: 4 << 20 });
}

#[tokio::test]
async fn a_block_full_of_transactions_leaves_room_for_the_list() {
    let prep =
        r#"{"address":"hx0b047c751658f7ce1b2595da34d57a0e7dad357d","p2pEndpoint":"192.0.2.1:7100","grade":"0x0"}"#;
    // 1 MiB of transactions, every byte of them as two hexadecimal digits.
    let data = "0".repeat(2 << 20);
    let body = format!(
        r#"[{{"result":{{"nid":"0x1"}},"id":1}},{{"result":{{"blockHeight":"0x10","preps":[{prep}]}},"id":2}},
        {{"result":{{"height":16,"time_stamp":1714820999601591,"confirmed_transaction_list":[{{"data":"0x{data}"}}]}},"id":3}}]"#
    );
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let address = serve(answer.into_bytes()).await;
    let seen = observe(&format!("http://{address}")).await.unwrap();
    assert_eq!((seen.entries.len(), seen.block_time), (1, Some(Timestamp::from_millis(1_714_820_999_601))));
}

#[tokio::test]
async fn an_answer_that_stops_halfway_runs_out_of_time() {
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n[{".to_vec();
    let address = serve(answer).await;
    let error = observe_briefly(&format!("http://{address}")).await.unwrap_err();
    assert!(matches!(error, FetchError::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn json_rpc_refusals_are_read_out_of_a_400() {
    let body = r#"{"jsonrpc":"2.0","error":{"code":-32600,"message":"InvalidRequest"},"id":null}"#;
    let answer = format!("HTTP/1.1 400 Bad Request\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let address = serve(answer.into_bytes()).await;
    let error = observe(&format!("http://{address}")).await.unwrap_err();
    let reason = AnswerError::Rpc { code: -32600, message: "InvalidRequest".to_owned() };
    assert_eq!(error, FetchError::Answer { host: address.to_string(), reason });
}

/// A server for `localhost` that answers so over TLS, and what trusts it.
async fn trusted(answer: &str) -> (String, RootCertStore) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}", answer.len());
    let address = serve_tls(Arc::new(config), answer.into_bytes()).await;
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    (format!("localhost:{}", address.port()), roots)
}

#[tokio::test]
async fn over_tls_only_a_trusted_endpoint_is_believed() {
    let (host, roots) = trusted(r#"[{"result":{"nid":"0x7"},"id":1}]"#).await;
    let url = format!("https://{host}");
    let error = observe_with(FetchLimits::default(), roots, &url).await.unwrap_err();
    let reason = AnswerError::WrongChain { expected: 1, found: 7 };
    assert_eq!(error, FetchError::Answer { host: host.clone(), reason });

    let mut other = RootCertStore::empty();
    let stranger = generate_simple_self_signed(["stranger.example".to_owned()]).unwrap();
    other.add(stranger.cert.der().clone()).unwrap();
    let error = observe_with(FetchLimits::default(), other, &url).await.unwrap_err();
    assert!(error.to_string().contains("cannot be reached: invalid peer certificate"), "{error}");

    let error = observe_with(FetchLimits::default(), RootCertStore::empty(), &url).await.unwrap_err();
    assert_eq!(error, FetchError::NoRoots { host });
}

#[tokio::test]
async fn a_list_by_hand_comes_over_tls_and_only_with_its_checksum() {
    let prep = "hx0b047c751658f7ce1b2595da34d57a0e7dad357d";
    let list = format!(r#"{{"height":7,"validators":[{{"prep":"{prep}","endpoint":"8.8.8.8:7100","grade":"main"}}]}}"#);
    let (host, roots) = trusted(&list).await;
    let sum = Checksum::of(list.as_bytes());
    let url = format!("https://{host}/list.json#sha256={sum}");
    let seen = observe_with(FetchLimits::default(), roots.clone(), &url).await.unwrap();
    assert_eq!((seen.height, seen.entries[&prep.parse().unwrap()].endpoint.to_string().as_str()), (7, "8.8.8.8:7100"));
    let other = format!("https://{host}/list.json#sha256={}", Checksum::of(b"another list"));
    let error = observe_with(FetchLimits::default(), roots, &other).await.unwrap_err();
    assert!(error.to_string().contains(&format!("the list has checksum {sum}, not ")), "{error}");
}

#[tokio::test]
async fn the_hosts_own_roots_are_used() {
    let (_fake, address) = FakeIcon::start(ChainState::mainnet()).await.unwrap();
    let fetcher = Fetcher::new(FetchLimits::default()).unwrap();
    let source = Source::new(&format!("http://{address}")).unwrap();
    assert!(fetcher.observe(&source, &Network::mainnet(), None, NOW).await.is_ok());
}

async fn observe(url: &str) -> Result<Observation, FetchError> {
    observe_with(FetchLimits::default(), RootCertStore::empty(), url).await
}

async fn observe_briefly(url: &str) -> Result<Observation, FetchError> {
    let limits = FetchLimits { total: Duration::from_millis(100), ..FetchLimits::default() };
    observe_with(limits, RootCertStore::empty(), url).await
}

async fn observe_with(limits: FetchLimits, roots: RootCertStore, url: &str) -> Result<Observation, FetchError> {
    let fetcher = Fetcher::with_roots(limits, roots).unwrap();
    fetcher.observe(&Source::new(url).unwrap(), &Network::mainnet(), None, NOW).await
}

/// A server that answers the first request with these bytes and then keeps the connection open in silence.
async fn serve(answer: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(reply(stream, answer.clone()));
        }
    });
    address
}

async fn serve_tls(config: Arc<ServerConfig>, answer: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, answer) = (TlsAcceptor::from(Arc::clone(&config)), answer.clone());
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    reply(stream, answer).await;
                }
            });
        }
    });
    address
}

async fn reply(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: Vec<u8>) {
    let mut request = [0; 4096];
    if matches!(stream.read(&mut request).await, Ok(1..)) && stream.write_all(&answer).await.is_ok() {
        let _ = stream.flush().await;
        std::future::pending::<()>().await;
    }
}
