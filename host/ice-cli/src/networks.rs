//! A network as its author writes it: a file, and the blueprints beside it.

use std::collections::BTreeMap;
use std::path::Path;

use ice_core::blueprint::{self, Parsed};
use ice_core::network::{self, Network};
use ice_core::problem::Problem;
use serde_json::Value;

use crate::files;

/// A network with the documents of its files.
pub(crate) struct Source {
    /// What it says.
    pub(crate) network: Network,
    files: BTreeMap<String, Value>,
}

/// Whether a file holds a network. What is no document is none; who reads it then says why.
pub(crate) fn is_one(path: &Path) -> Result<bool, Vec<Problem>> {
    if path == Path::new("-") {
        return Ok(false);
    }
    let text = files::read_text(path).map_err(|problem| vec![problem])?;
    let document = blueprint::read_document(&text, &path.display().to_string());
    Ok(document.is_ok_and(|(document, _)| network::is_network(&document)))
}

/// Reads a network and every file it names; every problem at once.
pub(crate) fn read(path: &Path) -> Result<Source, Vec<Problem>> {
    let text = files::read_text(path).map_err(|problem| vec![problem])?;
    let network = network::parse(&text, &path.display().to_string())?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let (mut documents, mut problems) = (BTreeMap::new(), Vec::new());
    for file in network.files() {
        let place = folder.join(file);
        let parsed = files::read_text(&place)
            .map_err(|problem| vec![problem])
            .and_then(|text| blueprint::parse(&text, &place.display().to_string()));
        match parsed {
            Ok(parsed) if parsed.problems.is_empty() => {
                documents.insert(file.to_owned(), parsed.blueprint.document);
            }
            Ok(parsed) => problems.extend(parsed.problems),
            Err(more) => problems.extend(more),
        }
    }
    if problems.is_empty() { Ok(Source { network, files: documents }) } else { Err(problems) }
}

impl Source {
    /// The blueprint of some members, or of all when none is named.
    pub(crate) fn blueprint(&self, members: &[String]) -> Result<Parsed, Vec<Problem>> {
        Parsed::from_value(self.network.compile(members, &self.files)).map_err(|found| self.locate(members, found))
    }

    /// Says where in the network problems of that blueprint are.
    pub(crate) fn locate(&self, members: &[String], problems: Vec<Problem>) -> Vec<Problem> {
        self.network.locate(members, problems)
    }
}
