//! `ice search`, `ice info` and `ice outdated`: what there is, from the signed indexes on this machine.

use std::collections::BTreeMap;

use ice_core::grant::Capability;
use ice_core::lock::LockedPackage;
use ice_core::manifest::{Deprecation, Kind, print_date, printable, qualified};
use ice_core::problem::{Code, Exit, Problem};
use ice_registry::index::{CursorKey, Hit, Query, Row, search};
use ice_registry::{Available, Source as _, Trust};
use semver::Version;
use serde_json::{Value, json};

use super::Outcome;
use crate::config::Config;
use crate::output::Output;
use crate::project;
use crate::wire::{Indexes, Installed, Layout, Network, host_version};

/// Find plugins by name and by what they do
///
/// Answers from the indexes that were last fetched, without a network; says how old they are. `ice index refresh`
/// fetches what changed.
///
/// Example: ice search "read csv files" --kind kit
#[derive(clap::Args)]
pub(crate) struct SearchArgs {
    /// Words, or a name
    text: Vec<String>,
    /// `plugin`, `kit` or `bundle`
    #[arg(long)]
    kind: Option<String>,
    /// Only those that ask for this: `http`, `llm`, …
    #[arg(long)]
    capability: Option<String>,
    /// Only those of this publisher
    #[arg(long)]
    scope: Option<String>,
    /// Only those under this licence
    #[arg(long)]
    licence: Option<String>,
    /// How many, at most 100
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// Only in the index of this registry
    #[arg(long, value_name = "HOST/PREFIX")]
    registry: Option<String>,
    /// Go on where the last page ended
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
    /// Fetch what changed first
    #[arg(long)]
    refresh: bool,
}

async fn indexes(refresh: bool, config: &Config, output: &Output) -> Result<Indexes, Problem> {
    let trust = Trust::open(&Layout(&config.home).trust())?;
    let indexes =
        if refresh { Network::open(config)?.indexes(config, &trust).await? } else { Indexes::open(config, &trust)? };
    indexes.warnings.iter().for_each(|problem| output.warn(problem));
    if indexes.all.is_empty() {
        let problem = Problem::new(Code::R001, "no index is known on this machine");
        return Err(problem.help("`ice index refresh` fetches those of the trusted registries"));
    }
    Ok(indexes)
}

pub(crate) async fn run(args: SearchArgs, config: &Config, output: &Output) -> Outcome {
    let one = |problem: Problem| vec![problem];
    let mut indexes = indexes(args.refresh, config, output).await.map_err(one)?;
    if let Some(registry) = &args.registry {
        indexes.all.retain(|prefix, _| prefix == registry);
        if indexes.all.is_empty() {
            let problem = Problem::new(Code::R001, format!("no index of `{registry}` is known on this machine"));
            return Err(one(problem.help("`ice index refresh` fetches those of the trusted registries")));
        }
    }
    let unknown = |what: &str, text: &str| one(Problem::new(Code::C001, format!("`{text}` is no {what}")));
    let kind = args.kind.as_deref().map(|text| {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| unknown("kind of plugin", text))
    });
    let capability = args.capability.as_deref().map(|text| {
        Capability::ALL.into_iter().find(|c| c.as_str() == text).ok_or_else(|| unknown("capability", text))
    });
    let mut query = Query {
        text: args.text.join(" "),
        kind: kind.transpose()?,
        capability: capability.transpose()?,
        scope: args.scope.clone(),
        licence: args.licence.clone(),
        host: Some(host_version()),
        limit: args.limit,
        cursor: None,
    };
    let key = CursorKey::kept_in(&Layout(&config.home).cursor_key()).map_err(one)?;
    let marks = args.after.as_deref().map(|text| marks(text, &indexes)).transpose().map_err(one)?;
    let mut hits: Vec<(&str, Hit)> = Vec::new();
    let mut next = Vec::new();
    for (prefix, index) in &indexes.all {
        query.cursor = match &marks {
            None => None,
            Some(marks) => match marks.get(prefix.as_str()) {
                Some(cursor) => Some((*cursor).to_owned()),
                // The page before was the last one of this index.
                None => continue,
            },
        };
        let page = search(index, &query, &key).map_err(one)?;
        page.warning.iter().for_each(|problem| output.warn(problem));
        let age = page.age / 3600;
        output.note(&format!(
            "{prefix}: index {}, {age} {} old",
            page.index_version,
            if age == 1 { "hour" } else { "hours" }
        ));
        hits.extend(page.hits.into_iter().map(|hit| (prefix.as_str(), hit)));
        next.extend(page.next.map(|cursor| format!("{prefix}={cursor}")));
    }
    let next = Some(next.join(",")).filter(|next| !next.is_empty());
    let ages: Vec<Value> = indexes.all.iter().map(|(prefix, index)| {
        json!({ "registry": prefix, "version": index.header().version, "age_seconds": index.age() })
    }).collect();
    output.either(
        || json!({ "hits": hits.iter().map(|(prefix, hit)| hit_value(prefix, hit)).collect::<Vec<_>>(), "next": next, "indexes": ages }),
        || hits.iter().flat_map(|(_, hit)| hit_lines(hit)).collect(),
    );
    if hits.is_empty() {
        output.note("nothing was found");
    } else if let Some(next) = &next {
        output.note(&format!("there is more: --after '{next}'"));
    }
    Ok(Exit::Done)
}

/// Where the last page of each index ended: `PREFIX=CURSOR`, several with commas.
fn marks<'a>(text: &'a str, indexes: &Indexes) -> Result<BTreeMap<&'a str, &'a str>, Problem> {
    let refuse = || {
        Problem::new(Code::C001, format!("`{}` is not what a page ended with", printable(text)))
            .help("ask for the first page again, without `--after`")
    };
    let pairs = text.split(',').map(|pair| pair.split_once('=').ok_or_else(refuse));
    let marks = pairs.collect::<Result<BTreeMap<_, _>, _>>()?;
    if marks.keys().all(|prefix| indexes.all.contains_key(*prefix)) { Ok(marks) } else { Err(refuse()) }
}

fn hit_value(prefix: &str, hit: &Hit) -> Value {
    json!({ "registry": prefix, "name": hit.name, "version": hit.version, "kind": hit.kind.as_str(),
            "description": hit.description, "tags": hit.tags, "licence": hit.licence,
            "capabilities": hit.capabilities, "deprecated": hit.deprecated, "score": hit.score,
            "why": { "exact": hit.why.exact, "keyword": hit.why.keyword, "vector": hit.why.vector, "words": hit.why.words } })
}

fn hit_lines(hit: &Hit) -> Vec<String> {
    let mut lines = vec![format!("{} {} ({})", hit.name, hit.version, hit.kind)];
    lines.push(format!("  {}", hit.description));
    lines.extend(hit.deprecated.iter().map(|old| format!("  deprecated since {}", printable(&old.since))));
    lines
}

/// Show what is known about a plugin: installed, locked, in the indexes
///
/// Example: ice info acme/csv
#[derive(clap::Args)]
pub(crate) struct InfoArgs {
    /// The plugin
    name: String,
}

pub(crate) fn info(args: &InfoArgs, config: &Config, output: &Output) -> Outcome {
    let one = |problem: Problem| vec![problem];
    let name = qualified(&args.name);
    let installed = Installed::open(config)?;
    let indexes = Indexes::open(config, &installed.trust).map_err(one)?;
    let lock = project::lock(config).map_err(one)?;
    let entries = installed.plugins.list().map_err(one)?;
    let here: Vec<_> = entries.iter().filter(|entry| entry.name == name).collect();
    let rows: Vec<(&String, &Row)> =
        indexes.all.iter().filter_map(|(prefix, index)| Some((prefix, index.row(&name)?))).collect();
    if here.is_empty() && rows.is_empty() {
        let problem = Problem::new(Code::R001, format!("nothing is known of `{}`", printable(&name)));
        return Err(one(problem.help("`ice search` finds plugins in the indexes; `ice index refresh` fetches those")));
    }
    let locked = lock.find(&name);
    output.either(
        || {
            json!({ "name": name, "installed": here.iter().map(|entry| json!({ "version": entry.version, "statement": entry.statement })).collect::<Vec<_>>(),
                    "locked": locked.map(|package| json!({ "version": package.version, "statement": package.statement, "source": package.source, "granted": package.granted })),
                    "indexes": rows.iter().map(|(prefix, row)| json!({ "registry": prefix, "row": row })).collect::<Vec<_>>() })
        },
        || {
            let mut lines = vec![name.clone()];
            for entry in &here {
                match installed.plugins.verified(entry, &installed.trust) {
                    Ok(verified) => {
                        lines.push(format!("  installed  {} {}", entry.version, printable(&verified.value().description)));
                        let parts = verified.value().components.iter();
                        lines.extend(parts.map(|part| format!("  {:<10} {}: {}", part.node_type.as_str(), part.name, printable(&part.description))));
                    }
                    Err(problem) => lines.push(format!("  REFUSED    {} [{}] {}", entry.version, problem.code, problem.message)),
                }
            }
            lines.extend(locked.iter().map(|package| format!("  locked     {}, may {}", package.version, may(&package.granted))));
            lines.extend(rows.iter().flat_map(|(prefix, row)| row_lines(prefix, row)));
            lines
        },
    );
    Ok(Exit::Done)
}

fn may(granted: &[String]) -> String {
    if granted.is_empty() { "nothing".to_owned() } else { granted.join(", ") }
}

fn row_lines(prefix: &str, row: &Row) -> Vec<String> {
    let mut lines = vec![format!("  in {prefix}: {}", printable(&row.description))];
    lines.extend(row.licence.iter().map(|licence| format!("    licence  {}", printable(licence))));
    lines.extend(
        row.cost.iter().map(|cost| format!("    cost     {} USD a call, {} a token", cost.base, cost.per_token)),
    );
    lines.extend(row.deprecated.iter().map(|old| {
        let instead = old.replacement.as_ref().map(|name| format!(", use `{}`", printable(name))).unwrap_or_default();
        format!("    deprecated since {}{instead}", printable(&old.since))
    }));
    for version in row.versions.iter().rev() {
        let yanked = version.yanked.as_ref().map(|why| format!(", yanked: {}", printable(why))).unwrap_or_default();
        let security = if version.security { ", security release" } else { "" };
        lines.push(format!("    {}  {}{security}{yanked}", version.version, print_date(version.first_seen)));
    }
    lines
}

/// List locked plugins that have a newer version
///
/// Asks the signed indexes; for what they do not know, the registry the plugin comes from. Exits with 1 when there is
/// one.
///
/// Example: ice outdated
#[derive(clap::Args)]
pub(crate) struct OutdatedArgs {
    /// Use the indexes as they are here
    #[arg(long)]
    offline: bool,
}

/// What is known beyond a locked version.
struct Beyond {
    name: String,
    locked: Version,
    newest: Option<Version>,
    yanked: Option<String>,
    deprecated: Option<Deprecation>,
}

impl Beyond {
    fn of_index(package: &LockedPackage, row: &Row) -> Self {
        let newest = row.newest().map(|newest| newest.version.clone()).filter(|newest| *newest > package.version);
        let yanked = row.version(&package.version).and_then(|version| version.yanked.clone());
        let (name, locked) = (package.name.clone(), package.version.clone());
        Self { name, locked, newest, yanked, deprecated: row.deprecated.clone() }
    }

    fn of_registry(package: &LockedPackage, versions: Vec<Available>) -> Self {
        let released = versions.into_iter().map(|one| one.version).filter(|version| version.pre.is_empty());
        let newest = released.max().filter(|newest| *newest > package.version);
        let (name, locked) = (package.name.clone(), package.version.clone());
        Self { name, locked, newest, yanked: None, deprecated: None }
    }

    fn is_something(&self) -> bool {
        self.newest.is_some() || self.yanked.is_some() || self.deprecated.is_some()
    }

    fn value(&self) -> Value {
        json!({ "name": self.name, "locked": self.locked, "newest": self.newest, "yanked": self.yanked,
                "deprecated": self.deprecated })
    }

    fn line(&self) -> String {
        let mut line = format!("{} {}", self.name, self.locked);
        self.newest.iter().for_each(|newest| line.push_str(&format!(" -> {newest}")));
        self.yanked.iter().for_each(|why| line.push_str(&format!("  yanked: {}", printable(why))));
        self.deprecated.iter().for_each(|old| line.push_str(&format!("  deprecated since {}", printable(&old.since))));
        line
    }
}

pub(crate) async fn outdated(args: OutdatedArgs, config: &Config, output: &Output) -> Outcome {
    let one = |problem: Problem| vec![problem];
    let trust = Trust::open(&Layout(&config.home).trust()).map_err(one)?;
    let network = if args.offline { None } else { Some(Network::open(config).map_err(one)?) };
    let indexes = match &network {
        Some(network) => {
            let indexes = network.indexes(config, &trust).await.map_err(one)?;
            indexes.warnings.iter().for_each(|problem| output.warn(problem));
            indexes
        }
        None => self::indexes(false, config, output).await.map_err(one)?,
    };
    let lock = project::lock(config).map_err(one)?;
    let mut rows = Vec::new();
    for package in lock.packages() {
        if let Some(row) = indexes.all.values().find_map(|index| index.row(&package.name)) {
            rows.push(Beyond::of_index(package, row));
        } else if let Some(network) = &network {
            match network.remote(&trust, &indexes).versions(&package.name).await {
                Ok(versions) => rows.push(Beyond::of_registry(package, versions)),
                // It was made here, or nobody has it any more.
                Err(problem) if matches!(problem.code, Code::T019 | Code::R001) => {}
                Err(problem) => output.warn(&problem.subject(format!("plugin `{}`", package.name))),
            }
        }
    }
    rows.retain(Beyond::is_something);
    output.either(
        || json!(rows.iter().map(Beyond::value).collect::<Vec<_>>()),
        || rows.iter().map(Beyond::line).collect(),
    );
    Ok(if rows.is_empty() { Exit::Done } else { Exit::Failed })
}
