//! Search by vector: exact, over the vectors of one tenant and one embedder, which lie side by side on their shelf.

use std::collections::HashMap;

use futures_util::TryStreamExt;
use ice_core::ports::{MemoryFilter, MemoryRow};
use ice_core::problem::{Code, Problem};
use sqlx::{Row, SqliteConnection};

use super::memory::{Tenant, columns, decode, filtered, of_tenant, owned, tags, with_vector};
use crate::fault::{Fault, natural};
use crate::vector::{Best, Question, Ranked};

/// The lower half of a vector's place: the number of its memory row.
const ROW_MASK: i64 = 0xffff_ffff;

/// One search.
pub(super) struct Wanted {
    pub(super) tenant: Tenant,
    pub(super) embedder: String,
    pub(super) vector: Vec<f32>,
    pub(super) filter: MemoryFilter,
    pub(super) limit: u32,
}

/// The shelf on which a vector of this embedder is put, made when it is the first. The first vector decides the
/// dimension; one of another dimension is refused with X045.
pub(super) async fn shelf_for(
    connection: &mut SqliteConnection,
    tenant: &Tenant,
    embedder: &str,
    vector: &[f32],
) -> Result<i64, Fault> {
    const MAKE: &str = "insert into memory_shelves (org, usr, scope, embedder, dimension) values (?1, ?2, ?3, ?4, ?5)";
    if let Some(shelf) = find_shelf(connection, tenant, embedder, vector).await? {
        return Ok(shelf);
    }
    let dimension = i64::try_from(vector.len()).expect("a vector in memory has fewer components");
    let made = of_tenant!(MAKE, tenant).bind(embedder.to_owned()).bind(dimension).execute(connection).await?;
    Ok(made.last_insert_rowid())
}

/// The shelf of an embedder, if there is one; X045 when `vector` cannot be compared with what stands on it.
async fn find_shelf(
    connection: &mut SqliteConnection,
    tenant: &Tenant,
    embedder: &str,
    vector: &[f32],
) -> Result<Option<i64>, Fault> {
    const FIND: &str = "select number, dimension from memory_shelves m where m.org = ?1 and m.usr = ?2 \
        and m.scope = ?3 and m.embedder = ?4";
    if vector.is_empty() || !vector.iter().all(|component| component.is_finite()) {
        return Err(Problem::new(
            Code::X045,
            format!("embedder `{embedder}` gave a vector that is empty or not finite"),
        )
        .help("check the embedder's answer; another embedder can be set in `ice.toml`")
        .into());
    }
    let found = of_tenant!(FIND, tenant).bind(embedder.to_owned()).fetch_optional(connection).await?;
    let Some(found) = found else { return Ok(None) };
    let dimension = natural(found.try_get(1)?);
    if dimension != vector.len() as u64 {
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
pub(super) async fn search(connection: &mut SqliteConnection, wanted: Wanted) -> Result<Vec<(MemoryRow, f32)>, Fault> {
    let Some(shelf) = find_shelf(connection, &wanted.tenant, &wanted.embedder, &wanted.vector).await? else {
        return Ok(Vec::new());
    };
    let Wanted { tenant, vector, filter, limit, .. } = wanted;
    let best = scan(connection, &tenant, shelf, Question::new(vector), filter, limit).await?;
    fetch(connection, &tenant, best).await
}

/// Compares the question with every vector of the shelf that passes the filter.
async fn scan(
    connection: &mut SqliteConnection,
    tenant: &Tenant,
    shelf: i64,
    question: Question,
    filter: MemoryFilter,
    limit: u32,
) -> Result<Vec<Ranked>, Fault> {
    // Without a filter the memory rows, whose texts are long, are not touched.
    const ALL: &str = "select place, vector from memory_vectors where place between ?1 << 32 and ?1 << 32 | ?2";
    const SOME: &str = concat!(
        "select v.place, v.vector from memory_vectors v cross join memory m on m.id = v.place & 4294967295 \
         where v.place between ?7 << 32 and ?7 << 32 | ?8 and ",
        owned!(),
        " and ",
        filtered!()
    );
    let mut rows = if filter == MemoryFilter::default() {
        sqlx::query(ALL).bind(shelf).bind(ROW_MASK).fetch(connection)
    } else {
        of_tenant!(SOME, tenant)
            .bind(filter.category.clone())
            .bind(tags(&filter))
            .bind(filter.key_prefix.clone().unwrap_or_default())
            .bind(shelf)
            .bind(ROW_MASK)
            .fetch(connection)
    };
    let mut best = Best::new(limit as usize);
    while let Some(row) = rows.try_next().await? {
        let id = row.try_get::<i64, _>(0)? & ROW_MASK;
        best.offer(Ranked { score: question.similarity(row.try_get(1)?), id });
    }
    Ok(best.into_sorted())
}

/// The rows of the best, in their order. One that was removed in between is left out.
async fn fetch(
    connection: &mut SqliteConnection,
    tenant: &Tenant,
    best: Vec<Ranked>,
) -> Result<Vec<(MemoryRow, f32)>, Fault> {
    const FETCH: &str = concat!(
        "select ",
        columns!(),
        " from json_each(?4) as wanted cross join memory m on m.id = wanted.value ",
        with_vector!(),
        " where ",
        owned!()
    );
    let ids: Vec<i64> = best.iter().map(|row| row.id).collect();
    let ids = serde_json::to_string(&ids).expect("numbers");
    let rows = of_tenant!(FETCH, tenant).bind(ids).fetch_all(connection).await?;
    let mut found: HashMap<i64, MemoryRow> = HashMap::with_capacity(rows.len());
    for row in &rows {
        found.insert(row.try_get("id")?, decode(row)?);
    }
    Ok(best.into_iter().filter_map(|ranked| Some((found.remove(&ranked.id)?, ranked.score))).collect())
}
