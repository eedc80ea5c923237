//! One request to one host, read from what a caller asks, and the next one where an answer redirects. Pure.

use bytes::Bytes;
use http::header::LOCATION;
use http::{HeaderMap, Method, StatusCode};
use ice_core::ports::{Failure, HttpRequest};
use ice_core::problem::{Code, Problem};

use super::headers::Headers;
use super::target::Target;

/// One request to one host.
pub(crate) struct Hop {
    pub(crate) method: Method,
    pub(crate) target: Target,
    pub(crate) headers: Headers,
    pub(crate) body: Bytes,
}

impl Hop {
    /// Reads a caller's request. X060, X065 and X068 when it cannot be sent.
    pub(crate) fn first(request: HttpRequest, body_bytes_max: usize) -> Result<Self, Failure> {
        let target = Target::parse(&request.url)?;
        let method = Method::from_bytes(request.method.as_bytes()).ok();
        // CONNECT makes a tunnel, TRACE echoes what the host added.
        let method = method.filter(|method| *method != Method::CONNECT && *method != Method::TRACE);
        let method =
            method.filter(|method| method.as_str().bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-'));
        let Some(method) = method else {
            let message = format!("`{}` is not a method that may be sent", request.method.escape_debug());
            return Err(Failure::never(
                Problem::new(Code::X068, message).help("use `GET`, `POST` or another in upper case"),
            ));
        };
        if body_bytes_max < request.body.len() {
            let message =
                format!("the request's body has {} bytes; at most {body_bytes_max} are sent", request.body.len());
            return Err(Failure::never(Problem::new(Code::X065, message)));
        }
        Ok(Self { method, target, headers: Headers::parse(&request.headers)?, body: request.body.into() })
    }

    /// Where an answer sends the caller next, if it does. The rules for methods are those of the Fetch standard.
    pub(crate) fn redirected(&self, status: StatusCode, answer: &HeaderMap) -> Result<Option<Self>, Failure> {
        let Some(location) = answer.get(LOCATION).filter(|_| matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308))
        else {
            return Ok(None);
        };
        let here = self.target.host_port();
        let refuse = |what: &str| Failure::never(Problem::new(Code::X066, format!("`{here}` redirects {what}")));
        let location = std::str::from_utf8(location.as_bytes()).map_err(|_| refuse("to something that is no URL"))?;
        let target = self
            .target
            .join(location)
            .map_err(|failure| refuse(&format!("to a URL that may not be sent: {}", failure.problem.message)))?;
        if self.target.is_https() && !target.is_https() {
            return Err(refuse("from https to http"));
        }
        let mut headers = self.headers.clone();
        if target.origin() != self.target.origin() {
            headers.leave_origin();
        }
        let to_get = match status.as_u16() {
            303 => self.method != Method::GET && self.method != Method::HEAD,
            301 | 302 => self.method == Method::POST,
            _ => false,
        };
        if to_get {
            headers.leave_body();
            return Ok(Some(Self { method: Method::GET, target, headers, body: Bytes::new() }));
        }
        Ok(Some(Self { method: self.method.clone(), target, headers, body: self.body.clone() }))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn hop(method: &str, url: &str, headers: &[(&str, &str)]) -> Hop {
        let headers = headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let request =
            HttpRequest { method: method.into(), url: url.into(), headers, body: b"body".to_vec(), timeout_ms: 0 };
        Hop::first(request, 1024).unwrap()
    }

    fn answer(location: &str) -> HeaderMap {
        HeaderMap::from_iter([(LOCATION, HeaderValue::from_str(location).unwrap())])
    }

    #[test]
    fn changes_the_method_as_browsers_do() {
        let table = [
            (301, "POST", "GET", 0),
            (302, "POST", "GET", 0),
            (301, "PUT", "PUT", 4),
            (303, "PUT", "GET", 0),
            (303, "HEAD", "HEAD", 4),
            (307, "POST", "POST", 4),
            (308, "DELETE", "DELETE", 4),
        ];
        for (status, method, expected, body) in table {
            let first = hop(method, "https://a.example/", &[("content-type", "text/plain")]);
            let status = StatusCode::from_u16(status).unwrap();
            let next = first.redirected(status, &answer("/next")).unwrap().unwrap();
            assert_eq!((next.method.as_str(), next.body.len()), (expected, body), "{status} {method}");
        }
    }

    #[test]
    fn follows_only_redirects_with_a_location() {
        let first = hop("GET", "https://a.example/", &[]);
        for status in [200, 300, 304, 305, 400] {
            let status = StatusCode::from_u16(status).unwrap();
            assert!(first.redirected(status, &answer("/next")).unwrap().is_none());
        }
        assert!(first.redirected(StatusCode::FOUND, &HeaderMap::new()).unwrap().is_none());
    }

    #[test]
    fn refuses_to_leave_tls_and_bad_locations() {
        let first = hop("GET", "https://a.example/", &[]);
        for location in ["http://a.example/", "file:///etc/passwd", "https://u:p@a.example/", "https://["] {
            let failure = first.redirected(StatusCode::FOUND, &answer(location)).map(|_| ()).unwrap_err();
            assert_eq!(failure.problem.code, Code::X066, "{location}");
        }
    }

    #[test]
    fn keeps_the_caller_secret_at_other_origins() {
        let headers =
            [("authorization", "x"), ("x-key", "{{secret:K}}"), ("x-sign", "{{hmac_sha256:K}}"), ("accept", "y")];
        let first = hop("GET", "https://a.example/", &headers);
        let same = first.redirected(StatusCode::FOUND, &answer("/b")).unwrap().unwrap();
        assert_eq!(same.headers.secrets().count(), 2);
        for other in ["https://b.example/", "https://a.example:444/", "https://sub.a.example/"] {
            let next = first.redirected(StatusCode::FOUND, &answer(other)).unwrap().unwrap();
            let left = next.headers.fill(&crate::secrets::Secrets::default(), b"").unwrap();
            assert_eq!(left.keys().map(http::HeaderName::as_str).collect::<Vec<_>>(), ["accept"], "{other}");
        }
    }

    #[test]
    fn refuses_methods_that_make_tunnels_or_echo() {
        for method in ["CONNECT", "TRACE", "get", "", "G T", "GET\r\n"] {
            let request = HttpRequest {
                method: method.into(),
                url: "https://a.example".into(),
                headers: vec![],
                body: vec![],
                timeout_ms: 0,
            };
            assert_eq!(Hop::first(request, 0).map(|_| ()).unwrap_err().problem.code, Code::X068, "{method}");
        }
    }
}
