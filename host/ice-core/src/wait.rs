//! What an execution asks of a person, and what counts as an answer.
//!
//! Pure. When a wait opens, is passed on or runs out is decided by the engine; who may answer, by whoever lets people
//! in. Everything an answer is checked against is in the [`Question`], which is kept in the event that opens the wait:
//! a host of another version reads it from there.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::id::{Digest, ExecutionId, NodePath, UnixMs};
use crate::problem::{Code, Problem};
use crate::schema::{Direction, Schema};

/// Bytes of one response. It becomes part of an event, and of every context that sees the node.
pub const RESPONSE_BYTES_MAX: usize = 1 << 20;

/// Bytes of a name or a comment that come with an answer.
const WORDS_BYTES_MAX: usize = 16 << 10;

/// Names one wait: the execution it belongs to, a dot, and 16 hex digits. The same place and attempt always give the
/// same one, so that a process that takes the execution up again finds it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
#[serde(transparent)]
pub struct WaitId(pub String);

impl WaitId {
    /// The wait of one node attempt.
    pub fn new(execution: &ExecutionId, path: &NodePath, attempt: u32) -> Self {
        let hash = Digest::of(format!("{execution}\n{path}\n{attempt}\nwait").as_bytes()).hex();
        Self(format!("{execution}.{}", &hash[..16]))
    }

    /// The execution that waits; `None` when the text cannot be the name of a wait.
    pub fn execution(&self) -> Option<ExecutionId> {
        let (execution, hash) = self.0.rsplit_once('.')?;
        let good = !execution.is_empty() && hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        good.then(|| ExecutionId(execution.to_owned()))
    }
}

impl fmt::Display for WaitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What kind of answer is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
#[serde(rename_all = "snake_case")]
pub enum Approval {
    /// Yes or no.
    #[default]
    ApproveReject,
    /// A value, checked against the form if there is one.
    InputRequired,
    /// One of the choices.
    Choice,
}

/// What happens when nobody answers in time.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
#[serde(rename_all = "snake_case")]
pub enum OnTimeout {
    /// It counts as a yes.
    Approve,
    /// It counts as a no.
    Reject,
    /// The node fails.
    #[default]
    Fail,
    /// The next one of the escalation path is asked; after the last one the node fails.
    Escalate,
}

/// What is asked.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug, Default)]
#[serde(default)]
pub struct Question {
    /// For the person.
    pub message: String,
    /// What kind of answer is wanted.
    pub approval: Approval,
    /// What may be chosen, for [`Approval::Choice`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// JSON Schema of the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub form: Option<Value>,
    /// How long each of those who are asked has, in milliseconds; `None` for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// What happens then.
    pub on_timeout: OnTimeout,
    /// Who is asked next, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub escalation: Vec<String>,
}

/// What a person said.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Answer {
    /// Yes or no.
    pub approved: Option<bool>,
    /// The value that was asked for.
    pub response: Option<Value>,
    /// What was chosen.
    pub choice: Option<String>,
    /// Who answers.
    pub responder: String,
    /// In words.
    pub comment: Option<String>,
}

/// How a wait ended: an answer that was checked, or what stands for one when nobody answered.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Resolution {
    /// Yes or no.
    pub approved: bool,
    /// The value that was asked for, or what was chosen; null without either.
    #[serde(default)]
    pub response: Value,
    /// Who answered; empty when nobody did.
    #[serde(default)]
    pub responder: String,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether nobody answered in time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub timed_out: bool,
}

/// A wait that is open, as events tell it.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct OpenWait {
    /// The node that waits.
    pub path: NodePath,
    /// Its attempt.
    pub attempt: u32,
    /// What is asked.
    pub question: Question,
    /// When it opened.
    pub opened: UnixMs,
    /// When the time of whoever is asked now is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<UnixMs>,
    /// Who is asked now, once it was passed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalated_to: Option<String>,
    /// How often it was passed on.
    #[serde(default)]
    pub level: usize,
}

impl Question {
    /// Checks an answer. X020, with the place in the answer, when it is not one to this question.
    pub fn resolve(&self, answer: Answer) -> Result<Resolution, Problem> {
        if answer.responder.trim().is_empty() {
            return Err(refuse("/responder", "the answer does not say who answers").help("name the `responder`"));
        }
        let words = [("/responder", Some(&answer.responder)), ("/comment", answer.comment.as_ref())];
        if let Some((place, _)) = words.iter().find(|(_, text)| text.is_some_and(|text| text.len() > WORDS_BYTES_MAX)) {
            return Err(refuse(place, "the text is too long").help(format!("at most {WORDS_BYTES_MAX} bytes")));
        }
        let (approved, response) = match self.approval {
            Approval::ApproveReject => {
                let missing = || refuse("/approved", "the answer says neither yes nor no");
                (answer.approved.ok_or_else(|| missing().help("set `approved` to true or false"))?, answer.response)
            }
            // A person may also refuse to fill a form in, or to choose.
            _ if answer.approved == Some(false) => (false, answer.response),
            Approval::InputRequired => {
                let missing = || refuse("/response", "the answer has no `response`");
                (true, Some(answer.response.ok_or_else(|| missing().help("give what the form asks for"))?))
            }
            Approval::Choice => (true, Some(self.chosen(answer.choice, answer.response)?.into())),
        };
        let response = response.unwrap_or_default();
        if approved {
            self.check_form(&response)?;
        }
        if response.to_string().len() > RESPONSE_BYTES_MAX {
            let help = format!("at most {RESPONSE_BYTES_MAX} bytes of JSON");
            return Err(refuse("/response", "the response is too large").help(help));
        }
        Ok(Resolution { approved, response, responder: answer.responder, comment: answer.comment, timed_out: false })
    }

    fn chosen(&self, choice: Option<String>, response: Option<Value>) -> Result<String, Problem> {
        let named = choice.or_else(|| response.as_ref().and_then(Value::as_str).map(str::to_owned));
        let help = || format!("choose one of: {}", self.choices.join(", "));
        let Some(named) = named else { return Err(refuse("/choice", "the answer does not choose").help(help())) };
        if self.choices.contains(&named) {
            return Ok(named);
        }
        Err(refuse("/choice", &format!("`{}` is not one of the choices", shown(&named))).help(help()))
    }

    fn check_form(&self, response: &Value) -> Result<(), Problem> {
        let Some(form) = &self.form else { return Ok(()) };
        let unusable = |error: &dyn fmt::Display| refuse("/response", &format!("the form cannot be used: {error}"));
        let schema = Schema::compile(form, Direction::Input).map_err(|error| unusable(&error))?;
        let problems = schema.check(response);
        let Some(first) = problems.first() else { return Ok(()) };
        let words: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let message = format!("the response does not fit the form: {}", words.join("; "));
        let fields: Vec<&str> = schema.properties().collect();
        let help = match fields.is_empty() {
            true => format!("the form is {form}"),
            false => format!("the form has the fields: {}", fields.join(", ")),
        };
        Err(refuse(&format!("/response{}", first.pointer), &message).help(help))
    }

    /// What stands for an answer when the time is over.
    pub fn unanswered(&self) -> Resolution {
        let approved = self.on_timeout == OnTimeout::Approve;
        Resolution { approved, response: Value::Null, responder: String::new(), comment: None, timed_out: true }
    }
}

impl Resolution {
    /// Whether nobody answered and the question says that this is a failure.
    pub fn is_failure(&self, question: &Question) -> bool {
        self.timed_out && matches!(question.on_timeout, OnTimeout::Fail | OnTimeout::Escalate)
    }

    /// The output of a human node: `{approved, response, responder, comment, timed_out}`.
    pub fn output(&self) -> Value {
        json!({
            "approved": self.approved, "response": self.response, "responder": self.responder,
            "comment": self.comment, "timed_out": self.timed_out,
        })
    }
}

fn refuse(pointer: &str, message: &str) -> Problem {
    Problem::new(Code::X020, message).pointer(pointer)
}

/// A value from outside, short enough for a message and without control characters.
fn shown(text: &str) -> String {
    text.chars().take(60).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(answer: Answer) -> Answer {
        Answer { responder: "ann".into(), ..answer }
    }

    fn place(result: Result<Resolution, Problem>) -> String {
        let problem = result.expect_err("it is refused");
        assert_eq!(problem.code, Code::X020);
        assert!(problem.help.is_some(), "{problem}");
        problem.at.and_then(|place| place.pointer).expect("a place")
    }

    #[test]
    fn a_wait_is_found_again_and_names_its_execution() {
        let execution = ExecutionId("0190-a.b".into());
        let path = NodePath("ask".into());
        let wait = WaitId::new(&execution, &path, 1);
        assert_eq!(wait, WaitId::new(&execution, &path, 1));
        assert_ne!(wait, WaitId::new(&execution, &path, 2));
        assert_eq!(wait.execution(), Some(execution));
        for text in ["", "x", ".0123456789abcdef", "x.012", "x.0123456789abcdeg"] {
            assert_eq!(WaitId(text.into()).execution(), None, "{text}");
        }
    }

    #[test]
    fn yes_or_no_must_be_said_by_somebody() {
        let question = Question::default();
        assert_eq!(place(question.resolve(Answer { approved: Some(true), ..Answer::default() })), "/responder");
        assert_eq!(place(question.resolve(by(Answer::default()))), "/approved");
        let no = by(Answer { approved: Some(false), comment: Some("later".into()), ..Answer::default() });
        let resolution = question.resolve(no).expect("an answer");
        assert_eq!((resolution.approved, resolution.comment.as_deref()), (false, Some("later")));
    }

    #[test]
    fn a_form_is_checked_with_its_place() {
        let form = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
        let question = Question { approval: Approval::InputRequired, form: Some(form), ..Question::default() };
        let answer = |response: Value| by(Answer { response: Some(response), ..Answer::default() });
        assert_eq!(place(question.resolve(by(Answer::default()))), "/response");
        assert_eq!(place(question.resolve(answer(json!({"n": "x"})))), "/response/n");
        assert_eq!(question.resolve(answer(json!({"n": 3}))).expect("fits").response, json!({"n": 3}));
        let refused = question.resolve(by(Answer { approved: Some(false), ..Answer::default() })).expect("a refusal");
        assert!(!refused.approved);
        let large = "x".repeat(RESPONSE_BYTES_MAX);
        let free = Question { approval: Approval::InputRequired, ..Question::default() };
        assert_eq!(place(free.resolve(answer(large.into()))), "/response");
    }

    #[test]
    fn only_what_is_offered_can_be_chosen() {
        let choices = vec!["red".to_owned(), "blue".to_owned()];
        let question = Question { approval: Approval::Choice, choices, ..Question::default() };
        let answer = |choice: &str| by(Answer { choice: Some(choice.into()), ..Answer::default() });
        assert_eq!(place(question.resolve(answer("green"))), "/choice");
        assert_eq!(place(question.resolve(by(Answer::default()))), "/choice");
        assert_eq!(question.resolve(answer("blue")).expect("offered").response, json!("blue"));
    }

    #[test]
    fn silence_means_what_the_question_says() {
        let silent = |on_timeout| {
            let question = Question { on_timeout, ..Question::default() };
            let resolution = question.unanswered();
            (resolution.approved, resolution.is_failure(&question))
        };
        assert_eq!(silent(OnTimeout::Approve), (true, false));
        assert_eq!(silent(OnTimeout::Reject), (false, false));
        assert_eq!(silent(OnTimeout::Fail), (false, true));
        assert_eq!(silent(OnTimeout::Escalate), (false, true));
    }

    #[test]
    fn a_question_of_a_newer_or_older_host_is_read() {
        let question: Question = serde_json::from_value(json!({"message": "ok?", "colour": "red"})).expect("tolerant");
        assert_eq!(question, Question { message: "ok?".into(), ..Question::default() });
    }
}
