//! Kinds of nodes that decide what runs, when and whether: paths, loops, branches, other blueprints, people, monitors.

use serde_json::Value;

use super::node::{NodeBuilder, texts};

/// What a loop does with an item that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnItemError {
    /// The loop fails. The default.
    Fail,
    /// The item goes to `errors`, the others to `results`.
    Collect,
    /// The item is left out.
    Skip,
}

/// When a parallel node is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// When every branch is. The default.
    All,
    /// When one branch is.
    Any,
    /// When this many branches are.
    AtLeast(u32),
}

/// What a recursive node does again and again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Round {
    /// Gives a component agent a task.
    Agent(String),
    /// Runs another blueprint, by id or bundle entry.
    Blueprint(String),
    /// Gives a model with these instructions a task.
    Instructed {
        /// `provider/model`.
        model: String,
        /// The instructions.
        system_prompt: String,
    },
}

/// What a person is asked for.
#[derive(Clone, PartialEq, Debug)]
pub enum Ask {
    /// A yes or a no. A no is an answer and no failure.
    Approval,
    /// Input that fits this form: JSON Schema, or type literals such as `{"title": "str"}`.
    Input(Value),
    /// One of these, of two or more.
    Choice(Vec<String>),
}

/// What it means that a person does not answer in time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Silence {
    /// A yes.
    Approve,
    /// A no.
    Reject,
    /// The node fails. The default.
    Fail,
    /// The next one is asked, with the same time to answer.
    Escalate(Vec<String>),
}

/// What a monitor does when its expression holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnTrigger {
    /// Tells somebody. The default.
    Alert,
    /// No node begins until a person agrees.
    Pause,
    /// The execution ends as failed.
    Abort,
}

/// How a monitor tells somebody.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Channel {
    /// The target is a URL, which gets JSON.
    Webhook,
    /// The target is the URL of an incoming webhook.
    Slack,
    /// The target is an address, for the operator's gateway.
    Email,
    /// The target is a number, for the operator's gateway.
    Sms,
}

impl NodeBuilder {
    /// One of two paths, by an expression such as `inputs.score >= 3`.
    pub fn condition(
        id: impl Into<String>,
        expression: impl Into<String>,
        when_true: impl IntoIterator<Item = NodeBuilder>,
        when_false: impl IntoIterator<Item = NodeBuilder>,
    ) -> Self {
        let mut node = Self::new(id, "condition", "inputs").field("expression", expression.into());
        node.nested = vec![
            ("true_path", vec![when_true.into_iter().collect()]),
            ("false_path", vec![when_false.into_iter().collect()]),
        ];
        node
    }

    /// The body once for each item of a list: `items_source` is its path, `item_var` names the item inside the body.
    pub fn repeat(
        id: impl Into<String>,
        items_source: impl Into<String>,
        item_var: impl Into<String>,
        body: impl IntoIterator<Item = NodeBuilder>,
    ) -> Self {
        let mut node = Self::new(id, "loop", "inputs")
            .field("items_source", items_source.into())
            .field("item_var", item_var.into());
        node.nested = vec![("body", vec![body.into_iter().collect()])];
        node
    }

    /// Branches side by side.
    pub fn branches(id: impl Into<String>, branches: impl IntoIterator<Item = Vec<NodeBuilder>>) -> Self {
        let mut node = Self::new(id, "parallel", "inputs");
        node.nested = vec![("branches", branches.into_iter().collect())];
        node
    }

    /// Another blueprint, by id or bundle entry. Give its inputs with [`arg`](Self::arg).
    pub fn workflow(id: impl Into<String>, reference: impl Into<String>) -> Self {
        Self::new(id, "workflow", "inputs").field("workflow_ref", reference.into())
    }

    /// The same again and again, [`until`](Self::until) an expression holds or [`max_rounds`](Self::max_rounds) are over.
    /// The only kind that may close a circle of dependencies: see [`begin_with`](Self::begin_with). Templates see
    /// `recursive_context`, the fields of earlier rounds.
    pub fn recursive(id: impl Into<String>, round: Round) -> Self {
        match round {
            Round::Agent(package) => Self::new(id, "recursive", "input").field("agent_package", package),
            Round::Blueprint(reference) => Self::new(id, "recursive", "inputs").field("workflow_ref", reference),
            Round::Instructed { model, system_prompt } => {
                Self::new(id, "recursive", "input").field("system_prompt", system_prompt).model(model)
            }
        }
    }

    /// Asks a person and waits, for as long as it takes; see [`silence`](Self::silence).
    pub fn human(id: impl Into<String>, message: impl Into<String>, ask: Ask) -> Self {
        let node = Self::new(id, "human", "inputs").field("prompt_message", message.into());
        match ask {
            Ask::Approval => node.field("approval_type", "approve_reject"),
            Ask::Input(form) => node.field("approval_type", "input_required").field("form", form),
            Ask::Choice(choices) => node.field("approval_type", "choice").field("choices", choices),
        }
    }

    /// Looks at an expression over `cost` (dollars), `tokens`, `seconds` and the outputs of nodes while the nodes beside
    /// it run, or those it [`watch`](Self::watch)es.
    pub fn monitor(id: impl Into<String>, metric_expression: impl Into<String>, action: OnTrigger) -> Self {
        let action = match action {
            OnTrigger::Alert => "alert_only",
            OnTrigger::Pause => "pause",
            OnTrigger::Abort => "abort",
        };
        let node = Self::new(id, "monitor", "inputs").field("metric_expression", metric_expression.into());
        node.field("action_on_trigger", action)
    }

    /// Runs loop items side by side, at most this many at a time; the same for branches.
    #[must_use]
    pub fn parallel(self, max_concurrency: u32) -> Self {
        let node = if self.kind == "loop" { self.field("parallel", true) } else { self };
        node.field("max_concurrency", max_concurrency)
    }

    /// What a loop does with an item that failed.
    #[must_use]
    pub fn on_item_error(self, what: OnItemError) -> Self {
        let what = match what {
            OnItemError::Fail => "fail",
            OnItemError::Collect => "collect",
            OnItemError::Skip => "skip",
        };
        self.field("on_item_error", what)
    }

    /// When a parallel node is done.
    #[must_use]
    pub fn wait(self, wait: Wait) -> Self {
        let wait: Value = match wait {
            Wait::All => "all".into(),
            Wait::Any => "any".into(),
            Wait::AtLeast(branches) => branches.into(),
        };
        self.field("wait", wait)
    }

    /// Gives an output of the child execution of a workflow node a name here.
    #[must_use]
    pub fn expose(self, name: &str, path: &str) -> Self {
        self.member("exposed_outputs", name, path)
    }

    /// Ends a recursive node when this expression over `output`, `iteration` and the context holds.
    #[must_use]
    pub fn until(self, expression: impl Into<String>) -> Self {
        self.field("convergence_condition", expression.into())
    }

    /// Most rounds of a recursive node or a swarm.
    #[must_use]
    pub fn max_rounds(self, rounds: u32) -> Self {
        self.field("max_rounds", rounds)
    }

    /// Nodes whose outputs are the context of the first round of a recursive node. One of them may depend on the node
    /// itself.
    #[must_use]
    pub fn begin_with(self, ids: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.field("recursive_sources", texts(ids))
    }

    /// How long a person has, and what it means when nothing comes.
    #[must_use]
    pub fn silence(self, after_seconds: u32, silence: Silence) -> Self {
        let node = self.timeout_seconds(after_seconds);
        match silence {
            Silence::Approve => node.field("on_timeout", "approve"),
            Silence::Reject => node.field("on_timeout", "reject"),
            Silence::Fail => node.field("on_timeout", "fail"),
            Silence::Escalate(to) => node.field("on_timeout", "escalate").field("escalation_path", to),
        }
    }

    /// Nodes that a monitor watches: it ends with them.
    #[must_use]
    pub fn watch(self, ids: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.field("watch", texts(ids))
    }

    /// Seconds between two looks of a monitor, 1 or more.
    #[must_use]
    pub fn check_every_seconds(self, seconds: u32) -> Self {
        self.field("check_interval_seconds", seconds)
    }

    /// Where a monitor tells that it triggered. May be said for each channel.
    #[must_use]
    pub fn alert(mut self, channel: Channel, target: impl Into<String>) -> Self {
        let channel = match channel {
            Channel::Webhook => "webhook",
            Channel::Slack => "slack",
            Channel::Email => "email",
            Channel::Sms => "sms",
        };
        if let Value::Array(channels) = self.fields.entry("alert_channels").or_insert_with(|| Value::Array(Vec::new()))
            && !channels.iter().any(|there| there == channel)
        {
            channels.push(channel.into());
        }
        self.member("alert_targets", channel, target.into())
    }
}
