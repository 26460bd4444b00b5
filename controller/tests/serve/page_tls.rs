//! The status page over TLS: by a certificate that browsers trust, or the mesh CA's on an address that others reach; cookies are the
//! host's own there.

use crate::{
    fixture::Mesh,
    page::{Browser, PAGE},
};
use picket_pki::client_config;
use reqwest::{Client, redirect::Policy};
use rustls::ClientConfig;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const NAME: &str = "mesh.example";

async fn is_looked_at(mesh: &Mesh, trusting: ClientConfig, name: &str) {
    let address = mesh.running().page.unwrap();
    let client = Client::builder().tls_backend_preconfigured(trusting).redirect(Policy::none()).no_proxy();
    let client = client.resolve(NAME, address).build().unwrap();
    let mut browser = Browser::with(client, format!("https://{name}:{}", address.port()));
    browser.log_in(&mesh.token_of_operator()).await;
    assert!(browser.text("/").await.contains("Is anything wrong?"));
    // No other host of the same domain can set a cookie of this name, nor is it sent over plain HTTP.
    assert!(browser.cookies.keys().all(|name| name.starts_with("__Host-")), "{:?}", browser.cookies.keys());
    // Plain HTTP is answered by nobody.
    let mut plain = TcpStream::connect(("127.0.0.1", address.port())).await.unwrap();
    plain.write_all(b"GET /login HTTP/1.1\r\nhost: mesh\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // A reset is as good as an end.
    plain.read_to_end(&mut answer).await.ok();
    assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn it_is_shown_by_a_certificate_that_browsers_trust() {
    let folder = tempfile::tempdir().unwrap();
    let pair = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| folder.path().join(name));
    std::fs::write(&certificate, pair.cert.pem()).unwrap();
    std::fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
    let lines = format!("{PAGE}certificate = \"{}\"\nkey = \"{}\"\n", certificate.display(), key.display());
    let mesh = Mesh::start_with(&lines).await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(pair.cert.der().clone()).unwrap();
    let trusting = ClientConfig::builder_with_provider(picket_pki::provider()).with_safe_default_protocol_versions();
    is_looked_at(&mesh, trusting.unwrap().with_root_certificates(roots).with_no_client_auth(), NAME).await;
}

#[tokio::test]
async fn without_one_it_is_the_mesh_cas_where_others_reach_it() {
    let mesh = Mesh::start_with(&PAGE.replace("127.0.0.1:0", "0.0.0.0:0")).await;
    is_looked_at(&mesh, client_config(mesh.ca(), None).unwrap(), "127.0.0.1").await;
}
