//! `code`: a few lines of Python or JavaScript, run by an interpreter that is a kit like any other: in the sandbox, with
//! no files, no network and no environment.
//!
//! Output: the JSON value the code assigns to `result`, or returns. What it prints is logged. The code is not a
//! template: what it works on comes as `inputs`.

use futures_util::future::BoxFuture;
use ice_core::blueprint::NodeDoc;
use ice_core::catalog::{CallKind, Effects};
use ice_core::event::Fact;
use ice_core::id::Digest;
use ice_core::ports::Failure;
use ice_core::problem::{Code, Problem};
use serde_json::{Value, json};

use super::{Done, Node, NodeKind};
use crate::context::NodeRun;
use crate::plan::{Arguments, Callee, PlanContext};

/// `type: code`.
#[derive(Debug)]
pub struct CodeKind;

/// Code, and the interpreter it is for.
#[derive(Debug)]
pub struct CodeNode {
    /// Who runs it.
    pub language: &'static Language,
    /// As written.
    pub code: String,
    /// What it sees as `inputs`.
    pub arguments: Arguments,
    /// The interpreter's component, when the plan was made.
    pub artifact: Digest,
    /// Whether the interpreter can reach anything.
    pub effects: Effects,
}

/// A language code can be written in.
#[derive(Debug)]
pub struct Language {
    /// The word a blueprint writes.
    pub name: &'static str,
    /// The tool that runs it: takes `{code, inputs}`, gives `{result, stdout}`.
    pub tool: &'static str,
    /// The kit that has the tool.
    pub kit: &'static str,
}

/// Every language.
pub const LANGUAGES: &[Language] = &[
    Language { name: "python", tool: "python_run", kit: "iceos/python" },
    Language { name: "javascript", tool: "javascript_run", kit: "iceos/javascript" },
];

/// An interpreter reads it in one piece, and it is part of the blueprint.
const CODE_BYTES_MAX: usize = 256 << 10;

/// Of what was printed, this much is logged.
const STDOUT_BYTES_MAX: usize = 16 << 10;

impl NodeKind for CodeKind {
    fn name(&self) -> &'static str {
        "code"
    }

    /// `imports` and `sandbox` come with older documents: an interpreter brings what it has, and always runs in the
    /// sandbox.
    fn keys(&self) -> &'static [&'static str] {
        &["language", "code", "inputs", "imports", "sandbox"]
    }

    fn plan(&self, doc: &NodeDoc, cx: &mut PlanContext<'_>) -> Option<Box<dyn Node>> {
        let choices: Vec<(&'static str, &'static Language)> =
            LANGUAGES.iter().map(|language| (language.name, language)).collect();
        let mut fields = cx.fields(doc);
        let chosen = fields.choice("language", &choices);
        if chosen.is_none() && fields.get("language").is_some() {
            return None;
        }
        let language = chosen.unwrap_or(&LANGUAGES[0]);
        let code = fields.required_text("code").map(str::to_owned);
        if code.as_ref().is_some_and(|code| code.len() > CODE_BYTES_MAX) {
            let message = format!("the code is larger than {CODE_BYTES_MAX} bytes");
            fields.problem(Code::B027, "code", message, "make a kit of it: `ice new kit`");
            return None;
        }
        let schema = match &doc.input_schema {
            Some(written) => {
                let pointer = format!("{}/input_schema", doc.pointer);
                cx.schema(written, ice_core::schema::Direction::Input, &pointer)?.document().clone()
            }
            None => json!({}),
        };
        let arguments = cx.arguments(doc, "inputs", Callee { what: "the code", schema: &schema });
        let Some(tool) = cx.catalog().find(CallKind::Tool, language.tool) else {
            let message = format!("the interpreter for {} is not installed", language.name);
            let pointer = format!("{}/language", doc.pointer);
            cx.problem(Code::B014, &pointer, message, format!("install it: `ice install {}`", language.kit));
            return None;
        };
        let (artifact, effects) = (tool.artifact, tool.effects);
        cx.uses(language.tool, artifact);
        Some(Box::new(CodeNode { language, code: code?, arguments, artifact, effects }))
    }
}

impl CodeNode {
    async fn run(&self, cx: &NodeRun<'_>) -> Result<Done, Failure> {
        let inputs = cx.arguments(&self.arguments)?;
        let catalog = cx.run().shared.ports.components.catalog();
        let Some(tool) = catalog.find(CallKind::Tool, self.language.tool) else {
            let message = format!("the interpreter for {} is no longer installed", self.language.name);
            let help = format!("install it: `ice install {}`", self.language.kit);
            return Err(Failure::never(Problem::new(Code::X034, message).help(help)));
        };
        let input = json!({ "code": self.code, "inputs": inputs });
        let cache = cx.node.cache.map(|cache| cache.ttl_ms);
        let mut done = cx.call(Some(tool), self.language.tool, input, cache).await?;
        let Value::Object(fields) = &mut done.output else { return Err(self.senseless()) };
        let printed = fields.get("stdout").and_then(Value::as_str).unwrap_or_default();
        if !printed.is_empty() {
            let end = printed.floor_char_boundary(STDOUT_BYTES_MAX);
            let fact = Fact::Logged { level: "info".into(), message: printed[..end].to_owned() };
            cx.run().push(&cx.path, cx.attempt, fact);
        }
        let result = fields.shift_remove("result").ok_or_else(|| self.senseless())?;
        Ok(Done { output: result, ..done })
    }

    fn senseless(&self) -> Failure {
        let message = format!("`{}` did not answer with `{{result, stdout}}`", self.language.tool);
        let help = format!("install the kit that this host knows: `ice install {}`", self.language.kit);
        Failure::never(Problem::new(Code::X033, message).help(help))
    }
}

impl Node for CodeNode {
    fn is_leaf(&self) -> bool {
        true
    }

    fn execute<'a>(&'a self, cx: &'a NodeRun<'a>) -> BoxFuture<'a, Result<Done, Failure>> {
        Box::pin(self.run(cx))
    }

    fn effects(&self) -> Effects {
        self.effects
    }

    fn output_schema(&self) -> Option<Value> {
        None
    }

    fn arguments(&self) -> Option<&Arguments> {
        Some(&self.arguments)
    }

    fn summary(&self) -> String {
        let lines = self.code.lines().count();
        format!("{lines} lines of {} by {}", self.language.name, self.language.tool).replace("1 lines", "1 line")
    }
}
