//! The HTTP surface: who may ask, how an answer looks. What is decided is decided elsewhere.

pub(crate) mod agents;
pub(crate) mod attack;
pub(crate) mod auth;
mod away;
mod cas;
pub(crate) mod hooks;
mod identities;
mod names;
mod nodes;
mod once;
pub(crate) mod operators;
pub(crate) mod orders;
mod page;
mod past;
mod paths;
mod people;
mod plans;
pub(crate) mod problem;
pub(crate) mod rate;
mod routes;
mod shield;
mod tokens;
pub(crate) mod views;

pub(crate) use problem::ApiProblem;
pub(crate) use rate::source;

use crate::controller::Controller;
use axum::{Json, Router, extract::State, http::Method, http::Uri};
use picket_api::{Problem, ProblemKind};
use std::sync::Arc;

/// The controller, as every handler is given it.
type Shared = State<Arc<Controller>>;
/// What a handler answers in JSON, or why it does not.
type Answer<T> = Result<Json<T>, ApiProblem>;

/// Answers what no route does, as problems too.
fn with_fallbacks<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router
        .fallback(async |uri: Uri| {
            ApiProblem(Problem::new(ProblemKind::NotFound, format!("there is no {}", uri.path().escape_debug())))
        })
        .method_not_allowed_fallback(async |method: Method, uri: Uri| {
            let mut problem = Problem::new(
                ProblemKind::BadRequest,
                format!("{} cannot be asked with {method}", uri.path().escape_debug()),
            );
            problem.status = 405;
            ApiProblem(problem)
        })
}
