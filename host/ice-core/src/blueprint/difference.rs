//! What differs between two versions of a blueprint, and what of it callers notice.
//!
//! Nodes are matched by id, wherever they stand; order matters only where a list has no ids. What callers notice is
//! judged from inputs, outputs and the id. A bound inside a schema (`minimum`, `pattern`) is reported as a change and
//! not judged.

use serde::Serialize;
use serde_json::{Map, Value};

use super::Blueprint;
use crate::schema::{Direction, Schema, compatible};

/// What happened to a place.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It has another value.
    Changed,
    /// Its items stand in another order.
    Reordered,
}

/// One difference.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Change {
    /// Dot path into the document; a node stands under its id: `nodes.lookup.tool_args.query`.
    pub path: String,
    /// What happened.
    pub how: How,
    /// The value before; none when it was added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// The value after; none when it was removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
    /// Why those who run or embed the blueprint have to change something; none when they do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaking: Option<String>,
}

/// Lists what differs, in the order of the documents. Empty when both mean the same.
pub fn difference(before: &Blueprint, after: &Blueprint) -> Vec<Change> {
    let mut changes = Vec::new();
    values("", Some(&before.document), Some(&after.document), &mut changes);
    for change in &mut changes {
        let root = change.path.split('.').next().unwrap_or_default();
        change.breaking = match (root, change.how, change.path.matches('.').count()) {
            ("id" | "blueprint_id", How::Changed | How::Removed, _) => Some("callers know it by its id".into()),
            ("outputs", How::Removed, 0 | 1) => Some("callers may read this output".into()),
            _ => None,
        };
    }
    changes.extend(inputs(before, after));
    changes
}

/// What callers have to give now that they did not before, or may no longer give. Each is a change of its own, under
/// the name of the input.
fn inputs(before: &Blueprint, after: &Blueprint) -> Vec<Change> {
    let compile = |blueprint: &Blueprint| {
        let schema = blueprint.inputs.schema.as_ref()?;
        Schema::compile(schema, Direction::Input).ok()
    };
    let Some(new) = compile(after) else { return Vec::new() };
    let old = compile(before);
    let required = |schema: &Schema, blueprint: &Blueprint, name: &str| {
        schema.required().any(|required| required == name) && !blueprint.inputs.defaults.contains_key(name)
    };
    let named = |schema: &Schema, name: &str| schema.document().pointer(&format!("/properties/{name}")).cloned();
    let mut found = Vec::new();
    let mut breaks = |name: &str, before: Option<Value>, after: Option<Value>, why: String| {
        let how = match (&before, &after) {
            (None, _) => How::Added,
            (_, None) => How::Removed,
            _ => How::Changed,
        };
        found.push(Change { path: format!("inputs.{name}"), how, before, after, breaking: Some(why) });
    };
    for name in new.required() {
        let was = old.as_ref().is_some_and(|old| required(old, before, name));
        if required(&new, after, name) && !was {
            let old = old.as_ref().and_then(|old| named(old, name));
            breaks(name, old, named(&new, name), "it has to be given now".into());
        }
    }
    let Some(old) = old else {
        if !new.is_open() {
            breaks("*", Some(true.into()), None, "any input could be given, now only those that are named".into());
        }
        return found;
    };
    for name in old.properties() {
        let (before, after) = (named(&old, name), named(&new, name));
        match &after {
            None if !new.is_open() => breaks(name, before, None, "it can no longer be given".into()),
            None => {}
            Some(consumer) => {
                if let Some(mismatch) = before.as_ref().and_then(|producer| compatible(producer, consumer)) {
                    breaks(name, before, after.clone(), mismatch.message);
                }
            }
        }
    }
    found
}

fn values(path: &str, before: Option<&Value>, after: Option<&Value>, changes: &mut Vec<Change>) {
    let there = |value: Option<&Value>| value.filter(|value| !value.is_null()).cloned();
    let mut change = |how, before, after| {
        changes.push(Change { path: path.to_owned(), how, before, after, breaking: None });
    };
    match (there(before), there(after)) {
        (None, None) => {}
        (None, after) => change(How::Added, None, after),
        (before, None) => change(How::Removed, before, None),
        (Some(before), Some(after)) if before == after => {}
        (Some(Value::Object(before)), Some(Value::Object(after))) => fields(path, &before, &after, changes),
        (Some(before), Some(after)) => match (by_id(&before), by_id(&after)) {
            (Some(old), Some(new)) => {
                let mut order = (ids(&before), ids(&after));
                order.0.retain(|id| new.contains_key(id));
                order.1.retain(|id| old.contains_key(id));
                if order.0 != order.1 {
                    change(How::Reordered, Some(order.0.into()), Some(order.1.into()));
                }
                fields(path, &old, &new, changes);
            }
            _ if lists(&before, &after) => items(path, &before, &after, changes),
            _ => change(How::Changed, Some(before), Some(after)),
        },
    }
}

fn fields(path: &str, before: &Map<String, Value>, after: &Map<String, Value>, changes: &mut Vec<Change>) {
    let more = after.keys().filter(|key| !before.contains_key(*key));
    for key in before.keys().chain(more) {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        values(&path, before.get(key), after.get(key), changes);
    }
}

/// Branches of a parallel node: lists of lists, matched by their position.
fn lists(before: &Value, after: &Value) -> bool {
    let of_lists = |value: &Value| value.as_array().is_some_and(|items| items.iter().all(Value::is_array));
    of_lists(before) && of_lists(after)
}

fn items(path: &str, before: &Value, after: &Value, changes: &mut Vec<Change>) {
    let (old, new) = (before.as_array(), after.as_array());
    let count = old.map_or(0, Vec::len).max(new.map_or(0, Vec::len));
    for index in 0..count {
        values(&format!("{path}.{index}"), before.get(index), after.get(index), changes);
    }
}

/// A list of nodes as a mapping by id; `None` for every other list, and where two have the same id.
fn by_id(value: &Value) -> Option<Map<String, Value>> {
    let items = value.as_array()?;
    let mut nodes = Map::with_capacity(items.len());
    for item in items {
        let id = item.get("id")?.as_str()?;
        if nodes.insert(id.to_owned(), item.clone()).is_some() {
            return None;
        }
    }
    (!nodes.is_empty()).then_some(nodes)
}

fn ids(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items.filter_map(|item| Some(item.get("id")?.as_str()?.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(before: &str, after: &str, expected: &Expect) {
        let read = |text: &str| super::super::parse(text, "test").expect("a document").blueprint;
        let changes = difference(&read(before), &read(after));
        let line = |change: &Change| {
            let text = |value: &Option<Value>| value.as_ref().map(ToString::to_string).unwrap_or_default();
            let why = change.breaking.as_ref().map(|why| format!(" !! {why}")).unwrap_or_default();
            format!("{:?} {} {} → {}{why}\n", change.how, change.path, text(&change.before), text(&change.after))
        };
        expected.assert_eq(&changes.iter().map(line).collect::<String>());
    }

    #[test]
    fn nodes_are_matched_by_id_at_any_depth() {
        check(
            "nodes: [{id: a, type: tool, tool_name: x}, {id: p, type: parallel, branches: [[{id: b, type: llm, prompt: x}]]}, {id: c, type: tool, tool_name: y}]",
            "nodes: [{id: p, type: parallel, branches: [[{id: b, type: llm, prompt: y}]]}, {id: a, type: tool, tool_name: x, retries: 1}, {id: d, type: tool, tool_name: y}]",
            &expect![[r#"
                Reordered nodes ["a","p"] → ["p","a"]
                Added nodes.a.retries  → 1
                Changed nodes.p.branches.0.b.prompt "x" → "y"
                Removed nodes.c {"id":"c","type":"tool","tool_name":"y"} → 
                Added nodes.d  → {"id":"d","type":"tool","tool_name":"y"}
            "#]],
        );
    }

    #[test]
    fn what_callers_notice_is_said() {
        check(
            "{id: x, inputs: {a: int, b: str}, outputs: {o: 1, p: 2}, nodes: [{id: a, type: tool}]}",
            "{id: y, inputs: {a: str, c: str, d: 'str?'}, outputs: {o: 2}, nodes: [{id: a, type: tool}]}",
            &expect![[r#"
                Changed id "x" → "y" !! callers know it by its id
                Changed inputs.a "int" → "str"
                Removed inputs.b "str" → 
                Added inputs.c  → "str"
                Added inputs.d  → "str?"
                Changed outputs.o 1 → 2
                Removed outputs.p 2 →  !! callers may read this output
                Added inputs.c  → {"type":"string"} !! it has to be given now
                Changed inputs.a {"type":"integer"} → {"type":"string"} !! gives integer, but string is asked for
                Removed inputs.b {"type":"string"} →  !! it can no longer be given
            "#]],
        );
    }

    #[test]
    fn the_same_blueprint_in_another_notation_does_not_differ() {
        check(
            "{\"nodes\": [{\"id\": \"a\", \"type\": \"tool\", \"name\": null}]}",
            "nodes:\n  - type: tool\n    id: a",
            &expect![""],
        );
    }
}
