//! `ice doctor`: a list of checks; each says what it found and, where that is not good, what to do.

use std::path::Path;

use ice_core::problem::{Exit, Problem};
use serde::Serialize;
use serde_json::json;

use super::Outcome;
use crate::config::Config;
use crate::guests;
use crate::output::Output;
use crate::wire::{Host, Indexes, Installed, Layout, Storage, make_home, now};

/// Check that everything ice needs is there, and say what to do where it is not
///
/// Exits with 2 when something that running plugins needs is not in order.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// What one check found.
#[derive(Serialize)]
struct Finding {
    name: &'static str,
    ok: bool,
    /// Whether running plugins needs it.
    needed: bool,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

/// Below this there is no room for a compiled interpreter component and the database to grow.
const DISK_FREE_MIN: u64 = 1 << 30;

pub(crate) async fn run(_: Args, config: &Config, output: &Output) -> Outcome {
    let mut findings = vec![home(config), settings(config), store(config).await];
    findings.extend(trust(config));
    findings.extend([plugins(config), lock(config), registries(config)]);
    findings.extend(host(config, output).await);
    findings.extend([disk(&config.home), toolchain(), versions()]);
    let well = findings.iter().all(|finding| finding.ok || !finding.needed);
    output.either(
        || json!({ "ok": well, "checks": findings }),
        || {
            let mut lines = Vec::new();
            for finding in &findings {
                let mark = match (finding.ok, finding.needed) {
                    (true, _) => "ok",
                    (false, true) => "NO",
                    (false, false) => "--",
                };
                lines.push(format!("{mark}  {:<10} {}", finding.name, finding.found));
                lines.extend(finding.fix.iter().map(|fix| format!("               {fix}")));
            }
            lines
        },
    );
    Ok(if well { Exit::Done } else { Exit::Usage })
}

fn good(name: &'static str, found: impl Into<String>) -> Finding {
    Finding { name, ok: true, needed: true, found: found.into(), fix: None }
}

fn bad(name: &'static str, problem: &Problem) -> Finding {
    Finding {
        name,
        ok: false,
        needed: true,
        found: format!("[{}] {}", problem.code, problem.message),
        fix: problem.help.clone(),
    }
}

fn home(config: &Config) -> Finding {
    match make_home(config) {
        Ok(()) => good("home", config.home.display().to_string()),
        Err(problem) => bad("home", &problem),
    }
}

fn settings(config: &Config) -> Finding {
    let file = config.file.display();
    good(
        "settings",
        if config.file.exists() { format!("{file}") } else { format!("{file} is not there; the defaults hold") },
    )
}

async fn store(config: &Config) -> Finding {
    let storage = match Storage::open(config).await {
        Ok(storage) => storage,
        Err(problem) => return bad("store", &problem),
    };
    match storage.store.check().await.first() {
        None => good("store", storage.store.place()),
        Some(problem) => bad("store", problem),
    }
}

/// Whether anybody is trusted, and everything that will stop to be.
fn trust(config: &Config) -> Vec<Finding> {
    let trust = match ice_registry::Trust::open(&Layout(&config.home).trust()) {
        Ok(trust) => trust,
        Err(problem) => return vec![bad("trust", &problem)],
    };
    if trust.scopes().is_empty() {
        return vec![Finding {
            name: "trust",
            ok: false,
            needed: true,
            found: "nobody is trusted, so no plugin can run".into(),
            fix: Some("`ice trust add KEY.pem --scope 'iceos/*'`; `ice keys generate` makes a key of your own".into()),
        }];
    }
    let root = trust.root().map(|root| format!(", root {}", root.version())).unwrap_or_default();
    let found = format!("{} keys, {} scopes{root}", trust.trusted_keys().len(), trust.scopes().len());
    let warnings = trust.warnings(now());
    let soon = warnings.iter().map(|problem| Finding { needed: false, ..bad("trust", problem) });
    std::iter::once(good("trust", found)).chain(soon).collect()
}

/// Whether the lock lists what is here, and the other way round.
fn lock(config: &Config) -> Finding {
    let place = config.lock.display();
    let installed = match Installed::open(config) {
        Ok(installed) => installed,
        // Told with the plugins.
        Err(_) => {
            return Finding { needed: false, ..good("lock", format!("{place} is not compared: see the plugins")) };
        }
    };
    match installed.unlisted.first() {
        Some(problem) => Finding { needed: false, ..bad("lock", problem) },
        None if !config.lock.exists() => good("lock", format!("{place} is not there yet")),
        None => good("lock", format!("{place} lists {} plugins", installed.lock.packages().len())),
    }
}

/// Which registries there are, and how old their indexes are. Opens no connection.
fn registries(config: &Config) -> Finding {
    let known = || {
        let trust = ice_registry::Trust::open(&Layout(&config.home).trust())?;
        Ok((Indexes::open(config, &trust)?, Indexes::prefixes(config, &trust)?))
    };
    let (indexes, prefixes) = match known() {
        Ok(known) => known,
        Err(problem) => return Finding { needed: false, ..bad("registries", &problem) },
    };
    if let Some(problem) = indexes.warnings.first() {
        return Finding { needed: false, ..bad("registries", problem) };
    }
    if let Some(problem) = indexes.all.values().find_map(ice_registry::index::Index::stale) {
        return Finding { needed: false, ..bad("registries", &problem) };
    }
    let words = |prefix: &String| match indexes.all.get(prefix) {
        Some(index) => format!("{prefix} (index {}, {} hours old)", index.header().version, index.age() / 3600),
        None => prefix.clone(),
    };
    let found: Vec<String> = prefixes.iter().map(words).collect();
    let none = "none is named; plugins come from this machine and from files";
    Finding { needed: false, ..good("registries", if found.is_empty() { none.to_owned() } else { found.join(", ") }) }
}

fn plugins(config: &Config) -> Finding {
    let installed = match Installed::open(config) {
        Ok(installed) => installed,
        Err(problems) => {
            let first = problems.into_iter().next();
            return first.map_or_else(|| good("plugins", "nothing"), |problem| bad("plugins", &problem));
        }
    };
    if let Some(problem) = installed.problems.first() {
        return bad("plugins", problem);
    }
    let catalog = &installed.catalog;
    let found = format!(
        "{} tools, {} agents, {} blueprints",
        catalog.tools.len(),
        catalog.agents.len(),
        catalog.blueprints.len()
    );
    if catalog.tools.is_empty() && catalog.blueprints.is_empty() {
        let fix =
            Some("`ice plugins sign MANIFEST --key KEY` installs one; in a checkout, `make demo` does it all".into());
        return Finding { name: "plugins", ok: false, needed: true, found: "none is installed".into(), fix };
    }
    good("plugins", found)
}

/// What takes the whole house put together.
async fn host(config: &Config, output: &Output) -> Vec<Finding> {
    match Host::open(config, output).await {
        Ok(host) => vec![models(&host), sandbox(&host)],
        Err(problems) => problems.iter().map(|problem| bad("sandbox", problem)).collect(),
    }
}

fn models(host: &Host) -> Finding {
    if host.models.offline() {
        return Finding {
            name: "models",
            ok: true,
            needed: false,
            found: "offline: answers are quoted from documents, search is by keyword".into(),
            fix: Some("set `OPENAI_API_KEY`, or `OPENAI_BASE_URL` for a server of your own".into()),
        };
    }
    let embedder = host.models.embedder().unwrap_or_else(|| "none".into());
    good("models", format!("default {}, embedder {embedder}", host.models.default_model()))
}

fn sandbox(host: &Host) -> Finding {
    match host.runtime.warnings().first() {
        Some(warning) => Finding { needed: false, ..bad("sandbox", warning) },
        None => good("sandbox", host.runtime.allocation()),
    }
}

fn disk(home: &Path) -> Finding {
    match rustix::fs::statvfs(home) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let found = format!("{} MiB free", free >> 20);
            if free >= DISK_FREE_MIN {
                return good("disk", found);
            }
            Finding {
                name: "disk",
                ok: false,
                needed: true,
                found,
                fix: Some("free some space, or set `ICE_HOME` to another disk".into()),
            }
        }
        Err(error) => bad(
            "disk",
            &Problem::new(ice_core::problem::Code::C003, format!("the disk does not tell how full it is: {error}")),
        ),
    }
}

fn toolchain() -> Finding {
    match guests::toolchain() {
        Ok(toolchain) => Finding { needed: false, ..good("toolchain", toolchain) },
        Err(problem) => Finding { needed: false, ..bad("toolchain", &problem) },
    }
}

fn versions() -> Finding {
    good("versions", format!("ice {}, {}", crate::version(), std::env::consts::OS))
}
