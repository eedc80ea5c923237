//! Memory rows: writing, reading, and finding them by words. Finding by vector is in `nearest.rs`.
//!
//! Every statement names org, user and scope. The word index has its own token for the three, which makes a search
//! touch only their rows; but the rows it returns are compared with org, user and scope again, so a mistake in the
//! index can lose an answer and never show one to a stranger. A word weighs by how rare it is among the tenant's own
//! texts, as in BM25: other tenants move no score.

use async_trait::async_trait;
use ice_core::id::{Digest, Identity};
use ice_core::ports::{Failure, MemoryFilter, MemoryItem, MemoryRow, MemoryRows};
use ice_core::problem::{Code, Problem};
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{Connection, PgConnection, Row};

use super::{Store, nearest};
use crate::fault::{Fault, integer, natural};
use crate::words;

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

/// A statement with its first parameters, `$1` to `$3`.
macro_rules! of_tenant {
    ($sql:expr, $tenant:expr) => {
        sqlx::query($sql).bind($tenant.who.org.clone()).bind($tenant.who.user.clone()).bind($tenant.scope.clone())
    };
}
pub(super) use of_tenant;

/// What [`decode`] reads; `m` is the memory row and `s` its shelf.
macro_rules! columns {
    () => {
        "m.id, m.key, m.text, m.metadata, m.content, m.written, s.embedder, m.vector"
    };
}
pub(super) use columns;

macro_rules! with_shelf {
    () => {
        " left join memory_shelves s on s.number = m.shelf "
    };
}
pub(super) use with_shelf;

macro_rules! owned {
    () => {
        " m.org = $1 and m.usr = $2 and m.scope = $3 "
    };
}
pub(super) use owned;

/// The filter as a condition; its parameters are `$4` category or null, `$5` tags, `$6` key prefix, all as bytes, so no
/// character of them means anything but itself.
macro_rules! filtered {
    () => {
        " ($4::bytea is null or m.category = $4) and m.tags @> $5::bytea[] \
          and substring(m.key from 1 for octet_length($6::bytea)) = $6 "
    };
}
pub(super) use filtered;

/// A statement with its first parameters, `$1` to `$6`.
macro_rules! of_filter {
    ($sql:expr, $tenant:expr, $filter:expr) => {
        of_tenant!($sql, $tenant)
            .bind($filter.category.as_ref().map(|category| category.clone().into_bytes()))
            .bind($filter.tags.iter().map(|tag| tag.clone().into_bytes()).collect::<Vec<_>>())
            .bind($filter.key_prefix.clone().unwrap_or_default().into_bytes())
    };
}
pub(super) use of_filter;

/// The stem of the word in `$word`; a word that the dictionary would leave out stays as it is.
macro_rules! stem {
    () => {
        "quote_literal(coalesce((ts_lexize('pg_catalog.english_stem', w.word))[1], w.word))"
    };
}

#[async_trait]
impl MemoryRows for Store {
    async fn put(&self, who: &Identity, scope: &str, row: MemoryRow) -> Result<(), Failure> {
        let tenant = Tenant::new(who, scope);
        if let Some((embedder, vector)) = &row.embedding {
            nearest::check(embedder, vector).map_err(Failure::never)?;
            self.inner.vectors.prepare(&self.inner.pool, vector.len()).await;
        }
        self.write(move |connection| Box::pin(put(connection, tenant, row))).await
    }

    async fn get(&self, who: &Identity, scope: &str, key: &str) -> Result<Option<MemoryRow>, Failure> {
        const GET: &str =
            concat!("select ", columns!(), " from memory m ", with_shelf!(), " where ", owned!(), " and m.key = $4");
        let (tenant, key) = (Tenant::new(who, scope), key.as_bytes().to_vec());
        self.read(move |connection| {
            let query = of_tenant!(GET, tenant).bind(key.clone());
            Box::pin(async move {
                let row = query.fetch_optional(connection).await?;
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
        let terms = words::asked_words(query);
        if terms.is_empty() {
            return Ok(Vec::new());
        }
        let (tenant, filter) = (Tenant::new(who, scope), filter.clone());
        self.read(move |connection| Box::pin(keyword(connection, tenant.clone(), terms.clone(), filter.clone(), limit)))
            .await
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
        nearest::check(embedder, vector).map_err(Failure::never)?;
        let wanted = nearest::Wanted {
            tenant: Tenant::new(who, scope),
            embedder: embedder.to_owned(),
            vector: vector.to_vec(),
            filter: filter.clone(),
            limit,
            index: self.inner.vectors.of(vector.len()),
        };
        self.read(move |connection| Box::pin(nearest::search(connection, wanted.clone()))).await
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
            with_shelf!(),
            " where ",
            owned!(),
            " and substring(m.key from 1 for octet_length($4::bytea)) = $4 order by m.written desc, m.id desc limit $5"
        );
        let (tenant, prefix) = (Tenant::new(who, scope), key_prefix.as_bytes().to_vec());
        self.read(move |connection| {
            let query = of_tenant!(RECENT, tenant).bind(prefix.clone()).bind(i64::from(limit));
            Box::pin(async move { query.fetch_all(connection).await?.iter().map(decode).collect() })
        })
        .await
    }

    async fn delete(&self, who: &Identity, scope: &str, key: &str) -> Result<(), Failure> {
        const DELETE: &str = concat!("delete from memory m where ", owned!(), " and m.key = $4");
        let query = of_tenant!(DELETE, Tenant::new(who, scope)).bind(key.as_bytes().to_vec());
        self.write(move |connection| {
            Box::pin(async move {
                query.execute(connection).await?;
                Ok(())
            })
        })
        .await
    }
}

/// Puts the row in the place of the one under its key. The new id makes it the one that was written last.
async fn put(connection: &mut PgConnection, tenant: Tenant, row: MemoryRow) -> Result<(), Fault> {
    const PUT: &str = concat!(
        "insert into memory \
            (org, usr, scope, key, text, metadata, category, tags, content, written, shelf, vector, words) \
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, \
                (select string_agg(",
        stem!(),
        " || ':' || least(w.place, 16383), ' ') from unnest($13::text[]) with ordinality as w (word, place))::tsvector) \
            on conflict (org, usr, scope, key) do update set id = excluded.id, text = excluded.text, \
                metadata = excluded.metadata, category = excluded.category, tags = excluded.tags, \
                content = excluded.content, written = excluded.written, shelf = excluded.shelf, \
                vector = excluded.vector, words = excluded.words"
    );
    let metadata = &row.item.metadata;
    let category = metadata.get("category").and_then(Value::as_str).map(|category| category.as_bytes().to_vec());
    let tags = metadata.get("tags").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let tags: Vec<Vec<u8>> = tags.iter().filter_map(Value::as_str).map(|tag| tag.as_bytes().to_vec()).collect();
    // The tenant's token comes first, so there is always a word.
    let mut words = vec![words::tenant(&tenant.who, &tenant.scope)];
    words.extend(words::index_words(&row.item.text));
    let mut transaction = connection.begin().await?;
    let shelf = match &row.embedding {
        Some((embedder, vector)) => Some(nearest::shelf_for(&mut transaction, &tenant, embedder, vector).await?),
        None => None,
    };
    of_tenant!(PUT, tenant)
        .bind(row.item.key.into_bytes())
        .bind(row.item.text.into_bytes())
        .bind(row.item.metadata.to_string())
        .bind(category)
        .bind(tags)
        .bind(row.content.as_bytes().to_vec())
        .bind(integer(row.written))
        .bind(shelf)
        .bind(row.embedding.map(|(_, vector)| vector))
        .bind(words)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(())
}

/// Rows with any of the terms, by the sum over the terms of rarity times frequency, the latter saturating and measured
/// by the length of the text: `ts_rank` of one term with normalisation 1, weighed as BM25 weighs.
async fn keyword(
    connection: &mut PgConnection,
    tenant: Tenant,
    terms: Vec<Vec<String>>,
    filter: MemoryFilter,
    limit: u32,
) -> Result<Vec<(MemoryRow, f32)>, Fault> {
    const KEYWORD: &str = concat!(
        "with terms as materialized (select string_agg(",
        stem!(),
        ", ' <-> ' order by w.place)::tsquery as asked \
            from unnest($7::int8[], $8::text[]) with ordinality as w (term, word, place) group by w.term), \
        question as materialized (select quote_literal($9::text)::tsquery && \
            string_agg('(' || asked::text || ')', ' | ')::tsquery as asked from terms), \
        tenant as materialized (select count(*)::float8 as texts from memory m where ",
        owned!(),
        "), found as materialized (select m.id, m.words from memory m cross join question \
            where m.words @@ question.asked and ",
        owned!(),
        " and ",
        filtered!(),
        "), weighed as materialized (select asked, ln(1 + (texts - holding + 0.5) / (holding + 0.5)) as weight \
            from terms cross join tenant cross join lateral \
            (select count(*) as holding from found where found.words @@ terms.asked) as counted), \
        best as materialized (select found.id, sum(weight * ts_rank(found.words, asked, 1)) as score \
            from found join weighed on found.words @@ asked group by found.id \
            order by score desc, found.id limit $10) \
        select ",
        columns!(),
        ", best.score from best join memory m on m.id = best.id ",
        with_shelf!(),
        " where ",
        owned!(),
        " order by best.score desc, m.id"
    );
    let places = |(number, term): (i64, &Vec<String>)| vec![number; term.len()];
    let rows = of_filter!(KEYWORD, tenant, filter)
        .bind((0_i64..).zip(&terms).flat_map(places).collect::<Vec<i64>>())
        .bind(terms.concat())
        .bind(words::tenant(&tenant.who, &tenant.scope))
        .bind(i64::from(limit))
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| Ok((decode(row)?, row.try_get::<f64, _>("score")? as f32))).collect()
}

/// Reads a row of [`columns`].
pub(super) fn decode(row: &PgRow) -> Result<MemoryRow, Fault> {
    let damaged = |what: &str| {
        Problem::new(Code::C043, format!("the {what} of a remembered text is damaged"))
            .help("write the text again, or restore a copy of the database")
    };
    let text = |column: &str| -> Result<String, Fault> {
        Ok(String::from_utf8(row.try_get(column)?).map_err(|_| damaged(column))?)
    };
    let metadata = serde_json::from_str(row.try_get("metadata")?).map_err(|_| damaged("metadata"))?;
    let content: [u8; 32] = row.try_get::<&[u8], _>("content")?.try_into().map_err(|_| damaged("digest"))?;
    let embedding = match (row.try_get("embedder")?, row.try_get("vector")?) {
        (Some(embedder), Some(vector)) => Some((embedder, vector)),
        _ => None,
    };
    Ok(MemoryRow {
        item: MemoryItem { key: text("key")?, text: text("text")?, metadata },
        content: Digest::from_bytes(content),
        embedding,
        written: natural(row.try_get("written")?),
    })
}
