//! Places in registries and what is known about them: nothing is completed by a guess, nothing leaves the repository that
//! was named, and the host that is asked is the one that was written.
#![no_main]

use std::net::{Ipv6Addr, SocketAddr};

use ice_registry::client::{Auth, Registries, Repository};
use libfuzzer_sys::fuzz_target;
use url::Url;

fuzz_target!(|text: &str| {
    let (prefix, name) = text.split_once('\n').unwrap_or((text, "acme/csv"));
    if let Ok(repository) = Repository::parse(prefix, name) {
        assert_eq!(repository.to_string(), format!("{prefix}/{name}"), "it is what was written");
        assert_eq!(Repository::parse(&repository.registry, &repository.path).as_ref(), Ok(&repository));
        asked_as_written(&repository);
    }
    if let Ok(known) = Registries::parse(text) {
        for (prefix, settings) in known.iter() {
            assert_eq!(known.get(prefix), Some(settings));
            let repository = Repository::parse(prefix, "acme/csv").expect("a prefix of a repository");
            let address = repository.registry.replace("localhost", "127.0.0.1").parse::<SocketAddr>();
            let here = address.is_ok_and(|address| address.ip().is_loopback());
            assert!(here || !settings.plain_http, "without TLS to `{prefix}`");
        }
    }
    if let Ok(Auth::Environment { user, password }) = Auth::parse(text) {
        assert_eq!(format!("env:{user},{password}"), text);
    }
});

/// The URL of a repository has its host and its path, whoever reads it.
fn asked_as_written(repository: &Repository) {
    let parts = || repository.path.split('/');
    assert!(parts().all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_graphic() && b != b'%')));
    let Ok(url) = Url::parse(&format!("https://{}/v2/{}/tags/list", repository.registry, repository.path)) else {
        return;
    };
    assert_eq!(url.path(), format!("/v2/{}/tags/list", repository.path));
    assert_eq!((url.username(), url.password(), url.query(), url.fragment()), ("", None, None, None));
    let host = url.host_str().expect("a host");
    let written = repository.registry.rsplit_once(':').map_or(repository.registry.as_str(), |(host, _)| host);
    let address = |host: &str| host.trim_matches(['[', ']']).parse::<Ipv6Addr>().ok();
    let same = host == repository.registry || host == written;
    assert!(same || address(host).is_some_and(|ip| [Some(ip)].contains(&address(written))), "asks {host}");
}
