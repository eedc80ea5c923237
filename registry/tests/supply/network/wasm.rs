//! The library that `wkg` pulls with gets plain components from what we publish: plugins, and the parts of kits.

use ice_core::id::Digest;
use ice_registry::publish::{PublishOptions, publish};
use oci_client_of_wasm as theirs;
use oci_wasm::WasmClient;

use super::real::open;
use super::world::credentials;
use crate::fake::{component, importing, release_of};
use crate::publish::{kit, options, signed_parts};
use crate::registries::{DockerRegistry, Ferro};
use crate::world::World;

async fn is_pulled(address: &str, path: &str, expected: &[u8]) {
    let protocol = theirs::client::ClientProtocol::Http;
    let config = theirs::client::ClientConfig { protocol, ..theirs::client::ClientConfig::default() };
    let client = WasmClient::new(theirs::Client::try_from(config).unwrap());
    let reference = theirs::Reference::with_tag(address.to_owned(), format!("ice/{path}"), "1.0.0".to_owned());
    let nobody = theirs::secrets::RegistryAuth::Anonymous;
    let pulled = client.pull(&reference, &nobody).await.unwrap();
    assert_eq!(pulled.layers[0].data, expected, "{path}");
    // What stands beside their members in the config is left alone by them.
    let (_, config, _) = client.pull_manifest_and_config(&reference, &nobody).await.unwrap();
    assert_eq!(config.layer_digests, [Digest::of(expected).to_string()], "{path}");
    assert_eq!((config.os.as_str(), config.component.is_some()), ("wasip2", true), "{path}");
}

async fn published_and_pulled(address: &str) {
    // The process default decides for a client that names no provider.
    rustls::crypto::ring::default_provider().install_default().ok();
    let (world, client, prefix) = (World::new(), open(address, credentials()), format!("{address}/ice"));
    let plugin = importing("ice:log/log@0.1.0");
    let with_parts = PublishOptions { kit_parts: signed_parts(&kit()), ..options() };
    for (release, options) in [(release_of("acme/csv", "1.0.0", &plugin), options()), (kit(), with_parts)] {
        publish(&client, &prefix, &release, &world.trust, &options, &()).await.unwrap();
    }
    is_pulled(address, "acme/csv", &plugin).await;
    is_pulled(address, "acme/kit/alpha", &component("one")).await;
    is_pulled(address, "acme/kit/beta", &component("two")).await;
}

#[tokio::test]
async fn wkg_pulls_what_we_publish_to_docker_registry() {
    published_and_pulled(&DockerRegistry::start().address()).await;
}

#[tokio::test]
async fn wkg_pulls_what_we_publish_to_ferro() {
    published_and_pulled(&Ferro::start().address()).await;
}
