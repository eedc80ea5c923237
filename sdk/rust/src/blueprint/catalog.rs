//! What nodes may refer to: the tools, agents and blueprints a host is going to have.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::bundle::Bundle;
use crate::tool::Kit;

/// Names that nodes may refer to. What is not said is not checked: a catalog without agents says nothing about agents.
///
/// ```
/// use ice_sdk::blueprint::{BlueprintBuilder, Catalog, NodeBuilder};
///
/// let known = Catalog::new().tools(["writer_tool", "lookup_tool"]);
/// let blueprint = BlueprintBuilder::new("b").node(NodeBuilder::tool("w", "writer_tol")).catalog(known);
/// assert_eq!(
///     blueprint.validate_resolvable(),
///     ["node `w` calls the tool `writer_tol`, which is not in the catalog; did you mean `writer_tool`?"]
/// );
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Catalog {
    tools: Option<BTreeSet<String>>,
    agents: Option<BTreeSet<String>>,
    blueprints: Option<BTreeSet<String>>,
    /// `bundle.blueprint` of the bundle the nodes belong to, which are all there is of it.
    own: BTreeSet<String>,
}

/// Adds names, and with them that nothing else is known.
fn add(to: &mut Option<BTreeSet<String>>, names: impl IntoIterator<Item = impl Into<String>>) {
    to.get_or_insert_default().extend(names.into_iter().map(Into::into));
}

impl Catalog {
    /// A catalog that says nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds tools by name.
    #[must_use]
    pub fn tools(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        add(&mut self.tools, names);
        self
    }

    /// Adds the tools of a kit: `&search_kit::KIT`, of a crate that is a dependency for tests.
    #[must_use]
    pub fn kit(self, kit: &Kit) -> Self {
        let names: Vec<String> = kit.describe().into_iter().map(|tool| tool.name).collect();
        self.tools(names)
    }

    /// Adds agents by name.
    #[must_use]
    pub fn agents(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        add(&mut self.agents, names);
        self
    }

    /// Adds blueprints by id or bundle entry, without a version.
    #[must_use]
    pub fn blueprints(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        add(&mut self.blueprints, names);
        self
    }

    /// Adds the blueprints of a bundle written in code. A reference to another one of the same bundle is then wrong,
    /// whatever else there is.
    #[must_use]
    pub fn bundle(mut self, bundle: &Bundle) -> Self {
        self.own.extend(bundle.references());
        self
    }

    fn of(&self, what: Callee) -> Option<&BTreeSet<String>> {
        match what {
            Callee::Tool => self.tools.as_ref(),
            Callee::Agent => self.agents.as_ref(),
            Callee::Blueprint => self.blueprints.as_ref(),
        }
    }

    /// What is wrong with a reference, as the end of a sentence; `None` when it is known or nothing is known of its kind.
    pub(super) fn refuse(&self, what: Callee, name: &str) -> Option<String> {
        // `news@^1` asks for a version, which a catalog does not know.
        let bare = if what == Callee::Blueprint { name.split('@').next().unwrap_or(name) } else { name };
        let bundle = |name: &str| name.split_once('.').map(|(bundle, _)| bundle.to_owned());
        let is_own = what == Callee::Blueprint && self.own.iter().any(|own| bundle(own) == bundle(bare));
        let (known, place) = if is_own { (&self.own, "bundle") } else { (self.of(what)?, "catalog") };
        if known.contains(bare) {
            return None;
        }
        let nearest = nearest(bare, known).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
        let (verb, noun) = match what {
            Callee::Tool => ("calls", "tool"),
            Callee::Agent => ("asks", "agent"),
            Callee::Blueprint => ("runs", "blueprint"),
        };
        Some(format!("{verb} the {noun} `{name}`, which is not in the {place}{nearest}"))
    }
}

/// What a node can refer to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Callee {
    Tool,
    Agent,
    Blueprint,
}

/// Fields by which a node, or an agent of a swarm, refers to something.
const REFERENCES: &[(&str, Callee)] = &[
    ("tool_name", Callee::Tool),
    ("tools", Callee::Tool),
    ("package", Callee::Agent),
    ("agent_package", Callee::Agent),
    ("workflow_ref", Callee::Blueprint),
];

/// Everything that the fields of a node refer to.
pub(super) fn references(fields: &Map<String, Value>) -> Vec<(Callee, &str)> {
    let mut found = Vec::new();
    for (field, what) in REFERENCES {
        match fields.get(*field) {
            Some(Value::String(name)) => found.push((*what, name.as_str())),
            Some(Value::Array(items)) => found.extend(items.iter().filter_map(name).map(|name| (*what, name))),
            _ => {}
        }
    }
    let members = fields.get("agents").and_then(Value::as_array).into_iter().flatten();
    found.extend(members.filter_map(Value::as_object).flat_map(references));
    found
}

/// A tool in a list is its name, or a mapping with one; a person is no tool.
fn name(item: &Value) -> Option<&str> {
    if item.get("type").is_some_and(|kind| kind == "human") {
        return None;
    }
    item.as_str().or_else(|| item.get("name")?.as_str())
}

/// Names longer than this are not compared: the cost is the product of the lengths.
const CHARS_MAX: usize = 64;

/// The known name nearest to `written`, when at most a third of the letters differ, or when `written` is a good part of it.
fn nearest<'a>(written: &str, known: &'a BTreeSet<String>) -> Option<&'a str> {
    let letters: Vec<char> = written.chars().take(CHARS_MAX + 1).collect();
    if letters.len() > CHARS_MAX {
        return None;
    }
    let near = (letters.len() / 3).max(1);
    let score = |name: &str| match is_part(written, name) {
        true => 1,
        false => distance(&letters, &name.chars().collect::<Vec<_>>()),
    };
    let scored = known.iter().filter(|name| name.len() <= CHARS_MAX).map(|name| (score(name), name.as_str()));
    scored.filter(|(score, _)| *score <= near && *score < letters.len()).min().map(|(_, name)| name)
}

/// Half a name of at least four letters says enough: `memory_write` for `memory_write_tool`.
fn is_part(written: &str, name: &str) -> bool {
    written.len() >= 4 && 2 * written.len() >= name.len() && name.contains(written)
}

/// How many letters must be added, removed or replaced (Levenshtein distance).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
