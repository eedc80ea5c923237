//! A plan as a person reads it: one node after the other, with what it waits for and what it sees.

use std::fmt::{self, Formatter};

use ice_core::blueprint::RetryPolicy;
use ice_core::catalog::Effects;

use super::{Arguments, Binding, Graph, Origin, Plan, PlanNode, RunIf, Source};

pub(super) fn plan(plan: &Plan, f: &mut Formatter<'_>) -> fmt::Result {
    writeln!(f, "{}", plan.name)?;
    let mut facts = vec![format!("{:?}", plan.failure_policy), format!("{} at once", plan.max_parallel)];
    let budget = plan.budget;
    facts.extend(plan.budget.micro_usd.map(|amount| format!("{amount} µUSD")));
    facts.extend(budget.tokens.map(|tokens| format!("{tokens} tokens")));
    facts.extend(budget.ms.or(plan.timeout_ms).map(|ms| format!("{ms} ms")));
    writeln!(f, "  {}", facts.join(", "))?;
    if let Some(schema) = &plan.input_schema {
        writeln!(f, "  inputs {}", schema.document())?;
    }
    for (name, value) in &plan.defaults {
        writeln!(f, "  default {name} = {value}")?;
    }
    let mut outer = vec![&plan.graph];
    graph(&mut outer, f, 1)?;
    for output in &plan.outputs {
        write!(f, "  output {} = {}", output.name, output.template.source())?;
        sees(&output.sees, &[&plan.graph], f)?;
        writeln!(f)?;
    }
    for name in plan.components.keys() {
        writeln!(f, "  component {name}")?;
    }
    Ok(())
}

/// Prints the last of `graphs`; the others are those around it.
fn graph(graphs: &mut Vec<&Graph>, f: &mut Formatter<'_>, depth: usize) -> fmt::Result {
    let Some(this) = graphs.last().copied() else { return Ok(()) };
    for entry in &this.nodes {
        node(entry, graphs, f, depth)?;
        for (index, inner) in entry.node.graphs().into_iter().enumerate().filter(|(_, inner)| !inner.nodes.is_empty()) {
            writeln!(f, "{}graph {index}", "  ".repeat(depth + 1))?;
            graphs.push(inner);
            graph(graphs, f, depth + 2)?;
            graphs.pop();
        }
    }
    Ok(())
}

fn node(node: &PlanNode, graphs: &[&Graph], f: &mut Formatter<'_>, depth: usize) -> fmt::Result {
    let indent = "  ".repeat(depth);
    let called = node.node.arguments().map(|called| arguments(called, graphs)).unwrap_or_default();
    writeln!(f, "{indent}{} {}: {}{called}", node.kind, node.id, node.node.summary())?;
    let mut facts = Vec::new();
    let name = |index: &usize| graphs.last().map_or_else(String::new, |graph| graph.nodes[*index].id.to_string());
    if !node.depends_on.is_empty() {
        facts.push(format!("after {}", node.depends_on.iter().map(name).collect::<Vec<_>>().join(", ")));
    }
    match &node.run_if {
        RunIf::Default => {}
        RunIf::Always => facts.push("always".into()),
        RunIf::When(template) => facts.push(format!("when {}", template.source())),
    }
    facts.extend(node.fallback.as_ref().map(|index| format!("else {}", name(index))));
    facts.extend(node.standby.then(|| "stands by".into()));
    facts.extend(node.finally.then(|| "finally".into()));
    facts.extend((node.retry.max_attempts > 1).then(|| retry(&node.retry)));
    facts.extend(node.timeout_ms.map(|ms| format!("within {ms} ms")));
    facts.extend(node.cache.map(|cache| cache.ttl_ms.map_or("cached".into(), |ms| format!("cached for {ms} ms"))));
    facts.extend((node.effects == Effects::None).then(|| "no effects".into()));
    for mapping in &node.input_mappings {
        facts.push(format!("{} ← {}", mapping.param, origin(&mapping.origin, graphs)));
    }
    for (alias, path) in &node.output_mappings {
        facts.push(format!("{alias} → {}", path.join(".")));
    }
    if !facts.is_empty() {
        writeln!(f, "{indent}  {}", facts.join("; "))?;
    }
    for (word, schema) in [("takes", &node.input_schema), ("gives", &node.output_schema)] {
        if let Some(schema) = schema {
            writeln!(f, "{indent}  {word} {}", schema.document())?;
        }
    }
    for bound in &node.input_bindings {
        writeln!(f, "{indent}  {}", binding(bound, graphs))?;
    }
    if !node.sees.is_empty() {
        write!(f, "{indent} ")?;
        sees(&node.sees, graphs, f)?;
        writeln!(f)?;
    }
    Ok(())
}

fn retry(policy: &RetryPolicy) -> String {
    let on = if policy.retry_on.is_empty() { String::new() } else { format!(" on {}", policy.retry_on.join(", ")) };
    format!("{} attempts, {:?} {} ms{on}", policy.max_attempts, policy.strategy, policy.backoff_ms)
}

fn sees(names: &[(String, Source)], graphs: &[&Graph], f: &mut Formatter<'_>) -> fmt::Result {
    let each: Vec<String> = names.iter().map(|(name, from)| format!("{name} = {}", source(from, graphs))).collect();
    write!(f, " [{}]", each.join(", "))
}

fn origin(origin: &Origin, graphs: &[&Graph]) -> String {
    let path: String = origin.path.iter().fold(String::new(), |path, part| path + "." + part);
    format!("{}{path}", source(&origin.source, graphs))
}

fn source(from: &Source, graphs: &[&Graph]) -> String {
    let outwards = |up: usize| "^".repeat(up);
    match from {
        Source::Execution => "the execution".into(),
        Source::Inputs => "all inputs".into(),
        Source::Input(name) => format!("input {name}"),
        Source::Node { up, index } => {
            let graph = graphs.len().checked_sub(1 + up).and_then(|at| graphs.get(at));
            let id = graph.and_then(|graph| graph.nodes.get(*index)).map_or(String::new(), |node| node.id.to_string());
            format!("{}node {id}", outwards(*up))
        }
        Source::Item { up } => format!("{}item", outwards(*up)),
        Source::Position { up } => format!("{}position", outwards(*up)),
        Source::Mapping(index) => format!("mapping {index}"),
    }
}

/// `(written: value, bound ≈ where or where)`, empty when there are no arguments.
fn arguments(arguments: &Arguments, graphs: &[&Graph]) -> String {
    let given = arguments.given.iter().map(|(name, template)| format!("{name}: {}", template.source()));
    let bound = arguments.bindings.iter().map(|one| binding(one, graphs));
    format!("({})", given.chain(bound).collect::<Vec<_>>().join(", "))
}

fn binding(binding: &Binding, graphs: &[&Graph]) -> String {
    let places: Vec<String> = binding.origins.iter().map(|place| origin(place, graphs)).collect();
    format!("{} ≈ {}", binding.param, places.join(" or "))
}
