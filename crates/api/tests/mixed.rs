//! Version N beside N-1: what travelled between controllers and agents as of today, recorded, so that a later version is held against
//! it. It must read what this one says, and say what this one reads wherever nothing new is used.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

use picket_api::{
    ConfigAnswer, EnrollResponse,
    ca::MeshCas,
    node::{RekeyAnswer, RenewResponse},
};
use picket_model::NodeReport;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::fmt::Debug;

const CONFIG_ANSWER: &str = include_str!("../../../tests/fixtures/wire/config-answer.json");
const REPORT: &str = include_str!("../../../tests/fixtures/wire/report.json");

/// Read and said again it is the same, and so it is for whoever does not know what a later version adds at these places.
fn check<T: DeserializeOwned + Serialize + Debug>(recorded: &Value, places: &[&str]) -> T {
    let read: T = serde_json::from_value(recorded.clone()).unwrap();
    assert_eq!(&serde_json::to_value(&read).unwrap(), recorded);
    let mut of_later = recorded.clone();
    for place in places {
        let object = of_later.pointer_mut(place).unwrap_or_else(|| panic!("nothing is at {place}"));
        object.as_object_mut().unwrap().insert("of_a_later_version".to_owned(), json!({ "any": [1, null] }));
    }
    let read_by_older: T = serde_json::from_value(of_later).unwrap();
    assert_eq!(serde_json::to_value(&read_by_older).unwrap(), *recorded);
    read
}

#[test]
fn a_wanted_state_of_today_is_read_and_said_by_every_version_beside_it() {
    let recorded: Value = serde_json::from_str(CONFIG_ANSWER).unwrap();
    let peer = recorded["full"]["wireguard"]["peers"].as_object().unwrap().keys().next().unwrap();
    let peer = format!("/full/wireguard/peers/{}", peer.replace('~', "~0").replace('/', "~1"));
    let pairing = format!("{peer}/pairing");
    let places = ["", "/full", "/full/wireguard", "/full/firewall", "/full/firewall/guarded/0", &peer, &pairing];
    let answer: ConfigAnswer = check(&recorded, &places);
    // An agent refuses what has another digest: it is computed as ever where nothing new is used.
    assert_eq!(answer.full.digest(), answer.digest);
}

#[test]
fn a_report_of_today_is_read_and_said_by_every_version_beside_it() {
    let recorded = serde_json::from_str(REPORT).unwrap();
    let report: NodeReport = check(&recorded, &["", "/kernel", "/defences", "/defences/tracking"]);
    assert_eq!(report.peers.len(), 2);
    // What was not there once need not be.
    let mut first = recorded;
    for field in ["defences", "state"] {
        first.as_object_mut().unwrap().remove(field);
    }
    serde_json::from_value::<NodeReport>(first).unwrap();
}

#[test]
fn small_answers_may_have_more_in_them() {
    let overlay = json!({ "v4": "192.0.2.1", "v6": "fd00::1" });
    let enrolled = json!({
        "mesh": "m-1", "node": "n-1", "overlay": overlay, "certificate_pem": "", "not_after": 1, "ca_pem": ""
    });
    check::<EnrollResponse>(&enrolled, &["", "/overlay"]);
    check::<RenewResponse>(&json!({ "certificate_pem": "", "not_after": 1 }), &[""]);
    check::<RekeyAnswer>(&json!({ "ready": true }), &[""]);
    let next = json!({ "pem": "", "cross_pem": "" });
    let cas = json!({ "tag": "t", "current_pem": "", "next": next, "issues": "ab".repeat(32) });
    check::<MeshCas>(&cas, &["", "/next"]);
}
