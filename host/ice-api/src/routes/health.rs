//! Whether the process lives, and whether it can take work.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::app::Api;

/// `GET /healthz`: the process answers.
pub(crate) async fn alive() -> Json<Value> {
    Json(json!({ "status": "live" }))
}

/// `GET /readyz`: 200 when the database answers and executions may be started, else 503 with the reason.
pub(crate) async fn ready(State(api): State<Api>) -> (StatusCode, Json<Value>) {
    let shared = &api.0;
    let reason = if shared.is_stopping() {
        Some("stopping")
    } else if shared.parts.events.due(0, 1).await.is_err() {
        Some("the database does not answer")
    } else {
        None
    };
    match reason {
        None => (StatusCode::OK, Json(json!({ "ok": true }))),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "ok": false, "reason": reason }))),
    }
}
