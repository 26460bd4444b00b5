//! From the tables of operations to one OpenAPI 3.1 document, whose dialect of JSON Schema is the one the types give.

use super::{Good, Operation, SchemaOf, Who, agents, hooks, operators};
use crate::{
    Problem, ProblemKind,
    operator::LINES,
    operators::{IDEMPOTENCY_KEY, REASON},
    problem::CONTENT_TYPE,
};
use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What every answer of JSON has.
const JSON: &str = "application/json";
/// Where the schemas of named types are.
const SCHEMAS: &str = "/components/schemas";
/// What may go wrong with any request.
const EVERYWHERE: [ProblemKind; 4] =
    [ProblemKind::BadRequest, ProblemKind::TooManyRequests, ProblemKind::Unavailable, ProblemKind::Internal];

const ABOUT: &str = "\
The wire of a Picket mesh, version 1. Hosts ask the agents' listener, which knows them by their client certificates; operators ask \
the operators' listener with bearer tokens. Both show a certificate of the mesh's own CA, which is known by its fingerprint.\n\n\
**Problems.** What goes wrong is answered as `application/problem+json` (RFC 9457): `type` is stable and for programs, `detail` for \
people.\n\n\
**Roles.** An operator is an `enroller` (makes join tokens, sees those and the hosts), a `viewer` (sees everything) or an `admin` \
(may do everything). The roles that may ask an operation stand with its security requirement.\n\n\
**Repeating.** A request that changes something and bears an `idempotency-key` is carried out once, however often it is repeated \
within a day under the same key by the same operator: each repetition gets the first answer, with `idempotency-replayed: true`.\n\n\
**Pages.** Lists give at most `limit` entries; where there are more, `next` is what to give as `after` for the page behind.\n\n\
**Points in time** are milliseconds since 1970-01-01T00:00:00Z, where a type does not say otherwise. Answers may get further \
fields within version 1; requests with fields that are not known are refused.";

/// The whole API as one OpenAPI document.
pub fn document() -> Value {
    let mut schemas = Schemas::new();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for (tag, operations) in [("agents", agents::ALL), ("operators", operators::ALL), ("hooks", hooks::ALL)] {
        for operation in operations {
            let described = described(operation, tag, &mut schemas);
            paths.entry(operation.path).or_default().insert(operation.method.as_str().to_lowercase(), described);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Picket",
            "version": "1",
            "description": ABOUT,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{
            "url": "https://{host}:{port}",
            "description": "The agents' listener (7443), the operators' (7444, by default on loopback), and the hooks', which shows a certificate of the operator's",
            "variables": { "host": { "default": "127.0.0.1" }, "port": { "default": "7444" } },
        }],
        "tags": [
            { "name": "agents", "description": "The agents' listener: what hosts ask and tell" },
            { "name": "operators", "description": "The operators' listener: what people and programs ask and order" },
            { "name": "hooks", "description": "The hooks' listener, where there is one: what clouds tell of their instances" },
        ],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "operator": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "picket-op1.<id>.<secret>",
                    "description": "An operator's token",
                },
                "member": { "type": "mutualTLS", "description": "The certificate that a host got when it enrolled" },
            },
            "parameters": {
                "idempotency-key": {
                    "name": IDEMPOTENCY_KEY,
                    "in": "header",
                    "description": "Names the request, so that it is carried out once however often it is repeated within a day",
                    "schema": { "type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$" },
                },
                "reason": {
                    "name": REASON,
                    "in": "header",
                    "description": "Why, for the audit log: one line, UTF-8",
                    "schema": { "type": "string", "maxLength": 200 },
                },
            },
            "headers": {
                "idempotency-replayed": {
                    "description": "The answer is that of an earlier request with the same idempotency key",
                    "schema": { "type": "string", "const": "true" },
                },
                "retry-after": {
                    "description": "Seconds after which to try again",
                    "schema": { "type": "string", "pattern": "^[0-9]+$" },
                },
            },
            "responses": schemas.problems.clone(),
            "schemas": schemas.named(),
        },
    })
}

/// Schemas as they are met: of answers by what is written, of requests by what is read. A type that goes both ways may need
/// fewer fields when it is read, so requests have schemas of their own, whole, under the names of their types.
struct Schemas {
    written: SchemaGenerator,
    read: SchemaGenerator,
    requests: Map<String, Value>,
    problems: Map<String, Value>,
}

impl Schemas {
    fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = SCHEMAS.into();
            settings.meta_schema = None;
        });
        let read = settings.clone().with(|settings| settings.inline_subschemas = true);
        Self {
            written: settings.for_serialize().into_generator(),
            read: read.for_deserialize().into_generator(),
            requests: Map::new(),
            problems: Map::new(),
        }
    }

    fn answer(&mut self, schema: SchemaOf) -> Value {
        schema(&mut self.written).to_value()
    }

    fn request(&mut self, operation: &Operation, schema: SchemaOf) -> Value {
        let (mut id, name) = (operation.id.chars(), "Request");
        let first = id.next().map(|first| first.to_ascii_uppercase());
        let name: String = first.into_iter().chain(id).chain(name.chars()).collect();
        self.requests.insert(name.clone(), schema(&mut self.read).to_value());
        json!({ "$ref": format!("#{SCHEMAS}/{name}") })
    }

    /// An answer with one of these problems, by reference: most operations have the same.
    fn problem(&mut self, kinds: &BTreeSet<ProblemKind>) -> Value {
        let names: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
        let schema = self.answer(super::of::<Problem>);
        let narrowed = json!({ "allOf": [schema, { "properties": { "type": { "enum": names } } }] });
        let mut response = json!({
            "description": format!("Not done: {}", names.join(", ")),
            "content": { CONTENT_TYPE: { "schema": narrowed } },
        });
        if kinds.contains(&ProblemKind::TooManyRequests) {
            response["headers"] = json!({ "retry-after": { "$ref": "#/components/headers/retry-after" } });
        }
        let name = names.join(".");
        self.problems.insert(name.clone(), response);
        json!({ "$ref": format!("#/components/responses/{name}") })
    }

    fn named(mut self) -> Map<String, Value> {
        let mut all = self.written.take_definitions(true);
        all.append(&mut self.requests);
        all
    }
}

fn described(operation: &Operation, tag: &str, schemas: &mut Schemas) -> Value {
    let mut described = json!({
        "operationId": operation.id,
        "tags": [tag],
        "summary": operation.summary,
        "security": security(operation.who),
        "responses": responses(operation, schemas),
    });
    let mut parameters = path_parameters(operation.path);
    if let Some(query) = operation.query {
        parameters.extend(query_parameters(query(&mut schemas.read).as_value()));
    }
    if operation.is_order() {
        parameters.push(json!({ "$ref": "#/components/parameters/idempotency-key" }));
    }
    if matches!(operation.who, Who::Operator(_)) {
        parameters.push(json!({ "$ref": "#/components/parameters/reason" }));
    }
    let body = operation.body.map(|body| {
        let schema = schemas.request(operation, body);
        json!({ "required": true, "content": { JSON: { "schema": schema } } })
    });
    if let Some(map) = described.as_object_mut() {
        map.extend((!parameters.is_empty()).then(|| ("parameters".to_owned(), parameters.into())));
        map.extend(body.map(|body| ("requestBody".to_owned(), body)));
    }
    described
}

/// One of these suffices. The words beside a scheme are roles.
fn security(who: Who) -> Value {
    match who {
        Who::Anybody | Who::Proven => json!([]),
        Who::Member => json!([{ "member": [] }]),
        Who::Operator(roles) => roles.iter().map(|role| json!({ "operator": [role.to_string()] })).collect(),
    }
}

fn responses(operation: &Operation, schemas: &mut Schemas) -> Value {
    let mut responses = Map::new();
    let good = |content: Value| {
        let mut response = json!({ "description": "Done", "content": content });
        if operation.is_order() {
            response["headers"] =
                json!({ "idempotency-replayed": { "$ref": "#/components/headers/idempotency-replayed" } });
        }
        response
    };
    let nothing = json!({ "description": "Done, and nothing to say" });
    match operation.good {
        Good::Json(schema) => {
            responses.insert("200".to_owned(), good(json!({ JSON: { "schema": schemas.answer(schema) } })));
        }
        Good::JsonOrLines(whole, line) => {
            let (whole, line) = (schemas.answer(whole), schemas.answer(line));
            let content = json!({ JSON: { "schema": whole }, LINES: { "schema": line } });
            let mut response = good(content);
            response["description"] =
                "Done; line by line, each one such object, for who accepts that and sends no key".into();
            responses.insert("200".to_owned(), response);
        }
        Good::JsonOrNothing(schema) => {
            responses.insert("200".to_owned(), good(json!({ JSON: { "schema": schemas.answer(schema) } })));
            responses.insert("204".to_owned(), nothing);
        }
        Good::Nothing => {
            responses.insert("204".to_owned(), nothing);
        }
        Good::Document => {
            responses.insert("200".to_owned(), good(json!({ JSON: { "schema": { "type": "object" } } })));
        }
    }
    for (status, kinds) in problems(operation) {
        responses.insert(status.to_string(), schemas.problem(&kinds));
    }
    responses.into()
}

/// What may go wrong, by HTTP status.
fn problems(operation: &Operation) -> BTreeMap<u16, BTreeSet<ProblemKind>> {
    let by_who: &[ProblemKind] = match operation.who {
        Who::Anybody | Who::Proven => &[],
        Who::Member => &[ProblemKind::Unauthorized, ProblemKind::NodeRevoked],
        Who::Operator(roles) if roles.len() == super::ROLES => &[ProblemKind::Unauthorized],
        Who::Operator(_) => &[ProblemKind::Unauthorized, ProblemKind::Forbidden],
    };
    let order: &[ProblemKind] =
        if operation.is_order() { &[ProblemKind::Conflict, ProblemKind::AnswerLost] } else { &[] };
    let mut problems: BTreeMap<u16, BTreeSet<ProblemKind>> = BTreeMap::new();
    for kind in EVERYWHERE.iter().chain(by_who).chain(order).chain(operation.problems) {
        problems.entry(kind.status()).or_default().insert(*kind);
    }
    problems
}

fn path_parameters(path: &str) -> Vec<Value> {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let parameter = |name: &str| {
        let (description, longest) = if name == "node" { ("A host's id or name", 64) } else { ("An id", 32) };
        json!({
            "name": name,
            "in": "path",
            "required": true,
            "description": description,
            "schema": { "type": "string", "maxLength": longest, "pattern": "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$" },
        })
    };
    names.map(parameter).collect()
}

/// The fields of a query's type, each as a parameter. What may be absent is never `null` in a URL.
fn query_parameters(schema: &Value) -> Vec<Value> {
    let required: BTreeSet<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let parameter = |(name, field): (&String, &Value)| {
        let mut field = without_null(field);
        let description = field.as_object_mut().and_then(|field| field.remove("description"));
        json!({
            "name": name,
            "in": "query",
            "required": required.contains(name.as_str()),
            "description": description,
            "schema": field,
        })
    };
    schema["properties"].as_object().into_iter().flatten().map(parameter).collect()
}

fn without_null(field: &Value) -> Value {
    let mut field = field.clone();
    let null = json!({ "type": "null" });
    if let Some(Value::Array(types)) = field.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = &types[..] {
            field["type"] = only.clone();
        }
    }
    if let Some(Value::Array(options)) = field.get_mut("anyOf") {
        options.retain(|option| *option != null);
        if let [only] = &options[..] {
            let mut only = only.clone();
            if let (Some(only), Some(description)) = (only.as_object_mut(), field.get("description")) {
                only.insert("description".to_owned(), description.clone());
            }
            field = only;
        }
    }
    if let Some(map) = field.as_object_mut() {
        map.retain(|name, value| name != "default" || !value.is_null());
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");

    /// Set to have the file written anew.
    const WRITE: &str = "PICKET_WRITE_OPENAPI";

    #[test]
    fn the_committed_document_is_what_the_code_makes() {
        let made = document();
        if std::env::var_os(WRITE).is_some() {
            std::fs::write(FILE, serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
        }
        let committed: Value =
            serde_json::from_str(&std::fs::read_to_string(FILE).unwrap_or_default()).unwrap_or_default();
        assert!(
            committed == made,
            "docs/openapi.json is not what the code makes; look at the difference that `cargo xtask openapi` makes, and commit it"
        );
    }

    #[test]
    fn no_two_operations_have_one_name_or_one_place() {
        for table in [agents::ALL, operators::ALL] {
            let places: BTreeSet<_> =
                table.iter().map(|operation| (operation.path, operation.method.as_str())).collect();
            assert_eq!(places.len(), table.len());
        }
        let all = || agents::ALL.iter().chain(operators::ALL);
        let ids: BTreeSet<_> = all().map(|operation| operation.id).collect();
        assert_eq!(ids.len(), all().count());
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_schema_is_used() {
        let document = document();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        for reference in &found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        for name in document["components"]["schemas"].as_object().unwrap().keys() {
            assert!(found.contains(&format!("#{SCHEMAS}/{name}")), "{name} is used nowhere");
        }
    }

    #[test]
    fn a_query_has_no_null() {
        let document = document();
        let nodes = &document["paths"]["/v1/nodes"]["get"]["parameters"];
        assert_eq!(nodes[0]["name"], "after");
        assert_eq!((&nodes[0]["schema"]["type"], &nodes[1]["schema"]["type"]), (&json!("string"), &json!("integer")));
        let explain = document["paths"]["/v1/explain"]["get"]["parameters"].to_string();
        assert!(!explain.contains("null"), "{explain}");
    }

    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(name, value)| match value.as_str() {
                Some(text) if name == "$ref" => drop(found.insert(text.to_owned())),
                _ => references(value, found),
            }),
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
}
