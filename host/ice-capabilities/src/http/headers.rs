//! Which request headers a caller may set, and how secrets get into their values. Pure; the grant is asked by `http`.

use http::{HeaderMap, HeaderName, HeaderValue};
use ice_core::ports::Failure;
use ice_core::problem::{Code, Problem};

use crate::secrets::Secrets;

/// Servers commonly stop at 100 lines and 32 KiB.
pub(crate) const COUNT_MAX: usize = 100;
const BYTES_MAX: usize = 32 << 10;

/// They belong to one connection, and the connection is the host's; a caller's own would cut requests in two.
const REFUSED: &[&str] =
    &["connection", "expect", "host", "http2-settings", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"];
/// Set by the host, whatever the caller says: the length is known, and packed bytes could hide a secret.
const SET_HERE: &[&str] = &["accept-encoding", "content-length"];
/// They say who is asking and must not follow to another host.
const ABOUT_THE_CALLER: &[&str] = &["authorization", "cookie"];
/// They describe a body; without body they must go.
const ABOUT_THE_BODY: &[&str] = &["content-type", "content-encoding", "content-language", "content-location", "digest"];

const OPEN: &str = "{{secret:";
const CLOSE: &str = "}}";

/// One header of a request, its secrets not filled in.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    name: HeaderName,
    template: String,
}

/// The headers of a request, in the caller's order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Headers(Vec<Header>);

impl Headers {
    /// Reads a caller's headers. X068 when one may not be sent.
    pub(crate) fn parse(headers: &[(String, String)]) -> Result<Self, Failure> {
        let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        if COUNT_MAX < headers.len() || BYTES_MAX < bytes {
            return Err(refused("more than 100 headers or 32 KiB of them".into()));
        }
        let mut kept = Vec::new();
        for (name, value) in headers {
            let shown = name.escape_debug();
            let name =
                HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused(format!("`{shown}` is not a header")))?;
            if REFUSED.contains(&name.as_str()) || name.as_str().starts_with("proxy-") {
                return Err(refused(format!("the header `{name}` is set by the host")));
            }
            if SET_HERE.contains(&name.as_str()) {
                continue;
            }
            // The template is checked here and the filled value again: neither may begin a line of its own.
            HeaderValue::from_str(value)
                .map_err(|_| refused(format!("the value of `{name}` is not a header value")))?;
            secret_names(value).map_err(|()| refused(format!("`{name}` has `{OPEN}` without name or `{CLOSE}`")))?;
            kept.push(Header { name, template: value.clone() });
        }
        Ok(Self(kept))
    }

    /// The secrets that the values name.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(|header| secret_names(&header.template).unwrap_or_default())
    }

    /// Takes away what must not follow a redirect to another origin.
    pub(crate) fn leave_origin(&mut self) {
        self.0.retain(|header| !ABOUT_THE_CALLER.contains(&header.name.as_str()) && !header.template.contains(OPEN));
    }

    /// Takes away what describes the body.
    pub(crate) fn leave_body(&mut self) {
        self.0.retain(|header| !ABOUT_THE_BODY.contains(&header.name.as_str()));
    }

    /// The headers as they are sent. X067 when a secret is not set, X068 when a filled value cannot be sent.
    pub(crate) fn fill(&self, secrets: &Secrets) -> Result<HeaderMap, Failure> {
        let mut map = HeaderMap::with_capacity(self.0.len() + 4);
        for Header { name, template } in &self.0 {
            let filled = fill(template, secrets)?;
            let mut value = HeaderValue::from_str(&filled)
                .map_err(|_| refused(format!("the value of `{name}` with its secret is not a header value")))?;
            value.set_sensitive(template.contains(OPEN) || ABOUT_THE_CALLER.contains(&name.as_str()));
            map.append(name.clone(), value);
        }
        Ok(map)
    }
}

/// Names in `{{secret:NAME}}`; an error when one has no name or end.
fn secret_names(template: &str) -> Result<Vec<&str>, ()> {
    let mut names = Vec::new();
    let mut rest = template;
    while let Some(start) = rest.find(OPEN) {
        let (name, after) = rest[start + OPEN.len()..].split_once(CLOSE).ok_or(())?;
        let good = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        names.push(if good { name } else { return Err(()) });
        rest = after;
    }
    Ok(names)
}

fn fill(template: &str, secrets: &Secrets) -> Result<String, Failure> {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(start) = rest.find(OPEN) {
        filled.push_str(&rest[..start]);
        let (name, after) = rest[start + OPEN.len()..].split_once(CLOSE).unwrap_or_default();
        filled.push_str(secrets.get(name).ok_or_else(|| missing(name))?.expose());
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

/// The secret `name` is not set on this host.
pub(crate) fn missing(name: &str) -> Failure {
    Failure::never(
        Problem::new(Code::X067, format!("the secret `{name}` is not set on this host"))
            .help(format!("set the environment variable `ICE_SECRET_{name}`, or add `{name}` to the file of secrets")),
    )
}

fn refused(what: String) -> Failure {
    Failure::never(Problem::new(Code::X068, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Headers, Failure> {
        Headers::parse(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<Vec<_>>())
    }

    fn secrets() -> Secrets {
        Secrets::from_values([("KEY".into(), "0123456789".into())]).unwrap()
    }

    #[test]
    fn fills_secrets_anywhere_in_a_value() {
        let headers = parse(&[("x-a", "a {{secret:KEY}} b {{secret:KEY}}"), ("x-b", "plain }}")]).unwrap();
        let map = headers.fill(&secrets()).unwrap();
        assert_eq!(map["x-a"], "a 0123456789 b 0123456789");
        assert!(map["x-a"].is_sensitive());
        assert_eq!(map["x-b"], "plain }}");
        assert!(!format!("{map:?}").contains("0123456789"));
    }

    #[test]
    fn refuses_headers_of_the_connection_and_broken_ones() {
        let table = [
            ("Host", "a"),
            ("connection", "close"),
            ("Transfer-Encoding", "chunked"),
            ("proxy-authorization", "x"),
            ("upgrade", "h2c"),
            ("te", "trailers"),
            ("keep-alive", "1"),
            ("expect", "100-continue"),
            ("", "x"),
            ("a b", "x"),
            ("x", "a\r\nhost: b"),
            ("x", "a\nb"),
            ("x\r\ny", "z"),
            ("x", "{{secret:}}"),
            ("x", "{{secret:KEY"),
            ("x", "{{secret:a b}}"),
            ("x:", "y"),
        ];
        for (name, value) in table {
            assert_eq!(parse(&[(name, value)]).map(|_| ()).unwrap_err().problem.code, Code::X068, "{name}: {value}");
        }
    }

    #[test]
    fn sets_length_and_encoding_itself() {
        let headers = parse(&[("content-length", "5"), ("accept-encoding", "gzip"), ("x", "y")]).unwrap();
        assert_eq!(headers.fill(&secrets()).unwrap().len(), 1);
    }

    #[test]
    fn takes_the_caller_away_at_another_origin() {
        let pairs = [("authorization", "a"), ("cookie", "b"), ("x-key", "{{secret:KEY}}"), ("accept", "c")];
        let mut headers = parse(&pairs).unwrap();
        headers.leave_origin();
        assert_eq!(headers.fill(&secrets()).unwrap().keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
    }

    #[test]
    fn bounds_count_and_size() {
        let many = (0..101).map(|n| (format!("x-{n}"), "y".to_owned())).collect::<Vec<_>>();
        assert!(Headers::parse(&many).is_err());
        assert!(parse(&[("x", &"y".repeat(BYTES_MAX))]).is_err());
    }

    #[test]
    fn names_a_missing_secret() {
        let failure = parse(&[("x", "{{secret:OTHER}}")]).unwrap().fill(&secrets()).unwrap_err();
        assert_eq!(failure.problem.code, Code::X067);
        assert!(failure.problem.to_string().contains("ICE_SECRET_OTHER"));
    }
}
