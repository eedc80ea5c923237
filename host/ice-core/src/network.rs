//! `network.v1`: a system of blueprints in one document, and when it runs.
//!
//! A network compiles to one blueprint of `workflow` nodes that carries the blueprints of its files in `blueprints`, so
//! that one stored document holds everything a run needs. Its schedules become rows.
//!
//! Not here: reading the files (the caller hands them over), and whether tools and references exist (the plan).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::blueprint::{COMMON_KEYS, Fields, Positions, did_you_mean, read_document};
use crate::id::NodeId;
use crate::problem::{Code, Problem};
use crate::schedule::When;

mod times;

pub use times::{PLANNED_KEYS, WHEN_KEYS};

/// Members a network may have.
pub const MEMBERS_MAX: usize = 1_000;

/// Keys of a network, besides [`SHARED_KEYS`].
pub const TOP_KEYS: &[&str] = &[
    "api_version",
    "schema_version",
    "id",
    "name",
    "description",
    "metadata",
    "global",
    "members",
    "workflows",
    "schedules",
];

/// Keys that mean in a network what they mean in a blueprint. The original wrote them under `global`.
pub const SHARED_KEYS: &[&str] =
    &["inputs", "outputs", "failure_policy", "budget", "max_parallel", "retry_policy", "timeout_seconds"];

/// Of a member, beside what every node has.
pub const MEMBER_KEYS: &[&str] =
    &["blueprint", "ref", "workflow_ref", "after", "schedule", "inputs", "exposed_outputs", "config_overrides"];

/// Each names the blueprint of a member; `blueprint` is ours, the others are the original's.
const REFERENCE_KEYS: &[&str] = &["blueprint", "ref", "workflow_ref"];

/// Keys of a node that a member does not have: they are said in another way.
pub const NOT_A_MEMBERS: &[&str] = &["type"];

/// The versions that are read; `network.v0` is the original's.
pub const VERSIONS: &[&str] = &["network.v1", "network.v0"];

/// A network that was read.
#[derive(Clone, Debug)]
pub struct Network {
    /// For people, and the beginning of its schedules' names.
    pub name: String,
    /// In the order of the document.
    pub members: Vec<Member>,
    /// When it runs, whole or in part.
    pub schedules: Vec<Planned>,
    top: Map<String, Value>,
    document: Value,
    positions: Positions,
}

/// One blueprint of a network.
#[derive(Clone, Debug)]
pub struct Member {
    /// Unique in the network.
    pub id: String,
    /// A file beside the network, a bundle entry, or a stored blueprint `name@range`.
    pub reference: String,
    /// Members that must be done before.
    pub after: Vec<String>,
    /// Where it is in the document.
    pub pointer: String,
    fields: Map<String, Value>,
}

/// One schedule of a network.
#[derive(Clone, PartialEq, Debug)]
pub struct Planned {
    /// The row's name: `network`, `network.member` or `network.name`.
    pub name: String,
    /// What runs, with everything it comes after; all of the network when empty.
    pub members: Vec<String>,
    /// When.
    pub when: When,
    /// With what.
    pub inputs: Map<String, Value>,
    /// Whether it runs at all.
    pub enabled: bool,
}

impl Member {
    /// Whether the blueprint is a file, relative to that of the network.
    pub fn is_file(&self) -> bool {
        is_file(&self.reference)
    }
}

/// Whether a reference names a file: it ends like one, or begins with a folder.
pub fn is_file(reference: &str) -> bool {
    let lower = reference.to_ascii_lowercase();
    [".yaml", ".yml", ".json"].iter().any(|ending| lower.ends_with(ending)) || reference.starts_with(['.', '/'])
}

/// Whether a document is a network: it says so, or it has members.
pub fn is_network(document: &Value) -> bool {
    let version = |key| document.get(key).and_then(Value::as_str).is_some_and(|text| text.starts_with("network."));
    version("api_version") || version("schema_version") || document.get("workflows").is_some_and(Value::is_array)
}

/// Reads YAML or JSON; every problem at once, with line and column.
pub fn parse(text: &str, file: &str) -> Result<Network, Vec<Problem>> {
    let (document, positions) = read_document(text, file)?;
    let mut problems = Vec::new();
    let found = network(&document, &mut problems);
    match found {
        Some((name, members, schedules, top)) if problems.is_empty() => {
            Ok(Network { name, members, schedules, top, document, positions })
        }
        _ => Err(by_line(problems.into_iter().map(|problem| positions.locate(&document, problem)).collect())),
    }
}

fn by_line(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by_key(|problem| problem.at.as_ref().map(|at| (at.line, at.column)));
    problems
}

type Found = (String, Vec<Member>, Vec<Planned>, Map<String, Value>);

fn network(document: &Value, problems: &mut Vec<Problem>) -> Option<Found> {
    let Some(map) = document.as_object() else {
        problems.push(
            Problem::new(Code::B001, "a network is a mapping")
                .help("start with `api_version: network.v1` and `members:`")
                .pointer(""),
        );
        return None;
    };
    let mut fields = Fields::new(map, "", problems);
    fields.refuse_unknown(&[TOP_KEYS, SHARED_KEYS], "a network");
    for key in ["api_version", "schema_version"] {
        if let Some(version) = fields.text(key)
            && !VERSIONS.contains(&version)
        {
            fields.problem(Code::B009, key, format!("`{version}` is not read here"), "write `network.v1`");
        }
    }
    let name = fields.text("name").or_else(|| fields.text("id")).unwrap_or("network").to_owned();
    let top = top(&mut fields);
    let key = if fields.get("workflows").is_some() { "workflows" } else { "members" };
    if key == "workflows" && fields.get("members").is_some() {
        fields.problem(Code::B005, "members", "`members` and `workflows` are the same", "keep `members`");
    }
    let items = fields.list(key).unwrap_or_default();
    if items.is_empty() {
        fields.problem_here(Code::B006, "a network has no members", "add `members:` with `- id:` and `blueprint:`");
    } else if items.len() > MEMBERS_MAX {
        let message = format!("the network has {} members, more than {MEMBERS_MAX}", items.len());
        fields.problem(Code::B027, key, message, "split it");
    }
    let planned = fields.list("schedules").unwrap_or_default();
    let mut schedules = Vec::new();
    let mut members: Vec<Member> = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let pointer = format!("/{key}/{index}");
        let Some(member) = member(item, &pointer, problems) else { continue };
        if members.iter().any(|other| other.id == member.id) {
            let problem = Problem::new(Code::B007, format!("the member `{}` is already there", member.id));
            problems.push(problem.pointer(format!("{pointer}/id")).help("give it another id"));
        }
        schedules.extend(times::of_member(&name, &member, item, problems));
        members.push(member);
    }
    check_after(&members, problems);
    let ids: Vec<&str> = members.iter().map(|member| member.id.as_str()).collect();
    for (index, item) in planned.iter().enumerate() {
        schedules.extend(times::of_network(&name, &ids, item, &format!("/schedules/{index}"), problems));
    }
    times::refuse_twins(&schedules, problems);
    Some((name, members, schedules, top))
}

/// What is passed on to the blueprint. `global` is the original's place for it, and anything else there is metadata.
fn top(fields: &mut Fields<'_, '_>) -> Map<String, Value> {
    let mut top = Map::new();
    let mut metadata = fields.mapping("metadata").cloned().unwrap_or_default();
    let mut more = Map::new();
    for (key, value) in fields.mapping("global").into_iter().flatten() {
        let known = SHARED_KEYS.contains(&key.as_str());
        if known { &mut top } else { &mut more }.insert(key.clone(), value.clone());
    }
    if !more.is_empty() {
        metadata.insert("global".into(), more.into());
    }
    for key in SHARED_KEYS {
        if let Some(value) = fields.get(key) {
            top.insert((*key).to_owned(), value.clone());
        }
    }
    for key in ["name", "description"] {
        if let Some(text) = fields.text(key) {
            metadata.insert(key.into(), text.into());
        }
    }
    top.insert("metadata".into(), metadata.into());
    top
}

fn member(item: &Value, pointer: &str, problems: &mut Vec<Problem>) -> Option<Member> {
    let Some(map) = item.as_object() else {
        let problem = Problem::new(Code::B004, "a member is a mapping").pointer(pointer);
        problems.push(problem.help("write `- id: …` and `blueprint: …`"));
        return None;
    };
    let mut fields = Fields::new(map, pointer, problems);
    let common: Vec<&str> = COMMON_KEYS.iter().copied().filter(|key| !NOT_A_MEMBERS.contains(key)).collect();
    fields.refuse_unknown(&[MEMBER_KEYS, &common], "a member");
    let written: Vec<&str> = REFERENCE_KEYS.iter().copied().filter(|key| fields.get(key).is_some()).collect();
    if let [_, second, ..] = written[..] {
        fields.problem(Code::B005, second, "the blueprint is named twice", "keep `blueprint:`");
    }
    let key = written.first().copied().unwrap_or("blueprint");
    let reference = fields.required_text(key).map(str::to_owned);
    if let Some(text) = &reference
        && !is_file(text)
        && text.contains(':')
    {
        let message = format!("`{text}` is an object of Python, which is not run here");
        fields.problem(Code::B016, key, message, "write its blueprint into a file and name that: `blueprint: x.yaml`");
    }
    let id = fields.required_text("id").map(str::to_owned);
    if let Some(Err(problem)) = id.as_deref().map(NodeId::parse) {
        fields.problem(problem.code, "id", problem.message, problem.help.unwrap_or_default());
    }
    let mut after = match fields.get("after") {
        Some(Value::String(one)) => vec![one.clone()],
        _ => fields.texts("after"),
    };
    after.extend(fields.texts("dependencies"));
    let own = ["id", "blueprint", "ref", "workflow_ref", "after", "dependencies", "schedule"];
    let rest = map.iter().filter(|(key, _)| !own.contains(&key.as_str()));
    let rest = rest.map(|(key, value)| (key.clone(), value.clone())).collect();
    Some(Member { id: id?, reference: reference?, after, pointer: pointer.to_owned(), fields: rest })
}

fn check_after(members: &[Member], problems: &mut Vec<Problem>) {
    let ids = || members.iter().map(|member| member.id.as_str());
    let mut known = true;
    for member in members {
        for name in &member.after {
            if !ids().any(|id| id == name) {
                known = false;
                let problem = Problem::new(Code::B012, format!("the network has no member `{name}`"));
                let help = did_you_mean(name, ids()).unwrap_or_default();
                problems.push(problem.pointer(format!("{}/after", member.pointer)).help(help));
            }
        }
    }
    let mut done = BTreeSet::new();
    let mut left: Vec<&Member> = members.iter().collect();
    loop {
        let before = left.len();
        left.retain(|member| {
            let ready = member.after.iter().all(|name| done.contains(name.as_str()));
            ready.then(|| done.insert(member.id.as_str()));
            !ready
        });
        if left.len() == before {
            break;
        }
    }
    if known && let Some(first) = left.first() {
        let circle: Vec<&str> = left.iter().map(|member| member.id.as_str()).collect();
        let problem = Problem::new(Code::B013, format!("these come after each other: {}", circle.join(", ")));
        problems.push(problem.pointer(format!("{}/after", first.pointer)).help("take one `after` away"));
    }
}

impl Network {
    /// Files that members name, each once.
    pub fn files(&self) -> BTreeSet<&str> {
        self.members.iter().filter(|member| member.is_file()).map(|member| member.reference.as_str()).collect()
    }

    /// Says where in the network problems are that were found in its blueprint, as [`Network::compile`] made that of
    /// `chosen`, and puts them into the order of the document.
    pub fn locate(&self, chosen: &[String], problems: Vec<Problem>) -> Vec<Problem> {
        let located = |mut problem: Problem| {
            let place = problem.at.get_or_insert_default();
            if place.file.is_none() {
                place.pointer = place.pointer.take().map(|pointer| self.origin(chosen, &pointer));
            }
            self.positions.locate(&self.document, problem)
        };
        by_line(problems.into_iter().map(located).collect())
    }

    /// Where what is at `pointer` of the blueprint was written.
    fn origin(&self, chosen: &[String], pointer: &str) -> String {
        let part = self.closure(chosen);
        let mut members = self.members.iter().filter(|member| part.contains(member.id.as_str()));
        let mut steps = pointer.splitn(4, '/').skip(1);
        let (key, index, rest) = (steps.next().unwrap_or_default(), steps.next(), steps.next());
        if key == "nodes"
            && let Some(member) = index.and_then(|index| members.nth(index.parse().ok()?))
        {
            let (key, deeper) = rest.map_or(("", ""), |rest| rest.split_at(rest.find('/').unwrap_or(rest.len())));
            let has = |key: &str| self.document.pointer(&format!("{}/{key}", member.pointer)).is_some();
            let written = match key {
                "workflow_ref" => REFERENCE_KEYS.iter().copied().find(|key| has(key)).unwrap_or(key),
                "dependencies" if has("after") => "after",
                key => key,
            };
            let slash = if written.is_empty() { "" } else { "/" };
            return format!("{}{slash}{written}{deeper}", member.pointer);
        }
        let global = SHARED_KEYS.contains(&key) && self.document.get(key).is_none();
        if global { format!("/global{pointer}") } else { pointer.to_owned() }
    }

    /// The blueprint of `chosen` members and everything they come after; of all members when none is chosen. `files`
    /// holds the document of every file in [`Network::files`]. Outputs are left out of a part: they may need the rest.
    pub fn compile(&self, chosen: &[String], files: &BTreeMap<String, Value>) -> Value {
        let part = self.closure(chosen);
        let mut blueprint = self.top.clone();
        blueprint.insert("schema_version".into(), "1.2.0".into());
        if !chosen.is_empty() {
            blueprint.remove("outputs");
        }
        let members = || self.members.iter().filter(|member| part.contains(member.id.as_str()));
        let inline: Map<String, Value> = members()
            .filter_map(|member| Some((member.reference.clone(), files.get(&member.reference)?.clone())))
            .collect();
        if !inline.is_empty() {
            blueprint.insert("blueprints".into(), inline.into());
        }
        blueprint.insert("nodes".into(), members().map(node).collect());
        Value::Object(blueprint)
    }

    fn closure<'a>(&'a self, chosen: &'a [String]) -> BTreeSet<&'a str> {
        if chosen.is_empty() {
            return self.members.iter().map(|member| member.id.as_str()).collect();
        }
        let mut part = BTreeSet::new();
        let mut open: Vec<&str> = chosen.iter().map(String::as_str).collect();
        while let Some(id) = open.pop() {
            if part.insert(id) {
                let member = self.members.iter().find(|member| member.id == id);
                open.extend(member.into_iter().flat_map(|member| member.after.iter().map(String::as_str)));
            }
        }
        part
    }
}

fn node(member: &Member) -> Value {
    let mut node = Map::new();
    node.insert("id".into(), member.id.as_str().into());
    node.insert("type".into(), "workflow".into());
    node.insert("workflow_ref".into(), member.reference.as_str().into());
    node.insert("dependencies".into(), json!(member.after));
    node.extend(member.fields.clone());
    Value::Object(node)
}

#[cfg(test)]
mod tests;
