//! Guarded ports: who gets in, in both families, before, during and after a change; others' tables are left alone.

use crate::support::{DROPPED, GUARDED, QUIET, UNGUARDED, both, dropped, open, serve_on, small_mesh, table};
use picket_lab::{Connect, mesh::SOON, wait_until};
use std::time::Instant;

#[test]
fn guarded_ports_are_private_and_the_rest_is_left_alone() {
    let mesh = small_mesh("private");
    let validator = &mesh.validators[0].host;
    for agent in mesh.agents() {
        let _servers = serve_on(agent);
        for port in GUARDED {
            let [v4, v6] = both(agent, port);
            open(validator, v4);
            open(&mesh.admin, v4);
            open(&mesh.admin, v6);
            dropped(&mesh.stranger, v4);
            dropped(&mesh.stranger, v6);
            // The list knows this validator by its IPv4 address only.
            dropped(validator, v6);
            assert_eq!(mesh.stranger.can_udp_echo(v4, DROPPED), Connect::Filtered);
            assert_eq!(agent.host.can_connect(v4, SOON), Connect::Open, "the host itself, by its own address");
        }
        for to in both(agent, UNGUARDED) {
            open(&mesh.stranger, to);
        }
        assert!(mesh.stranger.ping(agent.host.v4(0).unwrap().ip(), SOON).is_some());
        assert!(mesh.stranger.ping(agent.host.v6(0).unwrap().ip(), SOON).is_some());
    }
}

#[test]
fn a_stranger_with_an_overlay_address_stays_outside() {
    let mesh = small_mesh("spoofed");
    let [prep, sentry] = [&mesh.preps[0], &mesh.sentries[0]];
    let _servers = serve_on(prep);
    let overlay = sentry.overlay().unwrap();
    mesh.stranger.add_address(&format!("{}/32", overlay.v4)).unwrap();
    let to = prep.host.v4(GUARDED[0]).unwrap();
    let counted = || prep.host.nft(&["list", "table", "inet", "picket"]).unwrap();
    let before = counted();
    assert_eq!(mesh.stranger.can_connect_from(overlay.v4.into(), to, DROPPED), Connect::Filtered);
    assert_ne!(before, counted(), "the packet was counted as refused");
}

#[test]
fn a_validator_that_leaves_the_list_is_cut_in_mid_stream_and_no_other() {
    let mesh = small_mesh("leaves");
    let [leaving, staying] = [&mesh.validators[0], &mesh.validators[1]];
    let prep = &mesh.preps[0];
    let _servers = serve_on(prep);
    let to = prep.host.v4(GUARDED[0]).unwrap();
    let (cut, kept) = (leaving.host.stream(to).unwrap(), staying.host.stream(to).unwrap());
    let elements_before = table(prep);
    mesh.chain.remove(leaving.prep).unwrap();
    let removed = Instant::now();
    let last = cut.wait_dead(QUIET, SOON).unwrap();
    kept.wait_flowing(SOON).unwrap();
    assert!(kept.longest_silence() < QUIET, "{:?}", kept.longest_silence());
    dropped(&leaving.host, to);
    open(&staying.host, to);
    println!("last packet {:?} after the list changed, polls are 1 s apart", last.saturating_duration_since(removed));
    // Only the element went: every rule kept its handle.
    let leaving_address = leaving.host.v4(0).unwrap().ip().to_string();
    let rules = |text: &str| -> Vec<String> {
        text.lines().filter(|line| line.contains("# handle") && !line.contains("elements")).map(str::to_owned).collect()
    };
    let elements_after = table(prep);
    assert!(elements_before.contains(&leaving_address) && !elements_after.contains(&leaving_address));
    assert_eq!(rules(&elements_before), rules(&elements_after));
}

#[test]
fn a_validator_that_moves_is_let_in_at_its_new_address_only() {
    let mesh = small_mesh("moves");
    let validator = &mesh.validators[0];
    let prep = &mesh.preps[0];
    let _servers = serve_on(prep);
    let to = prep.host.v4(GUARDED[0]).unwrap();
    validator.host.add_address("198.51.100.77/24").unwrap();
    let old = validator.host.v4(0).unwrap().ip();
    let new = "198.51.100.77".parse().unwrap();
    assert_eq!(validator.host.can_connect_from(new, to, DROPPED), Connect::Filtered);
    mesh.chain.set_endpoint(validator.prep, "198.51.100.77:7100").unwrap();
    wait_until("the new address to be let in", SOON, || {
        validator.host.can_connect_from(new, to, DROPPED).must_be(Connect::Open)
    })
    .unwrap();
    assert_eq!(validator.host.can_connect_from(old, to, DROPPED), Connect::Filtered);
}

#[test]
fn another_programs_table_stays_byte_for_byte() {
    let foreign = "table inet foreign {\n\
        \tset friends {\n\t\ttypeof ip saddr\n\t\telements = { 192.0.2.7 }\n\t}\n\
        \tchain input {\n\t\ttype filter hook input priority filter; policy accept;\n\t\tip saddr @friends accept\n\t}\n}\n";
    let mut mesh = small_mesh("foreign");
    let prep = &mesh.preps[0];
    prep.host.load_nft(foreign).unwrap();
    let before = prep.host.nft(&["-a", "list", "table", "inet", "foreign"]).unwrap();
    let ours = table(prep);
    mesh.chain.remove(mesh.validators[0].prep).unwrap();
    wait_until("our table to change", SOON, || table(prep) != ours).unwrap();
    assert_eq!(before, prep.host.nft(&["-a", "list", "table", "inet", "foreign"]).unwrap());
    mesh.preps[0].kill();
    let prep = &mesh.preps[0];
    prep.command(&["uninstall", "--yes"]).unwrap().success().unwrap();
    assert_eq!(before, prep.host.nft(&["-a", "list", "table", "inet", "foreign"]).unwrap());
    prep.rules_in_kernel().unwrap_err();
}

#[test]
fn a_table_that_somebody_flushed_comes_back() {
    let mut mesh = small_mesh("flushed");
    let before = mesh.preps[0].rules_in_kernel().unwrap();
    mesh.preps[0].host.nft(&["flush", "ruleset"]).unwrap();
    // The agent compares on a timer; a restart compares at once.
    mesh.preps[0].kill();
    mesh.preps[0].start().unwrap();
    wait_until("the table to come back", SOON, || match mesh.preps[0].rules_in_kernel() {
        Ok(text) if text == before => Ok(()),
        Ok(_) => Err("another table".to_owned()),
        Err(error) => Err(error.to_string()),
    })
    .unwrap();
}

#[test]
fn a_second_apply_changes_nothing_in_the_kernel() {
    let mut mesh = small_mesh("idempotent");
    let before = table(&mesh.preps[0]);
    let monitor = mesh.preps[0].host.start("monitor", "/usr/sbin/nft", &["monitor"], &[]).unwrap();
    let fence = |mesh: &picket_lab::mesh::Mesh, name: &str| {
        // nft monitor may not listen yet: ask until it tells of the fence.
        wait_until("nft monitor to see the fence", SOON, || {
            mesh.preps[0].host.nft(&["add", "table", "inet", name]).unwrap();
            mesh.preps[0].host.nft(&["delete", "table", "inet", name]).unwrap();
            monitor.log().contains(&format!("add table inet {name}"))
        })
        .unwrap();
    };
    fence(&mesh, "fence_one");
    mesh.preps[0].kill();
    mesh.preps[0].start().unwrap();
    mesh.wait_for_tunnels().unwrap();
    mesh.wait_in_force().unwrap();
    fence(&mesh, "fence_two");
    let log = monitor.log();
    let between = &log[log.find("add table inet fence_one").unwrap()..log.find("add table inet fence_two").unwrap()];
    assert!(!between.contains("picket"), "{between}");
    assert_eq!(before, table(&mesh.preps[0]));
}

/// A container behind a bridge of the validator's host: its own calls go out, and strangers do not get in through it.
#[test]
fn a_container_behind_the_host_can_call_out_and_is_no_way_in() {
    let mesh = small_mesh("container");
    let prep = &mesh.preps[0];
    let container = mesh.lab.host("container").create().unwrap();
    container.move_behind(&prep.host, "fd00:c0::2/64", "fd00:c0::1/64").unwrap();
    let validator = &mesh.validators[0].host;
    let back = format!("route replace fd00:c0::/64 via {}", prep.host.v6(0).unwrap().ip());
    for host in [validator, &mesh.stranger] {
        host.run("ip", &back.split(' ').collect::<Vec<_>>()).unwrap().success().unwrap();
    }
    let far = validator.listen_echo(validator.v6(GUARDED[0]).unwrap()).unwrap();
    open(&container, far.address());
    let inside = container.listen_echo("[fd00:c0::2]:7100".parse().unwrap()).unwrap();
    let unguarded = container.listen_echo("[fd00:c0::2]:2222".parse().unwrap()).unwrap();
    open(&mesh.stranger, unguarded.address());
    dropped(&mesh.stranger, inside.address());
}
