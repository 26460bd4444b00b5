//! Addresses that validators advertise, as our own node authenticated them.

use crate::support::{DROPPED, GUARDED, open, small_mesh};
use picket_lab::{
    Connect,
    icon::{NodeState, Peer},
    mesh::{Mesh, SOON},
    wait_until,
};
use picket_model::PrepId;
use std::net::IpAddr;

/// Where the first validator's traffic comes from; the chain says another address.
const ADVERTISED: &str = "198.51.100.77";

fn node_address(mesh: &Mesh, prep: PrepId) -> String {
    let chain = mesh.icon.state().chain;
    let entry = chain.prep(prep).unwrap();
    entry.get("nodeAddress").or(entry.get("address")).unwrap().as_str().unwrap().to_owned()
}

fn advertise(node: &mut NodeState, address: &str, id: &str) {
    let (addr, id) = (format!("{address}:7100"), id.to_owned());
    node.roots.insert(addr.clone(), id.clone());
    node.seeds.insert(addr.clone(), id.clone());
    node.friends.push(Peer { id, addr });
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
