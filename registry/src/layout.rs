//! An OCI image layout on disk: blobs by digest and one index. A crash at any moment leaves it whole.
//!
//! Writes go to `ingest/`, are hashed while written, made durable and renamed into place; the index is replaced in one
//! step under a lock. Knows bytes and digests; what they mean and whether they are trusted is for [`store`](crate::store).

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ice_core::id::Digest;
use ice_core::problem::{Code, Problem};
use sha2::Digest as _;

use crate::files;
use crate::oci::{Index, to_json};

/// The content of `oci-layout`.
pub(crate) const LAYOUT: &str = "{\"imageLayoutVersion\":\"1.0.0\"}";

/// An index of ten thousand entries stays below.
pub(crate) const INDEX_BYTES_MAX: u64 = 16 << 20;

/// A moment of a write; tests stop there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// A blob is in `ingest/`, not yet durable.
    Ingested,
    /// It is durable, not yet in place.
    Durable,
    /// It is in place.
    Placed,
    /// Every blob is in place, the index is not yet replaced.
    BeforeIndex,
    /// The index is replaced.
    AfterIndex,
}

type Hook = Box<dyn Fn(Step) -> io::Result<()> + Send + Sync>;

/// One layout.
pub struct Layout {
    root: PathBuf,
    hook: Option<Hook>,
}

/// The right to write blobs: while somebody holds one, nothing is swept away.
pub struct Writing {
    _lock: File,
}

impl Layout {
    /// Opens the layout at `root`, making what is missing. R002 when it is another version, R004 when the disk says no.
    pub fn open(root: &Path) -> Result<Self, Problem> {
        let layout = Self { root: root.to_owned(), hook: None };
        if layout.is_whole()? {
            return Ok(layout);
        }
        for folder in ["blobs/sha256", "ingest"] {
            files::make_folder(&root.join(folder))?;
        }
        let lock = layout.index_lock()?;
        if !layout.path("index.json").exists() {
            files::replace(&layout.path("index.json"), &to_json(&Index::default()))?;
        }
        files::replace(&layout.path("oci-layout"), LAYOUT.as_bytes())?;
        drop(lock);
        Ok(layout)
    }

    /// A layout whose writes call `hook` at every [`Step`] and fail there when it does.
    pub fn with_hook(mut self, hook: impl Fn(Step) -> io::Result<()> + Send + Sync + 'static) -> Self {
        self.hook = Some(Box::new(hook));
        self
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where writes begin: on the same disk as the blobs, and swept when they do not end.
    pub fn ingest_folder(&self) -> PathBuf {
        self.path("ingest")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn is_whole(&self) -> Result<bool, Problem> {
        let path = self.path("oci-layout");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(files::io_problem(Code::R002, "read", &path, &error)),
        };
        let document: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        if document.get("imageLayoutVersion").and_then(serde_json::Value::as_str) == Some("1.0.0") {
            return Ok(self.path("index.json").is_file()
                && self.path("blobs/sha256").is_dir()
                && self.path("ingest").is_dir());
        }
        Err(Problem::new(Code::R002, format!("`{}` is not an OCI layout of version 1.0.0", self.root.display()))
            .help("move the folder away; a new store is made in its place"))
    }

    fn step(&self, step: Step) -> io::Result<()> {
        self.hook.as_ref().map_or(Ok(()), |hook| hook(step))
    }

    /// Where the blob of this digest is, whether it is there or not.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    /// Begins a write. Waits while somebody sweeps.
    pub fn begin(&self) -> Result<Writing, Problem> {
        let path = self.path(".sweep-lock");
        let lock = files::lock_file(&path)?;
        lock.lock_shared().map_err(|error| files::io_problem(Code::R004, "lock", &path, &error))?;
        Ok(Writing { _lock: lock })
    }

    /// Puts a blob in place. One that is there and whole stays as it is.
    pub fn put(&self, _writing: &Writing, bytes: &[u8]) -> Result<Digest, Problem> {
        let expected = Digest::of(bytes);
        let target = self.blob_path(&expected);
        if self.read(&expected, bytes.len() as u64).is_ok_and(|there| there.is_some()) {
            return Ok(expected);
        }
        let temporary = files::fresh_name(&self.path("ingest"), "")?;
        let written = self.ingest(&temporary, bytes).and_then(|digest| {
            if digest != expected {
                return Err(io::Error::other("the bytes changed while they were written"));
            }
            fs::rename(&temporary, &target)?;
            files::sync_folder(&self.path("blobs/sha256"))?;
            self.step(Step::Placed)
        });
        written.map_err(|error| {
            // Best effort: what matters is the error below.
            let _ = fs::remove_file(&temporary);
            files::io_problem(Code::R004, "write", &target, &error)
        })?;
        Ok(expected)
    }

    /// Writes a new file, hashing what is written.
    fn ingest(&self, path: &Path, bytes: &[u8]) -> io::Result<Digest> {
        let mut file = files::create_new(path)?;
        let mut hasher = sha2::Sha256::new();
        for chunk in bytes.chunks(1 << 20) {
            file.write_all(chunk)?;
            hasher.update(chunk);
        }
        self.step(Step::Ingested)?;
        file.sync_all()?;
        self.step(Step::Durable)?;
        Ok(Digest::from_bytes(hasher.finalize().into()))
    }

    /// Reads a blob of exactly `size` bytes and hashes this very buffer. `Ok(None)` when it is not there; T011 when it
    /// is something else, and then it is moved to `quarantine/` so that nothing reads it again.
    pub fn read(&self, digest: &Digest, size: u64) -> Result<Option<Vec<u8>>, Problem> {
        let Some(bytes) = self.read_capped(digest, size)? else {
            return Ok(None);
        };
        let got = Digest::of(&bytes);
        if got == *digest && bytes.len() as u64 == size {
            return Ok(Some(bytes));
        }
        let kept = self.quarantine(digest);
        let message = format!(
            "a file of the store was changed: expected {} ({size} bytes), got {} ({})",
            digest.short(),
            got.short(),
            if bytes.len() as u64 > size { "more".to_owned() } else { format!("{} bytes", bytes.len()) }
        );
        let help = match kept {
            Some(path) => format!("it is kept as `{}`; install the plugin again", path.display()),
            None => "install the plugin again".to_owned(),
        };
        Err(Problem::new(Code::T011, message).help(help).file(self.blob_path(digest).display().to_string()))
    }

    /// Like [`Layout::read`] for a blob whose size is not known: at most `limit` bytes (T029).
    pub fn read_any(&self, digest: &Digest, limit: u64) -> Result<Option<Vec<u8>>, Problem> {
        let size = match fs::symlink_metadata(self.blob_path(digest)) {
            Ok(metadata) => metadata.len(),
            Err(_) => return Ok(None),
        };
        if size > limit {
            let message = format!("blob {} has {size} bytes, the limit is {limit}", digest.short());
            return Err(Problem::new(Code::T029, message));
        }
        self.read(digest, size)
    }

    /// One byte more than `size` is enough to see that there is more.
    fn read_capped(&self, digest: &Digest, size: u64) -> Result<Option<Vec<u8>>, Problem> {
        let path = self.blob_path(digest);
        let no_follow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        let file = match OpenOptions::new().read(true).custom_flags(no_follow).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink()) => {
                let _ = self.quarantine(digest);
                let message = format!("blob {} of the store is a symbolic link ({error})", digest.short());
                return Err(Problem::new(Code::T011, message).help("install the plugin again"));
            }
            Err(error) => return Err(files::io_problem(Code::R002, "open", &path, &error)),
        };
        let mut bytes = Vec::with_capacity(usize::try_from(size.min(64 << 20)).unwrap_or_default());
        file.take(size.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|error| files::io_problem(Code::R002, "read", &path, &error))?;
        Ok(Some(bytes))
    }

    /// `None` when it could not be moved, as in a store that is read-only for this user.
    fn quarantine(&self, digest: &Digest) -> Option<PathBuf> {
        let folder = self.path("quarantine");
        files::make_folder(&folder).ok()?;
        let target = files::fresh_name(&folder, &format!("{}-", digest.hex())).ok()?;
        fs::rename(self.blob_path(digest), &target).ok()?;
        Some(target)
    }

    /// Reads the index (R002). It is replaced in one step, so it is always a whole one.
    pub fn index(&self) -> Result<Index, Problem> {
        let path = self.path("index.json");
        let refuse = |why: String| {
            Problem::new(Code::R002, format!("the store's index cannot be used: {why}"))
                .file(path.display().to_string())
                .help("move the store away and install again; blobs are checked, the index only lists them")
        };
        let file = File::open(&path).map_err(|error| files::io_problem(Code::R002, "open", &path, &error))?;
        let mut bytes = Vec::new();
        file.take(INDEX_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| files::io_problem(Code::R002, "read", &path, &error))?;
        if bytes.len() as u64 > INDEX_BYTES_MAX {
            return Err(refuse(format!("it is larger than {INDEX_BYTES_MAX} bytes")));
        }
        let index: Index = serde_json::from_slice(&bytes).map_err(|error| refuse(error.to_string()))?;
        if index.schema_version != 2 {
            return Err(refuse(format!("it has schema version {}", index.schema_version)));
        }
        Ok(index)
    }

    fn index_lock(&self) -> Result<File, Problem> {
        let path = self.path(".index-lock");
        let lock = files::lock_file(&path)?;
        lock.lock().map_err(|error| files::io_problem(Code::R004, "lock", &path, &error))?;
        Ok(lock)
    }

    /// Changes the index under the lock, in one step. `edit` may refuse; then nothing changes.
    pub fn edit_index<T>(&self, edit: impl FnOnce(&mut Index) -> Result<T, Problem>) -> Result<T, Problem> {
        let _lock = self.index_lock()?;
        let before = self.index()?;
        let mut after = before.clone();
        let answer = edit(&mut after)?;
        let failed = |error| files::io_problem(Code::R004, "write", &self.path("index.json"), &error);
        self.step(Step::BeforeIndex).map_err(failed)?;
        if after != before {
            files::replace(&self.path("index.json"), &to_json(&after))?;
        }
        self.step(Step::AfterIndex).map_err(failed)?;
        Ok(answer)
    }

    /// Removes blobs that are not in `keep` and files left in `ingest/`, when they are older than `grace`. Waits for
    /// writers. Returns how many files went.
    pub fn sweep(
        &self,
        keep: impl FnOnce(&Index) -> Result<BTreeSet<Digest>, Problem>,
        grace: Duration,
        now: SystemTime,
    ) -> Result<usize, Problem> {
        let path = self.path(".sweep-lock");
        let lock = files::lock_file(&path)?;
        lock.lock().map_err(|error| files::io_problem(Code::R004, "lock", &path, &error))?;
        let keep: BTreeSet<String> = keep(&self.index()?)?.iter().map(Digest::hex).collect();
        let mut removed = 0;
        for folder in ["blobs/sha256", "ingest"] {
            let folder = self.path(folder);
            let failed = |error: io::Error| files::io_problem(Code::R004, "sweep", &folder, &error);
            for entry in fs::read_dir(&folder).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let kept = entry.file_name().to_str().is_some_and(|name| keep.contains(name));
                let written = entry.metadata().and_then(|metadata| metadata.modified()).map_err(failed)?;
                let age = now.duration_since(written).unwrap_or_default();
                if !kept && age >= grace {
                    fs::remove_file(entry.path()).map_err(failed)?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }
}
