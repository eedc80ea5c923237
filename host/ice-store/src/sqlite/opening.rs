//! Opens connections and brings a file to the newest schema. A file that is not ours is left untouched.

use std::path::Path;
use std::time::{Duration, Instant};

use ice_core::problem::{Code, Problem};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, SqliteConnection};

use super::migrate;
use crate::fault::{Fault, primary_result};
use crate::{Durability, Options};

/// SQLite's default, spelled out because [`Options::bytes_max`] is counted in pages.
const PAGE_BYTES: u32 = 4096;

/// The write-ahead log is cut to this size after it was folded into the file, so a burst does not keep disk forever.
const LOG_BYTES_MAX: &str = "67108864";

/// Pages in the log before a commit folds them into the file, which costs two disk flushes: 16 MiB. The ends of lists
/// are written again and again, and in a longer log more of those writings are folded at once.
const LOG_PAGES: &str = "4000";

/// More readers than cores gain nothing; a search is the only read that takes long.
const READERS_MAX: u32 = 4;

fn options(path: &Path, lock_wait: Duration) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(lock_wait)
        .foreign_keys(true)
        // A damaged page is noticed when it is read, not when it has done harm.
        .pragma("cell_size_check", "on")
        // Functions with side effects cannot hide in the schema of a file that somebody else made.
        .pragma("trusted_schema", "off")
        .pragma("temp_store", "memory")
        .disable_statement_logging()
}

/// The connection that writes, with the newest schema under it.
pub(super) async fn writer(path: Option<&Path>, settings: Options) -> Result<SqliteConnection, Fault> {
    let synchronous = match settings.durability {
        Durability::Process => SqliteSynchronous::Normal,
        Durability::Power => SqliteSynchronous::Full,
    };
    let mut options = options(path.unwrap_or(Path::new(":memory:")), settings.lock_wait)
        .create_if_missing(true)
        .page_size(PAGE_BYTES)
        .synchronous(synchronous)
        // Forgotten texts are overwritten where that costs no extra page.
        .pragma("secure_delete", "fast")
        .pragma("wal_autocheckpoint", LOG_PAGES)
        .pragma("journal_size_limit", LOG_BYTES_MAX);
    if let Some(bytes) = settings.bytes_max {
        options = options.pragma("max_page_count", (bytes / u64::from(PAGE_BYTES)).max(1).to_string());
    }
    let mut connection = options.connect().await?;
    let version = patiently(&mut connection, path.is_some(), settings.lock_wait).await?;
    if version < migrate::newest() {
        migrate::apply(&mut connection).await?;
    }
    Ok(connection)
}

/// The connections that read; opened when they are needed.
pub(super) fn readers(path: &Path, lock_wait: Duration) -> SqlitePool {
    /// A reader is busy for as long as a search takes; whoever waits longer than this for one meets an overload.
    const QUEUE_WAIT: Duration = Duration::from_secs(30);
    SqlitePoolOptions::new()
        .max_connections(READERS_MAX)
        .acquire_timeout(QUEUE_WAIT)
        .idle_timeout(None)
        .max_lifetime(None)
        // A file does not hang up.
        .test_before_acquire(false)
        .connect_lazy_with(options(path, lock_wait).pragma("query_only", "on"))
}

/// A connection that only looks whether the file was written.
pub(super) async fn looker(path: &Path, lock_wait: Duration) -> Result<SqliteConnection, sqlx::Error> {
    options(path, lock_wait).pragma("query_only", "on").connect().await
}

/// The schema version of the file; 0 for an empty one. Refuses files of other programs and of newer versions.
async fn recognise(connection: &mut SqliteConnection) -> Result<u32, Fault> {
    // One statement sees one moment of the file, even while another process makes the first tables.
    const LOOK: &str = "select count(*), (select application_id from pragma_application_id), \
                        (select user_version from pragma_user_version) from sqlite_schema";
    let (tables, application, version): (i64, i64, i64) = sqlx::query_as(LOOK).fetch_one(connection).await?;
    if tables == 0 {
        return Ok(0);
    }
    if application != migrate::APPLICATION {
        return Err(Problem::new(Code::C045, "the file is the database of another program")
            .help("name another file: `ice` makes a new one where there is none")
            .into());
    }
    let newest = migrate::newest();
    match u32::try_from(version) {
        Ok(version) if version <= newest => Ok(version),
        _ => Err(Problem::new(
            Code::C044,
            format!("the database has schema {version}; this version of `ice` knows schemas up to {newest}"),
        )
        .help("use the newer `ice` that wrote it, or another database file")
        .into()),
    }
}

/// Switches the file to a write-ahead log; the file remembers it. Where the file system cannot do it, SQLite stays
/// with its rollback journal: slower, and as safe.
async fn write_ahead(connection: &mut SqliteConnection) -> Result<(), Fault> {
    let mode: String = sqlx::query_scalar("pragma journal_mode").fetch_one(&mut *connection).await?;
    if mode != "wal" {
        sqlx::query("pragma journal_mode = wal").execute(connection).await?;
    }
    Ok(())
}

/// Recognises the file and switches it to a log; tries again while the database is locked: SQLite does not wait by
/// itself while another process changes the journal mode, which happens when several open a new file at once.
async fn patiently(connection: &mut SqliteConnection, in_file: bool, lock_wait: Duration) -> Result<u32, Fault> {
    const PAUSE: Duration = Duration::from_millis(5);
    const LOCKED: [i32; 3] = [5, 6, 15];
    let deadline = Instant::now() + lock_wait;
    loop {
        let mut outcome = recognise(connection).await;
        if in_file && let Ok(version) = outcome {
            outcome = write_ahead(connection).await.map(|()| version);
        }
        match outcome {
            Err(Fault::Database(error))
                if Instant::now() < deadline
                    && primary_result(&error).is_some_and(|result| LOCKED.contains(&result)) =>
            {
                tokio::time::sleep(PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}
