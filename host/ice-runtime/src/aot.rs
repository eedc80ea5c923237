//! Compiled code on disk. Loading it is the one unsafe act of the house, so every record is authenticated:
//! `magic || HMAC-SHA256(k, domain || component digest || versions || configuration || length || body) || body`.
//!
//! `k` is 32 random bytes in a file of this user alone. Whoever can write the folder but not read the key can delete
//! records, not forge them. The bytes that are checked are the bytes that are loaded: one buffer, never a mapped file.

use std::fs::{self, OpenOptions};
use std::hash::{Hash as _, Hasher};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use hmac::{Hmac, KeyInit as _, Mac as _};
use ice_core::id::Digest;
use ice_core::problem::{Code, Problem};
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

const MAGIC: &[u8; 8] = b"iceaot0\n";
const DOMAIN: &[u8] = b"iceos-aot-v0\0";
const TAG_BYTES: usize = 32;
const KEY_BYTES: usize = 32;

/// The wasmtime this crate is pinned to; a record of another one is not even tried.
const WASMTIME: &str = "48.0.8";
/// The compiler.
const STRATEGY: &str = "cranelift";

/// Largest record that is read. A 12 MB JavaScript engine compiles to 40 MB.
const RECORD_BYTES_MAX: u64 = 512 << 20;

/// Records that are kept; the oldest go first.
const RECORDS_MAX: usize = 256;

/// Bytes of records that are kept: an interpreter of Python or JavaScript takes 35 MB, and each build of it anew.
const RECORDS_BYTES_MAX: u64 = 2 << 30;

/// The folder of records, and the key to it.
pub(crate) struct Aot {
    folder: PathBuf,
    key: [u8; KEY_BYTES],
    configuration: [u8; 32],
    /// Records that were thrown away, each with why (T037).
    refused: Mutex<Vec<Problem>>,
}

impl Aot {
    /// Opens or creates the folder and the key. Fails (C030) when either is open to others or cannot be used;
    /// components are then compiled anew in every process.
    pub(crate) fn open(folder: &Path, engine: &Engine) -> Result<Self, Problem> {
        let refuse =
            |what: String, help: String| Problem::new(Code::C030, what).file(folder.display().to_string()).help(help);
        let cannot = |what: &str, error: std::io::Error| {
            refuse(
                format!("the folder of compiled code cannot be {what}: {error}"),
                format!("make `{}` a folder of your own with mode 700", folder.display()),
            )
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| cannot("created", error))?;
        let meta = fs::symlink_metadata(folder).map_err(|error| cannot("read", error))?;
        let ours = meta.is_dir() && meta.uid() == rustix::process::geteuid().as_raw();
        if !ours || meta.mode() & 0o022 != 0 {
            return Err(refuse(
                "the folder of compiled code is writable by others".to_owned(),
                format!("chmod 700 '{}'", folder.display()),
            ));
        }
        let key = read_key(&folder.join("key")).map_err(|error| cannot("used", error))?;
        Ok(Self { folder: folder.to_owned(), key, configuration: configuration(engine), refused: Mutex::default() })
    }

    /// Loads the compiled form of `component`; `None` when there is no record. A record that is not authentic, or
    /// that wasmtime refuses, is deleted and counts as none.
    pub(crate) fn load(&self, engine: &Engine, component: &Digest) -> Option<Component> {
        let path = self.path(component);
        let record = read_bounded(&path)?;
        let loaded = self.body(&record, component).and_then(|body| deserialize(engine, body));
        if loaded.is_none() {
            // Also when it cannot be deleted: the caller compiles anew and overwrites it.
            let _ = fs::remove_file(&path);
            let problem =
                Problem::new(Code::T037, "compiled code on disk is not as this host wrote it; nothing of it ran")
                    .file(path.display().to_string())
                    .help("it was thrown away and made again; find out who else can write to that folder");
            self.refused.lock().expect("no panic while listing").push(problem);
        }
        loaded
    }

    /// Takes the records that were refused since the last time.
    pub(crate) fn take_refused(&self) -> Vec<Problem> {
        std::mem::take(&mut *self.refused.lock().expect("no panic while listing"))
    }

    /// Keeps the compiled form. Failing to do so costs the next process a compilation, nothing else.
    pub(crate) fn store(&self, component: &Digest, body: &[u8]) -> std::io::Result<()> {
        static TEMPORARY: AtomicU64 = AtomicU64::new(0);
        let number = TEMPORARY.fetch_add(1, Ordering::Relaxed);
        let temporary = self.folder.join(format!(".new-{}-{number}", std::process::id()));
        let written = (|| {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            file.write_all(MAGIC)?;
            file.write_all(&self.mac(component, body).finalize().into_bytes())?;
            file.write_all(body)?;
            drop(file);
            fs::rename(&temporary, self.path(component))
        })();
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written?;
        self.sweep()
    }

    fn body<'a>(&self, record: &'a [u8], component: &Digest) -> Option<&'a [u8]> {
        let (tag, body) = record.strip_prefix(MAGIC)?.split_at_checked(TAG_BYTES)?;
        self.mac(component, body).verify_slice(tag).ok()?;
        Some(body)
    }

    fn mac(&self, component: &Digest, body: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        mac.update(DOMAIN);
        mac.update(component.as_bytes());
        let triple = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
        // Each with its length, so that no two different lists give the same bytes.
        for part in [WASMTIME, triple.as_str(), STRATEGY] {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part.as_bytes());
        }
        mac.update(&self.configuration);
        mac.update(&(body.len() as u64).to_le_bytes());
        mac.update(body);
        mac
    }

    fn path(&self, component: &Digest) -> PathBuf {
        let configuration = Digest::from_bytes(self.configuration).hex();
        self.folder.join(format!("{}-{}.aot", component.hex(), &configuration[..16]))
    }

    fn sweep(&self) -> std::io::Result<()> {
        let mut records = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.path().extension().is_some_and(|extension| extension == "aot") {
                let meta = entry.metadata()?;
                records.push((meta.modified()?, meta.len(), entry.path()));
            }
        }
        records.sort();
        let mut bytes = 0;
        for (newer, (_, length, path)) in records.iter().rev().enumerate() {
            bytes += length;
            if newer >= RECORDS_MAX || bytes > RECORDS_BYTES_MAX {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

#[expect(unsafe_code, reason = "the bytes were made by this engine on this host, and their MAC was just checked")]
fn deserialize(engine: &Engine, body: &[u8]) -> Option<Component> {
    // SAFETY: `body` is authenticated as the output of `Component::serialize` for this wasmtime version, target and
    // configuration, under a key that only this user can read; wasmtime copies it out of this buffer.
    unsafe { Component::deserialize(engine, body) }.ok()
}

/// SHA-256 of everything in the engine's configuration that compiled code depends on.
fn configuration(engine: &Engine) -> [u8; 32] {
    struct Sha(Sha256);
    impl Hasher for Sha {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut hasher = Sha(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.0.finalize().into()
}

fn read_bounded(path: &Path) -> Option<Vec<u8>> {
    let file = open_plain(path).ok()?;
    let length = file.metadata().ok()?.len();
    if length > RECORD_BYTES_MAX {
        return Some(Vec::new());
    }
    let mut record = Vec::with_capacity(usize::try_from(length).ok()? + 1);
    file.take(length + 1).read_to_end(&mut record).ok()?;
    Some(record)
}

/// Reads the key, making it on first use. Two processes that start at once agree on one: a link is made once.
fn read_key(path: &Path) -> std::io::Result<[u8; KEY_BYTES]> {
    if !path.exists() {
        let mut key = [0; KEY_BYTES];
        getrandom::fill(&mut key).map_err(std::io::Error::other)?;
        let temporary = path.with_extension(format!("new-{}", std::process::id()));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        let linked = file.write_all(&key).and_then(|()| file.sync_all()).and_then(|()| fs::hard_link(&temporary, path));
        fs::remove_file(&temporary)?;
        linked.or_else(|error| if path.exists() { Ok(()) } else { Err(error) })?;
    }
    let file = open_plain(path)?;
    let meta = file.metadata()?;
    if meta.uid() != rustix::process::geteuid().as_raw() || meta.mode() & 0o077 != 0 {
        return Err(std::io::Error::other(format!("`{}` is open to others; delete it", path.display())));
    }
    let mut bytes = Vec::with_capacity(KEY_BYTES + 1);
    file.take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    bytes.try_into().map_err(|_| std::io::Error::other(format!("`{}` is not a key; delete it", path.display())))
}

/// Opens a file that is not a symbolic link.
fn open_plain(path: &Path) -> std::io::Result<fs::File> {
    let flags = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).expect("open flags fit in an int");
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}
