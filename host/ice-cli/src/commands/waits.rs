//! `ice waits`: what executions ask of people, and answering it.

mod form;

use std::collections::BTreeSet;

use clap::Subcommand;
use ice_core::id::ExecutionId;
use ice_core::ports::Events;
use ice_core::problem::{Code, Exit, Problem};
use ice_core::wait::{Answer, Approval, Question, WaitId};
use ice_engine::{Handle, Rest, Wait, WaitFilter};
use serde_json::{Value, json};

use super::{Outcome, inputs};
use crate::config::Config;
use crate::interrupt;
use crate::output::Output;
use crate::view::{self, waiting};
use crate::wire::{Host, Storage};

#[derive(Subcommand)]
pub(crate) enum WaitsCommand {
    /// List what executions wait for, newest execution first
    List(ListArgs),
    Answer(AnswerArgs),
    /// Wake what waited for longer than it may, so that silence gets its meaning; for a timer such as cron
    ///
    /// Executions whose answer was left with `--no-run` go on, too. Runs each of them until it ends or waits again.
    ///
    /// Example: * * * * * ice waits due --quiet
    Due,
}

#[derive(clap::Args)]
pub(crate) struct ListArgs {
    /// Those of everybody, not only of the own user
    #[arg(long)]
    all: bool,
    /// Only of this execution and of those inside it
    #[arg(long, value_name = "ID")]
    execution: Option<String>,
    /// How many
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

/// Answer what an execution waits for
///
/// The execution goes on in this process. At a terminal, what is asked is asked here when no answer is given.
///
/// Example: ice waits answer 0190f3c2-….5d0f6a1b2c3d4e5f --response title=Spring --response pages=12
#[derive(clap::Args)]
pub(crate) struct AnswerArgs {
    /// The wait, as `ice waits list` shows it
    wait: String,
    /// Say yes
    #[arg(long)]
    approve: bool,
    /// Say no; a form or a choice can be refused, too
    #[arg(long, conflicts_with = "approve")]
    reject: bool,
    /// The value that is asked for, as JSON, or one field of it; may be given several times
    #[arg(long, value_name = "JSON|KEY=VALUE")]
    response: Vec<String>,
    /// What is chosen
    #[arg(long, value_name = "X", conflicts_with_all = ["response", "reject"])]
    choice: Option<String>,
    /// A few words on it
    #[arg(long)]
    comment: Option<String>,
    /// Who answers [default: the own user]
    #[arg(long = "as", value_name = "RESPONDER")]
    responder: Option<String>,
    /// Keep the answer and do not go on; `ice waits due` or `ice executions resume` does
    #[arg(long)]
    no_run: bool,
}

pub(crate) async fn run(command: WaitsCommand, config: &Config, output: &Output) -> Outcome {
    match command {
        WaitsCommand::List(args) => list(args, config, output).await,
        WaitsCommand::Answer(args) => answer(args, config, output).await,
        WaitsCommand::Due => due(config, output).await,
    }
}

fn one(problem: Problem) -> Vec<Problem> {
    vec![problem]
}

async fn list(args: ListArgs, config: &Config, output: &Output) -> Outcome {
    let storage = Storage::open(config).await.map_err(one)?;
    let who = (!args.all).then(|| config.identity.clone());
    let filter = WaitFilter { who, execution: args.execution.map(ExecutionId), limit: args.limit };
    let waits = Wait::list(&*storage.store, &filter).await.map_err(one)?;
    output.either(
        || json!(waits),
        || {
            if waits.is_empty() {
                return vec!["nothing waits for an answer".into()];
            }
            waits.iter().flat_map(|wait| waiting::lines(&wait.id, &wait.open, &wait.name)).collect()
        },
    );
    Ok(Exit::Done)
}

async fn answer(args: AnswerArgs, config: &Config, output: &Output) -> Outcome {
    let id = WaitId(args.wait.clone());
    let responder = args.responder.clone().unwrap_or_else(|| config.identity.user.clone());
    let storage = Storage::open(config).await.map_err(one)?;
    let wait = Wait::find(&*storage.store, &id).await.map_err(one)?;
    storage.store.close().await;
    let question = &wait.open.question;
    let answer = match args.answer(question, &responder)? {
        Some(answer) => answer,
        None => asked(question, &responder, output).map_err(one)?,
    };
    // Before the plugins are looked at: the one who answers need not wait to hear that it is no answer.
    question.resolve(answer.clone()).map_err(one)?;
    let host = Host::open(config, output).await?;
    if args.no_run {
        host.engine.leave_answer(&id, answer).await.map_err(one)?;
        told(&wait, "due", "`ice waits due` goes on with it", output);
        return Ok(Exit::Done);
    }
    match host.engine.answer(&id, answer).await.map_err(one)? {
        Some(handle) => view::follow(handle, &host, output).await,
        None => {
            told(&wait, "running", "another process goes on with it", output);
            Ok(Exit::Done)
        }
    }
}

fn told(wait: &Wait, status: &str, then: &str, output: &Output) {
    output.either(
        || json!({ "wait": wait.id, "execution_id": wait.execution, "status": status }),
        || vec![format!("answered; {then}")],
    );
}

impl AnswerArgs {
    /// The answer that was given with the command; `None` when none was.
    fn answer(&self, question: &Question, responder: &str) -> Result<Option<Answer>, Vec<Problem>> {
        let approved = (self.approve || self.reject).then_some(self.approve);
        if approved.is_none() && self.response.is_empty() && self.choice.is_none() {
            return Ok(None);
        }
        let response = response(&self.response, question)?;
        let (choice, comment) = (self.choice.clone(), self.comment.clone());
        Ok(Some(Answer { approved, response, choice, responder: responder.to_owned(), comment }))
    }
}

/// `--response`: one JSON value, or fields. Text is text where the form asks for text.
fn response(given: &[String], question: &Question) -> Result<Option<Value>, Vec<Problem>> {
    let form = question.form.as_ref();
    let wants_text = form.is_some_and(|form| form["type"] == "string");
    if let [text] = given {
        let value = form::value(text, wants_text);
        // `key=value` is no JSON; it is fields unless any text will do.
        if wants_text || !value.is_string() || !text.contains('=') || text.starts_with('"') {
            return Ok(Some(value));
        }
    }
    if given.is_empty() {
        return Ok(None);
    }
    let is_text = |key: &str| {
        let fields = form.map(waiting::fields).unwrap_or_default();
        fields.iter().any(|field| field.name == key && field.is_text)
    };
    let mut problems = Vec::new();
    let mut object = serde_json::Map::new();
    for text in given {
        match inputs::parse("--response", text, is_text) {
            Ok((key, value)) => drop(object.insert(key, value)),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(Some(Value::Object(object))) } else { Err(problems) }
}

/// Asks at the terminal. C001 when there is none, or nobody there answers.
fn asked(question: &Question, responder: &str, output: &Output) -> Result<Answer, Problem> {
    struct Terminal<'a>(&'a Output);
    impl form::Person for Terminal<'_> {
        fn tell(&mut self, text: &str) {
            self.0.note(text);
        }
        fn ask(&mut self, prompt: &str) -> std::io::Result<Option<String>> {
            self.0.prompt(prompt)
        }
    }
    let help = match question.approval {
        Approval::ApproveReject => "give `--approve` or `--reject`".to_owned(),
        Approval::InputRequired => "give `--response`, or `--reject`".to_owned(),
        Approval::Choice => format!("give `--choice` with one of: {}", question.choices.join(", ")),
    };
    let nothing = || Problem::new(Code::C001, "the wait is not answered: nothing was said").help(help.clone());
    if !output.can_ask() {
        return Err(nothing());
    }
    let filled = form::fill(question, responder, &mut Terminal(output));
    filled
        .map_err(|error| Problem::new(Code::C003, format!("the terminal cannot be read: {error}")))?
        .ok_or_else(nothing)
}

async fn due(config: &Config, output: &Output) -> Outcome {
    let storage = Storage::open(config).await.map_err(one)?;
    let now = storage.clock.now_ms();
    // Usually nothing is due: then plugins are not even looked at.
    if storage.store.due(now, 1).await.map_err(|failure| one(failure.problem))?.is_empty() {
        storage.store.close().await;
        output.either(|| json!([]), || vec!["nothing is due".into()]);
        return Ok(Exit::Done);
    }
    let host = Host::over(storage, config, output, None)?;
    let woken = host.engine.due(now).await.map_err(one)?;
    let all = rest(woken);
    let rows = tokio::select! {
        rows = all => rows,
        () = interrupt::interrupted() => {
            output.note("left; `ice executions list` shows what can be resumed");
            return Ok(Exit::Interrupted);
        }
    };
    host.runtime.take_refused().iter().for_each(|problem| output.warn(problem));
    let failed = rows.iter().any(|row| row.status.is_none());
    output.either(|| rows.iter().map(Row::json).collect(), || rows.iter().map(Row::line).collect());
    Ok(if failed { Exit::Failed } else { Exit::Done })
}

/// What became of an execution that was due.
struct Row {
    execution: ExecutionId,
    /// `None` when it could not be taken up.
    status: Option<Value>,
    problem: Option<Problem>,
}

impl Row {
    fn json(&self) -> Value {
        json!({ "execution_id": self.execution, "status": self.status, "problem": self.problem })
    }

    fn line(&self) -> String {
        let status = self.status.as_ref().and_then(Value::as_str).unwrap_or("could not be taken up");
        let problem = self.problem.as_ref().map(|problem| format!(": [{}] {}", problem.code, problem.message));
        format!("{}  {status}{}", self.execution, problem.unwrap_or_default())
    }
}

/// Waits until every execution rests again.
async fn rest(woken: Vec<(ExecutionId, Result<Handle, Problem>)>) -> Vec<Row> {
    let mut seen = BTreeSet::new();
    let mut rows = Vec::new();
    for (id, woken) in woken {
        match woken {
            // Several that are due may be inside the same one.
            Ok(handle) if !seen.insert(handle.id.clone()) => {}
            Ok(handle) => {
                let (status, problem) = match handle.rest().await {
                    Rest::Waiting => (json!("waiting"), None),
                    Rest::Ended(ending) => (json!(ending.status), ending.problem),
                };
                rows.push(Row { execution: handle.id, status: Some(status), problem });
            }
            // Another process was faster.
            Err(problem) if matches!(problem.code, Code::X008 | Code::X042) => {
                rows.push(Row { execution: id, status: Some(json!("running")), problem: None });
            }
            Err(problem) => rows.push(Row { execution: id, status: None, problem: Some(problem) }),
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_json_or_fields_or_the_text_that_is_wanted() {
        let question = |form: Value| Question {
            approval: Approval::InputRequired,
            form: Some(form).filter(|form| !form.is_null()),
            ..Question::default()
        };
        let object = json!({"type": "object", "properties": {"title": {"type": "string"}, "n": {"type": "integer"}}});
        for (form, given, expected) in [
            (&object, &["title=12", "n=12"][..], json!({"title": "12", "n": 12})),
            (&object, &["title=a=b"], json!({"title": "a=b"})),
            (&object, &[r#"{"n": 1}"#], json!({"n": 1})),
            (&json!({"type": "string"}), &["a=b"], json!("a=b")),
            (&json!({"type": "string"}), &["12"], json!("12")),
            (&json!({"type": "integer"}), &["12"], json!(12)),
            (&Value::Null, &["fine"], json!("fine")),
            (&Value::Null, &[r#""a=b""#], json!("a=b")),
        ] {
            let given: Vec<String> = given.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(response(&given, &question(form.clone())).unwrap(), Some(expected), "{given:?}");
        }
        assert_eq!(response(&[], &question(Value::Null)).unwrap(), None);
        let several = ["x".to_owned(), "=1".to_owned()];
        assert_eq!(response(&several, &question(object)).unwrap_err().len(), 2);
    }
}
