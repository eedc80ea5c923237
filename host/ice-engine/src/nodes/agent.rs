//! `agent`: a component that works on a task, or a model that calls tools until it is done.
//!
//! A component agent is named by `package`. Without it the agent is made of data: `system_prompt`, `tools`, `memory`
//! and `llm_config`.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use ice_core::blueprint::NodeDoc;
use ice_core::catalog::{CallKind, Callable, Effects};
use ice_core::id::Digest;
use ice_core::ports::{Failure, Role};
use ice_core::problem::Code;
use ice_core::template::Template;
use ice_core::wait::{Approval, Question};
use serde_json::{Map, Value, json};

use super::{Done, Node, NodeKind, ask};
use crate::context::NodeRun;
use crate::estimate::{Asking, Known, ROUNDS_LIKELY, Times};
use crate::plan::{Arguments, Callee, LlmConfig, PlanContext, llm_config};

mod talk;

use talk::{Talk, work};

const ITERATIONS_DEFAULT: u32 = 10;

/// Each round is a paid call.
const ITERATIONS_MAX: u64 = 1000;

/// `type: agent`.
#[derive(Debug)]
pub struct AgentKind;

/// One task for an agent.
#[derive(Debug)]
pub struct Agent {
    /// Who works on it.
    pub worker: Worker,
    /// The task: `input` as written, and for a component what is bound by name.
    pub arguments: Arguments,
    /// `task`: text of the task, for an agent made of data.
    pub task: Option<Template>,
    /// Settings for a component agent, as written; templates inside.
    pub config: Option<Template>,
    /// Rounds of asking and calling.
    pub max_iterations: u32,
}

/// Who works on a task.
#[derive(Debug)]
pub enum Worker {
    /// A component of world `agent`.
    Component {
        /// Its name in the catalog.
        name: String,
        /// Its bytes, when the plan was made.
        artifact: Digest,
        /// JSON Schema of what it returns.
        output_schema: Value,
        /// The model it is told to use.
        llm: Option<Box<LlmConfig>>,
    },
    /// A model with instructions and tools.
    Data {
        /// Instructions.
        system_prompt: Option<Template>,
        /// The only tools it may call.
        tools: Vec<AgentTool>,
        /// What it remembers of earlier turns.
        memory: Option<AgentMemory>,
        /// The model.
        llm: Box<LlmConfig>,
    },
}

/// Something an agent made of data may call.
#[derive(Clone, Debug)]
pub enum AgentTool {
    /// A tool of a kit.
    Kit {
        /// The tool.
        tool: Arc<Callable>,
        /// Asked before each call, when a person must agree; its message is still empty.
        approval: Option<Question>,
    },
    /// A person, whom the model may ask in words.
    Person {
        /// Under which name the model calls.
        name: String,
        /// For the model.
        description: String,
        /// What silence means; its message is still empty.
        question: Question,
    },
}

impl AgentTool {
    /// Under which name the model calls it.
    pub fn name(&self) -> &str {
        match self {
            Self::Kit { tool, .. } => &tool.name,
            Self::Person { name, .. } => name,
        }
    }
}

/// Earlier turns an agent made of data is shown.
#[derive(Clone, PartialEq, Debug)]
pub struct AgentMemory {
    /// The memory scope.
    pub scope: Template,
    /// How many turns, newest first.
    pub limit: u32,
}

impl NodeKind for AgentKind {
    fn name(&self) -> &'static str {
        "agent"
    }

    /// `agent_attr` and `version_constraint` come with older documents; the lock says which version runs.
    fn keys(&self) -> &'static [&'static str] {
        &[
            "package",
            "system_prompt",
            "tools",
            "memory",
            "llm_config",
            "model",
            "temperature",
            "max_tokens",
            "max_iterations",
            "agent_config",
            "input",
            "task",
            "agent_attr",
            "version_constraint",
        ]
    }

    fn plan(&self, doc: &NodeDoc, cx: &mut PlanContext<'_>) -> Option<Box<dyn Node>> {
        let mut fields = cx.fields(doc);
        let max_iterations = fields.whole("max_iterations", 1, ITERATIONS_MAX);
        let package = fields.text("package").filter(|package| !package.trim().is_empty());
        let task = fields.text("task");
        let config = fields.mapping("agent_config").cloned();
        if task.is_some() && package.is_some() {
            let help = "give a component its task under `input:`, as its input schema asks";
            fields.problem(Code::B005, "task", "`task` is for an agent made of data", help);
        }
        let task = task.map(|text| cx.template(&text.into(), &format!("{}/task", doc.pointer), None));
        let pointer = format!("{}/agent_config", doc.pointer);
        let config = config.map(|config| cx.template(&Value::Object(config), &pointer, None));
        let (worker, arguments) = match package {
            Some(package) => component(doc, package, cx),
            None => data(doc, cx),
        }?;
        let max_iterations = max_iterations.and_then(|count| count.try_into().ok());
        Some(Box::new(Agent {
            worker,
            arguments,
            task: lift(task)?,
            config: lift(config)?,
            max_iterations: max_iterations.unwrap_or(ITERATIONS_DEFAULT),
        }))
    }
}

impl Agent {
    /// Settings of the node reach a component agent under the names its input schema has for them.
    async fn component(&self, cx: &NodeRun<'_>, name: &str, llm: Option<&LlmConfig>) -> Result<Done, Failure> {
        let catalog = cx.run().shared.ports.components.catalog();
        let callable = catalog.find(CallKind::Agent, name);
        let mut input = cx.arguments(&self.arguments)?;
        let config = self.config.as_ref().map(|config| cx.render(config, "agent_config")).transpose()?;
        let llm = llm.map(|llm| ask::request(cx, llm)).transpose()?.map(|request| {
            json!({
                "provider": request.provider, "model": request.model,
                "temperature": request.temperature, "max_tokens": request.max_tokens,
            })
        });
        let settings =
            [("agent_config", config), ("llm_config", llm), ("max_iterations", Some(self.max_iterations.into()))];
        let known = callable.and_then(|callable| callable.input_schema.get("properties")?.as_object());
        for (key, value) in settings {
            if let (Some(value), Some(true), Value::Object(input)) =
                (value, known.map(|known| known.contains_key(key)), &mut input)
            {
                input.entry(key).or_insert(value);
            }
        }
        cx.call(callable, name, input, None).await
    }
}

/// Written and bad is `None`, written and good or not written is `Some`.
fn lift<T>(written: Option<Option<T>>) -> Option<Option<T>> {
    match written {
        Some(None) => None,
        Some(good) => Some(good),
        None => Some(None),
    }
}

fn component(doc: &NodeDoc, package: &str, cx: &mut PlanContext<'_>) -> Option<(Worker, Arguments)> {
    let catalog = cx.catalog();
    let Some(agent) = catalog.find(CallKind::Agent, package) else {
        let pointer = format!("{}/package", doc.pointer);
        let known = catalog.agents.keys().map(String::as_str);
        cx.unknown(Code::B015, &pointer, format!("no installed plugin is an agent `{package}`"), package, known);
        return None;
    };
    let what = format!("agent `{package}`");
    let arguments = cx.arguments(doc, "input", Callee { what: &what, schema: &agent.input_schema });
    let llm = match cx.fields(doc).get("llm_config") {
        Some(_) => Some(Box::new(llm_config(cx, doc)?)),
        None => None,
    };
    for key in ["system_prompt", "tools", "memory"] {
        if doc.config.get(key).is_some_and(|value| !value.is_null()) {
            let pointer = format!("{}/{key}", doc.pointer);
            let message = format!("`{key}` is for an agent made of data, and `{package}` is a component");
            cx.problem(Code::B005, &pointer, message, "put settings of a component under `agent_config:`");
        }
    }
    cx.uses(package, agent.artifact);
    let output_schema = agent.output_schema.clone();
    let worker = Worker::Component { name: package.to_owned(), artifact: agent.artifact, output_schema, llm };
    Some((worker, arguments))
}

fn data(doc: &NodeDoc, cx: &mut PlanContext<'_>) -> Option<(Worker, Arguments)> {
    let pointer = format!("{}/system_prompt", doc.pointer);
    let system_prompt = cx.fields(doc).text("system_prompt");
    if system_prompt.is_none() && cx.fields(doc).get("llm_config").is_none() {
        let help = "name an installed agent with `package:`, or write `system_prompt:` and `llm_config:`";
        let message = format!("`{}` does not say which agent works: `package` is missing", doc.id);
        cx.problem(Code::B006, &doc.pointer, message, help);
        return None;
    }
    let system_prompt = system_prompt.map(|text| cx.template(&text.into(), &pointer, None));
    let tools = tools(doc, cx);
    let memory = memory(doc, cx);
    let llm = llm_config(cx, doc);
    let arguments = cx.arguments(doc, "input", Callee { what: "the agent", schema: &json!({}) });
    let worker =
        Worker::Data { system_prompt: lift(system_prompt)?, tools: tools?, memory: memory?, llm: Box::new(llm?) };
    Some((worker, arguments))
}

/// A tool is a name, or a mapping with a `name`; what else older documents say about it the catalog knows better.
/// `approval` makes a person agree to each call, `type: human` makes the tool a person.
fn tools(doc: &NodeDoc, cx: &mut PlanContext<'_>) -> Option<Vec<AgentTool>> {
    let items = cx.fields(doc).list("tools").unwrap_or_default();
    let mut tools = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let pointer = format!("{}/tools/{index}", doc.pointer);
        let name = item.as_str().or_else(|| item.get("name").and_then(Value::as_str));
        let Some(name) = name else {
            cx.problem(Code::B004, &pointer, "a tool is a name", "write the name of an installed tool");
            continue;
        };
        if item.get("type").and_then(Value::as_str) == Some("human") {
            tools.extend(person(name, item, &pointer, cx));
            continue;
        }
        let catalog = cx.catalog();
        match catalog.find(CallKind::Tool, name) {
            Some(tool) => {
                cx.uses(name, tool.artifact);
                let approval = approval(item, &pointer, cx);
                tools.extend(approval.map(|approval| AgentTool::Kit { tool: tool.clone(), approval }));
            }
            None => {
                let known = catalog.tools.keys().map(String::as_str);
                cx.unknown(Code::B014, &pointer, format!("no installed kit has a tool `{name}`"), name, known);
            }
        }
    }
    (tools.len() == items.len()).then_some(tools)
}

/// What silence means is written as in a human node.
const APPROVAL_KEYS: &[&str] = &["timeout_seconds", "on_timeout", "escalation_path", "auto_approve_after"];

/// Bad is `None`; no approval needed is `Some(None)`.
fn approval(item: &Value, pointer: &str, cx: &mut PlanContext<'_>) -> Option<Option<Question>> {
    let pointer = format!("{pointer}/approval");
    match item.get("approval") {
        None | Some(Value::Null | Value::Bool(false)) => Some(None),
        Some(Value::Bool(true)) => Some(Some(Question::default())),
        Some(Value::Object(written)) => {
            let known = &[APPROVAL_KEYS];
            cx.fields_at(written, &pointer).refuse_unknown(known, "an approval");
            silent(written, &pointer, cx).map(Some)
        }
        Some(_) => {
            cx.problem(Code::B004, &pointer, "`approval` must be true or a mapping", "write `approval: true`");
            None
        }
    }
}

/// A question that is still without words.
fn silent(written: &Map<String, Value>, pointer: &str, cx: &mut PlanContext<'_>) -> Option<Question> {
    let before = cx.problem_count();
    let timeout_ms = cx.fields_at(written, pointer).seconds("timeout_seconds");
    let doc = NodeDoc { config: written.clone(), pointer: pointer.to_owned(), timeout_ms, ..NodeDoc::default() };
    let (timeout_ms, on_timeout, escalation) = super::human::silence(&doc, cx);
    let question = Question { timeout_ms, on_timeout, escalation, ..Question::default() };
    (cx.problem_count() == before).then_some(question)
}

fn person(name: &str, item: &Value, pointer: &str, cx: &mut PlanContext<'_>) -> Option<AgentTool> {
    const ABOUT: &str = "Asks a person a question and returns the answer.";
    let written = item.as_object()?;
    let known = &[APPROVAL_KEYS, &["name", "type", "description"]];
    cx.fields_at(written, pointer).refuse_unknown(known, "a person as a tool");
    let description = cx.fields_at(written, pointer).text("description").unwrap_or(ABOUT).to_owned();
    let question = silent(written, pointer, cx)?;
    let question = Question { approval: Approval::InputRequired, ..question };
    Some(AgentTool::Person { name: name.to_owned(), description, question })
}

fn memory(doc: &NodeDoc, cx: &mut PlanContext<'_>) -> Option<Option<AgentMemory>> {
    const SCOPE_DEFAULT: &str = "chat";
    const LIMIT_DEFAULT: u32 = 5;
    const LIMIT_MAX: u64 = 100;
    let Some(map) = cx.fields(doc).mapping("memory").filter(|map: &&Map<String, Value>| !map.is_empty()) else {
        return Some(None);
    };
    let pointer = format!("{}/memory", doc.pointer);
    let mut fields = cx.fields_at(map, &pointer);
    let limit = fields.whole("limit", 1, LIMIT_MAX).and_then(|count| count.try_into().ok());
    let scope = fields.text("scope").unwrap_or(SCOPE_DEFAULT);
    let scope = cx.template(&scope.into(), &format!("{pointer}/scope"), None)?;
    Some(Some(AgentMemory { scope, limit: limit.unwrap_or(LIMIT_DEFAULT) }))
}

impl Node for Agent {
    /// One question a round. What the conversation grows by is not known yet.
    fn asking(&self, known: &Known<'_>) -> Asking<'_> {
        let text = |template: &Template| ask::words(known.render(template).unwrap_or(template.source().clone()));
        let times = Times::up_to(self.max_iterations.into(), ROUNDS_LIKELY);
        let (config, prompt) = match &self.worker {
            Worker::Data { llm, system_prompt, .. } => (&**llm, system_prompt.as_ref()),
            Worker::Component { llm: Some(llm), .. } => (&**llm, None),
            Worker::Component { llm: None, .. } => {
                let assumed = Some("which models its component asks is its own: nothing is counted for it".to_owned());
                return Asking { assumed, ..Asking::default() };
            }
        };
        let mut request = ask::settings(config);
        request.provider = config.provider.as_ref().map(text).unwrap_or_default();
        request.model = text(&config.model);
        let said = [prompt, self.task.as_ref()].into_iter().flatten();
        request.messages = said.map(|template| ask::turn(Role::User, text(template))).collect();
        if matches!(self.worker, Worker::Data { .. }) {
            return Asking { requests: ask::with_stand_ins(request, config, times), ..Asking::default() };
        }
        let times = Times { low: 0, ..times };
        let assumed = Some(format!("how often its component asks is its own: {} times at most", times.high));
        Asking { requests: vec![(request, times)], assumed, ..Asking::default() }
    }

    /// An agent made of data takes a permit for each question and call instead.
    fn is_leaf(&self) -> bool {
        matches!(self.worker, Worker::Component { .. })
    }

    fn execute<'a>(&'a self, cx: &'a NodeRun<'a>) -> BoxFuture<'a, Result<Done, Failure>> {
        Box::pin(async move {
            match &self.worker {
                Worker::Component { name, llm, .. } => self.component(cx, name, llm.as_deref()).await,
                Worker::Data { system_prompt, tools, memory, llm } => {
                    let talk = Talk { system_prompt: system_prompt.as_ref(), tools, memory: memory.as_ref(), llm };
                    work(self, cx, &talk).await
                }
            }
        })
    }

    fn effects(&self) -> Effects {
        Effects::External
    }

    fn output_schema(&self) -> Option<Value> {
        match &self.worker {
            Worker::Component { output_schema, .. } => Some(output_schema.clone()),
            Worker::Data { .. } => Some(json!({
                "type": "object",
                "properties": {
                    "message": {}, "reasoning": {"type": "array"}, "tool_calls": {"type": "array"},
                    "iterations": {"type": "integer"}, "usage": {"type": "object"}, "cost_usd": {"type": "number"},
                },
            })),
        }
    }

    fn callee(&self) -> Option<(CallKind, &str)> {
        match &self.worker {
            Worker::Component { name, .. } => Some((CallKind::Agent, name)),
            Worker::Data { .. } => None,
        }
    }

    fn arguments(&self) -> Option<&Arguments> {
        Some(&self.arguments)
    }

    fn takes_all_inputs(&self) -> bool {
        matches!(self.worker, Worker::Data { .. }) && self.task.is_none() && self.arguments.given.is_empty()
    }

    fn summary(&self) -> String {
        let who = match &self.worker {
            Worker::Component { name, .. } => name.clone(),
            Worker::Data { tools, llm, .. } => {
                let names: Vec<&str> = tools.iter().map(AgentTool::name).collect();
                format!("{} with [{}]", llm.model.source().as_str().unwrap_or_default(), names.join(", "))
            }
        };
        format!("{who}, at most {} rounds", self.max_iterations)
    }
}
