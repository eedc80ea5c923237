//! The local store: signed plugins in an OCI layout. Nothing unverified enters, and nothing leaves unchecked.
//!
//! What may be called because of it is in [`catalog`](crate::catalog); fetching from elsewhere is not done here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use ice_core::id::Digest;
use ice_core::manifest::{Kind, Manifest, UnixSeconds, printable, qualified};
use ice_core::ports::{Artifacts, Failure};
use ice_core::problem::{Code, Problem};
use semver::{Version, VersionReq};

use crate::envelope::Envelope;
use crate::layout::{Layout, Writing};
use crate::oci::{self, CONFIG_BYTES_MAX, Descriptor, Index, MANIFEST_BYTES_MAX, Packed, REF_NAME, STATEMENT};
use crate::trust::Trust;
use crate::verify::{Purpose, Verified, VerifyOptions, Wanted, verify};

/// What to do when this name and version is there with other content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnExisting {
    /// Refuse (R003): a released version never changes.
    Refuse,
    /// Put the new one in its place: for plugins that are being developed on this machine.
    Replace,
}

/// How to add.
#[derive(Clone, Debug)]
pub struct AddOptions {
    /// What was asked for, when it was asked for by name.
    pub wanted: Option<Wanted>,
    /// What to do when the version is there.
    pub on_existing: OnExisting,
    /// Seconds since 1970, against `expires`.
    pub now: UnixSeconds,
}

/// What adding did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Added {
    /// It is new.
    New,
    /// The same statement was there.
    AlreadyThere,
    /// It took the place of another statement of the same version.
    Replaced,
}

/// One line of the store's index. Hints: the truth is in the verified manifest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreEntry {
    /// `scope/name`.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// S, as the index says.
    pub statement: Option<Digest>,
    /// The OCI manifest.
    pub oci: Descriptor,
}

impl StoreEntry {
    /// `None` when the line names no plugin.
    pub(crate) fn read(descriptor: &Descriptor) -> Option<Self> {
        let (name, version) = descriptor.annotations.get(REF_NAME)?.rsplit_once(':')?;
        ice_core::manifest::check_name(name).ok()?;
        let statement = descriptor.annotations.get(STATEMENT).and_then(|text| Digest::parse(text).ok());
        Some(Self { name: name.to_owned(), version: version.parse().ok()?, statement, oci: descriptor.clone() })
    }

    /// Exactly this name and version, to verify against.
    pub fn wanted(&self) -> Wanted {
        Wanted { name: self.name.clone(), version: Some(self.version.clone()), kind: None }
    }
}

/// A plugin whose signatures and blobs were checked, laid out to be put in.
pub(crate) struct Checked {
    /// What is believed.
    pub(crate) verified: Verified<Manifest>,
    /// Its OCI documents.
    pub(crate) packed: Packed,
}

/// A component begins with `\0asm` and layer 1, a module with layer 0 (component-model `Binary.md`).
const COMPONENT_PREAMBLE: [u8; 8] = [0x00, 0x61, 0x73, 0x6d, 0x0d, 0x00, 0x01, 0x00];

/// The local store.
pub struct Store {
    layout: Arc<Layout>,
    /// Components that verified manifests name, with their sizes: what [`Artifacts`] may hand out.
    believed: RwLock<BTreeMap<Digest, u64>>,
}

impl Store {
    /// Opens the store, making it when it is not there.
    pub fn open(root: &Path) -> Result<Self, Problem> {
        Layout::open(root).map(Self::of)
    }

    /// A store in this layout.
    pub fn of(layout: Layout) -> Self {
        Self { layout: Arc::new(layout), believed: RwLock::default() }
    }

    /// The layout below.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Verifies a plugin with all its blobs and puts it in. `blobs` are the bytes of its components and files, in any
    /// order. When it fails, the store has not changed: T-codes, R003, R004.
    pub fn add(
        &self,
        envelope: &Envelope,
        blobs: &[Vec<u8>],
        trust: &Trust,
        options: &AddOptions,
    ) -> Result<(Added, Verified<Manifest>), Problem> {
        let verify_options = VerifyOptions {
            wanted: options.wanted.as_ref(),
            purpose: Purpose::Install { now: options.now },
            ..VerifyOptions::RUN
        };
        let verified = verify(envelope, trust, &verify_options)?;
        let blobs = check_blobs(&verified, blobs)?;
        let packed = oci::pack(verified.value(), envelope, lone_component(&verified, &blobs))?;
        let plugins = [Checked { verified, packed }];
        let writing = self.layout.begin()?;
        self.place(&writing, &plugins[0], &blobs)?;
        let added = self.enlist(&plugins, options.on_existing)?;
        drop(writing);
        let [Checked { verified, .. }] = plugins;
        Ok((added[0], verified))
    }

    /// A verified plugin whose blobs are in place already, ready for [`Store::enlist`] once its OCI documents are
    /// placed. `envelope` is the one it was verified from. R001 when a blob is not there.
    pub(crate) fn ready(&self, verified: Verified<Manifest>, envelope: &Envelope) -> Result<Checked, Problem> {
        for (digest, size) in verified.blobs() {
            if std::fs::metadata(self.layout.blob_path(&digest)).map(|file| file.len()).ok() != Some(size) {
                return Err(missing(&digest, &verified.value().name));
            }
        }
        let component = match verified.value().artifacts().first() {
            Some((artifact, _)) if verified.value().kind == Kind::Plugin => self.blob(&verified, artifact)?,
            _ => Vec::new(),
        };
        let packed = oci::pack(verified.value(), envelope, &component)?;
        Ok(Checked { verified, packed })
    }

    /// Puts the blobs of a plugin in place, and its OCI documents. Nothing lists them before [`Store::enlist`].
    pub(crate) fn place(&self, writing: &Writing, plugin: &Checked, blobs: &[&[u8]]) -> Result<(), Problem> {
        let documents = [plugin.packed.config.as_slice(), plugin.packed.manifest.as_slice()];
        for bytes in blobs.iter().copied().chain(documents) {
            self.layout.put(writing, bytes)?;
        }
        Ok(())
    }

    /// Lists plugins whose blobs are in place, all of them in one step, or none (R003, R004).
    pub(crate) fn enlist(&self, plugins: &[Checked], on_existing: OnExisting) -> Result<Vec<Added>, Problem> {
        let added = self.layout.edit_index(|index| {
            plugins.iter().map(|plugin| enlist(index, plugin, on_existing)).collect::<Result<Vec<_>, _>>()
        })?;
        for plugin in plugins {
            self.believe(&plugin.verified);
        }
        Ok(added)
    }

    /// Every plugin version, in the order they were added. Entries that are not plugins are left out.
    pub fn list(&self) -> Result<Vec<StoreEntry>, Problem> {
        Ok(self.layout.index()?.manifests.iter().filter_map(StoreEntry::read).collect())
    }

    /// The newest version of `name` that fits; `iceos/` is put before a name without scope (R001, T018).
    pub fn find(&self, name: &str, req: Option<&VersionReq>) -> Result<StoreEntry, Problem> {
        let name = qualified(name);
        ice_core::manifest::check_name(&name)?;
        let entries = self.list()?;
        let named: Vec<&StoreEntry> = entries.iter().filter(|entry| entry.name == name).collect();
        let fitting = named.iter().filter(|entry| req.is_none_or(|req| req.matches(&entry.version)));
        if let Some(entry) = fitting.max_by(|a, b| a.version.cmp(&b.version)) {
            return Ok((*entry).clone());
        }
        let versions: Vec<String> = named.iter().map(|entry| entry.version.to_string()).collect();
        Err(match req {
            Some(req) if !versions.is_empty() => {
                Problem::new(Code::R001, format!("the store has no version {req} of `{name}`"))
                    .help(format!("it has {}", versions.join(", ")))
            }
            _ => {
                let problem = Problem::new(Code::R001, format!("the store has no plugin `{name}`"));
                match ice_core::manifest::nearest(&name, entries.iter().map(|entry| entry.name.as_str())) {
                    Some(meant) => problem.help(format!("did you mean `{meant}`?")),
                    None => problem.help("`ice list` shows what is there"),
                }
            }
        })
    }

    /// The envelope of an entry, not believed yet (R001, R002, T003, T011).
    pub fn envelope(&self, entry: &StoreEntry) -> Result<Envelope, Problem> {
        let bytes = self.present(&entry.oci.digest, &entry.name, MANIFEST_BYTES_MAX)?;
        let manifest = oci::read_manifest(&bytes)?;
        let config = self.present(&manifest.config.digest, &entry.name, CONFIG_BYTES_MAX)?;
        oci::read_config(&manifest.config.media_type, &config)
    }

    fn present(&self, digest: &Digest, name: &str, limit: u64) -> Result<Vec<u8>, Problem> {
        self.layout.read_any(digest, limit)?.ok_or_else(|| missing(digest, name))
    }

    /// The believed manifest of an entry, to run it. Does not touch the components' bytes.
    pub fn verified(&self, entry: &StoreEntry, trust: &Trust) -> Result<Verified<Manifest>, Problem> {
        let wanted = entry.wanted();
        let options = VerifyOptions { wanted: Some(&wanted), ..VerifyOptions::RUN };
        let verified = verify(&self.envelope(entry)?, trust, &options)?;
        self.believe(&verified);
        Ok(verified)
    }

    fn believe(&self, verified: &Verified<Manifest>) {
        let mut believed = self.believed.write().unwrap_or_else(PoisonError::into_inner);
        believed.extend(verified.value().artifacts());
    }

    /// Reads one blob of a believed manifest, checked on this very buffer (T001, T011).
    pub fn blob(&self, verified: &Verified<Manifest>, digest: &Digest) -> Result<Vec<u8>, Problem> {
        let name = &verified.value().name;
        let size = verified.blob_size(digest).ok_or_else(|| missing(digest, name))?;
        self.layout.read(digest, size)?.ok_or_else(|| missing(digest, name))
    }

    /// Checks everything about an entry: signatures, and every blob's bytes.
    pub fn check(&self, entry: &StoreEntry, trust: &Trust) -> Result<Verified<Manifest>, Problem> {
        let verified = self.verified(entry, trust)?;
        for (digest, _) in verified.blobs() {
            self.blob(&verified, &digest)?;
        }
        Ok(verified)
    }

    /// Takes versions of `name` out of the index: this one, or all. Returns how many. Blobs go with [`Store::gc`].
    pub fn remove(&self, name: &str, version: Option<&Version>) -> Result<usize, Problem> {
        let name = qualified(name);
        self.layout.edit_index(|index| {
            let before = index.manifests.len();
            index.manifests.retain(|descriptor| {
                let entry = StoreEntry::read(descriptor);
                !entry.is_some_and(|e| e.name == name && version.is_none_or(|version| *version == e.version))
            });
            match before - index.manifests.len() {
                0 => Err(Problem::new(Code::R001, format!("the store has no plugin `{}`", printable(&name)))
                    .help("`ice list` shows what is there")),
                removed => Ok(removed),
            }
        })
    }

    /// Removes blobs that no entry needs and leftovers of interrupted writes, when older than `grace`. Returns how
    /// many files went. Stops without removing anything when an entry cannot be read: its blobs are not known.
    pub fn gc(&self, grace: Duration, now: SystemTime) -> Result<usize, Problem> {
        let keep = |index: &Index| {
            let mut keep = BTreeSet::new();
            for descriptor in &index.manifests {
                keep.insert(descriptor.digest);
                let bytes = self.present(&descriptor.digest, "an entry", MANIFEST_BYTES_MAX)?;
                let manifest = oci::read_manifest(&bytes)?;
                keep.insert(manifest.config.digest);
                keep.extend(manifest.layers.iter().map(|layer| layer.digest));
            }
            Ok(keep)
        };
        self.layout.sweep(keep, grace, now)
    }
}

fn enlist(index: &mut Index, plugin: &Checked, on_existing: OnExisting) -> Result<Added, Problem> {
    let reference = oci::reference(plugin.verified.value());
    let named = |entry: &&mut Descriptor| entry.annotations.get(REF_NAME) == Some(&reference);
    let Some(there) = index.manifests.iter_mut().find(named) else {
        index.manifests.push(plugin.packed.entry.clone());
        return Ok(Added::New);
    };
    let same = there.annotations.get(STATEMENT) == Some(&plugin.verified.statement().to_string());
    if !same && on_existing == OnExisting::Refuse {
        return Err(exists(&reference));
    }
    *there = plugin.packed.entry.clone();
    Ok(if same { Added::AlreadyThere } else { Added::Replaced })
}

/// What the config of a single plugin tells about: its one component. Kits and bundles tell nothing there.
pub(crate) fn lone_component<'a>(verified: &Verified<Manifest>, blobs: &[&'a [u8]]) -> &'a [u8] {
    if verified.value().kind == Kind::Plugin { blobs.first().copied().unwrap_or_default() } else { &[] }
}

/// R003 for a version that is in the store with other content.
pub(crate) fn exists(reference: &str) -> Problem {
    Problem::new(Code::R003, format!("`{reference}` is in the store with other content"))
        .help("give the new content a new version, or remove the old one first")
}

pub(crate) fn missing(digest: &Digest, name: &str) -> Problem {
    Problem::new(Code::R001, format!("the store lost blob {} of `{name}`", digest.short()))
        .help("install the plugin again")
}

/// Every blob the manifest names must be there and be what was signed; components must be components.
pub(crate) fn check_blobs<'a>(verified: &Verified<Manifest>, blobs: &'a [Vec<u8>]) -> Result<Vec<&'a [u8]>, Problem> {
    let named = verified.blobs();
    let given: BTreeMap<Digest, &[u8]> = blobs.iter().map(|bytes| (Digest::of(bytes), bytes.as_slice())).collect();
    let artifacts: BTreeSet<Digest> = verified.value().artifacts().into_iter().map(|(digest, _)| digest).collect();
    let mut checked = Vec::new();
    for (digest, size) in named {
        let Some(bytes) = given.get(&digest) else {
            let got: Vec<String> = given.keys().map(Digest::short).collect();
            let message = format!("an artifact of `{}` is not what was signed", verified.value().name);
            let got = if got.is_empty() { "nothing".to_owned() } else { got.join(", ") };
            return Err(Problem::new(
                Code::T001,
                format!("{message}: expected {} ({size} bytes), got {got}", digest.short()),
            )
            .help("get it again from its publisher; build and sign it again if it is yours"));
        };
        verified.check_blob(&digest, bytes)?;
        if artifacts.contains(&digest) {
            check_component(bytes).map_err(|problem| problem.subject(format!("plugin `{}`", verified.value().name)))?;
        }
        checked.push(*bytes);
    }
    Ok(checked)
}

/// Refuses what is not a binary component: T013 for native code, T014 for text, modules and anything else.
pub fn check_component(bytes: &[u8]) -> Result<(), Problem> {
    if bytes.starts_with(&COMPONENT_PREAMBLE) {
        return Ok(());
    }
    if bytes.starts_with(b"\x7fELF") {
        let message = "this artifact is native code (ELF), such as wasmtime's compiled form";
        return Err(Problem::new(Code::T013, message).help("sign the `.wasm` component itself; hosts compile it"));
    }
    let message = if bytes.starts_with(b"\0asm") {
        "this artifact is a core WebAssembly module, not a component"
    } else {
        "this artifact is not a binary WebAssembly component"
    };
    Err(Problem::new(Code::T014, message).help("build it for `wasm32-wasip2`"))
}

#[async_trait]
impl Artifacts for Store {
    async fn bytes(&self, digest: &Digest) -> Result<Vec<u8>, Failure> {
        let believed = self.believed.read().unwrap_or_else(PoisonError::into_inner).get(digest).copied();
        let Some(size) = believed else {
            let message = format!("no verified plugin names the component {}", digest.short());
            return Err(Failure::never(Problem::new(Code::T003, message).help("`ice verify` says why")));
        };
        let (layout, digest) = (Arc::clone(&self.layout), *digest);
        let read = tokio::task::spawn_blocking(move || layout.read(&digest, size)).await;
        let read =
            read.map_err(|error| Failure::maybe(Problem::new(Code::R004, format!("reading stopped: {error}"))))?;
        read.and_then(|bytes| bytes.ok_or_else(|| missing(&digest, "a plugin"))).map_err(Failure::never)
    }
}
