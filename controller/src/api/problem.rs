//! Problems as answers, and requests that cannot be read as problems.

use crate::store::StoreError;
use axum::{
    Json,
    extract::{
        FromRequest, FromRequestParts, Path, Query, Request,
        rejection::{JsonRejection, PathRejection, QueryRejection},
    },
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use picket_api::{Problem, ProblemKind, problem::CONTENT_TYPE};
use serde::de::DeserializeOwned;
use std::error::Error;

/// What whoever asks hears while the database is away.
const DATABASE_AWAY: &str = "the controller's database does not answer: hosts keep what they have, and changes are taken again once \
    it is back; look at the database server, and ask `status` whether a change that failed now was made";

/// A problem on its way to whoever asked.
#[derive(Debug)]
pub(crate) struct ApiProblem(pub(crate) Problem);

/// Seconds after which who asked too often may ask again, where nobody knows better.
const RETRY_AFTER: &str = "3";

impl ApiProblem {
    /// A problem of a kind.
    pub(crate) fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self(Problem::new(kind, detail))
    }

    /// A fault of ours: the cause is for the log.
    pub(crate) fn internal(doing: &'static str, error: &(dyn Error + 'static)) -> Self {
        tracing::error!(error, doing, "a request failed");
        Self::new(ProblemKind::Internal, format!("the controller could not {doing}; its log says more"))
    }

    fn unanswered(kind: ProblemKind, cause: &(dyn Error + 'static)) -> Self {
        tracing::error!(error = cause, "a request failed");
        Self::new(kind, "the controller's database did not answer as it should; its log says more; try again")
    }
}

impl IntoResponse for ApiProblem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self.0)).into_response();
        if status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
        }
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        response
    }
}

impl From<Problem> for ApiProblem {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<StoreError> for ApiProblem {
    /// The cause is for the log; whoever asked hears what can be done about it.
    fn from(error: StoreError) -> Self {
        let cause = &error as &dyn Error;
        match &error {
            StoreError::Away { .. } => {
                tracing::warn!(error = cause, "a request failed");
                Self::new(ProblemKind::Unavailable, DATABASE_AWAY)
            }
            StoreError::Queued { .. } => {
                tracing::warn!(error = cause, "a request failed");
                Self::new(ProblemKind::Unavailable, error.to_string())
            }
            StoreError::Overtaken { .. } => Self::new(ProblemKind::Unavailable, error.to_string()),
            StoreError::Row { .. } => Self::unanswered(ProblemKind::Internal, cause),
            _ => Self::unanswered(ProblemKind::Unavailable, cause),
        }
    }
}

/// A body in JSON.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiProblem;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiProblem> {
        let Json(value) = Json::from_request(request, state)
            .await
            .map_err(|error: JsonRejection| ApiProblem::new(ProblemKind::BadRequest, error.body_text()))?;
        Ok(Self(value))
    }
}

/// The query of a URL.
pub(crate) struct Asked<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = ApiProblem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiProblem> {
        let Query(value) = Query::from_request_parts(parts, state)
            .await
            .map_err(|error: QueryRejection| ApiProblem::new(ProblemKind::BadRequest, error.body_text()))?;
        Ok(Self(value))
    }
}

/// What the path of a URL names.
pub(crate) struct Named<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Named<T> {
    type Rejection = ApiProblem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiProblem> {
        let Path(value) = Path::from_request_parts(parts, state)
            .await
            .map_err(|error: PathRejection| ApiProblem::new(ProblemKind::BadRequest, error.body_text()))?;
        Ok(Self(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waited_too_long_for_a_turn_hears_what_to_look_at() {
        let problem = ApiProblem::from(StoreError::Queued { seconds: 30 }).0;
        assert_eq!(problem.status, 503);
        let detail = problem.detail;
        assert!(detail.contains("those before it were not done within 30 s; look at the load"), "{detail}");
    }
}
