//! Whole processes from start to exit, as a person at a terminal sees them.

use std::io::{Error, Result};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::figures::{Figures, percentile_us};

/// Processes per figure.
const RUNS: usize = 20;

/// Adds the process that does nothing, `ice` that does nothing, and `ice` with a blueprint of one node in the prepared
/// home `FOLDER/home`.
pub(crate) fn measure(figures: &mut Figures, folder: &Path) -> Result<()> {
    let ice = env!("CARGO_BIN_EXE_ice");
    let blueprint = folder.join("one.json");
    let node = serde_json::json!({
        "id": "one", "type": "tool", "tool_name": crate::ports::AGGREGATOR_TOOL, "tool_args": crate::calls::input(),
    });
    let document = serde_json::json!({ "schema_version": "1.2.0", "nodes": [node] });
    std::fs::write(&blueprint, document.to_string())?;
    let blueprint = blueprint.to_str().ok_or_else(|| Error::other("the folder of the run is not UTF-8"))?;
    for (row, words) in [
        ("floor: `/bin/true`", &["/bin/true"][..]),
        ("**ice** --version", &[ice, "--version"]),
        ("**ice** run-blueprint, one node (goal: 60 ms, 40 MiB)", &[ice, "run-blueprint", blueprint, "--quiet"]),
    ] {
        let home = folder.join("home");
        run(&mut command(words, &home))?;
        let mut took = Vec::new();
        for _ in 0..RUNS {
            let began = Instant::now();
            run(&mut command(words, &home))?;
            took.push(began.elapsed());
        }
        figures.add("start", row, "median ms", percentile_us(&mut took, 50) / 1e3);
        figures.add("start", row, "slowest ms", percentile_us(&mut took, 100) / 1e3);
        match peak_mib(words, &home)? {
            Some(mib) => figures.add("start", row, "peak MiB", mib),
            None => figures.note("Peak memory was not measured: `/usr/bin/time` is not installed."),
        }
    }
    Ok(())
}

fn command(words: &[&str], home: &Path) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env_clear().env("ICE_HOME", home).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::other(format!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr))))
}

/// The largest resident set, as the kernel counted it. GNU time starts the process, because a process started from
/// here would be charged with the memory of this one.
fn peak_mib(words: &[&str], home: &Path) -> Result<Option<f64>> {
    let time = "/usr/bin/time";
    if !Path::new(time).exists() {
        return Ok(None);
    }
    let all: Vec<&str> = [time, "--format", "%M"].iter().chain(words).copied().collect();
    let output = command(&all, home).output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let kib: Option<f64> = text.lines().last().and_then(|line| line.trim().parse().ok());
    Ok(kib.map(|kib| kib / 1024.0))
}
