//! What an index says about one plugin. Made from verified manifests only, or read back from what was made so.
//!
//! Everything a publisher wrote in here is data: shown escaped, never part of an instruction.

use std::collections::BTreeSet;

use ice_core::grant::Capability;
use ice_core::id::Digest;
use ice_core::manifest::{
    CostEstimate, Deprecation, Kind, Manifest, NodeType, UnixSeconds, canonical, check_name, parse_strict, printable,
};
use ice_core::problem::{Code, Problem};
use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::moment;
use crate::source::Available;
use crate::verify::Verified;

/// A row is one line of a shard of at most 1 MiB, and one of thousands.
pub const ROW_BYTES_MAX: usize = 256 << 10;
/// Ten years of weekly releases.
const VERSIONS_MAX: usize = 512;
/// Enough to find a plugin by; its manifest has the rest.
const DESCRIPTION_CHARS_MAX: usize = 1000;
const COMPONENT_DESCRIPTION_CHARS_MAX: usize = 240;
const COMPONENTS_MAX: usize = 128;
const TAGS_MAX: usize = 32;
const PROPERTIES_MAX: usize = 128;
const EXAMPLES_MAX: usize = 16;
const EXAMPLE_CHARS_MAX: usize = 120;

/// One release.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct VersionRow {
    /// Of the plugin.
    pub version: Version,
    /// Grows with every release of the name.
    pub sequence: u64,
    /// S: exactly this plugin.
    #[serde(rename = "S")]
    pub statement: Digest,
    /// Of the OCI manifest it was pushed as. A hint.
    pub oci_digest: Digest,
    /// Bytes of its artifacts and files.
    pub size: u64,
    /// When the index saw it first.
    #[serde(with = "moment")]
    pub first_seen: UnixSeconds,
    /// Why it should no longer be installed newly.
    #[serde(default)]
    pub yanked: Option<String>,
    /// Whether it mends a security problem, so that waiting for it makes nothing safer.
    #[serde(default)]
    pub security: bool,
}

impl VersionRow {
    pub(super) fn available(&self) -> Available {
        Available {
            version: self.version.clone(),
            yanked: self.yanked.as_deref().map(printable),
            security: self.security,
            first_seen: Some(self.first_seen),
            statement: Some(self.statement),
        }
    }
}

/// A tool, agent or blueprint of the newest release.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct ComponentRow {
    /// What it is.
    pub node_type: NodeType,
    /// Its name in the catalog.
    pub name: String,
    /// The beginning of what it says of itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// One plugin. All but `versions` is of the newest release. Unknown members are allowed and ignored.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Row {
    /// `scope/name`.
    pub name: String,
    /// What is installed.
    pub kind: Kind,
    /// By sequence, growing.
    pub versions: Vec<VersionRow>,
    /// For a person.
    pub description: String,
    /// Free words of all components, sorted.
    pub tags: Vec<String>,
    /// In the manifest's order.
    pub components: Vec<ComponentRow>,
    /// Names of input and output properties, sorted.
    pub io: Vec<String>,
    /// Texts given as examples in the schemas.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<String>,
    /// Keys that signed the newest release.
    pub keyids: Vec<Digest>,
    /// When every component went out of use, and for what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<Deprecation>,
    /// The most a call of any component is expected to cost, in US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<CostEstimate>,
    /// SPDX expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// What it asks for, but for logs.
    #[serde(default)]
    pub capabilities: BTreeSet<Capability>,
    /// Oldest host that can run it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iceos_min: Option<Version>,
}

impl Row {
    /// The row of a name's first release.
    pub fn new(verified: &Verified<Manifest>, oci_digest: Digest, first_seen: UnixSeconds) -> Result<Self, Problem> {
        let manifest = verified.value();
        let mut row = Self {
            name: manifest.name.clone(),
            kind: manifest.kind,
            versions: Vec::new(),
            description: String::new(),
            tags: Vec::new(),
            components: Vec::new(),
            io: Vec::new(),
            examples: Vec::new(),
            keyids: Vec::new(),
            deprecated: None,
            cost: None,
            licence: None,
            capabilities: BTreeSet::new(),
            iceos_min: None,
        };
        row.add_version(verified, oci_digest, first_seen)?;
        Ok(row)
    }

    /// Adds a release and tells of it from then on. What is there never changes: the same S again does nothing, another
    /// S under a version is R003, a sequence that does not grow T021, another name T008, too much T029.
    pub fn add_version(
        &mut self,
        verified: &Verified<Manifest>,
        oci_digest: Digest,
        first_seen: UnixSeconds,
    ) -> Result<(), Problem> {
        let manifest = verified.value();
        if !self.may_add(verified)? {
            return Ok(());
        }
        let mut next = self.clone();
        next.describe(verified);
        next.versions.push(VersionRow {
            version: manifest.version.clone(),
            sequence: manifest.sequence,
            statement: verified.statement(),
            oci_digest,
            size: verified.blobs().iter().map(|(_, size)| size).sum(),
            first_seen,
            yanked: None,
            security: false,
        });
        let bytes = next.to_line().len();
        if next.versions.len() > VERSIONS_MAX || bytes > ROW_BYTES_MAX {
            let count = next.versions.len();
            let message = format!("`{}` would have {count} versions and {bytes} bytes in the index", self.name);
            return Err(Problem::new(Code::T029, message)
                .help(format!("the limits are {VERSIONS_MAX} versions and {ROW_BYTES_MAX} bytes")));
        }
        *self = next;
        Ok(())
    }

    /// Whether this release is new here; a problem when it may not become one.
    pub(super) fn may_add(&self, verified: &Verified<Manifest>) -> Result<bool, Problem> {
        let manifest = verified.value();
        if manifest.name != self.name {
            let message = format!("`{}` is not a release of `{}`", manifest.name, self.name);
            return Err(Problem::new(Code::T008, message));
        }
        if let Some(there) = self.version(&manifest.version) {
            if there.statement == verified.statement() {
                return Ok(false);
            }
            let message = format!("`{}` {} exists already with other content", self.name, manifest.version);
            return Err(Problem::new(Code::R003, message).help("publish it under a new version"));
        }
        let highest = self.versions.last().map_or(0, |last| last.sequence);
        if manifest.sequence <= highest {
            let message = format!("`{}` has sequence {}, {highest} was seen before", self.name, manifest.sequence);
            return Err(Problem::new(Code::T021, message).help(format!("publish it with `sequence = {}`", highest + 1)));
        }
        Ok(true)
    }

    /// The release of this version.
    pub fn version(&self, version: &Version) -> Option<&VersionRow> {
        self.versions.iter().find(|row| row.version == *version)
    }

    /// The highest version that is not yanked; one without a `-pre` part before those with.
    pub fn newest(&self) -> Option<&VersionRow> {
        let usable = self.versions.iter().filter(|row| row.yanked.is_none());
        usable.max_by_key(|row| (row.version.pre.is_empty(), row.version.clone()))
    }

    pub(super) fn version_mut(&mut self, version: &Version) -> Result<&mut VersionRow, Problem> {
        let name = self.name.clone();
        self.versions.iter_mut().find(|row| row.version == *version).ok_or_else(|| {
            Problem::new(Code::R001, format!("the index has no version {version} of `{name}`"))
                .help("`ice search` shows the versions that are there")
        })
    }

    fn describe(&mut self, verified: &Verified<Manifest>) {
        let manifest = verified.value();
        let texts = manifest.components.iter().map(|component| component.description.as_str());
        let own = Some(manifest.description.as_str()).filter(|text| !text.is_empty());
        let joined =
            own.map_or_else(|| texts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; "), str::to_owned);
        self.kind = manifest.kind;
        self.description = cut(&joined, DESCRIPTION_CHARS_MAX);
        let tags: BTreeSet<String> = manifest.components.iter().flat_map(|component| component.tags.clone()).collect();
        self.tags = tags.into_iter().take(TAGS_MAX).collect();
        let component = |component: &ice_core::manifest::Component| ComponentRow {
            node_type: component.node_type,
            name: component.name.clone(),
            // Said once already when the plugin has no words of its own.
            description: own.map_or_else(String::new, |_| cut(&component.description, COMPONENT_DESCRIPTION_CHARS_MAX)),
        };
        self.components = manifest.components.iter().take(COMPONENTS_MAX).map(component).collect();
        let (mut names, mut examples) = (BTreeSet::new(), BTreeSet::new());
        for component in &manifest.components {
            for schema in [manifest.input_schema(component), manifest.output_schema(component)] {
                read_schema(&schema, &mut names, &mut examples);
            }
        }
        self.io = names.into_iter().take(PROPERTIES_MAX).collect();
        self.examples = examples.into_iter().take(EXAMPLES_MAX).collect();
        self.keyids = verified.signers().to_vec();
        let deprecated: Option<Vec<&Deprecation>> = manifest.components.iter().map(|c| c.deprecated.as_ref()).collect();
        self.deprecated = deprecated.and_then(|all| all.first().copied().cloned());
        self.cost = manifest
            .components
            .iter()
            .filter_map(|component| component.cost_estimate)
            .reduce(|a, b| CostEstimate { base: a.base.max(b.base), per_token: a.per_token.max(b.per_token) });
        self.licence = manifest.license.clone();
        let asked = manifest.requested().into_iter().flat_map(|(_, grant)| grant.capabilities());
        self.capabilities = asked.filter(|capability| *capability != Capability::Log).collect();
        let least = manifest.components.iter().filter_map(|component| component.iceos_min.as_ref());
        self.iceos_min = least.chain(manifest.iceos_min.as_ref()).max().cloned();
    }

    /// One line of a shard: canonical JSON without the line's end.
    pub fn to_line(&self) -> Vec<u8> {
        canonical(&serde_json::to_value(self).expect("a row has only string keys"))
    }

    /// Reads a line of a verified shard or of a ledger (T049, T018).
    pub fn parse(line: &[u8]) -> Result<Self, Problem> {
        let refuse = |why: &str| Problem::new(Code::T049, format!("a row of the index cannot be read: {why}"));
        if line.len() > ROW_BYTES_MAX {
            return Err(refuse(&format!("it has {} bytes, the limit is {ROW_BYTES_MAX}", line.len())));
        }
        let document = parse_strict(line).map_err(|problem| refuse(&problem.message))?;
        let row: Self = serde_json::from_value(document).map_err(|error| refuse(&printable(&error.to_string())))?;
        check_name(&row.name)?;
        if row.versions.windows(2).any(|pair| pair[0].sequence >= pair[1].sequence) {
            return Err(refuse(&format!("the sequences of `{}` do not grow", row.name)));
        }
        let versions: BTreeSet<&Version> = row.versions.iter().map(|version| &version.version).collect();
        if versions.len() != row.versions.len() {
            return Err(refuse(&format!("`{}` has a version twice", row.name)));
        }
        Ok(row)
    }
}

/// Collects property names at any depth, and short texts among examples. The manifest bounds size and depth.
fn read_schema(schema: &Value, names: &mut BTreeSet<String>, examples: &mut BTreeSet<String>) {
    match schema {
        Value::Object(members) => {
            for (member, value) in members {
                match (member.as_str(), value) {
                    ("properties", Value::Object(properties)) => {
                        names.extend(properties.keys().map(|name| cut(name, EXAMPLE_CHARS_MAX)));
                    }
                    ("examples", Value::Array(items)) => {
                        let texts = items.iter().filter_map(Value::as_str);
                        examples.extend(texts.map(|text| cut(text, EXAMPLE_CHARS_MAX)));
                    }
                    _ => {}
                }
                read_schema(value, names, examples);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| read_schema(item, names, examples)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn cut(text: &str, chars: usize) -> String {
    text.chars().take(chars).collect()
}
