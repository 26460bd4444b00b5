//! Lists that lie, shrink, stall or are no lists: the last good set stays in force, and the operator sees why.

use crate::support::{GUARDED, InForce, QUIET, dropped, open, reconfigure, serve_on, small_mesh, wait_calm, wait_told};
use picket_lab::{
    icon::{Behaviour, Prep},
    mesh::{Mesh, SOON},
    wait_until,
};
use serde_json::json;

/// All endpoints behave so; nothing moves, and the operator is told of it as this kind of alarm and with this part.
fn check(mesh: &Mesh, behaviour: &Behaviour, kind: &str, part: &str) {
    let before = InForce::of(mesh);
    mesh.all_behave(behaviour);
    wait_told(mesh, kind, part);
    before.stands(mesh, part);
    mesh.all_behave(&Behaviour::Normal);
    wait_calm(mesh);
}

#[test]
fn no_bad_answer_moves_the_firewall() {
    let mesh = small_mesh("bad answers");
    let _servers = serve_on(&mesh.preps[0]);
    check(&mesh, &Behaviour::Html, "source-failing", "not JSON");
    check(&mesh, &Behaviour::Status(502), "no-quorum", "0 of 3 sources");
    check(&mesh, &Behaviour::WrongChain, "source-failing", "chain");
    check(&mesh, &Behaviour::EmptyPreps, "source-failing", "empty");
    check(&mesh, &Behaviour::Huge(10 * 1024 * 1024), "source-failing", "more than 4194304 bytes");
    check(&mesh, &Behaviour::HalfPreps, "list-held", "max_removed");
    check(&mesh, &Behaviour::Icon1, "source-failing", "ICON 1.0");
    check(&mesh, &Behaviour::Lie(many(&mesh, 10_000)), "source-failing", "10000");
    check(&mesh, &Behaviour::Lie(many(&mesh, 700)), "list-held", "max_size");
    for (field, value) in [("grade", "-0x1"), ("penalty", "0x1000000000000000000000000"), ("p2pEndpoint", "")] {
        let mut odd = mesh.chain.state().prep(mesh.validators[0].prep).unwrap().clone();
        odd.insert(field.to_owned(), value.into());
        check(&mesh, &Behaviour::LieAbout(vec![odd.clone()]), "entry-disputed", field);
        odd.remove(field);
        // ICON 1.0 has no penalties: that one may be missing.
        if field != "penalty" {
            check(&mesh, &Behaviour::LieAbout(vec![odd]), "entry-disputed", &format!("no {field}"));
        }
    }
}

/// The chain's list and others after it, so many in all.
fn many(mesh: &Mesh, count: usize) -> Vec<Prep> {
    let listed = mesh.chain.state().preps;
    let others = (listed.len()..count).map(|n| registered(mesh, n, &format!("8.8.{}.{}", n / 250, n % 250)));
    listed.iter().cloned().chain(others).collect()
}

#[test]
fn an_endpoint_that_stalls_or_is_gone_moves_nothing() {
    let mesh = small_mesh("stalls");
    let _servers = serve_on(&mesh.preps[0]);
    check(&mesh, &Behaviour::Stall, "source-failing", "no whole answer");
}

#[test]
fn hostile_endpoints_are_refused_with_their_reasons() {
    let mesh = small_mesh("hostile");
    let prep = mesh.validators[1].prep;
    let hostile = [
        ("999.999.999.999:7100", "canonical"),
        ("012.034.056.078:7100", "canonical"),
        ("123.45.67:7100", "canonical"),
        ("127.0.0.1:7100", "loopback"),
        ("10.0.0.1:7100", "private"),
        ("host.example.com:7100\n", "printable ASCII"),
        ("b\u{fc}cher.example:7100", "printable ASCII"),
        ("1.2.3.4:0", "port"),
    ];
    for (endpoint, reason) in hostile {
        mesh.chain.set_endpoint(prep, endpoint).unwrap();
        wait_until(&format!("{endpoint:?} to be refused"), SOON, || {
            let view = mesh.controller.validators().map_err(|error| error.to_string())?;
            let entry = view.refused.iter().find(|view| view.refused.entry.contains(&prep.to_string()));
            match entry {
                Some(view) if view.refused.reason.contains(reason) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .unwrap();
        let view = mesh.controller.validators().unwrap();
        assert_eq!(view.validators.len(), 100, "the entry from before stays");
    }
    let output = mesh.controller.picket(&["explain", "10.0.0.1:7100"]).unwrap();
    assert!(output.stdout.contains("refused"), "{}", output.stdout);
}

/// Anybody may register any address: a P-Rep that names somebody else's.
fn registered(mesh: &Mesh, number: usize, address: &str) -> Prep {
    let mut prep = mesh.chain.state().preps[0].clone();
    let owner = format!("hx{:040x}", 0x5eed + number);
    for (key, value) in [("address", &owner), ("nodeAddress", &owner), ("p2pEndpoint", &format!("{address}:7100"))] {
        prep.insert(key.to_owned(), value.as_str().into());
    }
    prep
}

#[test]
fn a_stranger_who_names_our_addresses_gains_nothing_and_takes_nothing_away() {
    let mut mesh = small_mesh("names ours");
    let _servers = serve_on(&mesh.preps[0]);
    // Otherwise the controller's address and our hosts' are refused, as special-purpose addresses are.
    reconfigure(&mut mesh, |text| text.replace("special_ranges = [", "special_ranges = [\"203.0.113.0/24\", "));
    let to = mesh.preps[0].host.v4(GUARDED[0]).unwrap();
    let hosts = [&mesh.admin, &mesh.controller.host, &mesh.validators[0].host, &mesh.preps[0].host];
    let addresses = hosts.map(|host| host.v4(0).unwrap().ip().to_string());
    let streams = [&mesh.admin, &mesh.validators[0].host].map(|host| host.stream(to).unwrap());
    let listed = mesh.chain.state().preps;
    let strangers = addresses.iter().enumerate().map(|(number, address)| registered(&mesh, number, address));
    let flooded: Vec<Prep> = listed.iter().cloned().chain(strangers).collect();
    for (list, count) in [(flooded, 104), (listed, 100)] {
        mesh.chain.set_preps(list);
        wait_until("the list to be taken", SOON, || {
            let found = mesh.controller.status().map_err(|error| error.to_string())?.validators;
            if found == count { Ok(()) } else { Err(format!("{found} validators")) }
        })
        .unwrap();
        mesh.wait_in_force().unwrap();
        dropped(&mesh.stranger, to);
        open(&mesh.admin, to);
        open(&mesh.validators[0].host, to);
    }
    for stream in streams {
        stream.wait_flowing(SOON).unwrap();
        assert!(stream.longest_silence() < QUIET, "{:?}", stream.longest_silence());
    }
    // The agents still reach the controller: what changes arrives.
    mesh.chain.remove(mesh.validators[1].prep).unwrap();
    wait_until("a removal to arrive", SOON, || {
        mesh.validators[1].host.can_connect(to, crate::support::DROPPED).must_be(picket_lab::Connect::Filtered)
    })
    .unwrap();
    open(&mesh.validators[0].host, to);
}

#[test]
fn a_list_by_hand_is_source_enough() {
    let mut mesh = small_mesh("by hand");
    let _servers = serve_on(&mesh.preps[0]);
    let to = mesh.preps[0].host.v4(GUARDED[0]).unwrap();
    let mut listed: Vec<_> = (0..25)
        .map(|n| json!({"prep": format!("hx{n:040x}"), "endpoint": format!("8.8.8.{n}:7100"), "grade": "main"}))
        .collect();
    for (entry, validator) in listed.iter_mut().zip(&mesh.validators[..2]) {
        entry["endpoint"] = validator.host.v4(7100).unwrap().to_string().into();
    }
    let written = json!({"height": 1, "validators": listed}).to_string();
    let source = use_list(&mut mesh, &written);
    wait_until("the list by hand to be in force", SOON, || {
        mesh.validators[2].host.can_connect(to, crate::support::DROPPED).must_be(picket_lab::Connect::Filtered)
    })
    .unwrap();
    mesh.wait_in_force().unwrap();
    let before = InForce::of(&mesh);
    assert_eq!(before.len(), 25);
    before.stands(&mesh, "a list by hand");

    // Changed by somebody who does not change the checksum: nothing moves, and it is said.
    listed.remove(1);
    let changed = json!({"height": 2, "validators": listed}).to_string();
    mesh.controller.host.write("list.json", &changed).unwrap();
    wait_told(&mesh, "source-failing", "checksum");
    before.stands(&mesh, "a list that was changed");
    open(&mesh.validators[1].host, to);

    // By the operator, with its checksum.
    let stream = mesh.validators[1].host.stream(to).unwrap();
    let line = format!("sources = [\"{source}\"]");
    let fresh = format!("sources = [\"{}\"]", list_url(&mesh, &changed));
    mesh.controller.kill();
    mesh.controller.configure(|text| text.replace(&line, &fresh)).unwrap();
    mesh.controller.start().unwrap();
    stream.wait_dead(QUIET, SOON).unwrap();
    dropped(&mesh.validators[1].host, to);
    open(&mesh.validators[0].host, to);
}

/// Writes a list on the controller's host; gives its URL.
fn list_url(mesh: &Mesh, list: &str) -> String {
    let host = &mesh.controller.host;
    let path = host.write("list.json", list).unwrap();
    let sum = host.run("sha256sum", &[&path]).unwrap().success().unwrap();
    format!("file://{path}#sha256={}", sum.split_whitespace().next().unwrap())
}

/// Makes a list the controller's only source; gives its URL. The list is no other version of the chain's, so the brakes
/// are off.
fn use_list(mesh: &mut Mesh, list: &str) -> String {
    let url = list_url(mesh, list);
    mesh.controller.kill();
    mesh.controller
        .configure(|text| {
            let sources = text.lines().find(|line| line.starts_with("sources = ")).unwrap().to_owned();
            let text = text.replace(&sources, &format!("sources = [\"{url}\"]"));
            text + "\n[policy.brakes]\nmax_removed = 200\nmax_removed_percent = 100\nmax_added = 200\n"
        })
        .unwrap();
    mesh.controller.start().unwrap();
    url
}
