//! Keeps the event lists, the documents and the memory rows: [`open`] a database, get a [`Store`].
//!
//! Two backends keep the same promises, and one suite (`conformance`) holds them to it: SQLite for one machine, Postgres
//! for several processes beside each other.
//!
//! Reading order: this file; `address.rs` says which database is meant; `store.rs` is the open one; `list.rs` what may
//! be put at the end of an event list, and by whom; `bell.rs` who is woken by it; `ledger.rs` what orgs spent. Then one
//! backend, file by file beside the other's: `sqlite/mod.rs`
//! or `postgres.rs` opens it; `writer.rs` is the one task that appends; `append.rs` the path every event takes;
//! `following.rs` how events of other processes are noticed;
//! `memory.rs`, `nearest.rs` and `words.rs` how texts are found again; `fault.rs` what a database error means to a
//! person.
//!
//! Not here: what events mean (the engine), what to remember and how to fuse searches (the memory capability), who
//! may read what (callers pass an identity; every statement is bound to it).
#![warn(missing_docs)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ice_core::ports::Clock;
use ice_core::problem::Problem;

mod address;
mod bell;
#[cfg(feature = "testing")]
pub mod conformance;
mod document;
mod every;
mod fault;
mod holder;
mod ledger;
mod list;
mod postgres;
mod schedules;
mod sqlite;
mod store;
mod vector;
mod words;

pub use every::Every;
pub use sqlite::MIGRATIONS;
pub use store::Store;

use address::Address;
use store::Kind;

/// Which crash a finished write survives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Durability {
    /// The death of this process, by `kill -9` too. With Postgres, a write is finished when the server says so, by its own
    /// `synchronous_commit`. With SQLite, when the operating system has it:
    /// `synchronous=NORMAL` in WAL mode. What dies with a power cut is at most the last commits, never the middle of
    /// the list, and never the integrity of the file. It costs a hand-over to the writer instead of a disk flush, which is
    /// why the command line of one person uses it: a person notices a power cut, a resume then repeats the last step.
    #[default]
    Process,
    /// A power cut as well: `synchronous=FULL`, one disk flush a commit; with Postgres `synchronous_commit=on`,
    /// whatever the server's configuration says. For servers that answer for others' money.
    Power,
}

/// How to open a database.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which crash a finished write survives.
    pub durability: Durability,
    /// Most bytes the database may grow to; a write beyond it fails with C041. `None` leaves it to the disk.
    /// SQLite only: with Postgres anything but `None` is refused with C040.
    pub bytes_max: Option<u64>,
    /// How long a write waits for another process's write before it fails with X046.
    pub lock_wait: Duration,
}

impl Default for Options {
    fn default() -> Self {
        // Other processes hold the lock for one commit, a few milliseconds; seconds mean that something hangs.
        Self { durability: Durability::default(), bytes_max: None, lock_wait: Duration::from_secs(5) }
    }
}

/// Opens the database named by `url` with the default [`Options`]; creates and migrates it when needed.
///
/// `sqlite:PATH`, `sqlite://PATH` or a bare path name a file (taken as it stands: no `%` escapes, no `?` settings);
/// `sqlite::memory:` a database that lives as long as the store. The folder of the file has to exist.
/// `postgres://USER:PASSWORD@HOST:PORT/DATABASE` names a database of a server, from Postgres 15 on; after `?` may stand
/// `sslmode`, `sslrootcert` and others that `libpq` has, and `host=/FOLDER` for its socket. The database has to exist.
/// Fails with C-codes; nothing is left half made.
pub async fn open(url: &str, clock: Arc<dyn Clock>) -> Result<Store, Problem> {
    open_with(url, clock, Options::default()).await
}

/// Opens the database named by `url`, see [`open`].
pub async fn open_with(url: &str, clock: Arc<dyn Clock>, options: Options) -> Result<Store, Problem> {
    open_address(Address::parse(url)?, clock, options).await
}

/// Opens the database file at `path`, see [`open`]. The way for paths that come from the system and not from a text;
/// one that is not UTF-8 is refused with C040, because SQLite takes names as UTF-8 only.
pub async fn open_path(path: &Path, clock: Arc<dyn Clock>, options: Options) -> Result<Store, Problem> {
    open_address(Address::File(path.to_owned()), clock, options).await
}

async fn open_address(address: Address, clock: Arc<dyn Clock>, options: Options) -> Result<Store, Problem> {
    let kind = match address {
        Address::Memory => Kind::Sqlite(sqlite::Store::open(None, clock, options).await?),
        Address::File(path) => Kind::Sqlite(sqlite::Store::open(Some(&path), clock, options).await?),
        Address::Postgres(server) => Kind::Postgres(postgres::Store::open(*server, clock, options).await?),
    };
    Ok(Store(kind))
}
