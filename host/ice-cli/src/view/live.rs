//! Watching an execution: a tree that is redrawn on a terminal, one JSON object a line elsewhere.

use std::time::Duration;

use ice_core::budget::Usage;
use ice_core::event::{Event, Fact};
use ice_core::execution::{Execution, replay};
use ice_core::id::UnixMs;
use ice_core::problem::{Exit, Problem};
use ice_engine::{Handle, Live};
use indicatif::{ProgressBar, ProgressStyle};

use super::tree::{self, Expected, Style};
use super::{INTERRUPTED, print_rest, rest_after};
use crate::interrupt;
use crate::output::Output;
use crate::wire::Host;

/// How often the times on the screen go on.
const REDRAW: Duration = Duration::from_millis(100);

/// Where a terminal does not say its size.
const SIZE_DEFAULT: (usize, usize) = (24, 80);

/// Follows an execution to its end, or until it only waits, and prints its outputs; with `--json` every event as a line
/// of JSON, and the result as the last one.
pub(crate) async fn watch(
    handle: Handle,
    expected: Expected,
    host: &Host,
    output: &Output,
) -> Result<Exit, Vec<Problem>> {
    let id = handle.id.clone();
    let mut screen = Screen::new(expected, output);
    let mut live = handle.events();
    let mut asked_to_stop = false;
    let mut spent = Usage::default();
    let mut clock = tokio::time::interval(REDRAW);
    let rest = loop {
        tokio::select! {
            next = live.next() => match next.map_err(|problem| vec![problem])? {
                Some(Live::Event(event)) => {
                    if let Fact::ExecutionParked { usage, .. } = &event.fact {
                        spent = *usage;
                    }
                    screen.take(&event, output);
                }
                Some(Live::Delta { .. }) => {}
                None => break handle.rest().await,
            },
            _ = clock.tick(), if screen.draws() => screen.redraw(),
            () = interrupt::interrupted(), if !asked_to_stop => {
                asked_to_stop = true;
                interrupt::leave_on_second();
                output.note("stopping; press Ctrl-C again to leave at once");
                handle.cancel(INTERRUPTED);
            }
        }
    };
    screen.finish(output);
    let rest = rest_after(rest, &id, asked_to_stop, host).await?;
    print_rest(rest, &id, &spent, asked_to_stop, host, output).await
}

/// What is on the screen.
struct Screen {
    expected: Expected,
    execution: Option<Execution>,
    /// `None` where nothing is redrawn.
    bar: Option<ProgressBar>,
    lines: bool,
    color: bool,
}

impl Screen {
    fn new(expected: Expected, output: &Output) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let bar = (output.redraws() && !dumb).then(|| {
            let style = ProgressStyle::with_template("{msg}").expect("the template is constant");
            ProgressBar::new_spinner().with_style(style)
        });
        Self { expected, execution: None, bar, lines: output.json() && !output.quiet(), color: output.color() }
    }

    fn draws(&self) -> bool {
        self.bar.is_some()
    }

    fn take(&mut self, event: &Event, output: &Output) {
        match &mut self.execution {
            Some(execution) => execution.apply(event),
            None => self.execution = replay(std::slice::from_ref(event)),
        }
        if self.lines {
            output.line(&serde_json::to_string(event).expect("an event prints"));
        } else if self.bar.is_none()
            && let Some(line) = super::told(event)
        {
            output.note(&line);
        }
    }

    fn redraw(&self) {
        let (Some(bar), Some(execution)) = (&self.bar, &self.execution) else { return };
        let (height, width) = size();
        let now = now();
        let style = Style { color: self.color, unicode: unicode(), height: height.saturating_sub(3).max(3), width };
        let mut lines = tree::draw(execution, &self.expected, now, style);
        lines.push(format!("  {}", tree::summary(execution, now)));
        bar.set_message(lines.join("\n"));
    }

    /// Leaves the whole tree on the screen, or its summary where it was told line by line.
    fn finish(&self, output: &Output) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let Some(execution) = self.execution.as_ref().filter(|_| !self.lines) else { return };
        let now = now();
        if self.bar.is_some() {
            let (_, width) = size();
            let style = Style { color: self.color, unicode: unicode(), height: 100, width };
            tree::draw(execution, &self.expected, now, style).iter().for_each(|line| output.note(line));
        }
        output.note(&tree::summary(execution, now));
    }
}

fn size() -> (usize, usize) {
    let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok();
    let size = size.map(|size| (usize::from(size.ws_row), usize::from(size.ws_col)));
    size.filter(|(rows, columns)| *rows > 0 && *columns > 0).unwrap_or(SIZE_DEFAULT)
}

/// Whether the locale says that text is UTF-8.
fn unicode() -> bool {
    let set =
        ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| std::env::var(name).ok().filter(|it| !it.is_empty()));
    set.is_some_and(|locale| locale.to_ascii_lowercase().replace('-', "").contains("utf8"))
}

fn now() -> UnixMs {
    let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    elapsed.map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}
