//! What an agent exports: one card, and work on tasks.
//!
//! `#[agent]` makes the [`Agent`] of a function and exports the component: there is one agent in a component.

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::context::Context;
use crate::error::AgentError;
use crate::json;
use crate::schema::{self, Description};

/// An agent. Usually written by `#[agent]`.
pub trait Agent {
    /// `[a-z][a-z0-9_]*`, unique within the host.
    const NAME: &'static str;
    /// What it works on and what it answers with.
    const DESCRIPTION: &'static str;
    /// Free words to find it by.
    const TAGS: &'static [&'static str];
    /// Deserialises from a JSON object.
    type Input: DeserializeOwned + JsonSchema;
    /// Serialises to JSON.
    type Output: Serialize + JsonSchema;

    /// Works on a task until done, out of budget or out of time. Fails with [`AgentError`].
    fn run(task: Self::Input, context: &Context) -> Result<Self::Output, AgentError>;
}

/// The agent of one component.
pub struct AgentEntry {
    describe: fn() -> Description,
    run: fn(&str, &Context) -> Result<String, AgentError>,
}

impl AgentEntry {
    /// The entry of `T`.
    pub const fn of<T: Agent>() -> Self {
        Self { describe: describe::<T>, run: run::<T> }
    }

    /// The agent's card.
    pub fn describe(&self) -> Description {
        (self.describe)()
    }

    /// Works on a task given as JSON text and returns JSON text. Fails with [`AgentError::InvalidInput`] when `task`
    /// does not fit, or as the agent fails.
    pub fn run(&self, task: &str, context: &Context) -> Result<String, AgentError> {
        (self.run)(task, context)
    }
}

fn describe<T: Agent>() -> Description {
    Description {
        name: T::NAME.to_owned(),
        description: schema::paragraphs(T::DESCRIPTION),
        input_schema: schema::of_input::<T::Input>(),
        output_schema: schema::of_output::<T::Output>(),
        tags: T::TAGS.iter().map(|&tag| tag.to_owned()).collect(),
    }
}

fn run<T: Agent>(task: &str, context: &Context) -> Result<String, AgentError> {
    let output = T::run(json::read(task)?, context)?;
    json::write(&output).map_err(AgentError::Failed)
}

/// What `#[agent]` adds to a function: a component of world `agent`, and [`static AGENT`](AgentEntry) for native tests.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_agent {
    ($agent:ty) => {
        /// This agent, as the host sees it.
        pub static AGENT: $crate::AgentEntry = $crate::AgentEntry::of::<$agent>();

        #[cfg(target_family = "wasm")]
        #[doc(hidden)]
        mod __ice_component {
            pub struct Component;

            impl $crate::bindings::agent::exports::ice::plugin::tasks::Guest for Component {
                fn describe() -> $crate::bindings::agent::exports::ice::plugin::tasks::Card {
                    $crate::export::describe_agent(&super::AGENT)
                }

                fn run(
                    task: ::std::string::String,
                    context: $crate::export::CallContext,
                ) -> ::std::result::Result<
                    ::std::string::String,
                    $crate::bindings::agent::exports::ice::plugin::tasks::Error,
                > {
                    $crate::export::run_agent(&super::AGENT, &task, context)
                }
            }

            $crate::bindings::agent::export_agent!(Component with_types_in $crate::bindings::agent);
        }
    };
}
