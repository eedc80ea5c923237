//! `ice executions fork`.

use std::path::PathBuf;

use ice_core::budget::Usage;
use ice_core::id::ExecutionId;
use ice_core::problem::{Code, Exit, Problem};
use ice_engine::{ForkExecution, ForkPreview, ForkRun, ForkWhy};
use serde_json::json;

use super::show::{dollars, usage};
use crate::commands::inputs::{self, InputArgs};
use crate::commands::{Outcome, build};
use crate::config::Config;
use crate::output::Output;
use crate::view;
use crate::wire::Host;

/// Run an execution again from one node on, as a new execution
///
/// Nodes that are neither the node nor after it keep their outputs: they do not run and are not paid again. Nodes that
/// read an input that you change run too, as do nodes that had not ended and `finally` nodes. What will run, and what
/// it cost the last time, is shown first. The other execution stays as it is; components are those it began with.
///
/// The node is one of the top level; one inside a loop or a branch runs again with the whole of it.
///
/// Example: ice executions fork 0193a1b2-… --from summarize --input tone=dry --set 'fetch={"text":"edited"}' --dry-run
#[derive(clap::Args)]
pub(crate) struct ForkArgs {
    /// The execution: ended, left or waiting
    id: String,
    /// The first node to run again
    #[arg(long, value_name = "NODE")]
    from: String,
    #[command(flatten)]
    inputs: InputArgs,
    /// Give a node this output instead of running it; JSON where it parses as JSON, else text, `NODE=@FILE` for a file
    #[arg(long, value_name = "NODE=JSON")]
    set: Vec<String>,
    /// Let a node keep the output it had, although what is before it runs again
    #[arg(long, value_name = "NODE")]
    pin: Vec<String>,
    /// Go on with an edited blueprint; nodes that are kept have to be as they were
    #[arg(long, value_name = "FILE")]
    blueprint: Option<PathBuf>,
    /// Show what would be kept, what would run and what that costs, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

pub(super) async fn run(args: ForkArgs, config: &Config, output: &Output) -> Outcome {
    let host = Host::open(config, output).await?;
    let (dry_run, yes) = (args.dry_run, args.yes);
    let asked = read(args, &host)?;
    let fork = host.engine.plan_fork(asked).await.map_err(|problems| host.explain(problems))?;
    if dry_run {
        output.either(|| json!(fork.preview), || describe(&fork.preview));
        return Ok(Exit::Done);
    }
    describe(&fork.preview).iter().for_each(|line| output.note(line));
    if !yes && is_priced(&fork.preview) && !output.ask("Run it?") {
        if output.can_ask() {
            output.note("nothing was done");
            return Ok(Exit::Done);
        }
        let message = format!("the nodes that run again cost {} the last time", dollars(&fork.preview.before));
        let problem = Problem::new(Code::C001, message);
        return Err(vec![problem.help("say `--yes`, or look at what would be done with `--dry-run`")]);
    }
    let handle = host.engine.fork(fork).await?;
    view::follow(handle, &host, output).await
}

fn read(args: ForkArgs, host: &Host) -> Result<ForkExecution, Vec<Problem>> {
    let mut problems = Vec::new();
    let given = args.inputs.read().unwrap_or_else(|more| {
        problems.extend(more);
        serde_json::Map::new()
    });
    let set = args
        .set
        .iter()
        .filter_map(|text| inputs::parse("--set", text, |_| false).map_err(|problem| problems.push(problem)).ok());
    let set = set.collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    let blueprint = args.blueprint.as_deref().map(build::parse_file).transpose()?;
    Ok(ForkExecution {
        execution: ExecutionId(args.id),
        from: args.from,
        inputs: given,
        set,
        pin: args.pin.into_iter().collect(),
        blueprint,
        budget: host.budget(),
    })
}

/// Whether running it is known to cost something, or may.
fn is_priced(preview: &ForkPreview) -> bool {
    let priced = |usage: &Usage| usage.cost_micro_usd > 0 || usage.unpriced_calls > 0;
    priced(&preview.before) || priced(&preview.estimate)
}

fn describe(preview: &ForkPreview) -> Vec<String> {
    let mut lines = vec![format!("fork of {} ({}) from `{}`", preview.execution, preview.name, preview.from)];
    if !preview.changed_inputs.is_empty() {
        lines.push(format!("  changed inputs: {}", preview.changed_inputs.join(", ")));
    }
    lines.push(format!("  keeps {}", counted(&preview.kept)));
    if !preview.set.is_empty() {
        lines.push(format!("  is given {}", counted(&preview.set)));
    }
    lines.push(format!("  runs {} nodes:", preview.runs.len()));
    lines.extend(preview.runs.iter().map(line));
    lines.push(format!("  these nodes cost {} the last time", usage(&preview.before)));
    if preview.estimate != Usage::default() {
        lines.push(format!("  model calls that are certain cost at most {}", usage(&preview.estimate)));
    }
    lines
}

fn counted(nodes: &[String]) -> String {
    if nodes.is_empty() { "nothing".to_owned() } else { format!("{} nodes: {}", nodes.len(), nodes.join(", ")) }
}

fn line(run: &ForkRun) -> String {
    let why = match &run.why {
        ForkWhy::From => "the fork begins here".to_owned(),
        ForkWhy::After { after } => format!("after `{after}`"),
        ForkWhy::Input { input } => format!("reads the input `{input}`"),
        ForkWhy::Unfinished => "had not finished".to_owned(),
        ForkWhy::Finally => "runs at the end".to_owned(),
    };
    let before = match &run.before {
        None => "never ran".to_owned(),
        Some(before) if *before == Usage::default() => "cost nothing".to_owned(),
        Some(before) => format!("cost {}", usage(before)),
    };
    format!("    {:<24} {:<10} {why}; {before}", run.node, run.kind)
}
