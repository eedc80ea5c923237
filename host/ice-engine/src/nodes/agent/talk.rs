//! An agent made of data at work: ask the model, call the tools it asks for, until it answers in words.
//!
//! Every question is a child node `step[n]`, every tool call a child node `step[n]/tool`, with events of their own:
//! what finished before a crash is not asked, called or paid again.

use std::collections::HashMap;
use std::sync::Arc;

use ice_core::budget::Usage;
use ice_core::event::Fact;
use ice_core::ports::{Failure, LlmReply, LlmRequest, MemoryItem, Message, Role, ToolCall, ToolSpec};
use ice_core::problem::{Code, Problem};
use ice_core::template::Template;
use ice_core::wait::Question;
use serde_json::{Value, json};

use super::{Agent, AgentMemory, AgentTool};
use crate::asking;
use crate::calls::{self, Site};
use crate::context::NodeRun;
use crate::history::Was;
use crate::keys;
use crate::nodes::{Done, ask};
use crate::plan::LlmConfig;
use crate::purse::{self, Paid};
use crate::reservation::Reservation;

/// Who talks: the parts of [`Worker::Data`](super::Worker::Data).
pub(super) struct Talk<'a> {
    pub(super) system_prompt: Option<&'a Template>,
    pub(super) tools: &'a [AgentTool],
    pub(super) memory: Option<&'a AgentMemory>,
    pub(super) llm: &'a LlmConfig,
}

/// Failures of a tool call that end the agent: the others are told to the model, which may find another way.
const ENDS_THE_AGENT: [Code; 5] = [Code::X002, Code::X003, Code::X005, Code::X008, Code::X009];

/// Works on the task until the model answers without asking for a tool; X016 when it never does.
pub(super) async fn work(agent: &Agent, cx: &NodeRun<'_>, talk: &Talk<'_>) -> Result<Done, Failure> {
    let mut request = ask::request(cx, talk.llm)?;
    let task = task(agent, cx)?;
    if let Some(prompt) = talk.system_prompt {
        request.messages.push(ask::turn(Role::System, ask::words(cx.render(prompt, "system_prompt")?)));
    }
    let scope = match talk.memory {
        Some(memory) => Some((ask::words(cx.render(&memory.scope, "memory/scope")?), memory.limit)),
        None => None,
    };
    if let Some((scope, limit)) = &scope {
        request.messages.extend(remembered(cx, scope, *limit).await?);
    }
    request.messages.push(ask::turn(Role::User, task.clone()));
    request.tools = talk.tools.iter().map(spec).collect();
    let mut reasoning = Vec::new();
    let mut tool_calls = Vec::new();
    for round in 0..agent.max_iterations {
        let mut site = cx.site();
        site.path = site.below(&format!("step[{round}]"));
        let reply = question(cx, &site, &request, talk.llm).await?;
        cx.spend(&reply.usage);
        if reply.message.tool_calls.is_empty() {
            if let Some((scope, _)) = &scope {
                remember(cx, scope, &task, &reply.message.content).await;
            }
            return Ok(Done::new(json!({
                "message": reply.message.content, "reasoning": reasoning, "tool_calls": tool_calls,
                "iterations": round + 1, "usage": ask::usage(&cx.spent()), "cost_usd": ask::dollars(&cx.spent()),
                "model": reply.model, "offline": reply.offline,
            })));
        }
        if !reply.message.content.is_empty() {
            reasoning.push(reply.message.content.clone());
        }
        let calls = reply.message.tool_calls.clone();
        request.messages.push(reply.message);
        let mut again: HashMap<String, u32> = HashMap::new();
        for call in calls {
            let (answer, told) = tool(cx, talk, &site, &call, &mut again).await?;
            tool_calls.push(json!({ "name": call.name, "arguments": call.arguments, "step": round, "answer": answer }));
            request.messages.push(told);
        }
    }
    let message = format!("the agent did not come to an end in {} rounds", agent.max_iterations);
    Err(Failure::never(Problem::new(Code::X016, message).help("raise `max_iterations`, or make the task smaller")))
}

/// What the model is told to do: the task, and the input as JSON; without either, the inputs of the execution.
fn task(agent: &Agent, cx: &NodeRun<'_>) -> Result<String, Failure> {
    let input = cx.arguments(&agent.arguments)?;
    let given = input.as_object().is_some_and(|fields| !fields.is_empty());
    let task = agent.task.as_ref().map(|task| cx.render(task, "task")).transpose()?.map(ask::words);
    Ok(match (task, given) {
        (Some(task), true) => format!("{task}\n\n{input}"),
        (Some(task), false) => task,
        (None, true) => input.to_string(),
        (None, false) => cx.run().inputs.to_string(),
    })
}

fn spec(tool: &AgentTool) -> ToolSpec {
    match tool {
        AgentTool::Kit { tool, .. } => ToolSpec {
            name: tool.name.clone(),
            description: tool.description.clone(),
            input_schema: tool.input_schema.clone(),
        },
        AgentTool::Person { name, description, .. } => ToolSpec {
            name: name.clone(),
            description: description.clone(),
            input_schema: json!({
                "type": "object", "properties": {"question": {"type": "string"}}, "required": ["question"],
            }),
        },
    }
}

/// Asks the model as a child node.
async fn question(
    cx: &NodeRun<'_>,
    site: &Site,
    request: &LlmRequest,
    config: &LlmConfig,
) -> Result<LlmReply, Failure> {
    let run = cx.run();
    let site = Site { attempt: 1, ..site.clone() };
    match run.history.of_node(&site.path).map(|record| record.was) {
        Some(Was::Finished { output, .. }) => {
            return serde_json::from_value(Value::clone(&output)).map_err(|error| {
                let message = format!("the recorded answer at `{}` cannot be read: {error}", site.path);
                Failure::never(Problem::new(Code::X017, message))
            });
        }
        Some(Was::Failed { problem, .. }) => return Err(Failure::maybe(problem)),
        Some(_) => {}
        None => {
            let idempotency_key = keys::idempotency_key(&run.id, &site.path, site.attempt, None);
            let started = Fact::NodeStarted { kind: "llm".into(), idempotency_key, component: None };
            run.commit(&site.path, site.attempt, started).await?;
        }
    }
    let _permit = cx.permit().await?;
    match ask::ask(cx, request, 0, &site, config).await {
        Ok(reply) => {
            let output = serde_json::to_value(&reply).expect("a reply is JSON");
            let finished = Fact::NodeFinished { output, cached: false, receipt: None, usage: reply.usage };
            run.commit(&site.path, site.attempt, finished).await?;
            Ok(reply)
        }
        Err(failure) => {
            let failed = Fact::NodeFailed { problem: failure.problem.clone(), receipt: None };
            run.push(&site.path, site.attempt, failed);
            Err(failure)
        }
    }
}

/// Calls a tool the model asked for; returns the answer for the output and for the model. A tool that is not on the
/// list is not called.
async fn tool(
    cx: &NodeRun<'_>,
    talk: &Talk<'_>,
    step: &Site,
    call: &ToolCall,
    again: &mut HashMap<String, u32>,
) -> Result<(Value, Message), Failure> {
    let told = |text: String| Message {
        role: Role::Tool,
        content: text,
        tool_calls: Vec::new(),
        answers: Some(call.id.clone()),
    };
    let refused = |message: String| {
        let answer = json!({ "error": { "code": Code::X015, "message": message } });
        Ok((answer.clone(), told(answer.to_string())))
    };
    let Some(allowed) = talk.tools.iter().find(|tool| tool.name() == call.name) else {
        return refused(format!("`{}` is not one of the tools of this agent", call.name));
    };
    let times = again.entry(call.name.clone()).or_default();
    let segment = if *times == 0 { call.name.clone() } else { format!("{}[{times}]", call.name) };
    *times += 1;
    let site = |name: &str| Site { path: step.path.join(name), attempt: 1, stop: Arc::clone(&step.stop) };
    match allowed {
        AgentTool::Kit { approval: None, .. } => {}
        AgentTool::Kit { approval: Some(approval), .. } => {
            let message = format!("The agent `{}` wants to call `{}` with {}", cx.path, call.name, call.arguments);
            let question = Question { message, ..approval.clone() };
            let resolution = asking::ask_as_node(cx, &site(&format!("{segment}.approval")), question).await?;
            if !resolution.approved {
                let why = resolution.comment.map(|comment| format!(": {comment}")).unwrap_or_default();
                return refused(format!("a person does not allow this call{why}"));
            }
        }
        AgentTool::Person { question, .. } => {
            let Some(asked) = call.arguments.get("question").and_then(Value::as_str) else {
                return refused(format!("`{}` takes a `question`", call.name));
            };
            let question = Question { message: asked.to_owned(), ..question.clone() };
            let answer = asking::ask_as_node(cx, &site(&segment), question).await?.output();
            return Ok((answer.clone(), told(answer.to_string())));
        }
    }
    let site = site(&segment);
    let permit = cx.permit().await?;
    let (result, usage) = calls::tool_as_node(cx.run(), site, &call.name, call.arguments.clone()).await;
    drop(permit);
    cx.spend(&usage);
    match result {
        Ok(output) => Ok((output.clone(), told(ask::words(output)))),
        Err(failure) if ENDS_THE_AGENT.contains(&failure.problem.code) => Err(failure),
        Err(failure) => {
            let answer = json!({ "error": { "code": failure.problem.code, "message": failure.problem.message } });
            Ok((answer.clone(), told(answer.to_string())))
        }
    }
}

/// Keys of turns begin with the conversation, so that two of them do not mix.
fn conversation(cx: &NodeRun<'_>) -> String {
    format!("{}/", cx.run().identity.session.as_deref().unwrap_or_default())
}

/// Earlier turns of the conversation, oldest first.
async fn remembered(cx: &NodeRun<'_>, scope: &str, limit: u32) -> Result<Vec<Message>, Failure> {
    let run = cx.run();
    let turns = run.shared.ports.memory.recent(&run.identity, scope, &conversation(cx), limit).await?;
    let said = |turn: &MemoryItem, key: &str| turn.metadata.get(key).and_then(Value::as_str).map(str::to_owned);
    let messages = turns.iter().rev().flat_map(|turn| {
        let asked = said(turn, "user").map(|text| ask::turn(Role::User, text));
        let answered = said(turn, "assistant").map(|text| ask::turn(Role::Assistant, text));
        asked.into_iter().chain(answered)
    });
    Ok(messages.collect())
}

/// Keeps this turn for later ones. The answer is there already: not being able to keep it is told, not fatal.
async fn remember(cx: &NodeRun<'_>, scope: &str, asked: &str, answered: &str) {
    let run = cx.run();
    let item = MemoryItem {
        key: format!("{}{}/{}", conversation(cx), run.id, cx.path),
        text: format!("{asked}\n{answered}"),
        metadata: json!({ "user": asked, "assistant": answered }),
    };
    if let Err(failure) = keep(cx, scope, item).await {
        let message = format!("this turn is not remembered: {}", failure.problem.message);
        run.push(&cx.path, cx.attempt, Fact::Logged { level: "warn".into(), message });
    }
}

/// Writes an item, and pays for its vector.
async fn keep(cx: &NodeRun<'_>, scope: &str, item: MemoryItem) -> Result<(), Failure> {
    let (run, memory) = (cx.run(), &cx.run().shared.ports.memory);
    let estimate = memory.estimate(item.text.len());
    let reservation = match estimate == Usage::default() {
        true => None,
        false => Some(Reservation::make(run, &cx.path, cx.attempt, estimate).await?),
    };
    let (used, fact) = match (memory.write(&run.identity, scope, item).await, reservation) {
        (Ok(used), None) if used == Usage::default() => return Ok(()),
        (Ok(used), None) => {
            run.meter.add(&used);
            (used, Fact::BudgetSettled { used })
        }
        (Ok(used), Some(reservation)) => (used, reservation.settle(used)),
        (Err(failure), None) => return Err(failure),
        (Err(failure), Some(reservation)) => {
            reservation.release().await;
            return Err(failure);
        }
    };
    cx.spend(&used);
    let at = run.now();
    let seq = run.push_all(at, &cx.path, cx.attempt, vec![fact]);
    run.journal.durable(seq).await?;
    purse::settle(run, &cx.path, Paid { seq, at, used }).await;
    Ok(())
}
