//! The API as a document: the operations of each listener in a table, which the controller's routers are built from,
//! and the OpenAPI document made of them and of the wire's types. No handlers, no IO.

pub mod agents;
mod document;
pub mod hooks;
pub mod operators;

pub use document::document;

use crate::ProblemKind;
use picket_pki::OperatorRole;
use schemars::{JsonSchema, Schema, SchemaGenerator};

/// How a request is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Changes something.
    Post,
    /// Puts something in the place of what was there.
    Put,
}

impl Method {
    /// As in a request.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }
}

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Everybody, without showing anything.
    Anybody,
    /// Whoever shows in the body that it may: a proof, or a signature.
    Proven,
    /// A member, by its certificate.
    Member,
    /// An operator of one of these roles, by a bearer token.
    Operator(&'static [OperatorRole]),
}

/// Sees everything.
const VIEWERS: Who = Who::Operator(&[OperatorRole::Viewer, OperatorRole::Admin]);
/// Every role.
const OPERATORS: Who = Who::Operator(&[OperatorRole::Enroller, OperatorRole::Viewer, OperatorRole::Admin]);
/// Makes join tokens.
const ENROLLERS: Who = Who::Operator(&[OperatorRole::Enroller, OperatorRole::Admin]);
/// How many roles there are.
const ROLES: usize = 3;
/// Changes things.
const ADMINS: Who = Who::Operator(&[OperatorRole::Admin]);

/// The schema of a type.
type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// What a good answer is.
#[derive(Clone, Copy, Debug)]
enum Good {
    /// 200 with one JSON value.
    Json(SchemaOf),
    /// The same, or line by line for who accepts that: the schema of a line comes second.
    JsonOrLines(SchemaOf, SchemaOf),
    /// 200 with a JSON value, or 204 where there is nothing to say.
    JsonOrNothing(SchemaOf),
    /// 204.
    Nothing,
    /// 200 with an OpenAPI document.
    Document,
}

/// One operation of the API.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// Its name, for generated clients.
    pub id: &'static str,
    /// How it is asked.
    pub method: Method,
    /// Where, with parameters in braces.
    pub path: &'static str,
    /// What it does, for people.
    pub summary: &'static str,
    /// Who may ask it.
    pub who: Who,
    query: Option<SchemaOf>,
    body: Option<SchemaOf>,
    good: Good,
    /// What may go wrong here, besides what may go wrong everywhere.
    problems: &'static [ProblemKind],
}

impl Operation {
    const fn new(method: Method, id: &'static str, path: &'static str, who: Who, summary: &'static str) -> Self {
        Self { id, method, path, summary, who, query: None, body: None, good: Good::Nothing, problems: &[] }
    }

    const fn get(id: &'static str, path: &'static str, who: Who, summary: &'static str) -> Self {
        Self::new(Method::Get, id, path, who, summary)
    }

    const fn post(id: &'static str, path: &'static str, who: Who, summary: &'static str) -> Self {
        Self::new(Method::Post, id, path, who, summary)
    }

    const fn query(self, schema: SchemaOf) -> Self {
        Self { query: Some(schema), ..self }
    }

    const fn body(self, schema: SchemaOf) -> Self {
        Self { body: Some(schema), ..self }
    }

    const fn answers(self, schema: SchemaOf) -> Self {
        Self { good: Good::Json(schema), ..self }
    }

    const fn good(self, good: Good) -> Self {
        Self { good, ..self }
    }

    const fn fails(self, problems: &'static [ProblemKind]) -> Self {
        Self { problems, ..self }
    }

    /// Whether an operator changes something by it.
    fn is_order(&self) -> bool {
        matches!(self.who, Who::Operator(_)) && self.method != Method::Get
    }
}

/// The schema of `T`, by reference where it has a name.
fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}
