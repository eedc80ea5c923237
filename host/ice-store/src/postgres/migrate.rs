//! The schema's history: forward only, all missing steps and their number committed together.
//!
//! The table `ice_schema` holds the number, and marks the schema as ours.

use ice_core::problem::{Code, Problem};
use sqlx::{Connection, Executor, PgConnection};

use crate::fault::Fault;

/// Name and SQL of every step, in order; SQLite has the same names.
const MIGRATIONS: &[(&str, &str)] = &[
    ("0001_house.sql", include_str!("../../migrations/postgres/0001_house.sql")),
    ("0002_waits.sql", include_str!("../../migrations/postgres/0002_waits.sql")),
    ("0003_versions.sql", include_str!("../../migrations/postgres/0003_versions.sql")),
    ("0004_schedules.sql", include_str!("../../migrations/postgres/0004_schedules.sql")),
    ("0005_ledger.sql", include_str!("../../migrations/postgres/0005_ledger.sql")),
    ("0006_following.sql", include_str!("../../migrations/postgres/0006_following.sql")),
];

/// "ice1" in ASCII: the number under which openers wait for each other. The lock is the database's own.
const LOCK: i64 = 0x6963_6531;

/// The version this program writes.
pub(super) fn newest() -> u32 {
    u32::try_from(MIGRATIONS.len()).expect("a few migrations")
}

/// The schema's version; 0 when the schema is empty. Refuses the tables of other programs and newer versions.
pub(super) async fn recognise(connection: &mut PgConnection) -> Result<u32, Fault> {
    // Tables that belong to an extension are nobody's data.
    const LOOK: &str = "select count(*), count(*) filter (where c.relname = 'ice_schema') from pg_class c \
        where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p') and not exists \
        (select 1 from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')";
    match sqlx::query_as(LOOK).fetch_one(&mut *connection).await? {
        (0_i64, _) => return Ok(0),
        (_, 0_i64) => return Err(foreign().into()),
        _ => {}
    }
    let (version, newest) = (version(connection).await?, newest());
    if version > newest {
        let message = format!("the database has schema {version}; this version of `ice` knows schemas up to {newest}");
        return Err(Problem::new(Code::C044, message)
            .help("use the newer `ice` that wrote it, or another database")
            .into());
    }
    Ok(version)
}

fn foreign() -> Problem {
    Problem::new(Code::C045, "the database holds the tables of another program").help(
        "make one for `ice` alone (`createdb DATABASE`), or name an empty schema: `?options=-c%20search_path%3DSCHEMA`",
    )
}

/// The number in `ice_schema`.
pub(super) async fn version(connection: &mut PgConnection) -> Result<u32, Fault> {
    let version: i32 = sqlx::query_scalar("select max(version) from ice_schema").fetch_one(connection).await?;
    Ok(u32::try_from(version).unwrap_or(u32::MAX))
}

/// Takes the lock of this database until the transaction ends. Whoever has it makes tables or an index, which takes
/// longer than the writes for which sessions usually wait.
pub(super) async fn lock(connection: &mut PgConnection) -> Result<(), Fault> {
    connection.execute("set local lock_timeout = '60s'").await?;
    sqlx::query("select pg_advisory_xact_lock($1)").bind(LOCK).execute(connection).await?;
    Ok(())
}

/// Applies the steps that are missing. Several processes may do so at once: the second waits for the first and then
/// finds nothing left to do.
pub(super) async fn apply(connection: &mut PgConnection) -> Result<(), Fault> {
    const MARK: &str = "create table if not exists ice_schema (version integer not null, applied timestamptz not null)";
    const SET: &str = "insert into ice_schema values ($1, now())";
    let mut transaction = connection.begin().await?;
    // A long step is no hanging one.
    transaction.execute("set local statement_timeout = 0").await?;
    lock(&mut transaction).await?;
    let version = recognise(&mut transaction).await?;
    transaction.execute(MARK).await?;
    for (number, &(_, sql)) in (1_i32..).zip(MIGRATIONS).skip(version as usize) {
        transaction.execute(sqlx::raw_sql(sql)).await?;
        sqlx::query(SET).bind(number).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_a_step_and_sqlite_has_the_same() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/postgres");
        let mut files: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        let names: Vec<&str> = MIGRATIONS.iter().map(|(name, _)| *name).collect();
        assert_eq!(files, names, "add the file to MIGRATIONS");
        assert!(crate::MIGRATIONS.iter().map(|(name, _)| *name).eq(names), "both backends make the same steps");
    }
}
