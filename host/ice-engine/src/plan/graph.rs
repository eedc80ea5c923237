//! One level of nodes: ids, edges, the fields every node has, and the kind's own part.

use std::collections::HashMap;
use std::sync::Arc;

use ice_core::blueprint::{NodeDoc, RetryPolicy, did_you_mean, node_docs};
use ice_core::id::NodeId;
use ice_core::problem::Code;
use ice_core::schema::{Direction, Schema};
use serde_json::{Value, json};

use super::context::{INPUTS, LOOP_INDEX, Level};
use super::links::Links;
use super::{CacheSpec, Graph, InputMapping, NESTING_MAX, Origin, PlanContext, PlanNode, RunIf, Source};
use crate::nodes::{NODES, Node, NodeKind};

/// Names that mean something else in templates.
const RESERVED: &[&str] = &[
    INPUTS, LOOP_INDEX, "loop", "self", "true", "false", "none", "True", "False", "None", "and", "or", "not", "in",
    "is", "if", "else",
];

impl PlanContext<'_> {
    /// Plans the nodes under `key` of a node. `item` is the loop variable they see. `None` when there is nothing that
    /// can run; why is among the problems.
    pub fn nested(&mut self, doc: &NodeDoc, key: &str, item: Option<&str>) -> Option<Graph> {
        let items = self.fields(doc).list(key)?;
        self.nested_list(items, &format!("{}/{key}", doc.pointer), item)
    }

    /// Plans a list of nodes at a pointer inside the node being planned.
    pub fn nested_list(&mut self, items: &[Value], pointer: &str, item: Option<&str>) -> Option<Graph> {
        if self.levels.len() >= NESTING_MAX {
            let message = format!("nodes are nested deeper than {NESTING_MAX} levels");
            self.problem(
                Code::B026,
                pointer,
                message,
                "move inner nodes to a blueprint of their own: `type: workflow`",
            );
            return None;
        }
        let docs = node_docs(items, pointer, &mut self.problems);
        let graph = self.graph(&docs, item);
        if docs.len() == items.len() { graph } else { None }
    }

    pub(super) fn graph(&mut self, docs: &[NodeDoc], item: Option<&str>) -> Option<Graph> {
        let by_id = self.ids(docs, item);
        let mut depends_on = self.edges(docs, &by_id);
        without_ways_back(docs, &by_id, &mut depends_on);
        let links = Links::new(by_id, depends_on);
        for circle in links.circles() {
            self.circle(docs, &circle);
        }
        // Producers first, so that what they give is known when somebody takes it; then what waits on a circle.
        let mut order = links.order.clone();
        let mut ordered = vec![false; docs.len()];
        order.iter().for_each(|&node| ordered[node] = true);
        order.extend((0..docs.len()).filter(|&node| !ordered[node]));
        self.levels.push(Level {
            ids: docs.iter().map(|doc| doc.id.clone()).collect(),
            links,
            item: item.map(str::to_owned),
            outputs: vec![None; docs.len()],
            ..Level::default()
        });
        let mut nodes: Vec<Option<PlanNode>> = docs.iter().map(|_| None).collect();
        for index in order {
            let node = self.node(&docs[index], index);
            let level = self.levels.last_mut().expect("pushed above");
            level.outputs[index] = node.as_ref().and_then(output_schema);
            nodes[index] = node;
        }
        let mut level = self.levels.pop().expect("pushed above");
        self.far(&level);
        let fallbacks = self.stand_ins(docs, &level);
        self.finals(docs, &level);
        let mut graph = Graph { nodes: nodes.into_iter().collect::<Option<Vec<_>>>()? };
        for (index, fallback) in fallbacks.into_iter().enumerate() {
            graph.nodes[index].dependents = std::mem::take(&mut level.links.dependents[index]);
            graph.nodes[index].fallback = fallback;
            if let Some(stand_in) = fallback {
                graph.nodes[stand_in].standby = true;
            }
        }
        Some(graph)
    }

    /// Checks ids and returns the first index of each.
    fn ids(&mut self, docs: &[NodeDoc], item: Option<&str>) -> HashMap<String, usize> {
        let mut by_id: HashMap<String, usize> = HashMap::with_capacity(docs.len());
        for (index, doc) in docs.iter().enumerate().filter(|(_, doc)| !doc.id.is_empty()) {
            let pointer = format!("{}/id", doc.pointer);
            if let Err(problem) = NodeId::parse(&doc.id) {
                self.problems.push(problem.pointer(pointer.clone()));
            } else if RESERVED.contains(&doc.id.as_str()) {
                let message = format!("`{}` means something else in templates and cannot be a node id", doc.id);
                self.problem(Code::B003, &pointer, message, format!("rename it, for example `{}_node`", doc.id));
            }
            let hidden = self.levels.iter().any(|level| level.links.by_id.contains_key(&doc.id));
            if let Some(first) = by_id.get(&doc.id) {
                let message = format!("the id `{}` is already that of {}", doc.id, docs[*first].pointer);
                self.problem(Code::B007, &pointer, message, "give each node its own id");
            } else if hidden {
                let message = format!("the id `{}` is already that of a node around this one", doc.id);
                self.problem(Code::B007, &pointer, message, "give the inner node its own id");
            } else if item == Some(doc.id.as_str()) {
                let message = format!("the id `{}` is already the loop's `item_var`", doc.id);
                self.problem(Code::B007, &pointer, message, "rename one of them");
            }
            by_id.entry(doc.id.clone()).or_insert(index);
        }
        by_id
    }

    fn edges(&mut self, docs: &[NodeDoc], by_id: &HashMap<String, usize>) -> Vec<Vec<usize>> {
        let mut edges = Vec::with_capacity(docs.len());
        // One mark for each node, with the last node that asked for it: duplicates are found without a set per node.
        let mut asked = vec![usize::MAX; docs.len()];
        for (index, doc) in docs.iter().enumerate() {
            let mut needed = Vec::with_capacity(doc.dependencies.len());
            for (position, id) in doc.dependencies.iter().enumerate() {
                match by_id.get(id) {
                    Some(&target) if docs[target].id == doc.id => {
                        let pointer = format!("{}/dependencies/{position}", doc.pointer);
                        self.problem(
                            Code::B013,
                            &pointer,
                            format!("`{id}` depends on itself: {id} → {id}"),
                            "remove it",
                        );
                    }
                    Some(&target) if asked[target] == index => {}
                    Some(&target) => {
                        asked[target] = index;
                        needed.push(target);
                    }
                    None => self.outer_dependency(docs, doc, position, id),
                }
            }
            edges.push(needed);
        }
        edges
    }

    /// A nested node may name a node outside that is done anyway; every other unknown id is a problem.
    fn outer_dependency(&mut self, docs: &[NodeDoc], doc: &NodeDoc, position: usize, id: &str) {
        let pointer = format!("{}/dependencies/{position}", doc.pointer);
        let outer = self.levels.iter_mut().rev().find(|level| level.links.by_id.contains_key(id));
        if let Some(level) = outer {
            let target = level.links.by_id[id];
            if let Some(node) = level.current {
                level.far.push(super::context::Far { node, target, pointer });
            }
            return;
        }
        let message = format!("`{}` depends on `{id}`, which does not exist", doc.id);
        let help = did_you_mean(id, docs.iter().map(|known| known.id.as_str()).filter(|known| *known != doc.id));
        self.problem(Code::B012, &pointer, message, help.unwrap_or_default());
    }

    fn circle(&mut self, docs: &[NodeDoc], circle: &[usize]) {
        let Some(&first) = circle.iter().min() else { return };
        let start = circle.iter().position(|&node| node == first).unwrap_or(0);
        let turned = circle[start..].iter().chain(&circle[..=start]);
        let path: Vec<&str> = turned.map(|&node| docs[node].id.as_str()).collect();
        let pointer = format!("{}/dependencies", docs[first].pointer);
        let message = format!("nodes depend on each other in a circle: {}", path.join(" → "));
        self.problem(Code::B013, &pointer, message, "remove one of these dependencies");
    }

    /// Answers, for all references of a level at once, whether they lead to ancestors.
    fn far(&mut self, level: &Level) {
        let pairs: Vec<(usize, usize)> = level.far.iter().map(|far| (far.node, far.target)).collect();
        let answers = level.links.are_ancestors(&pairs);
        let refused: Vec<_> = level.far.iter().zip(answers).filter(|(_, yes)| !yes).map(|(far, _)| far).collect();
        let turned: Vec<(usize, usize)> = refused.iter().map(|far| (far.target, far.node)).collect();
        let later = level.links.are_ancestors(&turned);
        for (far, later) in refused.into_iter().zip(later) {
            let (node, target) = (&level.ids[far.node], &level.ids[far.target]);
            let (message, help) = if far.node == far.target {
                (format!("`{node}` cannot see its own output"), "take the value from another node".to_owned())
            } else if later {
                (
                    format!("`{node}` cannot see `{target}`, which runs after it"),
                    "turn the dependency around".to_owned(),
                )
            } else {
                let message = format!("`{node}` cannot see `{target}`: it does not depend on it");
                (message, format!("add `{target}` to `dependencies` of `{node}`"))
            };
            self.problem(Code::B019, &far.pointer, message, help);
        }
    }

    fn node(&mut self, doc: &NodeDoc, index: usize) -> Option<PlanNode> {
        let level = self.levels.last_mut().expect("a graph is being planned");
        level.current = Some(index);
        level.sees.clear();
        level.mapped.clear();
        let id = NodeId::parse(&doc.id).ok();
        let kind = self.kind(doc)?;
        self.fields(doc).refuse_unknown(
            &[kind.keys(), ice_core::blueprint::COMMON_KEYS],
            &format!("{} {} node", article(kind.name()), kind.name()),
        );
        let input_mappings = self.input_mappings(doc);
        let run_if = self.run_if(doc);
        let input_schema = self.node_schema(doc, "input_schema", doc.input_schema.as_ref(), Direction::Input);
        let output_schema = self.node_schema(doc, "output_schema", doc.output_schema.as_ref(), Direction::Output);
        let node = kind.plan(doc, self);
        let (node, run_if, id) = (node?, run_if?, id?);
        let free = input_schema.as_ref().filter(|_| node.arguments().is_none());
        let mapped: Vec<&str> = doc.input_mappings.iter().map(|mapping| mapping.param.as_str()).collect();
        let input_bindings = free.map(|schema| self.bindings(schema.document(), &mapped)).unwrap_or_default();
        let retry = self.retry_of(doc, &*node);
        let level = self.levels.last_mut().expect("a graph is being planned");
        let cached = doc.use_cache && node.is_repeatable();
        Some(PlanNode {
            kind: kind.name(),
            depends_on: level.links.depends_on[index].clone(),
            dependents: Vec::new(),
            run_if,
            fallback: None,
            standby: false,
            finally: doc.finally,
            retry,
            timeout_ms: doc.timeout_ms.filter(|_| !node.keeps_time()),
            cache: cached.then_some(CacheSpec { ttl_ms: doc.cache_ttl_ms }),
            input_schema,
            // An llm node asks the model again when its answer does not fit, so it checks the answer itself.
            output_schema: output_schema.filter(|_| kind.name() != "llm"),
            input_mappings: input_mappings?,
            input_bindings,
            output_mappings: doc.output_mappings.iter().map(|(name, path)| (name.clone(), dotted(path))).collect(),
            effects: node.effects(),
            sees: std::mem::take(&mut level.sees).into_iter().collect(),
            pointer: doc.pointer.clone(),
            id,
            node,
        })
    }

    /// What the node says, else what the blueprint says, else what the kind does by itself.
    fn retry_of(&self, doc: &NodeDoc, node: &dyn Node) -> RetryPolicy {
        let own = || Some(self.retry.clone()).filter(|policy| *policy != RetryPolicy::once());
        doc.retry.clone().or_else(own).or_else(|| node.own_retry()).unwrap_or_else(RetryPolicy::once)
    }

    fn kind(&mut self, doc: &NodeDoc) -> Option<&'static dyn NodeKind> {
        let found = NODES.iter().find(|kind| kind.name() == doc.kind);
        if found.is_none() && !doc.kind.is_empty() {
            let pointer = format!("{}/type", doc.pointer);
            let names = || NODES.iter().map(|kind| kind.name());
            let message = format!("there is no node type `{}`", doc.kind);
            self.unknown(Code::B010, &pointer, message, &doc.kind, names());
        }
        found.copied()
    }

    fn node_schema(&mut self, doc: &NodeDoc, key: &str, source: Option<&Value>, way: Direction) -> Option<Arc<Schema>> {
        self.schema(source?, way, &format!("{}/{key}", doc.pointer))
    }

    /// `None` when the template does not compile.
    fn run_if(&mut self, doc: &NodeDoc) -> Option<RunIf> {
        let pointer = format!("{}/run_if", doc.pointer);
        match &doc.run_if {
            None | Some(Value::Bool(true)) => Some(RunIf::Default),
            Some(Value::String(word)) if word.trim().eq_ignore_ascii_case("always") => Some(RunIf::Always),
            Some(Value::String(text)) if !text.contains("{{") && !text.contains("{%") => {
                self.expression(text, &pointer).map(RunIf::When)
            }
            Some(value) => self.template(value, &pointer, None).map(RunIf::When),
        }
    }

    /// `None` when a mapping leads nowhere.
    fn input_mappings(&mut self, doc: &NodeDoc) -> Option<Vec<InputMapping>> {
        let mut mappings = Vec::with_capacity(doc.input_mappings.len());
        let mut good = true;
        for mapping in &doc.input_mappings {
            let pointer = format!("{}/source_node_id", mapping.pointer);
            let path = if mapping.key == "." { Vec::new() } else { dotted(&mapping.key) };
            let source = self.mapped_source(&mapping.source, &pointer);
            match source {
                Some(source) => {
                    self.known(&source, &path, &format!("{}/source_output_key", mapping.pointer));
                    mappings.push(InputMapping { param: mapping.param.clone(), origin: Origin { source, path } });
                }
                None => good = false,
            }
        }
        let level = self.levels.last_mut().expect("a graph is being planned");
        level.mapped = mappings.iter().map(|mapping| mapping.param.clone()).collect();
        good.then_some(mappings)
    }

    fn mapped_source(&mut self, id: &str, pointer: &str) -> Option<Source> {
        let source = self.source(id).filter(|source| matches!(source, Source::Node { .. }));
        let Some(Source::Node { up, index }) = source else {
            if id == INPUTS {
                return Some(Source::Inputs);
            }
            let ids: Vec<String> = self.levels.iter().flat_map(|level| level.ids.iter().cloned()).collect();
            let message = format!("the mapping names the node `{id}`, which does not exist");
            self.unknown(Code::B012, pointer, message, id, ids.iter().map(String::as_str));
            return None;
        };
        self.see_node(up, index, pointer);
        source
    }
}

/// A recursive node may depend on a node behind it, if it names it as a source: that way back orders nothing.
fn without_ways_back(docs: &[NodeDoc], by_id: &HashMap<String, usize>, depends_on: &mut [Vec<usize>]) {
    for (node, doc) in docs.iter().enumerate().filter(|(_, doc)| doc.kind == "recursive") {
        let sources = doc.config.get("recursive_sources").and_then(Value::as_array).into_iter().flatten();
        let sources: Vec<usize> =
            sources.filter_map(|id| by_id.get(id.as_str()?).copied()).filter(|&source| source != node).collect();
        let kept = depends_on[node]
            .iter()
            .copied()
            .filter(|needed| !sources.contains(needed) || !needs(depends_on, *needed, node));
        depends_on[node] = kept.collect();
    }
}

/// Whether `node` depends on `target`, over any number of others.
fn needs(depends_on: &[Vec<usize>], node: usize, target: usize) -> bool {
    let mut seen = vec![false; depends_on.len()];
    let mut walk = vec![node];
    while let Some(at) = walk.pop() {
        if at == target {
            return true;
        }
        if !std::mem::replace(&mut seen[at], true) {
            walk.extend(&depends_on[at]);
        }
    }
    false
}

/// What others may count on: the node's own `output_schema`, else what the kind says. An alias adds fields.
pub(super) fn output_schema(node: &PlanNode) -> Option<Value> {
    if !node.output_mappings.is_empty() {
        return None;
    }
    let own = node.output_schema.as_ref().map(|schema| schema.document().clone());
    let own = own.filter(|schema| schema.get("properties").is_some() || schema.get("type") != Some(&json!("object")));
    own.or_else(|| node.node.output_schema())
}

/// Splits a dot path.
pub(super) fn dotted(path: &str) -> Vec<String> {
    path.split('.').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) || word == "llm" { "an" } else { "a" }
}
