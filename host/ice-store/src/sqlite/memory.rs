//! Memory rows: writing, reading, and finding them by words. Finding by vector is in `nearest.rs`.
//!
//! Every statement names org, user and scope. The word index has its own token for the three, which makes a search
//! touch only their rows; but the rows it returns are compared with org, user and scope again, so a mistake in the
//! index can lose an answer and never show one to a stranger. BM25 weighs a word by how rare it is among all texts of
//! the database: other tenants move a score a little, and see nothing by it.

use async_trait::async_trait;
use ice_core::id::{Digest, Identity};
use ice_core::ports::{Failure, MemoryFilter, MemoryItem, MemoryRow, MemoryRows};
use ice_core::problem::{Code, Problem};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{Store, nearest};
use crate::fault::{Fault, integer, natural};
use crate::{vector, words};

/// Whose rows: the first three parameters of every statement.
#[derive(Clone)]
pub(super) struct Tenant {
    pub(super) who: Identity,
    pub(super) scope: String,
}

impl Tenant {
    fn new(who: &Identity, scope: &str) -> Self {
        Self { who: who.clone(), scope: scope.to_owned() }
    }
}

/// A statement with its first parameters, `?1` to `?3`.
macro_rules! of_tenant {
    ($sql:expr, $tenant:expr) => {
        sqlx::query($sql).bind($tenant.who.org.clone()).bind($tenant.who.user.clone()).bind($tenant.scope.clone())
    };
}
pub(super) use of_tenant;

/// What [`decode`] reads, and the tables it comes from; `m` is the memory row.
macro_rules! columns {
    () => {
        "m.id, m.key, m.text, m.metadata, m.content, m.written, s.embedder, v.vector"
    };
}
pub(super) use columns;

macro_rules! with_vector {
    () => {
        " left join memory_shelves s on s.number = m.shelf \
          left join memory_vectors v on v.place = (m.shelf << 32 | m.id) "
    };
}
pub(super) use with_vector;

macro_rules! owned {
    () => {
        " m.org = ?1 and m.usr = ?2 and m.scope = ?3 "
    };
}
pub(super) use owned;

/// The filter as a condition; its parameters are `?4` category or null, `?5` JSON array of tags, `?6` key prefix.
/// `instr` compares bytes, so no character of a prefix means anything but itself.
macro_rules! filtered {
    () => {
        " (?4 is null or (json_type(m.metadata, '$.category') = 'text' and m.metadata ->> '$.category' = ?4)) \
          and not exists (select 1 from json_each(?5) as wanted where not exists (select 1 from json_each( \
              case json_type(m.metadata, '$.tags') when 'array' then m.metadata -> '$.tags' else '[]' end) as has \
              where has.type = 'text' and has.value = wanted.value)) \
          and instr(m.key, ?6) = 1 "
    };
}
pub(super) use filtered;

/// The filter's parameters in the order of [`filtered`].
pub(super) fn tags(filter: &MemoryFilter) -> String {
    serde_json::to_string(&filter.tags).expect("texts")
}

#[async_trait]
impl MemoryRows for Store {
    async fn put(&self, who: &Identity, scope: &str, row: MemoryRow) -> Result<(), Failure> {
        let tenant = Tenant::new(who, scope);
        self.write(move |connection| {
            Box::pin(async move {
                remove(connection, &tenant, &row.item.key).await?;
                insert(connection, &tenant, row).await
            })
        })
        .await
    }

    async fn get(&self, who: &Identity, scope: &str, key: &str) -> Result<Option<MemoryRow>, Failure> {
        const GET: &str =
            concat!("select ", columns!(), " from memory m ", with_vector!(), " where ", owned!(), " and m.key = ?4");
        let (tenant, key) = (Tenant::new(who, scope), key.to_owned());
        self.read(move |connection| {
            Box::pin(async move {
                let row = of_tenant!(GET, tenant).bind(key).fetch_optional(connection).await?;
                row.as_ref().map(decode).transpose()
            })
        })
        .await
    }

    async fn keyword(
        &self,
        who: &Identity,
        scope: &str,
        query: &str,
        filter: &MemoryFilter,
        limit: u32,
    ) -> Result<Vec<(MemoryRow, f32)>, Failure> {
        let Some(expression) = words::match_expression(who, scope, query) else {
            return Ok(Vec::new());
        };
        let (tenant, filter) = (Tenant::new(who, scope), filter.clone());
        self.read(move |connection| Box::pin(keyword(connection, tenant, expression, filter, limit))).await
    }

    async fn nearest(
        &self,
        who: &Identity,
        scope: &str,
        embedder: &str,
        vector: &[f32],
        filter: &MemoryFilter,
        limit: u32,
    ) -> Result<Vec<(MemoryRow, f32)>, Failure> {
        let wanted = nearest::Wanted {
            tenant: Tenant::new(who, scope),
            embedder: embedder.to_owned(),
            vector: vector.to_vec(),
            filter: filter.clone(),
            limit,
        };
        self.read(move |connection| Box::pin(nearest::search(connection, wanted))).await
    }

    async fn recent(
        &self,
        who: &Identity,
        scope: &str,
        key_prefix: &str,
        limit: u32,
    ) -> Result<Vec<MemoryRow>, Failure> {
        const RECENT: &str = concat!(
            "select ",
            columns!(),
            " from memory m ",
            with_vector!(),
            " where ",
            owned!(),
            " and instr(m.key, ?4) = 1 order by m.written desc, m.id desc limit ?5"
        );
        let (tenant, prefix) = (Tenant::new(who, scope), key_prefix.to_owned());
        self.read(move |connection| {
            Box::pin(async move {
                let rows = of_tenant!(RECENT, tenant).bind(prefix).bind(limit).fetch_all(connection).await?;
                rows.iter().map(decode).collect()
            })
        })
        .await
    }

    async fn delete(&self, who: &Identity, scope: &str, key: &str) -> Result<(), Failure> {
        let (tenant, key) = (Tenant::new(who, scope), key.to_owned());
        self.write(move |connection| Box::pin(async move { remove(connection, &tenant, &key).await })).await
    }
}

/// Removes the row under `key` with its words and its vector.
async fn remove(connection: &mut SqliteConnection, tenant: &Tenant, key: &str) -> Result<(), Fault> {
    const REMOVE: &str =
        "delete from memory as m where m.org = ?1 and m.usr = ?2 and m.scope = ?3 and m.key = ?4 returning id, shelf";
    let removed = of_tenant!(REMOVE, tenant).bind(key.to_owned()).fetch_optional(&mut *connection).await?;
    let Some(removed) = removed else {
        return Ok(());
    };
    let (id, shelf): (i64, Option<i64>) = (removed.try_get(0)?, removed.try_get(1)?);
    sqlx::query("delete from memory_words where rowid = ?1").bind(id).execute(&mut *connection).await?;
    if let Some(shelf) = shelf {
        sqlx::query("delete from memory_vectors where place = ?1 << 32 | ?2")
            .bind(shelf)
            .bind(id)
            .execute(connection)
            .await?;
    }
    Ok(())
}

async fn insert(connection: &mut SqliteConnection, tenant: &Tenant, row: MemoryRow) -> Result<(), Fault> {
    const INSERT: &str = "insert into memory (org, usr, scope, key, text, metadata, content, written, shelf) \
        values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) returning id";
    const INSERT_WORDS: &str = "insert into memory_words (rowid, tenant, words) values (?1, ?2, ?3)";
    const INSERT_VECTOR: &str = "insert into memory_vectors (place, vector) values (?1 << 32 | ?2, ?3)";
    let shelf = match &row.embedding {
        Some((embedder, vector)) => Some(nearest::shelf_for(connection, tenant, embedder, vector).await?),
        None => None,
    };
    let words = words::index_form(&row.item.text);
    let id: i64 = of_tenant!(INSERT, tenant)
        .bind(row.item.key)
        .bind(row.item.text)
        .bind(row.item.metadata.to_string())
        .bind(row.content.as_bytes().to_vec())
        .bind(integer(row.written))
        .bind(shelf)
        .fetch_one(&mut *connection)
        .await?
        .try_get(0)?;
    let token = words::tenant(&tenant.who, &tenant.scope);
    sqlx::query(INSERT_WORDS).bind(id).bind(token).bind(words).execute(&mut *connection).await?;
    if let (Some(shelf), Some((_, vector))) = (shelf, row.embedding) {
        let bytes = vector::to_bytes(&vector);
        sqlx::query(INSERT_VECTOR).bind(shelf).bind(id).bind(bytes).execute(connection).await?;
    }
    Ok(())
}

async fn keyword(
    connection: &mut SqliteConnection,
    tenant: Tenant,
    expression: String,
    filter: MemoryFilter,
    limit: u32,
) -> Result<Vec<(MemoryRow, f32)>, Fault> {
    // `cross join` keeps the word index in front: asked freely, SQLite walks the tenant's rows and asks the index
    // about each. The rows are joined to their texts and vectors only after the best are known.
    const KEYWORD: &str = concat!(
        "with best as materialized (select m.id, -bm25(memory_words, 0.0, 1.0) as score \
         from memory_words cross join memory m on m.id = memory_words.rowid \
         where memory_words match ?7 and ",
        owned!(),
        " and ",
        filtered!(),
        " order by score desc, m.id limit ?8) \
         select ",
        columns!(),
        ", best.score from best cross join memory m on m.id = best.id ",
        with_vector!(),
        " order by best.score desc, m.id"
    );
    let rows = of_tenant!(KEYWORD, tenant)
        .bind(filter.category.clone())
        .bind(tags(&filter))
        .bind(filter.key_prefix.unwrap_or_default())
        .bind(expression)
        .bind(limit)
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| Ok((decode(row)?, row.try_get::<f64, _>("score")? as f32))).collect()
}

/// Reads a row of [`columns`].
pub(super) fn decode(row: &SqliteRow) -> Result<MemoryRow, Fault> {
    let key: String = row.try_get("key")?;
    let damaged = |what: &str| {
        Problem::new(Code::C043, format!("the {what} of the remembered text `{key}` is damaged"))
            .help("write the text again, or restore a copy of the database")
    };
    let metadata = serde_json::from_str(row.try_get("metadata")?).map_err(|_| damaged("metadata"))?;
    let content: [u8; 32] = row.try_get::<&[u8], _>("content")?.try_into().map_err(|_| damaged("digest"))?;
    let embedding = match (row.try_get("embedder")?, row.try_get::<Option<&[u8]>, _>("vector")?) {
        (Some(embedder), Some(bytes)) => Some((embedder, vector::from_bytes(bytes))),
        _ => None,
    };
    Ok(MemoryRow {
        item: MemoryItem { text: row.try_get("text")?, metadata, key },
        content: Digest::from_bytes(content),
        embedding,
        written: natural(row.try_get("written")?),
    })
}
