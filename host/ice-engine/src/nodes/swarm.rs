//! `swarm`: several agents with roles come to one decision.
//!
//! `consensus`: each proposes, then all vote in rounds, until enough agree. `hierarchical`: a lead gives work to the
//! others and decides. `marketplace`: each bids, and the best bid does the work. How each goes is in `swarm/`.
//!
//! Every turn of an agent is a graph of its own, `name[4]`, that runs the agent as its one node: a turn that finished
//! before a crash is not paid again. Output: `{decision, agreed, votes | bids, rounds, transcript}`; `decision` is null
//! when there was none in `max_rounds`.

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use ice_core::blueprint::NodeDoc;
use ice_core::catalog::{CallKind, Effects};
use ice_core::ports::Failure;
use ice_core::problem::{Code, Problem};
use ice_core::template::Template;
use serde_json::{Map, Value, json};

use super::{Done, Node, NodeKind, ask};
use crate::context::NodeRun;
use crate::estimate::{Asking, Known, SWARM_ROUNDS_LIKELY, Times};
use crate::plan::{Graph, PlanContext};

mod strategy;

/// `type: swarm`.
#[derive(Debug)]
pub struct SwarmKind;

/// Agents that decide together.
#[derive(Debug)]
pub struct Swarm {
    /// In the order of the document; at least two.
    pub members: Vec<Member>,
    /// What is to be decided.
    pub task: Option<Template>,
    /// How they come to a decision.
    pub strategy: Strategy,
    /// Most rounds.
    pub max_rounds: u32,
}

/// One agent of a swarm.
#[derive(Debug)]
pub struct Member {
    /// What it is there for; different from all others.
    pub role: String,
    /// One agent node.
    pub body: Graph,
}

/// How a swarm comes to a decision.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Strategy {
    /// This part of all agents, 0.5 to 1, must vote for the same proposal.
    Consensus {
        /// The part.
        threshold: f64,
    },
    /// This member gives work to the others and decides.
    Hierarchical {
        /// Its position.
        lead: usize,
    },
    /// The best bid does the work.
    Marketplace,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Way {
    #[default]
    Consensus,
    Hierarchical,
    Marketplace,
}

const WAYS: &[(&str, Way)] =
    &[("consensus", Way::Consensus), ("hierarchical", Way::Hierarchical), ("marketplace", Way::Marketplace)];

/// Every agent of every round is a paid turn.
const MEMBERS_MAX: usize = 64;
const ROUNDS_DEFAULT: u32 = 10;
const ROUNDS_MAX: u64 = 1_000;

const THRESHOLD_DEFAULT: f64 = 0.75;

/// Characters of what an agent said that others are shown and that are kept in the output.
const SAID_CHARS_MAX: usize = 16_000;

/// What an agent sees of its turn: `{task, role, round, prompt, transcript}`.
const TURN: &str = "turn";

/// Settings of an agent of a swarm, besides its role.
const MEMBER_KEYS: &[&str] = &[
    "package",
    "role",
    "config_overrides",
    "system_prompt",
    "tools",
    "memory",
    "llm_config",
    "model",
    "temperature",
    "max_tokens",
    "max_iterations",
    "input",
    "task",
];

/// Where a component agent takes words, best first.
const WORDS: &[&str] = &["task", "query", "prompt", "message", "question", "input", "text"];

impl NodeKind for SwarmKind {
    fn name(&self) -> &'static str {
        "swarm"
    }

    fn keys(&self) -> &'static [&'static str] {
        &["agents", "coordination_strategy", "max_rounds", "consensus_threshold", "lead", "task", "llm_config"]
    }

    fn plan(&self, doc: &NodeDoc, cx: &mut PlanContext<'_>) -> Option<Box<dyn Node>> {
        let before = cx.problem_count();
        let way = cx.fields(doc).choice("coordination_strategy", WAYS).unwrap_or_default();
        let max_rounds = cx.fields(doc).whole("max_rounds", 1, ROUNDS_MAX).and_then(|count| count.try_into().ok());
        let threshold = cx.fields(doc).number("consensus_threshold", 0.5, 1.0).unwrap_or(THRESHOLD_DEFAULT);
        let task = cx.fields(doc).text("task").map(str::to_owned);
        let task = task.and_then(|task| cx.template(&task.into(), &format!("{}/task", doc.pointer), None));
        let roles = roles(doc, cx)?;
        let members = members(doc, &roles, cx);
        let lead = lead(doc, way, &roles, cx);
        let strategy = match way {
            Way::Consensus => Strategy::Consensus { threshold },
            Way::Hierarchical => Strategy::Hierarchical { lead },
            Way::Marketplace => Strategy::Marketplace,
        };
        let max_rounds = max_rounds.unwrap_or(ROUNDS_DEFAULT);
        (cx.problem_count() == before).then(|| Box::new(Swarm { members, task, strategy, max_rounds }) as _)
    }
}

/// The role of each agent, in order; empty where it has none.
fn roles(doc: &NodeDoc, cx: &mut PlanContext<'_>) -> Option<Vec<String>> {
    let mut fields = cx.fields(doc);
    if fields.get("agents").is_none() {
        fields.missing("agents");
        return None;
    }
    let agents = fields.list("agents")?;
    let help = "list agents: `- {package: some_agent, role: critic}`";
    if agents.len() < 2 {
        fields.problem(Code::B005, "agents", "a swarm has at least two agents", help);
    }
    if agents.len() > MEMBERS_MAX {
        let message = format!("a swarm has at most {MEMBERS_MAX} agents");
        fields.problem(Code::B005, "agents", message, "split it into several swarms");
        return None;
    }
    let mut roles: Vec<String> = Vec::with_capacity(agents.len());
    for (index, agent) in agents.iter().enumerate() {
        let role = agent.get("role").and_then(Value::as_str).unwrap_or_default().trim().to_owned();
        if agent.is_object() && role.is_empty() {
            fields.problem(Code::B006, &format!("agents/{index}"), "the agent has no `role`", help);
        } else if !role.is_empty() && roles.contains(&role) {
            let at = format!("agents/{index}/role");
            fields.problem(Code::B005, &at, format!("two agents have the role `{role}`"), "give each its own role");
        }
        roles.push(role);
    }
    Some(roles)
}

fn members(doc: &NodeDoc, roles: &[String], cx: &mut PlanContext<'_>) -> Vec<Member> {
    let agents = cx.fields(doc).list("agents").unwrap_or_default();
    let mut members = Vec::with_capacity(agents.len());
    for ((index, agent), role) in agents.iter().enumerate().zip(roles) {
        let pointer = format!("{}/agents/{index}", doc.pointer);
        let Some(written) = agent.as_object() else {
            cx.problem(Code::B004, &pointer, "an agent is a mapping", "write `{package: some_agent, role: critic}`");
            continue;
        };
        cx.fields_at(written, &pointer).refuse_unknown(&[MEMBER_KEYS], "an agent of a swarm");
        let Some(made) = member(doc, written, index, role, &pointer, cx) else { continue };
        let renamed = &[("agent_config", "config_overrides")];
        members.extend(cx.made(made, &pointer, renamed, TURN).map(|body| Member { role: role.clone(), body }));
    }
    members
}

/// The agent node of a member.
fn member(
    doc: &NodeDoc,
    written: &Map<String, Value>,
    index: usize,
    role: &str,
    pointer: &str,
    cx: &mut PlanContext<'_>,
) -> Option<Value> {
    let letters = role.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).take(60);
    let id = format!("a{}-{}", index + 1, letters.collect::<String>());
    let mut made = Map::new();
    made.insert("id".into(), id.into());
    made.insert("type".into(), "agent".into());
    let kept = MEMBER_KEYS.iter().filter(|key| !matches!(**key, "role" | "config_overrides"));
    for key in kept {
        made.extend(written.get(*key).filter(|value| !value.is_null()).map(|value| ((*key).to_owned(), value.clone())));
    }
    let overrides = cx.fields_at(written, pointer).mapping("config_overrides").cloned().unwrap_or_default();
    match cx.fields_at(written, pointer).text("package").map(str::to_owned) {
        Some(package) => {
            if !overrides.is_empty() {
                made.insert("agent_config".into(), overrides.into());
            }
            if !made.contains_key("input") {
                made.insert("input".into(), asked(&package, pointer, cx)?);
            }
        }
        None => {
            // What is overridden of an agent made of data are its own settings.
            made.extend(overrides);
            if let Some(shared) = doc.config.get("llm_config") {
                made.entry("llm_config").or_insert(shared.clone());
            }
            made.entry("task").or_insert_with(|| format!("{{{{ {TURN}.prompt }}}}").into());
        }
    }
    Some(made.into())
}

/// How a component agent is given its turn when nobody says it.
fn asked(package: &str, pointer: &str, cx: &mut PlanContext<'_>) -> Option<Value> {
    let catalog = cx.catalog();
    // One that is not installed is reported when its node is planned.
    let Some(agent) = catalog.find(CallKind::Agent, package) else { return Some(json!({})) };
    let fields = agent.input_schema.get("properties").and_then(Value::as_object);
    let takes_words = |name: &str| {
        let kind = fields.and_then(|fields| fields.get(name)?.get("type"));
        kind.is_none_or(|kind| kind == "string")
    };
    let known = WORDS.iter().find(|name| fields.is_some_and(|fields| fields.contains_key(**name)) && takes_words(name));
    let Some(name) = known.or_else(|| fields.is_none_or(Map::is_empty).then_some(&WORDS[0])) else {
        let message = format!("agent `{package}` has no input that words could go into");
        let help = format!("say how it gets its turn: `input: {{some_field: '{{{{ {TURN}.prompt }}}}'}}`");
        cx.problem(Code::B024, pointer, message, help);
        return None;
    };
    Some(json!({ *name: format!("{{{{ {TURN}.prompt }}}}") }))
}

fn lead(doc: &NodeDoc, way: Way, roles: &[String], cx: &mut PlanContext<'_>) -> usize {
    let Some(role) = cx.fields(doc).text("lead").map(str::to_owned) else { return 0 };
    let pointer = format!("{}/lead", doc.pointer);
    if way != Way::Hierarchical {
        let help = "set `coordination_strategy: hierarchical`";
        cx.problem(Code::B005, &pointer, "only a hierarchical swarm has a lead", help);
    }
    let found = roles.iter().position(|known| *known == role);
    if found.is_none() {
        let message = format!("no agent has the role `{role}`");
        cx.unknown(Code::B005, &pointer, message, &role, roles.iter().map(String::as_str));
    }
    found.unwrap_or(0)
}

/// A swarm at work: who said what, and which turn is next.
struct Work<'a> {
    swarm: &'a Swarm,
    cx: &'a NodeRun<'a>,
    task: String,
    transcript: Vec<Value>,
    turns: usize,
    rounds: u32,
}

/// What came of one turn.
struct Said {
    member: usize,
    /// The words.
    text: String,
    /// What was said as JSON, if it was.
    json: Option<Value>,
}

impl Said {
    fn field(&self, name: &str) -> Option<&Value> {
        self.json.as_ref()?.get(name).filter(|value| !value.is_null())
    }

    /// A field in words, or everything that was said.
    fn words_of(&self, name: &str) -> String {
        self.field(name).map_or_else(|| self.text.clone(), |value| ask::words(value.clone()))
    }
}

/// Failures of a turn that end the swarm; after any other one, the others go on without that agent for a round.
const ENDS_THE_SWARM: [Code; 6] = [Code::X002, Code::X003, Code::X005, Code::X008, Code::X009, Code::X023];

impl Work<'_> {
    fn role(&self, member: usize) -> &str {
        &self.swarm.members[member].role
    }

    /// Lets members speak at the same time; returns what those who could said, in the order of `asked`. X024 when nobody
    /// could.
    async fn hear(&mut self, asked: Vec<(usize, String)>) -> Result<Vec<Said>, Failure> {
        let first = self.turns;
        self.turns += asked.len();
        let mut running = FuturesUnordered::new();
        for (offset, (member, prompt)) in asked.iter().enumerate() {
            let turn = json!({
                "task": self.task, "role": self.role(*member), "round": self.rounds, "prompt": prompt,
                "transcript": self.transcript,
            });
            let (cx, body, place) = (self.cx, &self.swarm.members[*member].body, first + offset);
            running.push(async move { (offset, cx.graph(body, &format!("[{place}]"), Some((turn, place))).await) });
        }
        let mut heard: Vec<Option<Result<Value, Failure>>> = asked.iter().map(|_| None).collect();
        while let Some((offset, inner)) = running.next().await {
            heard[offset] = Some(inner.failure.map_or(Ok(inner.last), Err));
        }
        drop(running);
        let mut said = Vec::with_capacity(asked.len());
        let mut last = None;
        for ((member, _), heard) in asked.iter().zip(heard.into_iter().flatten()) {
            match heard {
                Ok(output) => said.push(self.note(*member, &output)),
                Err(failure) if ENDS_THE_SWARM.contains(&failure.problem.code) || self.cx.stop.why().is_some() => {
                    return Err(failure);
                }
                Err(failure) => {
                    let problem = json!({ "code": failure.problem.code, "message": failure.problem.message });
                    let entry = json!({ "round": self.rounds, "role": self.role(*member), "failed": problem });
                    self.transcript.push(entry);
                    last = Some(failure);
                }
            }
        }
        match last.filter(|_| said.is_empty()) {
            None => Ok(said),
            Some(failure) => {
                let message = format!("no agent of the swarm could take its turn: {}", failure.problem.message);
                Err(Failure { problem: Problem::new(Code::X024, message), ..failure })
            }
        }
    }

    fn note(&mut self, member: usize, output: &Value) -> Said {
        let words = ["message", "text", "response"].iter().find_map(|key| output.get(*key));
        let text = ask::words(words.unwrap_or(output).clone());
        let json =
            ask::parse(&text).filter(Value::is_object).or_else(|| Some(output.clone()).filter(|_| words.is_none()));
        let text: String = text.chars().take(SAID_CHARS_MAX).collect();
        self.transcript.push(json!({ "round": self.rounds, "role": self.role(member), "said": text }));
        Said { member, text, json }
    }
}

impl Swarm {
    async fn run(&self, cx: &NodeRun<'_>) -> Result<Done, Failure> {
        cx.check_context()?;
        let task = match &self.task {
            Some(task) => ask::words(cx.render(task, "task")?),
            None => cx.run().inputs.to_string(),
        };
        let mut work = Work { swarm: self, cx, task, transcript: Vec::new(), turns: 0, rounds: 0 };
        let (decision, votes) = match self.strategy {
            Strategy::Consensus { threshold } => work.consensus(threshold).await?,
            Strategy::Hierarchical { lead } => work.hierarchy(lead).await?,
            Strategy::Marketplace => work.market().await?,
        };
        let mut output = json!({
            "decision": decision, "agreed": decision.is_some(), "rounds": work.rounds, "transcript": work.transcript,
        });
        if let Some((name, list)) = votes {
            output[name] = list.into();
        }
        Ok(Done::new(output))
    }
}

impl Node for Swarm {
    /// Each member speaks once a round, and once before the first or after the last. Whom a lead or the bids choose is
    /// not certain.
    fn asking(&self, _known: &Known<'_>) -> Asking<'_> {
        let high = u64::from(self.max_rounds) + 1;
        let times = Times { low: 0, likely: high.min(SWARM_ROUNDS_LIKELY), high };
        Asking { graphs: self.members.iter().map(|member| (&member.body, times)).collect(), ..Asking::default() }
    }

    fn execute<'a>(&'a self, cx: &'a NodeRun<'a>) -> BoxFuture<'a, Result<Done, Failure>> {
        Box::pin(self.run(cx))
    }

    fn graphs(&self) -> Vec<&Graph> {
        self.members.iter().map(|member| &member.body).collect()
    }

    fn effects(&self) -> Effects {
        Effects::External
    }

    fn output_schema(&self) -> Option<Value> {
        let list = json!({"type": "array"});
        let mut properties = json!({
            "decision": {}, "agreed": {"type": "boolean"}, "rounds": {"type": "integer"}, "transcript": list,
        });
        match self.strategy {
            Strategy::Consensus { .. } => properties["votes"] = list,
            Strategy::Marketplace => properties["bids"] = list,
            Strategy::Hierarchical { .. } => {}
        }
        Some(json!({"type": "object", "properties": properties, "additionalProperties": false}))
    }

    fn takes_all_inputs(&self) -> bool {
        self.task.is_none()
    }

    fn summary(&self) -> String {
        let roles: Vec<&str> = self.members.iter().map(|member| member.role.as_str()).collect();
        let how = match self.strategy {
            Strategy::Consensus { threshold } => format!("consensus of {threshold}"),
            Strategy::Hierarchical { lead } => format!("led by {}", roles[lead]),
            Strategy::Marketplace => "the best bid works".into(),
        };
        format!("{}: {how}, at most {} rounds", roles.join(", "), self.max_rounds)
    }
}
