//! A stand-in that does what Cloudflare's published API says ("List DNS Records", "Batch DNS Records"). It is not Cloudflare.

use super::{addresses, provider, put, secret, stale};
use axum::{
    Json, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use picket_dns::provider::Provider;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

const TOKEN: &str = "a-token-of-forty-characters-or-so-1234567";

type Zone = Arc<Mutex<(u64, Vec<Value>)>>;

async fn start(records: Vec<Value>) -> (String, Zone) {
    let zone: Zone = Arc::new(Mutex::new((0, records)));
    let router = Router::new()
        .route("/client/v4/zones/abc/dns_records", get(list))
        .route("/client/v4/zones/abc/dns_records/batch", post(batch))
        .with_state(zone.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/client/v4", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, zone)
}

fn refused(status: StatusCode, code: u32, message: &str) -> (StatusCode, Json<Value>) {
    (
        status,
        Json(json!({"success": false, "errors": [{"code": code, "message": message}], "messages": [], "result": null})),
    )
}

fn known(headers: &HeaderMap) -> bool {
    headers.get("authorization").is_some_and(|value| value.as_bytes() == format!("Bearer {TOKEN}").as_bytes())
}

async fn list(
    State(zone): State<Zone>,
    headers: HeaderMap,
    Query(asked): Query<BTreeMap<String, String>>,
) -> (StatusCode, Json<Value>) {
    if !known(&headers) {
        return refused(StatusCode::FORBIDDEN, 10000, "Authentication error");
    }
    let records = zone.lock().unwrap().1.clone();
    let named = records.into_iter().filter(|record| record["name"] == asked["name"].as_str()).collect::<Vec<_>>();
    (StatusCode::OK, Json(json!({"success": true, "errors": [], "messages": [], "result": named})))
}

/// All of it or nothing: deletes first, posts last.
async fn batch(State(zone): State<Zone>, headers: HeaderMap, Json(asked): Json<Value>) -> (StatusCode, Json<Value>) {
    if !known(&headers) {
        return refused(StatusCode::FORBIDDEN, 10000, "Authentication error");
    }
    let mut zone = zone.lock().unwrap();
    let (mut next, mut records) = zone.clone();
    for gone in asked["deletes"].as_array().unwrap() {
        let before = records.len();
        records.retain(|record| record["id"] != gone["id"]);
        if records.len() == before {
            return refused(StatusCode::NOT_FOUND, 81044, "Record does not exist.");
        }
    }
    for new in asked["posts"].as_array().unwrap() {
        if new["ttl"].as_u64().unwrap() < 60 {
            return refused(StatusCode::BAD_REQUEST, 9021, "Invalid TTL. Must be between 60 and 86400 seconds.");
        }
        next += 1;
        let mut record = new.clone();
        record["id"] = json!(format!("id-{next}"));
        records.push(record);
    }
    *zone = (next, records);
    (StatusCode::OK, Json(json!({"success": true, "errors": [], "messages": [], "result": {}})))
}

fn ours(url: &str, token: &str) -> Provider {
    let folder = tempfile::tempdir().unwrap();
    let file = secret(folder.path(), "token", token);
    provider(&format!("[dns.provider.cloudflare]\nzone = \"abc\"\ntoken_file = \"{file}\"\nurl = \"{url}\"\n"))
}

#[tokio::test]
async fn a_name_is_made_and_changed_as_the_published_api_says() {
    let (url, zone) = start(Vec::new()).await;
    let ours = ours(&url, TOKEN);
    let (told, found) = put(&ours, &["192.0.2.1", "192.0.2.2"], false).await.unwrap();
    assert_eq!(told, "none -> 192.0.2.1, 192.0.2.2");
    assert_eq!(
        (found.addresses, found.ttl.longest(), found.marks.len()),
        (addresses(&["192.0.2.1", "192.0.2.2"]), Some(60), 1)
    );
    let (_, found) = put(&ours, &["192.0.2.2", "2001:db8::3"], false).await.unwrap();
    assert_eq!(found.addresses, addresses(&["192.0.2.2", "2001:db8::3"]));
    // What stayed is the same record as before.
    let kept = zone.lock().unwrap().1.iter().find(|record| record["content"] == "192.0.2.2").unwrap()["id"].clone();
    assert_eq!(kept, "id-2");
    assert!(zone.lock().unwrap().1.iter().all(|record| record["proxied"] != true));
    assert!(ours.write(&stale(&["192.0.2.9"])).await.unwrap_err().to_string().contains("at the same time"));
}

#[tokio::test]
async fn foreign_and_proxied_records_and_a_wrong_token_are_told() {
    let record = |proxied: bool| json!({"id": "x", "type": "A", "name": "p2p.example.org", "content": "198.51.100.1", "ttl": 300, "proxied": proxied});
    let (url, zone) = start(vec![record(false)]).await;
    let (told, found) = put(&ours(&url, TOKEN), &["192.0.2.1"], false).await.unwrap();
    assert!(told.contains("adopt = true"), "{told}");
    assert_eq!(found.addresses, addresses(&["198.51.100.1"]));
    let error = put(&ours(&url, "wrong"), &["192.0.2.1"], true).await.unwrap_err().to_string();
    assert!(error.contains("Authentication error (10000)") && !error.contains("wrong"), "{error}");
    assert_eq!(zone.lock().unwrap().1.len(), 1);
    let (url, _) = start(vec![record(true)]).await;
    let (told, _) = put(&ours(&url, TOKEN), &["192.0.2.1"], true).await.unwrap();
    assert!(told.contains("proxy"), "{told}");
}
