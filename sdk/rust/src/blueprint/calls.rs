//! Kinds of nodes that do one thing: call a tool, ask a model, set agents to work, run code, post to an address.

use serde_json::{Map, Value, json};

use super::node::{NodeBuilder, texts};

/// What code is written in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Language {
    /// Assigns its answer to `result`.
    Python,
    /// The body of an async function: returns its answer, or assigns it to `result`.
    JavaScript,
}

/// The method of an HTTP call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "their names say it")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

/// How a swarm comes to a decision.
#[derive(Clone, PartialEq, Debug)]
pub enum Strategy {
    /// All propose and vote until this part of them, 0.5 to 1, wants the same.
    Consensus {
        /// The part.
        threshold: f64,
    },
    /// The agent of this role gives out work and decides.
    Hierarchical {
        /// A role of the swarm.
        lead: String,
    },
    /// The best bid does the work.
    Marketplace,
}

/// One agent of a swarm.
#[derive(Clone, PartialEq, Debug)]
pub struct Member(Map<String, Value>);

impl Member {
    /// A component agent, there for `role`, which no other agent of the swarm has.
    pub fn component(role: impl Into<String>, package: impl Into<String>) -> Self {
        Self::of(role).set("package", package.into())
    }

    /// A model with instructions, there for `role`. It asks the model of the swarm ([`NodeBuilder::model`]) unless it is
    /// given one of its own.
    pub fn instructed(role: impl Into<String>, system_prompt: impl Into<String>) -> Self {
        Self::of(role).set("system_prompt", system_prompt.into())
    }

    fn of(role: impl Into<String>) -> Self {
        Self(Map::from_iter([("role".to_owned(), Value::String(role.into()))]))
    }

    fn set(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// The model it asks, `provider/model`.
    #[must_use]
    pub fn model(self, model: impl Into<String>) -> Self {
        self.set("llm_config", json!({ "model": model.into() }))
    }

    /// The only tools it may call, for a model with instructions.
    #[must_use]
    pub fn tools(self, tools: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.set("tools", texts(tools))
    }

    /// Adds an argument of a component's task. Templates see `turn`: what is asked of the agent in this round.
    #[must_use]
    pub fn arg(mut self, name: &str, value: impl Into<Value>) -> Self {
        if let Value::Object(arguments) = self.0.entry("input").or_insert_with(|| json!({})) {
            arguments.insert(name.to_owned(), value.into());
        }
        self
    }
}

impl NodeBuilder {
    /// One call of a tool. Give its input with [`arg`](Self::arg).
    pub fn tool(id: impl Into<String>, tool: impl Into<String>) -> Self {
        Self::new(id, "tool", "tool_args").field("tool_name", tool.into())
    }

    /// One completion. `model` is `provider/model`, or a model of the host's default provider; a blueprint says which
    /// model it asks, so the host refuses one that is empty (`ICE-B017`).
    pub fn llm(id: impl Into<String>, model: impl Into<String>, prompt: impl Into<String>) -> Self {
        Self::new(id, "llm", "inputs").model(model).field("prompt", prompt.into())
    }

    /// A component agent. Give its task with [`arg`](Self::arg).
    pub fn agent(id: impl Into<String>, package: impl Into<String>) -> Self {
        Self::new(id, "agent", "input").field("package", package.into())
    }

    /// An agent made of data: a model with instructions, which calls [`tools`](Self::tools) until its
    /// [`task`](Self::task) is done.
    pub fn instructed(id: impl Into<String>, model: impl Into<String>, system_prompt: impl Into<String>) -> Self {
        Self::new(id, "agent", "input").field("system_prompt", system_prompt.into()).model(model)
    }

    /// Agents with roles, two or more, that come to one decision about `task`.
    pub fn swarm(
        id: impl Into<String>,
        task: impl Into<String>,
        strategy: Strategy,
        agents: impl IntoIterator<Item = Member>,
    ) -> Self {
        let agents: Value = agents.into_iter().map(|member| Value::Object(member.0)).collect();
        let node = Self::new(id, "swarm", "inputs").field("task", task.into()).field("agents", agents);
        match strategy {
            Strategy::Consensus { threshold } => {
                node.field("coordination_strategy", "consensus").field("consensus_threshold", threshold)
            }
            Strategy::Hierarchical { lead } => node.field("coordination_strategy", "hierarchical").field("lead", lead),
            Strategy::Marketplace => node.field("coordination_strategy", "marketplace"),
        }
    }

    /// Code that runs in the sandbox: no files, no network, no environment. The source is no template; what it works on
    /// comes with [`arg`](Self::arg).
    pub fn code(id: impl Into<String>, language: Language, code: impl Into<String>) -> Self {
        let language = match language {
            Language::Python => "python",
            Language::JavaScript => "javascript",
        };
        Self::new(id, "code", "inputs").field("language", language).field("code", code.into())
    }

    /// One HTTP call, to what the operator of the host allows. The URL may hold templates and no secrets.
    pub fn webhook(id: impl Into<String>, method: Method, url: impl Into<String>) -> Self {
        let method = match method {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
        };
        Self::new(id, "webhook", "body").field("method", method).field("url", url.into())
    }

    /// The model that is asked, `provider/model`: of a completion, of an agent made of data, of the agents of a swarm that
    /// name none.
    #[must_use]
    pub fn model(self, model: impl Into<String>) -> Self {
        self.member("llm_config", "model", model.into())
    }

    /// How freely the model answers, 0 to 2. At 0 an answer may be taken from the cache.
    #[must_use]
    pub fn temperature(self, temperature: f64) -> Self {
        self.member("llm_config", "temperature", temperature)
    }

    /// Most tokens of one answer of the model.
    #[must_use]
    pub fn max_tokens(self, tokens: u32) -> Self {
        self.member("llm_config", "max_tokens", tokens)
    }

    /// What the answer of a completion must fit; its fields are then part of the output. JSON Schema, or type literals.
    #[must_use]
    pub fn answer(self, schema: Value) -> Self {
        self.field("json_schema", schema)
    }

    /// What an agent made of data is to do.
    #[must_use]
    pub fn task(self, task: impl Into<String>) -> Self {
        self.field("task", task.into())
    }

    /// The only tools an agent made of data may call.
    #[must_use]
    pub fn tools(self, tools: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.field("tools", texts(tools))
    }

    /// Sets a header of an HTTP call. `{{secret:NAME}}` in its value is filled in by the host.
    #[must_use]
    pub fn header(self, name: &str, value: impl Into<String>) -> Self {
        self.member("headers", name, value.into())
    }

    /// What an HTTP call sends: text as it is, anything else as JSON; templates inside.
    #[must_use]
    pub fn body(self, body: impl Into<Value>) -> Self {
        self.field("body", body)
    }

    /// Signs the body of an HTTP call with HMAC-SHA256 under the secret of this name, in the header
    /// `x-ice-signature-256`.
    #[must_use]
    pub fn signed_with(self, secret: impl Into<String>) -> Self {
        self.field("signing_secret", secret.into())
    }

    /// Statuses of 400 and more that are an answer of an HTTP call all the same.
    #[must_use]
    pub fn accept_status(self, statuses: impl IntoIterator<Item = u16>) -> Self {
        self.field("accept_status", statuses.into_iter().map(Value::from).collect::<Value>())
    }
}
