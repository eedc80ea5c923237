//! From a name to addresses that may be dialled. The one lookup of a request happens here.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};

use async_trait::async_trait;
use ice_core::ports::Failure;
use ice_core::problem::{Code, Problem};

use super::address::{self, Kind};
use super::target::Target;

/// A server with more addresses than this does not need them all tried.
const ADDRESSES_MAX: usize = 16;

/// Looks names up. The system's in production, a scripted one in tests.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// Returns the addresses of `host`, a name in ASCII without final dot.
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The resolver of the operating system, with its hosts file and search rules.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// `host:port` pairs whose address may be any.
#[derive(Clone, Default, Debug)]
pub(crate) struct PrivateAllowed(BTreeSet<String>);

impl PrivateAllowed {
    /// Reads entries such as `localhost:8080`, `10.0.0.7:443` or `[::1]:9000`.
    pub(crate) fn parse(entries: &[String]) -> Result<Self, Vec<Problem>> {
        let mut allowed = BTreeSet::new();
        let mut problems = Vec::new();
        for entry in entries {
            // The entry takes the same way as a URL, so that both have the same spelling.
            let explicit = entry.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
            match Target::parse(&format!("http://{entry}/")) {
                Ok(target) if explicit && target.path_and_query() == "/" => {
                    allowed.insert(target.host_port());
                }
                _ => problems.push(
                    Problem::new(Code::C021, format!("`{}` is not `host:port`", entry.escape_debug()))
                        .help("write a host and a port, for example `localhost:8080` or `[::1]:8080`"),
                ),
            }
        }
        if problems.is_empty() { Ok(Self(allowed)) } else { Err(problems) }
    }

    pub(crate) fn add(&mut self, address: SocketAddr) {
        // An address with its port is spelled in a URL as it prints.
        self.0.insert(address.to_string());
    }

    pub(crate) fn holds(&self, target: &Target) -> bool {
        self.0.contains(&target.host_port())
    }
}

/// Resolves once and returns the addresses that may be dialled, at least one. With `private`, addresses that are not
/// public are among them; those of cloud metadata only when the URL names the address itself.
pub(crate) async fn vetted(
    resolver: &dyn Resolver,
    target: &Target,
    private: bool,
) -> Result<Vec<SocketAddr>, Failure> {
    let addresses = match target.literal() {
        Some(address) => vec![address],
        None => resolver.resolve(target.host()).await.map_err(|_| unknown_host(target))?,
    };
    let mut vetted = Vec::new();
    let mut refused = None;
    for address in addresses {
        let kind = address::kind(address);
        let named = target.literal().is_some();
        if kind == Kind::Public || (private && (kind != Kind::Metadata || named)) {
            vetted.push(SocketAddr::new(address, target.port()));
        } else {
            refused.get_or_insert(kind);
        }
    }
    vetted.truncate(ADDRESSES_MAX);
    match refused {
        _ if !vetted.is_empty() => Ok(vetted),
        Some(kind) => Err(private_address(target, kind)),
        None => Err(unknown_host(target)),
    }
}

fn unknown_host(target: &Target) -> Failure {
    // The resolver's own words may name the machine's servers and search domains.
    Failure::maybe(
        Problem::new(Code::X061, format!("the host `{}` could not be resolved", target.host()))
            .help("check the spelling of the host, and this machine's network"),
    )
}

fn private_address(target: &Target, kind: Kind) -> Failure {
    // The address itself stays unsaid: a guest could map the operator's network by asking for names.
    let host = target.host_port();
    Failure::never(
        Problem::new(
            Code::G020,
            format!("`{host}` is a {} address; requests go to public addresses only", kind.as_str()),
        )
        .help(format!("if this host may reach it, add `{host}` to `egress.allow_private` in `ice.toml`")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(Vec<IpAddr>);

    #[async_trait]
    impl Resolver for Fixed {
        async fn resolve(&self, _host: &str) -> io::Result<Vec<IpAddr>> {
            Ok(self.0.clone())
        }
    }

    fn fixed(addresses: &[&str]) -> Fixed {
        Fixed(addresses.iter().map(|text| text.parse().unwrap()).collect())
    }

    async fn ask(addresses: &[&str], url: &str, private: bool) -> Result<Vec<SocketAddr>, Code> {
        let target = Target::parse(url).unwrap();
        vetted(&fixed(addresses), &target, private).await.map_err(|failure| failure.problem.code)
    }

    #[tokio::test]
    async fn keeps_public_addresses_and_drops_the_others() {
        let answer = ask(&["10.0.0.1", "1.1.1.1", "::1", "2606:4700::1"], "https://a.example/", false).await.unwrap();
        assert_eq!(answer, ["1.1.1.1:443".parse().unwrap(), "[2606:4700::1]:443".parse().unwrap()]);
    }

    #[tokio::test]
    async fn refuses_a_name_with_private_addresses_only() {
        assert_eq!(ask(&["127.0.0.1", "10.1.1.1"], "https://a.example/", false).await, Err(Code::G020));
        assert_eq!(ask(&[], "https://a.example/", false).await, Err(Code::X061));
    }

    #[tokio::test]
    async fn an_allowed_name_still_does_not_lead_to_metadata() {
        assert_eq!(ask(&["169.254.169.254"], "http://a.example/", true).await, Err(Code::G020));
        assert!(ask(&[], "http://169.254.169.254/", true).await.is_ok());
        assert!(ask(&["127.0.0.1"], "http://a.example/", true).await.is_ok());
    }

    #[tokio::test]
    async fn does_not_say_which_private_address_a_name_has() {
        let target = Target::parse("https://db.example/").unwrap();
        let failure = vetted(&fixed(&["10.77.1.9"]), &target, false).await.unwrap_err();
        assert!(!failure.problem.to_string().contains("10.77"));
    }

    #[test]
    fn reads_allowed_pairs_in_the_spelling_of_urls() {
        let allowed =
            PrivateAllowed::parse(&["LOCALHOST:80".into(), "[0::1]:9000".into(), "2130706433:1".into()]).unwrap();
        for url in ["http://localhost/", "http://[::1]:9000/x", "http://127.0.0.1:1/"] {
            assert!(allowed.holds(&Target::parse(url).unwrap()), "{url}");
        }
        for url in ["http://localhost:81/", "https://localhost/", "http://[::1]/"] {
            assert!(!allowed.holds(&Target::parse(url).unwrap()), "{url}");
        }
    }

    #[test]
    fn refuses_entries_that_are_no_pairs() {
        let entries = ["localhost", "localhost:", "a:b", "http://x:1", "x:1/path", "*", "u@h:1", "[::1]", "x:70000"];
        let problems = PrivateAllowed::parse(&entries.map(String::from)).unwrap_err();
        assert_eq!(problems.len(), entries.len(), "{problems:#?}");
    }
}
