//! What a person sees before and after an installation.

use ice_core::grant::{Grant, widens};
use ice_core::id::Digest;
use ice_core::manifest::{printable, printable_lines};
use ice_core::problem::Code;
use ice_registry::Trust;
use ice_registry::install::{Change, Diff, Prepared, Step};
use serde_json::{Value, json};

use super::Performed;
use crate::deprecation;
use crate::output::Output;

/// Says on standard error what would change: name, signer, capabilities, what a model reads.
pub(super) fn changes(prepared: &Prepared, trust: &Trust, output: &Output) {
    for step in &prepared.steps {
        match step.change() {
            Change::Same => {}
            Change::New => new(step, trust).iter().for_each(|line| output.note(line)),
            Change::Update(diff) => update(step, diff, trust).iter().for_each(|line| output.note(line)),
        }
    }
    // What is asked for and not granted is among the lines above, and is asked about.
    let warnings = prepared.warnings.iter().filter(|problem| problem.code != Code::G003);
    warnings.for_each(|problem| output.warn(problem));
    for old in &prepared.deprecated {
        output.warn(&deprecation::warning(&old.component, &old.plugin, &old.deprecation));
    }
}

fn signers(step: &Step, trust: &Trust) -> String {
    let name = |id| {
        let label = trust.trusted_keys().get(id).map(|key| key.notes.label.as_str()).unwrap_or_default();
        format!("{} {label}", id.short()).trim_end().to_owned()
    };
    step.verified().signers().iter().map(name).collect::<Vec<_>>().join(", ")
}

fn head(step: &Step, what: &str, trust: &Trust) -> Vec<String> {
    let manifest = step.verified().value();
    let mut lines =
        vec![format!("{what} {} {} ({}, {} KiB)", manifest.name, manifest.version, manifest.kind, step.size() >> 10)];
    lines.push(format!("  signed by  {}", signers(step, trust)));
    lines.extend(step.locked().source.iter().map(|source| format!("  from       {source}")));
    lines.extend(manifest.license.iter().map(|license| format!("  licence    {}", printable(license))));
    lines
}

fn new(step: &Step, trust: &Trust) -> Vec<String> {
    let mut lines = head(step, "install", trust);
    let manifest = step.verified().value();
    let asked = widens(&Grant::default(), &manifest.asks());
    lines.extend(asked.iter().map(|line| format!("  asks for   {line}")));
    if asked.is_empty() {
        lines.push("  asks for   nothing: it can only compute".to_owned());
    }
    for component in &manifest.components {
        let head = format!("  {:<10} {}: ", component.node_type.as_str(), component.name);
        let text = printable_lines(&component.description);
        lines.push(head + text.first().map(String::as_str).unwrap_or_default());
        lines.extend(text.iter().skip(1).map(|line| format!("             {line}")));
        let mut parameters = Vec::new();
        said(&manifest.input_schema(component), "", &mut parameters);
        lines.extend(parameters);
    }
    lines
}

/// Every text of a schema, with where it stands: a model reads those of parameters as it reads that of the tool.
fn said(schema: &Value, place: &str, lines: &mut Vec<String>) {
    match schema {
        Value::Object(members) => {
            for (member, value) in members {
                match value {
                    Value::String(text) if member == "description" || member == "title" => {
                        lines.push(format!("             {place} {}", printable_lines(text).join(" ")));
                    }
                    _ => said(value, &format!("{place}/{}", printable(member)), lines),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| said(item, place, lines)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn update(step: &Step, diff: &Diff, trust: &Trust) -> Vec<String> {
    let mut lines = head(step, "update", trust);
    lines.push(format!("  version    {} -> {}", diff.from, diff.to));
    let mut each =
        |what: &str, texts: Vec<String>| lines.extend(texts.into_iter().map(|text| format!("  {what:<10} {text}")));
    each("+ signer", diff.signers_added.iter().map(Digest::short).collect());
    each("- signer", diff.signers_removed.iter().map(Digest::short).collect());
    each("+ asks for", diff.capabilities.clone());
    for change in &diff.interface {
        let text = |text: &Option<String>| text.as_deref().map(printable_lines).unwrap_or_default();
        let (before, after) = (text(&change.before), text(&change.after));
        let only =
            |one: &[String], other: &[String]| one.iter().filter(|line| !other.contains(line)).cloned().collect();
        each("reads", vec![format!("{} {}", change.component, change.part)]);
        each("  before", only(&before, &after));
        each("  after", only(&after, &before));
    }
    lines
}

/// Says what was done.
pub(super) fn done(done: &Performed, output: &Output) {
    let Performed { prepared, fetched } = done;
    let changed = || prepared.steps.iter().filter(|step| *step.change() != Change::Same);
    output.either(
        || {
            json!({ "installed": prepared.steps.iter().map(value).collect::<Vec<_>>(), "bytes_fetched": fetched,
                   "dropped": prepared.dropped.iter().map(|package| &package.name).collect::<Vec<_>>() })
        },
        || {
            let mut lines: Vec<String> =
                changed().map(|step| format!("{} {}", step.locked().name, step.locked().version)).collect();
            lines.push(format!(
                "{} plugins, {} new or changed, {} KiB fetched",
                prepared.steps.len(),
                changed().count(),
                fetched >> 10
            ));
            lines
        },
    );
}

fn value(step: &Step) -> Value {
    let change = match step.change() {
        Change::New => json!("new"),
        Change::Same => json!("same"),
        Change::Update(diff) => json!({ "from": diff.from, "signers_added": diff.signers_added,
            "signers_removed": diff.signers_removed, "capabilities": diff.capabilities,
            "interface": diff.interface.iter().map(|i| json!({ "component": i.component, "part": i.part, "before": i.before, "after": i.after })).collect::<Vec<_>>() }),
    };
    let locked = step.locked();
    json!({ "name": locked.name, "version": locked.version, "kind": locked.kind.as_str(), "statement": locked.statement,
            "signed_by": locked.signed_by, "source": locked.source, "granted": locked.granted, "change": change })
}
