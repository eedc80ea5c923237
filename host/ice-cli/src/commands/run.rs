//! `ice run`.

mod last;
pub(super) mod target;

use std::sync::Arc;

use ice_core::budget::Budget;
use ice_core::id::ExecutionId;
use ice_core::problem::{Code, Problem};
use ice_engine::tighter;
use serde_json::Value;

use self::last::Last;
use self::target::Target;
use super::cassette::CassetteArgs;
use super::inputs::InputArgs;
use super::{Outcome, bundle};
use crate::config::{Amount, Config, amount};
use crate::deprecation;
use crate::output::Output;
use crate::view::watch::{self, Report, Stay};
use crate::wire::{Host, Storage};

/// Run a blueprint: one in a file, a stored one, or an entry of a bundle
///
/// On a terminal a tree of the nodes is drawn while they run, then the outputs are printed. Elsewhere, and with
/// `--json`, standard output has JSON lines: every event, at last `{"event": "result", …}`.
///
/// With `--follow` it also stays while the execution waits for answers that others give. With `--follow` and the id of
/// an execution nothing is started: that execution is watched, wherever it runs, and Ctrl-C only ends the watching.
///
/// Example: ice run news@^1 --input city=Oslo --budget-usd 0.5
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A YAML or JSON file, `-` for standard input, a stored blueprint (`news`, `news@^1`, `sha256:…`), a bundle or its
    /// entry (`chatkit`, `chatkit.rag_chat`); with `--follow` also an execution
    #[arg(required_unless_present = "last")]
    target: Option<String>,
    /// Run again what was run last in this folder, with its inputs; what else is given here replaces its part
    #[arg(long)]
    last: bool,
    /// Stay while it waits for answers; with the id of an execution, only watch that one
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    inputs: InputArgs,
    /// Names the conversation that memory tools see
    #[arg(long)]
    session: Option<String>,
    /// How many nodes run at once; the blueprint's own number by default
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    max_parallel: Option<u32>,
    /// Stop before more than this is spent, in US dollars; tightens other budgets, never widens them
    #[arg(long, value_parser = amount)]
    budget_usd: Option<Amount>,
    #[command(flatten)]
    cassette: CassetteArgs,
}

pub(crate) async fn run(args: Args, config: &Config, output: &Output) -> Outcome {
    let one = |problem: Problem| vec![problem];
    if let Some(id) = args.target.as_ref().filter(|target| args.follow && is_execution(target)) {
        let storage = Storage::open(config).await.map_err(one)?;
        return watch::follow(&ExecutionId(id.clone()), &storage, output).await;
    }
    let before = if args.last { Some(last::read(config).map_err(one)?) } else { None };
    let mut inputs = before.as_ref().map(|last| last.inputs.clone()).unwrap_or_default();
    inputs.extend(args.inputs.read()?);
    let session = args.session.or_else(|| before.as_ref().and_then(|last| last.session.clone()));
    let name = args
        .target
        .or_else(|| before.map(|last| last.target))
        .ok_or_else(|| one(Problem::new(Code::C001, "nothing to run is named").help("write `ice run FILE`")))?;

    let tape = args.cassette.open()?;
    let mut host = Host::open_taped(config, output, tape.cassette()).await?;
    let store = Arc::clone(&host.storage().store);
    let found = target::find(&name, &host.catalog, &*store).await.map_err(|one| host.explain(vec![one]))?;
    let mut parsed = found.load(&host, &*store).await?;
    if let Some(max_parallel) = args.max_parallel {
        parsed.blueprint.max_parallel = max_parallel;
    }
    let given = inputs.clone();
    let _bin = bundle::local_bin(&parsed, &mut inputs, &mut host, config, output).await?;
    let plan = host.engine.plan(&parsed).await.map_err(|problems| host.explain(problems))?;
    let entry = if let Target::Bundle(entry) = &found { Some(entry.as_str()) } else { None };
    deprecation::used(&host.catalog, entry, &plan).iter().for_each(|problem| output.warn(problem));
    let again = Last { target: found.again(&plan.digest), inputs: given, session: session.clone() };
    let steps = plan.steps();
    let mut start = host.start(plan, Value::Object(inputs), session);
    let own = Budget { micro_usd: args.budget_usd.map(|amount| amount.0), ..Budget::default() };
    start.budget = tighter(start.budget, own);
    host.engine.warnings(&start).await.iter().for_each(|problem| output.warn(problem));
    let handle = host.engine.start(start).await?;
    // Not being able to remember must not stop what runs.
    last::write(config, again).unwrap_or_else(|problem| output.warn(&problem));
    let outcome = watch::run(handle, steps, Report::Events(Stay::of(args.follow)), &host, output).await;
    tape.finish(outcome, output)
}

/// Whether a text is the id of an execution: a UUID, or that of an execution inside another one.
fn is_execution(text: &str) -> bool {
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    groups == [8, 4, 4, 4, 12] && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
}
