//! Files of the user: read with a clear problem, written whole or not at all.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use ice_core::problem::{Code, Problem};

/// Reads a file whole.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    std::fs::read(path).map_err(|error| problem("read", path, &error))
}

/// Reads a file of UTF-8 text.
pub(crate) fn read_text(path: &Path) -> Result<String, Problem> {
    String::from_utf8(read(path)?)
        .map_err(|_| Problem::new(Code::C002, "the file is not UTF-8 text").file(path.display().to_string()))
}

/// Makes the folder of a file that is to be written.
pub(crate) fn make_parent(path: &Path) -> Result<(), Problem> {
    std::fs::create_dir_all(parent(path)).map_err(|error| problem("written", path, &error))
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes a file by way of a temporary one beside it, making its folder: a crash leaves the old one or the new one, and
/// what is written survives a power cut.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Problem> {
    let refuse = |error: &std::io::Error| problem("written", path, error);
    make_parent(path)?;
    let folder = parent(path);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = folder.join(name);
    let written = File::create(&temporary)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&temporary, path))
        .and_then(|()| File::open(folder)?.sync_all());
    written.map_err(|error| {
        // The temporary file may not be there, and the first error is the one to tell.
        let _ = std::fs::remove_file(&temporary);
        refuse(&error)
    })
}

fn problem(verb: &str, path: &Path, error: &std::io::Error) -> Problem {
    Problem::new(Code::C002, format!("the file cannot be {verb}: {error}")).file(path.display().to_string())
}
