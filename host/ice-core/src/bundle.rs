//! `bundle.yaml`: a bundle as its author writes it. Blueprints by name, and the plugins they need.
//!
//! Reads a parsed document; YAML itself, and the blueprints behind the paths, are read by the callers.

use std::collections::BTreeMap;

use semver::{Version, VersionReq};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::manifest::{check_name, check_texts, printable, qualified, short, unknown_key};
use crate::problem::{Code, Problem};

/// A checked `bundle.yaml`.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Bundle {
    /// As written: `chatkit`, or `scope/chatkit`.
    pub name: String,
    /// Of the bundle.
    pub version: Version,
    /// For a person.
    pub description: String,
    /// SPDX expression.
    pub license: Option<String>,
    /// Which of [`Bundle::workflows`] starts when none is named.
    pub entrypoint: String,
    /// Plugins the blueprints need.
    pub dependencies: Vec<Needs>,
    /// Blueprint name → path of its file, relative to the bundle.
    pub workflows: BTreeMap<String, String>,
    /// Example files, relative to the bundle.
    pub examples: Vec<String>,
    /// The input that gets the address of a local HTTP bin when nobody gives one.
    pub http_bin: Option<String>,
}

/// A plugin that a bundle needs: `memory@^1.0.0`.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct Needs {
    /// `scope/name`; a name without scope belongs to `iceos`.
    pub name: String,
    /// Which versions.
    pub req: VersionReq,
}

const KEYS: [&str; 9] =
    ["name", "version", "description", "license", "entrypoint", "dependencies", "workflows", "examples", "http_bin"];

/// As [`read_workflows`] reads names, for the schema.
const BLUEPRINT_NAME: &str = "^[a-z][a-z0-9_]{0,63}$";

/// Kinds of dependencies: all name plugins; the words are those bundles have used.
const DEPENDENCY_KINDS: [&str; 3] = ["toolkits", "agents", "plugins"];

/// JSON Schema of `bundle.yaml`. It says less than [`Bundle::from_value`], which knows that names fit together.
pub fn schema() -> Value {
    let properties: Map<String, Value> = KEYS.iter().map(|key| ((*key).to_owned(), key_schema(key))).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:iceos:bundle.yaml:1",
        "title": "bundle.yaml",
        "description": "Blueprints that are installed together, with the plugins they need.",
        "type": "object",
        "required": ["name", "version"],
        "additionalProperties": false,
        "properties": properties,
    })
}

fn key_schema(key: &str) -> Value {
    let text = |description: &str| json!({ "type": ["string", "null"], "description": description });
    match key {
        "name" => json!({ "type": "string", "minLength": 1, "description": "`chatkit`, or `scope/chatkit`." }),
        "version" => {
            json!({ "type": "string", "minLength": 1, "description": "MAJOR.MINOR.PATCH, in quotes when YAML would read a number." })
        }
        "description" => text("For a person."),
        "license" => text("SPDX expression."),
        "entrypoint" => {
            text("The blueprint that starts when none is named: `bundle.blueprint`. May be left out when there is one.")
        }
        "dependencies" => {
            let list = json!({ "type": "array", "items": { "type": "string", "minLength": 1 } });
            let kinds: Map<String, Value> =
                DEPENDENCY_KINDS.iter().map(|kind| ((*kind).to_owned(), list.clone())).collect();
            let about = "Plugins the blueprints need, as `name@range`: `memory@^1.0.0`.";
            json!({ "type": ["object", "null"], "description": about, "additionalProperties": false, "properties": kinds })
        }
        "workflows" => json!({
            "type": ["object", "null"],
            "description": "Name of a blueprint and path of its file, relative to the bundle.",
            "propertyNames": { "pattern": BLUEPRINT_NAME },
            "additionalProperties": { "type": "string", "minLength": 1 },
        }),
        "examples" => {
            json!({ "type": ["array", "null"], "items": { "type": "string" }, "description": "Example files, relative to the bundle." })
        }
        "http_bin" => text("The input that gets the address of a local HTTP bin when nobody gives one."),
        // A test sees to it that every key is above.
        _ => json!({}),
    }
}

impl Needs {
    /// Reads `name@requirement` or `name`, which is any version (M002).
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let (name, req) = text.split_once('@').unwrap_or((text, "*"));
        let name = qualified(name.trim());
        check_name(&name)?;
        let req = VersionReq::parse(req.trim()).map_err(|error| {
            let message = format!("`{}` needs a version that cannot be read: {error}", printable(text));
            Problem::new(Code::M002, message).help("write it like `memory@^1.0.0`")
        })?;
        Ok(Self { name, req })
    }
}

impl Bundle {
    /// Reads the document. Fails with every problem at once: M002 for the form, M003 for unknown keys, T016, T018.
    pub fn from_value(document: &Value) -> Result<Self, Vec<Problem>> {
        let Some(members) = document.as_object() else {
            return Err(vec![fault("", "a bundle is a map of keys").help("begin with `name: my_bundle`")]);
        };
        let mut problems = check_texts(document);
        problems.extend(members.keys().filter(|key| !KEYS.contains(&key.as_str())).map(|key| unknown_key(key, KEYS)));
        let name = text(document, "name", &mut problems).unwrap_or_default();
        if !name.is_empty() {
            problems.extend(check_name(&qualified(&name)).err().map(|problem| problem.pointer("/name")));
        }
        let version = read_version(document, &mut problems);
        let workflows = read_workflows(document, &mut problems);
        let entrypoint = read_entrypoint(document, &name, &workflows, &mut problems);
        let dependencies = read_dependencies(document, &mut problems);
        let bundle = Self {
            version,
            description: optional_text(document, "description", &mut problems).unwrap_or_default(),
            license: optional_text(document, "license", &mut problems),
            entrypoint,
            dependencies,
            workflows,
            examples: read_examples(document, &mut problems),
            http_bin: optional_text(document, "http_bin", &mut problems),
            name,
        };
        if problems.is_empty() { Ok(bundle) } else { Err(problems) }
    }

    /// `scope/name`.
    pub fn qualified_name(&self) -> String {
        qualified(&self.name)
    }
}

fn fault(pointer: &str, message: impl Into<String>) -> Problem {
    Problem::new(Code::M002, message).pointer(pointer)
}

fn optional_text(document: &Value, key: &str, problems: &mut Vec<Problem>) -> Option<String> {
    match document.get(key) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(_) => {
            problems.push(fault(&format!("/{key}"), format!("`{key}` is not a text")));
            None
        }
    }
}

fn text(document: &Value, key: &str, problems: &mut Vec<Problem>) -> Option<String> {
    if document.get(key).is_none_or(Value::is_null) {
        problems.push(fault("", format!("the key `{key}` is missing")));
        return None;
    }
    optional_text(document, key, problems)
}

fn read_version(document: &Value, problems: &mut Vec<Problem>) -> Version {
    let none = Version::new(0, 0, 0);
    // YAML reads `version: 1.0` as a number; say so instead of guessing what was meant.
    if document.get("version").is_some_and(Value::is_number) {
        problems.push(fault("/version", "`version` is a number here").help("write it in quotes: `version: \"1.0.0\"`"));
        return none;
    }
    let Some(text) = text(document, "version", problems) else {
        return none;
    };
    Version::parse(&text).ok().filter(|version| version.build.is_empty()).unwrap_or_else(|| {
        let message = format!("`{}` is not a version", printable(&text));
        problems.push(fault("/version", message).help("write MAJOR.MINOR.PATCH, such as `1.0.0`"));
        none
    })
}

fn read_workflows(document: &Value, problems: &mut Vec<Problem>) -> BTreeMap<String, String> {
    let members = match document.get("workflows") {
        None | Some(Value::Null) => return BTreeMap::new(),
        Some(Value::Object(members)) => members,
        Some(_) => {
            let help = "write `workflows: {rag_chat: workflows/rag_chat.yaml}`";
            problems.push(fault("/workflows", "`workflows` is not a map of names to paths").help(help));
            return BTreeMap::new();
        }
    };
    let mut workflows = BTreeMap::new();
    for (name, path) in members {
        let pointer = format!("/workflows/{}", printable(name));
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(good) || name.len() > 64 {
            let message = format!("`{}` is not a blueprint name", printable(name));
            problems.push(fault(&pointer, message).help("begin with a letter and use `a-z`, `0-9` and `_`"));
        }
        match path.as_str() {
            Some(path) if is_inside(path) => {
                workflows.insert(name.clone(), path.to_owned());
            }
            _ => problems.push(fault(&pointer, "this is not a relative path inside the bundle")),
        }
    }
    workflows
}

fn is_inside(path: &str) -> bool {
    path.split('/').all(|part| !matches!(part, "" | "." | "..") && !part.contains(['\\', ':', '\0']))
}

/// `bundle.blueprint` or `blueprint`; with a single blueprint it may be left out.
fn read_entrypoint(
    document: &Value,
    name: &str,
    workflows: &BTreeMap<String, String>,
    problems: &mut Vec<Problem>,
) -> String {
    let Some(written) = optional_text(document, "entrypoint", problems) else {
        if workflows.len() != 1 && document.get("entrypoint").is_none() {
            problems.push(fault("", "the key `entrypoint` is missing").help("name the blueprint that starts"));
        }
        return workflows.keys().next().cloned().unwrap_or_default();
    };
    let entry = match written.split_once('.') {
        Some((bundle, entry)) if bundle == short(name) => entry,
        Some(_) => {
            let message = format!("the entrypoint `{}` is in another bundle than `{name}`", printable(&written));
            problems.push(fault("/entrypoint", message));
            return String::new();
        }
        None => &written,
    };
    if !workflows.is_empty() && !workflows.contains_key(entry) {
        let problem = fault("/entrypoint", format!("there is no blueprint `{}` in `workflows`", printable(entry)));
        let known: Vec<&str> = workflows.keys().map(String::as_str).collect();
        problems.push(problem.help(format!("write one of {}", known.join(", "))));
    }
    entry.to_owned()
}

fn read_dependencies(document: &Value, problems: &mut Vec<Problem>) -> Vec<Needs> {
    let members = match document.get("dependencies") {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::Object(members)) => members,
        Some(_) => {
            let help = "write `dependencies: {toolkits: [\"memory@^1.0.0\"]}`";
            problems.push(fault("/dependencies", "`dependencies` is not a map of lists").help(help));
            return Vec::new();
        }
    };
    let mut needs: Vec<Needs> = Vec::new();
    for (kind, list) in members {
        if !DEPENDENCY_KINDS.contains(&kind.as_str()) {
            problems.push(unknown_key(kind, DEPENDENCY_KINDS).pointer(format!("/dependencies/{}", printable(kind))));
            continue;
        }
        for (index, item) in list.as_array().map_or(&[][..], Vec::as_slice).iter().enumerate() {
            let pointer = format!("/dependencies/{kind}/{index}");
            match item.as_str().map(Needs::parse) {
                Some(Ok(need)) if needs.iter().any(|other| other.name == need.name) => {
                    problems.push(fault(&pointer, format!("`{}` is needed twice", need.name)));
                }
                Some(Ok(need)) => needs.push(need),
                Some(Err(problem)) => problems.push(problem.pointer(pointer)),
                None => problems.push(fault(&pointer, "this is not a text like `memory@^1.0.0`")),
            }
        }
        if !list.is_array() {
            problems.push(fault(&format!("/dependencies/{kind}"), format!("`{kind}` is not a list")));
        }
    }
    needs.sort_by(|a, b| a.name.cmp(&b.name));
    needs
}

fn read_examples(document: &Value, problems: &mut Vec<Problem>) -> Vec<String> {
    let items = match document.get("examples") {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::Array(items)) => items,
        Some(_) => {
            problems.push(fault("/examples", "`examples` is not a list of paths"));
            return Vec::new();
        }
    };
    let mut examples = Vec::new();
    for (index, item) in items.iter().enumerate() {
        match item.as_str() {
            Some(path) if is_inside(path) => examples.push(path.to_owned()),
            _ => problems.push(fault(&format!("/examples/{index}"), "this is not a relative path inside the bundle")),
        }
    }
    examples
}

#[cfg(test)]
mod tests;
