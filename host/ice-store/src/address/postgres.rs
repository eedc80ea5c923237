//! Which Postgres database is meant. Connects to nothing.

use std::fmt;

use ice_core::problem::{Code, Problem};
use sqlx::postgres::PgConnectOptions;
use url::Url;

/// A database of a Postgres server. Never shows its password.
#[derive(Clone)]
pub(crate) struct Server {
    /// Holds the password: its own `Debug` would show it.
    pub(crate) options: PgConnectOptions,
    /// The database as messages name it: without user and password.
    pub(crate) place: String,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("place", &self.place).finish_non_exhaustive()
    }
}

/// What may stand after `?`. Others are refused, because a setting that is skipped in silence is a surprise later.
const SETTINGS: &[&str] = &[
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "user",
];

const FORM: &str = "write it as `postgres://USER:PASSWORD@HOST:5432/DATABASE?sslmode=verify-full`, \
                    special characters of the password as `%` and two hexadecimal digits";

/// Reads a URL with the scheme `postgres` or `postgresql`. What it leaves out comes from `PGHOST` and its siblings, as
/// everywhere with Postgres. Fails with C040; nothing of the URL but names of settings is ever repeated.
pub(super) fn parse(url: &str) -> Result<Server, Problem> {
    let refuse = |message: String, help: &str| Err(Problem::new(Code::C040, message).help(help));
    let url = match Url::parse(url) {
        Ok(url) => url,
        Err(error) => return refuse(format!("the URL of the Postgres database cannot be read: {error}"), FORM),
    };
    if let Some((key, _)) = url.query_pairs().find(|(key, _)| !SETTINGS.contains(&key.as_ref())) {
        let help = format!("leave it out; these are known: {}", SETTINGS.join(", "));
        return refuse(format!("the URL of the Postgres database has the unknown setting `{key}`"), &help);
    }
    let options: PgConnectOptions = match sqlx::ConnectOptions::from_url(&url) {
        Ok(options) => options,
        Err(error) => return refuse(format!("the URL of the Postgres database cannot be used: {error}"), FORM),
    };
    if options.get_host().contains("pooler") && options.get_port() == 6543 {
        return refuse(
            "a pooler that gives every transaction another connection mixes up prepared statements".into(),
            "use the server itself, or the pooler's port for whole sessions (with Supabase 5432)",
        );
    }
    let named = options.get_application_name().is_some();
    let options = if named { options } else { options.application_name("ice") };
    let place = place(&options);
    Ok(Server { options, place })
}

fn place(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or(options.get_username());
    match options.get_socket() {
        Some(socket) => format!("postgres:///{database}?host={}", socket.display()),
        None => format!("postgres://{}:{}/{database}", options.get_host(), options.get_port()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_names_the_database_and_not_who_enters_it() {
        for (url, place) in [
            ("postgres://anna:s3cret@db.example:5433/ice", "postgres://db.example:5433/ice"),
            ("postgresql://anna:s%2F3cret@db.example/ice?sslmode=verify-full", "postgres://db.example:5432/ice"),
            ("postgres:///ice?host=/run/postgresql&user=anna&password=s3cret", "postgres:///ice?host=/run/postgresql"),
            ("postgres://anna:s3cret@%2Frun%2Fpostgresql/ice", "postgres:///ice?host=/run/postgresql"),
        ] {
            let server = parse(url).unwrap();
            assert_eq!(server.place, place, "{url}");
            assert!(!format!("{server:?}").contains("3cret"), "{server:?}");
            assert_eq!(server.options.get_application_name(), Some("ice"));
        }
        let named = parse("postgres://h/ice?application_name=worker").unwrap();
        assert_eq!(named.options.get_application_name(), Some("worker"));
    }

    #[test]
    fn a_url_that_cannot_be_used_is_refused_without_its_password() {
        for (url, word) in [
            ("postgres://anna:s3cret@db:port/ice", "port"),
            ("postgres://anna:s3cret@db/ice?sslmode=perhaps", "sslmode"),
            ("postgres://anna:s3cret@db/ice?sslmod=require", "`sslmod`"),
            ("postgres://anna:s3cret@db/ice?password=s3cret&pool=7", "`pool`"),
            ("postgres://anna:s3cret@aws-0.pooler.example:6543/ice", "pooler"),
        ] {
            let problem = parse(url).unwrap_err();
            assert_eq!(problem.code, Code::C040, "{url}");
            let said = format!("{problem} {problem:?}");
            assert!(said.contains(word) && problem.help.is_some() && !said.contains("s3cret"), "{said}");
        }
    }
}
