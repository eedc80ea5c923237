//! A registry in memory that writes down what it was asked and can lie, and the bench that installs from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use ice_core::bundle::Needs;
use ice_core::grant::Grant;
use ice_core::id::Digest;
use ice_core::lock::Lock;
use ice_core::manifest::{Manifest, canonical};
use ice_core::problem::{Code, Problem};
use ice_registry::install::{Applied, Mode, Prepared, Request, apply, prepare};
use ice_registry::oci::{self, Descriptor, MANIFEST_MEDIA_TYPE};
use ice_registry::publish::Release;
use ice_registry::remote::{Index, Pulled, Remote, Repository, Transport};
use ice_registry::trust::State;
use ice_registry::{Available, Envelope, PrivateKey, Progress, Store, Trust, Verified};
use serde_json::{Value, json};

use crate::world::{COMPONENT, NOW, World, list_after, publisher};

pub(crate) const PREFIX: &str = "registry.example/ice";

#[derive(Default)]
pub(crate) struct Content {
    pub(crate) blobs: BTreeMap<(String, Digest), Vec<u8>>,
    pub(crate) manifests: BTreeMap<(String, String), Vec<u8>>,
    /// What was asked, in order: `manifest ice/acme/csv 1.0.0`.
    pub(crate) calls: Vec<String>,
    /// Given instead of the blob of this digest.
    pub(crate) swapped: BTreeMap<Digest, Vec<u8>>,
    /// Manifests that somebody else puts there right after the next one is put: repository, reference, bytes.
    pub(crate) meanwhile: Vec<(String, String, Vec<u8>)>,
    /// Manifests that somebody else puts there when the blob of this digest was read: repository, reference, bytes.
    pub(crate) once_read: BTreeMap<Digest, (String, String, Vec<u8>)>,
    /// Somebody writes this under this tag right after it is written for the first time.
    pub(crate) overwrite_list: Option<(String, Vec<u8>)>,
    /// Every request fails with this.
    pub(crate) down: Option<Code>,
    /// Referrers fail with this.
    pub(crate) referrers_down: Option<Code>,
}

/// A registry in memory.
#[derive(Default)]
pub(crate) struct Fake {
    content: Mutex<Content>,
    /// Whether it has the referrers API, and mounts.
    pub(crate) modern: bool,
    running: AtomicUsize,
    /// Most blob requests that ran at the same time.
    pub(crate) crowd: AtomicUsize,
}

impl Fake {
    pub(crate) fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap()
    }

    /// What was asked since the last time.
    pub(crate) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.content().calls)
    }

    fn ask(&self, call: String) -> Result<MutexGuard<'_, Content>, Problem> {
        let mut content = self.content();
        content.calls.push(call);
        match content.down {
            Some(code) => Err(Problem::new(code, "the registry is down").help("try again later")),
            None => Ok(content),
        }
    }

    /// Serves a release under its own name and version.
    pub(crate) fn serve(&self, release: &Release) -> Digest {
        let manifest = manifest(release);
        self.serve_at(&format!("ice/{}", manifest.name), &manifest.version.to_string(), release)
    }

    /// Serves a release wherever somebody puts it.
    pub(crate) fn serve_at(&self, path: &str, tag: &str, release: &Release) -> Digest {
        let packed = oci::pack(&manifest(release), &release.envelope, &release.blobs[0]).unwrap();
        for blob in release.blobs.iter().chain([&packed.config]) {
            self.content().blobs.insert((path.to_owned(), Digest::of(blob)), blob.clone());
        }
        self.serve_manifest(path, tag, &packed.manifest)
    }

    pub(crate) fn serve_manifest(&self, path: &str, tag: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        for reference in [tag.to_owned(), digest.to_string()] {
            self.content().manifests.insert((path.to_owned(), reference), bytes.to_vec());
        }
        digest
    }

    /// Changes the manifest that is served under a tag.
    pub(crate) fn edit(&self, path: &str, tag: &str, edit: impl FnOnce(&mut Value)) {
        let bytes = self.content().manifests[&(path.to_owned(), tag.to_owned())].clone();
        let mut document: Value = serde_json::from_slice(&bytes).unwrap();
        edit(&mut document);
        self.serve_manifest(path, tag, document.to_string().as_bytes());
    }

    pub(crate) fn tags_of(&self, path: &str) -> BTreeSet<String> {
        let content = self.content();
        let named = content.manifests.keys().filter(|(repository, tag)| repository == path && !tag.contains(':'));
        named.map(|(_, tag)| tag.clone()).collect()
    }
}

#[async_trait]
impl Transport for Fake {
    async fn manifest(&self, repository: &Repository, reference: &str) -> Result<Option<Pulled>, Problem> {
        let content = self.ask(format!("manifest {} {reference}", repository.path))?;
        let found = content.manifests.get(&(repository.path.clone(), reference.to_owned()));
        // Like the real client with docker-registry: a list of referrers is no manifest.
        let found = found.filter(|_| !reference.starts_with("sha256-"));
        Ok(found.map(|bytes| Pulled { bytes: bytes.clone(), digest: Digest::of(bytes) }))
    }

    async fn index(&self, repository: &Repository, reference: &str) -> Result<Option<Vec<u8>>, Problem> {
        let content = self.ask(format!("index {} {reference}", repository.path))?;
        Ok(content.manifests.get(&(repository.path.clone(), reference.to_owned())).cloned())
    }

    async fn head(&self, repository: &Repository, reference: &str) -> Result<bool, Problem> {
        let content = self.ask(format!("head {} {reference}", repository.path))?;
        Ok(content.manifests.contains_key(&(repository.path.clone(), reference.to_owned())))
    }

    async fn blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
        progress: &dyn Progress,
    ) -> Result<Vec<u8>, Problem> {
        self.crowd.fetch_max(self.running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.running.fetch_sub(1, Ordering::SeqCst);
        progress.bytes(&digest.to_string(), size, size);
        let mut content = self.ask(format!("blob {} {}", repository.path, &digest.hex()[..12]))?;
        if let Some((path, tag, bytes)) = content.once_read.remove(digest) {
            content.manifests.insert((path, tag), bytes);
        }
        let found = content.blobs.get(&(repository.path.clone(), *digest));
        let found = content.swapped.get(digest).or(found).cloned();
        found.ok_or_else(|| Problem::new(Code::R001, format!("no blob {digest} in {}", repository.path)))
    }

    async fn tags(&self, repository: &Repository) -> Result<Vec<String>, Problem> {
        drop(self.ask(format!("tags {}", repository.path))?);
        Ok(self.tags_of(&repository.path).into_iter().collect())
    }

    async fn put_blob(&self, repository: &Repository, bytes: Bytes, _: &dyn Progress) -> Result<Digest, Problem> {
        let digest = Digest::of(&bytes);
        let mut content = self.ask(format!("put-blob {} {}", repository.path, &digest.hex()[..12]))?;
        content.blobs.insert((repository.path.clone(), digest), bytes.to_vec());
        Ok(digest)
    }

    async fn mount(&self, from: &Repository, to: &Repository, digest: &Digest) -> Result<bool, Problem> {
        let mut content = self.ask(format!("mount {} {}", to.path, &digest.hex()[..12]))?;
        let found = content.blobs.get(&(from.path.clone(), *digest)).filter(|_| self.modern).cloned();
        Ok(found.map(|bytes| content.blobs.insert((to.path.clone(), *digest), bytes)).is_some())
    }

    async fn put_manifest(
        &self,
        repository: &Repository,
        reference: &str,
        _: &str,
        bytes: &[u8],
    ) -> Result<Digest, Problem> {
        let mut content = self.ask(format!("put-manifest {} {reference}", repository.path))?;
        let mut meanwhile = std::mem::take(&mut content.meanwhile);
        if let Some((tag, bytes)) = content.overwrite_list.take_if(|(tag, _)| tag == reference) {
            meanwhile.push((repository.path.clone(), tag, bytes));
        }
        drop(content);
        self.serve_manifest(&repository.path, reference, bytes);
        for (path, tag, bytes) in meanwhile {
            self.serve_manifest(&path, &tag, &bytes);
        }
        Ok(Digest::of(bytes))
    }

    async fn referrers(
        &self,
        repository: &Repository,
        digest: &Digest,
        _: Option<&str>,
    ) -> Result<Vec<Descriptor>, Problem> {
        let content = self.ask(format!("referrers {} {}", repository.path, &digest.hex()[..12]))?;
        if let Some(code) = content.referrers_down {
            return Err(Problem::new(code, "too many requests").help("try again later"));
        }
        if !self.modern {
            let list = content.manifests.get(&(repository.path.clone(), format!("sha256-{}", digest.hex())));
            let list: Value = list.map_or(json!({"manifests": []}), |bytes| serde_json::from_slice(bytes).unwrap());
            // Like the real client: entries that are no descriptors of the form we read are left out.
            let entries = list["manifests"].as_array().unwrap().iter();
            return Ok(entries.filter_map(|entry| serde_json::from_value(entry.clone()).ok()).collect());
        }
        let about = |bytes: &&Vec<u8>| {
            let document: Value = serde_json::from_slice(bytes).unwrap();
            document["subject"]["digest"].as_str() == Some(&digest.to_string())
        };
        let here = content.manifests.iter().filter(|((path, tag), _)| *path == repository.path && tag.contains(':'));
        let descriptor = |bytes: &Vec<u8>| Descriptor {
            media_type: MANIFEST_MEDIA_TYPE.to_owned(),
            artifact_type: Some("application/vnd.wrong".to_owned()),
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
            annotations: BTreeMap::new(),
        };
        Ok(here.map(|(_, bytes)| bytes).filter(about).map(descriptor).collect())
    }
}

/// A component that nobody else has: the preamble and a custom section of this name.
pub(crate) fn component(name: &str) -> Vec<u8> {
    let length = u8::try_from(name.len()).unwrap();
    [&COMPONENT[..], &[0x00, length + 1, length], name.as_bytes()].concat()
}

/// A component that imports the empty instance `import` and exports it as `again`; inside it is another component with
/// an import of its own, which is nobody's business.
pub(crate) fn importing(import: &str) -> Vec<u8> {
    let name = |text: &str| [&[0x00, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let section = |id: u8, content: Vec<u8>| [&[id, u8::try_from(content.len()).unwrap()], &content[..]].concat();
    // One type: an instance without declarations.
    let types = section(0x07, vec![0x01, 0x42, 0x00]);
    let imported = |text: &str| section(0x0a, [vec![0x01], name(text), vec![0x05, 0x00]].concat());
    let inner = [&COMPONENT[..], &types, &imported("a:b/hidden")].concat();
    let export = section(0x0b, [vec![0x01], name("again"), vec![0x05, 0x00, 0x00]].concat());
    let parts = [section(0x04, inner), types, imported(import), export];
    [&COMPONENT[..], &parts.concat()].concat()
}

/// A manifest of a plugin with one tool, named as the plugin, whose component is [`component`] of name and version.
pub(crate) fn tool(name: &str, version: &str) -> Value {
    let short = ice_core::manifest::short(name).replace('-', "_");
    let bytes = component(&format!("{name} {version}"));
    json!({
        "schema_version": "plugins.v0", "kind": "plugin", "name": name, "version": version, "sequence": 1,
        "created": "2026-11-20T00:00:00Z",
        "components": [{
            "node_type": "tool", "name": short, "import": format!("ice:plugin/tools@0.1.0#{short}"),
            "version": version, "artifact": Digest::of(&bytes), "size": bytes.len(), "description": "Reads.",
        }],
    })
}

/// [`tool`], changed and signed by `key`.
pub(crate) fn signed(name: &str, version: &str, key: &PrivateKey, change: impl FnOnce(&mut Value)) -> Release {
    let mut document = tool(name, version);
    change(&mut document);
    let envelope = Envelope::sign_bytes(&canonical(&document), key, "test").unwrap();
    Release { envelope, blobs: vec![component(&format!("{name} {version}"))] }
}

/// [`tool`] with this component in the place of its own, signed by V's publisher.
pub(crate) fn release_of(name: &str, version: &str, component: &[u8]) -> Release {
    let release = signed(name, version, &publisher(), |document| {
        document["components"][0]["artifact"] = json!(Digest::of(component));
        document["components"][0]["size"] = json!(component.len());
    });
    Release { blobs: vec![component.to_vec()], ..release }
}

/// [`tool`], signed by V's publisher.
pub(crate) fn release(name: &str, version: &str) -> Release {
    signed(name, version, &publisher(), |_| {})
}

pub(crate) fn sequenced(name: &str, version: &str, sequence: u64) -> Release {
    signed(name, version, &publisher(), |document| document["sequence"] = json!(sequence))
}

/// [`tool`] that needs others: name and requirement.
pub(crate) fn needing(name: &str, version: &str, needs: &[(&str, &str)]) -> Release {
    let needs: Vec<Value> = needs.iter().map(|(name, req)| json!({"name": name, "req": req})).collect();
    signed(name, version, &publisher(), |document| document["dependencies"] = json!(needs))
}

pub(crate) fn manifest(release: &Release) -> Manifest {
    Manifest::parse(&release.envelope.manifest_bytes().unwrap()).unwrap()
}

/// What a signed index says, or why it says nothing.
#[derive(Default)]
pub(crate) struct Listed(pub(crate) BTreeMap<String, Vec<Available>>, pub(crate) Option<Problem>);

impl Index for Listed {
    fn available(&self, name: &str) -> Result<Option<Vec<Available>>, Problem> {
        self.1.clone().map_or_else(|| Ok(self.0.get(name).cloned()), Err)
    }

    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }
}

/// A project: a world whose policy names a registry, that registry, and a lock.
pub(crate) struct Bench {
    pub(crate) world: World,
    pub(crate) fake: Fake,
    pub(crate) index: Option<Listed>,
    pub(crate) lock: Lock,
    pub(crate) grants: BTreeMap<String, Grant>,
    pub(crate) unattended: bool,
    pub(crate) no_dynamic: bool,
    pub(crate) constraints: Vec<Needs>,
}

impl Listed {
    pub(crate) fn of(name: &str, versions: Vec<Available>) -> Option<Self> {
        Some(Self(BTreeMap::from([(name.to_owned(), versions)]), None))
    }
}

impl Bench {
    pub(crate) fn new() -> Self {
        let mut world = World::new();
        policy(&mut world, |text| text.replace("threshold = 1", &format!("threshold = 1\nregistry = \"{PREFIX}\"")));
        Self {
            world,
            fake: Fake::default(),
            index: None,
            lock: Lock::default(),
            grants: BTreeMap::new(),
            unattended: false,
            no_dynamic: false,
            constraints: Vec::new(),
        }
    }

    pub(crate) fn request(&self, mode: Mode, wants: &[&str]) -> Request<'_> {
        Request {
            wants: wants.iter().map(|text| Needs::parse(text).unwrap()).collect(),
            constraints: self.constraints.clone(),
            mode,
            now: NOW,
            host: "0.1.0".parse().unwrap(),
            no_dynamic: self.no_dynamic,
            unattended: self.unattended,
            grants: &self.grants,
            known_names: self.index.as_ref().map(Index::names).unwrap_or_default(),
        }
    }

    pub(crate) fn remote(&self) -> Remote<'_> {
        let remote = Remote::new(&self.fake, &self.world.trust);
        match &self.index {
            Some(index) => remote.with_index(PREFIX, index),
            None => remote,
        }
    }

    pub(crate) fn state(&self) -> State {
        State::of(&self.world.trust_folder())
    }

    pub(crate) fn prepare(&self, mode: Mode, wants: &[&str]) -> Result<Prepared, Vec<Problem>> {
        let (world, state, request) = (&self.world, self.state(), self.request(mode, wants));
        run(prepare(&request, &self.lock, &world.store, &world.trust, &state, &self.remote()))
    }

    pub(crate) fn apply(&self, prepared: &Prepared) -> Result<Applied, Vec<Problem>> {
        self.apply_in(prepared, &self.world.store)
    }

    pub(crate) fn apply_in(&self, prepared: &Prepared, store: &Store) -> Result<Applied, Vec<Problem>> {
        run(apply(prepared, store, &self.state(), &self.remote(), &anything, &()))
    }

    /// Prepares, applies and writes the lock, as a command does.
    pub(crate) fn install(&mut self, mode: Mode, wants: &[&str]) -> Result<(Prepared, Applied), Vec<Problem>> {
        let prepared = self.prepare(mode, wants)?;
        let applied = self.apply(&prepared)?;
        self.lock = prepared.lock.clone();
        Ok((prepared, applied))
    }

    /// Adds plugins to the project.
    pub(crate) fn add(&mut self, wants: &[&str]) {
        self.install(Mode::Add, wants).unwrap();
    }

    /// The first problem of an installation that must not go through, and changes no file of the store but for damaged
    /// ones that are moved away.
    pub(crate) fn refused(&mut self, mode: Mode, wants: &[&str]) -> Problem {
        let before = (self.lock.clone(), self.world.files());
        let problem = self.install(mode, wants).expect_err("the attack went through").swap_remove(0);
        if problem.code != Code::T011 {
            assert_eq!((self.lock.clone(), self.world.files()), before, "a refusal changed the store");
        }
        problem
    }

    /// Takes plugins back on this machine.
    pub(crate) fn revoke(&mut self, releases: &[&Release]) {
        self.world.believe_revoker();
        let statements: Vec<Digest> = releases.iter().map(|release| release.envelope.statement().unwrap()).collect();
        let (_, list) = list_after(self.world.trust.revoked(), |list| {
            statements.iter().for_each(|statement| list.revoke_statement(*statement, "it was bad", None));
        });
        self.world.revoke(&list).unwrap();
    }

    /// Another machine with the same project: an empty store, nothing seen, the same trust and lock.
    pub(crate) fn elsewhere(self) -> Self {
        let fresh = Self::new();
        Self { world: fresh.world, ..self }
    }

    /// `name version` of the lock.
    pub(crate) fn locked(&self) -> Vec<String> {
        self.lock.packages().iter().map(|package| format!("{} {}", package.name, package.version)).collect()
    }
}

/// Edits the policy of a world as a text.
pub(crate) fn policy(world: &mut World, edit: impl FnOnce(String) -> String) {
    let path = world.trust_folder().join("policy.toml");
    let text = edit(std::fs::read_to_string(&path).unwrap());
    std::fs::write(&path, text).unwrap();
    world.trust = Trust::open(&world.trust_folder()).unwrap();
}

pub(crate) fn anything(_: &Verified<Manifest>, _: &Digest, _: &[u8]) -> Result<(), Problem> {
    Ok(())
}

pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
