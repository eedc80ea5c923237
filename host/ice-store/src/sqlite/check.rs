//! Whether the database is whole: its pages, its references, its lists and its word index.

use ice_core::problem::{Code, Problem};
use sqlx::SqliteConnection;

use super::Store;
use crate::fault::Fault;

/// Questions that a whole database answers with no row; each row of an answer is one sentence.
const QUESTIONS: &[&str] = &[
    // Reads every page. Also runs the check that the word index has built in.
    "select 'the file is damaged: ' || integrity_check from pragma_integrity_check where integrity_check <> 'ok' limit 20",
    "select 'a row of `' || \"table\" || '` points to nothing in `' || parent || '`' from pragma_foreign_key_check limit 20",
    "select 'the events of execution `' || id || '` are not 1 to ' || events \
     from executions where (select count(*) from events where execution = executions.id) <> events \
     or (select coalesce(max(seq), 0) from events where execution = executions.id) <> events limit 20",
    "select 'the word index has ' || words || ' texts and the memory ' || texts from \
     (select (select count(*) from memory_words) as words, (select count(*) from memory) as texts) where words <> texts",
    "select 'vector ' || place || ' belongs to no text' from memory_vectors where not exists \
     (select 1 from memory where id = place & 4294967295 and shelf = place >> 32) limit 20",
    "select 'text `' || key || '` has lost its vector' from memory where shelf is not null and not exists \
     (select 1 from memory_vectors where place = shelf << 32 | id) limit 20",
];

impl Store {
    /// Reads the whole database and returns everything that is wrong with it; empty when it is sound. Takes as long
    /// as reading the file does.
    pub(crate) async fn check(&self) -> Vec<Problem> {
        match self.read(|connection| Box::pin(answers(connection))).await {
            Ok(sentences) => sentences
                .into_iter()
                .map(|sentence| {
                    Problem::new(Code::C043, sentence)
                        .file(self.place())
                        .help("put the file aside and restore a copy; `sqlite3 FILE .recover` saves what can be read")
                })
                .collect(),
            Err(failure) => vec![failure.problem],
        }
    }
}

async fn answers(connection: &mut SqliteConnection) -> Result<Vec<String>, Fault> {
    let mut sentences = Vec::new();
    for &question in QUESTIONS {
        sentences.extend(sqlx::query_scalar::<_, String>(question).fetch_all(&mut *connection).await?);
    }
    Ok(sentences)
}
