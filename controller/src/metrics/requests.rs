//! Counts requests to the API: outermost, so that what is refused before any operation sees it counts too.

use crate::controller::Controller;
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use std::{sync::Arc, time::Instant};

/// Which operation gave an answer: an extension of the response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered(pub(crate) &'static str);

/// Counts a request by who answered, how, and how long that took.
pub(crate) async fn counted(State(controller): State<Arc<Controller>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let response = next.run(request).await;
    let operation = response.extensions().get::<Answered>().map(|answered| answered.0);
    controller.counts.answered(operation, response.status().as_u16(), began.elapsed());
    response
}
