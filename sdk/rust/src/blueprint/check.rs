//! What can be wrong with a blueprint before any host has seen it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::catalog::references;
use super::{Catalog, NodeBuilder};

/// Fields that name nodes, besides `dependencies`, and what they say about them.
const NAMED: &[(&str, &str)] =
    &[("fallback", "falls back to"), ("watch", "watches"), (SOURCES, "begins with the output of")];

/// Nodes whose outputs a recursive node begins with; one of them may come after it.
const SOURCES: &str = "recursive_sources";

/// Returns every problem: of the order of the nodes first, then what each of them refers to.
pub(super) fn problems(nodes: &[NodeBuilder], catalog: &Catalog) -> Vec<String> {
    let mut found = Vec::new();
    if nodes.is_empty() {
        found.push("the blueprint has no nodes".to_owned());
    }
    list(nodes, &BTreeSet::new(), &mut BTreeSet::new(), &mut found);
    refer(nodes, catalog, &mut found);
    found
}

/// What nodes and the nodes inside them call, and whether they say which model they ask.
fn refer(nodes: &[NodeBuilder], catalog: &Catalog, found: &mut Vec<String>) {
    for node in nodes {
        let wrong = references(&node.fields).into_iter().filter_map(|(what, name)| catalog.refuse(what, name));
        found.extend(wrong.map(|wrong| format!("node `{}` {wrong}", node.id)));
        if !says_model(node) {
            found.push(format!("node `{}` does not say which model it asks", node.id));
        }
        node.nested.iter().flat_map(|(_, lists)| lists).for_each(|nested| refer(nested, catalog, found));
    }
}

/// A blueprint names its models: a host has no default for them.
fn says_model(node: &NodeBuilder) -> bool {
    let has_model = |fields: &Map<String, Value>| {
        let config = fields.get("llm_config").and_then(|config| config.get("model"));
        config.or_else(|| fields.get("model")).and_then(Value::as_str).is_some_and(|model| !model.trim().is_empty())
    };
    let is_data = |fields: &Map<String, Value>| fields.contains_key("system_prompt");
    match node.kind {
        "llm" => has_model(&node.fields),
        "swarm" => {
            let agents = node.fields.get("agents").and_then(Value::as_array).into_iter().flatten();
            let mut agents = agents.filter_map(Value::as_object);
            has_model(&node.fields) || agents.all(|agent| !is_data(agent) || has_model(agent))
        }
        _ => !is_data(&node.fields) || has_model(&node.fields),
    }
}

/// The texts of a field: one, or a list.
fn texts<'a>(fields: &'a Map<String, Value>, key: &str) -> Vec<&'a str> {
    match fields.get(key) {
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
        one => one.and_then(Value::as_str).into_iter().collect(),
    }
}

/// Checks one list of nodes. A node may depend on nodes of its own list and of the lists around it.
fn list<'a>(
    nodes: &'a [NodeBuilder],
    around: &BTreeSet<&'a str>,
    used: &mut BTreeSet<&'a str>,
    found: &mut Vec<String>,
) {
    let mut visible = around.clone();
    for node in nodes {
        visible.insert(&node.id);
        if node.id.is_empty() {
            found.push("a node has an empty id".to_owned());
        } else if !used.insert(&node.id) {
            found.push(format!("two nodes are called `{}`", node.id));
        }
    }
    for node in nodes {
        for dependency in &node.dependencies {
            if *dependency == node.id {
                found.push(format!("node `{}` depends on itself", node.id));
            } else if !visible.contains(dependency.as_str()) {
                found.push(format!("node `{}` depends on `{dependency}`, which does not exist here", node.id));
            }
        }
    }
    for node in nodes {
        for (field, says) in NAMED {
            let unknown = texts(&node.fields, field).into_iter().filter(|id| !visible.contains(id));
            found.extend(unknown.map(|id| format!("node `{}` {says} `{id}`, which does not exist here", node.id)));
        }
    }
    circle(nodes, found);
    for node in nodes {
        for nested in node.nested.iter().flat_map(|(_, lists)| lists) {
            list(nested, &visible, used, found);
        }
    }
}

/// Takes away nodes whose dependencies are gone until none is left; what stays waits for itself.
fn circle(nodes: &[NodeBuilder], found: &mut Vec<String>) {
    let mut waiting: BTreeMap<&str, Vec<&str>> = nodes
        .iter()
        .map(|node| {
            let sources = texts(&node.fields, SOURCES);
            let others = node.dependencies.iter().map(String::as_str);
            (node.id.as_str(), others.filter(|id| *id != node.id && !sources.contains(id)).collect())
        })
        .collect();
    loop {
        let before = waiting.len();
        let names: BTreeSet<&str> = waiting.keys().copied().collect();
        waiting.retain(|_, dependencies| dependencies.iter().any(|dependency| names.contains(dependency)));
        if waiting.is_empty() {
            return;
        }
        if waiting.len() == before {
            let names: Vec<&str> = names.into_iter().collect();
            found.push(format!("these nodes wait for each other: {}", names.join(", ")));
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BlueprintBuilder, NodeBuilder, OnItemError, Wait};
    use serde_json::json;

    fn tool(id: &str) -> NodeBuilder {
        NodeBuilder::tool(id, "t")
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let blueprint = BlueprintBuilder::new("b")
            .node(tool("a").after("ghost"))
            .node(tool("a"))
            .node(tool("me").after("me"))
            .node(tool("x").after("y"))
            .node(tool("y").after("x"))
            .node(tool(""));
        assert_eq!(
            blueprint.validate_resolvable(),
            [
                "two nodes are called `a`",
                "a node has an empty id",
                "node `a` depends on `ghost`, which does not exist here",
                "node `me` depends on itself",
                "these nodes wait for each other: x, y",
            ]
        );
        assert_eq!(BlueprintBuilder::new("b").validate_resolvable(), ["the blueprint has no nodes"]);
    }

    #[test]
    fn a_body_sees_the_nodes_around_it_and_not_the_other_way_round() {
        let body = NodeBuilder::repeat("l", "inputs.x", "x", [tool("in").after("out")]).after("out");
        let blueprint = BlueprintBuilder::new("b").node(tool("out")).node(body.clone());
        assert!(blueprint.validate_resolvable().is_empty());
        let blueprint = blueprint.node(tool("late").after("in"));
        assert_eq!(blueprint.validate_resolvable(), ["node `late` depends on `in`, which does not exist here"]);
    }

    #[test]
    fn every_kind_builds_the_document_a_person_would_write() {
        let blueprint = BlueprintBuilder::new("shop.all")
            .description("Everything.")
            .input("q", json!({ "type": "string" }), None)
            .input("n", json!({ "type": "integer" }), Some(json!(3)))
            .max_parallel(2)
            .node(tool("t").arg("x", "{{ inputs.q }}").retries(2))
            .node(NodeBuilder::llm("l", "openai/gpt-4o", "Hi").after("t"))
            .node(NodeBuilder::agent("a", "chat_agent").arg("query", "q").timeout_seconds(9))
            .node(NodeBuilder::condition("c", "inputs.n > 1", [tool("yes")], []))
            .node(
                NodeBuilder::repeat("r", "inputs.q", "i", [tool("one")])
                    .parallel(4)
                    .on_item_error(OnItemError::Collect),
            )
            .node(NodeBuilder::branches("p", [vec![tool("b1")], vec![tool("b2")]]).wait(Wait::AtLeast(1)))
            .node(NodeBuilder::workflow("w", "other").expose("v", "s.x").run_if("{{ true }}"))
            .output("o", "{{ t.x }}");
        assert!(blueprint.validate_resolvable().is_empty());
        assert_eq!(
            blueprint.build(),
            json!({
                "id": "shop.all",
                "schema_version": "1.2.0",
                "metadata": { "name": "all", "description": "Everything." },
                "inputs": {
                    "type": "object",
                    "required": ["q"],
                    "properties": { "q": { "type": "string" }, "n": { "type": "integer", "default": 3 } },
                },
                "max_parallel": 2,
                "nodes": [
                    { "id": "t", "type": "tool", "tool_name": "t", "tool_args": { "x": "{{ inputs.q }}" }, "retries": 2 },
                    { "id": "l", "type": "llm", "dependencies": ["t"], "llm_config": { "model": "openai/gpt-4o" }, "prompt": "Hi" },
                    { "id": "a", "type": "agent", "package": "chat_agent", "input": { "query": "q" }, "timeout_seconds": 9 },
                    { "id": "c", "type": "condition", "expression": "inputs.n > 1", "true_path": [{ "id": "yes", "type": "tool", "tool_name": "t" }], "false_path": [] },
                    { "id": "r", "type": "loop", "items_source": "inputs.q", "item_var": "i", "parallel": true, "max_concurrency": 4, "on_item_error": "collect", "body": [{ "id": "one", "type": "tool", "tool_name": "t" }] },
                    { "id": "p", "type": "parallel", "wait": 1, "branches": [[{ "id": "b1", "type": "tool", "tool_name": "t" }], [{ "id": "b2", "type": "tool", "tool_name": "t" }]] },
                    { "id": "w", "type": "workflow", "workflow_ref": "other", "exposed_outputs": { "v": "s.x" }, "run_if": "{{ true }}" },
                ],
                "outputs": { "o": "{{ t.x }}" },
            })
        );
    }
}
