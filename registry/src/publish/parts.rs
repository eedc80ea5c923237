//! The components of a kit as plugins of their own, so that tools that fetch one component can.
//!
//! A part has its own signed manifest; making it is here, signing it is the publisher's.

use ice_core::manifest::{Kind, Manifest, UnixSeconds, short};
use ice_core::problem::{Code, Problem};

use super::{Ready, Release};
use crate::trust::Trust;

/// What has to be signed for the parts of a kit: one plugin for each component, in payload order; none for what is no
/// kit. A part of `acme/kit` with the tool `csv` is named `acme/kit-csv`, because a name has two parts, and is
/// published at [`part_path`]. Fails with the problems of a manifest that would not be one, such as T018 for a name
/// that gets too long.
pub fn part_manifests(manifest: &Manifest) -> Result<Vec<Manifest>, Vec<Problem>> {
    if manifest.kind != Kind::Kit {
        return Ok(Vec::new());
    }
    let mut parts = Vec::new();
    for (artifact, _) in manifest.artifacts() {
        let components: Vec<_> =
            manifest.components.iter().filter(|component| component.artifact == artifact).cloned().collect();
        let Some(first) = components.first() else { continue };
        let name = format!("{}-{}", manifest.name, first.name.to_ascii_lowercase());
        let part = Manifest {
            kind: Kind::Plugin,
            name,
            components,
            files: Vec::new(),
            extra: serde_json::Map::new(),
            ..manifest.clone()
        };
        let problems = part.check();
        if !problems.is_empty() {
            return Err(problems);
        }
        parts.push(part);
    }
    Ok(parts)
}

/// Where a part of the kit `kit` is published: `acme/kit/csv`.
pub fn part_path(kit: &str, part: &Manifest) -> String {
    let name = part.name.strip_prefix(kit).and_then(|rest| rest.strip_prefix('-')).unwrap_or(short(&part.name));
    format!("{kit}/{name}")
}

/// Believes the parts under the policy, and that they are parts of this very kit (T008).
pub(super) fn check<'a>(
    kit: &Ready<'_>,
    parts: &'a [Release],
    trust: &Trust,
    now: UnixSeconds,
) -> Result<Vec<Ready<'a>>, Problem> {
    if parts.is_empty() {
        return Ok(Vec::new());
    }
    let manifest = kit.verified.value();
    let expected = part_manifests(manifest).map_err(|mut problems| problems.swap_remove(0))?;
    let mut ready = Vec::new();
    for part in parts {
        let part = Ready::of(part, trust, now)?;
        if !expected.contains(part.verified.value()) {
            let message =
                format!("`{}` is not a part of `{}` {}", part.verified.value().name, manifest.name, manifest.version);
            return Err(Problem::new(Code::T008, message).help("sign what `ice publish` makes of the kit's components"));
        }
        ready.push(part);
    }
    Ok(ready)
}
