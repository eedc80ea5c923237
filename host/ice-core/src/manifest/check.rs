//! What is wrong with a manifest: its form by the schema, the rules a schema cannot say, and what lint adds.
//!
//! Everything is collected; nothing stops at the first problem. Texts are in `text`, names in `names`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use jsonschema::error::ValidationErrorKind as Kinds;
use jsonschema::{ValidationError, Validator};
use semver::VersionReq;
use serde_json::Value;

use super::{ARTIFACT_BYTES_MAX, Component, Kind, Manifest, NodeType, SCHEMA, date, names, text};
use crate::catalog::Effects;
use crate::grant::{Capability, Grant};
use crate::problem::{Code, Problem};

static FORM: LazyLock<Validator> = LazyLock::new(|| {
    let schema = serde_json::from_str(SCHEMA).expect("the schema in the repository is JSON");
    jsonschema::validator_for(&schema).expect("the schema in the repository is a JSON Schema")
});

/// By the last part of the pointer: code and way out of a value that is not in its form.
const MEMBERS: &[(&str, Code, &str)] = &[
    ("artifact", Code::T012, "write `sha256:` followed by 64 lower-case hex digits"),
    ("statement", Code::T012, "write `sha256:` followed by 64 lower-case hex digits"),
    ("version", Code::T018, "write MAJOR.MINOR.PATCH, optionally with a `-pre` part; `+build` cannot be a tag"),
    ("schema_version", Code::M001, "this host reads `plugins.v0`"),
    ("kind", Code::M001, "write `plugin`, `kit` or `bundle`"),
    ("node_type", Code::M001, "write `tool`, `agent` or `workflow`"),
    ("created", Code::M001, "write UTC with whole seconds, such as `2026-11-20T00:00:00Z`"),
    ("expires", Code::M001, "write UTC with whole seconds, such as `2026-11-20T00:00:00Z`"),
    ("import", Code::M001, "write `namespace:package/interface@version#export`"),
    ("sequence", Code::M001, "write a number from 1, larger with every release"),
];

/// Checks `document` against the published schema.
pub(super) fn form(document: &Value) -> Vec<Problem> {
    FORM.iter_errors(document).map(|error| form_problem(&error)).collect()
}

fn form_problem(error: &ValidationError<'_>) -> Problem {
    let pointer = error.instance_path().to_string();
    let member = pointer.rsplit('/').next().unwrap_or_default();
    let instance = error.instance();
    let found = instance.as_str().map_or_else(|| instance.to_string(), str::to_owned);
    let found = format!("`{}`", text::printable(&found));
    let problem = match error.kind() {
        Kinds::Type { .. } if pointer.is_empty() => {
            Problem::new(Code::M001, "a manifest is a JSON object").help("`ice plugins export` writes one")
        }
        Kinds::AdditionalProperties { unexpected } if member == "capabilities" => {
            let asked: Vec<String> = unexpected.iter().map(|name| format!("`{}`", text::printable(name))).collect();
            let known: Vec<&str> = Capability::ALL.iter().map(|capability| capability.as_str()).collect();
            Problem::new(Code::G003, format!("asks for {}, which this host does not have", asked.join(", ")))
                .help(format!("a host has {}", known.join(", ")))
        }
        Kinds::Required { property } => {
            Problem::new(Code::M001, format!("the member {} is missing", property.to_string().replace('"', "`")))
        }
        Kinds::Pattern { .. } if pointer == "/name" || pointer.starts_with("/dependencies/") && member == "name" => {
            match error.instance().as_str().map(names::check_name) {
                Some(Err(problem)) => problem,
                _ => Problem::new(Code::T018, format!("{found} is not a plugin name")),
            }
        }
        _ => match MEMBERS.iter().find(|(name, ..)| *name == member) {
            Some((name, code, help)) => Problem::new(*code, format!("{found} is not a value for `{name}`")).help(*help),
            None => Problem::new(Code::M001, text::printable(&error.to_string())),
        },
    };
    problem.pointer(pointer)
}

/// Checks what the schema cannot say. `manifest` has passed [`form`].
pub(super) fn rules(manifest: &Manifest) -> Vec<Problem> {
    let mut problems = dates(manifest);
    let order: Vec<(&str, &str)> =
        manifest.components.iter().map(|c| (c.node_type.as_str(), c.name.as_str())).collect();
    for (index, pair) in order.windows(2).enumerate() {
        let fault = match pair[0].cmp(&pair[1]) {
            std::cmp::Ordering::Less => continue,
            std::cmp::Ordering::Equal => "is there twice",
            std::cmp::Ordering::Greater => "is not in the order of node type, then name",
        };
        let message = format!("{} `{}` {fault}", pair[1].0, pair[1].1);
        problems.push(Problem::new(Code::M001, message).pointer(format!("/components/{}", index + 1)));
    }
    for (index, component) in manifest.components.iter().enumerate() {
        let at = |problem: Problem| {
            let inner = problem.at.as_ref().and_then(|at| at.pointer.clone()).unwrap_or_default();
            problem.pointer(format!("/components/{index}{inner}"))
        };
        problems.extend(component_rules(manifest, component).into_iter().map(at));
    }
    problems.extend(kind_rules(manifest));
    problems.extend(file_rules(manifest));
    for (index, dependency) in manifest.dependencies.iter().enumerate() {
        if VersionReq::parse(&dependency.req).is_err() {
            let message = format!("`{}` is not a version requirement", dependency.req);
            let problem = Problem::new(Code::M001, message).pointer(format!("/dependencies/{index}/req"));
            problems.push(problem.help("write it like `^1.0` or `>=1.2, <2`"));
        }
    }
    problems
}

fn dates(manifest: &Manifest) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut read = |member: &str, text: &str| {
        let moment = date::parse_date(text);
        if moment.is_none() {
            problems.push(Problem::new(Code::M001, format!("`{text}` is not a date")).pointer(format!("/{member}")));
        }
        moment
    };
    let created = read("created", &manifest.created);
    let expires = manifest.expires.as_deref().and_then(|expires| read("expires", expires));
    if created.zip(expires).is_some_and(|(created, expires)| expires <= created) {
        problems.push(Problem::new(Code::M001, "expires before it was created").pointer("/expires"));
    }
    problems
}

fn component_rules(manifest: &Manifest, component: &Component) -> Vec<Problem> {
    let mut problems = Vec::new();
    let same = manifest.components.iter().find(|other| other.artifact == component.artifact);
    let first = same.unwrap_or(component);
    if first.size != component.size {
        let message = format!("`{}` and `{}` are one artifact and give two sizes", first.name, component.name);
        problems.push(Problem::new(Code::M001, message).pointer("/size"));
    }
    if first.capabilities != component.capabilities {
        let message =
            format!("`{}` and `{}` are one component and ask for different things", first.name, component.name);
        let help = "capabilities belong to the component: give all its entries the same";
        problems.push(Problem::new(Code::M001, message).help(help).pointer("/capabilities"));
    }
    if component.size > ARTIFACT_BYTES_MAX {
        let message = format!("{} bytes are more than the {ARTIFACT_BYTES_MAX} of an artifact", component.size);
        problems.push(
            Problem::new(Code::T029, message)
                .help("build it with `opt-level = \"s\"` and `strip = true`, or split it")
                .pointer("/size"),
        );
    }
    let grant = component.capabilities.clone().unwrap_or_default();
    for problem in grant.check() {
        let inner = problem.at.as_ref().and_then(|at| at.pointer.clone()).unwrap_or_default();
        problems.push(problem.pointer(format!("/capabilities{inner}")));
    }
    if component.effects == Some(Effects::None) && grant.capabilities().len() > 1 {
        let message = "says it has no effects and asks for capabilities";
        problems.push(Problem::new(Code::M001, message).pointer("/effects"));
    }
    let orchestrates = grant.has(Capability::Tools) || grant.has(Capability::Executions);
    if orchestrates && component.node_type != NodeType::Agent {
        let message = format!("a {} asks to call tools; only an agent may", component.node_type.as_str());
        problems.push(Problem::new(Code::G003, message).pointer("/capabilities"));
    }
    if component.node_type == NodeType::Workflow && grant != Grant::default() {
        let message = "a blueprint asks for capabilities; the plugins it uses do that";
        problems.push(Problem::new(Code::G003, message).pointer("/capabilities"));
    }
    problems
}

fn kind_rules(manifest: &Manifest) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut fault = |fault: String| problems.push(Problem::new(Code::M001, fault).pointer("/components"));
    let artifacts = manifest.artifacts().len();
    let entrypoints = manifest.components.iter().filter(|component| component.entrypoint).count();
    let blueprints = manifest.components.iter().filter(|c| c.node_type == NodeType::Workflow).count();
    match manifest.kind {
        Kind::Plugin if artifacts != 1 => fault(format!("a plugin is one component, this one has {artifacts}")),
        Kind::Kit if artifacts == 0 => fault("a kit has at least one component".to_owned()),
        Kind::Bundle if entrypoints != 1 && blueprints > 0 => {
            fault(format!("exactly one blueprint of a bundle is its entrypoint, here it is {entrypoints}"));
        }
        Kind::Bundle if artifacts == 0 && manifest.files.is_empty() => {
            fault("a bundle has blueprints: a component or files".to_owned());
        }
        Kind::Plugin | Kind::Kit if blueprints > 0 => {
            fault("blueprints belong in a bundle: write `kind = \"bundle\"`".to_owned());
        }
        Kind::Plugin | Kind::Kit | Kind::Bundle => {}
    }
    problems
}

fn file_rules(manifest: &Manifest) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, file) in manifest.files.iter().enumerate() {
        let pointer = format!("/files/{index}/path");
        let part = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', ':', '\0']);
        if !file.path.split('/').all(part) {
            let message = format!("`{}` leaves the plugin's own folder", text::printable(&file.path));
            problems
                .push(Problem::new(Code::M001, message).help("write a relative path without `..`").pointer(&*pointer));
        }
        if !seen.insert(file.path.to_lowercase()) {
            problems.push(Problem::new(Code::M001, format!("`{}` is there twice", file.path)).pointer(pointer));
        }
        if file.size > ARTIFACT_BYTES_MAX {
            let message = format!("{} bytes are more than the {ARTIFACT_BYTES_MAX} of an artifact", file.size);
            problems.push(
                Problem::new(Code::T029, message)
                    .help("make it smaller, or leave it out")
                    .pointer(format!("/files/{index}/size")),
            );
        }
    }
    problems
}

/// Most digits of a number that is not an integer: more would not survive every JSON reader.
const DIGITS_MAX: usize = 15;

/// What an author should mend before publishing: everything [`Manifest::check`] finds, schemas that do not compile,
/// missing licence and descriptions, fragile numbers, and names like those in `known`.
pub fn lint<'a>(manifest: &Manifest, known: impl IntoIterator<Item = &'a str>) -> Vec<Problem> {
    let mut problems = manifest.check();
    if manifest.license.as_deref().is_none_or(|license| license.trim().is_empty()) {
        let problem = Problem::new(Code::M006, "there is no licence").pointer("/license");
        problems.push(problem.help("add `license = \"Apache-2.0\"`, or the SPDX name of yours, to plugin.toml"));
    }
    for (index, component) in manifest.components.iter().enumerate() {
        if component.description.trim().is_empty() {
            let message = format!("`{}` has no description; a model chooses tools by it", component.name);
            problems.push(Problem::new(Code::M006, message).pointer(format!("/components/{index}/description")));
        }
        for (side, schema) in
            [("input", manifest.input_schema(component)), ("output", manifest.output_schema(component))]
        {
            if let Err(error) = jsonschema::validator_for(&schema) {
                let message =
                    format!("the {side} schema of `{}`: {}", component.name, text::printable(&error.to_string()));
                let pointer = format!("/components/{index}/schema/{side}");
                problems.push(Problem::new(Code::M004, message).pointer(pointer));
            }
        }
    }
    let mut numbers = BTreeMap::new();
    fragile_numbers(&manifest.to_value(), String::new(), &mut numbers);
    for (pointer, number) in numbers {
        let message = format!("{number} is a fragile number in signed text");
        let help = "use integers; only schemas, `cost_estimate` and money may have up to 15 digits with a point";
        problems.push(Problem::new(Code::M006, message).pointer(pointer).help(help));
    }
    problems.extend(names::near_names(&manifest.name, known));
    problems
}

fn fragile_numbers(value: &Value, pointer: String, found: &mut BTreeMap<String, String>) {
    match value {
        Value::Number(number) if number.is_f64() => {
            let text = number.to_string();
            let money = pointer.contains("/cost_estimate/") || pointer.ends_with("/usd_per_execution");
            // A JSON Schema bounds and defaults numbers that are fractions by nature.
            let schema = pointer.contains("/schema/") || pointer.starts_with("/schemas/");
            let digits = text.bytes().filter(u8::is_ascii_digit).count();
            let whole = number.as_f64().is_some_and(|number| number.fract() == 0.0);
            if !whole && (!(money || schema) || digits > DIGITS_MAX) {
                found.insert(pointer, text);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                fragile_numbers(item, format!("{pointer}/{index}"), found);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                fragile_numbers(member, format!("{pointer}/{name}"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
