//! Compiled components by digest: in memory, ready to instantiate, and through `aot.rs` on disk.
//!
//! Two calls that want the same component at once compile it once. The bytes come verified, whatever is cached.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use ice_core::id::Digest;
use ice_core::ports::{Artifacts, Failure};
use ice_core::problem::{Code, Problem};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::aot::Aot;
use crate::bindings::{agent::AgentPre, bundle::BundlePre, kit::KitPre};
use crate::call::Guest;
use crate::engine;
use crate::inspect::{World, inspect};
use crate::linker::Linkers;

/// Components that stay ready. A JavaScript component holds 40 MB of code, a Rust one 0.3 MB.
const COMPONENTS_MAX: usize = 128;

/// A component, ready to instantiate.
pub(crate) struct Loaded {
    /// Its exports, looked up.
    pub(crate) exports: Exports,
    /// What one instance takes of the pool.
    pub(crate) weight: u32,
}

/// The exports of a component, by its world.
pub(crate) enum Exports {
    Kit(KitPre<Guest>),
    Agent(AgentPre<Guest>),
    Bundle(BundlePre<Guest>),
}

/// How often components were compiled, and how often compiled code was found on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CacheCounts {
    /// Compiled by cranelift.
    pub compiled: u64,
    /// Loaded from an authentic record on disk.
    pub from_disk: u64,
}

/// Where the bytes of a component come from.
pub(crate) enum Source {
    /// The verified store.
    Artifacts(Arc<dyn Artifacts>),
    /// Given; hashed by the caller.
    Bytes(Vec<u8>),
}

type Loading = Shared<BoxFuture<'static, Result<Arc<Loaded>, Failure>>>;

/// The cache of one runtime.
pub(crate) struct Cache {
    compiler: Arc<Compiler>,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    rows: HashMap<Digest, Row>,
    clock: u64,
}

struct Row {
    loading: Loading,
    used: u64,
}

struct Compiler {
    engine: Engine,
    linkers: Linkers,
    aot: Option<Aot>,
    compiled: AtomicU64,
    from_disk: AtomicU64,
}

impl Cache {
    /// Opens the cache; the second value says why there is none on disk.
    pub(crate) fn new(engine: Engine, linkers: Linkers, folder: Option<&Path>) -> (Self, Option<Problem>) {
        let (aot, warning) = match folder.map(|folder| Aot::open(folder, &engine)) {
            None => (None, None),
            Some(Ok(aot)) => (Some(aot), None),
            Some(Err(problem)) => (None, Some(problem)),
        };
        let (compiled, from_disk) = (AtomicU64::new(0), AtomicU64::new(0));
        let compiler = Arc::new(Compiler { engine, linkers, aot, compiled, from_disk });
        (Self { compiler, entries: Mutex::default() }, warning)
    }

    /// Returns the component of that digest, compiling it if need be. A caller that goes away does not stop the
    /// work for the others; a failure is not kept.
    pub(crate) async fn load(&self, digest: &Digest, source: impl FnOnce() -> Source) -> Result<Arc<Loaded>, Failure> {
        let loading = self.loading(digest, source);
        let loaded = loading.clone().await;
        if loaded.is_err() {
            let mut entries = self.entries.lock().expect("no panic while locked");
            if entries.rows.get(digest).is_some_and(|row| row.loading.ptr_eq(&loading)) {
                entries.rows.remove(digest);
            }
        }
        loaded
    }

    /// Whether the component can be called without compiling or reading anything.
    pub(crate) fn is_ready(&self, digest: &Digest) -> bool {
        let entries = self.entries.lock().expect("no panic while locked");
        entries.rows.get(digest).is_some_and(|row| row.loading.peek().is_some())
    }

    /// Takes the records on disk that were refused since the last time.
    pub(crate) fn take_refused(&self) -> Vec<Problem> {
        self.compiler.aot.as_ref().map(Aot::take_refused).unwrap_or_default()
    }

    /// What the cache did so far.
    pub(crate) fn counts(&self) -> CacheCounts {
        CacheCounts {
            compiled: self.compiler.compiled.load(Ordering::Relaxed),
            from_disk: self.compiler.from_disk.load(Ordering::Relaxed),
        }
    }

    fn loading(&self, digest: &Digest, source: impl FnOnce() -> Source) -> Loading {
        let mut entries = self.entries.lock().expect("no panic while locked");
        entries.clock += 1;
        let now = entries.clock;
        if let Some(row) = entries.rows.get_mut(digest) {
            row.used = now;
            return row.loading.clone();
        }
        if entries.rows.len() >= COMPONENTS_MAX {
            let oldest = entries.rows.iter().min_by_key(|(_, row)| row.used).map(|(digest, _)| *digest);
            oldest.map(|oldest| entries.rows.remove(&oldest));
        }
        let (compiler, digest, source) = (Arc::clone(&self.compiler), *digest, source());
        // A task of its own: the work goes on when the first caller is cancelled.
        let task = tokio::spawn(async move { compiler.load(digest, source).await });
        let loading = task.map(|end| end.unwrap_or_else(|error| Err(crashed(&error)))).boxed().shared();
        entries.rows.insert(digest, Row { loading: loading.clone(), used: now });
        loading
    }
}

impl Compiler {
    async fn load(self: Arc<Self>, digest: Digest, source: Source) -> Result<Arc<Loaded>, Failure> {
        let bytes = match source {
            Source::Artifacts(artifacts) => artifacts.bytes(&digest).await?,
            Source::Bytes(bytes) => bytes,
        };
        let work = tokio::task::spawn_blocking(move || self.prepare(&digest, &bytes));
        let loaded = work.await.unwrap_or_else(|error| Err(crashed(&error).problem));
        loaded.map(Arc::new).map_err(|problem| Failure::never(problem.subject(format!("component {digest}"))))
    }

    fn prepare(&self, digest: &Digest, bytes: &[u8]) -> Result<Loaded, Problem> {
        let kept = self.aot.as_ref().and_then(|aot| aot.load(&self.engine, digest));
        let component = match kept {
            Some(component) => {
                self.from_disk.fetch_add(1, Ordering::Relaxed);
                component
            }
            None => self.compile(digest, bytes)?,
        };
        let Some(weight) = engine::weight(&component) else {
            return Err(Problem::new(
                Code::T036,
                "the component has more memories or tables than an instance may have",
            )
            .help("build it as one module with one memory"));
        };
        let (world, pre) = self.linkers.resolve(&self.engine, &component)?;
        let exports = match world {
            World::Kit => KitPre::new(pre).map(Exports::Kit),
            World::Agent => AgentPre::new(pre).map(Exports::Agent),
            World::Bundle => BundlePre::new(pre).map(Exports::Bundle),
        };
        let exports = exports.map_err(|error| {
            let message = format!("the component's exports are not those of world `{}`: {error:#}", world.name());
            Problem::new(Code::T036, message).help("build it against the `wit/` of this version")
        })?;
        Ok(Loaded { exports, weight })
    }

    fn compile(&self, digest: &Digest, bytes: &[u8]) -> Result<Component, Problem> {
        // Refuses machine code, text, core modules and foreign imports before the compiler sees them.
        inspect(bytes)?;
        self.compiled.fetch_add(1, Ordering::Relaxed);
        let component = Component::from_binary(&self.engine, bytes).map_err(|error| {
            Problem::new(Code::T036, format!("the component cannot be compiled: {error:#}"))
                .help("build it for the target `wasm32-wasip2`")
        })?;
        if let Some(aot) = &self.aot
            && let Ok(body) = component.serialize()
        {
            // A full disk costs the next process a compilation; it is no reason to fail this one.
            let _ = aot.store(digest, &body);
        }
        Ok(component)
    }
}

fn crashed(error: &tokio::task::JoinError) -> Failure {
    Failure::never(Problem::new(Code::X035, format!("preparing the component crashed: {error}")))
}
