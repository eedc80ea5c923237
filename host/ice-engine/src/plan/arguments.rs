//! Arguments of tools, agents and blueprints: what is written, what is mapped, what is bound by name.
//!
//! What is written wins over what is mapped, and what is mapped wins over what is bound. Binding fills what is left:
//! a parameter takes the loop item or the input of its name; one that is required may also take the field of its
//! name from the output of a direct dependency, the first one that has it.

use std::collections::HashSet;

use ice_core::blueprint::{NodeDoc, did_you_mean};
use ice_core::problem::Code;
use ice_core::schema::{Property, property};
use ice_core::template::Template;
use serde_json::{Map, Value};

use super::context::Wanted;
use super::{PlanContext, Source};

/// A place inside a value that can be seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The value.
    pub source: Source,
    /// The way into it; empty for the whole.
    pub path: Vec<String>,
}

/// A parameter that nobody wrote: it takes the first of these places that has a value, and stays out when none has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Binding {
    /// The parameter.
    pub param: String,
    /// In order of preference.
    pub origins: Vec<Origin>,
}

/// The arguments of one call.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Arguments {
    /// As written: parameter and template.
    pub given: Vec<(String, Template)>,
    /// Bound by name. Parameters of input mappings are in neither list.
    pub bindings: Vec<Binding>,
}

/// Who takes arguments.
#[derive(Clone, Copy)]
pub struct Callee<'s> {
    /// In words: "tool `writer_tool`".
    pub what: &'s str,
    /// JSON Schema of its input.
    pub schema: &'s Value,
}

impl PlanContext<'_> {
    /// Reads the arguments of a call from the mapping under `key` and checks them against the callee's schema.
    pub fn arguments(&mut self, doc: &NodeDoc, key: &str, callee: Callee<'_>) -> Arguments {
        let written = self.fields(doc).mapping(key).cloned().unwrap_or_default();
        let pointer = format!("{}/{key}", doc.pointer);
        let given = self.given(&written, &pointer, callee);
        self.mapped(doc, callee);
        let mut taken: Vec<&str> = written.keys().map(String::as_str).collect();
        taken.extend(doc.input_mappings.iter().map(|mapping| mapping.param.as_str()));
        let bindings = self.bindings(callee.schema, &taken);
        let bound: HashSet<&str> = bindings.iter().map(|binding| binding.param.as_str()).collect();
        for name in required(callee.schema) {
            if !taken.contains(&name) && !bound.contains(name) {
                let message = format!("{} needs the argument `{name}`", callee.what);
                let help = format!("add it under `{key}:`, or declare an input `{name}`");
                self.problem(Code::B024, &doc.pointer, message, help);
            }
        }
        Arguments { given, bindings }
    }

    fn given(&mut self, written: &Map<String, Value>, pointer: &str, callee: Callee<'_>) -> Vec<(String, Template)> {
        let mut given = Vec::with_capacity(written.len());
        for (name, value) in written {
            let pointer = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
            let takes = takes(callee.schema, name);
            if let Property::Absent(known) = &takes {
                let message = format!("{} has no argument `{name}`", callee.what);
                let help = did_you_mean(name, known.iter().map(String::as_str));
                self.problem(Code::B023, &pointer, message, help.unwrap_or_else(|| "remove it".into()));
            }
            let what = format!("argument `{name}` of {}", callee.what);
            let schema = if let Property::Known(schema) = &takes { Some(schema) } else { None };
            let wanted = schema.map(|schema| Wanted { schema, what: &what });
            given.extend(self.template(value, &pointer, wanted).map(|template| (name.clone(), template)));
        }
        given
    }

    /// Checks the parameters of input mappings like written arguments.
    fn mapped(&mut self, doc: &NodeDoc, callee: Callee<'_>) {
        for mapping in &doc.input_mappings {
            match takes(callee.schema, &mapping.param) {
                Property::Absent(known) => {
                    let message = format!("{} has no argument `{}`", callee.what, mapping.param);
                    let known = known.iter().map(String::as_str);
                    self.unknown(Code::B023, &mapping.pointer, message, &mapping.param, known);
                }
                Property::Known(schema) => {
                    let Some(source) = self.node_named(&mapping.source) else { continue };
                    let path = if mapping.key == "." { Vec::new() } else { super::graph::dotted(&mapping.key) };
                    if let Some(gives) = self.peek(&source, &path) {
                        let what = format!("argument `{}` of {}", mapping.param, callee.what);
                        self.check_gives(&gives, &mapping.pointer, Wanted { schema: &schema, what: &what });
                    }
                }
                Property::Unknown => {}
            }
        }
    }

    fn node_named(&self, id: &str) -> Option<Source> {
        let find = |(up, level): (usize, &super::context::Level)| {
            level.links.by_id.get(id).map(|&index| Source::Node { up, index })
        };
        self.levels.iter().rev().enumerate().find_map(find)
    }

    /// Binds the properties of an object schema that are not `taken`.
    pub(super) fn bindings(&self, schema: &Value, taken: &[&str]) -> Vec<Binding> {
        let properties = schema.get("properties").and_then(Value::as_object);
        let needed: HashSet<&str> = required(schema).collect();
        let unbound = properties.into_iter().flat_map(Map::keys).filter(|name| !taken.contains(&name.as_str()));
        let bind = |name: &String| {
            let origins = self.origins(name, needed.contains(name.as_str()));
            (!origins.is_empty()).then(|| Binding { param: name.clone(), origins })
        };
        unbound.filter_map(bind).collect()
    }

    fn origins(&self, name: &str, required: bool) -> Vec<Origin> {
        let whole = |source| Origin { source, path: Vec::new() };
        let field = |source| Origin { source, path: vec![name.to_owned()] };
        let mut origins = Vec::new();
        for (up, level) in self.levels.iter().rev().enumerate() {
            match &level.item {
                Some(item) if item == name => origins.push(whole(Source::Item { up })),
                Some(_) if required => origins.push(field(Source::Item { up })),
                _ => {}
            }
        }
        if self.may_be_given(name) {
            origins.push(whole(Source::Input(name.to_owned())));
        }
        let level = self.levels.last().filter(|_| required);
        if let Some((level, node)) = level.and_then(|level| Some((level, level.current?))) {
            for &index in &level.links.depends_on[node] {
                let gives = level.outputs[index].as_ref();
                if level.ids[index] == name {
                    origins.push(whole(Source::Node { up: 0, index }));
                } else if gives.is_none_or(|schema| may_have(schema, name)) {
                    origins.push(field(Source::Node { up: 0, index }));
                }
            }
        }
        origins
    }
}

/// Whether an output has a field, as far as its schema says: one that names its fields has no others worth binding.
fn may_have(schema: &Value, name: &str) -> bool {
    match property(schema, name) {
        Property::Known(_) => true,
        Property::Absent(_) => false,
        Property::Unknown => schema.get("properties").is_none(),
    }
}

fn required(schema: &Value) -> impl Iterator<Item = &str> {
    schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// What a callee says about a parameter. A schema that names its properties takes no others, unless it says so.
fn takes(schema: &Value, name: &str) -> Property {
    let found = property(schema, name);
    let open = schema.get("additionalProperties").is_some_and(|extra| extra != &Value::Bool(false))
        || ["patternProperties", "allOf", "anyOf", "oneOf", "$ref"].iter().any(|key| schema.get(key).is_some());
    let fields = schema.get("properties").and_then(Value::as_object);
    match (found, fields) {
        (Property::Unknown, Some(fields)) if !open => Property::Absent(fields.keys().cloned().collect()),
        (found, _) => found,
    }
}
