//! `ice:memory`: text that outlives a call. The host adds the identity; sizes are checked where the text comes in.

use ice_core::budget::Usage;
use ice_core::ports::{Failure, MemoryFilter, MemoryHit, MemoryItem};
use ice_core::problem::Code;

use super::{json, words};
use crate::bindings::imports::ice::memory::memory;
use crate::call::Guest;
use crate::gate::{Fresh, Gate, Kept, Need, Pass, Refusal, digest};

/// Longest key, as the WIT says.
const KEY_BYTES_MAX: usize = 256;
/// Longest text, as the WIT says.
const TEXT_BYTES_MAX: usize = 64 << 10;
/// Longest metadata, as the WIT says.
const METADATA_BYTES_MAX: usize = 16 << 10;
/// Longest answer of a search, as the WIT says.
const LIMIT_MAX: u32 = 100;

type Answer<T> = wasmtime::Result<Result<T, memory::Error>>;

impl memory::Host for Guest {
    async fn write(&mut self, scope: String, item: memory::Item) -> Answer<()> {
        self.gate.enter()?;
        let gate = &self.gate;
        let item = match item_from(&scope, item) {
            Ok(item) => item,
            Err(error) => return Ok(Err(error)),
        };
        let request = digest(&("write", &scope, &item));
        let estimate = gate.ports.memory.estimate(item.text.len());
        let answer = use_scope(gate, &scope, ("write", estimate), request, async {
            let usage = gate.ports.memory.write(gate.scope.identity(), &scope, item).await?;
            Ok(((), usage))
        });
        Ok(answer.await)
    }

    async fn read(&mut self, scope: String, key: String) -> Answer<Option<memory::Item>> {
        self.gate.enter()?;
        let gate = &self.gate;
        let request = digest(&("read", &scope, &key));
        let answer = use_scope(gate, &scope, ("read", Usage::default()), request, async {
            let item = gate.ports.memory.read(gate.scope.identity(), &scope, &key).await?;
            Ok((Fresh(item), Usage::default()))
        });
        Ok(answer.await.map(|item| item.0.map(item_into)))
    }

    async fn search(
        &mut self,
        scope: String,
        query: String,
        filter: memory::Filter,
        limit: u32,
    ) -> Answer<Vec<memory::Hit>> {
        self.gate.enter()?;
        let gate = &self.gate;
        let filter = MemoryFilter { category: filter.category, tags: filter.tags, key_prefix: filter.key_prefix };
        let limit = limit.min(LIMIT_MAX);
        let request = digest(&("search", &scope, &query, &filter, limit));
        let estimate = gate.ports.memory.estimate(query.len());
        let answer = use_scope(gate, &scope, ("search", estimate), request, async {
            let who = gate.scope.identity();
            let (hits, usage) = gate.ports.memory.search(who, &scope, &query, &filter, limit).await?;
            Ok((Fresh(hits), usage))
        });
        Ok(answer.await.map(|hits| hits.0.into_iter().map(hit_into).collect()))
    }

    async fn recent(&mut self, scope: String, key_prefix: String, limit: u32) -> Answer<Vec<memory::Item>> {
        self.gate.enter()?;
        let gate = &self.gate;
        let limit = limit.min(LIMIT_MAX);
        let request = digest(&("recent", &scope, &key_prefix, limit));
        let answer = use_scope(gate, &scope, ("recent", Usage::default()), request, async {
            let items = gate.ports.memory.recent(gate.scope.identity(), &scope, &key_prefix, limit).await?;
            Ok((Fresh(items), Usage::default()))
        });
        Ok(answer.await.map(|items| items.0.into_iter().map(item_into).collect()))
    }

    async fn forget(&mut self, scope: String, key: String) -> Answer<()> {
        self.gate.enter()?;
        let gate = &self.gate;
        let request = digest(&("forget", &scope, &key));
        let answer = use_scope(gate, &scope, ("forget", Usage::default()), request, async {
            gate.ports.memory.forget(gate.scope.identity(), &scope, &key).await?;
            Ok(((), Usage::default()))
        });
        Ok(answer.await)
    }
}

async fn use_scope<T: Kept>(
    gate: &Gate,
    scope: &str,
    (operation, estimate): (&str, Usage),
    request: ice_core::id::Digest,
    ask: impl Future<Output = Result<(T, Usage), Failure>>,
) -> Result<T, memory::Error> {
    let write = matches!(operation, "write" | "forget");
    let pass = Pass {
        need: Need::Memory { scope, write },
        operation: format!("{operation} {scope}"),
        turn: gate.turn(),
        request,
        estimate: (estimate != Usage::default()).then_some(estimate),
    };
    gate.pass(pass, ask).await.map_err(error_into)
}

fn item_from(scope: &str, item: memory::Item) -> Result<MemoryItem, memory::Error> {
    if scope.is_empty() || item.key.is_empty() {
        return Err(memory::Error::Invalid("the scope and the key must not be empty".into()));
    }
    let sizes = [
        ("key", item.key.len(), KEY_BYTES_MAX),
        ("text", item.text.len(), TEXT_BYTES_MAX),
        ("metadata", item.metadata.len(), METADATA_BYTES_MAX),
    ];
    if let Some((what, bytes, most)) = sizes.into_iter().find(|(_, bytes, most)| bytes > most) {
        return Err(memory::Error::TooLarge(format!("the {what} has {bytes} bytes, {most} are the most")));
    }
    let metadata = json(&item.metadata, "the metadata").map_err(memory::Error::Invalid)?;
    if !metadata.is_object() {
        return Err(memory::Error::Invalid("the metadata is not a JSON object".into()));
    }
    Ok(MemoryItem { key: item.key, text: item.text, metadata })
}

fn item_into(item: MemoryItem) -> memory::Item {
    memory::Item { key: item.key, text: item.text, metadata: item.metadata.to_string() }
}

fn hit_into(hit: MemoryHit) -> memory::Hit {
    memory::Hit { item: item_into(hit.item), score: hit.score, source: hit.source }
}

fn error_into(refusal: Refusal) -> memory::Error {
    let problem = match refusal {
        Refusal::Denied(text) => return memory::Error::Denied(text),
        Refusal::Failed(failure) => failure.problem,
    };
    match problem.code {
        Code::X080 => memory::Error::TooLarge(words(&problem)),
        Code::X081 | Code::G022 => memory::Error::Invalid(words(&problem)),
        _ => memory::Error::Unavailable(words(&problem)),
    }
}
