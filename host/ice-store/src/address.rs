//! Which database is meant, and whether its file can be one. Opens nothing: that is the backend's part.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use ice_core::problem::{Code, Problem};

mod postgres;

pub(crate) use postgres::Server;

/// A database.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    /// Lives in this process and dies with the store.
    Memory,
    /// A file.
    File(PathBuf),
    /// On a server.
    Postgres(Box<Server>),
}

const WHAT_WORKS: &str =
    "name a SQLite file, for example `sqlite:ice.db`, or a Postgres database, `postgres://USER@HOST/DATABASE`";

impl Address {
    /// Reads a URL or a bare path.
    pub(crate) fn parse(url: &str) -> Result<Self, Problem> {
        let refuse = |message: String| Err(Problem::new(Code::C040, message).help(WHAT_WORKS));
        let Some((scheme, rest)) = url.split_once(':').filter(|(scheme, _)| is_scheme(scheme)) else {
            return if url.is_empty() { refuse("no database is named".into()) } else { Ok(Self::File(url.into())) };
        };
        // A URL may hold a password, so only its scheme is repeated.
        match scheme {
            "sqlite" => {}
            "postgres" | "postgresql" => return postgres::parse(url).map(|server| Self::Postgres(Box::new(server))),
            _ => return refuse(format!("a database of the kind `{scheme}` cannot be opened")),
        }
        match rest.strip_prefix("//").unwrap_or(rest) {
            ":memory:" => Ok(Self::Memory),
            "" => refuse(format!("`{url}` names no file")),
            path if path.contains('?') => {
                refuse(format!("`{url}` has settings after `?`, which are not read: leave them out"))
            }
            path => Ok(Self::File(path.into())),
        }
    }
}

/// One letter is a drive, and a path may hold a colon further on.
fn is_scheme(text: &str) -> bool {
    text.len() > 1 && text.chars().all(|c| c.is_ascii_lowercase())
}

/// The file's path in the form SQLite takes, after everything is checked that SQLite would explain badly.
/// Creates an empty file, readable by its owner only, where there is none.
pub(crate) fn prepare(path: &Path) -> Result<PathBuf, Problem> {
    let shown = path.display().to_string();
    let Some(_) = path.to_str() else {
        return Err(Problem::new(Code::C040, format!("the path `{shown}` is not UTF-8, and SQLite takes no other"))
            .help("keep the database under a path of UTF-8 characters"));
    };
    // Absolute, because a name that begins with `file:` or `:` would mean something else to SQLite.
    let path = std::path::absolute(path).map_err(|error| unreadable(path, &error))?;
    match fs::metadata(&path) {
        Ok(found) if found.is_dir() => {
            Err(Problem::new(Code::C040, format!("`{shown}` is a folder, not a database file"))
                .help(format!("name a file in it, for example `{}`", path.join("ice.db").display())))
        }
        Ok(found) if found.permissions().readonly() => {
            Err(Problem::new(Code::C042, format!("the database `{shown}` is marked read-only"))
                .file(shown)
                .help(format!("make it writable: `chmod u+w '{}'`", path.display())))
        }
        Ok(_) => Ok(path),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            create_private(&path)?;
            Ok(path)
        }
        Err(error) => Err(unreadable(&path, &error)),
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Problem {
    Problem::new(Code::C002, format!("the database `{}` cannot be reached: {error}", path.display()))
        .file(path.display().to_string())
        .help("check that this user may read and write the file and enter its folders")
}

/// Makes an empty database file that only its owner can read; SQLite gives its companions the same mode.
///
/// The file is made under another name, closed, and only then linked to its own: closing a database file that SQLite
/// has open elsewhere in this process would drop SQLite's locks on it, and so nobody may open the name before the
/// handle is closed. Where the file system knows no links it usually knows no modes either, and SQLite makes the file.
fn create_private(path: &Path) -> Result<(), Problem> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let folder = path.parent().unwrap_or(path);
    if !folder.is_dir() {
        return Err(Problem::new(Code::C002, format!("the folder `{}` does not exist", folder.display()))
            .file(path.display().to_string())
            .help(format!("create it: `mkdir -m 700 -p '{}'`", folder.display())));
    }
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let fresh = folder.join(format!(".ice-new-{}-{number}", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(&fresh) {
        Ok(file) => drop(file),
        // A file left by a process of the same number: SQLite makes the database itself.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => {
            let code = match error.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Code::C041,
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Code::C042,
                _ => Code::C002,
            };
            return Err(Problem::new(code, format!("no database can be made in `{}`: {error}", folder.display()))
                .file(path.display().to_string())
                .help("make room and the folder writable for this user, or keep the database elsewhere"));
        }
    }
    let linked = fs::hard_link(&fresh, path);
    let removed = fs::remove_file(&fresh);
    match linked.and(removed) {
        Ok(()) => Ok(()),
        // Another opener was faster, or links are unknown here: both fine.
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_bare_paths_name_files() {
        for (url, path) in [
            ("sqlite:ice.db", "ice.db"),
            ("sqlite://ice.db", "ice.db"),
            ("sqlite:///var/lib/ice.db", "/var/lib/ice.db"),
            ("/var/lib/a b%20c.db", "/var/lib/a b%20c.db"),
            ("./odd:name.db", "./odd:name.db"),
        ] {
            let Address::File(found) = Address::parse(url).unwrap() else { panic!("{url} is a file") };
            assert_eq!(found, Path::new(path), "{url}");
        }
        assert!(matches!(Address::parse("sqlite::memory:").unwrap(), Address::Memory));
    }

    #[test]
    fn what_cannot_be_opened_is_refused_with_what_can_and_without_the_password() {
        for url in ["", "sqlite:", "sqlite://", "sqlite:a.db?mode=ro", "mysql://ice:pass@host/ice"] {
            let problem = Address::parse(url).unwrap_err();
            assert_eq!(problem.code, Code::C040, "{url}");
            assert!(problem.help.as_deref().unwrap().contains("sqlite:ice.db"), "{url}");
            assert!(!problem.to_string().contains("pass@"), "{problem}");
        }
    }
}
