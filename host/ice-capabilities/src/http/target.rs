//! Reads a URL once, in one way, so that what the grant sees is what is dialled. Pure; resolving is elsewhere.

use std::net::IpAddr;

use ice_core::ports::Failure;
use ice_core::problem::{Code, Problem};
use url::{Host, Url};

/// Longer URLs are refused; servers commonly stop at 8 KiB.
const URL_BYTES_MAX: usize = 8 << 10;

/// Where one request goes. The URL has no user name, password or fragment, and its host is ASCII without final dot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Target {
    url: Url,
    port: u16,
}

impl Target {
    /// Reads an absolute URL. X060 when it is not one that may be sent.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        if URL_BYTES_MAX < text.len() {
            return Err(invalid("the URL is longer than 8 KiB"));
        }
        // The URL standard drops tabs and line breaks silently: then a reader sees another URL than the one sent.
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(invalid("the URL holds white space or control characters"));
        }
        if text.contains("{{secret:") {
            return Err(invalid("the URL holds `{{secret:…}}`; secrets are filled in header values only"));
        }
        let url = Url::parse(text).map_err(|error| invalid(&format!("the URL cannot be read: {error}")))?;
        Self::admit(url)
    }

    /// Reads the `location` of a redirect, relative to this URL.
    pub(crate) fn join(&self, location: &str) -> Result<Self, Failure> {
        if URL_BYTES_MAX < location.len() || location.chars().any(char::is_control) {
            return Err(invalid("the redirect's `location` is longer than 8 KiB or holds control characters"));
        }
        let url = (self.url.join(location))
            .map_err(|error| invalid(&format!("the redirect's `location` cannot be read: {error}")))?;
        Self::admit(url)
    }

    fn admit(mut url: Url) -> Result<Self, Failure> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(invalid(&format!("`{}` is not `http` or `https`", url.scheme())));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("the URL holds a user name or password; send them in a header"));
        }
        url.set_fragment(None);
        if let Some(name) = url.domain().and_then(|name| name.strip_suffix('.')).map(str::to_owned) {
            url.set_host(Some(&name)).map_err(|_| invalid("the URL's host cannot be read"))?;
        }
        let named = url.host_str().is_some_and(|host| !host.is_empty() && host.len() <= 253);
        match url.port_or_known_default() {
            Some(port) if port != 0 && named => Ok(Self { url, port }),
            _ => Err(invalid("the URL has no host or port to connect to")),
        }
    }

    /// The URL in its one spelling.
    pub(crate) fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// Host name in ASCII, IPv4 address, or IPv6 address in brackets.
    pub(crate) fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// The address, when the host is one.
    pub(crate) fn literal(&self) -> Option<IpAddr> {
        match self.url.host() {
            Some(Host::Ipv4(address)) => Some(address.into()),
            Some(Host::Ipv6(address)) => Some(address.into()),
            _ => None,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// `host:port`, as an operator lists it.
    pub(crate) fn host_port(&self) -> String {
        format!("{}:{}", self.host(), self.port)
    }

    /// `scheme://host:port` without default port.
    pub(crate) fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    pub(crate) fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// What the request line asks for: path and query.
    pub(crate) fn path_and_query(&self) -> String {
        match self.url.query() {
            Some(query) => format!("{}?{query}", self.url.path()),
            None => self.url.path().to_owned(),
        }
    }

    /// The value of the `host` header.
    pub(crate) fn authority(&self) -> String {
        match self.url.port() {
            Some(port) => format!("{}:{port}", self.host()),
            None => self.host().to_owned(),
        }
    }
}

fn invalid(what: &str) -> Failure {
    Failure::never(Problem::new(Code::X060, what).help("write `https://host/path`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_every_url_one_spelling() {
        let table = [
            ("https://example.com", "https://example.com/"),
            ("HTTPS://EXAMPLE.com:443/a/../b#part", "https://example.com/b"),
            ("https://example.com./x", "https://example.com/x"),
            ("https://bücher.example/ä?q=ü", "https://xn--bcher-kva.example/%C3%A4?q=%C3%BC"),
            ("https://ｅｘａｍｐｌｅ.com/", "https://example.com/"),
            ("http://2130706433/", "http://127.0.0.1/"),
            ("http://0x7f.1/", "http://127.0.0.1/"),
            ("http://0177.0.0.01/", "http://127.0.0.1/"),
            ("http://127.1/", "http://127.0.0.1/"),
            ("http://127.0.0.1./", "http://127.0.0.1/"),
            ("http://①②⑦.0.0.1/", "http://127.0.0.1/"),
            ("http://[::FFFF:127.0.0.1]:80/", "http://[::ffff:7f00:1]/"),
            ("http:\\\\example.com\\a", "http://example.com/a"),
            ("https:example.com", "https://example.com/"),
        ];
        for (text, expected) in table {
            assert_eq!(Target::parse(text).unwrap().as_str(), expected, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_plain_url() {
        let long = format!("https://example.com/{}", "a".repeat(URL_BYTES_MAX));
        let table = [
            "",
            "example.com",
            "/path",
            "ftp://example.com/",
            "file:///etc/passwd",
            "data:text/plain,hi",
            "gopher://example.com/",
            "https://",
            "https://user@example.com/",
            "https://user:pw@example.com/",
            "https://:pw@example.com/",
            "https://exa mple.com/",
            "https://example.com/\r\nx: y",
            "https://exam\tple.com/",
            " https://example.com/",
            "https://example.com:0/",
            "https://example.com:99999/",
            "http://[::1/",
            "http://[fe80::1%25eth0]/",
            "http://256.256.256.256/",
            "http://1.2.3.4.5/",
            "https://xn--a/",
            "https://exa%00mple.com/",
            "https://a%2fb.com/",
            "https://example.com/{{secret:KEY}}",
            "javascript:alert(1)",
            "https://./",
            long.as_str(),
        ];
        for text in table {
            let failure = Target::parse(text).expect_err(text);
            assert_eq!(failure.problem.code, Code::X060, "{text}");
        }
    }

    #[test]
    fn joins_redirects_and_checks_them_again() {
        let base = Target::parse("https://example.com/a/b?c").unwrap();
        assert_eq!(base.join("../d").unwrap().as_str(), "https://example.com/d");
        assert_eq!(base.join("//other.example/x").unwrap().as_str(), "https://other.example/x");
        assert!(base.join("https://user:pw@example.com/").is_err());
        assert!(base.join("file:///etc/passwd").is_err());
    }

    #[test]
    fn names_host_port_and_authority() {
        let target = Target::parse("http://[2606:4700::1]:8080/x?y=1").unwrap();
        assert_eq!(target.host_port(), "[2606:4700::1]:8080");
        assert_eq!(target.authority(), "[2606:4700::1]:8080");
        assert_eq!(target.path_and_query(), "/x?y=1");
        assert_eq!(Target::parse("https://example.com/").unwrap().host_port(), "example.com:443");
        assert_eq!(Target::parse("https://example.com/").unwrap().authority(), "example.com");
    }
}
