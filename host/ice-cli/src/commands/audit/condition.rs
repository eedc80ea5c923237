//! Checks that need the plugin alone.

use ice_core::manifest::{Kind, parse_date, printable};
use ice_core::problem::{Code, Problem};

use super::installed::Installed;
use super::{Context, Finding, Level};
use crate::deprecation;

type Findings = Result<Vec<Finding>, Problem>;

/// A plugin that does not verify never runs; that somebody changed it is the first thing to know.
pub(super) fn verified(plugin: &Installed, _: &Context) -> Findings {
    let refused = plugin.verdict.as_ref().err().filter(|problem| problem.code != Code::T022).map(|problem| {
        let help = problem.help.clone().unwrap_or_else(|| format!("look at it: `ice verify {}`", plugin.name));
        Finding::new(Level::Error, format!("it does not verify: [{}] {}", problem.code, problem.message), help)
    });
    Ok(refused.into_iter().collect())
}

/// What was taken back never runs, whatever is locked. What only its key was taken back for runs on where the list says so.
pub(super) fn revoked(plugin: &Installed, context: &Context) -> Findings {
    let finding = match &plugin.verdict {
        Err(problem) if problem.code == Code::T022 => {
            let help = problem.help.clone().unwrap_or_else(|| format!("`ice update {}`", plugin.name));
            Some(Finding::new(Level::Error, problem.message.clone(), help))
        }
        Err(_) => None,
        Ok(verified) => {
            let keys = context.trust.revoked().map(|list| list.keys());
            let taken_back = keys.and_then(|keys| verified.signers().iter().find_map(|signer| keys.get(signer)));
            taken_back.map(|key| {
                let reason = printable(&key.reason);
                let message = format!("a key that signed it was revoked ({reason}); this release of it was kept");
                Finding::new(Level::Note, message, "get a version that its publisher signed with another key")
            })
        }
    };
    Ok(finding.into_iter().collect())
}

/// A yanked version is not newly installed; where it is, its publisher wants it replaced.
pub(super) fn yanked(plugin: &Installed, context: &Context) -> Findings {
    let rows = context.indexes.all.values().filter_map(|index| index.row(&plugin.name));
    let mut reasons = rows.filter_map(|row| row.version(&plugin.version)?.yanked.as_deref());
    let finding = reasons.next().map(|reason| {
        let help = format!("get another version: `ice update {}`", plugin.name);
        Finding::new(Level::Warning, format!("it was yanked: {}", printable(reason)), help)
    });
    Ok(finding.into_iter().collect())
}

/// Without a list nobody can say whether an advisory is about the plugin.
pub(super) fn dependency_list(plugin: &Installed, _: &Context) -> Findings {
    let help = "build it with `ice plugins build`, or ask its author for a build with `cargo auditable`";
    let unreadable =
        plugin.unreadable.iter().map(|problem| Finding::new(Level::Warning, problem.message.clone(), help));
    let mut found: Vec<Finding> = unreadable.collect();
    if plugin.without_list.is_empty() {
        return Ok(found);
    }
    // A bundle of documents is encoded by ice and holds no crate.
    let documents = plugin.manifest().is_some_and(|manifest| manifest.kind == Kind::Bundle);
    let (message, help) = match documents {
        true => {
            ("it carries no list of crates, as bundles of documents do not", "nothing to do unless it is made of code")
        }
        false => ("it carries no list of the crates it was built from", help),
    };
    found.push(Finding::new(Level::Note, message.to_owned(), help));
    Ok(found)
}

/// Whoever redistributes a plugin has to know its licence.
pub(super) fn licence(plugin: &Installed, _: &Context) -> Findings {
    let missing = plugin.manifest().is_some_and(|manifest| manifest.license.is_none());
    let help = "ask its author to write `license` in plugin.toml";
    Ok(missing.then(|| Finding::new(Level::Note, "it names no licence".to_owned(), help)).into_iter().collect())
}

/// Tools, agents and blueprints that went out of use.
pub(super) fn deprecated(plugin: &Installed, _: &Context) -> Findings {
    let components = plugin.manifest().into_iter().flat_map(|manifest| &manifest.components);
    let found = components.filter_map(|component| {
        let words = deprecation::words(component.deprecated.as_ref()?);
        let message = format!("`{}` is {words}", printable(&component.name));
        Some(Finding::new(Level::Warning, message, "change the blueprints and agents that use it"))
    });
    Ok(found.collect())
}

/// A plugin past its date is not newly installed any more; what is installed still runs.
pub(super) fn expired(plugin: &Installed, context: &Context) -> Findings {
    let expires = plugin.manifest().and_then(|manifest| manifest.expires.as_deref());
    let past = expires.filter(|date| parse_date(date).is_some_and(|expires| context.now >= expires));
    let finding = past.map(|date| {
        let help = format!("get a newer version of `{}`: this one is not meant to be used any more", plugin.name);
        Finding::new(Level::Warning, format!("it expired on {date}"), help)
    });
    Ok(finding.into_iter().collect())
}
