//! `ice plugins precompile`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ice_core::problem::{Exit, Problem};
use serde_json::json;

use crate::commands::Outcome;
use crate::config::Config;
use crate::output::Output;
use crate::wire::Host;

/// Compile installed plugins ahead of their first call
///
/// A component is otherwise compiled when it is first called, which takes from milliseconds to seconds,
/// and for one that carries an interpreter up to a minute. What is compiled is kept, and not compiled again.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// What takes longer than this is named also where no spinner turns.
const SLOW: Duration = Duration::from_secs(2);

pub(crate) async fn run(_: Args, config: &Config, output: &Output) -> Outcome {
    let host = Host::open(config, output).await?;
    let callables = host.catalog.tools.values().chain(host.catalog.agents.values());
    let mut artifacts: BTreeSet<_> = callables.map(|callable| (callable.plugin.clone(), callable.artifact)).collect();
    artifacts.extend(host.catalog.blueprints.values().map(|entry| (entry.plugin.clone(), entry.artifact)));
    let bar = output.spinner("compiling");
    let mut problems: Vec<Problem> = Vec::new();
    for (number, (plugin, artifact)) in artifacts.iter().enumerate() {
        bar.set_message(format!("compiling {plugin} ({} of {})", number + 1, artifacts.len()));
        let (start, compiled) = (Instant::now(), host.runtime.cache_counts().compiled);
        if let Err(failure) = host.runtime.precompile(artifact).await {
            problems.push(failure.problem.subject(format!("plugin `{plugin}`")));
        }
        if host.runtime.cache_counts().compiled > compiled && start.elapsed() > SLOW {
            let seconds = start.elapsed().as_secs();
            bar.suspend(|| output.note(&format!("compiled {plugin} in {seconds} s; it is kept")));
        }
    }
    bar.finish_and_clear();
    if !problems.is_empty() {
        return Err(problems);
    }
    let counts = host.runtime.cache_counts();
    output.either(
        || json!({ "components": artifacts.len(), "compiled": counts.compiled }),
        || vec![format!("{} components are ready, {} were compiled", artifacts.len(), counts.compiled)],
    );
    Ok(Exit::Done)
}
