//! The schema's history: forward only, each step and its number committed together.
//!
//! SQLite's own `user_version` holds the number, so that reading it costs one page and a half-applied step cannot be.

use sqlx::{Executor, SqliteConnection};

use super::writer::in_transaction;
use crate::fault::Fault;

/// Name and SQL of every step, in order. Step n ends with `pragma user_version = n;`.
pub const MIGRATIONS: &[(&str, &str)] = &[
    ("0001_house.sql", include_str!("../../migrations/sqlite/0001_house.sql")),
    ("0002_waits.sql", include_str!("../../migrations/sqlite/0002_waits.sql")),
    ("0003_versions.sql", include_str!("../../migrations/sqlite/0003_versions.sql")),
    ("0004_schedules.sql", include_str!("../../migrations/sqlite/0004_schedules.sql")),
    ("0005_ledger.sql", include_str!("../../migrations/sqlite/0005_ledger.sql")),
    ("0006_following.sql", include_str!("../../migrations/sqlite/0006_following.sql")),
];

/// "ice1" in ASCII: SQLite's `application_id` of our files.
pub(super) const APPLICATION: i64 = 0x6963_6531;

/// The version this program writes.
pub(super) fn newest() -> u32 {
    u32::try_from(MIGRATIONS.len()).expect("a few migrations")
}

/// Applies the steps that are missing. Several processes may do so at once: the second waits for the first and then
/// finds nothing left to do.
pub(super) async fn apply(connection: &mut SqliteConnection) -> Result<(), Fault> {
    in_transaction(connection, |connection| {
        Box::pin(async move {
            let version: u32 = sqlx::query_scalar("pragma user_version").fetch_one(&mut *connection).await?;
            for &(_, sql) in MIGRATIONS.iter().skip(version as usize) {
                connection.execute(sqlx::raw_sql(sql)).await?;
            }
            Ok(())
        })
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_a_step_and_sets_its_number() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/sqlite");
        let mut files: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        let names: Vec<&str> = MIGRATIONS.iter().map(|(name, _)| *name).collect();
        assert_eq!(files, names, "add the file to MIGRATIONS");
        for (index, (name, sql)) in MIGRATIONS.iter().enumerate() {
            let last = format!("pragma user_version = {};", index + 1);
            assert!(sql.trim_end().ends_with(&last), "{name} must end with `{last}`");
        }
        assert!(MIGRATIONS[0].1.contains(&format!("pragma application_id = {APPLICATION};")));
    }
}
