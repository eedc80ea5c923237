use std::sync::Mutex;

use ice_core::ports::{DeltaSink, LlmReply, LlmRequest, ModelInfo};
use serde_json::json;

use super::*;
use crate::SystemClock;

/// Rows in a list; words are ranked by how many of the query they hold, vectors by their dot product.
#[derive(Default)]
struct Rows(Mutex<Vec<(Identity, String, MemoryRow)>>);

impl Rows {
    fn of(&self, who: &Identity, scope: &str) -> Vec<MemoryRow> {
        let rows = self.0.lock().unwrap();
        rows.iter().filter(|(w, s, _)| w == who && s == scope).map(|(.., row)| row.clone()).collect()
    }
}

fn ranked(mut rows: Vec<(MemoryRow, f32)>, limit: u32) -> Vec<(MemoryRow, f32)> {
    rows.sort_by(|a, b| b.1.total_cmp(&a.1));
    rows.truncate(limit as usize);
    rows
}

#[async_trait]
impl MemoryRows for Rows {
    async fn put(&self, who: &Identity, scope: &str, row: MemoryRow) -> Result<(), Failure> {
        let mut rows = self.0.lock().unwrap();
        rows.retain(|(w, s, old)| w != who || s != scope || old.item.key != row.item.key);
        rows.push((who.clone(), scope.into(), row));
        Ok(())
    }
    async fn get(&self, who: &Identity, scope: &str, key: &str) -> Result<Option<MemoryRow>, Failure> {
        Ok(self.of(who, scope).into_iter().find(|row| row.item.key == key))
    }
    async fn keyword(
        &self,
        who: &Identity,
        scope: &str,
        query: &str,
        _filter: &MemoryFilter,
        limit: u32,
    ) -> Result<Vec<(MemoryRow, f32)>, Failure> {
        let score = |row: &MemoryRow| query.split(' ').filter(|word| row.item.text.contains(word)).count() as f32;
        let rows = self.of(who, scope).into_iter().map(|row| (row.clone(), score(&row)));
        Ok(ranked(rows.filter(|(_, score)| *score > 0.0).collect(), limit))
    }
    async fn nearest(
        &self,
        who: &Identity,
        scope: &str,
        embedder: &str,
        vector: &[f32],
        _filter: &MemoryFilter,
        limit: u32,
    ) -> Result<Vec<(MemoryRow, f32)>, Failure> {
        let rows = self.of(who, scope).into_iter().filter_map(|row| {
            let (model, other) = row.embedding.clone()?;
            let product = vector.iter().zip(&other).map(|(a, b)| a * b).sum();
            (model == embedder).then_some((row, product))
        });
        Ok(ranked(rows.collect(), limit))
    }
    async fn recent(&self, who: &Identity, scope: &str, prefix: &str, limit: u32) -> Result<Vec<MemoryRow>, Failure> {
        let rows = self.of(who, scope).into_iter().rev().filter(|row| row.item.key.starts_with(prefix));
        Ok(rows.take(limit as usize).collect())
    }
    async fn delete(&self, who: &Identity, scope: &str, key: &str) -> Result<(), Failure> {
        self.0.lock().unwrap().retain(|(w, s, row)| w != who || s != scope || row.item.key != key);
        Ok(())
    }
}

/// Knows two meanings: fruit and tools. Keeps what it was asked.
#[derive(Default)]
struct Meanings(Mutex<Vec<String>>);

#[async_trait]
impl Llm for Meanings {
    fn resolve(&self, _: &LlmRequest) -> Result<ModelInfo, Failure> {
        unreachable!("memory does not chat")
    }
    async fn complete(&self, _: &LlmRequest, _: Option<DeltaSink<'_>>) -> Result<LlmReply, Failure> {
        unreachable!("memory does not chat")
    }
    async fn embed(&self, model: &str, texts: &[String]) -> Result<Embeddings, Failure> {
        self.0.lock().unwrap().extend(texts.iter().cloned());
        let vector = |text: &String| {
            let fruit = ["apple", "pear", "fruit"].iter().any(|word| text.contains(word));
            if fruit { vec![1.0, -0.1] } else { vec![-0.1, 1.0] }
        };
        let usage = Usage { input_tokens: 7, ..Usage::default() };
        Ok(Embeddings { vectors: texts.iter().map(vector).collect(), model: model.into(), usage })
    }
}

fn item(key: &str, text: &str) -> MemoryItem {
    MemoryItem { key: key.into(), text: text.into(), metadata: json!({}) }
}

fn keyword_memory(options: MemoryOptions) -> SearchMemory {
    SearchMemory::new(Arc::new(Rows::default()), Arc::new(SystemClock), options)
}

fn hybrid_memory() -> (SearchMemory, Arc<Meanings>) {
    let meanings = Arc::new(Meanings::default());
    let llm: Arc<dyn Llm> = meanings.clone();
    (keyword_memory(MemoryOptions::default()).with_embedder(llm, "test/meanings"), meanings)
}

async fn found(memory: &SearchMemory, query: &str) -> Vec<(String, String)> {
    let (hits, _) = memory.search(&Identity::local(), "notes", query, &MemoryFilter::default(), 10).await.unwrap();
    assert!(hits.is_sorted_by(|a, b| a.score >= b.score));
    hits.into_iter().map(|hit| (hit.item.key, hit.source)).collect()
}

fn code(result: Result<impl Sized, Failure>) -> Code {
    result.map(|_| ()).unwrap_err().problem.code
}

#[tokio::test]
async fn without_embedder_it_searches_by_keyword_and_says_so() {
    let memory = keyword_memory(MemoryOptions::default());
    assert_eq!(memory.retrieval(), "keyword");
    let who = Identity::local();
    assert_eq!(memory.write(&who, "notes", item("a", "an apple")).await.unwrap(), Usage::default());
    memory.write(&who, "notes", item("b", "a hammer")).await.unwrap();
    assert_eq!(found(&memory, "apple").await, [("a".into(), "keyword".into())]);
}

#[tokio::test]
async fn with_embedder_words_and_meaning_make_one_ranking() {
    let (memory, _) = hybrid_memory();
    assert_eq!(memory.retrieval(), "hybrid");
    let who = Identity::local();
    for (key, text) in
        [("tool", "a hammer"), ("word", "fruit hammer knife"), ("both", "an apple fruit"), ("mean", "a pear")]
    {
        assert_eq!(memory.write(&who, "notes", item(key, text)).await.unwrap().input_tokens, 7);
    }
    let hits = found(&memory, "apple fruit").await;
    assert_eq!(hits[0], ("both".into(), "hybrid".into()));
    assert!(hits.contains(&("mean".into(), "vector".into())));
    assert!(
        !hits.iter().any(|(key, _)| key == "tool"),
        "below the least similarity and without a common word: {hits:?}"
    );
}

#[test]
fn fusion_adds_reciprocal_ranks() {
    let row = |key: &str| {
        let content = Digest::of(b"");
        (MemoryRow { item: item(key, ""), content, embedding: None, written: 0 }, 1.0)
    };
    let hits = fusion::fuse(vec![row("a"), row("b")], vec![row("b"), row("c")], 20.0);
    let shown: Vec<_> = hits.iter().map(|hit| (hit.item.key.as_str(), hit.source.as_str())).collect();
    assert_eq!(shown, [("b", "hybrid"), ("a", "keyword"), ("c", "vector")]);
    assert!((hits[0].score - (1.0 / 22.0 + 1.0 / 21.0)).abs() < 1e-6);
    assert!((hits[1].score - 1.0 / 21.0).abs() < 1e-6);
}

#[tokio::test]
async fn the_same_text_is_not_embedded_twice() {
    let (memory, meanings) = hybrid_memory();
    let who = Identity::local();
    memory.write(&who, "notes", item("a", "an apple")).await.unwrap();
    assert_eq!(memory.write(&who, "notes", item("a", "an apple")).await.unwrap(), Usage::default());
    memory.write(&who, "notes", item("a", "a pear")).await.unwrap();
    assert_eq!(*meanings.0.lock().unwrap(), ["an apple", "a pear"]);
}

#[tokio::test]
async fn keeps_the_text_as_given_and_embeds_its_normal_form() {
    let (memory, meanings) = hybrid_memory();
    let who = Identity::local();
    memory.write(&who, "notes", item("a", "o\u{fb03}ce")).await.unwrap();
    assert_eq!(memory.read(&who, "notes", "a").await.unwrap().unwrap().text, "o\u{fb03}ce");
    assert_eq!(*meanings.0.lock().unwrap(), ["office"]);
    let long = "ä".repeat(TEXT_BYTES_MAX / 2);
    memory.write(&who, "notes", item("b", &long)).await.unwrap();
    assert_eq!(meanings.0.lock().unwrap()[1].len(), EMBEDDED_BYTES_MAX);
    memory.write(&who, "notes", item("c", " \n")).await.unwrap();
    assert_eq!(meanings.0.lock().unwrap().len(), 2, "white space has no vector");
}

#[tokio::test]
async fn refuses_what_is_too_large_or_nobodys() {
    let memory = keyword_memory(MemoryOptions::default());
    let who = Identity::local();
    let nobody = Identity { org: " ".into(), user: "u".into(), session: None };
    let no_user = Identity { org: "o".into(), user: String::new(), session: None };
    let huge = MemoryItem { metadata: json!({"a": "x".repeat(METADATA_BYTES_MAX)}), ..item("a", "") };
    let list = MemoryItem { metadata: json!([]), ..item("a", "") };
    let table = [
        (&who, "notes", item(&"k".repeat(257), ""), Code::X080),
        (&who, "notes", item("a", &"t".repeat(TEXT_BYTES_MAX + 1)), Code::X080),
        (&who, "notes", huge, Code::X080),
        (&who, &"s".repeat(300), item("a", ""), Code::X080),
        (&who, "notes", list, Code::X081),
        (&who, "notes", item("", ""), Code::X081),
        (&who, "notes", item("a", "a\0b"), Code::X081),
        (&who, "", item("a", ""), Code::X081),
        (&who, "a\nb", item("a", ""), Code::X081),
        (&nobody, "notes", item("a", ""), Code::X081),
        (&no_user, "notes", item("a", ""), Code::X081),
    ];
    for (who, scope, item, expected) in table {
        assert_eq!(code(memory.write(who, scope, item.clone()).await), expected, "{scope} {}", item.key);
    }
    memory.write(&who, "notes", item(&"k".repeat(256), &"t".repeat(TEXT_BYTES_MAX))).await.unwrap();
    let all = MemoryFilter::default();
    assert_eq!(code(memory.search(&nobody, "notes", "x", &all, 1).await), Code::X081);
    assert_eq!(code(memory.search(&who, "notes", " ", &all, 1).await), Code::X081);
    assert_eq!(code(memory.search(&who, "notes", "x", &all, 0).await), Code::X081);
    assert_eq!(code(memory.search(&who, "notes", &"x".repeat(QUERY_BYTES_MAX + 1), &all, 1).await), Code::X080);
    assert_eq!(code(memory.recent(&who, "notes", "", 201).await), Code::X081);
    assert_eq!(code(memory.read(&nobody, "notes", "a").await), Code::X081);
    assert_eq!(code(memory.forget(&who, "notes", "").await), Code::X081);
}

#[tokio::test]
async fn what_one_remembers_another_does_not_see() {
    let memory = keyword_memory(MemoryOptions::default());
    let other = Identity { user: "other".into(), ..Identity::local() };
    memory.write(&Identity::local(), "notes", item("a", "an apple")).await.unwrap();
    let all = MemoryFilter::default();
    assert!(memory.read(&other, "notes", "a").await.unwrap().is_none());
    assert!(memory.search(&other, "notes", "apple", &all, 5).await.unwrap().0.is_empty());
    assert!(memory.search(&Identity::local(), "elsewhere", "apple", &all, 5).await.unwrap().0.is_empty());
}

#[tokio::test]
async fn lists_the_newest_and_forgets() {
    let memory = keyword_memory(MemoryOptions::default());
    let who = Identity::local();
    for key in ["s1/1", "s1/2", "s2/1"] {
        memory.write(&who, "chat", item(key, key)).await.unwrap();
    }
    let recent = memory.recent(&who, "chat", "s1/", 5).await.unwrap();
    assert_eq!(recent.iter().map(|item| item.key.as_str()).collect::<Vec<_>>(), ["s1/2", "s1/1"]);
    memory.forget(&who, "chat", "s1/2").await.unwrap();
    memory.forget(&who, "chat", "s1/2").await.unwrap();
    assert!(memory.read(&who, "chat", "s1/2").await.unwrap().is_none());
}

#[tokio::test]
async fn masks_or_refuses_personal_data() {
    let who = Identity::local();
    let personal =
        MemoryItem { metadata: json!({"from": ["ann@mail.example"], "n": 1}), ..item("a", "call +14155552671") };
    let masking = keyword_memory(MemoryOptions { redaction: Redaction::Mask, ..MemoryOptions::default() });
    masking.write(&who, "notes", personal.clone()).await.unwrap();
    let kept = masking.read(&who, "notes", "a").await.unwrap().unwrap();
    assert_eq!((kept.text.as_str(), kept.metadata), ("call [phone]", json!({"from": ["[email]"], "n": 1})));

    let refusing = keyword_memory(MemoryOptions { redaction: Redaction::Refuse, ..MemoryOptions::default() });
    assert_eq!(code(refusing.write(&who, "notes", personal.clone()).await), Code::G022);
    let hidden = MemoryItem { text: "plain".into(), ..personal };
    assert_eq!(code(refusing.write(&who, "notes", hidden).await), Code::G022);
    refusing.write(&who, "notes", item("b", "plain")).await.unwrap();
}
