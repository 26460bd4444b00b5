//! Knot DNS, a name server that nobody here wrote, on a port of this host's loopback.

use super::{addresses, provider, put, secret, stale};
use picket_dns::provider::{DnsError, Provider};
use picket_lab::wait_until;
use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;

const KEY: &str = "c2l4dGVlbi1vci1tb3JlLWJ5dGVzLW9mLXNlY3JldA==";
const OTHER: &str = "YW5vdGhlci1rZXktb2YtYXQtbGVhc3Qtc2l4dGVlbg==";
const ZONE: &str = "\
@ 3600 SOA ns.example.org. admin.example.org. 1 3600 600 86400 60
@ 3600 NS ns.example.org.
ns 3600 A 127.0.0.1
";

struct Knot {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Drop for Knot {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Knot {
    fn start(zone: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let place = folder.path().display();
        fs::write(folder.path().join("example.org.zone"), format!("{ZONE}{zone}")).unwrap();
        let port = address.port();
        let conf = format!(
            "server:\n  rundir: {place}\n  listen: 127.0.0.1@{port}\n\
             database:\n  storage: {place}\n\
             log:\n  - target: stderr\n    any: warning\n\
             key:\n  - id: picket\n    algorithm: hmac-sha256\n    secret: {KEY}\n\
             \x20 - id: reader\n    algorithm: hmac-sha512\n    secret: {OTHER}\n\
             acl:\n  - id: updates\n    key: picket\n    action: update\n\
             zone:\n  - domain: example.org\n    storage: {place}\n    file: example.org.zone\n    acl: updates\n"
        );
        fs::write(folder.path().join("knot.conf"), conf).unwrap();
        let child = run(folder.path());
        let knot = Self { child, address, folder };
        knot.await_up();
        knot
    }

    fn await_up(&self) {
        let listens = || TcpStream::connect(self.address).map(drop).map_err(|error| error.to_string());
        wait_until("knotd to listen", Duration::from_secs(20), listens).unwrap();
    }

    fn provider(&self, key: &str, algorithm: &str, text: &str) -> Provider {
        let file = secret(self.folder.path(), "key", text);
        let address = self.address;
        provider(&format!(
            "[dns.provider.rfc2136]\nserver = \"{address}\"\nzone = \"example.org\"\nkey = \"{key}\"\n\
             algorithm = \"{algorithm}\"\nsecret_file = \"{file}\"\n"
        ))
    }

    fn ours(&self) -> Provider {
        self.provider("picket", "hmac-sha256", KEY)
    }
}

fn run(folder: &std::path::Path) -> Child {
    let mut knotd = Command::new("/usr/sbin/knotd");
    knotd.arg("-c").arg(folder.join("knot.conf")).stdin(Stdio::null());
    knotd.spawn().expect("knotd is missing: `cargo xtask test` installs it (Debian's package knot)")
}

#[tokio::test]
async fn a_name_is_made_changed_and_read_back_at_a_real_server() {
    let knot = Knot::start("");
    let ours = knot.ours();
    let (told, found) = put(&ours, &["192.0.2.1", "192.0.2.2"], false).await.unwrap();
    assert_eq!(told, "none -> 192.0.2.1, 192.0.2.2");
    assert_eq!(
        (found.addresses, found.ttl.longest(), found.marks.len()),
        (addresses(&["192.0.2.1", "192.0.2.2"]), Some(60), 1)
    );
    assert_eq!(put(&ours, &["192.0.2.1", "192.0.2.2"], false).await.unwrap().0, "nothing");
    // Moved, the other family too, and one taken away.
    let (_, found) = put(&ours, &["192.0.2.3", "2001:db8::3"], false).await.unwrap();
    assert_eq!(found.addresses, addresses(&["192.0.2.3", "2001:db8::3"]));
    let (_, found) = put(&ours, &["192.0.2.3"], false).await.unwrap();
    assert_eq!((found.addresses, found.marks.len()), (addresses(&["192.0.2.3"]), 1));
}

#[tokio::test]
async fn what_others_wrote_stays_as_it_is() {
    let knot = Knot::start("p2p 300 A 198.51.100.1\n");
    let ours = knot.ours();
    let (told, found) = put(&ours, &["192.0.2.1"], false).await.unwrap();
    assert!(told.contains("adopt = true"), "{told}");
    assert_eq!((found.addresses, found.ttl.longest()), (addresses(&["198.51.100.1"]), Some(300)));
    let (_, found) = put(&ours, &["192.0.2.1"], true).await.unwrap();
    assert_eq!((found.addresses, found.ttl.longest(), found.marks.len()), (addresses(&["192.0.2.1"]), Some(60), 1));

    let alias = Knot::start("p2p 300 CNAME ns.example.org.\n");
    let (told, found) = put(&alias.ours(), &["192.0.2.1"], true).await.unwrap();
    assert!(told.contains("CNAME ns.example.org"), "{told}");
    assert!(found.addresses.is_empty() && found.other.is_some());

    let marked = Knot::start("p2p 300 A 198.51.100.1\n_picket.p2p 300 TXT \"heritage=picket,mesh=other\"\n");
    let (told, found) = put(&marked.ours(), &["192.0.2.1"], true).await.unwrap();
    assert!(told.contains("mesh=other"), "{told}");
    assert_eq!(found.addresses, addresses(&["198.51.100.1"]));
}

#[tokio::test]
async fn a_wildcard_of_the_zone_is_nobodys_mark_and_a_text_beside_the_name_is() {
    let wild = Knot::start("* 300 TXT \"v=spf1 -all\"\n");
    let ours = wild.ours();
    assert_eq!(put(&ours, &["192.0.2.1"], false).await.unwrap().0, "none -> 192.0.2.1");
    let (told, found) = put(&ours, &["192.0.2.2"], false).await.unwrap();
    assert_eq!((told.as_str(), found.marks.len()), ("192.0.2.1 -> 192.0.2.2", 1));

    let wild = Knot::start("* 300 TXT \"v=spf1 -all\"\n_picket.p2p 300 TXT \"v=spf1 -all\"\n");
    let (told, _) = put(&wild.ours(), &["192.0.2.1"], false).await.unwrap();
    assert!(told.contains("somebody else's"), "{told}");
}

#[tokio::test]
async fn a_wildcards_addresses_are_not_the_names_own() {
    let wild = Knot::start("* 300 A 198.51.100.9\n* 300 AAAA 2001:db8::9\n");
    let ours = wild.ours();
    let all = addresses(&["198.51.100.9", "2001:db8::9"]);
    let (told, found) = put(&ours, &["192.0.2.1"], false).await.unwrap();
    assert!(told.contains("a wildcard of the zone answers") && told.contains("198.51.100.9, 2001:db8::9"), "{told}");
    assert_eq!((found.addresses, found.wild), (addresses(&[]), all.clone()));
    // Where a person wants it, the name has its own, and the other family's wildcard goes with that.
    let (told, found) = put(&ours, &["192.0.2.1"], true).await.unwrap();
    assert_eq!(
        (told.as_str(), found.addresses, found.wild),
        ("none -> 192.0.2.1", addresses(&["192.0.2.1"]), addresses(&[]))
    );
    assert_eq!(put(&ours, &["192.0.2.2"], false).await.unwrap().0, "192.0.2.1 -> 192.0.2.2");
    assert_eq!(ours.read(&"other.example.org".parse().unwrap()).await.unwrap().wild, all);

    // Its own beside a wildcard are its own, in one family too.
    for own in
        ["p2p 300 A 198.51.100.1\n", "p2p 300 A 198.51.100.9\n", "p2p 60 A 198.51.100.9\np2p 300 AAAA 2001:db8::9\n"]
    {
        let knot = Knot::start(&format!("* 300 A 198.51.100.9\n* 300 AAAA 2001:db8::9\n{own}"));
        let (told, _) = put(&knot.ours(), &["192.0.2.1"], false).await.unwrap();
        assert!(told.contains("has addresses that Picket did not write"), "{own}: {told}");
        assert_eq!(put(&knot.ours(), &["192.0.2.1"], true).await.unwrap().1.addresses, addresses(&["192.0.2.1"]));
    }
    // Just as the wildcard's they cannot be told apart by asking: nothing is written over them.
    let same = Knot::start("* 300 A 198.51.100.9\np2p 300 A 198.51.100.9\n");
    let name = "p2p.example.org".parse().unwrap();
    assert!(put(&same.ours(), &["192.0.2.1"], false).await.unwrap().0.contains("a wildcard of the zone"));
    assert_eq!(put(&same.ours(), &["192.0.2.1"], true).await.unwrap_err(), DnsError::Changed(name));
}

#[tokio::test]
async fn a_change_of_something_that_is_no_more_there_changes_nothing() {
    let knot = Knot::start("");
    let ours = knot.ours();
    put(&ours, &["192.0.2.1"], false).await.unwrap();
    let stale = stale(&["192.0.2.2"]);
    assert_eq!(ours.write(&stale).await, Err(DnsError::Changed(stale.name.clone())));
    assert_eq!(ours.read(&stale.name).await.unwrap().addresses, addresses(&["192.0.2.1"]));
}

#[tokio::test]
async fn a_wrong_key_is_told_apart_from_one_that_may_not_and_a_server_that_is_away() {
    let mut knot = Knot::start("");
    let refused = async |provider: Provider, expect: &str| {
        let error = put(&provider, &["192.0.2.1"], false).await.unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
        assert!(!error.contains(KEY) && !error.contains(OTHER), "{error}");
    };
    refused(knot.provider("picket", "hmac-sha256", OTHER), "BADSIG").await;
    refused(knot.provider("nobody", "hmac-sha256", KEY), "BADKEY").await;
    refused(knot.provider("reader", "hmac-sha512", OTHER), "does not let it").await;
    let found = knot.ours().read(&"p2p.example.org".parse().unwrap()).await.unwrap();
    assert!(found.addresses.is_empty(), "nothing of that was written");

    knot.child.kill().unwrap();
    knot.child.wait().unwrap();
    refused(knot.ours(), "ask 127.0.0.1").await;
    knot.child = run(knot.folder.path());
    knot.await_up();
    assert_eq!(put(&knot.ours(), &["192.0.2.1"], false).await.unwrap().0, "none -> 192.0.2.1");
}

#[tokio::test]
async fn an_answer_that_the_key_did_not_sign_is_believed_by_nobody() {
    // Somebody on the way, who has a key of his own under the same name.
    let knot = Knot::start("p2p 300 A 198.51.100.1\n");
    let forger = TcpListener::bind("127.0.0.1:0").unwrap();
    let (place, real) = (forger.local_addr().unwrap(), knot.address);
    std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        while let Ok((mut client, _)) = forger.accept() {
            let (mut question, mut answer) = ([0; 4096], [0; 4096]);
            let mut server = TcpStream::connect(real).unwrap();
            let asked = client.read(&mut question).unwrap();
            server.write_all(&question[..asked]).unwrap();
            let said = server.read(&mut answer).unwrap();
            // The last byte of the address: 198.51.100.1.
            let at = answer.windows(4).position(|bytes| bytes == [198, 51, 100, 1]).unwrap();
            answer[at + 3] = 2;
            client.write_all(&answer[..said]).unwrap();
        }
    });
    let file = secret(knot.folder.path(), "key", KEY);
    let lines = format!(
        "[dns.provider.rfc2136]\nserver = \"{place}\"\nzone = \"example.org\"\nkey = \"picket\"\nsecret_file = \"{file}\"\n"
    );
    let error = provider(&lines).read(&"p2p.example.org".parse().unwrap()).await.unwrap_err().to_string();
    assert!(error.contains("not signed by the key"), "{error}");
}
