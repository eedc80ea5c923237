//! Why no version of a name fits, for a person: who wants what, and what there is.

use ice_core::manifest::printable;
use ice_core::problem::{Code, Problem};
use semver::Version;

use super::{Held, Needed, Requirement, Search};
use crate::source::Available;

/// More of them are not read.
const ITEMS_MAX: usize = 8;

impl Search<'_> {
    pub(super) fn explain(&self, name: &str, needed: &Needed<'_>) -> Problem {
        let wanted: &[&Requirement] = needed.0.get(name).map_or(&[], Vec::as_slice);
        let fits = |version: &Version| wanted.iter().all(|requirement| requirement.req.matches(version));
        let versions = self.known.versions.get(name).map_or(&[][..], Vec::as_slice);
        let held = self.held.get(name);
        if let Some(problem) = yanked(name, versions, &fits)
            && !held.is_some_and(|held| fits(held.version()))
        {
            return problem;
        }
        let wishes = some(wanted.iter().map(|requirement| wish(requirement)));
        let problem = Problem::new(Code::R010, format!("no version of `{name}` is all that is wanted: {wishes}"));
        problem.help(match held {
            Some(Held::Firm(version)) => {
                format!("ice.lock has {version}; `ice update {name}` lets it change, and shows the difference first")
            }
            _ => choice(name, versions, &fits),
        })
    }
}

/// T048 when versions fit and every one of them was yanked.
fn yanked(name: &str, versions: &[Available], fits: &dyn Fn(&Version) -> bool) -> Option<Problem> {
    let fitting: Vec<&Available> = versions.iter().filter(|one| fits(&one.version)).collect();
    let newest = fitting.iter().max_by(|a, b| a.version.cmp(&b.version))?;
    let reason = newest.yanked.as_ref()?;
    if fitting.iter().any(|one| one.yanked.is_none()) {
        return None;
    }
    let message = format!("`{name}` {} was yanked: {}", newest.version, printable(reason));
    Some(Problem::new(Code::T048, message).help("ask for another version; a project that has it in its lock keeps it"))
}

/// What there is to choose from.
fn choice(name: &str, versions: &[Available], fits: &dyn Fn(&Version) -> bool) -> String {
    let mut versions: Vec<&Version> = versions.iter().map(|one| &one.version).collect();
    versions.sort_by(|a, b| b.cmp(a));
    versions.dedup();
    if !versions.is_empty() && versions.iter().all(|version| !version.pre.is_empty()) {
        return format!("there are only pre-releases: ask for one by name, `{name}@={}`", versions[0]);
    }
    if versions.iter().any(|version| fits(version)) {
        let text = "the versions that fit are not the very plugin that is pinned, or need others that do not fit";
        return text.to_owned();
    }
    format!("there is {}", some(versions.iter().map(ToString::to_string)))
}

fn wish(requirement: &Requirement) -> String {
    let exactly = requirement.statement.map(|pin| format!(" (exactly {})", pin.short())).unwrap_or_default();
    format!("{} wants {}{exactly}", requirement.by, requirement.req)
}

/// The first few, and that there are more.
fn some(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    let more = items.len().saturating_sub(ITEMS_MAX);
    let mut text = items.into_iter().take(ITEMS_MAX).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}
