//! `ice blueprints diff`.

use std::path::PathBuf;

use clap::ValueEnum;
use ice_core::blueprint::{Change, How, Parsed, difference};
use ice_core::problem::{Exit, Problem};
use serde_json::{Value, json};

use crate::commands::{Outcome, build};
use crate::output::Output;

/// A value of the text output; `--json` has it whole.
const VALUE_CHARS_MAX: usize = 60;

/// Compare two versions of a blueprint by what they mean
///
/// Nodes are matched by id, so that moving one, or writing JSON instead of YAML, is no difference. What callers notice
/// is marked `!`: an input that has to be given now or has another type, an output that is gone.
///
/// Example: ice blueprints diff report@1.yaml report.yaml --fail-on breaking
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The blueprint before
    before: PathBuf,
    /// The blueprint after; `-` reads standard input
    after: PathBuf,
    /// Exit with 1 when there is such a difference
    #[arg(long, value_enum)]
    fail_on: Option<FailOn>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// Any difference
    Any,
    /// One that callers notice
    Breaking,
}

pub(crate) fn run(args: &Args, output: &Output) -> Outcome {
    let mut problems: Vec<Problem> = Vec::new();
    let mut read = |path| match build::parse_file(path) {
        Ok(parsed) if parsed.problems.is_empty() => Some(parsed),
        Ok(parsed) => {
            problems.extend(parsed.problems);
            None
        }
        Err(found) => {
            problems.extend(found);
            None
        }
    };
    let (before, after): (Option<Parsed>, Option<Parsed>) = (read(&args.before), read(&args.after));
    let (Some(before), Some(after)) = (before, after) else { return Err(problems) };
    let changes = difference(&before.blueprint, &after.blueprint);
    let breaking = changes.iter().any(|change| change.breaking.is_some());
    output.either(|| json!({ "changes": changes, "breaking": breaking }), || lines(&changes));
    let fails = match args.fail_on {
        None => false,
        Some(FailOn::Any) => !changes.is_empty(),
        Some(FailOn::Breaking) => breaking,
    };
    Ok(if fails { Exit::Failed } else { Exit::Done })
}

fn lines(changes: &[Change]) -> Vec<String> {
    if changes.is_empty() {
        return vec!["no difference".to_owned()];
    }
    changes.iter().map(line).collect()
}

fn line(change: &Change) -> String {
    let (before, after) = (shown(change.before.as_ref()), shown(change.after.as_ref()));
    let mark = if change.breaking.is_some() { '!' } else { ' ' };
    let what = match change.how {
        How::Added => format!("+ {}: {after}", change.path),
        How::Removed => format!("- {}: {before}", change.path),
        How::Changed | How::Reordered => format!("~ {}: {before} → {after}", change.path),
    };
    let why = change.breaking.as_ref().map(|why| format!("  ({why})")).unwrap_or_default();
    format!("{mark}{what}{why}")
}

fn shown(value: Option<&Value>) -> String {
    let text = value.map(ToString::to_string).unwrap_or_default();
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
