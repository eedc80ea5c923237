//! Settings: file + environment + flags → one resolved [`Config`]. Commands take plain values from it.
//!
//! The file is `ice.toml` in the home (`$ICE_HOME`, else `~/.iceos`), or the one `--config` names. A file that
//! merely lies in the current folder is not read: a checkout must not be able to grant itself anything.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use ice_capabilities::Secret;
use ice_capabilities::llm::PROVIDERS;
use ice_core::budget::{Budget, OrgBudgets};
use ice_core::bundle::Needs;
use ice_core::grant::{Grant, LimitSettings};
use ice_core::id::Identity;
use ice_core::problem::{Code, Problem};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

mod money;

use money::BudgetSection;
pub(crate) use money::{Amount, amount};

/// Channels of monitor nodes whose alerts go through a gateway of the operator.
const ALERT_CHANNELS: &[&str] = &["email", "sms", "slack", "webhook"];

/// Flags that every command has.
#[derive(clap::Args, Debug, Default)]
pub(crate) struct GlobalArgs {
    /// Print JSON on standard output and no progress
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print no progress
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// The folder for keys, plugins, executions and memory
    #[arg(long, global = true, env = "ICE_HOME", value_name = "DIR", hide_env_values = true)]
    pub(crate) home: Option<PathBuf>,
    /// The settings file [default: `ice.toml` in the home]
    #[arg(long, global = true, env = "ICE_CONFIG", value_name = "FILE", hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,
    /// Run exactly what `ice.lock` lists; install, change and fetch nothing
    ///
    /// Everything the lock lists has to be there, whole, signed by the keys it names and permitted no more than it says,
    /// or nothing starts. What would bring something in, or let something do more, is refused (ICE-T044): install, update,
    /// remove, bundle load, plugins sign, plugins grant, trust add, trust scope, trust import-root, registry add, registry remove; so is
    /// whatever asks a registry (publish, attest, login, index refresh, index publish, search --refresh, outdated without
    /// --offline), and whatever runs a component that nobody signed (plugins build, plugins export, bundle build). Taking
    /// belief away stays possible: trust remove, trust revocations import.
    #[arg(long, global = true, env = "ICE_NO_DYNAMIC", hide_env_values = true,
          value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) no_dynamic: bool,
}

/// `ice.toml`. Every key is optional.
#[derive(Deserialize, JsonSchema, Debug, Default)]
#[serde(default, deny_unknown_fields)]
struct File {
    store: StoreSection,
    llm: LlmSection,
    egress: EgressSection,
    limits: LimitSections,
    budget: BudgetSection,
    engine: EngineSection,
    /// Plugin name → which versions, such as `"iceos/chatkit" = "^1"`.
    plugins: BTreeMap<String, String>,
    /// Plugin name → what it may use.
    grants: BTreeMap<String, Grant>,
}

/// JSON Schema of `ice.toml`, from the types that read it.
pub(crate) fn schema() -> Value {
    ice_core::schema::of_type::<File>("ice.toml", "ice.toml:1")
}

/// Where executions are kept.
#[derive(Deserialize, JsonSchema, Debug, Default)]
#[serde(default, deny_unknown_fields)]
struct StoreSection {
    /// `sqlite:PATH`; the default is `ice.db` in the home.
    url: Option<String>,
}

/// Which models, and where.
#[derive(Deserialize, JsonSchema, Debug, Default, Clone)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LlmSection {
    /// `provider/model` that a plugin asks which names none. A blueprint always names its models.
    pub(crate) model: Option<String>,
    /// `provider/model` that turns text into vectors; without one, search is by keyword.
    pub(crate) embedder: Option<String>,
    /// Provider name → base URL.
    pub(crate) base_urls: BTreeMap<String, String>,
    /// Price table that overrides the built-in one.
    pub(crate) prices: Option<PathBuf>,
}

/// What HTTP may reach besides public addresses.
#[derive(Deserialize, JsonSchema, Debug, Default)]
#[serde(default, deny_unknown_fields)]
struct EgressSection {
    /// `host:port` pairs with private or loopback addresses that may be reached nonetheless.
    allow_private: Vec<String>,
    /// A PEM file with root certificates that are believed besides the built-in ones.
    extra_roots: Option<PathBuf>,
}

/// Limits of one call, per kind of component.
#[derive(Deserialize, JsonSchema, Debug, Default, Clone)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LimitSections {
    /// For tools.
    pub(crate) tool: LimitSettings,
    /// For agents.
    pub(crate) agent: LimitSettings,
}

/// What nodes may do by themselves: plugins have grants.
#[derive(Deserialize, JsonSchema, Debug, Default)]
#[serde(default, deny_unknown_fields)]
struct EngineSection {
    /// What webhook and monitor nodes may reach: `METHOD scheme://host[:port][/path*]`.
    http: Vec<String>,
    /// Secret name → hosts that webhook nodes may send it to, or sign for.
    secrets: BTreeMap<String, Vec<String>>,
    /// `email`, `sms`, `slack` or `webhook` → the URL that alerts of monitor nodes are posted to.
    alert_gateways: BTreeMap<String, String>,
}

/// Everything a command needs to know, resolved.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) home: PathBuf,
    /// The settings file, whether or not it exists.
    pub(crate) file: PathBuf,
    /// `ice.lock`, beside the settings file; whether or not it exists.
    pub(crate) lock: PathBuf,
    /// Run what the lock lists and nothing else.
    pub(crate) no_dynamic: bool,
    /// What is wanted, from `[plugins]`.
    pub(crate) wants: Vec<Needs>,
    /// Signed archives that this process offers besides what is installed, from `ICEOS_EXTRA_PLUGINS`.
    pub(crate) extra_plugins: Vec<PathBuf>,
    pub(crate) store_url: Option<String>,
    pub(crate) llm: LlmSection,
    /// Provider name → key, from the environment.
    pub(crate) keys: BTreeMap<&'static str, Secret>,
    pub(crate) allow_private: Vec<String>,
    pub(crate) extra_roots: Option<PathBuf>,
    pub(crate) limits: LimitSections,
    /// What one execution may spend.
    pub(crate) budget: Budget,
    /// What orgs may spend over all their executions.
    pub(crate) org_budgets: OrgBudgets,
    /// What webhook and monitor nodes may reach, and which secrets they may name.
    pub(crate) node_egress: Grant,
    /// Channel → URL that alerts of monitor nodes are posted to.
    pub(crate) alert_gateways: BTreeMap<String, String>,
    pub(crate) grants: BTreeMap<String, Grant>,
    pub(crate) identity: Identity,
}

impl Config {
    /// Reads the file and the environment. Every problem at once.
    pub(crate) fn resolve(args: &GlobalArgs) -> Result<Self, Vec<Problem>> {
        let home = home(args.home.as_deref()).map_err(|problem| vec![problem])?;
        let path = args.config.clone().unwrap_or_else(|| home.join("ice.toml"));
        let file = read_file(&path, args.config.is_some()).map_err(|problem| vec![problem])?;
        let mut problems = Vec::new();
        let mut limits = file.limits;
        limits_from_environment(&mut limits, &mut problems);
        let mut llm = file.llm;
        let mut keys = BTreeMap::new();
        for row in PROVIDERS {
            if let Some(value) = variable(row.key_variable, &mut problems) {
                keys.insert(row.name, Secret::new(value));
            }
            if let Some(value) = variable(row.base_url_variable, &mut problems) {
                llm.base_urls.insert(row.name.to_owned(), value);
            }
        }
        llm.model = variable("ICE_LLM_MODEL", &mut problems).or(llm.model);
        let mut allow_private = file.egress.allow_private;
        if let Some(list) = variable("ICE_EGRESS_ALLOW_PRIVATE", &mut problems) {
            allow_private
                .extend(list.split(',').map(|entry| entry.trim().to_owned()).filter(|entry| !entry.is_empty()));
        }
        let budget = file.budget.with_environment(&mut problems);
        let identity = Identity {
            org: variable("ICE_DEFAULT_ORG_ID", &mut problems).unwrap_or_else(|| "local".into()),
            user: variable("ICE_DEFAULT_USER_ID", &mut problems).unwrap_or_else(|| "local".into()),
            session: None,
        };
        let wants = read_wants(&file.plugins, &path, &mut problems);
        let extra_plugins = std::env::var_os("ICEOS_EXTRA_PLUGINS")
            .map(|paths| std::env::split_paths(&paths).filter(|path| !path.as_os_str().is_empty()).collect())
            .unwrap_or_default();
        let EngineSection { http, secrets, alert_gateways } = file.engine;
        let node_egress = Grant { http, secrets, ..Grant::default() };
        problems.extend(check_engine(&node_egress, &alert_gateways, &path));
        let store_url = variable("ICEOS_DB_URL", &mut problems).or(file.store.url);
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            store_url,
            llm,
            keys,
            allow_private,
            extra_roots: file.egress.extra_roots,
            limits,
            budget: Budget { micro_usd: budget.usd.map(|amount| amount.0), tokens: budget.tokens, ms: None },
            org_budgets: budget.orgs(),
            node_egress,
            alert_gateways,
            grants: file.grants,
            identity,
            lock: path.with_file_name("ice.lock"),
            no_dynamic: args.no_dynamic,
            wants,
            extra_plugins,
            file: path,
            home,
        })
    }
}

impl Config {
    /// The same with the grants that are in the settings file now, because this process has changed it.
    pub(crate) fn reread(&self) -> Result<Self, Problem> {
        Ok(Self { grants: read_file(&self.file, false)?.grants, ..self.clone() })
    }
}

/// `[plugins]`: names and requirements, each with its own problem.
fn read_wants(plugins: &BTreeMap<String, String>, path: &Path, problems: &mut Vec<Problem>) -> Vec<Needs> {
    let mut wants = Vec::new();
    for (name, req) in plugins {
        match Needs::parse(&format!("{name}@{req}")) {
            Ok(needs) => wants.push(needs),
            Err(problem) => {
                problems.push(problem.file(path.display().to_string()).pointer(format!("/plugins/{name}")));
            }
        }
    }
    wants
}

/// `[engine]`: rules in their grammar, channels that monitors have, gateways that may be reached.
fn check_engine(egress: &Grant, gateways: &BTreeMap<String, String>, path: &Path) -> Vec<Problem> {
    let mut problems = egress.check();
    for (channel, url) in gateways {
        let refuse = |message: String| Problem::new(Code::C004, message).pointer(format!("/alert_gateways/{channel}"));
        if !ALERT_CHANNELS.contains(&channel.as_str()) {
            let message = format!("`{channel}` is not a channel that has a gateway");
            problems.push(refuse(message).help(format!("there are {}", ALERT_CHANNELS.join(", "))));
        } else if !egress.allows_http("POST", url) {
            // The URL stays unsaid: that of a chat's webhook is as good as a password.
            let message = format!("`http` does not let nodes reach the gateway of `{channel}`");
            problems.push(refuse(message).help("add `POST scheme://host/path` of the gateway to `http` of `[engine]`"));
        }
    }
    let place = |mut problem: Problem| {
        let inner = problem.at.as_ref().and_then(|at| at.pointer.clone()).unwrap_or_default();
        problem.code = Code::C004;
        problem.file(path.display().to_string()).pointer(format!("/engine{inner}"))
    };
    problems.into_iter().map(place).collect()
}

/// The home: flag or `ICE_HOME`, else `~/.iceos`. Says what to set when there is neither.
fn home(flag: Option<&Path>) -> Result<PathBuf, Problem> {
    if let Some(path) = flag {
        return std::path::absolute(path).map_err(|error| {
            Problem::new(Code::C003, format!("the home cannot be resolved: {error}")).file(path.display().to_string())
        });
    }
    std::env::home_dir().filter(|path| !path.as_os_str().is_empty()).map(|path| path.join(".iceos")).ok_or_else(|| {
        Problem::new(Code::C003, "there is no home folder: neither `ICE_HOME` nor `HOME` is set")
            .help("set `ICE_HOME` to a folder that ice may write to, for example `ICE_HOME=/var/lib/ice`")
    })
}

/// Reads `ice.toml`; a file that was not named may be missing.
fn read_file(path: &Path, named: bool) -> Result<File, Problem> {
    let place = path.display().to_string();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        // A home that cannot be there is the business of whoever needs it.
        Err(error) if !named && matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(File::default());
        }
        Err(error) => {
            return Err(Problem::new(Code::C002, format!("the settings cannot be read: {error}")).file(place));
        }
    };
    let file: File = toml::from_str(&text).map_err(|error| {
        let line = error.span().map(|span| 1 + text[..span.start].matches('\n').count());
        let mut problem = Problem::new(Code::C004, error.message().to_owned())
            .file(place.clone())
            .help("see `ice doctor` for the settings in force");
        if let (Some(at), Some(line)) = (&mut problem.at, line) {
            at.line = u32::try_from(line).ok();
        }
        problem
    })?;
    Ok(file)
}

/// A variable of the environment; empty counts as not set, text that is not UTF-8 is a problem.
fn variable(name: &str, problems: &mut Vec<Problem>) -> Option<String> {
    match std::env::var(name) {
        Ok(value) if value.is_empty() => None,
        Ok(value) => Some(value),
        Err(std::env::VarError::NotPresent) => None,
        Err(std::env::VarError::NotUnicode(_)) => {
            problems.push(Problem::new(Code::C004, format!("`{name}` is not UTF-8 text")));
            None
        }
    }
}

/// `ICE_SANDBOX_{TOOL,AGENT}_{MEMORY_MB,TIMEOUT_SECONDS,CPU_SECONDS}`.
fn limits_from_environment(limits: &mut LimitSections, problems: &mut Vec<Problem>) {
    for (kind, settings) in [("TOOL", &mut limits.tool), ("AGENT", &mut limits.agent)] {
        let fields = [
            ("MEMORY_MB", &mut settings.memory_mb),
            ("TIMEOUT_SECONDS", &mut settings.timeout_seconds),
            ("CPU_SECONDS", &mut settings.cpu_seconds),
        ];
        for (suffix, field) in fields {
            let name = format!("ICE_SANDBOX_{kind}_{suffix}");
            let Some(text) = variable(&name, problems) else { continue };
            match text.parse::<u32>() {
                Ok(value) if value > 0 => *field = Some(value),
                _ => problems.push(
                    Problem::new(Code::C004, format!("`{name}={text}` is not a limit"))
                        .help("write a whole number from 1 up"),
                ),
            }
        }
    }
}

#[cfg(test)]
mod tests;
