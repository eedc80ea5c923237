//! The blueprint: the document a user writes, in YAML or JSON, read into typed fields with a position for every value.
//!
//! Reading collects every problem of form: unknown keys, wrong types, numbers out of range. What needs the rest of the
//! house is not judged here: whether a tool exists, what a node kind takes, whether nodes form a circle, what a
//! template may see. That is the engine's plan, which reports the problems found here together with its own. A
//! [`Parsed`] blueprint is therefore not yet a good one; a plan is the proof.

use serde_json::{Map, Value};

use crate::budget::Budget;
use crate::id::Digest;
use crate::problem::{Code, Problem};

mod difference;
mod fields;
mod inputs;
mod json;
mod nearest;
mod positions;
mod read;
mod retry;
mod shape;

pub use difference::{Change, How, difference};
pub use fields::Fields;
pub use inputs::InputSpec;
pub use nearest::{did_you_mean, nearest};
pub use positions::Positions;
pub use retry::{Jitter, RetryPolicy, Strategy};
pub use shape::{COMMON_KEYS, budget, node_docs};

/// A document is read into memory whole, by hosts that others can send documents to.
pub const DOCUMENT_BYTES_MAX: usize = 4 << 20;

/// Nodes that run at once unless the blueprint says otherwise.
pub const MAX_PARALLEL_DEFAULT: u32 = 16;

/// What a blueprint may ask for as `max_parallel`: more running nodes only cost memory.
pub const MAX_PARALLEL_MAX: u32 = 10_000;

/// What happens to the rest when a node failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum FailurePolicy {
    /// Nothing more starts.
    Halt,
    /// Nodes that do not need the failed one go on.
    #[default]
    ContinuePossible,
    /// Like `ContinuePossible`, and a failed execution still renders what outputs it can.
    Always,
}

/// One blueprint, its fields typed, its node configurations still as they were written.
#[derive(Clone, PartialEq, Debug)]
pub struct Blueprint {
    /// `id`, or `blueprint_id`.
    pub id: Option<String>,
    /// `1.1.0` or `1.2.0`.
    pub schema_version: String,
    /// For people: `name`, `draft_name`, `description`, `tags` and whatever else was written.
    pub metadata: Map<String, Value>,
    /// What an execution must be given.
    pub inputs: InputSpec,
    /// In the order of the document.
    pub nodes: Vec<NodeDoc>,
    /// Name and template, in the order of the document.
    pub outputs: Vec<(String, Value)>,
    /// What happens when a node failed.
    pub failure_policy: FailurePolicy,
    /// What an execution may spend.
    pub budget: Budget,
    /// How many nodes run at once.
    pub max_parallel: u32,
    /// For nodes that say nothing about retries themselves.
    pub retry_policy: Option<RetryPolicy>,
    /// Bound on the whole execution, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// The document itself; its canonical form is what a digest is taken of.
    pub document: Value,
}

impl Blueprint {
    /// The name a person would use: `metadata.name`, `metadata.draft_name`, or the id.
    pub fn name(&self) -> Option<&str> {
        let written = ["name", "draft_name"].iter().find_map(|key| self.metadata.get(*key)?.as_str());
        written.or(self.id.as_deref())
    }

    /// Digest of the document's canonical form (RFC 8785): two documents that mean the same JSON have the same.
    pub fn digest(&self) -> Digest {
        let canonical = serde_json_canonicalizer::to_vec(&self.document);
        Digest::of(&canonical.expect("a value read from JSON or YAML has finite numbers and text keys"))
    }
}

/// One node as written: the fields every kind has, and the rest in `config`.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct NodeDoc {
    /// The id, not yet checked to be one; empty when it is missing.
    pub id: String,
    /// `type`: which kind of node; empty when it is missing.
    pub kind: String,
    /// For people.
    pub name: Option<String>,
    /// Ids of nodes that must be done before.
    pub dependencies: Vec<String>,
    /// What the input must look like: JSON Schema or type literals.
    pub input_schema: Option<Value>,
    /// What the output must look like: JSON Schema or type literals.
    pub output_schema: Option<Value>,
    /// Parameters taken from outputs of other nodes.
    pub input_mappings: Vec<InputMappingDoc>,
    /// Additional names for parts of the output: alias and dot path.
    pub output_mappings: Vec<(String, String)>,
    /// Bound on one attempt, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// From `retry_policy`, or from `retries` and `backoff_seconds`.
    pub retry: Option<RetryPolicy>,
    /// Whether the output may come from the cache.
    pub use_cache: bool,
    /// How long a cached output is good, in milliseconds.
    pub cache_ttl_ms: Option<u64>,
    /// A template that must be true, `always`, or nothing.
    pub run_if: Option<Value>,
    /// The node that takes this one's place when it failed.
    pub fallback: Option<String>,
    /// Whether it runs whatever happened.
    pub finally: bool,
    /// For people and other programs; not read here.
    pub metadata: Map<String, Value>,
    /// The keys that only some kinds have, as written.
    pub config: Map<String, Value>,
    /// Where the node is in the document.
    pub pointer: String,
}

/// One parameter taken from another node's output.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InputMappingDoc {
    /// The parameter.
    pub param: String,
    /// The node it comes from.
    pub source: String,
    /// Dot path into its output; `.` is the whole output.
    pub key: String,
    /// Where the mapping is in the document.
    pub pointer: String,
}

/// A blueprint that was read, with everything wrong about its form.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// What could be read; fields with problems have their defaults.
    pub blueprint: Blueprint,
    /// Line and column of every value; empty when it did not come from text.
    pub positions: Positions,
    /// Problems of form, located. The engine's plan reports them with its own.
    pub problems: Vec<Problem>,
}

/// Reads YAML or JSON; `file` is how the user named it. Fails when there is no document to look into: wrong syntax, too
/// large, or not a mapping.
pub fn parse(text: &str, file: &str) -> Result<Parsed, Vec<Problem>> {
    let (document, positions, problems) = read::read(text, file)?;
    build(document, positions, problems)
}

/// Reads YAML or JSON into a value with positions, without asking what it is. For other documents that users write.
pub fn read_document(text: &str, file: &str) -> Result<(Value, Positions), Vec<Problem>> {
    let (document, positions, problems) = read::read(text, file)?;
    if problems.is_empty() { Ok((document, positions)) } else { Err(problems) }
}

impl Parsed {
    /// Takes a document that is already a value, as it comes from a store or an API. Problems have pointers only.
    pub fn from_value(document: Value) -> Result<Self, Vec<Problem>> {
        build(document, Positions::default(), Vec::new())
    }

    /// Adds file, line and column to a problem that has a pointer.
    pub fn locate(&self, problem: Problem) -> Problem {
        self.positions.locate(&self.blueprint.document, problem)
    }
}

fn build(document: Value, positions: Positions, mut found: Vec<Problem>) -> Result<Parsed, Vec<Problem>> {
    if !document.is_object() {
        let problem =
            Problem::new(Code::B001, format!("a blueprint is a mapping, this is {}", fields::noun(&document)))
                .help("start with `schema_version: \"1.2.0\"` and `nodes:`")
                .pointer("");
        found.push(positions.locate(&document, problem));
        return Err(found);
    }
    let mut problems = Vec::new();
    let blueprint = shape::blueprint(document, &mut problems);
    found.extend(problems.into_iter().map(|problem| positions.locate(&blueprint.document, problem)));
    Ok(Parsed { blueprint, positions, problems: found })
}

#[cfg(test)]
mod tests;
