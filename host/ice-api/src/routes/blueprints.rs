//! `/api/v1/blueprints`: documents by the digest of their content. One that changes is another one.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use ice_client::wire::{BlueprintBody, NEW_DOCUMENT, StoredBlueprint, VERSION_LOCK};
use ice_core::id::Digest;
use ice_core::problem::{Code, Problem};

use crate::answer::Refusal;
use crate::app::{Api, Shared};
use crate::limits::json;
use crate::plans::{parse_id, printable};

/// `POST /blueprints`: checks the document whole and keeps it. 201 with its id.
pub(crate) async fn store(State(api): State<Api>, headers: HeaderMap, body: Bytes) -> Response {
    match put(&api.0, &headers, &body).await {
        Ok(digest) => {
            let stored = StoredBlueprint { id: digest.to_string(), version_lock: digest.hex() };
            (StatusCode::CREATED, [(VERSION_LOCK, digest.hex())], Json(stored)).into_response()
        }
        Err(refusal) => refusal.answer(&api.0),
    }
}

async fn put(shared: &Shared, headers: &HeaderMap, body: &Bytes) -> Result<Digest, Refusal> {
    is_new(headers)?;
    let document = json(body)?;
    shared.check(document.clone(), "").await?;
    Ok(shared.parts.documents.put("blueprint", &document).await?)
}

/// What is stored under a digest never changes, so a request can only bring something new.
fn is_new(headers: &HeaderMap) -> Result<(), Problem> {
    let help = format!("send the header `X-Version-Lock: {NEW_DOCUMENT}`");
    match headers.get(VERSION_LOCK).map(|lock| lock.as_bytes()) {
        None => Err(Problem::new(Code::A009, "`X-Version-Lock` is missing").help(help)),
        Some(lock) if lock == NEW_DOCUMENT.as_bytes() => Ok(()),
        Some(_) => Err(Problem::new(Code::A010, "a blueprint that is stored does not change").help(help)),
    }
}

/// `GET /blueprints/{id}`.
pub(crate) async fn show(State(api): State<Api>, Path(id): Path<String>) -> Response {
    let found = async {
        let unknown = || Problem::new(Code::A016, format!("`{}` is not the id of a blueprint", printable(&id)));
        let digest = parse_id(&id).ok_or_else(|| unknown().help("an id is `sha256:` and 64 hex digits"))?;
        Ok::<_, Refusal>((digest, api.0.stored(&digest).await?))
    };
    match found.await {
        Ok((digest, data)) => {
            let body = BlueprintBody { data, version_lock: digest.hex() };
            ([(VERSION_LOCK, digest.hex())], Json(body)).into_response()
        }
        Err(refusal) => refusal.answer(&api.0),
    }
}
