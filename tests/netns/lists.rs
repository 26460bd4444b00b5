//! Lists that lie, shrink, stall or are no lists: the last good set stays in force, and the operator sees why.

use crate::support::{GUARDED, dropped, open, serve_on, small_mesh};
use picket_lab::{
    icon::Behaviour,
    mesh::{Mesh, SOON},
    wait_until,
};

/// All endpoints behave so; the set and the ports stay, and the status says `part`.
fn check(mesh: &Mesh, behaviour: &Behaviour, part: &str) {
    let before = mesh.controller.validators().unwrap().validators;
    mesh.all_behave(behaviour);
    wait_until(&format!("the status to tell of {behaviour:?} with {part:?}"), SOON * 2, || {
        let status = mesh.controller.status().map_err(|error| error.to_string())?;
        let errors = status.sources.iter().filter_map(|source| source.error.clone());
        let told: Vec<String> = errors.chain(status.alarms).collect();
        if told.iter().any(|text| text.contains(part)) { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .unwrap();
    assert_eq!(mesh.controller.validators().unwrap().validators, before, "{behaviour:?}");
    let to = mesh.preps[0].host.v4(GUARDED[0]).unwrap();
    open(&mesh.validators[0].host, to);
    dropped(&mesh.stranger, to);
    mesh.all_behave(&Behaviour::Normal);
    wait_until("the endpoint to be believed again", SOON * 2, || {
        let status = mesh.controller.status().map_err(|error| error.to_string())?;
        if status.sources.iter().all(|source| source.error.is_none()) {
            Ok(())
        } else {
            Err(format!("{:?}", status.sources))
        }
    })
    .unwrap();
}

#[test]
fn no_bad_answer_moves_the_firewall() {
    let mesh = small_mesh("bad answers");
    let _servers = serve_on(&mesh.preps[0]);
    check(&mesh, &Behaviour::Html, "not JSON");
    check(&mesh, &Behaviour::Status(503), "503");
    check(&mesh, &Behaviour::WrongChain, "chain");
    check(&mesh, &Behaviour::EmptyPreps, "empty");
    check(&mesh, &Behaviour::Huge(10 * 1024 * 1024), "more than 4194304 bytes");
    check(&mesh, &Behaviour::HalfPreps, "max_removed");
}

#[test]
fn an_endpoint_that_stalls_or_is_gone_moves_nothing() {
    let mesh = small_mesh("stalls");
    let _servers = serve_on(&mesh.preps[0]);
    check(&mesh, &Behaviour::Stall, "no whole answer");
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
