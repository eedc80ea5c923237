//! A bundle as its author writes it: a folder with `bundle.yaml` and blueprints.

use std::path::Path;

use ice_core::blueprint::{self, Parsed};
use ice_core::bundle::Bundle;
use ice_core::grant::Grant;
use ice_core::manifest::{Dependency, Kind, PluginSettings};
use ice_core::problem::{Code, Problem};
use ice_runtime::bundle::{BlueprintSource, BundleSource};

use crate::files;

/// A read bundle.
pub(crate) struct Source {
    /// `bundle.yaml`.
    pub(crate) bundle: Bundle,
    /// Blueprint name → its parsed document.
    pub(crate) blueprints: Vec<(String, Parsed)>,
}

/// Reads `bundle.yaml` and every blueprint; every problem of form at once.
pub(crate) fn read(folder: &Path) -> Result<Source, Vec<Problem>> {
    let path = folder.join("bundle.yaml");
    let place = path.display().to_string();
    let text = files::read_text(&path).map_err(|problem| vec![problem])?;
    let (document, positions) = blueprint::read_document(&text, &place)?;
    let bundle = Bundle::from_value(&document).map_err(|problems| {
        problems.into_iter().map(|problem| positions.locate(&document, problem)).collect::<Vec<_>>()
    })?;
    let mut problems = Vec::new();
    let mut blueprints = Vec::new();
    for (name, file) in &bundle.workflows {
        let path = folder.join(file);
        // The path is the author's word about the own folder; nothing above it belongs to the bundle.
        if Path::new(file).components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
            problems.push(
                Problem::new(Code::M002, format!("`{file}` leaves the folder of the bundle")).file(place.clone()),
            );
            continue;
        }
        let parsed = files::read_text(&path)
            .map_err(|problem| vec![problem])
            .and_then(|text| blueprint::parse(&text, &path.display().to_string()));
        match parsed {
            Ok(parsed) if parsed.problems.is_empty() => blueprints.push((name.clone(), parsed)),
            Ok(parsed) => problems.extend(parsed.problems),
            Err(more) => problems.extend(more),
        }
    }
    if problems.is_empty() { Ok(Source { bundle, blueprints }) } else { Err(problems) }
}

/// The bundle of a folder as the bytes of a component.
pub(crate) fn encode(folder: &Path) -> Result<Vec<u8>, Vec<Problem>> {
    let source = read(folder)?;
    let start = source.bundle.entrypoint.rsplit('.').next().unwrap_or_default().to_owned();
    let entries = source
        .blueprints
        .into_iter()
        .map(|(name, parsed)| BlueprintSource {
            description: parsed
                .blueprint
                .metadata
                .get("description")
                .and_then(|text| text.as_str())
                .unwrap_or_default()
                .to_owned(),
            entrypoint: name == start,
            document: parsed.blueprint.document,
            name,
        })
        .collect();
    ice_runtime::bundle::encode(&BundleSource { entries }).map_err(|problem| vec![problem])
}

/// `bundle.yaml` in the words of a manifest.
pub(crate) fn settings(folder: &Path) -> Result<PluginSettings, Vec<Problem>> {
    let bundle = read(folder)?.bundle;
    Ok(PluginSettings {
        name: bundle.qualified_name(),
        version: bundle.version,
        kind: Kind::Bundle,
        description: bundle.description,
        license: bundle.license,
        sequence: None,
        created: None,
        expires: None,
        iceos_min: None,
        capabilities: Grant::default(),
        cost_estimate: Default::default(),
        deprecated: Default::default(),
        dependencies: bundle
            .dependencies
            .into_iter()
            .map(|needs| Dependency { name: needs.name, req: needs.req.to_string(), statement: None })
            .collect(),
        source: None,
    })
}
