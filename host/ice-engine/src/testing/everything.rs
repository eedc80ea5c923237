//! One blueprint with every kind of node, an outside for it that counts, and the life of a process that runs it: what
//! crash tests kill, take up again and compare with a run that nobody disturbed.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use ice_core::blueprint::parse;
use ice_core::budget::{Budget, Usage};
use ice_core::catalog::Effects;
use ice_core::event::{CapabilityUse, Event, Fact};
use ice_core::execution::{Ending, replay};
use ice_core::grant::{Capability, Grant};
use ice_core::id::{Digest, ExecutionId, Identity, NodePath};
use ice_core::ports::{
    Call, Clock, DeltaSink, Documents, Embeddings, Events, Failure, Http, HttpRequest, HttpResponse, Llm, LlmReply,
    LlmRequest, Message, ModelInfo, Role, Scope, ToolCall, own_spending,
};
use ice_core::problem::{Code, Problem};
use ice_core::wait::{Answer, Approval};
use serde_json::{Value, json};

use super::check::check_events;
use super::ports::{Answers, Fakes, Refusing};
use super::tally::{Effect, Tally};
use crate::engine::read_all;
use crate::{Engine, EngineOptions, Grouping, Ports, Rest, StartExecution, WaitFilter, keys};

/// The blueprint.
pub const EVERY_KIND: &str = include_str!("../../../../tests/blueprints/ok/every_kind.yaml");

/// Where everything is sent.
const BIN: &str = "https://bin.example.com";

/// More executions than one identity of a test has.
const LISTED: u32 = 1_000;

/// The outside of [`EVERY_KIND`].
pub struct Everything {
    /// What was done there.
    pub tally: Arc<Tally>,
    /// How an engine over it gathers events and keeps leases.
    pub options: EngineOptions,
    fakes: Arc<Fakes>,
    counted: Arc<Counted>,
}

impl Everything {
    /// The outside, which notes in `tally`.
    pub fn new(tally: Arc<Tally>) -> Self {
        let note = Arc::clone(&tally);
        let child = json!({
            "schema_version": "1.2.0",
            "inputs": { "required": ["notes"], "optional": ["style"] },
            "nodes": [
                { "id": "c", "type": "tool", "tool_name": "http_post",
                  "tool_args": { "url": format!("{BIN}/child"), "body": "{{ notes }}" } },
                { "id": "l", "type": "llm", "prompt": "child about {{ notes }}", "dependencies": ["c"],
                  "llm_config": { "provider": "openai", "model": "gpt-4o" } },
            ],
            "outputs": { "summary": "{{ l.text }}" },
        });
        let fakes = Fakes::new()
            .tool("lookup_tool", Effects::None, |input| Ok(json!({ "notes": input["query"] })))
            .tool("python_run", Effects::None, |input| Ok(json!({ "result": input["inputs"], "stdout": "" })))
            .slow_tool("http_post", Effects::External, {
                let note = Arc::clone(&note);
                move |call, _| post(Arc::clone(&note), call)
            })
            .agent("chat_agent", move |call, scope| work(Arc::clone(&note), call, scope))
            .blueprint("summarize", child);
        let egress = Grant { http: vec![format!("* {BIN}/*")], ..Grant::default() };
        let grouping = Grouping { events: 1, ..Grouping::default() };
        let options = EngineOptions { grouping, egress, ..EngineOptions::default() };
        let counted = Arc::new(Counted { tally: Arc::clone(&tally), model: Answers::by(answer) });
        Self { tally, options, fakes: Arc::new(fakes), counted }
    }

    /// An engine of one process.
    pub fn engine(&self, events: Arc<dyn Events>, documents: Arc<dyn Documents>, clock: Arc<dyn Clock>) -> Engine {
        let ports = Ports {
            components: Arc::clone(&self.fakes) as _,
            llm: Arc::clone(&self.counted) as _,
            memory: Arc::new(Refusing),
            http: Arc::clone(&self.counted) as _,
            events,
            documents,
            clock,
        };
        Engine::new(ports, self.options.clone())
    }
}

/// What a process does: starts [`EVERY_KIND`] for `who`, or goes on with what is there; answers what is asked; returns
/// how it ended.
pub async fn live(engine: &Engine, who: &Identity) -> Result<Ending, Problem> {
    live_with(engine, who, EVERY_KIND).await
}

/// Like [`live`], with another blueprint of the inputs `who` and `url`.
pub async fn live_with(engine: &Engine, who: &Identity, blueprint: &str) -> Result<Ending, Problem> {
    let family = Family::read(&*engine.shared.ports.events, who).await;
    let mut handle = match &family.root {
        Some(id) => engine.resume(id).await?,
        None => {
            let several = |problems: Vec<Problem>| problems.into_iter().next().expect("a refusal has a reason");
            let parsed = parse(blueprint, "test.yaml").map_err(several)?;
            let plan = Arc::new(engine.plan(&parsed).await.map_err(several)?);
            let inputs = json!({ "who": "bob", "url": BIN });
            let start = StartExecution { plan, inputs, identity: who.clone(), parent: None, budget: Budget::default() };
            engine.start(start).await.map_err(several)?
        }
    };
    let filter = WaitFilter { who: Some(who.clone()), ..WaitFilter::default() };
    loop {
        if let Rest::Ended(ending) = handle.rest().await {
            return Ok(*ending);
        }
        let open = engine.waits(&filter).await?.into_iter().next();
        handle = match open {
            Some(wait) => {
                let response = json!({ "words": wait.open.question.message });
                let form = wait.open.question.approval == Approval::InputRequired;
                let answer = Answer {
                    approved: Some(true).filter(|_| !form),
                    response: Some(response).filter(|_| form),
                    responder: "ann".into(),
                    ..Answer::default()
                };
                engine.answer(&wait.id, answer).await?.expect("nobody else runs it")
            }
            // An answer was left, and the process that left it died.
            None => engine.resume(&handle.id).await?,
        };
    }
}

/// An execution and those inside it, as they are on record.
#[derive(Default)]
pub struct Family {
    /// The outermost one.
    pub root: Option<ExecutionId>,
    /// The events of each, and the path from which it was started.
    members: BTreeMap<ExecutionId, (String, Vec<Event>)>,
}

impl Family {
    /// Reads everything that runs for `who`.
    pub async fn read(events: &dyn Events, who: &Identity) -> Self {
        let mut family = Self::default();
        for row in events.list(who, LISTED).await.expect("the store of a test answers") {
            let list = read_all(events, &row.id).await.expect("the store of a test answers");
            let parent = replay(&list).expect("it begins with its start").parent;
            if parent.is_none() {
                family.root = Some(row.id.clone());
            }
            let role = parent.map(|(_, path)| path.to_string()).unwrap_or_default();
            family.members.insert(row.id, (role, list));
        }
        family
    }

    /// Panics unless the ledger of the org says of each execution what its events say, once what dead processes had set
    /// aside is free.
    async fn is_balanced(&self, events: &dyn Events, org: &str) {
        let ledger = events.ledger().expect("the store of a test keeps a ledger");
        for id in ledger.stale(org, LISTED).await.expect("the store of a test answers") {
            crate::restate(events, ledger, org, &id).await.expect("the store of a test answers");
        }
        for (id, (_, list)) in &self.members {
            let spent = ledger.spent(id).await.expect("the store of a test answers");
            assert_eq!(spent, own_spending(list), "the ledger of execution {id}");
        }
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.members.values().map(|(_, list)| list.len()).sum()
    }

    /// Whether nothing is on record.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Keys of what is over on record: attempts that ended, and questions whose answers are kept.
    fn over(&self) -> Vec<String> {
        let mut over = Vec::new();
        for (id, (_, list)) in &self.members {
            for event in list {
                match &event.fact {
                    Fact::NodeFinished { .. } | Fact::NodeFailed { .. } | Fact::NodeRetried { .. } => {
                        over.push(place_key(id, &event.path, event.attempt));
                        over.push(keys::idempotency_key(id, &event.path, 0, None));
                    }
                    Fact::CapabilityUsed(used) => over.push(used.request.hex()),
                    _ => {}
                }
            }
        }
        over
    }

    /// What the outermost one settled; what those inside it spent is part of it.
    fn settled(&self) -> Usage {
        let list = self.root.as_ref().and_then(|id| self.members.get(id)).map(|(_, list)| list.as_slice());
        list.and_then(replay).map(|view| view.usage).unwrap_or_default()
    }
}

/// What must not be done again, and how often it had been done when the process died.
pub struct Over(Vec<(String, Option<usize>)>);

impl Over {
    /// What is over now.
    pub async fn now(events: &dyn Events, who: &Identity, tally: &Tally) -> Self {
        let counts = tally.counts();
        let over = Family::read(events, who).await.over();
        Self(over.into_iter().map(|key| (key.clone(), counts.get(&key).copied())).collect())
    }

    /// Panics when something that was over was done again.
    pub fn assert_untouched(&self, tally: &Tally) {
        let counts = tally.counts();
        for (key, before) in &self.0 {
            assert_eq!(counts.get(key), before.as_ref(), "it was over, and was done again: {key}");
        }
    }
}

/// What one run comes to, whatever happened to its processes: the same for every run.
#[derive(PartialEq, Debug)]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// What was done outside, each thing once.
    pub effects: Vec<(String, String, String)>,
}

impl Outcome {
    /// Panics unless the events are in order, and the ledger is what the outside was asked for.
    pub async fn of(ending: Ending, events: &dyn Events, who: &Identity, tally: &Tally) -> Self {
        let family = Family::read(events, who).await;
        family.members.values().for_each(|(_, list)| check_events(list));
        assert_eq!((family.settled(), tally.usage()), (ending.usage, ending.usage), "on record, outside, in the end");
        family.is_balanced(events, &who.org).await;
        let role = |id: &ExecutionId| family.members.get(id).map(|(role, _)| role.clone()).unwrap_or_default();
        let mut effects: Vec<_> = (tally.distinct().into_values())
            .map(|effect| (effect.execution.as_ref().map(role).unwrap_or_default(), effect.place, effect.body))
            .collect();
        effects.sort();
        Self { ending, effects }
    }
}

fn place_key(id: &ExecutionId, path: &NodePath, attempt: u32) -> String {
    format!("{id} {path} {attempt}")
}

/// Sends something; what becomes of it is in the last part of the URL.
async fn post(tally: Arc<Tally>, call: Call) -> Result<Value, Failure> {
    // Long enough for nodes to overlap.
    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    let url = call.input["url"].as_str().unwrap_or_default();
    tally.note(Effect {
        key: place_key(&call.execution, &call.path, call.attempt),
        execution: Some(call.execution.clone()),
        place: format!("tool {} {}", call.path, call.attempt),
        body: call.input.to_string(),
        usage: Usage::default(),
    });
    let broken = || Problem::new(Code::X031, "it is broken");
    match url.rsplit('/').next() {
        Some("flaky") if call.attempt == 1 => Err(Failure::maybe(broken())),
        Some("bad") => Err(Failure::never(broken())),
        Some("picky") if call.input["body"] == "b" => Err(Failure::never(broken())),
        _ => Ok(json!({ "status": 201, "body": format!("sent to {url}") })),
    }
}

/// A guest as the runtime runs one: asks for recorded answers first, and records what is new.
async fn work(tally: Arc<Tally>, call: Call, scope: Arc<dyn Scope>) -> Result<Value, Failure> {
    let mut answers = Vec::new();
    for ordinal in 0..2 {
        let request =
            Digest::of(format!("{} {ordinal}", place_key(&call.execution, &call.path, call.attempt)).as_bytes());
        if let Some(answer) = scope.recall(ordinal, &request) {
            answers.push(answer);
            continue;
        }
        let usage = Usage { input_tokens: 5, output_tokens: 2, cost_micro_usd: 7, ..Usage::default() };
        scope.reserve(usage).await?;
        tally.note(Effect {
            key: request.hex(),
            execution: Some(call.execution.clone()),
            place: format!("question {} {ordinal}", call.path),
            body: String::new(),
            usage,
        });
        let reply = json!(format!("answer {ordinal}"));
        let (capability, operation) = (Capability::Llm, "complete".to_owned());
        let used = CapabilityUse { capability, operation, ordinal, request, reply: Some(reply.clone()), usage, ms: 1 };
        scope.record(used).await?;
        answers.push(reply);
    }
    let posted = scope.call_tool("http_post", json!({ "url": call.input["query"], "body": "from a guest" })).await?;
    let failed = scope.call_tool("http_post", json!({ "url": format!("{BIN}/bad"), "body": "no" })).await.is_err();
    Ok(json!({ "message": answers, "posted": posted, "failed": failed }))
}

/// The model as a function of the question, so that a crash between asking and recording changes nothing.
fn answer(request: &LlmRequest) -> Message {
    let say =
        |text: &str| Message { role: Role::Assistant, content: text.into(), tool_calls: Vec::new(), answers: None };
    let has = |text: &str| request.messages.iter().any(|message| message.content.contains(text));
    let answered = request.messages.iter().filter(|message| message.role == Role::Tool).count();
    if has("you lead") {
        let (give, decide) = ("{\"delegate\": [{\"to\": \"worker\", \"task\": \"go\"}]}", "{\"decision\": \"good\"}");
        return say(if has("worker (round 1)") { decide } else { give });
    }
    match (request.tools.is_empty(), answered) {
        (false, 0 | 1) => Message {
            tool_calls: vec![ToolCall {
                id: format!("call-{answered}"),
                name: "http_post".into(),
                arguments: json!({ "url": format!("{BIN}/talk"), "body": answered }),
            }],
            ..say("let me send it")
        },
        (false, _) => say("it is sent"),
        (true, _) if has("Answer again") => say("{\"title\": \"good\"}"),
        (true, _) if has("write about") => say("no JSON at all"),
        (true, _) => say("well said"),
    }
}

/// A model and a way out that count.
struct Counted {
    tally: Arc<Tally>,
    model: Answers,
}

#[async_trait]
impl Llm for Counted {
    fn resolve(&self, request: &LlmRequest) -> Result<ModelInfo, Failure> {
        self.model.resolve(request)
    }

    async fn complete(&self, request: &LlmRequest, deltas: Option<DeltaSink<'_>>) -> Result<LlmReply, Failure> {
        let reply = self.model.complete(request, deltas).await?;
        let last = request.messages.last().map(|message| message.content.clone()).unwrap_or_default();
        self.tally.note(Effect {
            key: keys::digest_of_json(request).hex(),
            execution: None,
            place: format!("model {}", request.model),
            body: format!("{} {last}", request.messages.len()),
            usage: reply.usage,
        });
        Ok(reply)
    }

    async fn embed(&self, model: &str, texts: &[String]) -> Result<Embeddings, Failure> {
        self.model.embed(model, texts).await
    }
}

#[async_trait]
impl Http for Counted {
    async fn send(&self, request: HttpRequest, grant: &Grant) -> Result<HttpResponse, Failure> {
        if !grant.allows_http(&request.method, &request.url) {
            return Refusing.send(request, grant).await;
        }
        let key = request.headers.iter().find(|(name, _)| name == "idempotency-key").map(|(_, key)| key.clone());
        self.tally.note(Effect {
            key: key.expect("whatever the engine sends can be repeated"),
            execution: None,
            place: format!("{} {}", request.method, request.url),
            body: String::new(),
            usage: Usage::default(),
        });
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Ok(HttpResponse { status: 200, headers, body: b"{\"ok\":true}".to_vec(), url: request.url })
    }

    fn has_secret(&self, _name: &str) -> bool {
        true
    }
}
