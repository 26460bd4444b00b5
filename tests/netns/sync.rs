//! A validator's JSON-RPC behind a sentry: who is served and what, what a stream lives on, and that it ends with the policy that
//! allows it.

use crate::support::{ANSWERED, GUARDED, both, dropped, open, reconfigure, small_mesh};
use picket_lab::{
    Connect, Host,
    mesh::{Mesh, SOON},
    undisturbed, wait_until,
};
use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// JSON-RPC at the sentry and at the validator.
const RPC: u16 = GUARDED[1];
const LINES: &str = "[[policy.sync]]\nprep = \"prep-1\"\ncitizens = [\"198.51.100.77/32\", \"2001:db8:77::/64\"]\nwebsocket = [\"block\"]\n";
const BLOCK: &str = r#"{"jsonrpc":"2.0","id":1,"method":"icx_getLastBlock"}"#;

/// A small mesh whose sentry may serve, a goloop beside the validator, and a node of the operator's outside the mesh.
fn serving_mesh(label: &str) -> (Mesh, Host) {
    let mut mesh = small_mesh(label);
    mesh.start_goloop(&mesh.preps[0].host, RPC).unwrap();
    let guard = mesh.sentries[0].host.write("guard.toml", "may_proxy = [9000]\n").unwrap();
    mesh.sentries[0].guard = Some(guard);
    mesh.sentries[0].kill();
    mesh.sentries[0].start().unwrap();
    let citizen = mesh.lab.host("citizen").address("198.51.100.77/24").address("2001:db8:77::7/64").create().unwrap();
    reconfigure(&mut mesh, |text| format!("{text}\n{LINES}"));
    (mesh, citizen)
}

/// The answer to these bytes, to the end of the connection.
fn asked(from: &Host, to: SocketAddr, bytes: &str) -> String {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&to, ANSWERED)?;
        stream.set_read_timeout(Some(SOON))?;
        stream.write_all(bytes.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    from.inside(ask).unwrap().unwrap_or_else(|error| format!("{error}"))
}

fn post(target: &str) -> String {
    let length = BLOCK.len();
    format!("POST {target} HTTP/1.1\r\nHost: node\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{BLOCK}")
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")
}

fn wait_served(from: &Host, to: SocketAddr) {
    wait_until("a call to be answered", SOON, || match asked(from, to, &post("/api/v3")) {
        answer if answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"height\"") => Ok(()),
        answer => Err(answer),
    })
    .unwrap();
}

/// A stream of blocks, once the node has taken the subscription.
fn streamed(from: &Host, to: SocketAddr) -> TcpStream {
    let open = || {
        let mut stream = TcpStream::connect_timeout(&to, ANSWERED).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(format!("GET /api/v3/icon_dex/block HTTP/1.1\r\nHost: node\r\n{upgrade}").as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        // A text frame under a mask of zeros, RFC 6455 section 5.2.
        let subscription = br#"{"height":"0x1"}"#;
        let length = u8::try_from(subscription.len()).unwrap();
        stream.write_all(&[&[0x81, 0x80 | length, 0, 0, 0, 0], &subscription[..]].concat()).unwrap();
        let mut said = [0; 64];
        let length = undisturbed(|| stream.read(&mut said)).unwrap();
        assert!(String::from_utf8_lossy(&said[..length]).contains("\"code\":0"), "{said:?}");
        stream
    };
    from.inside(open).unwrap()
}

#[test]
fn citizens_are_served_json_rpc_of_the_validator_and_nothing_else_and_nobody_else_is() {
    let (mut mesh, citizen) = serving_mesh("sync");
    let [at, at6] = both(&mesh.sentries[0], RPC);
    for to in [at, at6] {
        wait_served(&citizen, to);
        dropped(&mesh.stranger, to);
        // A validator on the list is nobody's citizen.
        dropped(&mesh.validators[0].host, to);
    }
    // The node serves both to whoever reaches it; the sentry does not pass them on, however they are written.
    let inside = mesh.preps[0].overlay_ports(RPC).unwrap()[0];
    assert!(asked(&mesh.sentries[0].host, inside, &get("/admin/chain")).starts_with("HTTP/1.1 200 "));
    for target in
        ["/admin/chain", "/metrics", "/api/v3/../../admin/chain", "/api/v3/%2e%2e/%2e%2e/admin/chain", "//admin/chain"]
    {
        for request in [get(target), post(target)] {
            let answer = asked(&citizen, at, &request);
            assert!(answer.starts_with("HTTP/1.1 404 "), "{target}: {answer}");
        }
    }
    assert!(asked(&citizen, at, &get("/api/v3")).starts_with("HTTP/1.1 405 "));
    // Neither the rest of the sentry nor the validator itself is the citizen's.
    dropped(&citizen, mesh.sentries[0].host.v4(GUARDED[2]).unwrap());
    dropped(&citizen, mesh.sentries[0].host.v4(GUARDED[0]).unwrap());
    dropped(&citizen, mesh.preps[0].host.v4(RPC).unwrap());
    // Inside the mesh, and for the operator.
    wait_served(&mesh.preps[0].host, mesh.sentries[0].overlay_ports(RPC).unwrap()[0]);
    wait_served(&mesh.admin, at);

    // A stream goes on with blocks and is cut with the policy.
    let stream = streamed(&citizen, at);
    let reader = std::thread::spawn(move || read_to_its_end(stream));
    wait_told(&mesh, "picket_host_sync_requests_total{node=", "outcome=\"passed\"");
    reconfigure(&mut mesh, |text| text.replace(LINES, ""));
    let (blocks, ended) = reader.join().unwrap();
    assert!(blocks > 0);
    // A reset that comes after the end is told as a broken pipe.
    assert!(matches!(ended, None | Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)), "{ended:?}");
    dropped(&citizen, at);
    assert_eq!(mesh.admin.can_connect(at, ANSWERED), Connect::Refused);

    // The agent's end is the door's; what guarded it stays.
    reconfigure(&mut mesh, |text| format!("{text}\n{LINES}"));
    wait_served(&citizen, at);
    mesh.sentries[0].kill();
    assert_eq!(citizen.can_connect(at, ANSWERED), Connect::Refused);
    dropped(&mesh.stranger, at);
}

/// How much came of a stream, and how it ended. Somebody has to read all the time: of a caller whose buffers are full the kernel drops
/// what comes, and it may miss the end as well.
fn read_to_its_end(mut stream: TcpStream) -> (usize, Option<ErrorKind>) {
    let (mut piece, mut came) = ([0; 4096], 0);
    loop {
        match undisturbed(|| stream.read(&mut piece)) {
            Ok(0) => return (came, None),
            Ok(length) => came += length,
            Err(error) => return (came, Some(error.kind())),
        }
    }
}

fn wait_told(mesh: &Mesh, name: &str, part: &str) {
    // Hosts report as often as they compare, each half a minute, or sooner.
    wait_until("the metric", SOON * 3, || {
        let metrics = mesh.controller.metrics().map_err(|error| error.to_string())?;
        let line = metrics.lines().find(|line| line.starts_with(name) && line.contains(part));
        line.map(drop).ok_or_else(|| "not yet".to_owned())
    })
    .unwrap();
}

#[test]
fn a_sentry_whose_own_file_does_not_say_so_serves_nothing_and_says_why() {
    let mut mesh = small_mesh("sync-unnamed");
    mesh.start_goloop(&mesh.preps[0].host, RPC).unwrap();
    mesh.controller.kill();
    mesh.controller.configure(|text| format!("{text}\n{LINES}")).unwrap();
    mesh.controller.start().unwrap();
    wait_until("the refusal to be told", SOON * 2, || {
        let nodes = mesh.controller.nodes().map_err(|error| error.to_string())?;
        let refused = nodes.into_iter().filter_map(|view| view.report?.refused).collect::<Vec<_>>();
        match refused.iter().any(|why| why.contains("`may_proxy` in guard.toml does not name")) {
            true => Ok(()),
            false => Err(format!("{refused:?}")),
        }
    })
    .unwrap();
    let at = mesh.sentries[0].host.v4(RPC).unwrap();
    dropped(&mesh.stranger, at);
    // What was in force stays: validators reach RPC ports, where nobody listens.
    let validator = &mesh.validators[0].host;
    assert_eq!(validator.can_connect(at, Duration::from_secs(3)), Connect::Refused);
    open(validator, mesh.preps[0].host.v4(RPC).unwrap());
}
