//! Problems as answers: the status is in the table of codes, the body is [`ErrorBody`]. What the host did wrong is
//! logged and not shown.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ice_client::wire::ErrorBody;
use ice_core::problem::{Code, Problem};

use crate::app::Shared;

/// Everything that is wrong with a request, or with the host.
#[derive(Debug)]
pub(crate) struct Refusal(Vec<Problem>);

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl From<Vec<Problem>> for Refusal {
    fn from(problems: Vec<Problem>) -> Self {
        Self(problems)
    }
}

impl From<ice_core::ports::Failure> for Refusal {
    fn from(failure: ice_core::ports::Failure) -> Self {
        failure.problem.into()
    }
}

/// Codes whose meaning is the host's own mistake when they come up outside an execution.
fn is_internal(code: Code) -> bool {
    matches!(code.http(), 500 | 507)
}

impl Refusal {
    /// The answer. Files of the host are not named, and its mistakes only in the log.
    pub(crate) fn answer(self, shared: &Shared) -> Response {
        let shown = self.0.into_iter().map(|mut problem| {
            if is_internal(problem.code) {
                (shared.options.log)(&problem);
                return Problem::new(Code::A012, "the host made a mistake").help("ask its operator: the log says more");
            }
            if let Some(at) = &mut problem.at {
                at.file = None;
            }
            problem
        });
        Self(shown.collect()).into_response()
    }
}

/// For problems that are known to hold nothing of the host.
impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let worst = self.0.iter().map(|problem| problem.code).max_by_key(|code| code.http());
        let code = worst.unwrap_or(Code::A012);
        let status = StatusCode::from_u16(code.http()).expect("the table holds statuses");
        let mut response = (status, Json(ErrorBody::new(self.0))).into_response();
        let headers = response.headers_mut();
        match code {
            Code::A001 => drop(headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            Code::A014 => drop(headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"))),
            _ => {}
        }
        response
    }
}

/// There is nothing under this path.
pub(crate) async fn no_route() -> Response {
    let problem = Problem::new(Code::A005, "there is nothing under this path");
    Refusal::from(problem.help("the routes are in the docs, under `/api/v1`")).into_response()
}

/// There is something, and it does not take this method.
pub(crate) async fn no_method() -> Response {
    let problem = Problem::new(Code::A006, "what is under this path does not take this method");
    Refusal::from(problem.help("the header `Allow` names those it takes")).into_response()
}
