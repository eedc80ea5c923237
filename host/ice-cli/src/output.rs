//! What a person or a program sees: data on standard output, everything else on standard error.
//!
//! With `--json` standard output carries JSON and nothing else, and there is no progress.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::Duration;

use ice_core::problem::Problem;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::Value;

/// Where and how to print.
pub(crate) struct Output {
    json: bool,
    quiet: bool,
    color: bool,
    terminal: bool,
}

impl Output {
    /// Decides colours and progress from the terminal and `NO_COLOR` (<https://no-color.org>).
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let color = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { json, quiet, color, terminal }
    }

    /// Whether the caller asked for JSON.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// Whether standard error is a terminal that wants colours.
    pub(crate) fn colors(&self) -> bool {
        self.color
    }

    /// Prints a line of data.
    pub(crate) fn line(&self, text: &str) {
        write_or_exit(&mut std::io::stdout().lock(), text);
    }

    /// Prints a value as JSON: one line with `--json`, indented otherwise.
    pub(crate) fn value(&self, value: &Value) {
        let text = if self.json { serde_json::to_string(value) } else { serde_json::to_string_pretty(value) };
        self.line(&text.expect("a JSON value prints"));
    }

    /// Prints `value` with `--json`, else the lines that say the same to a person.
    pub(crate) fn either(&self, value: impl FnOnce() -> Value, lines: impl FnOnce() -> Vec<String>) {
        if self.json {
            self.value(&value());
        } else {
            lines().iter().for_each(|line| self.line(line));
        }
    }

    /// Says something about the progress on standard error; silent with `--json` and `--quiet`.
    pub(crate) fn note(&self, text: &str) {
        if !self.json && !self.quiet {
            write_or_exit(&mut std::io::stderr().lock(), text);
        }
    }

    /// Prints problems: text on standard error, or with `--json` an object `{"problems": […]}` on standard output.
    pub(crate) fn problems(&self, problems: &[Problem]) {
        if self.json {
            self.value(&serde_json::json!({ "problems": problems }));
            return;
        }
        let mut stderr = std::io::stderr().lock();
        for problem in problems {
            let text = problem.to_string();
            let text = match (self.color, text.strip_prefix("error")) {
                (true, Some(rest)) => format!("\x1b[1;31merror\x1b[0m{rest}"),
                _ => text,
            };
            write_or_exit(&mut stderr, &text);
        }
    }

    /// Prints a warning on standard error.
    pub(crate) fn warn(&self, problem: &Problem) {
        if !self.quiet {
            let text = problem.to_string().replacen("error[", "warning[", 1);
            write_or_exit(&mut std::io::stderr().lock(), &text);
        }
    }

    /// A spinner that shows what is going on; hidden where nobody would see it.
    pub(crate) fn spinner(&self, what: &str) -> ProgressBar {
        if self.json || self.quiet || !self.terminal {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}").expect("the template is constant");
        let bar = ProgressBar::new_spinner().with_style(style).with_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        bar
    }

    /// Bars that show how many bytes of what are through; hidden where nobody would see them.
    pub(crate) fn bars(&self) -> Bars {
        Bars { shown: self.redraws(), all: MultiProgress::new(), bars: Mutex::default() }
    }

    /// The first line of standard input.
    pub(crate) fn first_line() -> std::io::Result<String> {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line)?;
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// Reads a line that is not shown, from a terminal; else the first line of standard input.
    pub(crate) fn secret(&self, prompt: &str) -> std::io::Result<String> {
        let stdin = std::io::stdin();
        let hidden = stdin.is_terminal().then(|| Echo::off(&stdin)).transpose()?;
        if hidden.is_some() {
            let mut stderr = std::io::stderr().lock();
            write!(stderr, "{prompt}: ").and_then(|()| stderr.flush())?;
        }
        let line = Self::first_line()?;
        if hidden.is_some() {
            writeln!(std::io::stderr().lock())?;
        }
        Ok(line)
    }

    /// Asks a question that is answered with yes or no; no when nobody can answer.
    pub(crate) fn ask(&self, question: &str) -> bool {
        if self.json || !self.terminal || !std::io::stdin().is_terminal() {
            return false;
        }
        let mut stderr = std::io::stderr().lock();
        if write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush()).is_err() {
            return false;
        }
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
    }

    /// Whether a person is there to be asked.
    pub(crate) fn can_ask(&self) -> bool {
        !self.json && !self.quiet && self.terminal && std::io::stdin().is_terminal()
    }

    /// Asks for a line; `None` at the end of the input.
    pub(crate) fn prompt(&self, what: &str) -> std::io::Result<Option<String>> {
        let mut stderr = std::io::stderr().lock();
        write!(stderr, "{what}: ").and_then(|()| stderr.flush())?;
        let mut line = String::new();
        let read = std::io::stdin().read_line(&mut line)?;
        Ok((read > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned()))
    }

    /// Whether progress goes to a terminal that can redraw lines.
    pub(crate) fn redraws(&self) -> bool {
        self.terminal && !self.json && !self.quiet
    }
}

/// One bar for each thing that is being transferred.
pub(crate) struct Bars {
    shown: bool,
    all: MultiProgress,
    bars: Mutex<BTreeMap<String, ProgressBar>>,
}

impl ice_registry::Progress for Bars {
    fn bytes(&self, what: &str, done: u64, total: u64) {
        if !self.shown {
            return;
        }
        let mut bars = self.bars.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let bar = bars.entry(what.to_owned()).or_insert_with(|| {
            let style =
                ProgressStyle::with_template("{msg:32!} {bar:24} {bytes:>10} of {total_bytes:<10} {bytes_per_sec}")
                    .expect("the template is constant");
            self.all.add(ProgressBar::new(total).with_style(style).with_message(what.to_owned()))
        });
        bar.set_position(done);
        if done >= total {
            bar.finish_and_clear();
            bars.remove(what);
        }
    }
}

/// A terminal that does not show what is typed, until this is dropped.
struct Echo<'a> {
    stdin: &'a std::io::Stdin,
    before: rustix::termios::Termios,
}

impl<'a> Echo<'a> {
    fn off(stdin: &'a std::io::Stdin) -> std::io::Result<Self> {
        let before = rustix::termios::tcgetattr(stdin)?;
        let mut silent = before.clone();
        silent.local_modes.remove(rustix::termios::LocalModes::ECHO);
        rustix::termios::tcsetattr(stdin, rustix::termios::OptionalActions::Flush, &silent)?;
        Ok(Self { stdin, before })
    }
}

impl Drop for Echo<'_> {
    fn drop(&mut self) {
        // A terminal that is gone shows nothing any more.
        let _ = rustix::termios::tcsetattr(self.stdin, rustix::termios::OptionalActions::Flush, &self.before);
    }
}

/// Writes a line. A reader that went away (`ice … | head`) ends the process quietly, as it does for other tools.
#[expect(clippy::exit, reason = "nobody is left to read anything further")]
fn write_or_exit(stream: &mut impl Write, text: &str) {
    if writeln!(stream, "{text}").and_then(|()| stream.flush()).is_err() {
        std::process::exit(0);
    }
}
