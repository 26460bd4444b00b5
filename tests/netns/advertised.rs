//! Addresses that validators advertise: our own node authenticated them, so they are let in from there; nobody else is.

use crate::support::{DROPPED, GUARDED, dropped, open, reconfigure, small_mesh};
use picket_lab::{
    Connect,
    icon::{NodeState, Peer},
    mesh::{Mesh, SOON},
    wait_until,
};
use picket_model::PrepId;
use std::net::{IpAddr, SocketAddr};

/// Where the first validator's traffic comes from; the chain says another address.
const ADVERTISED: &str = "198.51.100.77";

fn node_address(mesh: &Mesh, prep: PrepId) -> String {
    let chain = mesh.chain.state();
    let entry = chain.prep(prep).unwrap();
    entry.get("nodeAddress").or(entry.get("address")).unwrap().as_str().unwrap().to_owned()
}

fn advertise(node: &mut NodeState, address: &str, id: &str) {
    let (addr, id) = (format!("{address}:7100"), id.to_owned());
    node.roots.insert(addr.clone(), id.clone());
    node.seeds.insert(addr.clone(), id.clone());
    node.friends.push(Peer { id, addr });
}

fn with_policy(label: &str, line: &str) -> Mesh {
    let mut mesh = small_mesh(label);
    reconfigure(&mut mesh, |text| text.replace("[policy]\n", &format!("[policy]\n{line}\n")));
    mesh
}

fn chain_of(mesh: &Mesh, part: &str) {
    wait_until(&format!("picket nodes to show {part:?}"), SOON * 2, || {
        let shown = mesh.controller.picket(&["nodes"]).map_err(|error| error.to_string())?.stdout;
        if shown.contains(part) { Ok(()) } else { Err(shown) }
    })
    .unwrap();
}

fn wait_let_in(mesh: &Mesh, from: IpAddr, to: SocketAddr) {
    wait_until("the advertised address to be let in", SOON * 2, || {
        mesh.validators[0].host.can_connect_from(from, to, DROPPED).must_be(Connect::Open)
    })
    .unwrap();
}

#[test]
fn a_validator_is_let_in_from_the_address_it_advertises_and_a_stranger_is_not() {
    let mut mesh = with_policy("advertised", "endpoints = \"both\"");
    let _server = mesh.preps[0].host.listen_echo(mesh.preps[0].host.v4(GUARDED[0]).unwrap()).unwrap();
    let to = mesh.preps[0].host.v4(GUARDED[0]).unwrap();
    let from: IpAddr = ADVERTISED.parse().unwrap();
    let validator = mesh.validators[0].host.clone();
    validator.add_address(&format!("{ADVERTISED}/24")).unwrap();
    let goloop = mesh.start_beside_goloop(0).unwrap();
    mesh.wait_in_force().unwrap();
    chain_of(&mesh, "3064");
    assert_eq!(validator.can_connect_from(from, to, DROPPED), Connect::Filtered, "nobody has named it yet");

    let stranger = mesh.stranger.v4(0).unwrap().ip().to_string();
    let id = node_address(&mesh, mesh.validators[0].prep);
    goloop.set_node(|node| {
        // A validator's address with nobody's signature, and a stranger with his own.
        node.roots.insert(format!("{stranger}:7100"), String::new());
        node.seeds.insert(format!("{stranger}:7100"), format!("hx{}", "ab".repeat(20)));
        advertise(node, ADVERTISED, &id);
    });
    wait_let_in(&mesh, from, to);
    open(&validator, to);
    dropped(&mesh.stranger, to);

    // goloop ends, the controller and the agent are started anew: what was said before stays.
    goloop.set_node(|node| node.state = "stopped".to_owned());
    chain_of(&mesh, "goloop's chain is stopped");
    mesh.controller.kill();
    mesh.controller.start().unwrap();
    mesh.wait_in_force().unwrap();
    assert_eq!(validator.can_connect_from(from, to, DROPPED), Connect::Open);
    dropped(&mesh.stranger, to);
}

#[test]
fn what_is_advertised_opens_nothing_where_the_policy_does_not_ask_for_it() {
    let mut mesh = small_mesh("not asked");
    let _server = mesh.preps[0].host.listen_echo(mesh.preps[0].host.v4(GUARDED[0]).unwrap()).unwrap();
    let to = mesh.preps[0].host.v4(GUARDED[0]).unwrap();
    let from: IpAddr = ADVERTISED.parse().unwrap();
    let validator = mesh.validators[0].host.clone();
    validator.add_address(&format!("{ADVERTISED}/24")).unwrap();
    let id = node_address(&mesh, mesh.validators[0].prep);
    let goloop = mesh.start_beside_goloop(0).unwrap();
    goloop.set_node(|node| advertise(node, ADVERTISED, &id));
    wait_until("the controller to have heard of it", SOON * 2, || {
        let nodes = mesh.controller.nodes().map_err(|error| error.to_string())?;
        let said = nodes.into_iter().filter_map(|view| view.report?.advertised).next();
        said.filter(|said| said.endpoints.len() == 1).map(drop).ok_or_else(|| "not yet".to_owned())
    })
    .unwrap();
    mesh.wait_in_force().unwrap();
    open(&validator, to);
    assert_eq!(validator.can_connect_from(from, to, DROPPED), Connect::Filtered);
}
