//! What an error of the database means to a person: one table from SQLite's result codes to problems. The table of
//! Postgres is in `fault/postgres.rs`.

use std::pin::Pin;

use ice_core::ports::Failure;
use ice_core::problem::{Code, Problem};

pub(crate) mod postgres;

/// Work on one connection.
pub(crate) type Work<'c, T> = Pin<Box<dyn Future<Output = Result<T, Fault>> + Send + 'c>>;

/// Why a piece of work on the database stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// A rule of this crate or the caller's mistake; said already.
    #[error("{0}")]
    Refused(#[from] Failure),
    /// The database or its driver.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self::Refused(Failure::never(problem))
    }
}

/// What a result code of SQLite means. Source of the numbers: <https://sqlite.org/rescode.html>.
struct Meaning {
    /// The primary result codes: the low byte of an extended one.
    results: &'static [i32],
    code: Code,
    /// Whether the same write could succeed later.
    again: bool,
    message: &'static str,
    help: &'static str,
}

const MEANINGS: &[Meaning] = &[
    Meaning {
        results: &[5, 6, 15],
        code: Code::X046,
        again: true,
        message: "another process keeps the database locked",
        help: "wait for it, or find it with `fuser`; one `ice` process can write while others read",
    },
    Meaning {
        results: &[13],
        code: Code::C041,
        again: true,
        message: "there is no room left for the database; nothing was half written",
        help: "free space on its disk (`df -h`), or raise the size allowed for the database",
    },
    Meaning {
        results: &[3, 8, 23],
        code: Code::C042,
        again: false,
        message: "the database may not be written",
        help: "make the file and its folder writable for this user, or keep the database elsewhere",
    },
    Meaning {
        results: &[11, 26],
        code: Code::C043,
        again: false,
        message: "the file is no database, or it is damaged",
        help: "put it aside and restore a copy; `sqlite3 FILE .recover` saves what can still be read",
    },
    Meaning {
        results: &[14],
        code: Code::C002,
        again: false,
        message: "the database cannot be opened",
        help: "check that this user may read and write the file and its folder, which holds its `-wal` and `-shm` files",
    },
    Meaning {
        results: &[10],
        code: Code::X047,
        again: true,
        message: "the disk failed under the database",
        help: "look at the system's log (`dmesg`) and at the free space of the disk",
    },
    Meaning {
        results: &[18],
        code: Code::X048,
        again: false,
        message: "a value is larger than the database can hold",
        help: "keep values under 1 GB",
    },
];

impl Fault {
    /// The failure that callers see; `place` is the database's name for people.
    pub(crate) fn explain(self, place: &str) -> Failure {
        let error = match self {
            Self::Refused(failure) => return failure,
            Self::Database(error) => error,
        };
        let result = primary_result(&error);
        let meaning = MEANINGS.iter().find(|meaning| result.is_some_and(|result| meaning.results.contains(&result)));
        let Some(meaning) = meaning else {
            let problem = Problem::new(Code::X047, format!("the database failed: {error}")).file(place);
            if matches!(error, sqlx::Error::PoolTimedOut) {
                return Failure::maybe(problem.help("too many searches at once: ask again later"));
            }
            return Failure::never(problem.help("check the database: `ice doctor`"));
        };
        let problem = Problem::new(meaning.code, format!("{} ({error})", meaning.message));
        let problem = problem.file(place).help(meaning.help);
        if meaning.again { Failure::maybe(problem) } else { Failure::never(problem) }
    }
}

/// The primary result code of SQLite, where SQLite was asked.
pub(crate) fn primary_result(error: &sqlx::Error) -> Option<i32> {
    let extended: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}

/// The integers of databases are signed. What is beyond them was never a real count or time, and stays the largest.
pub(crate) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The other way; a negative number is never written.
pub(crate) fn natural(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
