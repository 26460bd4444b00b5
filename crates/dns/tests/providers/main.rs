//! Providers against servers: a real name server that nobody here wrote, and a stand-in that does what Cloudflare's published API
//! says. Route 53 is tested against moto, with the rest of AWS (controller/tests/serve/hooks/moto.rs).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may stop at the first surprise")]

mod cloudflare;
mod knot;

use picket_dns::{
    Change, DnsLines, Found, Step, Ttls, mark,
    provider::{Credentialed, DnsError, Provider},
    shown, step,
};
use serde::Deserialize;
use std::{collections::BTreeSet, net::IpAddr, os::unix::fs::PermissionsExt as _, path::Path};

#[derive(Deserialize)]
struct File {
    dns: DnsLines,
}

/// A provider as its lines make it.
fn provider(lines: &str) -> Provider {
    let file: File = toml::from_str(&format!("[dns]\nname = \"p2p.example.org\"\nttl = 60\n{lines}")).unwrap();
    let client = picket_proofs::outside::client(picket_proofs::outside::host_roots(), false).unwrap();
    Provider::new(&file.dns, &client, &Credentialed::by(async || Err("none".to_owned()))).unwrap()
}

fn secret(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path.display().to_string()
}

fn addresses(list: &[&str]) -> BTreeSet<IpAddr> {
    list.iter().map(|address| address.parse().unwrap()).collect()
}

/// Reads, decides, writes and reads back, as the controller does; what was written, and what stands there then.
async fn put(provider: &Provider, wanted: &[&str], adopt: bool) -> Result<(String, Found), DnsError> {
    let name = "p2p.example.org".parse().unwrap();
    let found = provider.read(&name).await?;
    let told = match step(&name, &addresses(wanted), 60, &mark("m-1"), adopt, &found) {
        Step::Nothing => "nothing".to_owned(),
        Step::Refuse(why) => why,
        Step::Write(change) => {
            provider.write(&change).await?;
            format!("{} -> {}", shown(&change.from.addresses), shown(&change.to))
        }
    };
    Ok((told, provider.read(&name).await?))
}

/// A change of something that does not stand there.
fn stale(change: &[&str]) -> Change {
    Change {
        name: "p2p.example.org".parse().unwrap(),
        from: Found {
            addresses: addresses(&["192.0.2.99"]),
            ttl: Ttls { v4: Some(60), v6: None },
            marks: [mark("m-1")].into(),
            ..Found::default()
        },
        to: addresses(change),
        ttl: 60,
        mark: mark("m-1"),
    }
}
