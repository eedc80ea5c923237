//! Remembering: checks what is written, makes vectors where there is an embedder, and searches by words and meaning.
//!
//! Rows and ranks are the store's ([`MemoryRows`]); who may use which scope the gate has already asked. Without an
//! embedder, search is by keyword only and every answer says so: vectors made of hashes measurably find less.

mod fusion;

use std::sync::Arc;

use async_trait::async_trait;
use ice_core::budget::Usage;
use ice_core::id::{Digest, Identity};
use ice_core::ports::{
    Clock, Embeddings, Failure, Llm, Memory, MemoryFilter, MemoryHit, MemoryItem, MemoryRow, MemoryRows,
};
use ice_core::problem::{Code, Problem};
use serde_json::Value;
use unicode_normalization::UnicodeNormalization as _;

use crate::redact::Redaction;

/// Limits of `ice:memory`: a guest writes them, the host indexes them.
const KEY_BYTES_MAX: usize = 256;
const TEXT_BYTES_MAX: usize = 64 << 10;
const METADATA_BYTES_MAX: usize = 16 << 10;
/// A scope is a name, not a text.
const SCOPE_BYTES_MAX: usize = 256;
/// A question, or a page that somebody pasted; a longer one finds nothing better.
const QUERY_BYTES_MAX: usize = 8 << 10;
/// Most answers of one search or listing.
const LIMIT_MAX: u32 = 200;
/// How many rows of each ranking are fused.
const CANDIDATES: u32 = 100;
/// Embedders read some 8,000 tokens. The rest of a longer text is found by its words only.
const EMBEDDED_BYTES_MAX: usize = 24 << 10;

/// What an operator may set about memory.
#[derive(Clone, Copy, Debug)]
pub struct MemoryOptions {
    /// What to do with personal data and keys in what is written. Default: nothing.
    pub redaction: Redaction,
    /// The constant of reciprocal rank fusion: larger ones make the first ranks less special. Default: 20.
    pub fusion_k: f32,
    /// Vectors less similar than this (cosine, −1 to 1) are no answer. Default: 0.
    pub similarity_min: f32,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self { redaction: Redaction::Off, fusion_k: 20.0, similarity_min: 0.0 }
    }
}

/// Memory over rows: implements the port.
pub struct SearchMemory {
    rows: Arc<dyn MemoryRows>,
    embedder: Option<Embedder>,
    clock: Arc<dyn Clock>,
    options: MemoryOptions,
}

struct Embedder {
    llm: Arc<dyn Llm>,
    /// `provider/model`; rows of another embedder are not compared with it.
    model: String,
}

impl SearchMemory {
    /// Memory with search by keyword.
    pub fn new(rows: Arc<dyn MemoryRows>, clock: Arc<dyn Clock>, options: MemoryOptions) -> Self {
        Self { rows, embedder: None, clock, options }
    }

    /// Adds search by meaning: `model` is `provider/model` of an embedder that `llm` serves.
    #[must_use]
    pub fn with_embedder(mut self, llm: Arc<dyn Llm>, model: impl Into<String>) -> Self {
        self.embedder = Some(Embedder { llm, model: model.into() });
        self
    }

    /// How a search finds: `hybrid` (words and meaning) or `keyword`.
    pub fn retrieval(&self) -> &'static str {
        if self.embedder.is_some() { "hybrid" } else { "keyword" }
    }

    fn redact(&self, item: MemoryItem) -> Result<MemoryItem, Failure> {
        let policy = self.options.redaction;
        let kept = |text: &str| policy.apply(text).map(std::borrow::Cow::into_owned).map_err(Failure::never);
        if policy == Redaction::Mask {
            // A masked key would name another row.
            return Ok(MemoryItem {
                text: kept(&item.text)?,
                metadata: redact_value(item.metadata, &kept)?,
                key: item.key,
            });
        }
        for text in [&item.key, &item.text] {
            kept(text)?;
        }
        redact_value(item.metadata.clone(), &kept)?;
        Ok(item)
    }

    /// The vector of a text, and what it cost. The one that is stored already costs nothing.
    async fn vector(
        &self,
        text: &str,
        stored: Option<&MemoryRow>,
    ) -> Result<(Option<(String, Vec<f32>)>, Usage), Failure> {
        let Some(embedder) = &self.embedder else {
            return Ok((None, Usage::default()));
        };
        let same = stored.filter(|row| row.content == Digest::of(text.as_bytes()));
        let known = same.and_then(|row| row.embedding.clone()).filter(|(model, _)| *model == embedder.model);
        if known.is_some() {
            return Ok((known, Usage::default()));
        }
        let Some(form) = embedded_form(text) else {
            return Ok((None, Usage::default()));
        };
        let (vector, usage) = embedder.embed(form).await?;
        Ok((Some((embedder.model.clone(), vector)), usage))
    }

    async fn by_meaning(
        &self,
        embedder: &Embedder,
        who: &Identity,
        scope: &str,
        query: String,
        filter: &MemoryFilter,
    ) -> Result<(Vec<(MemoryRow, f32)>, Usage), Failure> {
        let (vector, usage) = embedder.embed(query).await?;
        let mut rows = self.rows.nearest(who, scope, &embedder.model, &vector, filter, CANDIDATES).await?;
        rows.retain(|(_, similarity)| *similarity >= self.options.similarity_min);
        Ok((rows, usage))
    }
}

impl Embedder {
    async fn embed(&self, text: String) -> Result<(Vec<f32>, Usage), Failure> {
        let Embeddings { mut vectors, usage, .. } = self.llm.embed(&self.model, &[text]).await?;
        match vectors.pop().filter(|vector| vectors.is_empty() && !vector.is_empty()) {
            Some(vector) => Ok((vector, usage)),
            None => {
                let message = format!("the embedder `{}` gave no vector for a text", self.model);
                Err(Failure::maybe(Problem::new(Code::X075, message)))
            }
        }
    }
}

#[async_trait]
impl Memory for SearchMemory {
    fn estimate(&self, bytes: usize) -> Usage {
        let embedder = self.embedder.as_ref();
        let most = embedder.map(|embedder| embedder.llm.embedding(&embedder.model, bytes.min(EMBEDDED_BYTES_MAX)));
        // An embedder that is not to be had fails when it is asked, with a better message than any made here.
        most.and_then(Result::ok).unwrap_or_default()
    }

    async fn write(&self, who: &Identity, scope: &str, item: MemoryItem) -> Result<Usage, Failure> {
        check_place(who, scope)?;
        check_item(&item)?;
        let item = self.redact(item)?;
        check_item(&item)?;
        let stored = match &self.embedder {
            Some(_) => self.rows.get(who, scope, &item.key).await?,
            None => None,
        };
        let (embedding, usage) = self.vector(&item.text, stored.as_ref()).await?;
        let content = Digest::of(item.text.as_bytes());
        let row = MemoryRow { item, content, embedding, written: self.clock.now_ms() };
        self.rows.put(who, scope, row).await?;
        Ok(usage)
    }

    async fn read(&self, who: &Identity, scope: &str, key: &str) -> Result<Option<MemoryItem>, Failure> {
        check_place(who, scope)?;
        check_key(key)?;
        Ok(self.rows.get(who, scope, key).await?.map(|row| row.item))
    }

    async fn search(
        &self,
        who: &Identity,
        scope: &str,
        query: &str,
        filter: &MemoryFilter,
        limit: u32,
    ) -> Result<(Vec<MemoryHit>, Usage), Failure> {
        check_place(who, scope)?;
        check_limit(limit)?;
        let query: String = query.nfkc().collect();
        let query = query.trim();
        if query.is_empty() {
            return Err(invalid("the query is empty", "say what to look for; `recent` lists without a query"));
        }
        if QUERY_BYTES_MAX < query.len() {
            return Err(too_large("query", query.len(), QUERY_BYTES_MAX));
        }
        let Some(embedder) = &self.embedder else {
            let rows = self.rows.keyword(who, scope, query, filter, limit).await?;
            return Ok((fusion::keyword_only(rows), Usage::default()));
        };
        let by_words = self.rows.keyword(who, scope, query, filter, CANDIDATES).await?;
        let (by_meaning, usage) = self.by_meaning(embedder, who, scope, query.to_owned(), filter).await?;
        let mut hits = fusion::fuse(by_words, by_meaning, self.options.fusion_k);
        hits.truncate(limit as usize);
        Ok((hits, usage))
    }

    async fn recent(
        &self,
        who: &Identity,
        scope: &str,
        key_prefix: &str,
        limit: u32,
    ) -> Result<Vec<MemoryItem>, Failure> {
        check_place(who, scope)?;
        check_limit(limit)?;
        if KEY_BYTES_MAX < key_prefix.len() {
            return Err(too_large("key prefix", key_prefix.len(), KEY_BYTES_MAX));
        }
        let rows = self.rows.recent(who, scope, key_prefix, limit).await?;
        Ok(rows.into_iter().map(|row| row.item).collect())
    }

    async fn forget(&self, who: &Identity, scope: &str, key: &str) -> Result<(), Failure> {
        check_place(who, scope)?;
        check_key(key)?;
        self.rows.delete(who, scope, key).await
    }
}

/// The form that is turned into a vector: compatibility characters replaced, as in the index of words, and not longer
/// than embedders read. `None` when nothing but white space is left.
fn embedded_form(text: &str) -> Option<String> {
    let form: String = text.nfkc().collect();
    let end = (0..=form.len().min(EMBEDDED_BYTES_MAX)).rev().find(|at| form.is_char_boundary(*at)).unwrap_or_default();
    let form = form[..end].trim();
    (!form.is_empty()).then(|| form.to_owned())
}

fn redact_value(value: Value, kept: &impl Fn(&str) -> Result<String, Failure>) -> Result<Value, Failure> {
    Ok(match value {
        Value::String(text) => kept(&text)?.into(),
        Value::Array(items) => {
            items.into_iter().map(|item| redact_value(item, kept)).collect::<Result<Vec<_>, _>>()?.into()
        }
        Value::Object(members) => {
            let pairs = members.into_iter().map(|(key, value)| Ok((kept(&key)?, redact_value(value, kept)?)));
            pairs.collect::<Result<serde_json::Map<_, _>, Failure>>()?.into()
        }
        other => other,
    })
}

fn check_place(who: &Identity, scope: &str) -> Result<(), Failure> {
    if who.org.trim().is_empty() || who.user.trim().is_empty() {
        return Err(invalid(
            "the identity has no organisation or no user",
            "name both; memory always belongs to somebody",
        ));
    }
    if scope.trim().is_empty() || scope.chars().any(char::is_control) {
        return Err(invalid("the scope is empty or holds control characters", "name a scope, for example `notes`"));
    }
    if SCOPE_BYTES_MAX < scope.len() {
        return Err(too_large("scope", scope.len(), SCOPE_BYTES_MAX));
    }
    Ok(())
}

fn check_key(key: &str) -> Result<(), Failure> {
    if key.is_empty() || key.contains('\0') {
        return Err(invalid("the key is empty or holds a zero byte", "name the item, for example `turn-1`"));
    }
    if KEY_BYTES_MAX < key.len() {
        return Err(too_large("key", key.len(), KEY_BYTES_MAX));
    }
    Ok(())
}

fn check_item(item: &MemoryItem) -> Result<(), Failure> {
    check_key(&item.key)?;
    if TEXT_BYTES_MAX < item.text.len() {
        return Err(too_large("text", item.text.len(), TEXT_BYTES_MAX));
    }
    if item.text.contains('\0') {
        return Err(invalid("the text holds a zero byte", "write text; encode bytes, for example with base64"));
    }
    if !item.metadata.is_object() {
        return Err(invalid("the metadata is not a JSON object", "write `{}` for none"));
    }
    let metadata = item.metadata.to_string().len();
    if METADATA_BYTES_MAX < metadata {
        return Err(too_large("metadata", metadata, METADATA_BYTES_MAX));
    }
    Ok(())
}

fn check_limit(limit: u32) -> Result<(), Failure> {
    if (1..=LIMIT_MAX).contains(&limit) {
        return Ok(());
    }
    Err(invalid(&format!("the limit {limit} is not between 1 and {LIMIT_MAX}"), "ask for less at once"))
}

fn invalid(what: &str, help: &str) -> Failure {
    Failure::never(Problem::new(Code::X081, what).help(help))
}

fn too_large(what: &str, bytes: usize, most: usize) -> Failure {
    let message = format!("the {what} has {bytes} bytes; memory takes at most {most}");
    Failure::never(Problem::new(Code::X080, message).help("split it, or keep the large part elsewhere"))
}

#[cfg(test)]
mod tests;
