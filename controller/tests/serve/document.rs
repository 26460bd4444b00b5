//! The API's document as a judge: every request that was carried out and every answer of every mesh of these tests is held
//! against it. What it does not tell of, or tells otherwise, fails the test in which it was seen.

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::Request,
    http::{Method, StatusCode, Uri, header},
    middleware::{Next, from_fn},
    response::Response,
};
use futures_util::StreamExt as _;
use jsonschema::Validator;
use picket_api::{openapi, operator::LINES};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock, Mutex},
};

/// Larger than anything that is asked or answered here.
const LARGEST: usize = 64 << 20;

pub(crate) static DOCUMENT: LazyLock<Value> = LazyLock::new(openapi::document);

/// Compiled schemas by their place in the document.
static SCHEMAS: Mutex<BTreeMap<String, Arc<Validator>>> = Mutex::new(BTreeMap::new());

/// What was told otherwise than the document has it.
#[derive(Default)]
pub(crate) struct Told(Arc<Mutex<Vec<String>>>);

impl Drop for Told {
    fn drop(&mut self) {
        let wrong = self.0.lock().unwrap().clone();
        if !std::thread::panicking() {
            assert!(wrong.is_empty(), "not as docs/openapi.json has it:\n{}", wrong.join("\n"));
        }
    }
}

impl Told {
    /// A router whose answers are looked at.
    pub(crate) fn layered(&self, listener: &'static str, routes: Router) -> Router {
        let wrong = self.0.clone();
        routes.layer(from_fn(move |request: Request, next: Next| {
            let note = {
                let wrong = wrong.clone();
                move |found: Result<(), String>| wrong.lock().unwrap().extend(found.err())
            };
            async move { looked_at(listener, request, next, note).await }
        }))
    }
}

async fn looked_at(
    listener: &str,
    request: Request,
    next: Next,
    note: impl Fn(Result<(), String>) + Send + 'static,
) -> Response {
    let (head, body) = request.into_parts();
    let asked = to_bytes(body, LARGEST).await.unwrap();
    let request = Request::from_parts(head.clone(), Body::from(asked.clone()));
    let response = next.run(request).await;
    let Some(operation) = Operation::of(listener, &head.method, head.uri.path()) else {
        let is_refusal = [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED].contains(&response.status());
        note(is_refusal.then_some(()).ok_or(format!("{} {} is answered", head.method, head.uri)));
        return response;
    };
    if response.status().is_success() {
        note(operation.request(&head.uri, &asked));
    }
    let (head, body) = response.into_parts();
    let answer = match operation.answer(head.status) {
        Ok(answer) => answer,
        Err(wrong) => {
            note(Err(wrong));
            return Response::from_parts(head, body);
        }
    };
    let retry = head.headers.contains_key(header::RETRY_AFTER) == answer.at("headers/retry-after").is_some();
    note(retry.then_some(()).ok_or(format!("{answer:?}: retry-after")));
    let media = head.headers.get(header::CONTENT_TYPE).map(|media| media.to_str().unwrap().to_owned());
    if media.as_deref() == Some(LINES) {
        let lines = body.into_data_stream().inspect(move |line| {
            let whole = line.as_ref().is_ok_and(|line| line.ends_with(b"\n"));
            note(whole.then_some(()).ok_or("a line that is cut off".to_owned()));
            note(answer.holds(Some(LINES), line.as_ref().unwrap()));
        });
        return Response::from_parts(head, Body::from_stream(lines));
    }
    let told = to_bytes(body, LARGEST).await.unwrap();
    note(answer.holds(media.as_deref(), &told));
    Response::from_parts(head, Body::from(told))
}

/// A place in the document, by its pointer.
#[derive(Clone, Debug)]
struct Place(String);

/// An operation's.
struct Operation(Place);

impl Place {
    /// What is there; a reference is followed.
    fn value(&self) -> &'static Value {
        let value = DOCUMENT.pointer(&self.0).unwrap();
        match value["$ref"].as_str() {
            Some(reference) => Self(reference[1..].to_owned()).value(),
            None => value,
        }
    }

    /// What is below it.
    fn at(&self, path: &str) -> Option<Self> {
        let place = match self.raw()["$ref"].as_str() {
            Some(reference) => Self(reference[1..].to_owned()),
            None => self.clone(),
        };
        let below = Self(format!("{}/{path}", place.0));
        DOCUMENT.pointer(&below.0).map(|_| below)
    }

    fn raw(&self) -> &'static Value {
        DOCUMENT.pointer(&self.0).unwrap()
    }

    /// Whether this text is what the schema here says.
    fn is_good(&self, text: &[u8]) -> Result<(), String> {
        let value: Value = serde_json::from_slice(text).map_err(|error| format!("{}: {error}", self.0))?;
        let schema = SCHEMAS.lock().unwrap().entry(self.0.clone()).or_insert_with(|| self.compiled()).clone();
        let wrong: Vec<String> =
            schema.iter_errors(&value).map(|error| format!("{error} at {}", error.instance_path())).collect();
        if wrong.is_empty() { Ok(()) } else { Err(format!("{}: {} in {value}", self.0, wrong.join("; "))) }
    }

    fn compiled(&self) -> Arc<Validator> {
        let mut schema = self.raw().clone();
        schema["components"] = DOCUMENT["components"].clone();
        Arc::new(jsonschema::options().should_validate_formats(true).build(&schema).unwrap())
    }

    /// Whether an answer is what the document says of it.
    fn holds(&self, media: Option<&str>, text: &Bytes) -> Result<(), String> {
        let content = self.value()["content"].as_object();
        match (content, media) {
            (None, None) if text.is_empty() => Ok(()),
            (Some(content), Some(media)) if content.contains_key(media) => {
                self.at(&format!("content/{}/schema", escaped(media))).unwrap().is_good(text)
            }
            _ => Err(format!("{}: {} bytes of {media:?}", self.0, text.len())),
        }
    }
}

impl Operation {
    fn of(listener: &str, method: &Method, path: &str) -> Option<Self> {
        let paths = DOCUMENT["paths"].as_object().unwrap();
        let template = paths.keys().find(|template| matches(template, path))?;
        let place = Place(format!("/paths/{}/{}", escaped(template), method.as_str().to_lowercase()));
        let value = DOCUMENT.pointer(&place.0)?;
        (value["tags"][0] == listener).then_some(Self(place))
    }

    fn answer(&self, status: StatusCode) -> Result<Place, String> {
        self.0.at(&format!("responses/{}", status.as_u16())).ok_or(format!("{}: {status}", self.0.0))
    }

    fn request(&self, uri: &Uri, body: &Bytes) -> Result<(), String> {
        let parameters = self.0.value()["parameters"].as_array().into_iter().flatten();
        let known: Vec<&str> =
            parameters.filter(|known| known["in"] == "query").filter_map(|known| known["name"].as_str()).collect();
        let asked = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        if let Some(unknown) = asked.filter_map(|pair| pair.split('=').next()).find(|name| !known.contains(name)) {
            return Err(format!("{}: it takes {unknown}", self.0.0));
        }
        match self.0.at("requestBody/content/application~1json/schema") {
            Some(schema) => schema.is_good(body),
            None => Ok(()),
        }
    }
}

fn matches(template: &str, path: &str) -> bool {
    let (mut parts, mut found) = (template.split('/'), path.split('/'));
    loop {
        match (parts.next(), found.next()) {
            (None, None) => return true,
            (Some(part), Some(found)) if part == found || part.starts_with('{') => {}
            _ => return false,
        }
    }
}

/// As part of a JSON pointer.
fn escaped(text: &str) -> String {
    text.replace('~', "~0").replace('/', "~1")
}

#[test]
fn the_judge_finds_what_is_not_in_the_document() {
    let at = |method: Method, path: &str| Operation::of("operators", &method, path);
    assert!(at(Method::GET, "/v1/nowhere").is_none() && at(Method::DELETE, "/v1/status").is_none());
    assert!(Operation::of("agents", &Method::GET, "/v1/status").is_none());
    let revoke = at(Method::POST, "/v1/tokens/t-1/revoke").unwrap();
    assert!(revoke.answer(StatusCode::GONE).is_err());
    let known = revoke.answer(StatusCode::NOT_FOUND).unwrap();
    let problem = |kind: &str| Bytes::from(format!("{{\"type\":\"{kind}\",\"status\":404,\"detail\":\"x\"}}"));
    known.holds(Some("application/problem+json"), &problem("not-found")).unwrap();
    assert!(known.holds(Some("application/problem+json"), &problem("conflict")).is_err());
    assert!(known.holds(Some("application/json"), &problem("not-found")).is_err());
    assert!(known.holds(Some("application/problem+json"), &Bytes::from("{}")).is_err());
    assert!(known.holds(None, &Bytes::new()).is_err());
    let nodes = at(Method::GET, "/v1/nodes").unwrap();
    assert!(nodes.request(&"/v1/nodes?limit=1&after=x".parse().unwrap(), &Bytes::new()).is_ok());
    assert!(nodes.request(&"/v1/nodes?from=1".parse().unwrap(), &Bytes::new()).is_err());
    let enroll = Operation::of("agents", &Method::POST, "/v1/enroll").unwrap();
    assert!(enroll.request(&"/v1/enroll".parse().unwrap(), &Bytes::from("{\"proof\":{\"kind\":\"x\"}}")).is_err());
}
