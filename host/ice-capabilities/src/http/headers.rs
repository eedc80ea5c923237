//! Which request headers a caller may set, and how secrets get into their values. Pure; the grant is asked by `http`.

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderName, HeaderValue};
use ice_core::ports::Failure;
use ice_core::problem::{Code, Problem};
use sha2::Sha256;

use crate::secrets::{Secret, Secrets};

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

/// One header of a request, its secrets not filled in.
// Invariant: `pieces` can cut the template.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    name: HeaderName,
    template: String,
}

impl Header {
    /// The secrets its value names, each with what it becomes.
    fn secrets(&self) -> impl Iterator<Item = (Form, &str)> {
        let pieces = pieces(&self.template).expect("checked when it was read").into_iter();
        pieces.filter_map(|piece| match piece {
            Piece::Secret(form, name) => Some((form, name)),
            Piece::Text(_) => None,
        })
    }

    fn names_a_secret(&self) -> bool {
        self.secrets().next().is_some()
    }
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
            pieces(value).map_err(|open| refused(format!("`{name}` has `{open}` without name or `{CLOSE}`")))?;
            kept.push(Header { name, template: value.clone() });
        }
        Ok(Self(kept))
    }

    /// The secrets that the values name, in whatever form.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(|header| header.secrets()).map(|(_, name)| name)
    }

    /// Takes away what must not follow a redirect to another origin.
    pub(crate) fn leave_origin(&mut self) {
        self.0.retain(|header| !ABOUT_THE_CALLER.contains(&header.name.as_str()) && !header.names_a_secret());
    }

    /// Takes away what describes the body, its signatures too.
    pub(crate) fn leave_body(&mut self) {
        let signs = |header: &Header| header.secrets().any(|(form, _)| form == Form::Hmac);
        self.0.retain(|header| !ABOUT_THE_BODY.contains(&header.name.as_str()) && !signs(header));
    }

    /// The headers as they are sent with `body`. X067 when a secret is not set, X068 when a filled value cannot be sent.
    pub(crate) fn fill(&self, secrets: &Secrets, body: &[u8]) -> Result<HeaderMap, Failure> {
        let mut map = HeaderMap::with_capacity(self.0.len() + 4);
        for header in &self.0 {
            let name = &header.name;
            let filled = fill(&header.template, secrets, body)?;
            let mut value = HeaderValue::from_str(&filled)
                .map_err(|_| refused(format!("the value of `{name}` with its secret is not a header value")))?;
            value.set_sensitive(header.names_a_secret() || ABOUT_THE_CALLER.contains(&name.as_str()));
            map.append(name.clone(), value);
        }
        Ok(map)
    }
}

/// What a secret becomes in a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// Itself.
    Value,
    /// The lower-case hexadecimal HMAC-SHA256 of the body under it (RFC 2104).
    Hmac,
}

/// How each is written, before the secret's name.
const FORMS: &[(&str, Form)] = &[("{{secret:", Form::Value), ("{{hmac_sha256:", Form::Hmac)];
const CLOSE: &str = "}}";

/// A piece of a value.
enum Piece<'a> {
    Text(&'a str),
    Secret(Form, &'a str),
}

/// Cuts a value at the secrets it names. Fails with the opening words of one that has no name or end.
fn pieces(template: &str) -> Result<Vec<Piece<'_>>, &'static str> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some((start, open, form)) = first(rest) {
        let (name, after) = rest[start + open.len()..].split_once(CLOSE).ok_or(open)?;
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(open);
        }
        pieces.extend([Piece::Text(&rest[..start]), Piece::Secret(form, name)]);
        rest = after;
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}

/// Where the first secret of a text is named, and how.
fn first(text: &str) -> Option<(usize, &'static str, Form)> {
    let found = FORMS.iter().filter_map(|(open, form)| Some((text.find(open)?, *open, *form)));
    found.min_by_key(|(start, ..)| *start)
}

fn fill(template: &str, secrets: &Secrets, body: &[u8]) -> Result<String, Failure> {
    let mut filled = String::with_capacity(template.len());
    for piece in pieces(template).expect("checked when it was read") {
        let (form, name) = match piece {
            Piece::Text(text) => {
                filled.push_str(text);
                continue;
            }
            Piece::Secret(form, name) => (form, name),
        };
        let secret = secrets.get(name).ok_or_else(|| missing(name))?;
        match form {
            Form::Value => filled.push_str(secret.expose()),
            Form::Hmac => filled.push_str(&hmac_sha256(secret, body)),
        }
    }
    Ok(filled)
}

fn hmac_sha256(secret: &Secret, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).expect("HMAC takes a key of any length");
    mac.update(body);
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
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
        let map = headers.fill(&secrets(), b"").unwrap();
        assert_eq!(map["x-a"], "a 0123456789 b 0123456789");
        assert!(map["x-a"].is_sensitive());
        assert_eq!(map["x-b"], "plain }}");
        assert!(!format!("{map:?}").contains("0123456789"));
    }

    #[test]
    fn signs_the_body_with_a_secret_that_is_not_sent() {
        // As Python's `hmac.new(b"0123456789", body, "sha256").hexdigest()` says.
        let body = b"what do ya want for nothing?";
        let headers = parse(&[("x-sign", "sha256={{hmac_sha256:KEY}}, {{secret:KEY}}")]).unwrap();
        assert_eq!(headers.secrets().collect::<Vec<_>>(), ["KEY", "KEY"]);
        let map = headers.fill(&secrets(), body).unwrap();
        let hex = "e6f5c3d50ced1709ccc805e6c24879dd8aa9dd92525bea037aab088e7509b649";
        assert_eq!(map["x-sign"], format!("sha256={hex}, 0123456789"));
        assert!(map["x-sign"].is_sensitive() && !format!("{map:?}").contains(hex));
        assert_ne!(headers.fill(&secrets(), b"another").unwrap()["x-sign"], map["x-sign"]);
    }

    #[test]
    fn a_signature_stays_at_its_origin_and_with_its_body() {
        let pairs = [("x-sign", "{{hmac_sha256:KEY}}"), ("x-key", "{{secret:KEY}}"), ("accept", "c")];
        let names = |headers: &Headers| {
            let map = headers.fill(&secrets(), b"").unwrap();
            map.keys().map(|name| name.as_str().to_owned()).collect::<Vec<_>>()
        };
        let (mut other, mut bodiless) = (parse(&pairs).unwrap(), parse(&pairs).unwrap());
        other.leave_origin();
        assert_eq!(names(&other), ["accept"]);
        bodiless.leave_body();
        assert_eq!(names(&bodiless), ["x-key", "accept"]);
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
            ("x", "{{hmac_sha256:}}"),
            ("x", "{{secret:KEY}}{{hmac_sha256:KEY"),
            ("x", "{{hmac_sha256:{{secret:KEY}}}}"),
            ("x:", "y"),
        ];
        for (name, value) in table {
            assert_eq!(parse(&[(name, value)]).map(|_| ()).unwrap_err().problem.code, Code::X068, "{name}: {value}");
        }
    }

    #[test]
    fn sets_length_and_encoding_itself() {
        let headers = parse(&[("content-length", "5"), ("accept-encoding", "gzip"), ("x", "y")]).unwrap();
        assert_eq!(headers.fill(&secrets(), b"").unwrap().len(), 1);
    }

    #[test]
    fn takes_the_caller_away_at_another_origin() {
        let pairs = [("authorization", "a"), ("cookie", "b"), ("x-key", "{{secret:KEY}}"), ("accept", "c")];
        let mut headers = parse(&pairs).unwrap();
        headers.leave_origin();
        assert_eq!(
            headers.fill(&secrets(), b"").unwrap().keys().map(HeaderName::as_str).collect::<Vec<_>>(),
            ["accept"]
        );
    }

    #[test]
    fn bounds_count_and_size() {
        let many = (0..101).map(|n| (format!("x-{n}"), "y".to_owned())).collect::<Vec<_>>();
        assert!(Headers::parse(&many).is_err());
        assert!(parse(&[("x", &"y".repeat(BYTES_MAX))]).is_err());
    }

    #[test]
    fn names_a_missing_secret() {
        let failure = parse(&[("x", "{{secret:OTHER}}")]).unwrap().fill(&secrets(), b"").unwrap_err();
        assert_eq!(failure.problem.code, Code::X067);
        assert!(failure.problem.to_string().contains("ICE_SECRET_OTHER"));
    }
}
