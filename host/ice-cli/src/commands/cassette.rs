//! `--record` and `--replay`: what models and HTTP answer, kept in a file and given again.

use std::path::PathBuf;
use std::sync::Arc;

use ice_capabilities::Cassette;
use ice_core::problem::{Code, Exit, Problem};

use super::Outcome;
use crate::files;
use crate::output::Output;

/// Whether the outside is asked.
#[derive(clap::Args, Default)]
pub(crate) struct CassetteArgs {
    /// Keep every answer of models and HTTP in this file, for `--replay`; an older one is replaced
    #[arg(long, value_name = "FILE", conflicts_with = "replay")]
    record: Option<PathBuf>,
    /// Take every answer of models and HTTP from this file: nothing is sent and nothing is paid
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
}

/// A cassette for one run, or none.
pub(crate) struct Taping {
    cassette: Option<Arc<Cassette>>,
    /// Where a recording goes.
    file: Option<PathBuf>,
}

impl CassetteArgs {
    /// Reads the cassette, or prepares one. Fails before anything runs when the file cannot be used.
    pub(crate) fn open(&self) -> Result<Taping, Vec<Problem>> {
        let one = |problem: Problem| vec![problem];
        if let Some(file) = &self.record {
            files::make_parent(file).map_err(one)?;
            if file.is_dir() {
                let problem = Problem::new(Code::C002, "the cassette would be a folder");
                return Err(one(problem.file(file.display().to_string()).help("name a file")));
            }
            return Ok(Taping { cassette: Some(Cassette::recording()), file: Some(file.clone()) });
        }
        let Some(file) = &self.replay else { return Ok(Taping { cassette: None, file: None }) };
        let text = files::read_text(file).map_err(one)?;
        let cassette = Cassette::replaying(&text).map_err(|problem| one(problem.file(file.display().to_string())))?;
        Ok(Taping { cassette: Some(cassette), file: None })
    }
}

impl Taping {
    /// What stands before models and HTTP.
    pub(crate) fn cassette(&self) -> Option<&Arc<Cassette>> {
        self.cassette.as_ref()
    }

    /// Writes a recording, however the run ended. A replay that asked for what is not on the cassette has failed, also
    /// when the blueprint found a way around it.
    pub(crate) fn finish(self, outcome: Outcome, output: &Output) -> Outcome {
        let Some(cassette) = self.cassette else { return outcome };
        if let Some(file) = &self.file {
            let text = cassette.text().map_err(|problem| vec![problem])?;
            files::replace(file, text.as_bytes()).map_err(|problem| vec![problem])?;
            output.note(&format!("recorded {} answers in {}", text.lines().count() - 1, file.display()));
            return outcome;
        }
        let missed = cassette.missed();
        if missed.is_empty() && cassette.unused() > 0 {
            output.note(&format!("{} recorded answers were not asked for", cassette.unused()));
        }
        match outcome {
            Ok(Exit::Done) if !missed.is_empty() => {
                missed.iter().for_each(|problem| output.warn(problem));
                Ok(Exit::Failed)
            }
            outcome => outcome,
        }
    }
}
