//! `human`: asks a person and waits for the answer, for as long as it takes. Nothing is held in memory meanwhile when
//! nothing else is to be done.
//!
//! Output: `{approved, response, responder, comment, timed_out}`. A no is an answer, not a failure.

use futures_util::future::BoxFuture;
use ice_core::blueprint::NodeDoc;
use ice_core::catalog::Effects;
use ice_core::ports::Failure;
use ice_core::problem::Code;
use ice_core::schema::Direction;
use ice_core::template::Template;
use ice_core::wait::{Approval, OnTimeout, Question};
use serde_json::{Value, json};

use super::{Done, Node, NodeKind, ask};
use crate::asking;
use crate::context::NodeRun;
use crate::plan::PlanContext;

/// `type: human`.
#[derive(Debug)]
pub struct HumanKind;

/// A question to a person.
#[derive(Debug)]
pub struct Human {
    /// What the person reads.
    pub message: Template,
    /// What may be chosen; renders to a list of texts.
    pub choices: Option<Template>,
    /// What may be answered, and what silence means; its message and choices are still empty.
    pub question: Question,
}

const APPROVALS: &[(&str, Approval)] = &[
    ("approve_reject", Approval::ApproveReject),
    ("input_required", Approval::InputRequired),
    ("choice", Approval::Choice),
];

const TIMEOUTS: &[(&str, OnTimeout)] = &[
    ("approve", OnTimeout::Approve),
    ("reject", OnTimeout::Reject),
    ("fail", OnTimeout::Fail),
    ("escalate", OnTimeout::Escalate),
];

impl NodeKind for HumanKind {
    fn name(&self) -> &'static str {
        "human"
    }

    fn keys(&self) -> &'static [&'static str] {
        &["prompt_message", "approval_type", "choices", "form", "auto_approve_after", "on_timeout", "escalation_path"]
    }

    fn plan(&self, doc: &NodeDoc, cx: &mut PlanContext<'_>) -> Option<Box<dyn Node>> {
        let before = cx.problem_count();
        let pointer = |key: &str| format!("{}/{key}", doc.pointer);
        let approval = cx.fields(doc).choice("approval_type", APPROVALS).unwrap_or_default();
        let choices = choices(doc, approval, cx);
        let form = form(doc, approval, cx);
        let (timeout_ms, on_timeout, escalation) = silence(doc, cx);
        if doc.finally {
            let help = "ask before the end, in a node without `finally`";
            let message = "a node that runs whatever happened cannot wait for a person";
            cx.problem(Code::B005, &pointer("finally"), message, help);
        }
        let message = cx.fields(doc).required_text("prompt_message").map(str::to_owned)?;
        let message = cx.template(&message.into(), &pointer("prompt_message"), None)?;
        if cx.problem_count() > before {
            return None;
        }
        let question = Question { approval, form, timeout_ms, on_timeout, escalation, ..Question::default() };
        Some(Box::new(Human { message, choices, question }))
    }
}

fn choices(doc: &NodeDoc, approval: Approval, cx: &mut PlanContext<'_>) -> Option<Template> {
    let mut fields = cx.fields(doc);
    let help = "add `choices:` with at least two texts";
    let Some(written) = fields.get("choices") else {
        if approval == Approval::Choice {
            fields.problem_here(Code::B006, "`choices` is missing: there is nothing to choose from", help);
        }
        return None;
    };
    if approval != Approval::Choice {
        // Older documents carry them with other questions; there they mean nothing.
        return None;
    }
    if !written.is_string() && fields.texts("choices").len() < 2 {
        fields.problem(Code::B005, "choices", "a choice needs at least two texts", help);
    }
    cx.template(written, &format!("{}/choices", doc.pointer), None)
}

fn form(doc: &NodeDoc, approval: Approval, cx: &mut PlanContext<'_>) -> Option<Value> {
    let mut fields = cx.fields(doc);
    let written = fields.get("form")?;
    if approval == Approval::Choice {
        fields.problem(Code::B005, "form", "what is chosen has no form", "remove `form`, or ask for input");
    }
    let schema = cx.schema(written, Direction::Input, &format!("{}/form", doc.pointer))?;
    Some(schema.document().clone())
}

/// How long each of those who are asked has, what silence means, and who is asked next.
pub(super) fn silence(doc: &NodeDoc, cx: &mut PlanContext<'_>) -> (Option<u64>, OnTimeout, Vec<String>) {
    let mut fields = cx.fields(doc);
    let auto = fields.seconds("auto_approve_after");
    let written = fields.choice("on_timeout", TIMEOUTS);
    let path = match fields.get("escalation_path") {
        Some(Value::String(one)) => vec![one.clone()],
        Some(_) => fields.texts("escalation_path"),
        None => Vec::new(),
    };
    if let Some(auto) = auto {
        if doc.timeout_ms.is_some_and(|timeout| auto >= timeout) {
            let message = "`auto_approve_after` must be less than `timeout_seconds`";
            fields.problem(Code::B005, "auto_approve_after", message, "lower it, or leave `timeout_seconds` out");
        }
        if written.is_some_and(|written| written != OnTimeout::Approve) {
            let message = "`auto_approve_after` already says what silence means";
            fields.problem(Code::B005, "on_timeout", message, "remove one of them");
        }
        return (Some(auto), OnTimeout::Approve, Vec::new());
    }
    // An escalation path that was written is meant to be used.
    let on_timeout = written.unwrap_or(if path.is_empty() { OnTimeout::Fail } else { OnTimeout::Escalate });
    match (on_timeout, path.is_empty()) {
        (OnTimeout::Escalate, true) => {
            let message = "`on_timeout: escalate` does not say to whom";
            fields.problem(Code::B006, "on_timeout", message, "add `escalation_path: [somebody]`");
        }
        (OnTimeout::Escalate, false) | (_, true) => {}
        (_, false) => {
            let message = "`escalation_path` is only used with `on_timeout: escalate`";
            fields.problem(Code::B005, "escalation_path", message, "set `on_timeout: escalate`");
        }
    }
    if written.is_some() && doc.timeout_ms.is_none() {
        let message = "`on_timeout` never comes into effect: there is no `timeout_seconds`";
        fields.problem(Code::B006, "on_timeout", message, "add `timeout_seconds:`");
    }
    (doc.timeout_ms, on_timeout, path)
}

impl Human {
    fn question(&self, cx: &NodeRun<'_>) -> Result<Question, Failure> {
        let message = ask::words(cx.render(&self.message, "prompt_message")?);
        let choices = match &self.choices {
            Some(choices) => offered(&cx.render(choices, "choices")?)?,
            None => Vec::new(),
        };
        Ok(Question { message, choices, ..self.question.clone() })
    }
}

/// What may be chosen, once it is known.
fn offered(value: &Value) -> Result<Vec<String>, Failure> {
    let texts: Option<Vec<String>> =
        value.as_array().and_then(|items| items.iter().map(|item| item.as_str().map(str::to_owned)).collect());
    texts.filter(|texts| texts.len() >= 2).ok_or_else(|| {
        let message = "`choices` is not a list of at least two texts";
        Failure::never(ice_core::problem::Problem::new(Code::X006, message).help("let the template give a list"))
    })
}

impl Node for Human {
    fn execute<'a>(&'a self, cx: &'a NodeRun<'a>) -> BoxFuture<'a, Result<Done, Failure>> {
        Box::pin(async move {
            cx.check_context()?;
            let resolution = asking::ask(cx, &cx.site(), || self.question(cx)).await?;
            Ok(Done::new(resolution.output()))
        })
    }

    fn effects(&self) -> Effects {
        Effects::External
    }

    /// `timeout_seconds` is the time of the person, and goes on while no process runs the execution.
    fn keeps_time(&self) -> bool {
        true
    }

    fn output_schema(&self) -> Option<Value> {
        let response = match (self.question.approval, &self.question.form) {
            (Approval::Choice, _) => json!({"type": ["string", "null"]}),
            _ => json!({}),
        };
        Some(json!({
            "type": "object",
            "properties": {
                "approved": {"type": "boolean"}, "response": response, "responder": {"type": "string"},
                "comment": {"type": ["string", "null"]}, "timed_out": {"type": "boolean"},
            },
            "additionalProperties": false,
        }))
    }

    fn summary(&self) -> String {
        let question = &self.question;
        let mut text = format!("{:?} {}", question.approval, self.message.source());
        if let Some(choices) = &self.choices {
            text.push_str(&format!(" of {}", choices.source()));
        }
        if let Some(form) = &question.form {
            text.push_str(&format!(" form {form}"));
        }
        if let Some(ms) = question.timeout_ms {
            text.push_str(&format!(", after {ms} ms {:?}", question.on_timeout));
        }
        if !question.escalation.is_empty() {
            text.push_str(&format!(" to {}", question.escalation.join(", ")));
        }
        text
    }
}
