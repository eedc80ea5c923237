//! `ice executions export` and `import`.

use std::path::PathBuf;

use ice_core::id::ExecutionId;
use ice_core::problem::{Code, Exit, Problem};
use ice_engine::{EXPORT_BYTES_MAX, Import, export};
use serde_json::json;

use crate::commands::{Outcome, metering};
use crate::config::Config;
use crate::files;
use crate::output::Output;
use crate::wire::Storage;

/// Write an execution to a file: its events and the blueprint it runs
///
/// The file is JSON lines: a head, then the events as they are stored. It holds inputs and outputs, and no secrets:
/// those are in no event. The plugins it calls are not in it.
///
/// Example: ice executions export 0193a1b2-… --with-children -o run.jsonl
#[derive(clap::Args)]
pub(crate) struct ExportArgs {
    /// The execution
    id: String,
    /// The file to write, instead of standard output; it appears when it is complete
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Also the executions that it started, and those that they started
    #[arg(long)]
    with_children: bool,
}

/// Take in executions from a file that `ice executions export` wrote
///
/// The whole file is checked first; nothing is written when something is wrong with it. Afterwards the execution is
/// listed, shown, forked and resumed like any other.
///
/// Example: ice executions import run.jsonl
#[derive(clap::Args)]
pub(crate) struct ImportArgs {
    /// The file
    file: PathBuf,
    /// Under an id of its own, for an execution that has ended and is there already
    #[arg(long)]
    new_id: bool,
}

pub(super) async fn write(args: ExportArgs, config: &Config, output: &Output) -> Outcome {
    let one = |problem: Problem| vec![problem];
    let storage = Storage::open(config).await.map_err(one)?;
    let root = ExecutionId(args.id);
    let mut ids = vec![root.clone()];
    if args.with_children {
        let family = metering::family(&storage.store, &root).await.map_err(one)?;
        ids.extend(family.into_iter().filter(|id| *id != root));
    }
    let (mut text, mut events) = (String::new(), 0);
    for id in &ids {
        let lines = export(&*storage.store, &*storage.store, id).await.map_err(one)?;
        events += lines.len() - 1;
        for line in lines {
            match &args.out {
                None => output.line(&line),
                Some(_) => text.extend([line.as_str(), "\n"]),
            }
        }
    }
    if let Some(file) = &args.out {
        files::replace(file, text.as_bytes()).map_err(one)?;
        output.either(
            || json!({ "file": file, "execution_id": root, "executions": ids.len(), "events": events }),
            || vec![format!("{} ({} executions, {events} events)", file.display(), ids.len())],
        );
    }
    Ok(Exit::Done)
}

pub(super) async fn read(args: ImportArgs, config: &Config, output: &Output) -> Outcome {
    let one = |problem: Problem| vec![problem];
    let place = args.file.display().to_string();
    // Asked before reading: a huge file must not be held first and refused then.
    if std::fs::metadata(&args.file).is_ok_and(|file| file.len() > EXPORT_BYTES_MAX) {
        let message = format!("the file is over {} MiB", EXPORT_BYTES_MAX >> 20);
        return Err(one(Problem::new(Code::X051, message).file(place)));
    }
    let text = files::read_text(&args.file).map_err(one)?;
    let mut import = Import::read(&text).map_err(|problem| one(problem.file(place.clone())))?;
    let storage = Storage::open(config).await.map_err(one)?;
    if args.new_id {
        import = import.renamed(&*storage.clock).map_err(|problem| one(problem.file(place)))?;
    }
    import.write(&*storage.store, &*storage.store, &config.identity).await.map_err(one)?;
    let (executions, events) = import.counts();
    output.either(
        || json!({ "execution_id": import.id(), "executions": executions, "events": events }),
        || vec![format!("{} ({executions} executions, {events} events)", import.id())],
    );
    Ok(Exit::Done)
}
