//! Everything outside of the runtime, scripted: ports that count, and a scope that remembers.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use ice_core::budget::Usage;
use ice_core::event::CapabilityUse;
use ice_core::execution::Ending;
use ice_core::grant::Grant;
use ice_core::id::{Digest, ExecutionId, Identity, UnixMs};
use ice_core::ports::{
    Artifacts, Clock, DeltaSink, Embeddings, Failure, Http, HttpRequest, HttpResponse, Llm, LlmReply, LlmRequest,
    Memory, MemoryFilter, MemoryHit, MemoryItem, Message, ModelInfo, Role, Scope,
};
use ice_core::problem::{Code, Problem};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::Notify;

use crate::RuntimePorts;

/// What stands behind the ports.
#[derive(Default)]
pub(super) struct World {
    artifacts: Mutex<HashMap<Digest, Vec<u8>>>,
    pub(super) fetched: AtomicU32,
    pub(super) written: Mutex<Vec<(String, MemoryItem)>>,
    pub(super) asked: Mutex<Vec<LlmRequest>>,
    pub(super) sent: Mutex<Vec<HttpRequest>>,
    pub(super) answer: Mutex<Option<Result<HttpResponse, Failure>>>,
}

impl World {
    pub(super) fn publish(&self, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        self.artifacts.lock().unwrap().insert(digest, bytes.to_vec());
        digest
    }

    /// Changes one stored byte, as a broken disk or a thief would.
    pub(super) fn tamper(&self, digest: &Digest) {
        *self.artifacts.lock().unwrap().get_mut(digest).unwrap().last_mut().unwrap() ^= 1;
    }

    pub(super) fn ports(this: &Arc<Self>) -> RuntimePorts {
        RuntimePorts {
            artifacts: this.clone(),
            llm: this.clone(),
            memory: this.clone(),
            http: this.clone(),
            clock: this.clone(),
        }
    }
}

#[async_trait]
impl Artifacts for World {
    async fn bytes(&self, digest: &Digest) -> Result<Vec<u8>, Failure> {
        self.fetched.fetch_add(1, Ordering::Relaxed);
        let bytes = self.artifacts.lock().unwrap().get(digest).cloned();
        let refuse = || Failure::never(Problem::new(Code::T036, "the stored bytes are not those of the digest"));
        bytes.filter(|bytes| Digest::of(bytes) == *digest).ok_or_else(refuse)
    }
}

#[async_trait]
impl Llm for World {
    fn resolve(&self, _: &LlmRequest) -> Result<ModelInfo, Failure> {
        let estimate = Usage { cost_micro_usd: 500, ..Usage::default() };
        Ok(ModelInfo { provider: "echo".into(), model: "echo-1".into(), estimate })
    }

    async fn complete(&self, request: &LlmRequest, deltas: Option<DeltaSink<'_>>) -> Result<LlmReply, Failure> {
        self.asked.lock().unwrap().push(request.clone());
        if let Some(deltas) = deltas {
            deltas("hel");
            deltas("lo");
        }
        let message = Message { role: Role::Assistant, content: "hello".into(), tool_calls: vec![], answers: None };
        let usage = Usage { input_tokens: 3, output_tokens: 2, cost_micro_usd: 400, unpriced_calls: 0 };
        let (model, finish_reason) = ("echo/echo-1".into(), "stop".into());
        Ok(LlmReply { message, model, usage, offline: true, finish_reason })
    }

    async fn embed(&self, _: &str, _: &[String]) -> Result<Embeddings, Failure> {
        Err(Failure::never(Problem::new(Code::X079, "no embedder")))
    }
}

#[async_trait]
impl Memory for World {
    async fn write(&self, who: &Identity, scope: &str, item: MemoryItem) -> Result<Usage, Failure> {
        assert_eq!(who.org, "local");
        self.written.lock().unwrap().push((scope.into(), item));
        Ok(Usage::default())
    }

    async fn read(&self, _: &Identity, _: &str, _: &str) -> Result<Option<MemoryItem>, Failure> {
        Ok(None)
    }

    async fn search(
        &self,
        _: &Identity,
        _: &str,
        _: &str,
        _: &MemoryFilter,
        _: u32,
    ) -> Result<(Vec<MemoryHit>, Usage), Failure> {
        Ok((vec![], Usage::default()))
    }

    async fn recent(&self, _: &Identity, _: &str, _: &str, _: u32) -> Result<Vec<MemoryItem>, Failure> {
        Ok(vec![])
    }

    async fn forget(&self, _: &Identity, _: &str, _: &str) -> Result<(), Failure> {
        Ok(())
    }
}

#[async_trait]
impl Http for World {
    async fn send(&self, request: HttpRequest, _: &Grant) -> Result<HttpResponse, Failure> {
        let url = request.url.clone();
        self.sent.lock().unwrap().push(request);
        let scripted = self.answer.lock().unwrap().take();
        scripted.unwrap_or_else(|| {
            let headers = vec![("content-type".into(), "text/plain".into())];
            Ok(HttpResponse { status: 200, headers, body: b"pong".to_vec(), url })
        })
    }

    fn has_secret(&self, name: &str) -> bool {
        name == "KEY"
    }
}

#[async_trait]
impl Clock for World {
    fn now_ms(&self) -> UnixMs {
        1_700_000_000_000
    }

    async fn sleep(&self, _: u64) {}

    fn random(&self) -> u64 {
        4
    }
}

/// An execution that remembers what happened, and can be cancelled.
pub(super) struct FakeScope {
    pub(super) who: Identity,
    pub(super) cancel: Notify,
    /// Told after every log line.
    pub(super) logged: Notify,
    pub(super) logs: Mutex<Vec<(String, String)>>,
    pub(super) deltas: Mutex<String>,
    pub(super) uses: Mutex<Vec<CapabilityUse>>,
    pub(super) reserved: Mutex<Vec<Usage>>,
    pub(super) budget_is_spent: bool,
    /// Answers from before a crash.
    pub(super) kept: HashMap<(u32, Digest), Value>,
    pub(super) tools_called: Mutex<Vec<(String, Value)>>,
}

impl Default for FakeScope {
    fn default() -> Self {
        Self {
            who: Identity { session: Some("s1".into()), ..Identity::local() },
            cancel: Notify::new(),
            logged: Notify::new(),
            logs: Mutex::default(),
            deltas: Mutex::default(),
            uses: Mutex::default(),
            reserved: Mutex::default(),
            budget_is_spent: false,
            kept: HashMap::new(),
            tools_called: Mutex::default(),
        }
    }
}

impl FakeScope {
    pub(super) fn cancel(&self) {
        self.cancel.notify_one();
    }

    /// The same execution after a crash: what was recorded with a reply is known.
    pub(super) fn resumed(&self) -> Self {
        let uses = self.uses.lock().unwrap();
        let kept = uses.iter().filter_map(|used| Some(((used.ordinal, used.request), used.reply.clone()?)));
        Self { kept: kept.collect(), ..Self::default() }
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.logs.lock().unwrap().iter().map(|(level, line)| format!("{level}: {line}")).collect()
    }
}

#[async_trait]
impl Scope for FakeScope {
    fn identity(&self) -> &Identity {
        &self.who
    }

    async fn cancelled(&self) {
        self.cancel.notified().await;
    }

    fn recall(&self, ordinal: u32, request: &Digest) -> Option<Value> {
        self.kept.get(&(ordinal, *request)).cloned()
    }

    async fn reserve(&self, estimate: Usage) -> Result<(), Failure> {
        self.reserved.lock().unwrap().push(estimate);
        if self.budget_is_spent {
            return Err(Failure::never(Problem::new(Code::X001, "the budget is spent")));
        }
        Ok(())
    }

    async fn record(&self, used: CapabilityUse) -> Result<(), Failure> {
        self.uses.lock().unwrap().push(used);
        Ok(())
    }

    fn log(&self, level: &str, message: String) {
        self.logs.lock().unwrap().push((level.into(), message));
        self.logged.notify_one();
    }

    fn delta(&self, text: &str) {
        self.deltas.lock().unwrap().push_str(text);
    }

    async fn call_tool(&self, name: &str, input: Value) -> Result<Value, Failure> {
        self.tools_called.lock().unwrap().push((name.into(), input));
        Ok(json!("from the tool"))
    }

    async fn start_execution(&self, _: &str, _: Value) -> Result<ExecutionId, Failure> {
        Ok(ExecutionId("child".into()))
    }

    async fn poll_execution(&self, _: &ExecutionId) -> Result<Option<Ending>, Failure> {
        Ok(None)
    }

    async fn cancel_execution(&self, _: &ExecutionId) -> Result<(), Failure> {
        Ok(())
    }
}
