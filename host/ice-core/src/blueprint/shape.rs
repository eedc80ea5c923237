//! Value → blueprint: the top level and the fields every node has. Kind-specific keys stay as they are.

use serde_json::{Map, Value};

use super::fields::{Fields, noun};
use super::retry::{Jitter, RetryPolicy, Strategy};
use super::{Blueprint, FailurePolicy, InputMappingDoc, InputSpec, MAX_PARALLEL_DEFAULT, MAX_PARALLEL_MAX, NodeDoc};
use crate::budget::Budget;
use crate::problem::{Code, Problem};

const TOP_KEYS: &[&str] = &[
    "id",
    "blueprint_id",
    "schema_version",
    "metadata",
    "inputs",
    "nodes",
    "outputs",
    "failure_policy",
    "budget",
    "max_parallel",
    "retry_policy",
    "blueprints",
    "timeout_seconds",
];

/// Keys that nodes of every kind have. Of these `level`, `provider`, `input_selection`, `output_selection` and
/// `context_rules` are accepted because older documents carry them, and mean nothing: the order follows from the
/// dependencies, and a model is named in `llm_config`.
pub const COMMON_KEYS: &[&str] = &[
    "id",
    "type",
    "name",
    "dependencies",
    "input_schema",
    "output_schema",
    "input_mappings",
    "output_mappings",
    "timeout_seconds",
    "retries",
    "backoff_seconds",
    "retry_policy",
    "use_cache",
    "cache_ttl_seconds",
    "run_if",
    "fallback",
    "finally",
    "metadata",
    "level",
    "provider",
    "input_selection",
    "output_selection",
    "context_rules",
];

/// Schema versions this host reads; a document that names none is of the newest.
const SCHEMA_VERSIONS: &[&str] = &["1.1.0", "1.2.0"];

/// The seeds' names, ours, and those of the original's engine.
const FAILURE_POLICIES: &[(&str, FailurePolicy)] = &[
    ("halt", FailurePolicy::Halt),
    ("continue_possible", FailurePolicy::ContinuePossible),
    ("always", FailurePolicy::Always),
    ("halt_on_first_error", FailurePolicy::Halt),
    ("continue_if_possible", FailurePolicy::ContinuePossible),
    ("always_continue", FailurePolicy::Always),
];

/// Attempts of one node: each may cost money.
const ATTEMPTS_MAX: u64 = 1000;

pub(super) fn blueprint(document: Value, problems: &mut Vec<Problem>) -> Blueprint {
    let empty = Map::new();
    let map = document.as_object().unwrap_or(&empty);
    let mut fields = Fields::new(map, "", problems);
    fields.refuse_unknown(&[TOP_KEYS], "a blueprint");
    let id = fields.text("id").or_else(|| fields.text("blueprint_id")).map(str::to_owned);
    let schema_version = schema_version(&mut fields);
    let metadata = fields.mapping("metadata").cloned().unwrap_or_default();
    let failure_policy = fields.choice("failure_policy", FAILURE_POLICIES).unwrap_or_default();
    let max_parallel = fields.whole("max_parallel", 1, MAX_PARALLEL_MAX.into());
    let timeout_ms = fields.seconds("timeout_seconds");
    let outputs = fields.mapping("outputs").map(outputs_of).unwrap_or_default();
    inline(&mut fields);
    let listed = fields.get("nodes").is_some();
    let nodes = fields.list("nodes").unwrap_or_default();
    if nodes.is_empty() && (!listed || fields.get("nodes").is_some_and(Value::is_array)) {
        let place = if listed { Some("nodes") } else { None };
        no_nodes(&mut fields, place);
    }
    let budget = budget(map, problems);
    let retry_policy = retry(map, "", problems);
    let inputs = map.get("inputs").map_or_else(InputSpec::default, |value| super::inputs::inputs(value, problems));
    let nodes = node_docs(nodes, "/nodes", problems);
    Blueprint {
        id,
        schema_version,
        metadata,
        inputs,
        nodes,
        outputs,
        failure_policy,
        budget,
        max_parallel: max_parallel.and_then(|count| count.try_into().ok()).unwrap_or(MAX_PARALLEL_DEFAULT),
        retry_policy,
        timeout_ms,
        document,
    }
}

/// Blueprints that the document carries itself are read when a node refers to them; their form is checked here.
fn inline(fields: &mut Fields<'_, '_>) {
    for (name, document) in fields.mapping("blueprints").into_iter().flatten() {
        if !document.is_object() {
            let message = format!("the blueprint `{name}` is a mapping, not {}", noun(document));
            let help = "write the whole blueprint: `nodes:` and what else it has";
            fields.problem(Code::B004, &format!("blueprints/{}", escape(name)), message, help);
        }
    }
}

fn schema_version(fields: &mut Fields<'_, '_>) -> String {
    let newest = SCHEMA_VERSIONS[SCHEMA_VERSIONS.len() - 1];
    let Some(version) = fields.text("schema_version") else { return newest.to_owned() };
    if !SCHEMA_VERSIONS.contains(&version) {
        let message = format!("schema version `{version}` is not known");
        fields.problem(Code::B009, "schema_version", message, format!("write `schema_version: \"{newest}\"`"));
    }
    version.to_owned()
}

fn no_nodes(fields: &mut Fields<'_, '_>, key: Option<&str>) {
    let help = "add at least one node: `- {id: first, type: tool, tool_name: …}`";
    match key {
        Some(key) => fields.problem(Code::B006, key, "a blueprint needs nodes, this one has none", help),
        None => fields.problem_here(Code::B006, "a blueprint needs nodes, `nodes` is missing", help),
    }
}

fn outputs_of(map: &Map<String, Value>) -> Vec<(String, Value)> {
    map.iter().map(|(name, template)| (name.clone(), template.clone())).collect()
}

/// Reads the field `budget` of a document: `{usd?, tokens?, seconds?}`; no limits where it is missing.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 10^9 US dollars")]
pub fn budget(map: &Map<String, Value>, problems: &mut Vec<Problem>) -> Budget {
    let Some(map) = Fields::new(map, "", problems).mapping("budget") else { return Budget::default() };
    let mut fields = Fields::new(map, "/budget", problems);
    fields.refuse_unknown(&[&["usd", "tokens", "seconds"]], "a budget");
    let usd = fields.number("usd", 0.0, 1e9);
    Budget {
        micro_usd: usd.map(|usd| (usd * 1e6).round() as u64),
        tokens: fields.whole("tokens", 0, u64::MAX),
        ms: fields.seconds("seconds"),
    }
}

/// Reads `retry_policy`, else `retries` and `backoff_seconds`.
fn retry(map: &Map<String, Value>, pointer: &str, problems: &mut Vec<Problem>) -> Option<RetryPolicy> {
    let mut fields = Fields::new(map, pointer, problems);
    let retries = fields.whole("retries", 0, ATTEMPTS_MAX - 1);
    let backoff_ms = fields.pause("backoff_seconds");
    let Some(policy) = fields.mapping("retry_policy") else {
        let once = RetryPolicy::once();
        let max_attempts = u32::try_from(retries? + 1).unwrap_or(u32::MAX);
        return Some(RetryPolicy { max_attempts, backoff_ms: backoff_ms.unwrap_or(once.backoff_ms), ..once });
    };
    let pointer = fields.pointer("retry_policy");
    Some(retry_policy(policy, pointer, problems))
}

fn retry_policy(map: &Map<String, Value>, pointer: String, problems: &mut Vec<Problem>) -> RetryPolicy {
    const KEYS: &[&str] =
        &["max_attempts", "backoff_strategy", "backoff_seconds", "max_backoff_seconds", "jitter", "retry_on"];
    const ATTEMPTS_DEFAULT: u64 = 3;
    let strategies = [("fixed", Strategy::Fixed), ("linear", Strategy::Linear), ("exponential", Strategy::Exponential)];
    let jitters = [("none", Jitter::None), ("full", Jitter::Full)];
    let once = RetryPolicy::once();
    let mut fields = Fields::new(map, pointer, problems);
    fields.refuse_unknown(&[KEYS], "a retry policy");
    let max_attempts = fields.whole("max_attempts", 1, ATTEMPTS_MAX).unwrap_or(ATTEMPTS_DEFAULT);
    RetryPolicy {
        max_attempts: u32::try_from(max_attempts).unwrap_or(u32::MAX),
        strategy: fields.choice("backoff_strategy", &strategies).unwrap_or(once.strategy),
        backoff_ms: fields.pause("backoff_seconds").unwrap_or(once.backoff_ms),
        max_backoff_ms: fields.pause("max_backoff_seconds").unwrap_or(once.max_backoff_ms),
        jitter: fields.choice("jitter", &jitters).unwrap_or(once.jitter),
        retry_on: fields.texts("retry_on"),
    }
}

/// Reads a list of nodes at `pointer`: the top level's, or one nested in a node.
pub fn node_docs(items: &[Value], pointer: &str, problems: &mut Vec<Problem>) -> Vec<NodeDoc> {
    let mut docs = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let pointer = format!("{pointer}/{index}");
        match item {
            Value::Object(map) => docs.push(node_doc(map, pointer, problems)),
            other => {
                let message = format!("a node is a mapping, not {}", noun(other));
                problems.push(Problem::new(Code::B004, message).pointer(pointer).help("write `- id: …`"));
            }
        }
    }
    docs
}

fn node_doc(map: &Map<String, Value>, pointer: String, problems: &mut Vec<Problem>) -> NodeDoc {
    let retry = retry(map, &pointer, problems);
    let mut fields = Fields::new(map, pointer.clone(), problems);
    let id = fields.required_text("id").unwrap_or_default().to_owned();
    let kind = fields.required_text("type").unwrap_or_default().to_owned();
    let name = fields.text("name").map(str::to_owned);
    let dependencies = fields.texts("dependencies");
    let input_schema = fields.mapping("input_schema").filter(|map| !map.is_empty()).cloned().map(Value::Object);
    let output_schema = fields.mapping("output_schema").filter(|map| !map.is_empty()).cloned().map(Value::Object);
    let timeout_ms = fields.seconds("timeout_seconds");
    let use_cache = fields.flag("use_cache", false);
    let cache_ttl_ms = fields.seconds("cache_ttl_seconds");
    let run_if = fields.get("run_if").cloned();
    if run_if.as_ref().is_some_and(|value| !value.is_string() && !value.is_boolean()) {
        fields.problem(Code::B004, "run_if", "`run_if` is a template, `always`, true or false", "quote it");
    }
    let fallback = fields.text("fallback").map(str::to_owned);
    let finally = fields.flag("finally", false);
    let metadata = fields.mapping("metadata").cloned().unwrap_or_default();
    let input_mappings = fields.mapping("input_mappings").cloned().unwrap_or_default();
    let output_mappings = output_mappings(&mut fields);
    let config = map.iter().filter(|(key, _)| !COMMON_KEYS.contains(&key.as_str()));
    let config = config.map(|(key, value)| (key.clone(), value.clone())).collect();
    let input_mappings = mappings(&input_mappings, &pointer, problems);
    NodeDoc {
        id,
        kind,
        name,
        dependencies,
        input_schema,
        output_schema,
        input_mappings,
        output_mappings,
        timeout_ms,
        retry,
        use_cache,
        cache_ttl_ms,
        run_if,
        fallback,
        finally,
        metadata,
        config,
        pointer,
    }
}

fn output_mappings(fields: &mut Fields<'_, '_>) -> Vec<(String, String)> {
    let Some(map) = fields.mapping("output_mappings") else { return Vec::new() };
    let mut mappings = Vec::with_capacity(map.len());
    for (alias, path) in map {
        match path.as_str() {
            Some(path) => mappings.push((alias.clone(), path.to_owned())),
            None => {
                let message = format!("the path of `{alias}` is text, not {}", noun(path));
                fields.problem(Code::B004, &format!("output_mappings/{alias}"), message, "write a dot path: `a.b`");
            }
        }
    }
    mappings
}

fn mappings(map: &Map<String, Value>, pointer: &str, problems: &mut Vec<Problem>) -> Vec<InputMappingDoc> {
    const KEYS: &[&str] = &["source_node_id", "source_output_key", "rules"];
    let mut found = Vec::with_capacity(map.len());
    for (param, value) in map {
        let pointer = format!("{pointer}/input_mappings/{}", escape(param));
        let Value::Object(mapping) = value else {
            let message = format!("the mapping of `{param}` is a mapping, not {}", noun(value));
            let help = "write `{source_node_id: …, source_output_key: …}`";
            problems.push(Problem::new(Code::B004, message).pointer(pointer).help(help));
            continue;
        };
        let mut fields = Fields::new(mapping, pointer.clone(), problems);
        fields.refuse_unknown(&[KEYS], "an input mapping");
        let source = fields.required_text("source_node_id").map(str::to_owned);
        let key = fields.required_text("source_output_key").map(str::to_owned);
        if let (Some(source), Some(key)) = (source, key) {
            found.push(InputMappingDoc { param: param.clone(), source, key, pointer });
        }
    }
    found
}

/// RFC 6901: `~` and `/` inside a key.
pub(super) fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
