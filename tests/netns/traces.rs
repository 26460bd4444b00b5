//! Traces: from a change of the list to what a host did about it, as a collector of OpenTelemetry is sent it; that a collector which
//! says nothing holds up nobody; and that without one nobody calls anybody.

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::Span,
};
use picket_api::AgentClient;
use picket_lab::{
    Host,
    mesh::{Mesh, MeshSize, SOON},
    wait_until,
};
use picket_pki::client_config;
use prost::Message as _;
use std::{
    collections::BTreeMap,
    io::ErrorKind,
    net::TcpListener,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

const COLLECTOR: &str = "203.0.113.7:4318";
/// What a stranger says their request belongs to.
const FORGED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const FORGED_TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
/// What a span of a request may say.
const OF_REQUESTS: [&str; 5] = ["http.request.method", "http.route", "http.response.status_code", "role", "node"];

/// A span as it was sent, and by which program.
#[derive(Clone, Debug)]
struct Sent {
    program: String,
    span: Span,
}

impl Sent {
    fn trace(&self) -> String {
        self.span.trace_id.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn number(&self, key: &str) -> Option<i64> {
        match value(&self.span.attributes, key)? {
            Value::IntValue(number) => Some(*number),
            other => panic!("{key} of {} is {other:?}", self.span.name),
        }
    }
}

fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    match value(attributes, key) {
        Some(Value::StringValue(text)) => text.clone(),
        other => panic!("{key} is {other:?}"),
    }
}

/// All that was sent so far.
#[derive(Clone, Debug, Default)]
struct Spans(Arc<Mutex<Vec<Sent>>>);

impl Spans {
    fn all(&self) -> Vec<Sent> {
        self.0.lock().unwrap().clone()
    }

    /// All of them, a line each.
    fn told(&self) -> String {
        let line = |sent: Sent| format!("{} {}: {}", &sent.trace()[..8], sent.program, sent.span.name);
        self.all().into_iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// The span with which this one begins to be told: its parents up to the first, by name.
    fn way_to(&self, of: &Sent) -> Vec<String> {
        let all = self.all();
        let by_id: BTreeMap<&[u8], &Sent> = all.iter().map(|sent| (&*sent.span.span_id, sent)).collect();
        let parents = std::iter::successors(Some(of), |sent| by_id.get(&*sent.span.parent_span_id).copied());
        let mut names: Vec<String> = parents.map(|sent| format!("{}: {}", sent.program, sent.span.name)).collect();
        names.reverse();
        names
    }
}

async fn take(State(spans): State<Spans>, body: Bytes) -> StatusCode {
    for of_program in ExportTraceServiceRequest::decode(body).unwrap().resource_spans {
        let resource = of_program.resource.unwrap().attributes;
        let [program, version, host] = ["service.name", "service.version", "host.name"].map(|key| text(&resource, key));
        assert!(!version.is_empty() && !host.is_empty(), "{program}");
        let sent = of_program.scope_spans.into_iter().flat_map(|scope| scope.spans);
        spans.0.lock().unwrap().extend(sent.map(|span| Sent { program: program.clone(), span }));
    }
    StatusCode::OK
}

/// A host with a socket where a collector listens; whoever calls is let in, and hears nothing.
fn socket(mesh: &Mesh) -> (Host, TcpListener) {
    let host = mesh.lab.host("collector").address("203.0.113.7/24").create().unwrap();
    let listener = host.inside(|| TcpListener::bind(COLLECTOR)).unwrap().unwrap();
    listener.set_nonblocking(true).unwrap();
    (host, listener)
}

/// A collector.
fn collector(mesh: &Mesh) -> Spans {
    let (spans, (_, listener)) = (Spans::default(), socket(mesh));
    let router = Router::new().route("/v1/traces", post(take)).with_state(spans.clone());
    mesh.lab.serve(async move { axum::serve(tokio::net::TcpListener::from_std(listener)?, router).await });
    spans
}

/// A small mesh whose programs send traces there.
fn traced(label: &str) -> Mesh {
    let mut mesh = Mesh::new(label, MeshSize { preps: 1, sentries: 1 }).unwrap();
    mesh.controller.configure(|text| format!("{text}\n[traces]\ncollector = \"http://{COLLECTOR}\"\n")).unwrap();
    mesh.controller.settings.push(("PICKET_LOG_FORMAT", "json".to_owned()));
    for agent in mesh.preps.iter_mut().chain(&mut mesh.sentries) {
        agent.settings.push(("PICKET_TRACES", format!("http://{COLLECTOR}")));
    }
    mesh
}

/// Moves a validator on the chain, and waits until every host has that in force.
fn move_a_validator(mesh: &Mesh) -> Duration {
    let generation = || mesh.controller.status().map(|status| status.generation.0);
    let (before, began) = (generation().unwrap(), Instant::now());
    mesh.chain.set_endpoint(mesh.validators[0].prep, "198.51.100.99:7100").unwrap();
    wait_until("a plan of it", SOON, || generation().is_ok_and(|now| now > before)).unwrap();
    mesh.wait_in_force().unwrap();
    began.elapsed()
}

#[test]
fn from_a_change_of_the_list_to_what_a_host_did_is_one_trace() {
    let mut mesh = traced("traces");
    let spans = collector(&mesh);
    mesh.start().unwrap();
    mesh.wait_in_force().unwrap();
    move_a_validator(&mesh);
    let generation = i64::try_from(mesh.controller.status().unwrap().generation.0).unwrap();

    let report = wait_until("a report of the plan's trace", SOON, || {
        let all = spans.all();
        let plan = all.iter().find(|sent| sent.span.name == "plan" && sent.number("generation") == Some(generation));
        let plan = plan.ok_or_else(|| spans.told())?.trace();
        let report = |sent: &&Sent| sent.span.name == "PUT /v1/node/report" && sent.trace() == plan;
        all.iter().find(report).cloned().ok_or_else(|| spans.told())
    });
    let report = report.unwrap().value;
    let way = spans.way_to(&report);
    let agent = way[4].split(':').next().unwrap();
    assert!(["picket-prep-agent", "picket-sentry-agent"].contains(&agent), "{way:?}");
    let by_agent = ["configuration", "apply", "report"].map(|name| format!("{agent}: {name}"));
    let by_controller = |name: &str| format!("picket-controller: {name}");
    let mut expect = vec![by_controller("poll"), by_controller("merge"), by_controller("plan")];
    expect.extend(by_agent);
    expect.push(by_controller("PUT /v1/node/report"));
    assert_eq!(way, expect);
    let of_trace: Vec<String> =
        spans.all().iter().filter(|sent| sent.trace() == report.trace()).map(|sent| sent.span.name.clone()).collect();
    for name in ["ask source", "commit", "judge", "wireguard prepare", "firewall", "wireguard connect"] {
        assert!(of_trace.iter().any(|sent| sent == name), "{name} is not in {of_trace:?}");
    }
    assert!(mesh.controller.process().unwrap().log().contains(&format!("\"trace_id\":\"{}\"", report.trace())));

    // A stranger who names a trace has their request counted, and in no trace of theirs.
    let ca = mesh.controller.fingerprint().unwrap().parse().unwrap();
    let base = mesh.controller.url().parse().unwrap();
    let asked = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = AgentClient::new(base, client_config(ca, None).unwrap()).unwrap();
        runtime.block_on(client.in_spans_of(|| Some(FORGED.to_owned())).enroll_info()).unwrap()
    };
    let before = spans.all().len();
    mesh.stranger.inside(asked).unwrap();
    let is_theirs = |sent: &&Sent| sent.span.name == "GET /v1/enroll";
    wait_until("the stranger's request", SOON, || spans.all()[before..].iter().any(|sent| is_theirs(&sent))).unwrap();
    assert!(spans.all().iter().all(|sent| sent.trace() != FORGED_TRACE));

    for sent in spans.all().iter().filter(|sent| sent.program == "picket-controller" && sent.span.name.contains(" /")) {
        let keys: Vec<&str> = sent.span.attributes.iter().map(|attribute| &*attribute.key).collect();
        assert!(keys.iter().all(|key| OF_REQUESTS.contains(key)), "{keys:?}");
        assert!(sent.number("http.response.status_code").is_some(), "{sent:?}");
    }
    let metrics = mesh.controller.metrics().unwrap();
    assert!(metrics.contains("picket_trace_spans_total{outcome=\"sent\"}"), "{metrics}");
}

#[test]
fn a_collector_that_never_answers_holds_up_nobody() {
    let mut mesh = traced("silent");
    let _silent = socket(&mesh);
    mesh.start().unwrap();
    mesh.wait_in_force().unwrap();
    let took = move_a_validator(&mesh);
    assert!(took < SOON / 2, "{took:?}");
    wait_until("spans that could not be sent", SOON, || {
        mesh.controller.metrics().is_ok_and(|text| text.contains("picket_trace_spans_total{outcome=\"failed\"}"))
    })
    .unwrap();
    // Two seconds for the last spans, beside what an end takes anyway.
    let began = Instant::now();
    assert!(mesh.controller.process().unwrap().stop().unwrap().success());
    mesh.preps[0].stop().unwrap();
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[test]
fn without_a_collector_of_its_own_no_program_calls_one() {
    let mut mesh = Mesh::new("untraced", MeshSize { preps: 1, sentries: 1 }).unwrap();
    let (_host, listener) = socket(&mesh);
    // What others of the host may be told is no word to us.
    let elsewhere = ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{COLLECTOR}"));
    mesh.controller.settings.push(elsewhere.clone());
    mesh.preps.iter_mut().chain(&mut mesh.sentries).for_each(|agent| agent.settings.push(elsewhere.clone()));
    mesh.start().unwrap();
    mesh.wait_in_force().unwrap();
    move_a_validator(&mesh);
    assert!(mesh.controller.process().unwrap().stop().unwrap().success());
    mesh.preps[0].stop().unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}
