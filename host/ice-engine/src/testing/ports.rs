//! Components and models that do what a test says, and count.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use ice_core::budget::{Receipt, Usage};
use ice_core::catalog::{BundleEntry, CallKind, Callable, Catalog, Effects};
use ice_core::grant::Grant;
use ice_core::id::{Digest, Identity};
use ice_core::ports::{
    Call, Components, DeltaSink, Embeddings, Failure, Http, HttpRequest, HttpResponse, Llm, LlmReply, LlmRequest,
    Memory, MemoryFilter, MemoryHit, MemoryItem, Message, ModelInfo, Outcome, Role, Scope,
};
use ice_core::problem::{Code, Problem};
use serde_json::{Value, json};

type Handler = Arc<dyn Fn(Call, Arc<dyn Scope>) -> BoxFuture<'static, Result<Value, Failure>> + Send + Sync>;

/// Tools, agents and blueprints made of closures.
#[derive(Default)]
pub struct Fakes {
    catalog: Arc<Catalog>,
    handlers: HashMap<(CallKind, String), Handler>,
    blueprints: BTreeMap<String, Value>,
    calls: Mutex<Vec<Call>>,
}

/// A callable that takes and gives any object.
fn callable(kind: CallKind, name: &str, effects: Effects) -> Callable {
    Callable {
        kind,
        name: name.into(),
        description: format!("the {name} of a test"),
        input_schema: json!({ "type": "object" }),
        output_schema: json!(true),
        tags: Vec::new(),
        plugin: "test/fakes".into(),
        version: "1.0.0".into(),
        artifact: Digest::of(name.as_bytes()),
        statement: None,
        deprecated: None,
        effects,
        granted: Arc::new(Grant::default()),
    }
}

impl Fakes {
    /// Nothing installed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tool that answers at once.
    #[must_use]
    pub fn tool<F>(self, name: &str, effects: Effects, answer: F) -> Self
    where
        F: Fn(Value) -> Result<Value, Failure> + Send + Sync + 'static,
    {
        self.callable(callable(CallKind::Tool, name, effects), move |call, _| {
            let answered = answer(call.input);
            async move { answered }
        })
    }

    /// Adds a tool that may wait and may use its scope.
    #[must_use]
    pub fn slow_tool<F, R>(self, name: &str, effects: Effects, answer: F) -> Self
    where
        F: Fn(Call, Arc<dyn Scope>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Value, Failure>> + Send + 'static,
    {
        self.callable(callable(CallKind::Tool, name, effects), answer)
    }

    /// Adds a component agent.
    #[must_use]
    pub fn agent<F, R>(self, name: &str, answer: F) -> Self
    where
        F: Fn(Call, Arc<dyn Scope>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Value, Failure>> + Send + 'static,
    {
        self.callable(callable(CallKind::Agent, name, Effects::External), answer)
    }

    /// Adds a callable with schemas and all.
    #[must_use]
    pub fn callable<F, R>(mut self, callable: Callable, answer: F) -> Self
    where
        F: Fn(Call, Arc<dyn Scope>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Value, Failure>> + Send + 'static,
    {
        let key = (callable.kind, callable.name.clone());
        self.handlers.insert(key, Arc::new(move |call, scope| Box::pin(answer(call, scope))));
        let catalog = Arc::make_mut(&mut self.catalog);
        let shelf = match callable.kind {
            CallKind::Tool => &mut catalog.tools,
            CallKind::Agent => &mut catalog.agents,
        };
        shelf.insert(callable.name.clone(), Arc::new(callable));
        self
    }

    /// Gives the tool schemas.
    #[must_use]
    pub fn schemas(mut self, tool: &str, input: Value, output: Value) -> Self {
        let catalog = Arc::make_mut(&mut self.catalog);
        let entry = catalog.tools.get_mut(tool).expect("the test added the tool");
        let callable = Arc::make_mut(entry);
        callable.input_schema = input;
        callable.output_schema = output;
        self
    }

    /// Adds a blueprint under `bundle.blueprint`.
    #[must_use]
    pub fn blueprint(mut self, entry: &str, document: Value) -> Self {
        let listed = BundleEntry {
            name: entry.into(),
            description: String::new(),
            plugin: "test/fakes".into(),
            artifact: Digest::of(entry.as_bytes()),
            entrypoint: false,
            deprecated: None,
        };
        Arc::make_mut(&mut self.catalog).blueprints.insert(entry.into(), Arc::new(listed));
        self.blueprints.insert(entry.into(), document);
        self
    }

    /// Every call so far, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().expect("no test panics in here").clone()
    }

    /// How often a tool or agent was called.
    pub fn count(&self, name: &str) -> usize {
        self.calls.lock().expect("no test panics in here").iter().filter(|call| call.name == name).count()
    }
}

#[async_trait]
impl Components for Fakes {
    fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog)
    }

    async fn call(&self, call: Call, scope: Arc<dyn Scope>) -> Outcome {
        self.calls.lock().expect("no test panics in here").push(call.clone());
        let result = match self.handlers.get(&(call.kind, call.name.clone())) {
            Some(handler) => handler(call, scope).await,
            None => Err(Failure::never(Problem::new(Code::X034, format!("`{}` is not installed", call.name)))),
        };
        Outcome { result, receipt: Receipt::default() }
    }

    async fn blueprint(&self, entry: &str) -> Result<Value, Failure> {
        let missing = || Failure::never(Problem::new(Code::X034, format!("`{entry}` is not installed")));
        self.blueprints.get(entry).cloned().ok_or_else(missing)
    }
}

/// One pure tool, `noop`, that gives an empty object: what is measured with it is the engine alone.
pub struct Noop(Arc<Catalog>);

impl Noop {
    /// The port.
    pub fn new() -> Self {
        Self(Fakes::new().tool("noop", Effects::None, |_| Ok(json!({}))).catalog)
    }
}

impl Default for Noop {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Components for Noop {
    fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.0)
    }

    async fn call(&self, _call: Call, _scope: Arc<dyn Scope>) -> Outcome {
        Outcome { result: Ok(Value::Object(serde_json::Map::new())), receipt: Receipt::default() }
    }

    async fn blueprint(&self, entry: &str) -> Result<Value, Failure> {
        Err(Failure::never(Problem::new(Code::X034, format!("`{entry}` is not installed"))))
    }
}

type Answer = Box<dyn Fn(&LlmRequest) -> Message + Send + Sync>;

/// A model that gives prepared answers in turn, then repeats what it was asked. Every token costs one micro-dollar.
#[derive(Default)]
pub struct Answers {
    queue: Mutex<VecDeque<Result<Message, Failure>>>,
    asked: Mutex<Vec<LlmRequest>>,
    answer: Option<Answer>,
    delay: Option<(Arc<dyn ice_core::ports::Clock>, u64)>,
    pause: Option<(Arc<dyn ice_core::ports::Clock>, u64)>,
}

impl Answers {
    /// Repeats what it is asked.
    pub fn echo() -> Self {
        Self::default()
    }

    /// Answers each request as the closure says, once prepared answers are used up.
    pub fn by<F: Fn(&LlmRequest) -> Message + Send + Sync + 'static>(answer: F) -> Self {
        Self { answer: Some(Box::new(answer)), ..Self::default() }
    }

    /// Prepares an answer in words.
    #[must_use]
    pub fn then(self, text: &str) -> Self {
        self.then_message(Message {
            role: Role::Assistant,
            content: text.into(),
            tool_calls: Vec::new(),
            answers: None,
        })
    }

    /// Prepares an answer.
    #[must_use]
    pub fn then_message(self, message: Message) -> Self {
        self.queue.lock().expect("no test panics in here").push_back(Ok(message));
        self
    }

    /// Prepares a failure.
    #[must_use]
    pub fn then_fail(self, failure: Failure) -> Self {
        self.queue.lock().expect("no test panics in here").push_back(Err(failure));
        self
    }

    /// Takes this long for every answer.
    #[must_use]
    pub fn slowly(mut self, clock: Arc<dyn ice_core::ports::Clock>, ms: u64) -> Self {
        self.delay = Some((clock, ms));
        self
    }

    /// Pauses this long after every word.
    #[must_use]
    pub fn halting(mut self, clock: Arc<dyn ice_core::ports::Clock>, ms: u64) -> Self {
        self.pause = Some((clock, ms));
        self
    }

    /// Every request so far, in order.
    pub fn asked(&self) -> Vec<LlmRequest> {
        self.asked.lock().expect("no test panics in here").clone()
    }
}

fn tokens(text: &str) -> u64 {
    u64::try_from(text.split_whitespace().count()).expect("64 bits fit")
}

fn words(request: &LlmRequest) -> u64 {
    request.messages.iter().map(|message| tokens(&message.content)).sum()
}

fn priced(input_tokens: u64, output_tokens: u64) -> Usage {
    Usage { input_tokens, output_tokens, cost_micro_usd: input_tokens + output_tokens, unpriced_calls: 0 }
}

#[async_trait]
impl Llm for Answers {
    fn resolve(&self, request: &LlmRequest) -> Result<ModelInfo, Failure> {
        let estimate = priced(words(request), request.max_tokens.unwrap_or(1_000).into());
        let (provider, model) = match request.model.split_once('/') {
            Some(both) if request.provider.is_empty() => both,
            _ if request.provider.is_empty() => ("test", &*request.model),
            _ => (&*request.provider, &*request.model),
        };
        Ok(ModelInfo { provider: provider.into(), model: model.into(), estimate })
    }

    async fn complete(&self, request: &LlmRequest, deltas: Option<DeltaSink<'_>>) -> Result<LlmReply, Failure> {
        self.asked.lock().expect("no test panics in here").push(request.clone());
        if let Some((clock, ms)) = &self.delay {
            clock.sleep(*ms).await;
        }
        let prepared = self.queue.lock().expect("no test panics in here").pop_front();
        let message = match (prepared, &self.answer) {
            (Some(prepared), _) => prepared?,
            (None, Some(answer)) => answer(request),
            (None, None) => {
                let content = request.messages.last().map(|message| message.content.clone()).unwrap_or_default();
                Message { role: Role::Assistant, content, tool_calls: Vec::new(), answers: None }
            }
        };
        if let Some(deltas) = deltas {
            for word in message.content.split_inclusive(' ') {
                deltas(word);
                if let Some((clock, ms)) = &self.pause {
                    clock.sleep(*ms).await;
                }
            }
        }
        let usage = priced(words(request), tokens(&message.content));
        let ModelInfo { provider, model, .. } = self.resolve(request)?;
        let model = format!("{provider}/{model}");
        Ok(LlmReply { message, model, usage, offline: true, finish_reason: "stop".into() })
    }

    async fn embed(&self, _model: &str, _texts: &[String]) -> Result<Embeddings, Failure> {
        Err(Failure::never(Problem::new(Code::X079, "a test has no embedder")))
    }
}

/// The outside over HTTP: gives prepared answers in turn, then 200 with `{"ok": true}`, to whom the grant lets through.
#[derive(Default)]
pub struct Posts {
    queue: Mutex<VecDeque<HttpResponse>>,
    sent: Mutex<Vec<HttpRequest>>,
}

impl Posts {
    /// Prepares an answer.
    #[must_use]
    pub fn then(self, status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let answer = HttpResponse { status, headers, body: body.into(), url: String::new() };
        self.queue.lock().expect("no test panics in here").push_back(answer);
        self
    }

    /// Every request that was let through, in order.
    pub fn sent(&self) -> Vec<HttpRequest> {
        self.sent.lock().expect("no test panics in here").clone()
    }
}

#[async_trait]
impl Http for Posts {
    async fn send(&self, request: HttpRequest, grant: &Grant) -> Result<HttpResponse, Failure> {
        if !grant.allows_http(&request.method, &request.url) {
            return Err(refused());
        }
        self.sent.lock().expect("no test panics in here").push(request);
        let json = || vec![("content-type".to_owned(), "application/json".to_owned())];
        let ok = || HttpResponse { status: 200, headers: json(), body: b"{\"ok\":true}".to_vec(), url: String::new() };
        Ok(self.queue.lock().expect("no test panics in here").pop_front().unwrap_or_else(ok))
    }

    fn has_secret(&self, _name: &str) -> bool {
        true
    }
}

/// Memory and HTTP that refuse everything: for tests in which nothing may reach for them.
pub struct Refusing;

fn refused() -> Failure {
    Failure::never(Problem::new(Code::G001, "nothing may reach outside in this test"))
}

#[async_trait]
impl Http for Refusing {
    async fn send(&self, _request: HttpRequest, _grant: &Grant) -> Result<HttpResponse, Failure> {
        Err(refused())
    }

    fn has_secret(&self, _name: &str) -> bool {
        false
    }
}

#[async_trait]
impl Memory for Refusing {
    async fn write(&self, _who: &Identity, _scope: &str, _item: MemoryItem) -> Result<Usage, Failure> {
        Err(refused())
    }

    async fn read(&self, _who: &Identity, _scope: &str, _key: &str) -> Result<Option<MemoryItem>, Failure> {
        Err(refused())
    }

    async fn search(
        &self,
        _who: &Identity,
        _scope: &str,
        _query: &str,
        _filter: &MemoryFilter,
        _limit: u32,
    ) -> Result<(Vec<MemoryHit>, Usage), Failure> {
        Err(refused())
    }

    async fn recent(
        &self,
        _who: &Identity,
        _scope: &str,
        _key_prefix: &str,
        _limit: u32,
    ) -> Result<Vec<MemoryItem>, Failure> {
        Err(refused())
    }

    async fn forget(&self, _who: &Identity, _scope: &str, _key: &str) -> Result<(), Failure> {
        Err(refused())
    }
}
