//! The table of routes. Each file is one resource; collections answer with and without a slash at their end.

mod blueprints;
mod executions;
mod health;

use axum::Router;
use axum::routing::{get, post};

use crate::app::Api;

/// Routes that need the token.
pub(crate) fn guarded() -> Router<Api> {
    let mut router = Router::new()
        .route("/api/v1/executions/{id}", get(executions::show))
        .route("/api/v1/executions/{id}/cancel", post(executions::cancel))
        .route("/api/v1/executions/{id}/events", get(executions::events))
        .route("/api/v1/blueprints/{id}", get(blueprints::show));
    for end in ["", "/"] {
        router = router
            .route(&format!("/api/v1/executions{end}"), post(executions::start).get(executions::list))
            .route(&format!("/api/v1/blueprints{end}"), post(blueprints::store));
    }
    router
}

/// Routes that anybody may ask: they say nothing but that the process is there.
pub(crate) fn open() -> Router<Api> {
    Router::new()
        .route("/healthz", get(health::alive))
        .route("/livez", get(health::alive))
        .route("/readyz", get(health::ready))
}
