//! Files that only their owner may change: checked before they are believed, replaced in one step.
//!
//! Knows nothing of keys, policies or blobs.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ice_core::problem::{Code, Problem};

/// Who besides the owner must not have which access to a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Guard {
    /// Nobody else may read or write: private keys.
    Secret,
    /// Nobody else may write: policies, public keys.
    Own,
}

impl Guard {
    const fn forbidden_mode(self) -> u32 {
        match self {
            Self::Secret => 0o077,
            Self::Own => 0o022,
        }
    }
}

/// The problem of a failed file operation.
pub(crate) fn io_problem(code: Code, doing: &str, path: &Path, error: &io::Error) -> Problem {
    let help = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space and try again".to_owned(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            format!("make `{}` writable for this user", path.parent().unwrap_or(path).display())
        }
        io::ErrorKind::NotFound => format!("check that `{}` exists", path.display()),
        _ => "check the disk and try again".to_owned(),
    };
    Problem::new(code, format!("cannot {doing} `{}`: {error}", path.display())).help(help)
}

/// Reads at most `limit` bytes of a regular file of this user that `guard` accepts. `Ok(None)` when it is not there.
/// Owner and mode are those of the opened file, so nothing can be exchanged in between.
pub(crate) fn read_guarded(path: &Path, guard: Guard, limit: u64) -> Result<Option<Vec<u8>>, Problem> {
    let no_follow = rustix::fs::OFlags::NOFOLLOW.bits();
    let opened = OpenOptions::new().read(true).custom_flags(no_follow.cast_signed()).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if is_link(path) => {
            return Err(Problem::new(Code::T010, format!("`{}` is a symbolic link", path.display()))
                .help(format!("replace it by the file itself ({error})")));
        }
        Err(error) => return Err(io_problem(Code::C002, "open", path, &error)),
    };
    let metadata = file.metadata().map_err(|error| io_problem(Code::C002, "read", path, &error))?;
    if !metadata.is_file() {
        return Err(Problem::new(Code::T010, format!("`{}` is not a file", path.display())));
    }
    check_owner(path, &metadata, guard)?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| io_problem(Code::C002, "read", path, &error))?;
    if bytes.len() as u64 > limit {
        let message = format!("`{}` is larger than {limit} bytes", path.display());
        return Err(Problem::new(Code::T029, message));
    }
    Ok(Some(bytes))
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink())
}

/// Refuses a folder that is a link, is not this user's, or that others may write to. `Ok(false)` when it is not there.
pub(crate) fn check_folder(path: &Path) -> Result<bool, Problem> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(io_problem(Code::C002, "read", path, &error)),
    };
    if metadata.is_symlink() {
        let message = format!("`{}` is a symbolic link", path.display());
        return Err(Problem::new(Code::T010, message).help("replace it by the folder itself"));
    }
    if !metadata.is_dir() {
        return Err(Problem::new(Code::T010, format!("`{}` is not a folder", path.display())));
    }
    check_owner(path, &metadata, Guard::Own).map(|()| true)
}

fn check_owner(path: &Path, metadata: &fs::Metadata, guard: Guard) -> Result<(), Problem> {
    let me = rustix::process::geteuid().as_raw();
    if metadata.uid() != me {
        let message = format!("`{}` belongs to user {}, not to this user ({me})", path.display(), metadata.uid());
        return Err(Problem::new(Code::T010, message).help(format!("`chown {me} {}`", path.display())));
    }
    let loose = metadata.mode() & guard.forbidden_mode();
    if loose != 0 {
        let message = format!("others may change or read `{}` (mode {:03o})", path.display(), metadata.mode() & 0o777);
        return Err(Problem::new(Code::T010, message).help(format!("`chmod go-rwx {}`", path.display())));
    }
    Ok(())
}

/// Makes a folder of mode 0700 with its parents.
pub(crate) fn make_folder(path: &Path) -> Result<(), Problem> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| io_problem(Code::R004, "make the folder", path, &error))
}

/// A name in `folder` that nobody else uses.
pub(crate) fn fresh_name(folder: &Path, prefix: &str) -> Result<PathBuf, Problem> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)
        .map_err(|error| Problem::new(Code::R004, format!("the system gives no random numbers: {error}")))?;
    let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(folder.join(format!("{prefix}{hex}")))
}

/// Creates a file of mode 0600 that was not there.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Writes a file in one step: whoever reads `path` sees the old content or the new one, also after a crash.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Problem> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let temporary = fresh_name(folder, ".new-")?;
    let written = create_new(&temporary)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| sync_folder(folder));
    written.map_err(|error| {
        // Best effort: what matters is the error below.
        let _ = fs::remove_file(&temporary);
        io_problem(Code::R004, "write", path, &error)
    })
}

/// Makes renames in `folder` survive a power cut.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Opens (and makes) a file that serves as a lock. The lock is gone when the handle is dropped or the process dies.
pub(crate) fn lock_file(path: &Path) -> Result<File, Problem> {
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    opened.map_err(|error| io_problem(Code::R004, "open the lock", path, &error))
}
