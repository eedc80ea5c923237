//! `memory_summarize_tool`: one text about many, with links back to them.
//!
//! Without a model the summary is made of sentences of the texts themselves: those whose words are the most common
//! ones of all the texts, after the frequency method of H. P. Luhn, "The Automatic Creation of Literature Abstracts"
//! (IBM Journal, 1958).

use std::collections::BTreeMap;

use ice_sdk::llm::{self, Request};
use ice_sdk::memory::{self, Item, LIMIT_MAX};
use ice_sdk::{ToolError, tool};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{digest, sentences};

/// Sentences of a summary without a model.
const SENTENCES: usize = 5;
/// Words this short carry no subject in most languages.
const WORD_CHARS_MIN: usize = 4;
/// What a model is shown at most, in bytes: about 12,000 tokens.
const PROMPT_BYTES_MAX: usize = 48 << 10;
/// Leaves room for the rest of the metadata, of which the host takes 16 KiB.
const BACKLINK_BYTES_MAX: usize = 12 << 10;
/// Keys of summaries begin with this; a summary is not summarised again.
const PREFIX: &str = "summary:";

/// The summary, and what it is about.
#[derive(Serialize, JsonSchema, Debug)]
pub(crate) struct Summary {
    /// The key the summary was written under, in the same scope.
    summary_key: String,
    /// The summary.
    summary: String,
    /// Keys of the texts it is about, oldest first.
    backlinks: Vec<String>,
    /// The model that wrote it; absent when it is made of sentences of the texts.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
}

/// Summarises the newest texts of a scope and remembers the summary there, with links back to the texts.
#[tool(tags("memory", "summary"))]
pub(crate) fn memory_summarize_tool(
    /// The scope to summarise.
    #[arg(default = "kb")]
    scope: String,
    /// Most texts to summarise, newest first, 1 to 100.
    #[arg(default = 10)]
    #[schemars(range(min = 1, max = 100))]
    limit: u32,
    /// How a model should write, for example `concise` or `bullet points`.
    #[arg(default = "concise")]
    style: String,
    /// Model that writes the summary; `default` is the host's. Without one, it is made of sentences of the texts.
    model: Option<String>,
) -> Result<Summary, ToolError> {
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(ToolError::invalid("limit", format!("must be 1 to {LIMIT_MAX}")));
    }
    let mut items = memory::recent(&scope, "", LIMIT_MAX)?;
    items.retain(|item| !item.key.starts_with(PREFIX));
    items.truncate(limit as usize);
    items.reverse();
    if items.is_empty() {
        return Err(ToolError::invalid("scope", format!("`{scope}` holds nothing to summarise")));
    }
    let (summary, model) = match model.filter(|model| !model.is_empty()) {
        Some(model) => ask(&model, &style, &items)?,
        None => (extract(&items), None),
    };
    let backlinks: Vec<String> = items.iter().map(|item| item.key.clone()).collect();
    let summary_key = format!("{PREFIX}{}", digest::short(&[&backlinks.join("\n"), &summary]));
    let metadata = metadata(&style, &backlinks);
    memory::write(&scope, &Item { key: summary_key.clone(), text: summary.clone(), metadata })?;
    Ok(Summary { summary_key, summary, backlinks, model })
}

fn metadata(style: &str, backlinks: &[String]) -> Map<String, Value> {
    let mut room = BACKLINK_BYTES_MAX;
    let kept = backlinks.iter().take_while(|key| {
        room = room.saturating_sub(key.len() + 4);
        room > 0
    });
    Map::from_iter([
        ("category".to_owned(), "summary".into()),
        ("style".to_owned(), style.into()),
        ("backlinks".to_owned(), kept.cloned().collect::<Vec<_>>().into()),
    ])
}

fn ask(model: &str, style: &str, items: &[Item]) -> Result<(String, Option<String>), ToolError> {
    let mut texts = String::new();
    for item in items {
        if texts.len() + item.text.len() > PROMPT_BYTES_MAX {
            break;
        }
        texts.push_str(&item.text);
        texts.push_str("\n\n");
    }
    let model = if model == "default" { "" } else { model };
    let request = Request::new(model)
        .system(format!("Summarise the notes you are given. Style: {style}. Use nothing that is not in them."))
        .user(texts);
    let reply = llm::complete(&request)?;
    if reply.offline {
        // The offline provider cannot write; sentences of the texts are better than what it would repeat.
        return Ok((extract(items), None));
    }
    Ok((reply.message.content, Some(reply.model)))
}

/// Returns the sentences that say most of what the texts say, in their own order.
fn extract(items: &[Item]) -> String {
    let sentences: Vec<&str> = items.iter().flat_map(|item| sentences::of(&item.text)).collect();
    let mut frequency: BTreeMap<String, usize> = BTreeMap::new();
    for word in sentences.iter().flat_map(|sentence| words(sentence)) {
        *frequency.entry(word).or_default() += 1;
    }
    let weight = |sentence: &str| {
        let words: Vec<String> = words(sentence).collect();
        let sum: usize = words.iter().map(|word| frequency[word]).sum();
        sum as f64 / (words.len().max(1) as f64).sqrt()
    };
    let mut ranked: Vec<(usize, f64)> = sentences.iter().map(|text| weight(text)).enumerate().collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    ranked.truncate(SENTENCES);
    ranked.sort_by_key(|(position, _)| *position);
    ranked.into_iter().map(|(position, _)| sentences[position]).collect::<Vec<_>>().join(" ")
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| word.chars().count() >= WORD_CHARS_MIN)
        .map(str::to_lowercase)
}
