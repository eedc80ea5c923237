//! `ice budget estimate`.

use ice_core::problem::{Exit, Problem};
use ice_engine::{Estimate, OrgStanding, Range, tighter};
use serde_json::{Value, json};

use super::table::{lines, row};
use super::{cost, one, usd};
use crate::commands::Outcome;
use crate::commands::inputs::InputArgs;
use crate::commands::run::target;
use crate::config::Config;
use crate::output::Output;
use crate::wire::{Host, Storage};

/// Estimate what a blueprint may cost, without running anything: low, likely and high, by node
///
/// Low is what is certain, with answers as short as can be; a start is refused when a budget is below it. High is
/// everything that could be asked, every round and retry, with answers as long as may be; a start warns when a budget
/// is below it. What tools ask of models by themselves is not known before they run.
///
/// Example: ice budget estimate news.yaml --input city=Oslo
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A YAML or JSON file, a stored blueprint, a bundle or its entry, as for `ice run`
    blueprint: String,
    #[command(flatten)]
    inputs: InputArgs,
}

pub(super) async fn run(args: Args, config: &Config, output: &Output) -> Outcome {
    let inputs = Value::Object(args.inputs.read()?);
    let host = Host::open(config, output).await?;
    let storage = Storage::open(config).await.map_err(one)?;
    let found = target::find(&args.blueprint, &host.catalog, &*storage.store).await;
    let parsed = found.map_err(|problem| host.explain(vec![problem]))?.load(&host, &*storage.store).await?;
    let plan = host.engine.plan(&parsed).await.map_err(|problems| host.explain(problems))?;
    let estimate = host.engine.estimate(&plan, inputs.clone())?;
    let org = host.engine.org_standing(&config.identity.org).await.map_err(one)?;
    let budget = tighter(plan.budget, host.budget());
    let name = plan.name.clone();
    let warnings = host.engine.warnings(&host.start(plan, inputs, None)).await;
    output.either(
        || {
            let left = org.as_ref().map(OrgStanding::left);
            let mut value = json!({ "blueprint": name, "budget": budget, "org_left_micro_usd": left });
            value.as_object_mut().expect("made above").extend(as_object(json!(estimate)));
            value
        },
        || describe(&estimate, org.as_ref()),
    );
    warnings.iter().for_each(|problem: &Problem| output.warn(problem));
    Ok(Exit::Done)
}

fn as_object(value: Value) -> serde_json::Map<String, Value> {
    if let Value::Object(fields) = value { fields } else { serde_json::Map::new() }
}

fn describe(estimate: &Estimate, org: Option<&OrgStanding>) -> Vec<String> {
    let cells = |id: &str, kind: &str, range: &Range| {
        let calls = range.calls.map(|calls| calls.to_string()).join("/");
        vec![id.to_owned(), kind.to_owned(), calls, cost(&range.low), cost(&range.likely), cost(&range.high)]
    };
    let mut rows = vec![row(["node", "kind", "calls", "low", "likely", "high"])];
    rows.extend(estimate.nodes.iter().map(|node| cells(&node.id, node.kind, &node.range)));
    rows.push(cells("total", "", &estimate.range));
    let mut shown = lines(&rows, 2);
    shown.extend(estimate.assumed.iter().map(|what| format!("assumed: {what}")));
    if let Some(org) = org {
        let (left, limit) = (usd(org.left()), usd(org.limit));
        shown.push(format!("org `{}` has {left} of {limit} left ({})", org.standing.org, org.window.phrase()));
    }
    shown
}
