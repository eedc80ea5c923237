//! The scripted outside: answers in the order a test queued them.

use crate::http::{Error, Request, Response, split_url};

pub(crate) fn send(request: &Request) -> Result<Response, Error> {
    split_url(&request.url)?;
    let answer = super::with(|state| {
        state.http_requests.push(request.clone());
        state.http.pop_front()
    });
    match answer {
        Some(Ok(response)) if response.body.len() > request.body_bytes_max => {
            Err(Error::TooLarge(request.body_bytes_max))
        }
        Some(answer) => answer,
        None => Err(Error::Denied(format!("{} {} was not scripted", request.method, request.url))),
    }
}
