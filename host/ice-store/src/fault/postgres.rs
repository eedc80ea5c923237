//! What an error of Postgres means to a person: one table from SQLSTATE to problems, and a line for what ends a
//! connection.

use std::io::ErrorKind;

use ice_core::ports::Failure;
use ice_core::problem::{Code, Problem};

use super::Fault;

/// What SQLSTATEs mean. Source: <https://www.postgresql.org/docs/15/errcodes-appendix.html>.
struct Meaning {
    /// Whole states, or their first characters.
    states: &'static [&'static str],
    code: Code,
    /// Whether the same call could succeed later.
    again: bool,
    message: &'static str,
    help: &'static str,
}

/// The first that fits counts.
const MEANINGS: &[Meaning] = &[
    Meaning {
        states: &["40001", "40P01", "55P03", "55006"],
        code: Code::X046,
        again: true,
        message: "another session keeps the rows locked",
        help: "try again; `select * from pg_stat_activity` shows who holds them",
    },
    Meaning {
        states: &["57014"],
        code: Code::X046,
        again: true,
        message: "the database took too long, and the statement was stopped",
        help: "try again when the server has less to do; `select * from pg_stat_activity` shows what it does",
    },
    Meaning {
        states: &["53300"],
        code: Code::X046,
        again: true,
        message: "the server has no connection free",
        help: "raise `max_connections` of the server, or run fewer processes of `ice` beside each other",
    },
    Meaning {
        states: &["53100"],
        code: Code::C041,
        again: true,
        message: "there is no room left for the database; nothing was half written",
        help: "free space on the server's disk, or move the database to a larger one",
    },
    Meaning {
        states: &["25006"],
        code: Code::C042,
        again: false,
        message: "the database takes no writes: it is a standby, or set to read-only",
        help: "name the primary server in the URL, or clear `default_transaction_read_only`",
    },
    Meaning {
        states: &["42501"],
        code: Code::C042,
        again: false,
        message: "the database may not be written by this user",
        help: "let the user own the database: `alter database DATABASE owner to USER`",
    },
    Meaning {
        states: &["22021", "22P05", "22001", "22003", "54"],
        code: Code::X048,
        again: false,
        message: "a value cannot be kept in the database",
        help: "names hold no NUL character and at most 2,000 bytes, texts and values at most 1 GB",
    },
    Meaning {
        states: &["XX001", "XX002", "42P01", "42703"],
        code: Code::C043,
        again: false,
        message: "the database is damaged",
        help: "restore a copy, see the section on backup in `docs/deploy.md`",
    },
    Meaning {
        states: &["58", "53", "XX"],
        code: Code::X047,
        again: true,
        message: "the server failed under the database",
        help: "look at the server's log, its memory and its disk",
    },
];

/// What an opening can fail with besides [`MEANINGS`].
const OPENING: &[Meaning] = &[
    Meaning {
        states: &["28"],
        code: Code::C040,
        again: false,
        message: "the server does not let this user in",
        help: "check user and password in the URL, and the server's `pg_hba.conf`",
    },
    Meaning {
        states: &["3D000"],
        code: Code::C040,
        again: false,
        message: "the server has no such database",
        help: "make it, with the user as its owner: `createdb --owner=USER DATABASE`",
    },
];

const AUTHORITY: &str = "give the server's certificate authority with `sslrootcert=FILE`, and check `sslmode`";

impl Fault {
    /// Whether the connection is gone, so that nothing is known of what was asked last.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self, Self::Database(error) if is_lost(error))
    }

    /// Whether it was one append's own fault, such as a value that cannot be kept: the others of its group may still
    /// go through. Locks and lost connections concern them all.
    pub(crate) fn is_of_one(&self) -> bool {
        match self {
            Self::Refused(_) => true,
            Self::Database(error) => {
                !is_lost(error) && find(MEANINGS, error).is_none_or(|meaning| meaning.code != Code::X046)
            }
        }
    }

    /// The failure that callers see; `place` is the database's name for people.
    pub(crate) fn explain_postgres(self, place: &str) -> Failure {
        let error = match self {
            Self::Refused(failure) => return failure,
            Self::Database(error) => error,
        };
        if is_lost(&error) {
            let message = format!("the connection to the database was lost ({error}); a write may or may not be in it");
            let help =
                "start it again when the server answers: what was written is read first, and nothing is half written";
            return Failure::maybe(Problem::new(Code::X047, message).file(place).help(help));
        }
        if matches!(error, sqlx::Error::PoolTimedOut) {
            let problem = Problem::new(Code::X046, "no connection to the database became free in time");
            return Failure::maybe(problem.file(place).help("check that the server answers, then ask again"));
        }
        match find(MEANINGS, &error) {
            Some(meaning) => meaning.failure(&error, place),
            None => Failure::never(
                Problem::new(Code::X047, format!("the database failed: {error}"))
                    .file(place)
                    .help("check the database: `ice doctor`"),
            ),
        }
    }

    /// The problem of an opening: what the URL names cannot be entered, or is no database of ours.
    pub(crate) fn explain_opening(self, place: &str) -> Problem {
        let error = match self {
            Self::Refused(failure) => return failure.problem.file(place),
            Self::Database(error) => error,
        };
        if let Some(meaning) = find(OPENING, &error) {
            return meaning.failure(&error, place).problem;
        }
        let help = match &error {
            sqlx::Error::Tls(_) | sqlx::Error::Configuration(_) => AUTHORITY,
            // What the handshake refuses comes out of the socket.
            sqlx::Error::Io(error) if error.kind() == ErrorKind::InvalidData => AUTHORITY,
            error if is_lost(error) => "start the server, or correct host and port in the URL",
            _ => return Self::Database(error).explain_postgres(place).problem,
        };
        Problem::new(Code::C040, format!("the database cannot be reached: {error}")).file(place).help(help)
    }
}

impl Meaning {
    fn failure(&self, error: &sqlx::Error, place: &str) -> Failure {
        let problem = Problem::new(self.code, format!("{} ({error})", self.message)).file(place).help(self.help);
        if self.again { Failure::maybe(problem) } else { Failure::never(problem) }
    }
}

fn find(meanings: &'static [Meaning], error: &sqlx::Error) -> Option<&'static Meaning> {
    let state = error.as_database_error()?.code()?;
    meanings.iter().find(|meaning| meaning.states.iter().any(|start| state.starts_with(start)))
}

/// Everything of class 08, and a server that ends the session, is shutting down or starting.
fn is_lost(error: &sqlx::Error) -> bool {
    const ENDS: &[&str] = &["08", "57P", "25P03"];
    match error {
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|state| ENDS.iter().any(|start| state.starts_with(start)))
        }
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
        _ => false,
    }
}

/// No answer within the time that any answer takes.
pub(crate) fn no_answer() -> Fault {
    Fault::Database(sqlx::Error::Io(ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_connection_is_said_with_a_way_out_and_may_pass() {
        let fault = Fault::Database(sqlx::Error::Io(ErrorKind::ConnectionReset.into()));
        assert!(fault.is_lost() && !fault.is_of_one());
        let failure = fault.explain_postgres("postgres://h:5432/ice");
        assert_eq!((failure.problem.code, failure.retry), (Code::X047, ice_core::ports::Retry::Maybe));
        assert!(failure.problem.help.is_some());
    }

    #[test]
    fn a_server_that_cannot_be_reached_is_a_wrong_url() {
        let fault = Fault::Database(sqlx::Error::Io(ErrorKind::ConnectionRefused.into()));
        let problem = fault.explain_opening("postgres://h:5432/ice");
        assert_eq!(problem.code, Code::C040);
        assert!(problem.help.unwrap().contains("host and port"));
    }
}
