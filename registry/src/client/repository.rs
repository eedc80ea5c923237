//! Names of places in registries: host, repository, tag or digest. Never completed by a guess: a name without a host is
//! refused here, so it can never mean somebody's public registry.

use std::fmt;

use ice_core::id::Digest;
use ice_core::manifest::printable;
use ice_core::problem::{Code, Problem};

/// As the distribution specification has it.
const PATH_BYTES_MAX: usize = 255;
/// As the distribution specification has it.
const TAG_BYTES_MAX: usize = 128;
/// As DNS has it, and a port.
const HOST_BYTES_MAX: usize = 253 + 6;

/// A repository of a registry: `registry.example/ice/acme/csv`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Repository {
    /// `host` or `host:port`.
    pub registry: String,
    /// Path inside the registry, without `/` at its ends: `ice/acme/csv`.
    pub path: String,
}

impl Repository {
    /// The repository of the plugin `name` below `prefix`, such as `registry.example/ice`. R014 when they do not make
    /// one together.
    pub fn parse(prefix: &str, name: &str) -> Result<Self, Problem> {
        let (registry, folder) = split_prefix(prefix)?;
        let path = [folder, name].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
        if name.is_empty() || !is_path(&path) {
            return Err(refuse("repository", &path)
                .help("write lower-case letters, digits, `.`, `_` and `-`, in parts with `/` between them"));
        }
        Ok(Self { registry: registry.to_owned(), path })
    }

    /// `oci://registry.example/ice/acme/csv`.
    pub fn uri(&self) -> String {
        format!("oci://{self}")
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)
    }
}

/// Host and path of `registry.example/ice`; the path may be empty. R014.
pub(super) fn split_prefix(prefix: &str) -> Result<(&str, &str), Problem> {
    let (host, path) = prefix.split_once('/').unwrap_or((prefix, ""));
    let slash_without_path = prefix.contains('/') && path.is_empty();
    if !is_host(host) || slash_without_path || !(path.is_empty() || is_path(path)) {
        return Err(refuse("registry", prefix).help("write `host`, `host:port` or `host/prefix`, all in lower case"));
    }
    Ok((host, path))
}

/// A host that nobody takes for a folder: with a dot or a port, or `localhost`.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let good_port =
        |port: &str| !port.starts_with('0') && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok();
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    // URLs take `127.1` and `0x7f.1` for addresses: whoever is asked would not be whoever is written.
    let last = host.rsplit('.').next().unwrap_or(host);
    let number = last
        .strip_prefix("0x")
        .map_or_else(|| last.bytes().all(|b| b.is_ascii_digit()), |hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
    let good_host = match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None if number => host.parse::<std::net::Ipv4Addr>().is_ok(),
        None => host.split('.').all(is_label) && (host.contains('.') || port.is_some() || host == "localhost"),
    };
    text.len() <= HOST_BYTES_MAX && good_host && port.is_none_or(good_port)
}

fn is_label(label: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&label.len()) && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*` in parts.
fn is_path(path: &str) -> bool {
    path.len() <= PATH_BYTES_MAX && path.split('/').all(is_part)
}

fn is_part(part: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let separators = part.split(|c: char| c.is_ascii() && word(c as u8)).filter(|between| !between.is_empty());
    let good = |between: &str| matches!(between, "." | "_" | "__") || between.bytes().all(|b| b == b'-');
    let mut ends = [part.bytes().next(), part.bytes().last()].into_iter();
    ends.all(|end| end.is_some_and(word)) && separators.into_iter().all(good)
}

/// A tag or a digest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reference<'a> {
    Tag(&'a str),
    Digest(Digest),
}

impl<'a> Reference<'a> {
    /// R014 for a tag outside its grammar, T012 for a digest that is none.
    pub(super) fn parse(text: &'a str) -> Result<Self, Problem> {
        if text.contains(':') {
            return Digest::parse(text).map(Self::Digest);
        }
        if is_tag(text) {
            return Ok(Self::Tag(text));
        }
        Err(refuse("tag", text).help("write a version such as `1.2.3`, or a digest"))
    }
}

/// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
pub(super) fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let inner = |b: u8| word(b) || b == b'.' || b == b'-';
    text.len() <= TAG_BYTES_MAX && text.bytes().next().is_some_and(word) && text.bytes().all(inner)
}

fn refuse(what: &str, text: &str) -> Problem {
    Problem::new(Code::R014, format!("`{}` is not a {what}", printable(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_needs_a_host_and_the_grammar_of_paths() {
        let good = Repository::parse("registry.acme.example/ice", "acme/csv").unwrap();
        assert_eq!(good.to_string(), "registry.acme.example/ice/acme/csv");
        assert_eq!(good.uri(), "oci://registry.acme.example/ice/acme/csv");
        for prefix in ["127.0.0.1:5000", "localhost", "[::1]:5000/ice", "r.example:443/a/b__c/d--e"] {
            Repository::parse(prefix, "acme/csv_reader").unwrap();
        }
        for (prefix, name) in [
            ("acme", "csv"),
            ("", "acme/csv"),
            ("r.example/", "acme/csv"),
            ("R.example", "acme/csv"),
            ("user@r.example", "acme/csv"),
            ("r.example:0", "acme/csv"),
            ("r.example:99999", "acme/csv"),
            ("r.example:+80", "acme/csv"),
            ("127.1:5000", "acme/csv"),
            ("0x7f.1", "acme/csv"),
            ("1.2.3.04:5000", "acme/csv"),
            ("r.1", "acme/csv"),
            ("r.0x", "acme/csv"),
            ("https://r.example", "acme/csv"),
            ("r.example/ice", ""),
            ("r.example/ice", "acme/../csv"),
            ("r.example/ice", "acme//csv"),
            ("r.example/ice", "acme/csv?x=1"),
            ("r.example/ice", "acme/csv:1.2.3"),
            ("r.example/ice", "acme/a___b"),
            ("r.example/ice", "\u{430}cme/csv"),
        ] {
            let problem = Repository::parse(prefix, name).expect_err(&format!("{prefix} {name}"));
            assert_eq!(problem.code, Code::R014, "{prefix} {name}");
        }
    }

    #[test]
    fn a_reference_is_a_tag_or_a_digest() {
        let digest = Digest::of(b"");
        assert_eq!(Reference::parse(&digest.to_string()).unwrap(), Reference::Digest(digest));
        assert_eq!(Reference::parse("1.2.3-rc.1").unwrap(), Reference::Tag("1.2.3-rc.1"));
        for bad in ["", "1.2.3+build", ".x", "a/b", "a?b", &"x".repeat(129)] {
            assert_eq!(Reference::parse(bad).unwrap_err().code, Code::R014, "{bad}");
        }
        assert_eq!(Reference::parse("sha512:00").unwrap_err().code, Code::T012);
    }
}
