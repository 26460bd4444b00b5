//! The fake beside what a real goloop 1.4.4 answered, and its control.

use super::*;
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Method, Request, header},
};
use serde_json::{Value, json};
use tower::ServiceExt as _;

const SCORE: &str = "cx0000000000000000000000000000000000000000";
const FOUNDATION: &str = "hx0b047c751658f7ce1b2595da34d57a0e7dad357d";
const HEIGHT: u64 = 30_642_672;

struct Answer {
    status: u16,
    kind: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

#[test]
fn the_built_in_list_is_mainnets() {
    let chain = ChainState::mainnet();
    assert_eq!((chain.nid, chain.height, chain.preps.len()), (1, HEIGHT, 100));
    assert!(chain.prep(prep(FOUNDATION)).is_some());
}

#[test]
fn a_fixture_that_is_none_is_named() {
    let check = |text: &str, expect: &str| {
        assert!(ChainState::from_answer(text).unwrap_err().to_string().contains(expect), "{text}");
    };
    check("<html>", "not JSON");
    check("{}", "result");
    check(r#"{"result": {"preps": []}}"#, "blockHeight");
    check(r#"{"result": {"blockHeight": "0x1"}}"#, "preps");
    check(r#"{"result": {"blockHeight": "0x1", "preps": [1]}}"#, "preps");
}

#[tokio::test]
async fn paths_are_goloops() {
    let check = async |method: Method, path: &str, status: u16, kind: &str, body: &str| {
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": "icx_getLastBlock"});
        let answer = ask(&FakeIcon::new(ChainState::mainnet()), method, path, &request.to_string()).await;
        assert_eq!((answer.status, answer.kind.as_str()), (status, kind), "{path}");
        assert!(answer.body.contains(body), "{path}: {}", answer.body);
    };
    let (json, text) = ("application/json; charset=UTF-8", "text/plain; charset=UTF-8");
    check(Method::POST, "/api/v3", 200, json, "block_hash").await;
    check(Method::POST, "/api/v3/", 200, json, "block_hash").await;
    check(Method::POST, "/api/v3/icon_dex", 200, json, "block_hash").await;
    check(Method::POST, "/api/v3/other", 404, text, "No channel").await;
    check(Method::POST, "/api/v3d", 404, text, "debug API is disabled").await;
    check(Method::POST, "/api/v3d/icon_dex", 404, text, "debug API is disabled").await;
    check(Method::GET, "/api/v3", 404, "", "").await;
    check(Method::POST, "/", 404, "", "").await;
}

#[tokio::test]
async fn envelopes_are_judged_as_goloop_does() {
    let check = async |body: &str, status: u16, expect: Value| {
        let answer = post(&FakeIcon::new(ChainState::mainnet()), body).await;
        assert_eq!((answer.status, answer.json()), (status, expect), "{body}");
    };
    let error = |id: Value, code: i64, message: &str| json!({"jsonrpc": "2.0", "error": {"code": code, "message": message}, "id": id});
    check("{", 400, error(Value::Null, -32700, "ParseError")).await;
    check("[]", 400, error(Value::Null, -32600, "InvalidRequest")).await;
    check(r#"{"jsonrpc":"2.0","id":1,"method":"icx_nothing"}"#, 400, error(json!(1), -32601, "MethodNotFound")).await;
    check(
        r#"{"jsonrpc":"1.0","id":1,"method":"icx_getLastBlock"}"#,
        400,
        error(json!(1), -32600, "InvalidRequest: fail to validate, version('jsonrpc')"),
    )
    .await;
    check(
        r#"{"jsonrpc":"2.0","id":true,"method":"icx_getLastBlock"}"#,
        400,
        error(json!(true), -32600, "InvalidRequest: fail to validate, id('id')"),
    )
    .await;
    check(
        r#"{"jsonrpc":"2.0","id":1,"method":"icx_getLastBlock","x":1}"#,
        400,
        error(json!(1), -32600, "InvalidRequest: fail to unmarshal, unknown field 'x'"),
    )
    .await;
    check(
        r#"[{"jsonrpc":"2.0","id":1,"method":"icx_nothing"},{"jsonrpc":"2.0","method":"icx_getLastBlock"},{"jsonrpc":"2.0","id":"a","method":"icx_nothing"}]"#,
        200,
        json!([error(json!(1), -32601, "MethodNotFound"), error(json!("a"), -32601, "MethodNotFound")]),
    )
    .await;
    let eleven = vec![json!({"jsonrpc": "2.0", "id": 1, "method": "icx_getLastBlock"}); 11];
    let too_many = json!({"code": -32600, "message": "InvalidRequest", "data": "too many request"});
    check(&json!(eleven).to_string(), 503, json!({"jsonrpc": "2.0", "error": too_many, "id": null})).await;
}

#[tokio::test]
async fn ids_of_any_kind_come_back_and_a_request_without_one_is_not_answered() {
    let fake = FakeIcon::new(ChainState::mainnet());
    for id in [json!(1), json!("abc"), json!(1.5), json!(-3)] {
        let request = json!({"jsonrpc": "2.0", "id": id, "method": "icx_getNetworkInfo"});
        assert_eq!(post(&fake, &request.to_string()).await.json()["id"], id);
    }
    let answer = post(&fake, r#"{"jsonrpc":"2.0","method":"icx_getNetworkInfo"}"#).await;
    assert_eq!((answer.status, answer.kind.as_str(), answer.body.as_str()), (200, "", ""));
    let ten = vec![json!({"jsonrpc": "2.0", "id": 1, "method": "icx_getLastBlock"}); 10];
    assert_eq!(post(&fake, &json!(ten).to_string()).await.json().as_array().map(Vec::len), Some(10));
}

#[tokio::test]
async fn rankings_work_only_together() {
    let check = async |params: Value, first: usize, count: usize| {
        let list = preps(&FakeIcon::new(ChainState::mainnet()), params.clone()).await.unwrap();
        assert_eq!(list["preps"].as_array().map(Vec::len), Some(count), "{params}");
        assert_eq!(list["startRanking"], format!("{first:#x}"), "{params}");
        let all = ChainState::mainnet().preps;
        assert_eq!(list["preps"][0], Value::Object(all[first - 1].clone()), "{params}");
    };
    check(json!({}), 1, 100).await;
    check(json!({"startRanking": "0x3"}), 1, 100).await;
    check(json!({"endRanking": "0x3"}), 1, 100).await;
    check(json!({"startRanking": "0x3", "endRanking": "0x4"}), 3, 2).await;
    check(json!({"startRanking": "3", "endRanking": "4"}), 3, 2).await;
    check(json!({"startRanking": "0x0", "endRanking": "0x0"}), 1, 100).await;
    check(json!({"startRanking": "0x60", "endRanking": "0xffff"}), 0x60, 5).await;
}

#[tokio::test]
async fn bad_arguments_are_refused_with_goloops_codes() {
    let check = async |params: Value, code: i64, message: &str| {
        let error = call(&FakeIcon::new(ChainState::mainnet()), params.clone()).await.unwrap_err();
        assert_eq!((error["code"].as_i64(), error["message"].as_str()), (Some(code), Some(message)), "{params}");
    };
    let list = |arguments: Value| json!({"to": SCORE, "dataType": "call", "data": {"method": "getPReps", "params": arguments}});
    let at = |height: &str| json!({"to": SCORE, "dataType": "call", "data": {"method": "getPReps"}, "height": height});
    let method = |method: &str, arguments: Value| json!({"to": SCORE, "dataType": "call", "data": {"method": method, "params": arguments}});

    check(
        list(json!({"startRanking": "0x1ff", "endRanking": "0x200"})),
        -30006,
        "SCOREError(-30006): E0006:Failed to get PReps: start=511 end=512",
    )
    .await;
    check(
        list(json!({"startRanking": "0x5", "endRanking": "0x4"})),
        -30006,
        "SCOREError(-30006): E0006:Invalid ranking: start=5 > end=4",
    )
    .await;
    check(
        list(json!({"startRanking": "-0x5", "endRanking": "0x4"})),
        -30006,
        "SCOREError(-30006): E0006:Failed to get PReps: start=-5 end=4",
    )
    .await;
    check(
        list(json!({"startRanking": 1, "endRanking": 2})),
        -32602,
        "InvalidParams: fail to validate, data.params('Data.params.endRanking','Data.params.startRanking')",
    )
    .await;
    check(list(json!({"foo": "0x1"})), -30006, "SCOREError(-30006): E0006:UnexpectedParam(foo)").await;
    let mut extra = list(json!({}));
    extra["x"] = json!(1);
    check(extra, -32602, "InvalidParams: fail to unmarshal, unknown field 'x'").await;
    check(method("nothing", json!({})), -30003, "SCOREError(-30003): E0003:MethodNotFound").await;
    let nobody = format!("hx{}", "0".repeat(40));
    check(method("getPRep", json!({"address": nobody})), -30007, "SCOREError(-30007): E0007:Failed to get PRep").await;
    check(at("0x01"), -32602, "InvalidParams: fail to validate, t_int('height')").await;
    check(at("0xFF"), -32602, "InvalidParams: fail to validate, t_int('height')").await;
    check(at("0xffffffff"), -31004, "NotFound: E1005:no block for 4294967295").await;
    check(at("0x1"), -31004, &format!("NotFound: PrunedBlock(height=1,base={HEIGHT})")).await;
}

#[tokio::test]
async fn the_chain_tells_of_itself() {
    let fake = FakeIcon::new(ChainState::mainnet());
    let ask = async |method: &str, arguments: Value| {
        call(&fake, json!({"to": SCORE, "dataType": "call", "data": {"method": method, "params": arguments}}))
            .await
            .unwrap()
    };
    assert_eq!(ask("getPRep", json!({"address": FOUNDATION})).await["p2pEndpoint"], "210.180.69.101:7100");
    let info = ask("getNetworkInfo", json!({})).await;
    assert_eq!(
        (&info["mainPRepCount"], &info["subPRepCount"], &info["preps"]),
        (&json!("0x16"), &json!("0x4e"), &json!("0x64"))
    );
    let term = ask("getPRepTerm", json!({})).await;
    assert_eq!((term["preps"].as_array().map(Vec::len), &term["period"]), (Some(100), &json!("0xa870")));

    let block = rpc(&fake, json!({"jsonrpc": "2.0", "id": 1, "method": "icx_getLastBlock"})).await.unwrap();
    assert_eq!(block["height"], HEIGHT);
    let info = rpc(&fake, json!({"jsonrpc": "2.0", "id": 1, "method": "icx_getNetworkInfo"})).await.unwrap();
    assert_eq!(
        (&info["nid"], &info["latest"], &info["channel"]),
        (&json!("0x1"), &json!("0x1d391f0"), &json!("icon_dex"))
    );
}

#[tokio::test]
async fn changes_of_the_list_are_in_a_new_block() {
    let fake = FakeIcon::new(ChainState::mainnet());
    let foundation = prep(FOUNDATION);
    assert_eq!(fake.set_endpoint(foundation, "192.0.2.1:7100\n"), Some(HEIGHT + 1));
    let list = preps(&fake, json!({})).await.unwrap();
    assert_eq!(
        (&list["preps"][0]["p2pEndpoint"], &list["blockHeight"]),
        (&json!("192.0.2.1:7100\n"), &json!("0x1d391f1"))
    );
    assert_eq!(fake.remove(foundation), Some(HEIGHT + 2));
    assert_eq!(fake.remove(foundation), None);
    assert_eq!(fake.set_endpoint(foundation, "192.0.2.1:7100"), None);
    assert_eq!(preps(&fake, json!({})).await.unwrap()["preps"].as_array().map(Vec::len), Some(99));
    assert_eq!(fake.set_preps(Vec::new()), HEIGHT + 3);
    assert_eq!(fake.requests(), 2);
}

#[tokio::test]
async fn it_misbehaves_as_told() {
    let fake = FakeIcon::new(ChainState::mainnet());
    let count = async || preps(&fake, json!({})).await.unwrap()["preps"].as_array().map(Vec::len);
    fake.set_behaviour(Behaviour::EmptyPreps);
    assert_eq!(count().await, Some(0));
    fake.set_behaviour(Behaviour::HalfPreps);
    assert_eq!(count().await, Some(50));
    fake.set_behaviour(Behaviour::Lie(ChainState::mainnet().preps[..3].to_vec()));
    assert_eq!(count().await, Some(3));
    fake.set_behaviour(Behaviour::WrongChain);
    let info = rpc(&fake, json!({"jsonrpc": "2.0", "id": 1, "method": "icx_getNetworkInfo"})).await.unwrap();
    assert_eq!(info["nid"], "0x2");
    fake.set_behaviour(Behaviour::Html);
    let page = post(&fake, "{}").await;
    assert_eq!((page.status, page.kind.as_str()), (200, "text/html; charset=UTF-8"));
    fake.set_behaviour(Behaviour::Status(502));
    assert_eq!(post(&fake, "{}").await.status, 502);
    fake.set_behaviour(Behaviour::Huge(3_000_000));
    assert_eq!(post(&fake, "{}").await.body.len(), 3_000_000);
    fake.set_behaviour(Behaviour::Normal);
    assert_eq!(count().await, Some(100));
}

#[tokio::test]
async fn it_is_controlled_over_http() {
    let fake = FakeIcon::new(ChainState::mainnet());
    let send = async |method: Method, path: &str, body: &str| {
        let answer = send(control::router(fake.clone()), method, path, body).await;
        (answer.status, answer.body)
    };
    let one = format!("/control/preps/{FOUNDATION}");
    assert_eq!(send(Method::PUT, "/control/behaviour", r#"{"status": 429}"#).await.0, 204);
    assert_eq!(fake.state().behaviour, Behaviour::Status(429));
    assert_eq!(send(Method::PUT, "/control/behaviour", r#""half-preps""#).await.0, 204);
    assert_eq!(fake.state().behaviour, Behaviour::HalfPreps);
    assert_eq!(send(Method::PUT, "/control/behaviour", r#""asleep""#).await.0, 422);
    assert_eq!(send(Method::PUT, "/control/height", "70").await.0, 204);
    assert_eq!(send(Method::PUT, &format!("{one}/endpoint"), "192.0.2.9:7100").await, (200, "71".to_owned()));
    assert_eq!(fake.state().chain.prep(prep(FOUNDATION)).unwrap()["p2pEndpoint"], "192.0.2.9:7100");
    assert_eq!(send(Method::DELETE, &one, "").await, (200, "72".to_owned()));
    assert_eq!(send(Method::DELETE, &one, "").await.0, 404);
    assert_eq!(send(Method::DELETE, "/control/preps/hx1", "").await.0, 400);
    assert_eq!(send(Method::PUT, "/control/preps", "[]").await, (200, "73".to_owned()));
    let (_, state) = send(Method::GET, "/control/state", "").await;
    assert_eq!(serde_json::from_str::<FakeState>(&state).unwrap(), fake.state());
}

#[test]
fn options_make_a_chain() {
    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        args: Args,
    }
    let parse = |options: &[&str]| <Program as clap::Parser>::try_parse_from([&["icon"], options].concat());
    let endpoint = format!("{FOUNDATION}=192.0.2.1:7100");
    let args = parse(&["--set-endpoint", &endpoint, "--control", "127.0.0.1:9001"]).unwrap().args;
    assert_eq!(args.set_endpoint, [(prep(FOUNDATION), "192.0.2.1:7100".to_owned())]);
    let chain = args::chain(&args).unwrap();
    assert_eq!(chain.prep(prep(FOUNDATION)).unwrap()["p2pEndpoint"], "192.0.2.1:7100");
    assert!(parse(&["--set-endpoint", "hx1=192.0.2.1:7100"]).is_err());

    let nobody = format!("hx{}=192.0.2.1:7100", "0".repeat(40));
    let args = parse(&["--set-endpoint", &nobody]).unwrap().args;
    assert!(args::chain(&args).unwrap_err().to_string().contains("no such P-Rep"));
    let args = parse(&["--fixture", "/nonexistent.json"]).unwrap().args;
    assert_eq!(args::chain(&args).unwrap_err().to_string(), "read /nonexistent.json");
}

fn prep(text: &str) -> PrepId {
    text.parse().unwrap()
}

async fn preps(fake: &FakeIcon, arguments: Value) -> Result<Value, Value> {
    call(fake, json!({"to": SCORE, "dataType": "call", "data": {"method": "getPReps", "params": arguments}})).await
}

async fn call(fake: &FakeIcon, params: Value) -> Result<Value, Value> {
    rpc(fake, json!({"jsonrpc": "2.0", "id": 1, "method": "icx_call", "params": params})).await
}

/// Result or error of one request, with the HTTP status that goes with each.
async fn rpc(fake: &FakeIcon, request: Value) -> Result<Value, Value> {
    let answer = post(fake, &request.to_string()).await;
    let mut body = answer.json();
    match (answer.status, body.get_mut("result").map(Value::take)) {
        (200, Some(result)) => Ok(result),
        (400, None) => Err(body["error"].take()),
        other => panic!("{other:?}: {body}"),
    }
}

async fn post(fake: &FakeIcon, body: &str) -> Answer {
    ask(fake, Method::POST, "/api/v3", body).await
}

async fn ask(fake: &FakeIcon, method: Method, path: &str, body: &str) -> Answer {
    send(http::router(fake.clone()), method, path, body).await
}

async fn send(router: Router, method: Method, path: &str, body: &str) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_owned()))
        .unwrap();
    let response = router.oneshot(request).await.unwrap();
    let kind = response.headers().get(header::CONTENT_TYPE).map_or("", |kind| kind.to_str().unwrap()).to_owned();
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    Answer { status, kind, body: String::from_utf8(body.to_vec()).unwrap() }
}

#[tokio::test]
async fn the_nodes_own_view_is_goloops() {
    let recorded: Value =
        serde_json::from_str(include_str!("../../../../tests/fixtures/icon/admin-chain-1.4.4.json")).unwrap();
    let p2p = &recorded["module"]["network"]["p2p"];
    let peer = |value: &Value| serde_json::from_value::<Peer>(value.clone()).unwrap();
    let map = |value: &Value| serde_json::from_value(value.clone()).unwrap();
    let fake = FakeIcon::new(ChainState { height: 153, ..ChainState::mainnet() });
    fake.set_node(|node| {
        node.own = Some(peer(&p2p["self"]));
        node.friends = p2p["friends"].as_array().unwrap().iter().map(peer).collect();
        (node.roots, node.seeds) = (map(&p2p["roots"]), map(&p2p["seeds"]));
    });
    for path in ["/admin/chain/icon_dex", "/admin/chain/0x1"] {
        let mut found = ask(&fake, Method::GET, path, "").await.json();
        found["module"]["network"]["p2p"]["trustSeeds"] = p2p["trustSeeds"].clone();
        assert_eq!(found["module"]["network"], recorded["module"]["network"]);
        for key in ["channel", "state", "height", "lastError"] {
            assert_eq!(found[key], recorded[key], "{key}");
        }
    }
    let list = ask(&fake, Method::GET, "/admin/chain", "").await.json();
    assert_eq!(list[0]["channel"], "icon_dex");
    let unknown = ask(&fake, Method::GET, "/admin/chain/other", "").await;
    assert_eq!((unknown.status, unknown.body.as_str()), (404, "Chain(other: cid or channel) not found"));
    fake.set_node(|node| node.state = "stopped".to_owned());
    let stopped = ask(&fake, Method::GET, "/admin/chain/icon_dex", "").await.json();
    assert_eq!((&stopped["state"], &stopped["module"]["network"]), (&json!("stopped"), &Value::Null));
}

#[tokio::test]
async fn a_past_height_is_read_as_it_was() {
    let fake = FakeIcon::new(ChainState::mainnet());
    let removed = fake.remove(prep(FOUNDATION)).unwrap();
    fake.next_block();
    let at = async |fake: &FakeIcon, height: u64| {
        let data = json!({"method": "getPReps"});
        let params = json!({"to": SCORE, "dataType": "call", "data": data, "height": format!("{height:#x}")});
        let list = call(fake, params).await.map_err(|error| error["message"].clone())?;
        Ok((list["preps"].as_array().unwrap().len(), list["blockHeight"].as_str().unwrap().to_owned()))
    };
    let earliest = async |fake: &FakeIcon| {
        rpc(fake, json!({"jsonrpc": "2.0", "id": 1, "method": "icx_getNetworkInfo"})).await.unwrap()["earliest"].clone()
    };
    assert_eq!(at(&fake, removed - 1).await, Ok((100, format!("{:#x}", removed - 1))));
    assert_eq!(at(&fake, removed).await, Ok((99, format!("{removed:#x}"))));
    assert_eq!(earliest(&fake).await, format!("{HEIGHT:#x}"));

    fake.set_behaviour(Behaviour::Pruned(1));
    let pruned = format!("NotFound: PrunedBlock(height={removed},base={})", removed + 1);
    assert_eq!(at(&fake, removed).await, Err(json!(pruned)));
    assert_eq!((at(&fake, removed + 1).await.unwrap().0, earliest(&fake).await), (99, json!("0x1d391f2")));

    fake.set_behaviour(Behaviour::Icon1);
    let refused = at(&fake, removed).await.unwrap_err();
    assert_eq!(refused, "InvalidParams: fail to unmarshal, unknown field 'height'");
    let info = rpc(&fake, json!({"jsonrpc": "2.0", "id": 1, "method": "icx_getNetworkInfo"})).await;
    assert_eq!(info.unwrap_err()["code"], -32601);
}

#[tokio::test]
async fn endpoints_of_one_chain_tell_of_it_each_in_its_way() {
    let chain = FakeChain::new(ChainState::mainnet());
    let endpoints = [(); 4].map(|()| chain.endpoint());
    let mut lie = chain.state().preps[1].clone();
    lie.insert("p2pEndpoint".to_owned(), "192.0.2.66:7100".into());
    let mut extra = lie.clone();
    extra.insert("address".to_owned(), format!("hx{}", "66".repeat(20)).into());
    endpoints[1].set_behaviour(Behaviour::LieAbout(vec![lie, extra]));
    endpoints[2].set_behaviour(Behaviour::Behind(1));
    endpoints[3].set_behaviour(Behaviour::At(HEIGHT));
    chain.remove(prep(FOUNDATION)).unwrap();
    chain.next_block();
    let told = async |fake: &FakeIcon| {
        let list = preps(fake, json!({})).await.unwrap();
        let last = list["preps"].as_array().unwrap().last().unwrap()["p2pEndpoint"].clone();
        (list["preps"].as_array().unwrap().len(), list["blockHeight"].clone(), last == "192.0.2.66:7100")
    };
    assert_eq!(told(&endpoints[0]).await, (99, json!("0x1d391f2"), false));
    assert_eq!(told(&endpoints[1]).await, (100, json!("0x1d391f2"), true));
    assert_eq!(told(&endpoints[2]).await, (99, json!("0x1d391f1"), false));
    assert_eq!(told(&endpoints[3]).await, (100, json!("0x1d391f0"), false));
}

#[tokio::test]
async fn blocks_bear_the_time_they_were_made_at() {
    let fake = FakeIcon::new(ChainState::mainnet());
    let micros = async || {
        let block = rpc(&fake, json!({"jsonrpc": "2.0", "id": 1, "method": "icx_getLastBlock"})).await.unwrap();
        block["time_stamp"].as_u64().unwrap()
    };
    let first = micros().await;
    assert_eq!(micros().await, first, "the chain stands still");
    fake.next_block();
    let second = micros().await;
    assert!(second > first);
    fake.set_behaviour(Behaviour::ClockOff(-600));
    assert_eq!(micros().await, second - 600_000_000);
    fake.set_behaviour(Behaviour::Behind(1));
    assert_eq!(micros().await, first);
}

#[test]
fn a_penalty_and_a_term_change_grades() {
    let chain = FakeChain::new(ChainState::mainnet());
    let before = chain.state();
    assert_eq!(chain.penalise(prep(FOUNDATION)), Some(HEIGHT + 1));
    let penalised = chain.state();
    let entry = penalised.prep(prep(FOUNDATION)).unwrap();
    assert_eq!((&entry["grade"], &entry["penalty"]), (&json!("0x2"), &json!("0x3")));
    let main = |chain: &ChainState| chain.preps.iter().filter(|prep| prep["grade"] == "0x0").count();
    assert_eq!((main(&before), main(&penalised)), (22, 22));
    assert_eq!(chain.start_term(before.preps.clone()), HEIGHT + 3);
    assert_eq!(chain.state().preps, before.preps);
}
