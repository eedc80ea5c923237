//! What a component says about itself, before anybody trusts it: called with no grant and tight limits.

use ice_core::ports::Failure;
use ice_core::problem::{Code, Problem};
use serde_json::Value;

use crate::bindings::agent::exports::ice::plugin::tasks::Card;
use crate::bindings::bundle::exports::ice::plugin::blueprints::BlueprintEntry;
use crate::bindings::kit::exports::ice::plugin::tools::Tool;
use crate::call::{Refused, Reply};

/// A component's description of itself.
#[derive(Clone, PartialEq, Debug)]
pub enum Description {
    /// The tools of a kit.
    Kit(Vec<CallableDescription>),
    /// The card of an agent.
    Agent(CallableDescription),
    /// The blueprints of a bundle.
    Bundle(Vec<BlueprintDescription>),
}

/// One tool or agent as its component describes it.
#[derive(Clone, PartialEq, Debug)]
pub struct CallableDescription {
    /// As the component writes it; not checked.
    pub name: String,
    /// For a person and a model.
    pub description: String,
    /// JSON Schema of the input.
    pub input_schema: Value,
    /// JSON Schema of the output.
    pub output_schema: Value,
    /// Free words.
    pub tags: Vec<String>,
}

/// One blueprint as its bundle describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlueprintDescription {
    /// As the bundle writes it; not checked.
    pub name: String,
    /// For a person.
    pub description: String,
    /// Whether the bundle starts here.
    pub entrypoint: bool,
}

/// Reads a reply to [`Question::Describe`](crate::call::Question). Fails (X033) when a schema is not a JSON object.
pub(crate) fn description(reply: Reply) -> Result<Description, Failure> {
    match reply {
        Reply::Tools(tools) => tools.into_iter().map(of_tool).collect::<Result<_, _>>().map(Description::Kit),
        Reply::Card(card) => of_card(card).map(Description::Agent),
        Reply::Blueprints(entries) => Ok(Description::Bundle(entries.into_iter().map(of_entry).collect())),
        Reply::Json(_)
        | Reply::Refused(Refused::Unknown | Refused::Input(_) | Refused::Failed(_) | Refused::Retry(_)) => {
            Err(Failure::never(Problem::new(Code::X033, "the component does not describe itself")))
        }
    }
}

fn of_tool(tool: Tool) -> Result<CallableDescription, Failure> {
    Ok(CallableDescription {
        input_schema: schema(&tool.input_schema, "input", &tool.name)?,
        output_schema: schema(&tool.output_schema, "output", &tool.name)?,
        name: tool.name,
        description: tool.description,
        tags: tool.tags,
    })
}

fn of_card(card: Card) -> Result<CallableDescription, Failure> {
    Ok(CallableDescription {
        input_schema: schema(&card.input_schema, "input", &card.name)?,
        output_schema: schema(&card.output_schema, "output", &card.name)?,
        name: card.name,
        description: card.description,
        tags: card.tags,
    })
}

fn of_entry(entry: BlueprintEntry) -> BlueprintDescription {
    BlueprintDescription { name: entry.name, description: entry.description, entrypoint: entry.entrypoint }
}

fn schema(text: &str, which: &str, name: &str) -> Result<Value, Failure> {
    let refuse = |what: String| {
        Failure::never(
            Problem::new(Code::X033, format!("the {which} schema of `{name}` is {what}"))
                .help("describe it with a JSON Schema, for example `{\"type\":\"object\"}`"),
        )
    };
    match serde_json::from_str(text) {
        Ok(schema @ Value::Object(_)) => Ok(schema),
        Ok(_) => Err(refuse("not a JSON object".to_owned())),
        Err(error) => Err(refuse(format!("not JSON: {error}"))),
    }
}
