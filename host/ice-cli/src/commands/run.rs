//! `ice run`.

use std::path::Path;

use ice_core::blueprint::{self, Parsed};
use ice_core::budget::Budget;
use ice_core::id::Digest;
use ice_core::ports::{Components, Documents};
use ice_core::problem::{Code, Problem};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::cassette::CassetteArgs;
use super::inputs::InputArgs;
use super::{Outcome, build, bundle};
use crate::config::Config;
use crate::output::Output;
use crate::view::live;
use crate::wire::{Host, Layout, Storage};
use crate::{deprecation, files};

/// Run a blueprint: a file, a stored one, or one of an installed bundle
///
/// On a terminal the nodes are drawn as a tree while they run, with state, time, tokens and cost. Where standard output
/// is no terminal, or with `--json`, every event is one line of JSON, and the last line is the result.
///
/// Example: ice run report.yaml --input city=Oslo
/// Example: ice run chatkit --input query="How many days of leave?" --input session_id=mine
/// Example: ice run --last --input city=Bergen
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A file (`-` reads standard input), a bundle or one of its blueprints, or the digest `sha256:…` of a blueprint
    /// that ran here before
    #[arg(required_unless_present = "last")]
    blueprint: Option<String>,
    #[command(flatten)]
    inputs: InputArgs,
    /// Run what was run last, with its inputs; inputs that are given now win
    #[arg(long, conflicts_with = "blueprint")]
    last: bool,
    /// Names the conversation that memory tools see
    #[arg(long)]
    session: Option<String>,
    /// How many nodes run at once; the blueprint's own number by default
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    max_parallel: Option<u32>,
    /// What the execution may spend, in US dollars, if that is less than the blueprint allows
    #[arg(long, value_name = "USD", value_parser = micro_usd)]
    budget_usd: Option<u64>,
    #[command(flatten)]
    cassette: CassetteArgs,
}

/// What was run last, for `--last`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Last {
    blueprint: String,
    inputs: Map<String, Value>,
    session: Option<String>,
}

pub(crate) async fn run(args: Args, config: &Config, output: &Output) -> Outcome {
    let output = &output.for_reader();
    let mut inputs = args.inputs.read()?;
    let (name, session) = match args.blueprint {
        Some(name) => (absolute(name)?, args.session),
        None => {
            let mut last = last(config)?;
            last.inputs.append(&mut inputs);
            inputs = last.inputs;
            (last.blueprint, args.session.or(last.session))
        }
    };
    let tape = args.cassette.open()?;
    let host = Host::open_taped(config, output, &[], tape.cassette()).await?;
    let (mut parsed, entry) = find(&name, &host, config).await?;
    if let Some(max_parallel) = args.max_parallel {
        parsed.blueprint.max_parallel = max_parallel;
    }
    remember(config, &Last { blueprint: name, inputs: inputs.clone(), session: session.clone() });
    let bin = bundle::local_bin(&parsed, &mut inputs, config, output).await?;
    let host = match &bin {
        Some(bin) => Host::open_taped(config, output, &[bin.address.to_string()], tape.cassette()).await?,
        None => host,
    };
    let plan = host.engine.plan(&parsed).await.map_err(|problems| host.explain(problems))?;
    deprecation::used(&host.catalog, entry.as_deref(), &plan).iter().for_each(|problem| output.warn(problem));
    let expected = plan.graph.nodes.iter().map(|node| (node.id.to_string(), node.kind.to_owned())).collect();
    let mut start = host.start(plan, Value::Object(inputs), session);
    let own = Budget { micro_usd: args.budget_usd, ..Budget::default() };
    start.budget.micro_usd = [start.budget.micro_usd, own.micro_usd].into_iter().flatten().min();
    let handle = host.engine.start(start).await?;
    let outcome = live::watch(handle, expected, &host, output).await;
    tape.finish(outcome, output)
}

/// A file is found again from another folder, too.
fn absolute(name: String) -> Result<String, Vec<Problem>> {
    if name == "-" || !Path::new(&name).is_file() {
        return Ok(name);
    }
    let path = std::path::absolute(&name).map_err(|error| {
        vec![Problem::new(Code::C002, format!("the file cannot be found: {error}")).file(name.clone())]
    })?;
    Ok(path.to_str().map_or(name, str::to_owned))
}

/// The blueprint, and the bundle's entry that it is.
async fn find(name: &str, host: &Host, config: &Config) -> Result<(Parsed, Option<String>), Vec<Problem>> {
    let one = |problem: Problem| vec![problem];
    let path = Path::new(name);
    let is_document =
        path.extension().is_some_and(|ending| ["yaml", "yml", "json"].iter().any(|known| ending == *known));
    if name == "-" || path.is_file() || is_document {
        return Ok((build::parse_file(path)?, None));
    }
    if name.starts_with("sha256:") {
        let digest = Digest::parse(name).map_err(one)?;
        let storage = Storage::open(config).await.map_err(one)?;
        let document = storage.store.get(&digest).await.map_err(|failure| one(failure.problem))?;
        let unknown = || {
            one(Problem::new(Code::R001, format!("no blueprint `{name}` is stored here"))
                .help("`ice executions show ID --json` says which blueprint an execution had"))
        };
        return Ok((Parsed::from_value(document.ok_or_else(unknown)?)?, None));
    }
    let entry = bundle::find(&host.catalog, name).map_err(|problem| host.explain(one(problem)))?;
    let components: &dyn Components = &*host.runtime;
    let document = components.blueprint(&entry).await.map_err(|failure| one(failure.problem))?;
    Ok((blueprint::parse(&document.to_string(), &entry)?, Some(entry)))
}

fn last(config: &Config) -> Result<Last, Vec<Problem>> {
    let path = Layout(&config.home).last_run();
    let nothing = |_| {
        vec![
            Problem::new(Code::C002, "nothing was run here yet")
                .help("run something first: `ice run FILE`, `ice run BUNDLE`"),
        ]
    };
    let text = files::read_text(&path).map_err(nothing)?;
    serde_json::from_str(&text).map_err(|error| {
        let message = format!("what was run last cannot be read: {error}");
        vec![Problem::new(Code::C002, message).file(path.display().to_string()).help("run it by name once more")]
    })
}

/// Standard input cannot be read again. A home that cannot be written to must not stop what runs.
fn remember(config: &Config, last: &Last) {
    if last.blueprint != "-" {
        let text = serde_json::to_string_pretty(last).expect("plain data prints");
        let _ = files::replace(&Layout(&config.home).last_run(), text.as_bytes());
    }
}

/// Dollars with at most six digits after the point.
fn micro_usd(text: &str) -> Result<u64, String> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 6 || text.len() == usize::from(text.contains('.')) {
        return Err("write dollars such as 0.25, with six digits after the point at most".to_owned());
    }
    let micro = format!("{whole}{fraction:0<6}");
    micro.parse().map_err(|_| "that is too much".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_read_exactly() {
        for (text, micro) in [("1", 1_000_000), ("0.25", 250_000), (".000001", 1), ("2.", 2_000_000), ("0", 0)] {
            assert_eq!(micro_usd(text), Ok(micro), "{text}");
        }
        for text in ["", ".", "-1", "1e3", "0.0000001", "1,5", "99999999999999999999"] {
            assert!(micro_usd(text).is_err(), "{text}");
        }
    }
}
