//! The top level of a plan: inputs, outputs, and the problems of everything below in the order of the document.

use std::sync::Arc;

use ice_core::blueprint::{Parsed, RetryPolicy};
use ice_core::catalog::Catalog;
use ice_core::problem::{Code, Problem};
use ice_core::schema::{Direction, Schema};
use serde_json::Value;

use super::context::{Inputs, Level};
use super::graph::dotted;
use super::links::Links;
use super::{Blueprints, Graph, NESTING_MAX, Output, Plan, PlanContext, Referred};

pub(super) fn plan(parsed: &Parsed, catalog: &Catalog, blueprints: &dyn Blueprints) -> Result<Plan, Vec<Problem>> {
    let mut cx = PlanContext::new(catalog, blueprints);
    cx.chain.push(parsed.blueprint.id.clone().unwrap_or_default());
    planned(&mut cx, parsed)
}

fn planned(cx: &mut PlanContext<'_>, parsed: &Parsed) -> Result<Plan, Vec<Problem>> {
    let blueprint = &parsed.blueprint;
    cx.retry = blueprint.retry_policy.clone().unwrap_or_else(RetryPolicy::once);
    let input_schema = inputs(cx, parsed);
    let graph = cx.graph(&blueprint.nodes, None);
    let outputs = outputs(cx, parsed, graph.as_ref());
    let mut problems = parsed.problems.clone();
    let found = std::mem::take(&mut cx.problems);
    problems.extend(found.into_iter().map(|problem| parsed.locate(problem)));
    let Some(graph) = graph.filter(|_| problems.is_empty()) else {
        // By line where there are lines; else as they were found, which is close to it.
        problems.sort_by_key(|problem| problem.at.as_ref().map(|at| (at.line, at.column)));
        problems.dedup();
        return Err(problems);
    };
    Ok(Plan {
        name: blueprint.name().unwrap_or("blueprint").to_owned(),
        document: blueprint.document.clone(),
        digest: blueprint.digest(),
        graph,
        input_schema,
        defaults: blueprint.inputs.defaults.clone(),
        outputs,
        failure_policy: blueprint.failure_policy,
        budget: blueprint.budget,
        max_parallel: blueprint.max_parallel as usize,
        timeout_ms: blueprint.timeout_ms,
        components: cx.components.clone(),
        blueprints: cx.referred.clone(),
    })
}

fn inputs(cx: &mut PlanContext<'_>, parsed: &Parsed) -> Option<Schema> {
    let source = parsed.blueprint.inputs.schema.as_ref()?;
    match Schema::compile(source, Direction::Input) {
        Ok(schema) => {
            cx.inputs = Inputs { open: is_open(&schema), schema: Some(schema.document().clone()) };
            Some(schema)
        }
        Err(error) => {
            let help = "write `{required: [name]}`, type literals or JSON Schema 2020-12";
            let message = format!("the schema of the inputs does not compile: {error}");
            cx.problem(Code::B021, &format!("/inputs{}", error.pointer), message, help);
            None
        }
    }
}

/// A schema that names its properties and says nothing of others declares all inputs there are.
fn is_open(schema: &Schema) -> bool {
    let says_so = schema.document().get("additionalProperties").is_some_and(|extra| extra != &Value::Bool(false));
    schema.is_open() && (says_so || schema.properties().next().is_none())
}

/// Compiles the outputs. They see every node of the top level: they are rendered when all are settled. An output
/// that is a plain path to a node, as `answer: writer.summary`, is that path.
fn outputs(cx: &mut PlanContext<'_>, parsed: &Parsed, graph: Option<&Graph>) -> Vec<Output> {
    let nodes = &parsed.blueprint.nodes;
    let ids: Vec<String> = nodes.iter().map(|doc| doc.id.clone()).collect();
    let by_id = ids.iter().enumerate().rev().map(|(index, id)| (id.clone(), index)).collect();
    let schemas = |index: usize| super::graph::output_schema(&graph?.nodes[index]);
    let outputs = (0..nodes.len()).map(schemas).collect();
    let links = Links::new(by_id, vec![Vec::new(); nodes.len()]);
    cx.levels.push(Level { ids, links, outputs, ..Level::default() });
    let mut rendered = Vec::with_capacity(parsed.blueprint.outputs.len());
    for (name, source) in &parsed.blueprint.outputs {
        let pointer = format!("/outputs/{}", name.replace('~', "~0").replace('/', "~1"));
        let level = cx.levels.last_mut().expect("pushed above");
        level.sees.clear();
        let template = match source.as_str().filter(|text| is_path(text, level)) {
            Some(path) => cx.expression(path, &pointer),
            None => cx.template(source, &pointer, None),
        };
        let level = cx.levels.last_mut().expect("pushed above");
        let sees = std::mem::take(&mut level.sees).into_iter().collect();
        rendered.extend(template.map(|template| Output { name: name.clone(), template, sees }));
    }
    cx.levels.pop();
    rendered
}

fn is_path(text: &str, level: &Level) -> bool {
    let parts = dotted(text);
    let is_name = |part: &String| part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    parts.iter().all(is_name) && parts.first().is_some_and(|root| level.links.by_id.contains_key(root))
}

impl PlanContext<'_> {
    /// Finds the blueprint a `workflow` node refers to. `None` when there is none, or when it contains itself; why is
    /// reported at `pointer`.
    pub fn referred(&mut self, reference: &str, pointer: &str) -> Option<Arc<Parsed>> {
        let Some(parsed) = self.blueprints.find(reference) else {
            let names = self.blueprints.names();
            let message = format!("there is no blueprint `{reference}`");
            // When there is nothing of that name, it is the name that is misspelt, whatever the range.
            let name = reference.split('@').next().unwrap_or_default();
            let of_name = |known: &String| known.split('@').next() == Some(name);
            let asked = if names.iter().any(of_name) { reference } else { name };
            self.unknown(Code::B016, pointer, message, asked, names.iter().map(String::as_str));
            return None;
        };
        let id = identity(&parsed, reference);
        if let Some(start) = self.chain.iter().position(|known| *known == id || known == reference) {
            let path: Vec<&str> = self.chain[start..].iter().map(String::as_str).chain([id.as_str()]).collect();
            let message = format!("blueprints contain each other in a circle: {}", path.join(" → "));
            self.problem(Code::B013, pointer, message, "remove one of these `workflow` nodes");
            return None;
        }
        if self.chain.len() >= NESTING_MAX {
            let message = format!("blueprints are nested deeper than {NESTING_MAX} levels");
            self.problem(Code::B026, pointer, message, "merge some of them");
            return None;
        }
        self.referred
            .entry(reference.to_owned())
            .or_insert_with(|| Referred { digest: parsed.blueprint.digest(), parsed: Arc::clone(&parsed) });
        Some(parsed)
    }

    /// Plans a blueprint that was referred to, once for all nodes that use the same document.
    pub fn child(&mut self, reference: &str, parsed: &Parsed, document: Value, pointer: &str) -> Option<Arc<Plan>> {
        let key = format!("{reference} {document}");
        if let Some(known) = self.children.get(&key) {
            let known = known.clone();
            if let Some(plan) = &known {
                self.takes(plan);
            }
            return known;
        }
        // As it was written it has positions; with other values they would point at the wrong lines.
        let plan = if document == parsed.blueprint.document {
            self.plan_child(parsed, identity(parsed, reference))
        } else {
            Parsed::from_value(document).and_then(|changed| self.plan_child(&changed, identity(parsed, reference)))
        };
        let plan = match plan {
            Ok(plan) => Some(Arc::new(plan)),
            Err(problems) => {
                let first = problems.first().map(|problem| problem.message.clone()).unwrap_or_default();
                let message = format!("the blueprint `{reference}` has {} problem(s): {first}", problems.len());
                self.problem(Code::B016, pointer, message, "check that blueprint by itself to see them all");
                None
            }
        };
        self.children.insert(key, plan.clone());
        plan
    }

    fn plan_child(&mut self, parsed: &Parsed, id: String) -> Result<Plan, Vec<Problem>> {
        let mut inner = PlanContext::new(self.catalog, self.blueprints);
        inner.chain.clone_from(&self.chain);
        inner.chain.push(id);
        inner.children = std::mem::take(&mut self.children);
        let plan = planned(&mut inner, parsed);
        self.children = inner.children;
        if let Ok(plan) = &plan {
            self.takes(plan);
        }
        plan
    }

    /// What a child needs, this blueprint needs.
    fn takes(&mut self, child: &Plan) {
        self.components.extend(child.components.iter().map(|(name, digest)| (name.clone(), *digest)));
        self.referred.extend(child.blueprints.iter().map(|(name, referred)| (name.clone(), referred.clone())));
    }
}

/// What a blueprint is called where blueprints contain each other.
fn identity(parsed: &Parsed, reference: &str) -> String {
    parsed.blueprint.id.clone().unwrap_or_else(|| reference.to_owned())
}
