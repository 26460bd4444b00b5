//! The fake endpoint's control over HTTP, for a test or a demo in another process: `GET /control/state`,
//! `PUT /control/behaviour`, `/control/height`, `/control/preps`, `/control/preps/{hx}/endpoint`,
//! `/control/preps/{hx}/penalty`, `DELETE /control/preps/{hx}`.

use super::{Behaviour, FakeIcon, FakeState, Prep};
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{delete, get, put},
};
use picket_model::PrepId;

/// Height of the block a change is in, as the answer to it.
type Height = Json<u64>;
type NotFound = (StatusCode, &'static str);

/// The control's paths.
pub(super) fn router(fake: FakeIcon) -> Router {
    Router::new()
        .route("/control/state", get(state))
        .route("/control/behaviour", put(behaviour))
        .route("/control/height", put(height))
        .route("/control/preps", put(preps))
        .route("/control/preps/{prep}", delete(remove))
        .route("/control/preps/{prep}/endpoint", put(endpoint))
        .route("/control/preps/{prep}/penalty", put(penalty))
        .with_state(fake)
}

async fn state(State(fake): State<FakeIcon>) -> Json<FakeState> {
    Json(fake.state())
}

async fn behaviour(State(fake): State<FakeIcon>, Json(behaviour): Json<Behaviour>) -> StatusCode {
    fake.set_behaviour(behaviour);
    StatusCode::NO_CONTENT
}

async fn height(State(fake): State<FakeIcon>, Json(height): Json<u64>) -> StatusCode {
    fake.set_height(height);
    StatusCode::NO_CONTENT
}

async fn preps(State(fake): State<FakeIcon>, Json(preps): Json<Vec<Prep>>) -> Height {
    Json(fake.set_preps(preps))
}

async fn remove(State(fake): State<FakeIcon>, Path(prep): Path<PrepId>) -> Result<Height, NotFound> {
    found(fake.remove(prep))
}

/// The body is the text to register, as it is.
async fn endpoint(
    State(fake): State<FakeIcon>,
    Path(prep): Path<PrepId>,
    endpoint: String,
) -> Result<Height, NotFound> {
    found(fake.set_endpoint(prep, &endpoint))
}

async fn penalty(State(fake): State<FakeIcon>, Path(prep): Path<PrepId>) -> Result<Height, NotFound> {
    found(fake.chain().penalise(prep))
}

fn found(height: Option<u64>) -> Result<Height, NotFound> {
    height.map(Json).ok_or((StatusCode::NOT_FOUND, "the list has no such P-Rep"))
}
