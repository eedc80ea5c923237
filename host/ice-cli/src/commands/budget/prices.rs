//! `ice budget prices`.

use ice_capabilities::llm::{PriceRow, price_table};
use ice_core::problem::{Code, Exit, Problem};
use serde_json::json;

use super::table::{lines, row};
use crate::config::Config;
use crate::output::Output;
use crate::wire;

/// Show what models cost, in US dollars per 1,000,000 tokens, since when, and where it was read
///
/// Rows of the file that `prices` of `[llm]` names win over the built-in ones, and add models. Such a row is
/// `[[price]]` with `model = "provider/model"`, `input`, `output`, `as_of = "YYYY-MM-DD"`, `source`, and perhaps
/// `cached_input`. A model without a row counts as unpriced, never as free; the offline provider is free.
///
/// Example: ice budget prices --provider openai
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only models of this provider
    #[arg(long)]
    provider: Option<String>,
}

pub(super) fn run(args: &Args, config: &Config, output: &Output) -> Result<Exit, Problem> {
    let mut rows = price_table(wire::prices(config)?.as_deref())?;
    if let Some(provider) = &args.provider {
        let known: Vec<String> = rows.iter().map(|row| of(row).to_owned()).collect();
        rows.retain(|row| of(row) == provider);
        if rows.is_empty() {
            let message = format!("no price of a model of `{provider}` is known");
            let help = ice_core::blueprint::did_you_mean(provider, known.iter().map(String::as_str));
            return Err(Problem::new(Code::C001, message).help(help.unwrap_or_else(|| ADD.to_owned())));
        }
    }
    output.either(|| json!(rows), || describe(&rows));
    Ok(Exit::Done)
}

const ADD: &str = "add a `[[price]]` to the file that `prices` of `[llm]` names";

fn of(row: &PriceRow) -> &str {
    row.price.model.split('/').next().unwrap_or_default()
}

fn describe(rows: &[PriceRow]) -> Vec<String> {
    let head = row(["model", "as of", "input", "cached", "output", "source"]);
    let cells = |PriceRow { price, built_in }: &PriceRow| {
        let cached = price.cached_input.map_or_else(|| "-".to_owned(), |usd| usd.to_string());
        let source = if *built_in { price.source.clone() } else { format!("{} (yours)", price.source) };
        vec![
            price.model.clone(),
            price.as_of.clone(),
            price.input.to_string(),
            cached,
            price.output.to_string(),
            source,
        ]
    };
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows.iter().map(cells)).collect();
    lines(&rows, 2)
}
