//! The embedded engine as standard tools see it: through `wg`, which nobody here wrote.

use crate::host::Host;
use crate::{End, PORT, device, key};
use picket_wireguard::Preference;
use std::{
    io::{Read as _, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    process::Command,
    time::{Duration, Instant},
};

/// A name of this process alone: the folder in which tools look is the machine's.
fn name() -> String {
    format!("picket{}", std::process::id())
}

#[test]
fn wg_shows_the_device_and_sets_it() {
    if Command::new("wg").arg("--version").output().is_err() {
        panic!("the program wg is missing: apt-get install wireguard-tools, as `cargo xtask test` does");
    }
    let name = name();
    let host = Host::new();
    let tunnel = host.run({
        let name = name.clone();
        move || async move { picket_wireguard::Tunnel::open(&name, Preference::Userspace, None).await.unwrap() }
    });
    let end = End { host, tunnel: std::sync::Arc::new(tokio::sync::Mutex::new(tunnel)) };
    let mut wanted = device(1, Some("192.0.2.2:51820"));
    wanted.name.clone_from(&name);
    end.apply(&wanted);

    let socket = format!("/var/run/wireguard/{name}.sock");
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "for root alone");

    let dump = end.host.command(&format!("wg show {name} dump")).unwrap();
    let mut lines = dump.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let interface = lines.next().unwrap();
    assert_eq!(interface[..3], [key(1).to_text().as_str(), &key(1).public().to_string(), &PORT.to_string()]);
    let peer = lines.next().unwrap();
    assert_eq!(peer[0], key(2).public().to_string());
    assert_eq!(peer[2..5], ["192.0.2.2:51820", "198.51.100.2/32,fd00::2/128", "0"]);
    assert_eq!((peer[7], lines.next()), ("25", None));

    let other = key(9).public();
    let line = format!("wg set {name} fwmark 0x51 peer {other} endpoint [2001:db8::9]:7 allowed-ips 203.0.113.0/24");
    end.host.command(&line).unwrap();
    let state = end.observe().peers[&other].clone();
    assert_eq!(state.endpoint, Some("[2001:db8::9]:7".parse().unwrap()));
    assert_eq!(state.allowed_ips, ["203.0.113.0/24".parse().unwrap()].into());
    assert_eq!(end.host.command(&format!("wg show {name} fwmark")).unwrap().trim(), "0x51");
    // It was not wished: the next look at the device puts it right.
    let (_, connected) = end.apply(&wanted);
    assert!(connected.is_empty(), "a peer that is not wanted goes with the first step");
    assert!(!end.observe().peers.contains_key(&other));

    let refused = end.host.command(&format!("wg set {name} listen-port {PORT} private-key /dev/null")).unwrap_err();
    assert!(refused.contains("Invalid argument"), "{refused}");
    assert_eq!(end.observe().public_key, Some(key(1).public()));

    // Bytes that are no text change nothing, and a tool that says half of what it wants does not hold up the end.
    let mut tool = UnixStream::connect(&socket).unwrap();
    tool.write_all(b"get=1\n\xff\n\n").unwrap();
    let mut answer = [0; 64];
    let length = tool.read(&mut answer).unwrap();
    assert_eq!(&answer[..length], b"errno=-22\n\n");
    tool.write_all(b"set=1\nlisten").unwrap();
    let began = Instant::now();
    drop(end);
    assert!(began.elapsed() < Duration::from_millis(1_500), "{:?}", began.elapsed());
    assert_eq!(tool.read(&mut answer).unwrap(), 0, "it is told that it is over");
    assert!(!std::path::Path::new(&socket).exists(), "the socket goes with the device");
}
