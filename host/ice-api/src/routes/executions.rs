//! `/api/v1/executions`: starting, waiting, looking, stopping, following.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use ice_client::wire::{
    CancelBody, ExecutionBody, ExecutionList, ListedExecution, ResultBody, StartRequest, WAIT_SECONDS_MAX,
};
use ice_core::event::{Event, Fact};
use ice_core::execution::{Ending, Execution, Status, ending, replay};
use ice_core::id::{Digest, ExecutionId, Identity};
use ice_core::ports::ExecutionRow;
use ice_core::problem::{Code, Problem};
use ice_engine::{Handle, Rest, StartExecution, Stopping, tighter};

use crate::answer::Refusal;
use crate::app::{Api, Shared};
use crate::limits::json;
use crate::plans::printable;
use crate::stream;

/// Lines of one page of a listing, unless the request says otherwise, and at most.
const LISTED: u32 = 50;
const LISTED_MAX: u32 = 200;

/// Events read from the store at once.
const PAGE: u32 = 1_000;

/// How long a request to stop waits until it has happened: nodes that run at the end have ten seconds.
const CANCEL_MS: u64 = 12_000;

type Who = Extension<Arc<Identity>>;
type Asked = Query<HashMap<String, String>>;

/// `POST /executions?wait_seconds=`: 202 with where it stands, as soon as it ended, waits for a person, or the seconds
/// are over.
pub(crate) async fn start(State(api): State<Api>, Extension(who): Who, Query(asked): Asked, body: Bytes) -> Response {
    match begin(&api.0, &who, &asked, &body).await {
        Ok(body) => (StatusCode::ACCEPTED, Json(body)).into_response(),
        Err(refusal) => refusal.answer(&api.0),
    }
}

async fn begin(
    shared: &Shared,
    who: &Identity,
    asked: &HashMap<String, String>,
    body: &Bytes,
) -> Result<ExecutionBody, Refusal> {
    known(asked, &["wait_seconds"])?;
    let wait_ms = wait_ms(asked)?;
    let request = StartRequest::from_value(json(body)?)?;
    let (parts, options) = (&shared.parts, &shared.options);
    if shared.is_stopping() || parts.engine.present_count() >= options.executions_max {
        let message = "the server takes no more executions now";
        return Err(Problem::new(Code::A014, message).help("try again in a moment").into());
    }
    let plan = shared.plan(request.run).await?;
    let blueprint = plan.digest;
    let start = StartExecution {
        plan,
        inputs: request.inputs,
        identity: Identity { session: request.session.or_else(|| who.session.clone()), ..who.clone() },
        parent: None,
        budget: tighter(request.budget, options.budget),
    };
    let began = parts.clock.now_ms();
    let handle = parts.engine.start(start).await?;
    let rest = if wait_ms == 0 { None } else { rest_within(shared, &handle, wait_ms).await };
    let ms = parts.clock.now_ms().saturating_sub(began);
    match rest {
        Some(Rest::Ended(ending)) if !was_lost(&ending) => Ok(ended(&handle.id, &blueprint, &ending, ms)),
        // This process does not know how it goes on; the events do.
        Some(Rest::Ended(_)) => Ok(shown(&handle.id, &view(shared, who, &handle.id).await?)),
        Some(Rest::Waiting) => Ok(underway(&handle.id, &blueprint, Status::Waiting.as_str())),
        None if wait_ms == 0 => Ok(underway(&handle.id, &blueprint, "accepted")),
        None => Ok(underway(&handle.id, &blueprint, Status::Running.as_str())),
    }
}

/// Returns when the execution rests; nothing when the time is over or the server stops before.
async fn rest_within(shared: &Shared, handle: &Handle, ms: u64) -> Option<Rest> {
    tokio::select! {
        biased;
        rest = handle.rest() => Some(rest),
        () = shared.stopped() => None,
        () = shared.parts.clock.sleep(ms) => None,
    }
}

/// Whether this process lost the execution, which is no end of it.
fn was_lost(ending: &Ending) -> bool {
    ending.problem.as_ref().is_some_and(|problem| matches!(problem.code, Code::X008 | Code::X040 | Code::X042))
}

fn underway(id: &ExecutionId, blueprint: &Digest, status: &str) -> ExecutionBody {
    ExecutionBody {
        execution_id: id.to_string(),
        status: status.to_owned(),
        blueprint_id: blueprint.to_string(),
        result: None,
        error: None,
        events: None,
    }
}

fn ended(id: &ExecutionId, blueprint: &Digest, ending: &Ending, ms: u64) -> ExecutionBody {
    let status = Status::from(ending.status);
    let (result, error) = (Some(ResultBody::new(ending, ms)), ending.problem.clone());
    ExecutionBody { result, error, ..underway(id, blueprint, status.as_str()) }
}

/// An execution as its events tell it.
fn shown(id: &ExecutionId, (view, ending): &(Execution, Option<Ending>)) -> ExecutionBody {
    match ending {
        Some(ending) => ended(id, &view.blueprint, ending, view.active_ms),
        None => underway(id, &view.blueprint, view.status.as_str()),
    }
}

/// Reads an execution that belongs to `who`; X013 when there is none.
async fn view(shared: &Shared, who: &Identity, id: &ExecutionId) -> Result<(Execution, Option<Ending>), Refusal> {
    let mut page = first_page(shared, who, id, PAGE).await?;
    let mut view = replay(&page).ok_or_else(|| unknown(id))?;
    let mut end = ending(&page);
    while page.len() == PAGE as usize {
        page = shared.parts.events.read(id, view.seq, PAGE).await?;
        page.iter().for_each(|event| view.apply(event));
        end = ending(&page).or(end);
    }
    Ok((view, end))
}

/// The first events of an execution that belongs to `who`; X013 when there is none.
async fn first_page(shared: &Shared, who: &Identity, id: &ExecutionId, limit: u32) -> Result<Vec<Event>, Refusal> {
    let page = match shared.parts.events.read(id, 0, limit).await {
        Err(failure) if failure.problem.code.http() == 404 => Vec::new(),
        read => read?,
    };
    match page.first().map(|first| &first.fact) {
        Some(Fact::ExecutionStarted { identity, .. }) if (&identity.org, &identity.user) == (&who.org, &who.user) => {
            Ok(page)
        }
        _ => Err(unknown(id).into()),
    }
}

/// The same for one that does not exist and one of somebody else.
fn unknown(id: &ExecutionId) -> Problem {
    Problem::new(Code::X013, format!("there is no execution `{}`", printable(&id.0)))
        .help("list them with `GET /api/v1/executions`")
}

/// `GET /executions/{id}`.
pub(crate) async fn show(State(api): State<Api>, Extension(who): Who, Path(id): Path<String>) -> Response {
    let id = ExecutionId(id);
    match view(&api.0, &who, &id).await {
        Ok(view) => Json(shown(&id, &view)).into_response(),
        Err(refusal) => refusal.answer(&api.0),
    }
}

/// `GET /executions?limit=&before=`: newest first.
pub(crate) async fn list(State(api): State<Api>, Extension(who): Who, Query(asked): Asked) -> Response {
    match page(&api.0, &who, &asked).await {
        Ok(page) => Json(page).into_response(),
        Err(refusal) => refusal.answer(&api.0),
    }
}

async fn page(shared: &Shared, who: &Identity, asked: &HashMap<String, String>) -> Result<ExecutionList, Refusal> {
    known(asked, &["limit", "before"])?;
    let limit = match asked.get("limit") {
        None => LISTED,
        Some(text) => text.parse().ok().filter(|limit| (1..=LISTED_MAX).contains(limit)).ok_or_else(|| {
            let problem = Problem::new(Code::A003, format!("`limit` is `{}`", printable(text)));
            problem.help(format!("write a number from 1 to {LISTED_MAX}"))
        })?,
    };
    let events = &shared.parts.events;
    let rows = match asked.get("before") {
        Some(before) => events.older(who, &ExecutionId(before.clone()), limit).await?,
        None => events.list(who, limit).await?,
    };
    let next = rows.last().filter(|_| rows.len() == limit as usize).map(|row| row.id.to_string());
    let mut executions = Vec::with_capacity(rows.len());
    for row in rows {
        let first = events.read(&row.id, 0, 1).await?;
        let blueprint = first.first().and_then(|first| match &first.fact {
            Fact::ExecutionStarted { blueprint, .. } => Some(blueprint.to_string()),
            _ => None,
        });
        executions.push(listed(row, blueprint.unwrap_or_default()));
    }
    Ok(ExecutionList { executions, next })
}

fn listed(row: ExecutionRow, blueprint_id: String) -> ListedExecution {
    let ExecutionRow { id, name, status, started, updated, waits, .. } = row;
    ListedExecution { execution_id: id.0, status, blueprint_id, name, started, updated, waits }
}

/// `POST /executions/{id}/cancel`: answers when it has stopped, where this process runs it.
pub(crate) async fn cancel(State(api): State<Api>, Extension(who): Who, Path(id): Path<String>) -> Response {
    match stop(&api.0, &who, &ExecutionId(id)).await {
        Ok(status) => Json(CancelBody { status }).into_response(),
        Err(refusal) => refusal.answer(&api.0),
    }
}

async fn stop(shared: &Shared, who: &Identity, id: &ExecutionId) -> Result<String, Refusal> {
    first_page(shared, who, id, 1).await?;
    match shared.parts.engine.stop(id, "cancelled over the API").await? {
        Stopping::Elsewhere => return Ok("canceling".into()),
        Stopping::HasEnded => {}
        Stopping::Here(handle) => {
            if rest_within(shared, &handle, CANCEL_MS).await.is_none() {
                return Ok("canceling".into());
            }
        }
    }
    let (view, _) = view(shared, who, id).await?;
    Ok(match view.status {
        Status::Cancelled => "canceled",
        Status::Running | Status::Waiting => "canceling",
        ended => ended.as_str(),
    }
    .into())
}

/// `GET /executions/{id}/events`: server-sent events, after `Last-Event-ID` or `?after=`.
pub(crate) async fn events(
    State(api): State<Api>,
    Extension(who): Who,
    Path(id): Path<String>,
    Query(asked): Asked,
    headers: HeaderMap,
) -> Response {
    let id = ExecutionId(id);
    let after = async {
        known(&asked, &["after"])?;
        let after = after(&headers, &asked)?;
        first_page(&api.0, &who, &id, 1).await?;
        Ok::<_, Refusal>(after)
    };
    match after.await {
        Ok(after) => stream::follow(&api, id, after).await,
        Err(refusal) => refusal.answer(&api.0),
    }
}

/// Which event was seen last.
fn after(headers: &HeaderMap, asked: &HashMap<String, String>) -> Result<u64, Problem> {
    let header = headers.get("last-event-id").map(|id| id.to_str().unwrap_or("?"));
    let Some(text) = header.or(asked.get("after").map(String::as_str)) else { return Ok(0) };
    text.trim().parse().map_err(|_| {
        let problem = Problem::new(Code::A003, format!("`{}` is not the id of an event", printable(text)));
        problem.help("send the `id` of the last event that was seen, or nothing")
    })
}

/// `wait_seconds`, in milliseconds.
fn wait_ms(asked: &HashMap<String, String>) -> Result<u64, Problem> {
    let Some(text) = asked.get("wait_seconds") else { return Ok(0) };
    let seconds = text.parse().ok().filter(|seconds: &f64| (0.0..=WAIT_SECONDS_MAX).contains(seconds));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to WAIT_SECONDS_MAX")]
    seconds.map(|seconds| (seconds * 1e3).ceil() as u64).ok_or_else(|| {
        let problem = Problem::new(Code::A003, format!("`wait_seconds` is `{}`", printable(text)));
        problem.help(format!("write a number from 0 to {WAIT_SECONDS_MAX}"))
    })
}

/// Refuses parameters of the query that mean nothing here.
fn known(asked: &HashMap<String, String>, names: &[&str]) -> Result<(), Problem> {
    let Some(other) = asked.keys().find(|key| !names.contains(&key.as_str())) else { return Ok(()) };
    let problem = Problem::new(Code::A003, format!("the query has no `{}` here", printable(other)));
    Err(problem.help(format!("known: {}", names.join(", "))))
}
