//! Validators' names that give private, too many or ever other addresses: a real name server, the controller's own client.

use crate::support::{
    ANSWERED, DROPPED, GUARDED, InForce, dropped, open, reconfigure, serve_on, small_mesh, wait_calm, wait_told,
};
use picket_lab::{
    Connect, NameServer,
    mesh::{Mesh, SOON},
    wait_until,
};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const NAME: &str = "validator.example";
/// As the policy has it.
const MOST_ADDRESSES: usize = 8;

/// A mesh whose second validator is registered under a name that gives its own address, and looked up each second.
fn named(label: &str) -> (Mesh, NameServer, SocketAddr) {
    let mut mesh = small_mesh(label);
    let names = mesh.controller.host.name_server().unwrap();
    reconfigure(&mut mesh, |text| text + "\n[policy.names]\nshortest_seconds = 1\nlongest_seconds = 1\n");
    let validator = &mesh.validators[1];
    let to = mesh.preps[0].host.v4(GUARDED[0]).unwrap();
    names.set(NAME, [own_address(&mesh)]);
    mesh.chain.set_endpoint(validator.prep, &format!("{NAME}:7100")).unwrap();
    wait_until("the name to be in the set", SOON, || {
        let view = mesh.controller.validators().map_err(|error| error.to_string())?;
        let entry = view.validators.into_iter().find(|entry| entry.prep == validator.prep);
        let named = entry.filter(|entry| entry.endpoint.to_string().starts_with(NAME));
        named.filter(|entry| !entry.addresses.is_empty()).map(drop).ok_or_else(|| "not yet".to_owned())
    })
    .unwrap();
    // It was answered.
    wait_calm(&mesh);
    mesh.wait_in_force().unwrap();
    (mesh, names, to)
}

fn own_address(mesh: &Mesh) -> Ipv4Addr {
    match mesh.validators[1].host.v4(0).unwrap().ip() {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => panic!("{address} is no IPv4 address"),
    }
}

/// How many addresses the named validator has.
fn count(mesh: &Mesh) -> usize {
    let view = mesh.controller.validators().unwrap();
    view.validators.iter().find(|entry| entry.prep == mesh.validators[1].prep).unwrap().addresses.len()
}

/// Others' addresses, as many as wanted.
fn others(count: u32) -> impl Iterator<Item = Ipv4Addr> {
    (0..count).map(|number| Ipv4Addr::from_bits(Ipv4Addr::new(8, 8, 0, 0).to_bits() + number))
}

#[test]
fn a_name_that_gives_private_addresses_changes_nothing() {
    let (mesh, names, to) = named("private name");
    let _servers = serve_on(&mesh.preps[0]);
    let before = InForce::of(&mesh);
    names.set(NAME, [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::LOCALHOST, Ipv4Addr::new(169, 254, 169, 254)]);
    wait_told(&mesh, "name-unresolved", "it gives none that may be used");
    before.stands(&mesh, "a private address");
    assert_eq!(mesh.validators[1].host.can_connect(to, ANSWERED), Connect::Open);

    names.set(NAME, []);
    wait_told(&mesh, "name-unresolved", "no address");
    before.stands(&mesh, "no address");
}

#[test]
fn a_name_that_gives_a_thousand_addresses_fills_its_own_place_and_no_more() {
    let (mesh, names, to) = named("wide name");
    let _servers = serve_on(&mesh.preps[0]);
    names.set(NAME, others(1000).chain([own_address(&mesh)]));
    wait_told(&mesh, "name-overfull", NAME);
    wait_until("the addresses to be taken", SOON, || count(&mesh) == MOST_ADDRESSES).unwrap();
    mesh.wait_in_force().unwrap();
    let full = InForce::of(&mesh);
    open(&mesh.validators[1].host, to);

    // Others at each lookup: those that stand go on standing.
    names.rotate(NAME, others(1000));
    let stranger = mesh.stranger.v4(0).unwrap().ip();
    for _ in 0..3 {
        let lookups = names.asked();
        wait_until("some lookups", SOON, || names.asked() > lookups + 1).unwrap();
        full.stands(&mesh, "other addresses at each lookup");
    }
    if let IpAddr::V4(stranger) = stranger {
        names.set(NAME, [stranger]);
    }
    let lookups = names.asked();
    wait_until("some lookups", SOON, || names.asked() > lookups + 3).unwrap();
    full.stands(&mesh, "the stranger's address beyond the cap");
    assert_eq!(mesh.validators[1].host.can_connect(to, DROPPED), Connect::Open);
    dropped(&mesh.stranger, to);
}
