//! `llm`: one completion, with structured output when a schema asks for it.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use ice_core::blueprint::NodeDoc;
use ice_core::catalog::Effects;
use ice_core::event::Fact;
use ice_core::ports::{Failure, LlmReply, LlmRequest, Role};
use ice_core::problem::Code;
use ice_core::schema::{Direction, Schema};
use ice_core::template::{Template, datum};
use serde_json::{Map, Value, json};

use super::{Done, Node, NodeKind, ask};
use crate::context::NodeRun;
use crate::estimate::{Asking, Known, Times};
use crate::keys;
use crate::plan::{LlmConfig, PlanContext, llm_config};

/// Asks after an answer that does not fit the schema. Each one is paid.
const REPAIR_ATTEMPTS_DEFAULT: u32 = 1;
const REPAIR_ATTEMPTS_MAX: u64 = 5;

/// What every llm node gives, whatever the schema. `prompt` is what was asked.
const FIELDS: &[(&str, &str)] = &[
    ("text", "string"),
    ("response", "string"),
    ("prompt", "string"),
    ("model", "string"),
    ("usage", "object"),
    ("cost_usd", "number"),
    ("offline", "boolean"),
];

/// `type: llm`.
#[derive(Debug)]
pub struct LlmKind;

/// One question to a model.
#[derive(Debug)]
pub struct Llm {
    /// The conversation: who says what.
    pub messages: Vec<(Role, Template)>,
    /// Which model, and how.
    pub config: LlmConfig,
    /// What the answer must fit; its fields are then part of the output.
    pub structured: Option<Arc<Schema>>,
    /// How often the model is asked again with its mistake when the answer does not fit.
    pub repair_attempts: u32,
}

impl NodeKind for LlmKind {
    fn name(&self) -> &'static str {
        "llm"
    }

    /// `output_format`, `format_specifications` and the two `coerce_…` come with older documents and mean nothing:
    /// a schema says what the answer looks like.
    fn keys(&self) -> &'static [&'static str] {
        &[
            "prompt",
            "messages",
            "llm_config",
            "model",
            "temperature",
            "max_tokens",
            "json_schema",
            "repair_attempts",
            "output_format",
            "format_specifications",
            "coerce_input_types",
            "coerce_output_types",
        ]
    }

    fn plan(&self, doc: &NodeDoc, cx: &mut PlanContext<'_>) -> Option<Box<dyn Node>> {
        let messages = messages(doc, cx);
        let config = llm_config(cx, doc);
        let structured = structured(doc, cx);
        let repair_attempts = cx.fields(doc).whole("repair_attempts", 0, REPAIR_ATTEMPTS_MAX);
        let repair_attempts = repair_attempts.and_then(|count| count.try_into().ok());
        Some(Box::new(Llm {
            messages: messages?,
            config: config?,
            structured,
            repair_attempts: repair_attempts.unwrap_or(REPAIR_ATTEMPTS_DEFAULT),
        }))
    }
}

/// Reads `prompt` or `messages`, one of them.
fn messages(doc: &NodeDoc, cx: &mut PlanContext<'_>) -> Option<Vec<(Role, Template)>> {
    let mut fields = cx.fields(doc);
    let has_messages = fields.get("messages").is_some();
    if has_messages && fields.get("prompt").is_some() {
        let message = format!("`{}` has both `prompt` and `messages`", doc.id);
        fields.problem(Code::B005, "prompt", message, "keep `messages`, or put everything in `prompt`");
    }
    if !has_messages {
        let prompt = fields.required_text("prompt")?;
        let prompt = cx.template(&prompt.into(), &format!("{}/prompt", doc.pointer), None)?;
        return Some(vec![(Role::User, prompt)]);
    }
    let items = fields.list("messages")?;
    if items.is_empty() {
        fields.problem(Code::B006, "messages", "`messages` is empty", "add `- {role: user, content: …}`");
        return None;
    }
    let read = |(index, item)| message(item, &format!("{}/messages/{index}", doc.pointer), cx);
    // Collected twice so that every message is looked at before the first bad one ends it.
    items.iter().enumerate().map(read).collect::<Vec<_>>().into_iter().collect()
}

fn message(item: &Value, pointer: &str, cx: &mut PlanContext<'_>) -> Option<(Role, Template)> {
    const ROLES: &[(&str, Role)] = &[("system", Role::System), ("user", Role::User), ("assistant", Role::Assistant)];
    let Value::Object(map) = item else {
        cx.problem(Code::B004, pointer, "a message is a mapping", "write `{role: user, content: …}`");
        return None;
    };
    let mut fields = cx.fields_at(map, pointer);
    fields.refuse_unknown(&[&["role", "content"]], "a message");
    if fields.get("role").is_none() {
        fields.missing("role");
    }
    let role = fields.choice("role", ROLES);
    let content = fields.required_text("content")?;
    let content = cx.template(&content.into(), &format!("{pointer}/content"), None)?;
    Some((role?, content))
}

/// The schema of the answer: `json_schema`, else an `output_schema` that asks for more than every llm node gives.
fn structured(doc: &NodeDoc, cx: &mut PlanContext<'_>) -> Option<Arc<Schema>> {
    let own = cx.fields(doc).mapping("json_schema").filter(|map| !map.is_empty()).cloned().map(Value::Object);
    let (key, source) = match (own, &doc.output_schema) {
        (Some(schema), _) => ("json_schema", schema),
        (None, Some(schema)) => ("output_schema", schema.clone()),
        (None, None) => return None,
    };
    let schema = cx.schema(&source, Direction::Input, &format!("{}/{key}", doc.pointer))?;
    let asks_for_more = schema.properties().any(|name| FIELDS.iter().all(|(known, _)| *known != name));
    (key == "json_schema" || asks_for_more).then_some(schema)
}

impl Llm {
    async fn run(&self, cx: &NodeRun<'_>) -> Result<Done, Failure> {
        cx.check_context()?;
        let mut request = ask::request(cx, &self.config)?;
        for (role, template) in &self.messages {
            request.messages.push(ask::turn(*role, ask::words(cx.render(template, "prompt")?)));
        }
        request.output_schema = self.structured.as_ref().map(|schema| schema.document().clone());
        let prompt = request.messages.iter().map(|message| message.content.as_str()).collect::<Vec<_>>().join("\n\n");
        let shared = &cx.run().shared;
        let key = cx.node.cache.map(|cache| (keys::digest_of_json(&("llm", &request)), cache.ttl_ms));
        if let Some((key, _)) = key {
            if let Some(output) = shared.cache.get(&key, cx.run().now()) {
                return Ok(Done { cached: true, ..Done::new(output) });
            }
            cx.run().push(&cx.path, cx.attempt, Fact::CacheMissed);
        }
        let (reply, fields) = self.answered(cx, request).await?;
        let mut output = Map::new();
        output.insert("text".into(), reply.message.content.clone().into());
        output.insert("response".into(), reply.message.content.into());
        output.insert("prompt".into(), prompt.into());
        output.insert("model".into(), reply.model.into());
        output.insert("usage".into(), ask::usage(&cx.spent()));
        output.insert("cost_usd".into(), ask::dollars(&cx.spent()));
        output.insert("offline".into(), reply.offline.into());
        if let Some(Value::Object(fields)) = fields {
            output.extend(fields);
        }
        let output = Value::Object(output);
        if let Some((key, ttl_ms)) = key {
            shared.cache.put(key, &output, ttl_ms, cx.run().now());
        }
        Ok(Done::new(output))
    }

    /// Asks until the answer fits, as often as repairs are allowed.
    async fn answered(&self, cx: &NodeRun<'_>, mut request: LlmRequest) -> Result<(LlmReply, Option<Value>), Failure> {
        let site = cx.site();
        for ordinal in 0..=self.repair_attempts {
            let reply = ask::ask(cx, &request, ordinal, &site, &self.config).await?;
            cx.spend(&reply.usage);
            let Some(schema) = &self.structured else { return Ok((reply, None)) };
            let problem = match ask::structured(&reply.message.content, schema) {
                Ok(fields) => return Ok((reply, Some(fields))),
                Err(problem) => problem,
            };
            if ordinal == self.repair_attempts {
                return Err(Failure::maybe(problem));
            }
            request.messages.push(reply.message);
            let repair = format!("{}. Answer again, with nothing but JSON that fits the schema.", problem.message);
            request.messages.push(ask::turn(Role::User, repair));
        }
        unreachable!("the last turn returns")
    }
}

impl Node for Llm {
    fn asking(&self, known: &Known<'_>) -> Asking<'_> {
        let most = if self.structured.is_some() { 1 + u64::from(self.repair_attempts) } else { 1 };
        let Some(mut request) = self.certain_request(known.inputs) else {
            let assumed = Some("which model it asks is not known yet: nothing is counted for it".to_owned());
            return Asking { assumed, ..Asking::default() };
        };
        request.output_schema = self.structured.as_ref().map(|schema| schema.document().clone());
        Asking { requests: ask::with_stand_ins(request, &self.config, Times::up_to(most, 1)), ..Asking::default() }
    }

    fn is_leaf(&self) -> bool {
        true
    }

    /// A prompt that needs outputs of other nodes counts as it is written.
    fn certain_request(&self, inputs: &Value) -> Option<LlmRequest> {
        let named = |template: &Template| template.is_literal().then(|| text(template).to_owned());
        let lookup = |name: &str| match name {
            "inputs" => Some(datum(inputs)),
            name => inputs.get(name).map(datum),
        };
        let provider = match &self.config.provider {
            Some(provider) => named(provider)?,
            None => String::new(),
        };
        let message = |(role, template): &(Role, Template)| {
            let content = template.render(&lookup).unwrap_or_else(|_| template.source().clone());
            ask::turn(*role, ask::words(content))
        };
        let messages = self.messages.iter().map(message).collect();
        Some(LlmRequest { provider, model: named(&self.config.model)?, messages, ..ask::settings(&self.config) })
    }

    fn execute<'a>(&'a self, cx: &'a NodeRun<'a>) -> BoxFuture<'a, Result<Done, Failure>> {
        Box::pin(self.run(cx))
    }

    fn effects(&self) -> Effects {
        Effects::External
    }

    fn is_repeatable(&self) -> bool {
        self.config.is_repeatable()
    }

    fn output_schema(&self) -> Option<Value> {
        let mut properties: Map<String, Value> =
            FIELDS.iter().map(|(name, kind)| ((*name).to_owned(), json!({"type": kind}))).collect();
        let mut schema = json!({"type": "object"});
        if let Some(structured) = &self.structured {
            for (name, field) in
                structured.document().get("properties").and_then(Value::as_object).into_iter().flatten()
            {
                properties.insert(name.clone(), field.clone());
            }
            for key in ["$defs", "definitions"] {
                if let Some(definitions) = structured.document().get(key) {
                    schema[key] = definitions.clone();
                }
            }
        }
        let open = self.structured.as_ref().is_some_and(|structured| structured.is_open());
        schema["properties"] = Value::Object(properties);
        schema["additionalProperties"] = open.into();
        Some(schema)
    }

    fn summary(&self) -> String {
        let provider = self.config.provider.as_ref().map(|provider| format!("{}/", text(provider))).unwrap_or_default();
        let shape = if self.structured.is_some() { " → structured" } else { "" };
        format!("{provider}{} ← {} message(s){shape}", text(&self.config.model), self.messages.len())
    }
}

fn text(template: &Template) -> &str {
    template.source().as_str().unwrap_or_default()
}
