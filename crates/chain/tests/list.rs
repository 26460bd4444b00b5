//! Lists written by hand, from a file and from the web: the source for own networks, without a line of another chain's.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use picket_chain::{FetchError, FetchLimits, Fetcher, Network, Source, fixed::Checksum};
use picket_model::{Observation, Timestamp};
use rustls::RootCertStore;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

const LIST: &str = r#"{
  "height": 7,
  "validators": [
    {"prep": "hx0b047c751658f7ce1b2595da34d57a0e7dad357d", "endpoint": "203.0.113.7:7100"},
    {"prep": "hxff6437443e7ed76d2d7f97f0d28d7ae1071bd0bb", "endpoint": "node.example.com:7100", "grade": "sub"}
  ]
}"#;

async fn observe(url: &str) -> Result<Observation, FetchError> {
    let limits = FetchLimits { body_bytes: 4096, ..FetchLimits::default() };
    let fetcher = Fetcher::with_roots(limits, RootCertStore::empty()).unwrap();
    fetcher.observe(&Source::new(url).unwrap(), &Network::mainnet(), None, Timestamp::from_millis(5)).await
}

#[tokio::test]
async fn a_file_is_a_source() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("validators.json");
    let url = format!("file://{}", path.display());
    let error = observe(&url).await.unwrap_err().to_string();
    assert!(error.contains("validators.json cannot be read: No such file"), "{error}");

    std::fs::write(&path, LIST).unwrap();
    let seen = observe(&url).await.unwrap();
    assert_eq!((seen.height, seen.entries.len(), seen.refused.len()), (7, 2, 0));

    let checked = format!("{url}#sha256={}", Checksum::of(LIST.as_bytes()));
    assert!(observe(&checked).await.is_ok());
    std::fs::write(&path, LIST.replace("203.0.113.7", "203.0.113.8")).unwrap();
    let error = observe(&checked).await.unwrap_err().to_string();
    assert!(error.contains("the list has checksum"), "{error}");

    std::fs::write(&path, "x".repeat(5000)).unwrap();
    let error = observe(&url).await.unwrap_err().to_string();
    assert!(error.contains("it has more than 4096 bytes"), "{error}");
}

#[tokio::test]
async fn a_document_on_the_web_is_a_source_if_its_checksum_fits() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            assert!(request[..length].starts_with(b"GET /validators.json HTTP/1.1\r\n"));
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", LIST.len());
            stream.write_all(format!("{head}{LIST}").as_bytes()).await.unwrap();
        }
    });
    let url = |sum: Checksum| format!("http://{address}/validators.json#sha256={sum}");
    assert_eq!(observe(&url(Checksum::of(LIST.as_bytes()))).await.unwrap().entries.len(), 2);
    let error = observe(&url(Checksum::of(b"another"))).await.unwrap_err().to_string();
    assert!(error.contains(&address.to_string()) && error.contains("not"), "{error}");
}
