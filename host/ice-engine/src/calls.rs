//! Calls to components and models as the engine makes them: breaker, pin, cache, ledger, recorded answers.
//!
//! Which call is made when, and what its failure means, is decided elsewhere.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use ice_core::budget::{Receipt, Usage};
use ice_core::catalog::{CallKind, Callable, Effects};
use ice_core::event::{CalledComponent, CapabilityUse, Fact};
use ice_core::grant::{Capability, LimitSettings};
use ice_core::id::{Digest, NodePath};
use ice_core::ports::{Call, Failure, LlmReply, LlmRequest, Retry};
use ice_core::problem::{Code, Problem};
use ice_core::schema::{Direction, Schema};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::breaker::Target;
use crate::history::Was;
use crate::keys;
use crate::purse::{self, Paid};
use crate::reservation::Reservation;
use crate::run::Run;
use crate::scope::CallScope;
use crate::stop::Token;

/// Where in an execution a call is made.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) path: NodePath,
    pub(crate) attempt: u32,
    pub(crate) stop: Arc<Token>,
}

/// What came of a call to a component.
pub(crate) struct Called {
    pub(crate) result: Result<Value, Failure>,
    /// None when nothing ran.
    pub(crate) receipt: Option<Box<Receipt>>,
    /// What the call and everything below it spent.
    pub(crate) usage: Usage,
    pub(crate) cached: bool,
}

impl Called {
    fn refused(failure: Failure) -> Self {
        Self { result: Err(failure), receipt: None, usage: Usage::default(), cached: false }
    }
}

/// Calls a component as it is. `cache` says for how long its output may be kept, when it may be; only a component without
/// effects is ever taken from the cache.
async fn component(
    run: &Arc<Run>,
    callable: &Callable,
    input: Value,
    site: &Site,
    limits: LimitSettings,
    cache: Option<Option<u64>>,
) -> Called {
    let artifact = run.pinned(callable);
    let key = cache.filter(|_| callable.effects == Effects::None).map(|ttl_ms| {
        let name = [callable.name.as_bytes(), artifact.as_bytes(), keys::digest_of(&input).as_bytes()].concat();
        (Digest::of(&name), ttl_ms)
    });
    if let Some((key, _)) = key {
        if let Some(output) = run.shared.cache.get(&key, run.now()) {
            return Called { result: Ok(output), receipt: None, usage: Usage::default(), cached: true };
        }
        run.push(&site.path, site.attempt, Fact::CacheMissed);
    }
    let target = match callable.kind {
        CallKind::Tool => Target::Tool,
        CallKind::Agent => Target::Agent,
    };
    if let Err(failure) = run.shared.breakers.admit(target, &callable.name, || run.now()) {
        return Called::refused(failure);
    }
    let watch = Watch { run, target, name: &callable.name, stop: &site.stop, reported: false };
    let scope = CallScope::new(run, site.clone());
    let call = Call {
        kind: callable.kind,
        name: callable.name.clone(),
        artifact: Some(artifact),
        input,
        execution: run.id.clone(),
        path: site.path.clone(),
        attempt: site.attempt,
        limits,
    };
    let outcome = run.shared.ports.components.call(call, Arc::clone(&scope) as _).await;
    watch.report(&outcome.result);
    let result = scope.diverged().map_or(outcome.result, Err);
    if run.meter.holds(site.path.as_str()) {
        let (at, used) = (run.now(), Usage::default());
        run.meter.settle(site.path.as_str(), &used);
        let seq = run.push_all(at, &site.path, site.attempt, vec![Fact::BudgetSettled { used }]);
        purse::settle(run, &site.path, Paid { seq, at, used }).await;
    }
    if let (Ok(output), Some((key, ttl_ms))) = (&result, key) {
        run.shared.cache.put(key, output, ttl_ms, run.now());
    }
    Called { result, receipt: Some(Box::new(outcome.receipt)), usage: scope.used(), cached: false }
}

impl Run {
    /// The component this execution began with under that name; what is installed now may be a newer one.
    fn pinned(&self, callable: &Callable) -> Digest {
        self.pinned.get(&callable.name).copied().unwrap_or(callable.artifact)
    }

    /// The component a node is about to call, for its first event; `None` when it is not installed any more.
    pub(crate) fn called(&self, kind: CallKind, name: &str) -> Option<Box<CalledComponent>> {
        let catalog = self.shared.ports.components.catalog();
        let callable = catalog.find(kind, name)?;
        Some(Box::new(CalledComponent::new(callable, self.pinned(callable))))
    }
}

/// Tells the breaker how a call went, also when the call is dropped because it took too long.
struct Watch<'a> {
    run: &'a Run,
    target: Target,
    name: &'a str,
    stop: &'a Token,
    reported: bool,
}

impl Watch<'_> {
    fn report<T>(mut self, result: &Result<T, Failure>) {
        self.reported = true;
        let stopped = self.stop.why().is_some_and(|why| why.code != Code::X003);
        // A call that cannot go well however often it is made says nothing about the health of who was called.
        let failed = result.as_ref().is_err_and(|failure| failure.retry != Retry::Never) && !stopped;
        self.run.shared.breakers.report(self.target, self.name, failed, || self.run.now());
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if !self.reported && self.stop.why().is_some_and(|why| why.code == Code::X003) {
            self.run.shared.breakers.report(self.target, self.name, true, || self.run.now());
        }
    }
}

/// The answer to this question that was recorded under this ordinal before a crash.
pub(crate) fn recorded(run: &Run, request: &LlmRequest, ordinal: u32, site: &Site) -> Option<LlmReply> {
    let uses = run.history.uses(&site.path, site.attempt);
    if uses.is_empty() {
        return None;
    }
    let digest = keys::digest_of_json(request);
    let used = uses.iter().rev().find(|used| used.ordinal == ordinal && used.request == digest)?;
    serde_json::from_value(used.reply.clone()?).ok()
}

/// Asks a model, which costs. The answer is durable when this returns. `heard` is told of every piece of it as it
/// comes.
pub(crate) async fn model(
    run: &Arc<Run>,
    request: &LlmRequest,
    ordinal: u32,
    site: &Site,
    heard: &Notify,
) -> Result<LlmReply, Failure> {
    let llm = &run.shared.ports.llm;
    let model = llm.resolve(request)?;
    run.shared.breakers.admit(Target::Provider, &model.provider, || run.now())?;
    let reservation = Reservation::make(run, &site.path, site.attempt, model.estimate).await?;
    let watch = Watch { run, target: Target::Provider, name: &model.provider, stop: &site.stop, reported: false };
    let began = run.now();
    let show = |text: &str| {
        heard.notify_one();
        run.control.stage.delta(&site.path, text);
    };
    let answered = tokio::select! {
        biased;
        answered = llm.complete(request, Some(&show)) => answered,
        // Nothing is gained by waiting: dropping the call drops the connection.
        why = site.stop.tripped() => return Err(Failure::never(why.clone())),
    };
    watch.report(&answered);
    let reply = match answered {
        Ok(reply) => reply,
        Err(failure) => {
            reservation.release().await;
            return Err(failure);
        }
    };
    let used = CapabilityUse {
        capability: Capability::Llm,
        operation: "complete".into(),
        ordinal,
        request: keys::digest_of_json(request),
        reply: Some(serde_json::to_value(&reply).expect("a reply is JSON")),
        usage: reply.usage,
        ms: run.now().saturating_sub(began),
    };
    let (at, facts) = (run.now(), vec![Fact::CapabilityUsed(used), reservation.settle(reply.usage)]);
    let seq = run.push_all(at, &site.path, site.attempt, facts);
    run.journal.durable(seq).await?;
    purse::settle(run, &site.path, Paid { seq, at, used: reply.usage }).await;
    Ok(reply)
}

/// Calls a tool as a child node with events of its own: for tools that agents call. What finished or failed there
/// before a crash is recalled. Also says what it spent.
pub(crate) async fn tool_as_node(
    run: &Arc<Run>,
    site: Site,
    name: &str,
    input: Value,
) -> (Result<Value, Failure>, Usage) {
    let key = keys::idempotency_key(&run.id, &site.path, site.attempt, Some(&keys::digest_of(&input)));
    let mut begun = false;
    if let Some(before) = run.history.of_node(&site.path) {
        if !before.key.is_empty() && before.key != key {
            let message = format!("it was started again after a crash and gave tool `{name}` another input");
            let problem = Problem::new(Code::X010, message)
                .subject(format!("node `{}`", site.path))
                .help("let the component depend on its input only, not on time or chance");
            return (Err(Failure::never(problem)), Usage::default());
        }
        match before.was {
            Was::Finished { output, usage } => return (Ok((*output).clone()), usage),
            Was::Failed { problem, .. } => return (Err(Failure::never(problem)), Usage::default()),
            _ => begun = true,
        }
    }
    let catalog = run.shared.ports.components.catalog();
    let Some(callable) = catalog.find(CallKind::Tool, name) else {
        let problem = Problem::new(Code::X034, format!("tool `{name}` is not installed"))
            .help("list what is installed with `ice list`");
        return (Err(Failure::never(problem)), Usage::default());
    };
    let depth = site.path.as_str().matches("step[").count();
    if depth > usize::try_from(run.shared.options.max_depth).unwrap_or(usize::MAX) {
        let problem = Problem::new(Code::X012, format!("tool calls are nested {depth} deep"))
            .help("a tool that calls itself must come to an end");
        return (Err(Failure::never(problem)), Usage::default());
    }
    if !begun {
        let component = Some(Box::new(CalledComponent::new(callable, run.pinned(callable))));
        let started = Fact::NodeStarted { kind: "tool".into(), idempotency_key: key, component };
        let seq = run.push(&site.path, site.attempt, started);
        if callable.effects == Effects::External
            && let Err(failure) = run.journal.durable(seq).await
        {
            return (Err(failure), Usage::default());
        }
    }
    let called = checked(run, callable, input, &site, LimitSettings::default(), None).await;
    let usage = called.usage;
    let last = match &called.result {
        Ok(output) => Fact::NodeFinished { output: output.clone(), cached: false, receipt: called.receipt, usage },
        Err(failure) => Fact::NodeFailed { problem: failure.problem.clone(), receipt: called.receipt },
    };
    match run.commit(&site.path, site.attempt, last).await {
        Ok(()) => (called.result, usage),
        Err(failure) => (Err(failure), usage),
    }
}

/// Calls a component with its own schemas enforced: bad input fails before it runs, bad output after.
pub(crate) async fn checked(
    run: &Arc<Run>,
    callable: &Callable,
    input: Value,
    site: &Site,
    limits: LimitSettings,
    cache: Option<Option<u64>>,
) -> Called {
    let what = match callable.kind {
        CallKind::Tool => "tool",
        CallKind::Agent => "agent",
    };
    let shapes = match run.shared.shapes.of(callable) {
        Ok(shapes) => shapes,
        Err(failure) => return Called::refused(failure),
    };
    if !shapes.input.is_valid(&input)
        && let Err(problem) =
            fits(&shapes.input, &input, Code::X006, &format!("the input of {what} `{}`", callable.name))
    {
        return Called::refused(Failure::never(problem));
    }
    let mut called = component(run, callable, input, site, limits, cache).await;
    if let Ok(output) = &called.result
        && !shapes.output.is_valid(output)
        && let Err(problem) =
            fits(&shapes.output, output, Code::X007, &format!("the output of {what} `{}`", callable.name))
    {
        called.result = Err(Failure::maybe(problem));
    }
    called
}

/// Says how a value does not fit a schema.
pub(crate) fn fits(schema: &Schema, value: &Value, code: Code, what: &str) -> Result<(), Problem> {
    let problems = schema.check(value);
    if problems.is_empty() {
        return Ok(());
    }
    let words: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Err(Problem::new(code, format!("{what} does not fit its schema: {}", words.join("; "))))
}

/// Both schemas of a callable, compiled.
pub(crate) struct Shape {
    input: Schema,
    output: Schema,
}

/// Compiled schemas of tools that agents called, by component and name.
#[derive(Default)]
pub(crate) struct Shapes(Mutex<HashMap<Digest, HashMap<String, Arc<Shape>>>>);

/// More components than any host has; beyond it the shelf is emptied rather than growing.
const SHAPES_MAX: usize = 4096;

impl Shapes {
    fn of(&self, callable: &Callable) -> Result<Arc<Shape>, Failure> {
        let known = |shelf: &HashMap<Digest, HashMap<String, Arc<Shape>>>| {
            shelf.get(&callable.artifact)?.get(&callable.name).cloned()
        };
        if let Some(shape) = known(&self.0.lock().expect("no panic while shelving")) {
            return Ok(shape);
        }
        let compile = |schema: &Value, direction| {
            let any = json!(true);
            let schema = if schema.is_null() { &any } else { schema };
            Schema::compile(schema, direction).map_err(|error| {
                let message = format!("a schema of `{}` cannot be used: {error}", callable.name);
                Failure::never(Problem::new(Code::X033, message))
            })
        };
        let shape = Arc::new(Shape {
            input: compile(&callable.input_schema, Direction::Input)?,
            output: compile(&callable.output_schema, Direction::Output)?,
        });
        let mut shelf = self.0.lock().expect("no panic while shelving");
        if shelf.len() >= SHAPES_MAX {
            shelf.clear();
        }
        shelf.entry(callable.artifact).or_default().insert(callable.name.clone(), Arc::clone(&shape));
        Ok(shape)
    }
}
