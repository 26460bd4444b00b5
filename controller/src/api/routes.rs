//! Routers that can have no route but those of the API's tables of operations, from which the OpenAPI document is made too.

use crate::{controller::Controller, metrics::Answered};
use axum::{
    Router,
    handler::Handler,
    middleware::map_response,
    response::Response,
    routing::{MethodFilter, on},
};
use picket_api::openapi::{Method, Operation};
use std::sync::Arc;

/// A router in the making, and what it has by now.
pub(super) struct Routes {
    router: Router<Arc<Controller>>,
    operations: Vec<&'static str>,
}

impl Routes {
    pub(super) fn new() -> Self {
        Self { router: Router::new(), operations: Vec::new() }
    }

    /// Has `handler` answer `operation`.
    pub(super) fn on<T: 'static>(
        self,
        operation: &'static Operation,
        handler: impl Handler<T, Arc<Controller>>,
    ) -> Self {
        let method = match operation.method {
            Method::Get => MethodFilter::GET,
            Method::Post => MethodFilter::POST,
            Method::Put => MethodFilter::PUT,
        };
        // Who answered is counted outside, together with what no operation answers.
        let answered = move |mut response: Response| async move {
            response.extensions_mut().insert(Answered(operation));
            response
        };
        let Self { router, mut operations } = self;
        operations.push(operation.id);
        Self { router: router.route(operation.path, on(method, handler).layer(map_response(answered))), operations }
    }

    pub(super) fn into_router(self) -> Router<Arc<Controller>> {
        self.router
    }
}

#[cfg(test)]
mod tests {
    use super::super::{agents, hooks, operators};
    use picket_api::openapi;
    use std::collections::BTreeSet;

    #[test]
    fn what_is_served_is_what_the_document_tells_of() {
        let tables = [
            (agents::routes(), openapi::agents::ALL),
            (operators::routes(), openapi::operators::ALL),
            (hooks::routes(), openapi::hooks::ALL),
        ];
        for (routes, table) in tables {
            let served: BTreeSet<&str> = routes.operations.iter().copied().collect();
            let told: BTreeSet<&str> = table.iter().map(|operation| operation.id).collect();
            assert_eq!(served, told);
            assert_eq!(routes.operations.len(), table.len(), "one handler each");
        }
    }
}
