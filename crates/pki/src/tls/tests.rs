//! Real handshakes, client against server, over two buffers.

use super::*;
use crate::{TlsKey, node_of};
use picket_model::{MeshId, NodeId, Timestamp};
use rustls::{ClientConnection, ConnectionCommon, HandshakeKind, ServerConnection, SideData};
use std::{
    io::Read,
    ops::{Deref, DerefMut},
    time::{Duration, SystemTime},
};

const HOUR: Duration = Duration::from_hours(1);

#[test]
fn pinned_controller_is_trusted_whatever_its_url_says() {
    for host in ["192.0.2.7", "2001:db8::7", "controller.example.com"] {
        let ca = ca("one");
        let shaken = handshake(host, client(&ca, None), server(&ca));
        assert_eq!(shaken, Ok(None), "{host}");
    }
}

#[test]
fn other_ca_is_refused_and_the_error_names_both_fingerprints() {
    let (ours, theirs) = (ca("one"), ca("one"));
    let error = handshake(SERVER_NAME, client(&ours, None), server(&theirs)).unwrap_err();
    assert!(error.contains(&format!("ends in CA {}", theirs.fingerprint())), "{error}");
    assert!(error.contains(&format!("pins CA {}", ours.fingerprint())), "{error}");
}

#[test]
fn pinned_ca_in_the_chain_of_a_strangers_certificate_is_refused() {
    let (ours, theirs) = (ca("one"), ca("one"));
    let mut certificate = theirs.server_certificate(now()).unwrap();
    certificate.chain = vec![certificate.chain[0].clone(), ours.certificate_der().clone()];
    refused(&client(&ours, None), &serving(certificate, &ours), "BadSignature");
    let mut certificate = theirs.server_certificate(now()).unwrap();
    certificate.chain.push(ours.certificate_der().clone());
    refused(&client(&ours, None), &serving(certificate, &ours), "BadSignature");
}

#[test]
fn expired_controller_is_refused() {
    let long_ago = ago(Duration::from_hours(91 * 24));
    let ca = Ca::generate(&mesh("one"), long_ago).unwrap();
    let certificate = ca.server_certificate(long_ago).unwrap();
    refused(&client(&ca, None), &serving(certificate, &ca), "certificate expired");
}

#[test]
fn controller_shows_a_new_certificate_without_a_restart() {
    let long_ago = ago(Duration::from_hours(91 * 24));
    let ca = Ca::generate(&mesh("one"), long_ago).unwrap();
    let served = ServedCertificate::new(ca.server_certificate(long_ago).unwrap()).unwrap();
    let server = server_config(served.clone(), Some(&ca)).unwrap();
    refused(&client(&ca, None), &server, "certificate expired");
    served.replace(ca.server_certificate(now()).unwrap()).unwrap();
    assert_eq!(handshake(SERVER_NAME, client(&ca, None), server), Ok(None));
}

#[test]
fn node_is_known_by_its_certificate() {
    let ca = ca("one");
    let node = handshake(SERVER_NAME, client(&ca, Some(&member(&ca, now()))), server(&ca)).unwrap();
    assert_eq!(node, Some(("one".parse().unwrap(), "sentry-1".parse().unwrap())));
}

#[test]
fn node_of_another_mesh_is_refused() {
    let ours = ca("one");
    for (name, reason) in [("two", "UnknownIssuer"), ("one", "BadSignature")] {
        refused(&client(&ours, Some(&member(&ca(name), now()))), &server(&ours), reason);
    }
}

#[test]
fn expired_node_is_refused() {
    let ca = ca("one");
    refused(&client(&ca, Some(&member(&ca, ago(HOUR * 2)))), &server(&ca), "certificate expired");
}

#[test]
fn controllers_and_nodes_cannot_pass_for_each_other() {
    let ca = ca("one");
    let node = member(&ca, now());
    let chain = CertificateDer::from_pem_slice(node.certificate_pem.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(node.key_pem.expose_secret().as_bytes()).unwrap();
    let posing = ServerCertificate { chain: vec![chain, ca.certificate_der().clone()], key, not_after: now() };
    refused(&client(&ca, None), &serving(posing, &ca), "extended key usage for server authentication");

    let ServerCertificate { chain, key, .. } = ca.server_certificate(now()).unwrap();
    let posing = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedCa { pins: vec![ca.fingerprint()], provider: provider() }))
        .with_client_auth_cert(chain, key)
        .unwrap();
    refused(&posing, &server(&ca), "extended key usage for client authentication");
}

#[test]
fn no_session_is_resumed_past_a_look_at_the_certificate() {
    let ca = ca("one");
    let mut client = client(&ca, Some(&member(&ca, now())));
    client.resumption = Resumption::in_memory_sessions(4);
    let server = server(&ca);
    for _ in 0..2 {
        let shaken = handshake(SERVER_NAME, client.clone(), server.clone()).unwrap();
        assert!(shaken.is_some());
    }
}

#[test]
fn without_a_client_ca_nobody_is_asked_for_a_certificate() {
    let (ours, theirs) = (ca("one"), ca("two"));
    let served = ServedCertificate::new(ours.server_certificate(now()).unwrap()).unwrap();
    let server = server_config(served, None).unwrap();
    assert_eq!(handshake(SERVER_NAME, client(&ours, Some(&member(&theirs, now()))), server), Ok(None));
}

#[test]
fn debug_shows_no_key() {
    let ca = ca("one");
    let node = member(&ca, now());
    let key = node.key_pem.expose_secret().lines().nth(1).unwrap().to_owned();
    assert!(!format!("{node:?} {:?}", client(&ca, Some(&node))).contains(&key));
    let certificate = ca.server_certificate(now()).unwrap();
    let bytes = format!("{:?}", &certificate.key.secret_der()[40..60]);
    let bytes = bytes.trim_matches(['[', ']']);
    let shown = [format!("{certificate:?}"), format!("{:?}", ServedCertificate::new(certificate).unwrap())];
    assert!(!shown.concat().contains(bytes), "{shown:?}");
}

/// Either side refuses, for this reason.
#[track_caller]
fn refused(client: &ClientConfig, server: &ServerConfig, reason: &str) {
    let error = handshake(SERVER_NAME, client.clone(), server.clone()).unwrap_err();
    assert!(error.contains(reason), "{error}");
}

/// Whom the server sees, once both sides are content and a byte has come back from it.
fn handshake(host: &str, client: ClientConfig, server: ServerConfig) -> Result<Option<(MeshId, NodeId)>, String> {
    let host = ServerName::try_from(host.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), host).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    while client.wants_write() || server.wants_write() {
        transfer(&mut client, &mut server)?;
        transfer(&mut server, &mut client)?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    assert_eq!((client.alpn_protocol(), server.alpn_protocol()), (Some(ALPN[0]), Some(ALPN[0])));
    assert_eq!(server.handshake_kind(), Some(HandshakeKind::Full));
    let certificate = server.peer_certificates().and_then(|chain| chain.first());
    Ok(certificate.map(|certificate| node_of(certificate).map(|node| (node.mesh, node.node)).unwrap()))
}

fn transfer<A: SideData, B: SideData>(
    from: &mut impl DerefMut<Target = ConnectionCommon<A>>,
    to: &mut impl DerefMut<Target = ConnectionCommon<B>>,
) -> Result<(), String> {
    let mut wire = Vec::new();
    while Deref::deref(from).wants_write() {
        from.write_tls(&mut wire).unwrap();
    }
    let mut wire = wire.as_slice();
    while !wire.is_empty() {
        to.read_tls(wire.by_ref()).unwrap();
        to.process_new_packets().map_err(|refusal| refusal.to_string())?;
    }
    Ok(())
}

fn server(ca: &Ca) -> ServerConfig {
    serving(ca.server_certificate(now()).unwrap(), ca)
}

fn serving(certificate: ServerCertificate, ca: &Ca) -> ServerConfig {
    server_config(ServedCertificate::new(certificate).unwrap(), Some(ca)).unwrap()
}

fn client(ca: &Ca, certificate: Option<&ClientCertificate>) -> ClientConfig {
    client_config(ca.fingerprint(), certificate).unwrap()
}

/// A node's certificate, signed at `at` for an hour.
fn member(ca: &Ca, at: Timestamp) -> ClientCertificate {
    let key = TlsKey::generate().unwrap();
    let node = "sentry-1".parse().unwrap();
    let signed = ca.sign_node(&key.csr_pem().unwrap(), &node, at, HOUR).unwrap();
    ClientCertificate { certificate_pem: signed.pem, key_pem: key.key_pem() }
}

fn ca(name: &str) -> Ca {
    Ca::generate(&mesh(name), now()).unwrap()
}

fn mesh(name: &str) -> MeshId {
    name.parse().unwrap()
}

fn now() -> Timestamp {
    SystemTime::now().into()
}

fn ago(duration: Duration) -> Timestamp {
    (SystemTime::now() - duration).into()
}

#[test]
fn while_one_ca_follows_another_both_pins_and_both_certificates_are_good() {
    let (old, next) = (ca("one"), ca("one"));
    let cross = old.cross_sign(&next.certificate().unwrap(), now()).unwrap();
    let serving = |accepted: &[&Ca]| {
        let mut certificate = next.server_certificate(now()).unwrap();
        certificate.also_under(&old.certificate().unwrap(), &cross).unwrap();
        let accepted: Vec<_> = accepted.iter().map(|ca| ca.certificate_der()).collect();
        let accepted = AcceptedCas::new(&accepted).unwrap();
        (
            server_config_accepting(ServedCertificate::new(certificate).unwrap(), Some(accepted.clone())).unwrap(),
            accepted,
        )
    };
    let (server, accepted) = serving(&[&old, &next]);
    for pins in [&[&old][..], &[&next], &[&old, &next]] {
        let pins: Vec<_> = pins.iter().map(|ca| ca.fingerprint()).collect();
        for signer in [&old, &next] {
            let client = client_config_of(&pins, Some(&member(signer, now()))).unwrap();
            let shaken = handshake(SERVER_NAME, client, server.clone());
            assert!(matches!(shaken, Ok(Some(_))), "{shaken:?}");
        }
    }
    let stranger = ca("one");
    refused(&client(&stranger, None), &server, "ends in CA");
    refused(&client(&next, Some(&member(&stranger, now()))), &server, "BadSignature");

    // The old one is retired, under a server that runs.
    accepted.replace(&[next.certificate_der()]).unwrap();
    refused(&client(&next, Some(&member(&old, now()))), &server, "BadSignature");
    assert!(handshake(SERVER_NAME, client(&next, Some(&member(&next, now()))), server).is_ok());
    let served = serving_ca(&next);
    refused(&client(&old, None), &served, &format!("pins CA {}", old.fingerprint()));
    assert!(
        handshake(SERVER_NAME, client_config_of(&[old.fingerprint(), next.fingerprint()], None).unwrap(), served)
            .is_ok()
    );
}

#[test]
fn the_word_for_the_next_ca_lets_nobody_else_serve() {
    let (old, next, thief) = (ca("one"), ca("one"), ca("one"));
    // The old CA's word is public; a server needs the next one's key too.
    let cross = old.cross_sign(&next.certificate().unwrap(), now()).unwrap();
    let mut certificate = thief.server_certificate(now()).unwrap();
    certificate.also_under(&old.certificate().unwrap(), &cross).unwrap();
    let server = server_config(ServedCertificate::new(certificate).unwrap(), None).unwrap();
    refused(&client(&old, None), &server, "BadSignature");
    refused(&client(&next, None), &server, "ends in CA");
}

fn serving_ca(ca: &Ca) -> ServerConfig {
    serving(ca.server_certificate(now()).unwrap(), ca)
}
