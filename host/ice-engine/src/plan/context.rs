//! What a node kind is given while it plans one node: the catalog, the scope its templates may see, the list of
//! problems, and a way to plan the nodes inside it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ice_core::blueprint::{Fields, NodeDoc, RetryPolicy, did_you_mean, nearest};
use ice_core::catalog::Catalog;
use ice_core::id::Digest;
use ice_core::problem::{Code, Problem};
use ice_core::schema::{Direction, Property, Schema, compatible, property};
use ice_core::template::{Reference, Template};
use serde_json::{Map, Value, json};

use super::links::Links;
use super::{Blueprints, Graph, Plan, Referred, Source};

/// Where another node of the same graph stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stand {
    /// It is done before; its output can be seen.
    Before(Source),
    /// Neither waits for the other; or it is the node itself.
    Beside(usize),
    /// It waits for the one being planned.
    Behind,
    /// There is no such node.
    Unknown,
}

/// Everything planning knows. One for a blueprint and the blueprints inside it.
pub struct PlanContext<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) blueprints: &'a dyn Blueprints,
    pub(super) problems: Vec<Problem>,
    /// Graphs from the top level to the one being planned.
    pub(super) levels: Vec<Level>,
    pub(super) inputs: Inputs,
    pub(super) retry: RetryPolicy,
    pub(super) components: BTreeMap<String, Digest>,
    pub(super) referred: BTreeMap<String, Referred>,
    /// Blueprints being planned, from the outermost to this one.
    pub(super) chain: Vec<String>,
    pub(super) children: HashMap<String, Option<Arc<Plan>>>,
    schemas: HashMap<(String, bool), Option<Arc<Schema>>>,
}

/// What is known about the execution's inputs.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    /// JSON Schema; none when nothing is declared.
    pub(super) schema: Option<Value>,
    /// Whether inputs that are not declared may be given.
    pub(super) open: bool,
}

/// One graph under construction.
#[derive(Debug, Default)]
pub(super) struct Level {
    pub(super) ids: Vec<String>,
    pub(super) links: Links,
    /// The loop variable its nodes see.
    pub(super) item: Option<String>,
    /// The node being planned; none while the outputs are.
    pub(super) current: Option<usize>,
    /// Names the templates of that node used so far.
    pub(super) sees: BTreeMap<String, Source>,
    /// Parameters of that node's input mappings.
    pub(super) mapped: Vec<String>,
    /// References to nodes that are not dependencies: whether they are ancestors is asked for all at once.
    pub(super) far: Vec<Far>,
    /// JSON Schemas of outputs, of the nodes planned so far.
    pub(super) outputs: Vec<Option<Value>>,
}

/// A reference from a node to a node that is none of its direct dependencies.
#[derive(Debug)]
pub(super) struct Far {
    pub(super) node: usize,
    pub(super) target: usize,
    pub(super) pointer: String,
}

/// What the value of a template is for.
#[derive(Clone, Copy)]
pub struct Wanted<'s> {
    /// JSON Schema the value must fit.
    pub schema: &'s Value,
    /// In words: "argument `notes` of tool `writer_tool`".
    pub what: &'s str,
}

impl<'a> PlanContext<'a> {
    pub(super) fn new(catalog: &'a Catalog, blueprints: &'a dyn Blueprints) -> Self {
        Self {
            catalog,
            blueprints,
            problems: Vec::new(),
            levels: Vec::new(),
            inputs: Inputs::default(),
            retry: RetryPolicy::once(),
            components: BTreeMap::new(),
            referred: BTreeMap::new(),
            chain: Vec::new(),
            children: HashMap::new(),
            schemas: HashMap::new(),
        }
    }

    /// Everything that can be called.
    pub fn catalog(&self) -> &'a Catalog {
        self.catalog
    }

    /// Adds a problem at a pointer.
    pub fn problem(&mut self, code: Code, pointer: &str, message: impl Into<String>, help: impl Into<String>) {
        let help = help.into();
        let problem = Problem::new(code, message).pointer(pointer);
        self.problems.push(if help.is_empty() { problem } else { problem.help(help) });
    }

    /// How many problems there are so far: a part that added none is good.
    pub fn problem_count(&self) -> usize {
        self.problems.len()
    }

    /// Adds a problem about a name that is not known, with the nearest ones that are.
    pub fn unknown<'n>(
        &mut self,
        code: Code,
        pointer: &str,
        message: String,
        name: &str,
        known: impl IntoIterator<Item = &'n str>,
    ) {
        let help = did_you_mean(name, known).unwrap_or_default();
        self.problem(code, pointer, message, help);
    }

    /// Reads the node's own keys.
    pub fn fields<'d>(&mut self, doc: &'d NodeDoc) -> Fields<'d, '_> {
        Fields::new(&doc.config, doc.pointer.clone(), &mut self.problems)
    }

    /// Reads a mapping at a pointer.
    pub fn fields_at<'d>(&mut self, map: &'d Map<String, Value>, pointer: &str) -> Fields<'d, '_> {
        Fields::new(map, pointer, &mut self.problems)
    }

    /// Notes that the execution will call this component.
    pub fn uses(&mut self, name: &str, artifact: Digest) {
        self.components.insert(name.to_owned(), artifact);
    }

    /// Compiles a schema, once for all nodes that write the same one.
    pub fn schema(&mut self, source: &Value, direction: Direction, pointer: &str) -> Option<Arc<Schema>> {
        let key = (source.to_string(), direction == Direction::Input);
        if let Some(known) = self.schemas.get(&key).filter(|known| known.is_some()) {
            return known.clone();
        }
        let compiled = match Schema::compile(source, direction) {
            Ok(schema) => Some(Arc::new(schema)),
            Err(error) => {
                let pointer = format!("{pointer}{}", error.pointer);
                let help = "use JSON Schema 2020-12 or type literals: `{\"x\": \"int\", \"y\": \"list[str]?\"}`";
                self.problem(Code::B021, &pointer, format!("the schema does not compile: {error}"), help);
                None
            }
        };
        self.schemas.insert(key, compiled.clone());
        compiled
    }

    /// Compiles a value whose strings may be templates, and resolves the names in them.
    pub fn template(&mut self, value: &Value, pointer: &str, wanted: Option<Wanted<'_>>) -> Option<Template> {
        match Template::compile(value) {
            Ok(template) => {
                self.resolve(&template, pointer);
                if let Some(wanted) = wanted {
                    self.check_wanted(&template, pointer, wanted);
                }
                Some(template)
            }
            Err(error) => {
                let pointer = format!("{pointer}{}", error.pointer);
                self.bad_template(&pointer, &error.message, "template");
                None
            }
        }
    }

    /// Compiles an expression, with or without `{{ }}` around it, and resolves the names in it.
    pub fn expression(&mut self, text: &str, pointer: &str) -> Option<Template> {
        match Template::compile_expression(text) {
            Ok(template) => {
                self.resolve(&template, pointer);
                Some(template)
            }
            Err(error) => {
                self.bad_template(pointer, &error.message, "expression");
                None
            }
        }
    }

    /// Like [`Self::expression`], for one that also sees the names in `own`.
    pub fn expression_over(&mut self, text: &str, pointer: &str, own: &[&str]) -> Option<Template> {
        match Template::compile_expression(text) {
            Ok(template) => {
                for reference in template.references().iter().filter(|found| !own.contains(&found.root.as_str())) {
                    self.reference(reference, pointer);
                }
                Some(template)
            }
            Err(error) => {
                self.bad_template(pointer, &error.message, "expression");
                None
            }
        }
    }

    /// Plans a node that a kind makes of its own settings, as a graph with that one node, which sees `item`. Problems are
    /// reported at `pointer`, where the settings are written; `renamed` says which keys have other names there.
    pub fn made(&mut self, node: Value, pointer: &str, renamed: &[(&str, &str)], item: &str) -> Option<Graph> {
        let before = self.problems.len();
        let inside = format!("{pointer}/~made");
        let id = format!("`{}`", node.get("id").and_then(Value::as_str).unwrap_or_default());
        let graph = self.nested_list(&[node], &inside, Some(item));
        let first = format!("{inside}/0");
        for problem in &mut self.problems[before..] {
            // The author has not written this id.
            problem.message = problem.message.replace(&id, "it");
            let Some(at) = problem.at.as_mut().and_then(|place| place.pointer.as_mut()) else { continue };
            let Some(rest) = at.strip_prefix(&first) else { continue };
            let written =
                renamed.iter().find_map(|(made, written)| Some((rest.strip_prefix('/')?.strip_prefix(made)?, written)));
            *at = match written {
                Some((rest, written)) => format!("{pointer}/{written}{rest}"),
                None => format!("{pointer}{rest}"),
            };
        }
        let mut graph = graph?;
        graph.nodes.iter_mut().for_each(|node| pointer.clone_into(&mut node.pointer));
        Some(graph)
    }

    /// Where a node of this graph stands, seen from the one being planned.
    pub fn stand_of(&self, id: &str) -> Stand {
        let Some((level, node)) = self.levels.last().and_then(|level| Some((level, level.current?))) else {
            return Stand::Unknown;
        };
        match level.links.by_id.get(id) {
            None => Stand::Unknown,
            Some(&index) if level.links.are_ancestors(&[(node, index)])[0] => {
                Stand::Before(Source::Node { up: 0, index })
            }
            Some(&index) if level.links.are_ancestors(&[(index, node)])[0] => Stand::Behind,
            Some(&index) => Stand::Beside(index),
        }
    }

    /// The ids of the graph being planned.
    pub fn neighbours(&self) -> Vec<String> {
        self.levels.last().map(|level| level.ids.clone()).unwrap_or_default()
    }

    fn bad_template(&mut self, pointer: &str, message: &str, what: &str) {
        let help = "templates are Jinja: `{{ node.field }}`, `{% if … %}`; a literal `{{` is written `{{ '{{' }}`";
        self.problem(Code::B018, pointer, format!("the {what} does not compile: {message}"), help);
    }

    /// Finds where every name of a template comes from, and notes it with the node being planned.
    fn resolve(&mut self, template: &Template, pointer: &str) {
        for reference in template.references() {
            self.reference(&reference, pointer);
        }
    }

    /// Resolves one reference; reports it when nothing of that name is in sight.
    pub(super) fn reference(&mut self, reference: &Reference, pointer: &str) -> Option<Source> {
        let source = self.source(&reference.root).filter(|source| !self.is_misspelt(source, reference));
        let Some(source) = source else {
            self.not_in_sight(&reference.root, pointer);
            return None;
        };
        if let Source::Node { up, index } = source {
            self.see_node(up, index, pointer);
        }
        self.known(&source, &reference.path, pointer);
        if let Some(level) = self.levels.last_mut() {
            level.sees.insert(reference.root.clone(), source.clone());
        }
        Some(source)
    }

    /// Where a name comes from. What is nearer hides what is farther away; a node hides an input.
    pub(super) fn source(&self, name: &str) -> Option<Source> {
        if let Some(position) = self.levels.last().and_then(|level| level.mapped.iter().position(|known| known == name))
        {
            return Some(Source::Mapping(position));
        }
        for (up, level) in self.levels.iter().rev().enumerate() {
            match &level.item {
                Some(item) if item == name => return Some(Source::Item { up }),
                Some(_) if name == LOOP_INDEX => return Some(Source::Position { up }),
                _ => {}
            }
            if let Some(&index) = level.links.by_id.get(name) {
                return Some(Source::Node { up, index });
            }
        }
        if name == INPUTS {
            return Some(Source::Inputs);
        }
        if name == EXECUTION && !self.declared_inputs().iter().any(|input| input == EXECUTION) {
            return Some(Source::Execution);
        }
        self.may_be_given(name).then(|| Source::Input(name.to_owned()))
    }

    /// When no inputs are declared every name could be one. Outputs are the exception: there an input is written
    /// `inputs.name`. So is a field of something that is called nearly like a node.
    fn is_misspelt(&self, source: &Source, reference: &Reference) -> bool {
        let undeclared = matches!(source, Source::Input(_)) && self.inputs.schema.is_none();
        let in_outputs = self.levels.last().is_some_and(|level| level.current.is_none());
        let mut ids = self.levels.iter().flat_map(|level| &level.ids).map(String::as_str);
        undeclared && (in_outputs || (!reference.path.is_empty() && nearest(&reference.root, &mut ids).is_some()))
    }

    /// Whether an execution may be given an input of this name.
    pub(super) fn may_be_given(&self, name: &str) -> bool {
        let Some(schema) = &self.inputs.schema else { return true };
        self.inputs.open || schema.get("properties").is_some_and(|fields| fields.get(name).is_some())
    }

    pub(super) fn see_node(&mut self, up: usize, target: usize, pointer: &str) {
        let depth = self.levels.len() - 1 - up;
        let level = &mut self.levels[depth];
        // Outputs are rendered when every node is settled.
        let Some(node) = level.current else { return };
        if !level.links.depends_on[node].contains(&target) {
            level.far.push(Far { node, target, pointer: pointer.to_owned() });
        }
    }

    fn not_in_sight(&mut self, name: &str, pointer: &str) {
        let dashed = self
            .levels
            .iter()
            .flat_map(|level| &level.ids)
            .find(|id| id.strip_prefix(name).is_some_and(|rest| rest.starts_with('-')));
        if let Some(id) = dashed.cloned() {
            let help = format!("in a template `-` is minus: name the node `{}`", id.replace('-', "_"));
            return self.problem(Code::B020, pointer, format!("nothing is called `{name}` here"), help);
        }
        let ids: Vec<String> = self.levels.iter().flat_map(|level| level.ids.iter().cloned()).collect();
        let items: Vec<String> = self.levels.iter().filter_map(|level| level.item.clone()).collect();
        let declared = self.declared_inputs();
        let known = ids.iter().chain(&items).chain(&declared).map(String::as_str).chain([INPUTS]);
        let message = format!("nothing is called `{name}` here: no node, no input, no loop variable");
        self.unknown(Code::B020, pointer, message, name, known);
    }

    pub(super) fn declared_inputs(&self) -> Vec<String> {
        let fields = self.inputs.schema.as_ref().and_then(|schema| schema.get("properties")?.as_object());
        fields.into_iter().flat_map(Map::keys).cloned().collect()
    }

    /// Follows a path into what a source is known to give; reports a part that cannot exist. `None` is "not known".
    pub(super) fn known(&mut self, source: &Source, path: &[String], pointer: &str) -> Option<Value> {
        let (mut schema, whose) = match source {
            Source::Execution => {
                let fields = json!({ "id": { "type": "string" } });
                let schema = json!({ "type": "object", "properties": fields, "additionalProperties": false });
                (schema, Some("the execution".to_owned()))
            }
            Source::Inputs => (self.inputs.schema.clone()?, None),
            Source::Input(name) => match property(self.inputs.schema.as_ref()?, name) {
                Property::Known(schema) => (schema, Some(format!("the input `{name}`"))),
                _ => return None,
            },
            Source::Node { up, index } => {
                let level = &self.levels[self.levels.len() - 1 - up];
                let whose = format!("the output of `{}`", level.ids[*index]);
                (level.outputs.get(*index)?.clone()?, Some(whose))
            }
            Source::Item { .. } | Source::Mapping(_) => return None,
            Source::Position { .. } => (json!({"type": "integer"}), None),
        };
        for name in path {
            schema = match property(&schema, name) {
                Property::Known(schema) => schema,
                Property::Unknown => return None,
                Property::Absent(names) => {
                    let message = match &whose {
                        Some(whose) => format!("{whose} has no `{name}`"),
                        None => format!("there is no input `{name}`"),
                    };
                    let code = if whose.is_some() { Code::B022 } else { Code::B020 };
                    self.unknown(code, pointer, message, name, names.iter().map(String::as_str));
                    return None;
                }
            };
        }
        Some(schema)
    }

    /// Like [`Self::known`], without a report.
    pub(super) fn peek(&mut self, source: &Source, path: &[String]) -> Option<Value> {
        let before = self.problems.len();
        let known = self.known(source, path, "");
        self.problems.truncate(before);
        known
    }

    /// Compares what a template gives, where that is known, with what is wanted.
    fn check_wanted(&mut self, template: &Template, pointer: &str, wanted: Wanted<'_>) {
        if template.is_literal() {
            return self.check_literal(template.source(), pointer, wanted);
        }
        let gives = match template.path() {
            Some(reference) => {
                let Some(source) = self.source(&reference.root) else { return };
                // Resolving the template has already reported a path that leads nowhere.
                self.peek(&source, &reference.path)
            }
            None if template.is_text() => Some(json!({"type": "string"})),
            None => None,
        };
        if let Some(gives) = gives {
            self.check_gives(&gives, pointer, wanted);
        }
    }

    /// Reports when no value of schema `gives` fits what is wanted.
    pub(super) fn check_gives(&mut self, gives: &Value, pointer: &str, wanted: Wanted<'_>) {
        if let Some(mismatch) = compatible(gives, wanted.schema) {
            let at = if mismatch.pointer.is_empty() { String::new() } else { format!(" at `{}`", mismatch.pointer) };
            let message = format!("{}: the value{at} {}", wanted.what, mismatch.message);
            self.problem(Code::B022, pointer, message, "convert the value in the template, or take it from elsewhere");
        }
    }

    fn check_literal(&mut self, value: &Value, pointer: &str, wanted: Wanted<'_>) {
        let before = self.problems.len();
        let schema = self.schema(wanted.schema, Direction::Input, pointer);
        // A tool's own schema is the tool's business; it was checked when the tool was installed.
        self.problems.truncate(before);
        let Some(schema) = schema else { return };
        for problem in schema.check(value) {
            let at = format!("{pointer}{}", problem.pointer);
            let message = format!("{}: {}", wanted.what, problem.message);
            self.problem(Code::B022, &at, message, "write a value of the type that is asked for");
        }
    }
}

/// The root name of the execution itself.
const EXECUTION: &str = "execution";

/// The root name of the execution's inputs.
pub(super) const INPUTS: &str = "inputs";

/// The position of the item in the innermost loop.
pub(super) const LOOP_INDEX: &str = "loop_index";
