//! What a lab's hosts see of each other: addresses, ports, rules, cables, names. Needs root.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use picket_lab::{Connect, Host, Lab, LabError, wait_until};

const WITHIN: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(5);
const DROP_7100: &str = "table inet test {
    chain prerouting { type filter hook prerouting priority raw; tcp dport 7100 drop; }
}";

fn node_and_caller(lab: &Lab) -> Result<(Host, Host), LabError> {
    let node = lab.host("node").address("203.0.113.11/24").address("2001:db8:1::11/64").create()?;
    let caller = lab.host("caller").address("198.51.100.7").address("2001:db8:2::7/64").create()?;
    Ok((node, caller))
}

#[test]
fn hosts_reach_each_other_in_both_families_whatever_their_prefixes() -> Result<(), LabError> {
    let lab = Lab::new("reach")?;
    let (node, caller) = node_and_caller(&lab)?;
    for address in [node.v4(7100)?, node.v6(7100)?] {
        assert!(caller.ping(address.ip(), LONG).is_some(), "{address} answers a ping");
        assert_eq!(caller.can_connect(address, LONG), Connect::Refused, "{address}");
        assert_eq!(caller.can_udp_echo(address, LONG), Connect::Refused, "{address}");
        let echo = node.listen_echo(address)?;
        assert_eq!(caller.can_connect(echo.address(), LONG), Connect::Open, "{address}");
        assert_eq!(caller.can_udp_echo(echo.address(), LONG), Connect::Open, "{address}");
        drop(echo);
        assert_eq!(caller.can_connect(address, LONG), Connect::Refused, "{address} after the server is gone");
    }
    assert_eq!(caller.ping(node.v4(0)?.ip(), LONG).is_some(), node.ping(caller.v4(0)?.ip(), LONG).is_some());
    Ok(())
}

#[test]
fn an_address_is_one_hosts() -> Result<(), LabError> {
    let lab = Lab::new("taken")?;
    let (node, _caller) = node_and_caller(&lab)?;
    let error = lab.host("other").address("203.0.113.11/25").create().unwrap_err();
    assert_eq!(error.to_string(), "203.0.113.11 is already that of the host `node`");
    node.remove_address("203.0.113.11/24")?;
    lab.host("next").address("203.0.113.11/24").create().map(drop)
}

#[test]
fn a_dropped_port_is_filtered_and_a_rejected_one_is_refused() -> Result<(), LabError> {
    let lab = Lab::new("filter")?;
    let (node, caller) = node_and_caller(&lab)?;
    let _echo = [node.listen_echo(node.v4(7100)?)?, node.listen_echo(node.v6(7100)?)?];
    node.load_nft(
        "table inet test {
            chain prerouting { type filter hook prerouting priority raw; tcp dport 7100 drop; udp dport 7100 drop; }
            chain input { type filter hook input priority filter; tcp dport 9000 reject with tcp reset; }
        }",
    )?;
    let check = |port, expected| -> Result<(), LabError> {
        assert_eq!(caller.can_connect(node.v4(port)?, WITHIN), expected);
        assert_eq!(caller.can_connect(node.v6(port)?, WITHIN), expected);
        assert_eq!(caller.can_udp_echo(node.v4(7100)?, WITHIN), Connect::Filtered);
        Ok(())
    };
    check(7100, Connect::Filtered)?;
    check(9000, Connect::Refused)?;
    assert_eq!(caller.can_connect("[fd00::99]:7100".parse().unwrap(), LONG), Connect::Unreachable);
    let not_there = caller.can_connect_from("203.0.113.99".parse().unwrap(), node.v4(9000)?, WITHIN);
    assert!(matches!(not_there, Connect::Impossible(_)), "{not_there}");
    assert!(not_there.must_be(Connect::Open).is_err());
    Ok(())
}

#[test]
fn a_stream_tells_the_moment_it_is_cut_and_flows_again_when_let() -> Result<(), LabError> {
    let lab = Lab::new("stream")?;
    let (node, caller) = node_and_caller(&lab)?;
    let echo = node.listen_echo(node.v4(7100)?)?;
    let stream = caller.stream(echo.address())?;
    stream.wait_flowing(LONG)?;

    let before = Instant::now();
    node.load_nft(DROP_7100)?;
    let after = Instant::now();
    let last_echo = stream.wait_dead(Duration::from_millis(100), LONG)?;

    let slack = Duration::from_millis(10);
    assert!(last_echo + slack >= before, "still flowed until the rule came, {:?} earlier", before - last_echo);
    assert!(last_echo <= after + slack, "nothing came back after the rule, {:?} later", last_echo - after);
    assert_eq!(stream.last_echo(), last_echo);
    assert!(stream.wait_flowing(WITHIN).is_err(), "a dead stream does not flow");

    node.nft(&["delete", "table", "inet", "test"])?;
    stream.wait_flowing(LONG)?;
    assert!(stream.longest_silence() >= WITHIN && stream.echoes() > 0);
    Ok(())
}

#[test]
fn a_stream_whose_server_is_gone_is_dead() -> Result<(), LabError> {
    let lab = Lab::new("gone")?;
    let (node, caller) = node_and_caller(&lab)?;
    let echo = node.listen_echo(node.v6(7100)?)?;
    let from = caller.v6(0)?.ip();
    let stream = caller.stream_from(from, echo.address())?;
    drop(echo);
    stream.wait_dead(LONG * 2, LONG)?;
    Ok(())
}

#[test]
fn a_server_of_the_caller_is_found_on_the_host_on_which_its_socket_was_made() -> Result<(), LabError> {
    let lab = Lab::new("serve")?;
    let (node, caller) = node_and_caller(&lab)?;
    let address = node.v4(5353)?;
    let socket = node.inside(|| UdpSocket::bind(address))?.unwrap();
    socket.set_nonblocking(true).unwrap();
    lab.serve(async move {
        let socket = tokio::net::UdpSocket::from_std(socket)?;
        let (_, from) = socket.recv_from(&mut [0; 64]).await?;
        socket.send_to(b"answer", from).await?;
        Ok::<(), io::Error>(())
    });
    assert_eq!(caller.can_udp_echo(address, LONG), Connect::Open);
    let gone = wait_until("the server to end", LONG, || caller.can_udp_echo(address, LONG).must_be(Connect::Refused));
    gone.map(drop)
}

#[test]
fn an_unplugged_host_is_not_heard_until_it_is_plugged_in() -> Result<(), LabError> {
    let lab = Lab::new("plug")?;
    let (node, caller) = node_and_caller(&lab)?;
    let echo = node.listen_echo(node.v4(7100)?)?;
    let stream = caller.stream(echo.address())?;
    node.unplug()?;
    assert_eq!(caller.ping(node.v4(0)?.ip(), WITHIN), None);
    stream.wait_dead(Duration::from_millis(100), LONG)?;
    node.plug()?;
    assert!(caller.ping(node.v4(0)?.ip(), LONG).is_some());
    assert!(caller.ping(node.v6(0)?.ip(), LONG).is_some());
    stream.wait_flowing(LONG)
}

#[test]
fn addresses_come_and_go_while_a_host_runs() -> Result<(), LabError> {
    let lab = Lab::new("addresses")?;
    let (node, caller) = node_and_caller(&lab)?;
    for (with_prefix, address) in [("192.0.2.50/24", "192.0.2.50"), ("fd00:1::50/64", "fd00:1::50")] {
        let address: IpAddr = address.parse().unwrap();
        caller.add_address(if address.is_ipv4() { "192.0.2.7/24" } else { "fd00:1::7/64" })?;
        node.add_address(with_prefix)?;
        assert_eq!(caller.can_connect(SocketAddr::new(address, 7100), LONG), Connect::Refused);
        node.remove_address(with_prefix)?;
        assert!(caller.ping(address, WITHIN).is_none());
        assert!(node.remove_address(with_prefix).unwrap_err().to_string().contains("address delete"));
    }
    Ok(())
}

#[test]
fn names_resolve_in_programs_that_already_run() -> Result<(), LabError> {
    let lab = Lab::new("names")?;
    let (_, caller) = node_and_caller(&lab)?;
    let script = "until getent hosts node.example; do sleep 0.02; done; getent hosts localhost";
    let waiting = caller.start("resolver", "sh", &["-c", script], &[])?;
    lab.hosts_file([("node.example", "203.0.113.11".parse().unwrap())])?;
    wait_until("the name to resolve", LONG, || (!waiting.is_running()).then(|| waiting.log()))?;
    assert!(waiting.log().contains("203.0.113.11"), "{}", waiting.log());

    let late = lab.host("late").address("203.0.113.12/24").create()?;
    assert!(late.run("getent", &["hosts", "node.example"])?.success()?.contains("203.0.113.11"));
    assert!(!late.run("getent", &["hosts", "unknown.example"])?.status.success());
    Ok(())
}

#[test]
fn foreign_tables_are_shown_as_they_are_and_a_bad_ruleset_says_what_nft_said() -> Result<(), LabError> {
    let lab = Lab::new("nft")?;
    let (node, _) = node_and_caller(&lab)?;
    node.load_nft(DROP_7100)?;
    let text = node.nft_table_text("inet test")?;
    assert!(text.contains("tcp dport 7100 drop"), "{text}");
    assert_eq!(text, node.nft_table_text("inet test")?);

    let error = node.load_nft("table inet broken { nonsense }").unwrap_err().to_string();
    assert!(error.contains("`nft -f -`") && error.contains("nonsense"), "{error}");
    assert!(node.nft_table_text("inet broken").is_err(), "nothing of it was loaded");
    Ok(())
}
