//! HTTP rules: `METHOD scheme://host[:port][/path*]`, and the one reading of a URL they are compared with.
//!
//! Text in, yes or no out: resolving names and refusing private addresses belong to the egress.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::pattern;
use crate::problem::{Code, Problem};

/// RFC 1035: a host name has at most 253 characters, a label at most 63.
const HOST_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;
/// Everything below the root: a rule without a path.
const EVERY_PATH: &str = "/*";

/// One rule about outgoing HTTP, read. Printing gives the normal form, which reads back as an equal rule.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct HttpRule {
    /// Upper case; `None` is every method.
    methods: Option<BTreeSet<String>>,
    scheme: Scheme,
    host: Host,
    /// `None` is every port.
    port: Option<u16>,
    /// Begins with `/`; may end with `*`.
    path: String,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Scheme {
    Http,
    Https,
}

impl Scheme {
    fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "http" => Some(Self::Http),
            "https" => Some(Self::Https),
            _ => None,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// A host pattern. Two of them are nested or disjoint.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Host {
    Any,
    /// One or more whole labels, then this suffix. Never numeric, so no address matches.
    Below(String),
    /// Lower-case name, or an address in its normal form.
    Exactly(String),
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Any);
        }
        match text.strip_prefix("*.") {
            Some(suffix) => host_name(suffix).filter(|name| !ends_numeric(name)).map(Self::Below),
            None => host(text).map(Self::Exactly),
        }
    }

    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (_, Self::Any) | (Self::Exactly(_), Self::Below(_)) => false,
            (Self::Below(suffix), Self::Below(other)) => suffix == other || is_below(other, suffix),
            (Self::Below(suffix), Self::Exactly(name)) => is_below(name, suffix),
            (Self::Exactly(name), Self::Exactly(other)) => name == other,
        }
    }
}

fn is_below(name: &str, suffix: &str) -> bool {
    name.strip_suffix(suffix).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

fn ends_numeric(name: &str) -> bool {
    name.rsplit('.').next().is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Reads a host name; `None` unless every label has 1 to 63 letters, digits, `-` or `_`.
fn host_name(text: &str) -> Option<String> {
    let good_label = |label: &str| {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !label.is_empty() && label.len() <= LABEL_BYTES_MAX && label.bytes().all(good)
    };
    let good = text.len() <= HOST_BYTES_MAX && text.split('.').all(good_label);
    good.then(|| text.to_ascii_lowercase())
}

/// Reads a host name or an address; an IPv6 address stands in brackets.
fn host(text: &str) -> Option<String> {
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().ok().map(|address| format!("[{address}]"));
    }
    let name = host_name(text)?;
    if ends_numeric(&name) {
        return name.parse::<Ipv4Addr>().ok().map(|address| address.to_string());
    }
    Some(name)
}

/// Splits `host`, `host:port`, `[v6]` or `[v6]:port`.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.starts_with('[') || host.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

/// Decimal, no sign, no leading zeros to fool a reader.
fn port_number(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    plain.then(|| text.parse().ok()).flatten()
}

/// Whether a server could read `path` as another path than the one it spells: dot segments, also before path
/// parameters, and encoded separators or dots, also encoded twice.
fn is_ambiguous(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let encoded = ["%2e", "%2f", "%5c", "%252e", "%252f", "%255c", "%00", "\\"];
    let dotted = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
    encoded.iter().any(|trick| lower.contains(trick)) || lower.split('/').any(dotted)
}

/// One request's URL, read the one way every rule sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Target {
    scheme: Scheme,
    host: String,
    port: u16,
    path: String,
}

impl Target {
    /// `None` for everything but an absolute, plain-ASCII http or https URL without user name.
    pub(super) fn parse(url: &str) -> Option<Self> {
        if url.bytes().any(|byte| !byte.is_ascii_graphic()) {
            return None;
        }
        let (scheme, rest) = url.split_once("://")?;
        let scheme = Scheme::parse(scheme)?;
        let rest = rest.split(['?', '#']).next()?;
        let (authority, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
        // A backslash ends the host for a browser and does not for others; `@` moves it. Neither has an honest use.
        if authority.contains(['@', '\\', '%']) {
            return None;
        }
        let (name, port) = split_port(authority);
        let port = port.map_or(Some(scheme.port()), port_number)?;
        Some(Self { scheme, host: host(name)?, port, path: path.to_owned() })
    }
}

impl HttpRule {
    /// Reads a rule; G002 says what is wrong with it. Without a method it holds for every method, without a scheme
    /// for https, without a port for the scheme's own (`:*` is every port), without a path for every path.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let refuse = |fault: &str| {
            let shown: String = text.chars().filter(|c| !c.is_control()).take(120).collect();
            Problem::new(Code::G002, format!("http rule `{shown}`: {fault}"))
                .help("write `METHOD scheme://host[:port][/path*]`, for example `GET https://api.example.com/v1/*`")
        };
        let (methods, url) = match text.trim().split_once(' ') {
            Some((methods, url)) => (methods, url.trim_start()),
            None => ("*", text.trim()),
        };
        let methods = parse_methods(methods).ok_or_else(|| refuse("the method is not `*` or words like `GET,POST`"))?;
        if url.bytes().any(|byte| !byte.is_ascii_graphic()) {
            return Err(refuse("the URL holds a space, a control character or a letter outside ASCII"));
        }
        let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
        let scheme = Scheme::parse(scheme).ok_or_else(|| refuse("the scheme is not `http` or `https`"))?;
        let (authority, path) = rest.find('/').map_or((rest, EVERY_PATH), |slash| rest.split_at(slash));
        let (name, port) = split_port(authority);
        let port = match port {
            None => Some(scheme.port()),
            Some("*") => None,
            Some(port) => Some(port_number(port).ok_or_else(|| refuse("the port is not a number or `*`"))?),
        };
        let host = Host::parse(name).ok_or_else(|| refuse("the host is not a name, an address, `*.name` or `*`"))?;
        if path.contains(['?', '#']) {
            return Err(refuse("a rule has no query and no fragment"));
        }
        if is_ambiguous(path) || pattern::check(path).is_err() {
            return Err(refuse("the path has `..`, an encoded separator, or a `*` before its end"));
        }
        Ok(Self { methods, scheme, host, port, path: path.to_owned() })
    }

    pub(super) fn allows(&self, method: &str, target: &Target) -> bool {
        let method_fits = self.methods.as_ref().is_none_or(|methods| methods.contains(method));
        let path_fits = if is_ambiguous(&target.path) {
            self.path == EVERY_PATH
        } else {
            pattern::matches(&self.path, &target.path)
        };
        method_fits
            && path_fits
            && self.scheme == target.scheme
            && self.port.is_none_or(|port| port == target.port)
            && self.host.covers(&Host::Exactly(target.host.clone()))
    }

    /// Whether every request `other` allows is allowed by this rule.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let methods = match (&self.methods, &other.methods) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(wide), Some(narrow)) => narrow.is_subset(wide),
        };
        methods
            && self.scheme == other.scheme
            && self.host.covers(&other.host)
            && (self.port.is_none() || self.port == other.port)
            && pattern::covers(&self.path, &other.path)
    }

    /// The rule that allows exactly what both allow.
    pub(super) fn meet(&self, other: &Self) -> Option<Self> {
        let methods = match (&self.methods, &other.methods) {
            (None, methods) | (methods, None) => methods.clone(),
            (Some(a), Some(b)) => Some(a.intersection(b).cloned().collect::<BTreeSet<_>>()),
        };
        if methods.as_ref().is_some_and(BTreeSet::is_empty) || self.scheme != other.scheme {
            return None;
        }
        let port = match (self.port, other.port) {
            (None, port) | (port, None) => port,
            (Some(a), Some(b)) if a == b => Some(a),
            _ => return None,
        };
        let host = if self.host.covers(&other.host) {
            other.host.clone()
        } else if other.host.covers(&self.host) {
            self.host.clone()
        } else {
            return None;
        };
        Some(Self { methods, scheme: self.scheme, host, port, path: pattern::meet(&self.path, &other.path)? })
    }

    /// The same rule as several of one method each, so that `GET,POST x` is covered by `GET x` and `POST x`.
    pub(super) fn by_method(&self) -> Vec<Self> {
        let Some(methods) = &self.methods else {
            return vec![self.clone()];
        };
        let single = |method: &String| Self { methods: Some(BTreeSet::from([method.clone()])), ..self.clone() };
        methods.iter().map(single).collect()
    }
}

fn parse_methods(text: &str) -> Option<Option<BTreeSet<String>>> {
    if text == "*" {
        return Some(None);
    }
    let good = |word: &str| {
        !word.is_empty() && word.len() <= 32 && word.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-')
    };
    let words: Vec<&str> = text.split(',').collect();
    words.iter().all(|word| good(word)).then(|| Some(words.iter().map(|word| word.to_ascii_uppercase()).collect()))
}

impl fmt::Display for HttpRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.methods {
            None => f.write_str("*")?,
            Some(methods) => f.write_str(&methods.iter().map(String::as_str).collect::<Vec<_>>().join(","))?,
        }
        write!(f, " {}://{}", self.scheme.as_str(), self.host)?;
        match self.port {
            None => f.write_str(":*")?,
            Some(port) if port == self.scheme.port() => {}
            Some(port) => write!(f, ":{port}")?,
        }
        f.write_str(&self.path)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Below(suffix) => write!(f, "*.{suffix}"),
            Self::Exactly(name) => f.write_str(name),
        }
    }
}

/// Whether `name` (a host without port) fits the host pattern `pattern`.
pub(super) fn host_matches(pattern: &str, name: &str) -> bool {
    match (Host::parse(pattern), host(name)) {
        (Some(pattern), Some(name)) => pattern.covers(&Host::Exactly(name)),
        _ => false,
    }
}

/// Whether the host pattern `wide` matches every host that `narrow` matches.
pub(super) fn host_covers(wide: &str, narrow: &str) -> bool {
    wide == narrow
        || matches!((Host::parse(wide), Host::parse(narrow)), (Some(wide), Some(narrow)) if wide.covers(&narrow))
}

/// The host pattern of what both match.
pub(super) fn host_meet(a: &str, b: &str) -> Option<String> {
    if host_covers(a, b) {
        return Some(b.to_owned());
    }
    host_covers(b, a).then(|| a.to_owned())
}

/// Refuses what is not a host pattern.
pub(super) fn check_host(text: &str) -> Result<(), Problem> {
    if Host::parse(text).is_some() {
        return Ok(());
    }
    let shown: String = text.chars().filter(|c| !c.is_control()).take(120).collect();
    Err(Problem::new(Code::G002, format!("`{shown}` is not a host"))
        .help("write a host name, an address, `*.` and a name, or `*`, without scheme and port"))
}
