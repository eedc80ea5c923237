//! `ice metering`: what components and models used, for bills. Derived from stored events, never counted beside them.

mod record;
mod sums;
mod walk;

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use ice_core::id::{ExecutionId, UnixMs};
use ice_core::manifest::parse_date;
use ice_core::problem::{Code, Exit, Problem};
use serde_json::json;

use super::Outcome;
use crate::config::Config;
use crate::output::Output;
use crate::wire::Storage;
use record::Record;
use sums::{Sums, Totals};
use walk::{Filter, walk};

pub(super) use walk::family;

#[derive(Subcommand)]
pub(crate) enum MeteringCommand {
    Export(ExportArgs),
    Summary(FilterArgs),
}

/// Print one JSON object a line for every component call and every model call that ended
///
/// Records are of all orgs unless one is named. `record` is the same in every export: what is exported twice can be
/// told apart. Tokens and money stand on the records of models (`"kind":"model"`), processor time and requests on
/// those of components (`"kind":"component"`), so sums count nothing twice. Totals go to standard error.
///
/// Example: ice metering export --since 2026-11-01T00:00:00Z --until 2026-12-01T00:00:00Z --out november.jsonl
#[derive(clap::Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Write to this file instead of standard output; it appears when it is complete
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Show a table of what was used, per org, plugin and component
///
/// A row without a plugin holds the models that blueprints asked themselves.
///
/// Example: ice metering summary --since 2026-11-01T00:00:00Z
#[derive(clap::Args)]
pub(crate) struct FilterArgs {
    /// Only what ended at this moment or later (RFC 3339, UTC)
    #[arg(long, value_name = "RFC3339", value_parser = moment)]
    since: Option<UnixMs>,
    /// Only what ended before this moment
    #[arg(long, value_name = "RFC3339", value_parser = moment)]
    until: Option<UnixMs>,
    /// Only what was done for this org
    #[arg(long)]
    org: Option<String>,
    /// Only this execution, and those it started
    #[arg(long, value_name = "ID")]
    execution: Option<String>,
}

impl FilterArgs {
    fn filter(self) -> Filter {
        Filter { since: self.since, until: self.until, org: self.org, execution: self.execution.map(ExecutionId) }
    }
}

/// Reads `2026-11-20T00:00:00Z`, with up to three decimals of a second.
pub(super) fn moment(text: &str) -> Result<UnixMs, String> {
    let read = || {
        let text = text.strip_suffix('Z')?;
        let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = (1..=3).contains(&fraction.len()) && fraction.bytes().all(|byte| byte.is_ascii_digit());
        let ms: u64 = digits.then(|| format!("{fraction:0<3}").parse().ok()).flatten()?;
        Some(parse_date(&format!("{seconds}Z"))?.checked_mul(1_000)? + ms)
    };
    read().ok_or_else(|| "write a moment in UTC, such as `2026-11-20T00:00:00Z`".to_owned())
}

pub(crate) async fn run(command: MeteringCommand, config: &Config, output: &Output) -> Outcome {
    let storage = Storage::open(config).await.map_err(|problem| vec![problem])?;
    match command {
        MeteringCommand::Export(args) => export(args, &storage, output).await.map_err(|problem| vec![problem]),
        MeteringCommand::Summary(args) => summary(args, &storage, output).await.map_err(|problem| vec![problem]),
    }
}

async fn export(args: ExportArgs, storage: &Storage, output: &Output) -> Result<Exit, Problem> {
    let mut file = args.out.as_deref().map(Growing::new).transpose()?;
    let mut totals = Totals::default();
    walk(&storage.store, &args.filter.filter(), &mut |record| {
        totals.add(&record);
        let line = serde_json::to_string(&record).expect("a record prints");
        match &mut file {
            Some(file) => file.line(&line),
            None => {
                output.line(&line);
                Ok(())
            }
        }
    })
    .await?;
    if let Some(file) = file {
        file.finish()?;
    }
    output.note(&totals.to_string());
    Ok(Exit::Done)
}

async fn summary(args: FilterArgs, storage: &Storage, output: &Output) -> Result<Exit, Problem> {
    let mut sums = Sums::default();
    walk(&storage.store, &args.filter(), &mut |record: Record| {
        sums.add(&record);
        Ok(())
    })
    .await?;
    output.either(|| json!(sums.rows()), || sums.table());
    output.note(&sums.totals().to_string());
    Ok(Exit::Done)
}

/// A file that grows beside its place and is put there when it is complete.
struct Growing {
    path: PathBuf,
    temporary: tempfile::TempPath,
    writer: BufWriter<File>,
}

impl Growing {
    fn new(path: &Path) -> Result<Self, Problem> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = tempfile::NamedTempFile::new_in(folder).map_err(|error| unwritten(path, &error))?;
        let (file, temporary) = file.into_parts();
        Ok(Self { path: path.to_owned(), temporary, writer: BufWriter::new(file) })
    }

    fn line(&mut self, line: &str) -> Result<(), Problem> {
        writeln!(self.writer, "{line}").map_err(|error| unwritten(&self.path, &error))
    }

    fn finish(mut self) -> Result<(), Problem> {
        self.writer.flush().map_err(|error| unwritten(&self.path, &error))?;
        self.temporary.persist(&self.path).map_err(|error| unwritten(&self.path, &error.error))
    }
}

fn unwritten(path: &Path, error: &std::io::Error) -> Problem {
    Problem::new(Code::C002, format!("the records cannot be written: {error}"))
        .file(path.display().to_string())
        .help("name a file in a folder that exists and that you may write to")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_have_one_form_and_at_most_milliseconds() {
        assert_eq!(moment("1970-01-01T00:00:01Z"), Ok(1_000));
        assert_eq!(moment("1970-01-01T00:00:01.5Z"), Ok(1_500));
        assert_eq!(moment("1970-01-01T00:00:01.025Z"), Ok(1_025));
        assert_eq!(moment(&record::print_moment(1_790_000_000_250)), Ok(1_790_000_000_250));
        for wrong in [
            "",
            "Z",
            "2026-11-20",
            "2026-11-20T00:00:00",
            "2026-11-20T00:00:00+01:00",
            "1970-01-01T00:00:01.Z",
            "1970-01-01T00:00:01.0001Z",
            "1970-01-01T00:00:01.+1Z",
            "2026-02-30T00:00:00Z",
        ] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_file_appears_when_it_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.jsonl");
        let mut file = Growing::new(&path).unwrap();
        file.line("one").unwrap();
        assert!(!path.exists());
        drop(file);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "what was given up leaves nothing");
        let mut file = Growing::new(&path).unwrap();
        file.line("one").unwrap();
        file.finish().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\n");
        assert_eq!(Growing::new(&folder.path().join("no/where")).map(drop).unwrap_err().code, Code::C002);
    }
}
