//! The bodies of `/api/v1`. Field names are those of the first version of this API; what is new has new names.

use ice_core::blueprint::{Fields, budget};
use ice_core::budget::{Budget, Usage};
use ice_core::execution::Ending;
use ice_core::problem::{Code, Problem};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Where the routes are.
pub const PREFIX: &str = "/api/v1";

/// The header that says which version of a document a request knows.
pub const VERSION_LOCK: &str = "x-version-lock";

/// What [`VERSION_LOCK`] says of a document that is new.
pub const NEW_DOCUMENT: &str = "__new__";

/// The most seconds a request waits for the end of an execution: proxies give up on longer ones.
pub const WAIT_SECONDS_MAX: f64 = 600.0;

/// `POST /executions`.
#[derive(Clone, PartialEq, Debug)]
pub struct StartRequest {
    /// What to run.
    pub run: Runnable,
    /// A JSON object; defaults of the blueprint fill what is missing.
    pub inputs: Value,
    /// Tightens the blueprint's budget.
    pub budget: Budget,
    /// Names the conversation that memory tools see.
    pub session: Option<String>,
}

/// Which blueprint.
#[derive(Clone, PartialEq, Debug)]
pub enum Runnable {
    /// `blueprint_id`: the id of a stored blueprint, or an installed one as `bundle.blueprint`.
    Id(String),
    /// `blueprint`: the document itself.
    Document(Value),
}

/// Fields of [`StartRequest`].
const START_KEYS: &[&str] = &["blueprint_id", "blueprint", "inputs", "budget", "session"];

impl StartRequest {
    /// A request for a blueprint that the host has.
    pub fn of_id(id: impl Into<String>, inputs: Value) -> Self {
        Self { run: Runnable::Id(id.into()), inputs, budget: Budget::default(), session: None }
    }

    /// A request that brings its blueprint.
    pub fn of_document(blueprint: Value, inputs: Value) -> Self {
        Self { run: Runnable::Document(blueprint), inputs, budget: Budget::default(), session: None }
    }

    /// Reads a body; every problem at once, each with its pointer. The body may be wrapped as `{"payload": …}`.
    pub fn from_value(body: Value) -> Result<Self, Vec<Problem>> {
        let (map, pointer) = unwrapped(body)?;
        let mut problems = Vec::new();
        let budget = budget(&map, &mut problems);
        let mut fields = Fields::new(&map, "", &mut problems);
        fields.refuse_unknown(&[START_KEYS], "a request to start an execution");
        let session = fields.text("session").map(str::to_owned);
        let inputs = fields.mapping("inputs").cloned().unwrap_or_default();
        let id = fields.text("blueprint_id").map(str::to_owned);
        let document = fields.mapping("blueprint").is_some();
        let named = ["blueprint_id", "blueprint"].map(|key| fields.get(key).is_some());
        if named[0] == named[1] {
            let message = if named[0] { "the request names two blueprints" } else { "the request names no blueprint" };
            let help = "give either `blueprint_id`, or `blueprint` with the document itself";
            fields.problem_here(Code::A003, message, help);
        }
        if !problems.is_empty() {
            return Err(problems.into_iter().map(|problem| below(&pointer, problem)).collect());
        }
        let mut map = map;
        let run = match id {
            Some(id) => Runnable::Id(id),
            None => Runnable::Document(map.remove("blueprint").filter(|_| document).unwrap_or_default()),
        };
        Ok(Self { run, inputs: Value::Object(inputs), budget, session })
    }

    /// The body that [`StartRequest::from_value`] reads.
    pub fn to_value(&self) -> Value {
        let mut body = match &self.run {
            Runnable::Id(id) => json!({ "blueprint_id": id, "inputs": self.inputs }),
            Runnable::Document(document) => json!({ "blueprint": document, "inputs": self.inputs }),
        };
        if self.budget != Budget::default() {
            body["budget"] = budget_value(&self.budget);
        }
        if let Some(session) = &self.session {
            body["session"] = session.as_str().into();
        }
        body
    }
}

/// The request itself: bodies were documented as wrapped in `payload` once, and accepted without it.
fn unwrapped(body: Value) -> Result<(Map<String, Value>, String), Vec<Problem>> {
    let refuse =
        || vec![Problem::new(Code::A003, "the body is not a JSON object").help("send `{\"blueprint_id\": …}`")];
    let Value::Object(mut map) = body else { return Err(refuse()) };
    match map.remove("payload") {
        Some(Value::Object(payload)) if map.is_empty() => Ok((payload, "/payload".into())),
        Some(payload) => {
            map.insert("payload".into(), payload);
            Ok((map, String::new()))
        }
        None => Ok((map, String::new())),
    }
}

fn below(pointer: &str, mut problem: Problem) -> Problem {
    let inner = problem.at.as_ref().and_then(|at| at.pointer.clone()).unwrap_or_default();
    if pointer.is_empty() && inner.is_empty() {
        return problem;
    }
    problem.at.get_or_insert_default().pointer = Some(format!("{pointer}{inner}"));
    problem
}

fn budget_value(budget: &Budget) -> Value {
    let mut map = Map::new();
    #[expect(clippy::cast_precision_loss, reason = "amounts a person writes are far below 2^53")]
    let parts = [
        ("usd", budget.micro_usd.map(|micro| json!(micro as f64 / 1e6))),
        ("tokens", budget.tokens.map(|tokens| json!(tokens))),
        ("seconds", budget.ms.map(|ms| json!(ms as f64 / 1e3))),
    ];
    map.extend(parts.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    Value::Object(map)
}

/// An execution as `POST /executions` and `GET /executions/{id}` show it.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct ExecutionBody {
    /// Names it.
    pub execution_id: String,
    /// `accepted` for one that was just started, else `running`, `waiting`, `completed`, `completed_with_errors`,
    /// `failed` or `cancelled`.
    pub status: String,
    /// The id under which its blueprint is stored.
    pub blueprint_id: String,
    /// How it ended; null while it has not.
    pub result: Option<ResultBody>,
    /// Why it failed.
    pub error: Option<Problem>,
    /// Always null: the events are under `/executions/{id}/events`.
    pub events: Option<Value>,
}

/// How an execution ended.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct ResultBody {
    /// Whether every node that had to run ran.
    pub success: bool,
    /// The message of the first failure.
    pub error: Option<String>,
    /// The outputs of the blueprint, or of its last nodes by id where it names none.
    pub output: Value,
    /// Tokens and money.
    pub usage: Usage,
    /// The sums of the usage.
    pub token_stats: TokenStats,
    /// Seconds from start to end, without those during which no process ran it.
    pub execution_time: f64,
}

/// Sums of a usage.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize, Debug)]
pub struct TokenStats {
    /// Sent and received.
    pub total_tokens: u64,
    /// US dollars.
    pub total_cost: f64,
}

impl ResultBody {
    /// The result of an execution that ran for so many milliseconds.
    #[expect(clippy::cast_precision_loss, reason = "amounts and times of one execution are far below 2^53")]
    pub fn new(ending: &Ending, ms: u64) -> Self {
        Self {
            success: ending.status == ice_core::event::FinalStatus::Completed,
            error: ending.problem.as_ref().map(|problem| problem.message.clone()),
            output: ending.outputs.clone(),
            usage: ending.usage,
            token_stats: TokenStats {
                total_tokens: ending.usage.total_tokens(),
                total_cost: ending.usage.cost_micro_usd as f64 / 1e6,
            },
            execution_time: ms as f64 / 1e3,
        }
    }
}

/// `GET /executions`.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct ExecutionList {
    /// Newest first.
    pub executions: Vec<ListedExecution>,
    /// The `before` of the next page; null on the last one.
    pub next: Option<String>,
}

/// One line of [`ExecutionList`].
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct ListedExecution {
    /// Names it.
    pub execution_id: String,
    /// As in [`ExecutionBody::status`].
    pub status: String,
    /// The id under which its blueprint is stored.
    pub blueprint_id: String,
    /// A name for people.
    pub name: String,
    /// Milliseconds since 1970.
    pub started: u64,
    /// When its newest event was appended, in milliseconds since 1970.
    pub updated: u64,
    /// Waits that are open.
    pub waits: u64,
}

/// `POST /executions/{id}/cancel`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct CancelBody {
    /// `canceled` when it has stopped, `canceling` when whoever runs it was asked to, or how it had ended before.
    pub status: String,
}

/// `POST /blueprints`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct StoredBlueprint {
    /// Names it: the digest of its content.
    pub id: String,
    /// Changes whenever the content does.
    pub version_lock: String,
}

/// `GET /blueprints/{id}`.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct BlueprintBody {
    /// The document.
    pub data: Value,
    /// Changes whenever the content does.
    pub version_lock: String,
}

/// Any answer of a status from 400 up.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct ErrorBody {
    /// The message, or a list of them.
    pub detail: Value,
    /// Everything that is wrong, with code, place and way out.
    pub problems: Vec<Problem>,
}

impl ErrorBody {
    /// The body for these problems.
    pub fn new(problems: Vec<Problem>) -> Self {
        let detail = match &problems[..] {
            [only] => only.message.as_str().into(),
            more => more.iter().map(|problem| problem.message.as_str()).collect(),
        };
        Self { detail, problems }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_comes_back_as_it_was_sent() {
        let budget = Budget { micro_usd: Some(1_500_000), tokens: Some(10), ms: Some(2_500) };
        let mut request = StartRequest::of_id("chatkit.rag_chat", json!({ "query": "hello" }));
        assert_eq!(StartRequest::from_value(request.to_value()).as_ref(), Ok(&request));
        (request.budget, request.session) = (budget, Some("s1".into()));
        assert_eq!(StartRequest::from_value(request.to_value()).as_ref(), Ok(&request));
        assert_eq!(StartRequest::from_value(json!({ "payload": request.to_value() })).as_ref(), Ok(&request));
        let inline = StartRequest::of_document(json!({ "nodes": [] }), json!({}));
        assert_eq!(StartRequest::from_value(inline.to_value()), Ok(inline));
    }

    #[test]
    fn everything_wrong_with_a_request_is_said_at_once_with_its_place() {
        let body = json!({ "payload": { "blueprint_di": "x", "inputs": [], "budget": { "usd": -1 } } });
        let problems = StartRequest::from_value(body).expect_err("four mistakes");
        let mut said: Vec<(Code, String)> = (problems.iter())
            .map(|problem| (problem.code, problem.at.clone().and_then(|at| at.pointer).unwrap_or_default()))
            .collect();
        said.sort();
        let expected = [
            (Code::B002, "/payload/blueprint_di"),
            (Code::B004, "/payload/inputs"),
            (Code::B005, "/payload/budget/usd"),
            (Code::A003, "/payload"),
        ];
        assert_eq!(said, expected.map(|(code, pointer)| (code, pointer.to_owned())));
        let help = problems.iter().find(|problem| problem.code == Code::B002).and_then(|problem| problem.help.clone());
        assert_eq!(help.as_deref(), Some("did you mean `blueprint_id`?"));
        for body in [json!([]), json!(null), json!("x")] {
            assert_eq!(StartRequest::from_value(body).expect_err("no object")[0].code, Code::A003);
        }
        let both = json!({ "blueprint": {}, "blueprint_id": "x" });
        assert_eq!(StartRequest::from_value(both).expect_err("two blueprints")[0].code, Code::A003);
    }
}
