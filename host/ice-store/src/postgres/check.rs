//! Whether the rows of the database belong together. Its pages are the server's: `pg_amcheck` reads those.

use ice_core::problem::{Code, Problem};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, Executor};

use super::Store;
use super::opening::connect;
use crate::fault::Fault;

/// Questions that a whole database answers with no row; each row of an answer is one sentence.
const QUESTIONS: &[&str] = &[
    "select 'the events of execution `' || id || '` are not 1 to ' || events from executions left join lateral \
     (select count(*) as found, coalesce(max(seq), 0) as last from events where execution = id) as list on true \
     where list.found <> events or list.last <> events limit 20",
    "select 'events of the execution `' || execution || '` have lost it' from events where not exists \
     (select 1 from executions where id = execution) group by execution limit 20",
    "select 'a vector of the text `' || encode(key, 'escape') || '` has ' || cardinality(vector) || \
     ' numbers, its others ' || dimension from memory join memory_shelves on number = shelf \
     where cardinality(vector) <> dimension limit 20",
    "select 'the text `' || encode(key, 'escape') || '` cannot be found by its words' from memory \
     where length(words) = 0 limit 20",
];

impl Store {
    pub(crate) async fn check(&self) -> Vec<Problem> {
        match answers(&self.inner.connect).await {
            Ok(sentences) => sentences
                .into_iter()
                .map(|sentence| {
                    Problem::new(Code::C043, sentence)
                        .file(self.place())
                        .help("restore a copy, see the section on backup in `docs/deploy.md`")
                })
                .collect(),
            Err(fault) => vec![self.explain(fault).problem],
        }
    }
}

/// On a connection of its own, because reading everything has no time limit.
async fn answers(options: &PgConnectOptions) -> Result<Vec<String>, Fault> {
    let mut connection = connect(options).await?;
    connection.execute("set statement_timeout = 0").await?;
    let mut sentences = Vec::new();
    for &question in QUESTIONS {
        sentences.extend(sqlx::query_scalar::<_, String>(question).fetch_all(&mut connection).await?);
    }
    connection.close().await?;
    Ok(sentences)
}
