//! From the port's question to the body of a request. Pure.

use ice_core::ports::{Failure, LlmRequest, Message, Role, ToolSpec};
use ice_core::problem::{Code, Problem};
use serde_json::{Map, Value, json};

use super::{OpenAi, Structured};

/// The format's own bound on a function's name.
const NAME_BYTES_MAX: usize = 64;

/// Parameters that the host sets, or that would make a call cost a multiple of its estimate.
const HOST_SETS: &[&str] = &[
    "api_key",
    "base_url",
    "best_of",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "model",
    "n",
    "provider",
    "response_format",
    "stream",
    "stream_options",
    "temperature",
    "tools",
];

/// Tool names as the format allows them (letters, digits, `_`, `-`), and back.
pub(super) struct ToolNames(Vec<(String, String)>);

impl ToolNames {
    pub(super) fn of(request: &LlmRequest) -> Self {
        let mut names: Vec<(String, String)> = Vec::new();
        let called = request.messages.iter().flat_map(|message| &message.tool_calls).map(|call| &call.name);
        for name in request.tools.iter().map(|tool| &tool.name).chain(called) {
            if names.iter().any(|(known, _)| known == name) {
                continue;
            }
            let plain = |c: char| {
                if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }
            };
            let base: String = name.chars().map(plain).take(NAME_BYTES_MAX).collect();
            let mut wire = base.clone();
            let mut count = 2;
            while wire.is_empty() || names.iter().any(|(_, taken)| *taken == wire) {
                let end = format!("_{count}");
                wire = base.chars().take(NAME_BYTES_MAX - end.len()).collect::<String>() + &end;
                count += 1;
            }
            names.push((name.clone(), wire));
        }
        Self(names)
    }

    fn wire<'a>(&'a self, name: &'a str) -> &'a str {
        self.0.iter().find(|(known, _)| known == name).map_or(name, |(_, wire)| wire)
    }

    /// A name that the model made up stays as it is: the caller says that there is no such tool.
    pub(super) fn name<'a>(&'a self, wire: &'a str) -> &'a str {
        self.0.iter().find(|(_, known)| known == wire).map_or(wire, |(name, _)| name)
    }
}

/// The body of a chat completion. X078 when `extra` sets what is the host's to set.
pub(super) fn body(
    provider: &OpenAi,
    model: &str,
    request: &LlmRequest,
    max_tokens: u32,
    names: &ToolNames,
    stream: bool,
) -> Result<Value, Failure> {
    if let Some(key) = request.extra.keys().find(|key| HOST_SETS.contains(&key.as_str())) {
        let problem = Problem::new(Code::X078, format!("the parameter `{key}` cannot be passed through"));
        return Err(Failure::never(problem.help("set it where the request has a field for it, or leave it out")));
    }
    let mut body = request.extra.clone();
    let mut set = |key: &str, value: Value| drop(body.insert(key.to_owned(), value));
    set("model", model.into());
    set("messages", messages(provider.structured, request, names));
    // OpenAI's newer models know only the longer word, servers of one's own often only the shorter.
    let long_word = provider.name == "openai" && !provider.own_server;
    set(if long_word { "max_completion_tokens" } else { "max_tokens" }, max_tokens.into());
    if let Some(temperature) = request.temperature {
        // Through text, so that 0.7 is sent as 0.7 and not as the nearest double of the nearest float.
        set("temperature", temperature.to_string().parse::<f64>().unwrap_or_default().into());
    }
    if !request.tools.is_empty() {
        set("tools", tools(request, names));
    }
    match (&request.output_schema, provider.structured) {
        (Some(schema), Structured::Schema) => {
            let format = json!({"name": "answer", "strict": is_strict(schema), "schema": schema});
            set("response_format", json!({"type": "json_schema", "json_schema": format}));
        }
        (Some(_), Structured::Object) => set("response_format", json!({"type": "json_object"})),
        _ => {}
    }
    if stream {
        set("stream", true.into());
        set("stream_options", json!({"include_usage": true}));
    }
    Ok(body.into())
}

fn tools(request: &LlmRequest, names: &ToolNames) -> Value {
    let function = |tool: &ToolSpec| {
        json!({
            "name": names.wire(&tool.name),
            "description": tool.description,
            "parameters": parameters(&tool.input_schema),
        })
    };
    let one = |tool| json!({"type": "function", "function": function(tool)});
    request.tools.iter().map(one).collect()
}

fn messages(structured: Structured, request: &LlmRequest, names: &ToolNames) -> Value {
    let mut messages: Vec<Value> = request.messages.iter().map(|it| message(it, names)).collect();
    let Some(schema) = request.output_schema.as_ref().filter(|_| structured != Structured::Schema) else {
        return messages.into();
    };
    let instruction = format!("Answer with JSON only, without code fence, valid for this JSON Schema:\n{schema}");
    // After the caller's own instructions, before the conversation.
    let at = request.messages.iter().take_while(|message| message.role == Role::System).count();
    messages.insert(at, json!({"role": "system", "content": instruction}));
    messages.into()
}

fn message(message: &Message, names: &ToolNames) -> Value {
    let mut wire = Map::from_iter([("role".to_owned(), json!(message.role))]);
    let silent = message.content.is_empty() && !message.tool_calls.is_empty();
    wire.insert("content".into(), if silent { Value::Null } else { message.content.clone().into() });
    if !message.tool_calls.is_empty() {
        let calls = message.tool_calls.iter().map(|call| {
            let arguments = match &call.arguments {
                Value::String(text) => text.clone(),
                value => value.to_string(),
            };
            let function = json!({"name": names.wire(&call.name), "arguments": arguments});
            json!({"id": call.id, "type": "function", "function": function})
        });
        wire.insert("tool_calls".into(), calls.collect());
    }
    if let (Role::Tool, Some(call)) = (message.role, &message.answers) {
        wire.insert("tool_call_id".into(), call.clone().into());
    }
    wire.into()
}

/// A function's parameters are an object; a tool without input has the empty one.
fn parameters(schema: &Value) -> Value {
    match schema {
        Value::Object(schema) if !schema.is_empty() => schema.clone().into(),
        _ => json!({"type": "object", "properties": {}}),
    }
}

/// Whether a schema keeps the rules of strict mode: every object closed, every property required.
/// A schema that does not keep them is refused in strict mode, and followed as well as may be otherwise.
fn is_strict(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => {
            let closed = match members.get("properties") {
                Some(Value::Object(properties)) => {
                    let required = members.get("required").and_then(Value::as_array);
                    let is_required =
                        |name: &String| required.is_some_and(|all| all.iter().any(|it| it == name.as_str()));
                    members.get("additionalProperties") == Some(&Value::Bool(false))
                        && properties.keys().all(is_required)
                }
                _ => members.get("type") != Some(&Value::from("object")),
            };
            closed && members.values().all(is_strict)
        }
        Value::Array(items) => items.iter().all(is_strict),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_every_tool_a_name_that_the_format_allows_and_finds_it_again() {
        let tool = |name: &str| ToolSpec { name: name.into(), description: String::new(), input_schema: json!({}) };
        let long = "x".repeat(90);
        let request = LlmRequest {
            tools: vec![tool("kit.lookup"), tool("kit_lookup"), tool("kit/lookup"), tool(&long), tool("ü"), tool("")],
            ..LlmRequest::default()
        };
        let names = ToolNames::of(&request);
        for tool in &request.tools {
            let wire = names.wire(&tool.name);
            assert!((1..=64).contains(&wire.len()), "{wire}");
            assert!(wire.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'), "{wire}");
            assert_eq!(names.name(wire), tool.name);
        }
        assert_eq!(names.name("made_up"), "made_up");
    }

    #[test]
    fn knows_which_schemas_are_strict() {
        let strict = json!({"type": "object", "additionalProperties": false, "required": ["a"],
            "properties": {"a": {"type": "array", "items": {"type": "string"}}}});
        assert!(is_strict(&strict));
        assert!(is_strict(&json!({"type": "string"})));
        assert!(!is_strict(&json!({"type": "object"})));
        assert!(!is_strict(&json!({"type": "object", "properties": {"a": {}}, "additionalProperties": false})));
        assert!(!is_strict(&json!({"anyOf": [strict, {"type": "object", "properties": {}}]})));
    }
}
