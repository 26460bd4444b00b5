//! Validators that nobody could dial from what the controller says: one behind address translation whose address changes one day,
//! and one whose sentry forgot its sessions and where it was.

use crate::support::{DROPPED, GUARDED, open, reconfigure, serve_on, small_mesh};
use picket_lab::{
    Connect, Host,
    mesh::{Mesh, MeshSize, SOON},
    wait_until,
};
use std::time::{Duration, Instant};

/// Probes go five times a second, and the first one from the new address tells it.
const HEALED: Duration = Duration::from_secs(4);

/// Peers' places are looked at each 5 seconds, everything else each 30.
const KEPT: Duration = Duration::from_secs(15);

/// Less than the 15 seconds (Keepalive-Timeout and Rekey-Timeout, WireGuard paper section 6.1) after which the other end would give
/// its session up and begin anew.
const BACK: Duration = Duration::from_secs(10);

/// Translates what goes to sentries' WireGuard port, without state, to one address: as a translator that forgot all it knew when
/// it got that address. What else goes out is masqueraded.
fn translate(router: &Host, own: &str, to: &str) {
    let rules = format!(
        "table ip translate
         delete table ip translate
         table ip translate {{
            chain arrives {{
                type filter hook prerouting priority -310
                udp sport 51820 ip daddr {to} ip daddr set {own} notrack
                ip saddr {own} udp dport 51820 notrack
            }}
            chain leaves {{
                type filter hook postrouting priority 50
                ip saddr {own} udp dport 51820 ip saddr set {to}
            }}
            chain rest {{
                type nat hook postrouting priority 100
                ip saddr {own} masquerade
            }}
         }}"
    );
    let file = router.write("translate.nft", &rules).unwrap();
    router.nft(&["-f", &file]).unwrap();
}

#[test]
fn a_hidden_validator_behind_translation_is_reached_and_its_new_address_found_within_seconds() {
    let mut mesh = Mesh::started("roaming", MeshSize { preps: 1, sentries: 2 }).unwrap();
    reconfigure(&mut mesh, |text| format!("{text}\n[[policy.hidden]]\nprep = \"prep-1\"\n"));
    let (own, gateway) = ("192.0.2.6", "192.0.2.5/30");
    let router = mesh.lab.host("router").address("203.0.113.98/24").address("203.0.113.99/24").create().unwrap();
    router.sysctl("net/ipv4/ip_forward", "1").unwrap();
    translate(&router, own, "203.0.113.98");
    mesh.preps[0].host.move_behind(&router, &format!("{own}/30"), gateway).unwrap();
    let _servers = serve_on(&mesh.preps[0]);
    let validator = &mesh.validators[0].host;
    let through: Vec<_> = mesh.sentries.iter().map(|sentry| sentry.host.v4(GUARDED[0]).unwrap()).collect();
    let reached = || {
        for to in &through {
            wait_until("the validator behind its translator", SOON, || match validator.can_connect(*to, DROPPED) {
                Connect::Open => Ok(()),
                other => Err(format!("{to}: {other:?}")),
            })
            .unwrap();
        }
    };
    reached();
    let streams: Vec<_> = through.iter().map(|to| validator.stream(*to).unwrap()).collect();
    let moved = Instant::now();
    translate(&router, own, "203.0.113.99");
    reached();
    assert!(moved.elapsed() < HEALED, "{:?}", moved.elapsed());
    // What runs goes on: inside the tunnel nothing has another address.
    for stream in &streams {
        stream.wait_flowing(SOON).unwrap();
    }
    open(validator, through[0]);
    for sentry in &mesh.sentries {
        let kept = format!("{}/endpoints.json", sentry.state_folder());
        wait_until("the validator's new place to be kept", KEPT, || {
            let text = std::fs::read_to_string(&kept).unwrap_or_default();
            if text.contains("203.0.113.99") { Ok(()) } else { Err(text) }
        })
        .unwrap();
    }
}

#[test]
fn a_sentry_whose_agent_starts_again_begins_the_handshakes_itself() {
    let mut mesh = small_mesh("restarts");
    let kept = format!("{}/endpoints.json", mesh.sentries[0].state_folder());
    let place = mesh.preps[0].host.v4(51820).unwrap().ip().to_string();
    wait_until("the validator's place to be kept", SOON * 2, || {
        let text = std::fs::read_to_string(&kept).unwrap_or_default();
        if text.contains(&place) { Ok(()) } else { Err(text) }
    })
    .unwrap();
    mesh.sentries[0].kill();
    mesh.sentries[0].start().unwrap();
    let started = Instant::now();
    mesh.wait_for_tunnels().unwrap();
    assert!(started.elapsed() < BACK, "{:?}", started.elapsed());
}
