//! What a refresh costs after 1 % of a 10,000-plugin index changed, as lines for the tables of `tests/bench`: table, row,
//! column and value with tabs between them. `cargo run --release -p ice-registry --example index_refresh`
//!
//! The registry is in memory: what is measured is bytes, and what this machine does with them.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write as _;
use std::sync::Mutex;
use std::time::Instant;

use async_trait::async_trait;
use ice_core::id::Digest;
use ice_core::manifest::{UnixSeconds, canonical};
use ice_core::problem::{Code, Problem};
use ice_registry::index::{BuildOptions, Cache, CursorKey, Index, Pull, Query, Row, build_rows, pack, refresh, search};
use ice_registry::trust::State;
use ice_registry::{DocumentKind, PrivateKey, Signed, Signers};
use serde_json::{Value, json};

const PLUGINS: usize = 10_000;
const NOW: UnixSeconds = 1_796_083_200;

/// A registry in memory.
#[derive(Default)]
struct Shelf {
    manifest: Vec<u8>,
    blobs: BTreeMap<Digest, Vec<u8>>,
    blobs_asked: Mutex<usize>,
}

#[async_trait]
impl Pull for Shelf {
    async fn manifest(&self, _reference: &str) -> Result<Option<Vec<u8>>, Problem> {
        Ok(Some(self.manifest.clone()))
    }

    async fn blob(&self, digest: &Digest, _size: u64) -> Result<Vec<u8>, Problem> {
        *self.blobs_asked.lock().map_err(|_| Problem::new(Code::R005, "the shelf is gone"))? += 1;
        self.blobs.get(digest).cloned().ok_or_else(|| Problem::new(Code::R006, "there is no such blob"))
    }
}

impl Shelf {
    fn publish(&mut self, rows: &[Row], version: u64, key: &PrivateKey) -> Result<(), Problem> {
        let options =
            BuildOptions { version, root_version: 1, now: NOW, lifetime: 7 * 24 * 60 * 60, revocations: None };
        let built = build_rows(rows, &options)?;
        let mut signed = Signed::new(DocumentKind::Index, &built.header);
        signed.sign(key, "index")?;
        let packed = pack(&built, &signed)?;
        self.blobs.extend(packed.blobs.into_iter().map(|(descriptor, bytes)| (descriptor.digest, bytes)));
        self.manifest = packed.manifest;
        Ok(())
    }
}

/// A row as long as those of small real plugins.
fn row(number: usize, releases: usize) -> Result<Row, Problem> {
    let release = |release: usize| {
        json!({
            "version": format!("1.{release}.0"), "sequence": release + 1, "size": 204_800,
            "S": Digest::of(format!("S {number} {release}").as_bytes()),
            "oci_digest": Digest::of(format!("oci {number} {release}").as_bytes()),
            "first_seen": "2026-11-20T00:00:00Z", "yanked": null, "security": false,
        })
    };
    let document: Value = json!({
        "name": format!("publisher{}/plugin_{number}", number % 500), "kind": "plugin",
        "versions": (0..releases).map(release).collect::<Vec<_>>(),
        "description": format!("Reads documents of form {number} and writes their rows as a table"),
        "tags": ["documents", "tables"], "components": [{"node_type": "tool", "name": format!("read_{number}")}],
        "io": ["columns", "path", "rows"], "keyids": [Digest::of(format!("key {}", number % 500).as_bytes())],
        "cost": {"base": 0, "per_token": 0}, "licence": "Apache-2.0", "capabilities": [],
    });
    Row::parse(&canonical(&document))
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

fn kib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let home = tempfile::tempdir()?;
    let (cache, state) = (Cache::of(home.path(), "registry.example/ice")?, State::of(&home.path().join("trust")));
    let key = PrivateKey::generate()?;
    let signers = Signers { keys: BTreeMap::from([(key.public().id(), key.public())]), threshold: 1 };
    let mut shelf = Shelf::default();
    let before: Vec<Row> = (0..PLUGINS).map(|number| row(number, 3)).collect::<Result<_, _>>()?;
    shelf.publish(&before, 1, &key)?;
    let first = refresh(&shelf, &cache, &signers, &state, 1, NOW).await?;
    let releases = |number: usize| if number.is_multiple_of(100) { 4 } else { 3 };
    let after: Vec<Row> = (0..PLUGINS).map(|number| row(number, releases(number))).collect::<Result<_, _>>()?;
    shelf.publish(&after, 2, &key)?;
    let start = Instant::now();
    let second = refresh(&shelf, &cache, &signers, &state, 1, NOW).await?;
    let refresh_ms = milliseconds(start);
    let start = Instant::now();
    let index = Index::open(&cache, &signers, NOW)?;
    let open_ms = milliseconds(start);
    let query = Query { text: "read document rows".to_owned(), limit: 20, ..Query::default() };
    let cursors = CursorKey::generate()?;
    search(&index, &query, &cursors)?;
    let start = Instant::now();
    let page = search(&index, &query, &cursors)?;
    let search_ms = milliseconds(start);
    if page.hits.is_empty() {
        return Err("the index has what is searched for".into());
    }
    let asked = *shelf.blobs_asked.lock().map_err(|_| "the shelf is gone")?;
    let about = format!("index of {PLUGINS} plugins");
    let figures = [
        ("the first refresh fetches, KiB", kib(first.bytes_fetched)),
        ("a refresh after 1 % changed fetches, KiB", kib(second.bytes_fetched)),
        ("both together ask for so many blobs", asked as f64),
        ("a refresh after 1 % changed, registry in memory, ms", refresh_ms),
        ("opened from disk with every check, ms", open_ms),
        ("searched, ms", search_ms),
    ];
    let mut out = std::io::stdout().lock();
    for (what, value) in figures {
        writeln!(out, "supply\t**ice** {about}: {what}\tmedian\t{value}")?;
    }
    Ok(())
}
