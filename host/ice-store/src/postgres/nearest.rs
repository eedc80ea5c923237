//! Search by vector: by an index of pgvector where there is one, and else exactly, in this process, over the vectors of
//! one tenant and one embedder.
//!
//! An index gives candidates only. Their scores are computed here, from the numbers as they were written; and when it
//! gives fewer than were asked for, which happens behind a narrow filter, the exact search answers instead. So pgvector
//! makes a search faster, and never another kind of search.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use futures_util::TryStreamExt;
use ice_core::ports::{MemoryFilter, MemoryRow};
use ice_core::problem::{Code, Problem};
use sqlx::postgres::PgPool;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};

use super::memory::{Tenant, columns, decode, filtered, of_filter, of_tenant, owned, with_shelf};
use super::migrate;
use crate::fault::{Fault, integer};
use crate::vector::{Best, Question, Ranked};

/// More hits than this are searched exactly: an index that has to give so many is no faster.
const INDEX_HITS_MAX: u32 = 1000;

/// Whether pgvector is in the database; makes it when the server has it and this user may. 0.8 is the first version
/// whose index goes on until enough rows pass the filter.
pub(super) async fn pgvector(connection: &mut PgConnection) -> Result<bool, Fault> {
    const THERE: &str = "select exists (select 1 from pg_extension where extname = 'vector')";
    const OFFERED: &str = "select exists (select 1 from pg_available_extensions where name = 'vector')";
    const USABLE: &str = "select exists (select 1 from pg_extension where extname = 'vector' \
        and string_to_array(substring(extversion from '^[0-9]+[.][0-9]+'), '.')::int4[] >= array[0, 8] \
        and to_regtype('vector') is not null)";
    let there: bool = sqlx::query_scalar(THERE).fetch_one(&mut *connection).await?;
    let offered: bool = !there && sqlx::query_scalar(OFFERED).fetch_one(&mut *connection).await?;
    if offered {
        match under_lock(connection, "create extension if not exists vector".to_owned()).await {
            // Not allowed, or not while others read: exact search does as well.
            Ok(()) | Err(Fault::Database(sqlx::Error::Database(_))) => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(sqlx::query_scalar(USABLE).fetch_one(connection).await?)
}

/// Runs a definition while no other opener does.
async fn under_lock(connection: &mut PgConnection, sql: String) -> Result<(), Fault> {
    let mut transaction = connection.begin().await?;
    // Reading all vectors once takes its time.
    transaction.execute("set local statement_timeout = 0").await?;
    migrate::lock(&mut transaction).await?;
    // From here on others may wait behind us.
    transaction.execute("set local lock_timeout = '5s'").await?;
    // The text is made here, of numbers only.
    transaction.execute(AssertSqlSafe(sql)).await?;
    transaction.commit().await?;
    Ok(())
}

/// How vectors of one dimension are indexed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Index {
    dimension: usize,
    /// The type of pgvector in which they are compared.
    kind: &'static str,
}

impl Index {
    /// pgvector indexes `vector` up to 2,000 and `halfvec` up to 4,000 numbers; candidates may be compared in half
    /// precision, because their scores are not.
    fn of(dimension: usize) -> Option<Self> {
        let kind = match dimension {
            0 => return None,
            1..=2000 => "vector",
            2001..=4000 => "halfvec",
            _ => return None,
        };
        Some(Self { dimension, kind })
    }

    fn create(self) -> String {
        let Self { dimension, kind } = self;
        format!(
            "create index if not exists memory_by_vector_{dimension} on memory \
             using hnsw ((vector::{kind}({dimension})) {kind}_cosine_ops) where cardinality(vector) = {dimension}"
        )
    }

    /// Parameters `$1` to `$6` as in [`filtered`], `$7` shelf, `$8` vector, `$9` limit.
    fn select(self) -> String {
        let Self { dimension, kind } = self;
        format!(
            concat!(
                "select ",
                columns!(),
                " from (select m.id from memory m where m.shelf = $7 and cardinality(m.vector) = {dimension} and ",
                owned!(),
                " and ",
                filtered!(),
                " order by (m.vector::{kind}({dimension})) <=> $8::real[]::{kind}({dimension}) limit $9) as near \
                join memory m on m.id = near.id ",
                with_shelf!()
            ),
            dimension = dimension,
            kind = kind
        )
    }
}

/// The indexes that this store knows of.
pub(super) struct Indexes {
    pgvector: bool,
    /// Dimensions whose index is there, or cannot be.
    prepared: Mutex<HashSet<usize>>,
}

impl Indexes {
    pub(super) fn new(pgvector: bool) -> Self {
        Self { pgvector, prepared: Mutex::default() }
    }

    /// The index for vectors of this dimension.
    pub(super) fn of(&self, dimension: usize) -> Option<Index> {
        Index::of(dimension).filter(|_| self.pgvector)
    }

    /// Makes the index of a dimension before its first vector is written. Without it a search takes longer and finds the
    /// same, so a failure, such as a table that belongs to somebody else, stops nobody.
    pub(super) async fn prepare(&self, pool: &PgPool, dimension: usize) {
        let Some(index) = self.of(dimension) else { return };
        if !self.prepared.lock().expect("nobody panics with it").insert(dimension) {
            return;
        }
        if let Ok(mut connection) = pool.acquire().await {
            let _slower = under_lock(&mut connection, index.create()).await;
        }
    }
}

/// One search.
#[derive(Clone)]
pub(super) struct Wanted {
    pub(super) tenant: Tenant,
    pub(super) embedder: String,
    pub(super) vector: Vec<f32>,
    pub(super) filter: MemoryFilter,
    pub(super) limit: u32,
    pub(super) index: Option<Index>,
}

/// Refuses with X045 what is no vector.
pub(super) fn check(embedder: &str, vector: &[f32]) -> Result<(), Problem> {
    if vector.is_empty() || !vector.iter().all(|component| component.is_finite()) {
        let message = format!("embedder `{embedder}` gave a vector that is empty or not finite");
        return Err(Problem::new(Code::X045, message)
            .help("check the embedder's answer; another embedder can be set in `ice.toml`"));
    }
    Ok(())
}

/// The shelf on which a vector of this embedder is put, made when it is the first. The first vector decides the
/// dimension; one of another dimension is refused with X045.
pub(super) async fn shelf_for(
    connection: &mut PgConnection,
    tenant: &Tenant,
    embedder: &str,
    vector: &[f32],
) -> Result<i64, Fault> {
    const MAKE: &str = "insert into memory_shelves (org, usr, scope, embedder, dimension) values ($1, $2, $3, $4, $5) \
        on conflict (org, usr, scope, embedder) do nothing";
    if let Some(shelf) = find_shelf(connection, tenant, embedder, vector).await? {
        return Ok(shelf);
    }
    let dimension = i32::try_from(vector.len()).expect("a vector in memory has fewer components");
    of_tenant!(MAKE, tenant).bind(embedder.to_owned()).bind(dimension).execute(&mut *connection).await?;
    // Whoever made it: the next statement sees it.
    let shelf = find_shelf(connection, tenant, embedder, vector).await?;
    Ok(shelf.ok_or(sqlx::Error::RowNotFound)?)
}

/// The shelf of an embedder, if there is one; X045 when `vector` cannot be compared with what stands on it.
async fn find_shelf(
    connection: &mut PgConnection,
    tenant: &Tenant,
    embedder: &str,
    vector: &[f32],
) -> Result<Option<i64>, Fault> {
    const FIND: &str = "select number, dimension from memory_shelves m where m.org = $1 and m.usr = $2 \
        and m.scope = $3 and m.embedder = $4";
    let found = of_tenant!(FIND, tenant).bind(embedder.to_owned()).fetch_optional(connection).await?;
    let Some(found) = found else { return Ok(None) };
    let dimension: i32 = found.try_get(1)?;
    if i64::from(dimension) != integer(vector.len() as u64) {
        let message = format!(
            "embedder `{embedder}` gave a vector of {} numbers, its others here have {dimension}",
            vector.len()
        );
        return Err(Problem::new(Code::X045, message)
            .help("give a changed embedder another name, and write the texts again to embed them with it")
            .into());
    }
    Ok(Some(found.try_get(0)?))
}

/// Best first; empty when nothing of this embedder is stored.
pub(super) async fn search(connection: &mut PgConnection, wanted: Wanted) -> Result<Vec<(MemoryRow, f32)>, Fault> {
    let found = find_shelf(connection, &wanted.tenant, &wanted.embedder, &wanted.vector).await?;
    let Some(shelf) = found else { return Ok(Vec::new()) };
    let question = Question::new(wanted.vector.clone());
    let mut best = Best::new(wanted.limit as usize);
    let mut rows = HashMap::new();
    if let Some(index) = wanted.index.filter(|_| (1..=INDEX_HITS_MAX).contains(&wanted.limit)) {
        for (id, row) in candidates(connection, &wanted, shelf, index).await? {
            let vector = row.embedding.as_ref().map(|(_, vector)| vector.as_slice()).unwrap_or_default();
            best.offer(Ranked { score: question.similarity_to(vector), id });
            rows.insert(id, row);
        }
    }
    let ranked = if rows.len() < wanted.limit as usize {
        let ranked = scan(connection, &wanted, shelf, &question).await?;
        rows = fetch(connection, &wanted.tenant, &ranked).await?;
        ranked
    } else {
        best.into_sorted()
    };
    Ok(ranked.into_iter().filter_map(|ranked| Some((rows.remove(&ranked.id)?, ranked.score))).collect())
}

/// What the index finds, with numbers, in no order.
async fn candidates(
    connection: &mut PgConnection,
    wanted: &Wanted,
    shelf: i64,
    index: Index,
) -> Result<Vec<(i64, MemoryRow)>, Fault> {
    // The text is made of numbers and of the name of a type.
    let rows = of_filter!(AssertSqlSafe(index.select()), wanted.tenant, wanted.filter)
        .bind(shelf)
        .bind(wanted.vector.clone())
        .bind(i64::from(wanted.limit))
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| Ok((row.try_get("id")?, decode(row)?))).collect()
}

/// Compares the question with every vector of the shelf that passes the filter.
async fn scan(
    connection: &mut PgConnection,
    wanted: &Wanted,
    shelf: i64,
    question: &Question,
) -> Result<Vec<Ranked>, Fault> {
    const SCAN: &str =
        concat!("select m.id, m.vector from memory m where m.shelf = $7 and ", owned!(), " and ", filtered!());
    let mut rows = of_filter!(SCAN, wanted.tenant, wanted.filter).bind(shelf).fetch(connection);
    let mut best = Best::new(wanted.limit as usize);
    while let Some(row) = rows.try_next().await? {
        let vector: Vec<f32> = row.try_get(1)?;
        best.offer(Ranked { score: question.similarity_to(&vector), id: row.try_get(0)? });
    }
    Ok(best.into_sorted())
}

/// The rows of the best. One that was removed in between is left out.
async fn fetch(
    connection: &mut PgConnection,
    tenant: &Tenant,
    best: &[Ranked],
) -> Result<HashMap<i64, MemoryRow>, Fault> {
    const FETCH: &str = concat!(
        "select ",
        columns!(),
        " from memory m ",
        with_shelf!(),
        " where ",
        owned!(),
        " and m.id = any($4::int8[])"
    );
    let ids: Vec<i64> = best.iter().map(|row| row.id).collect();
    let rows = of_tenant!(FETCH, tenant).bind(ids).fetch_all(connection).await?;
    rows.iter().map(|row| Ok((row.try_get("id")?, decode(row)?))).collect()
}
