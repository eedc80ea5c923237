//! What the tests of the index share: a world with a ledger, an index key, a registry that counts and lies on demand.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use ice_core::id::Digest;
use ice_core::manifest::{Manifest, canonical};
use ice_core::problem::{Code, Problem};
use ice_registry::index::{
    BuildOptions, Built, Cache, Index, Ledger, Pull, Refreshed, Row, build, build_rows, pack, refresh,
};
use ice_registry::trust::State;
use ice_registry::{DocumentKind, PrivateKey, Signed, Signers, Verified, VerifyOptions, verify};
use serde_json::{Value, json};

use crate::world::{NOW, World, document, key, sign};

pub(crate) const PREFIX: &str = "registry.example/ice";
pub(crate) const WEEK: u64 = 7 * 24 * 60 * 60;

/// A registry in memory.
#[derive(Default)]
pub(crate) struct Shelf {
    pub(crate) manifest: Option<Vec<u8>>,
    pub(crate) blobs: BTreeMap<Digest, Vec<u8>>,
    /// Blobs that are still given out before the connection breaks.
    pub(crate) patience: Option<usize>,
    pub(crate) asked: Mutex<Vec<Digest>>,
    pub(crate) bytes: Mutex<u64>,
}

#[async_trait]
impl Pull for Shelf {
    async fn manifest(&self, reference: &str) -> Result<Option<Vec<u8>>, Problem> {
        assert_eq!(reference, "registry.example/ice/ice-index:v0");
        *self.bytes.lock().unwrap() += self.manifest.as_ref().map_or(0, Vec::len) as u64;
        Ok(self.manifest.clone())
    }

    async fn blob(&self, digest: &Digest, _size: u64) -> Result<Vec<u8>, Problem> {
        let mut asked = self.asked.lock().unwrap();
        asked.push(*digest);
        if self.patience.is_some_and(|patience| asked.len() > patience) {
            return Err(Problem::new(Code::R005, "the connection broke off"));
        }
        let bytes = self.blobs.get(digest).cloned().ok_or_else(|| Problem::new(Code::R006, "no such blob"))?;
        *self.bytes.lock().unwrap() += bytes.len() as u64;
        Ok(bytes)
    }
}

impl Shelf {
    /// Puts a signed index on the shelf.
    pub(crate) fn publish(&mut self, built: &Built, key: &PrivateKey) {
        let mut signed = Signed::new(DocumentKind::Index, &built.header);
        signed.sign(key, "index").unwrap();
        let packed = pack(built, &signed).unwrap();
        self.blobs.extend(packed.blobs.into_iter().map(|(descriptor, bytes)| (descriptor.digest, bytes)));
        self.manifest = Some(packed.manifest);
        self.asked.lock().unwrap().clear();
        *self.bytes.lock().unwrap() = 0;
    }

    /// Replaces the signed header, and tells so in the manifest: what whoever runs a registry can do.
    pub(crate) fn replace_header(&mut self, bytes: &[u8]) {
        let mut manifest: Value = serde_json::from_slice(self.manifest.as_ref().unwrap()).unwrap();
        manifest["config"]["digest"] = json!(Digest::of(bytes));
        manifest["config"]["size"] = json!(bytes.len());
        self.blobs.insert(Digest::of(bytes), bytes.to_vec());
        self.manifest = Some(serde_json::to_vec(&manifest).unwrap());
    }

    pub(crate) fn header(&self) -> Vec<u8> {
        let manifest: Value = serde_json::from_slice(self.manifest.as_ref().unwrap()).unwrap();
        self.blobs[&Digest::parse(manifest["config"]["digest"].as_str().unwrap()).unwrap()].clone()
    }
}

/// A world, an index of it, and a machine that refreshes.
pub(crate) struct Market {
    pub(crate) world: World,
    pub(crate) ledger: Ledger,
    pub(crate) shelf: Shelf,
    pub(crate) cache: Cache,
    pub(crate) state: State,
    /// The index keys this machine believes.
    pub(crate) keys: Vec<PrivateKey>,
}

impl Market {
    /// With `acme/csv_reader` 1.2.3 in the ledger, and index version 5 of it on the shelf, signed by key 20.
    pub(crate) fn new() -> Self {
        let world = World::new();
        let mut ledger = Ledger::open(&world.home.path().join("ledger")).unwrap();
        ledger.add(&release(&world, |_| {}), Digest::of(b"oci"), NOW).unwrap();
        let cache = Cache::of(world.home.path(), PREFIX).unwrap();
        let state = State::of(&world.trust_folder());
        let mut market = Self { world, ledger, shelf: Shelf::default(), cache, state, keys: vec![key(20)] };
        market.publish(5, NOW);
        market
    }

    pub(crate) fn built(&self, version: u64, root_version: u64, now: u64) -> Built {
        build(&self.ledger, &options(version, root_version, now)).unwrap()
    }

    pub(crate) fn publish(&mut self, version: u64, now: u64) {
        let built = self.built(version, 1, now);
        self.shelf.publish(&built, &key(20));
    }

    pub(crate) async fn refresh(&self, now: u64) -> Result<Refreshed, Problem> {
        self.refresh_under(1, now).await
    }

    pub(crate) async fn refresh_under(&self, root_version: u64, now: u64) -> Result<Refreshed, Problem> {
        let keys = self.keys.iter().map(|key| (key.public().id(), key.public())).collect();
        let signers = Signers { keys, threshold: 1 };
        refresh(&self.shelf, &self.cache, &signers, &self.state, root_version, now).await
    }

    pub(crate) fn open(&self, now: u64) -> Result<Index, Problem> {
        let keys = self.keys.iter().map(|key| (key.public().id(), key.public())).collect();
        Index::open(&self.cache, &Signers { keys, threshold: 1 }, now)
    }

    /// The header on disk.
    pub(crate) fn on_disk(&self) -> Option<Vec<u8>> {
        std::fs::read(self.world.home.path().join("index/registry.example_2fice/header.json")).ok()
    }
}

pub(crate) fn options(version: u64, root_version: u64, now: u64) -> BuildOptions<'static> {
    BuildOptions { version, root_version, now, lifetime: WEEK, revocations: None }
}

/// V with a licence, changed and signed by its publisher, verified under the name it gives itself.
pub(crate) fn release(world: &World, change: impl FnOnce(&mut Value)) -> Verified<Manifest> {
    verify(&submission(change), &world.trust, &VerifyOptions::RUN).unwrap()
}

pub(crate) fn submission(change: impl FnOnce(&mut Value)) -> ice_registry::Envelope {
    let mut document = document();
    document["license"] = json!("Apache-2.0");
    change(&mut document);
    sign(&canonical(&document))
}

pub(crate) fn version(version: &str, sequence: u64) -> impl FnOnce(&mut Value) {
    move |document| {
        document["version"] = json!(version);
        document["sequence"] = json!(sequence);
    }
}

/// Rows like the one of V, under other names and with other words: what a verified release of each would give.
pub(crate) fn rows(count: usize) -> Vec<Row> {
    const WORDS: [&str; 16] = [
        "csv",
        "json",
        "mail",
        "calendar",
        "invoice",
        "search",
        "weather",
        "image",
        "table",
        "translate",
        "summary",
        "queue",
        "graph",
        "ticket",
        "payment",
        "archive",
    ];
    let world = World::new();
    let base = serde_json::to_value(Row::new(&release(&world, |_| {}), Digest::of(b"oci"), NOW).unwrap()).unwrap();
    let row = |number: usize| {
        let (a, b, c) = (WORDS[number % 16], WORDS[number / 16 % 16], WORDS[number / 256 % 16]);
        let mut row = base.clone();
        row["name"] = json!(format!("acme{}/{a}_{b}_{number}", number % 40));
        row["description"] = json!(format!("Reads {a} and writes {b} for every {c}, number {number} of its kind"));
        row["tags"] = json!([a, b]);
        row["components"] = json!([{"node_type": "tool", "name": format!("{a}_{c}")}]);
        row["io"] = json!(["path", "rows", c]);
        row["capabilities"] = if number.is_multiple_of(3) { json!(["http"]) } else { json!([]) };
        row["versions"][0]["S"] = json!(Digest::of(format!("S {number}").as_bytes()));
        row["versions"][0]["oci_digest"] = json!(Digest::of(format!("oci {number}").as_bytes()));
        Row::parse(&canonical(&row)).unwrap()
    };
    (0..count).map(row).collect()
}

/// An index of rows on a fresh machine.
pub(crate) async fn market_of(rows: &[Row], version: u64) -> Market {
    let mut market = Market::new();
    let built = build_rows(rows, &options(version, 1, NOW)).unwrap();
    market.shelf.publish(&built, &key(20));
    market.refresh(NOW).await.unwrap();
    market
}
