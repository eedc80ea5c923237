//! Follows an execution and says what came of it: a tree on a terminal, lines elsewhere, JSON for programs.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ice_core::event::{Event, Fact};
use ice_core::execution::{Ending, Execution, NodeState, Status, ending, replay};
use ice_core::id::ExecutionId;
use ice_core::ports::Events as _;
use ice_core::problem::{Exit, Problem};
use ice_engine::{EventStream, Handle, Live, Rest, Stopping};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::screen::Screen;
use super::tree::{Frame, cost, duration, tree};
use super::{INTERRUPTED, exit_of, print, print_waits, waiting};
use crate::interrupt;
use crate::output::Output;
use crate::wire::{Host, Storage};

/// Events read from the store at once.
const PAGE: u32 = 512;
/// How often it is asked whether the process that runs an execution is alive. Its events wake us; its death tells
/// nobody, so it has to be looked for.
const ALIVE_MS: u64 = 2_000;
/// Frames of the tree: often enough for a person, seldom enough for the processor.
const FRAME: Duration = Duration::from_millis(100);
/// A large tree takes long to draw: at most one part in so many of the time is spent on it.
const DRAWING_SHARE: u32 = 10;

/// What goes to standard output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Report {
    /// Where a program reads, every event as a line of JSON and at last one with the result; for a person the outputs.
    Events(Stay),
    /// The outputs, or with `--json` one object about the whole run. It is left when it waits for an answer.
    Outputs,
}

/// Whether to stay while an execution waits for an answer that is given elsewhere.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stay {
    UntilItEnds,
    UntilItWaits,
}

impl Stay {
    /// As `--follow` says.
    pub(crate) fn of(follow: bool) -> Self {
        if follow { Self::UntilItEnds } else { Self::UntilItWaits }
    }
}

/// How an execution is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Show {
    Tree,
    Lines,
    Json,
}

impl Show {
    /// A tree where a person looks at a terminal that can redraw, JSON lines where a program reads them.
    fn chosen(report: Report, output: &Output) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let read = matches!(report, Report::Events(_)) && (output.json() || !std::io::stdout().is_terminal());
        match read {
            true => Self::Json,
            false if output.redraws() && !dumb => Self::Tree,
            false => Self::Lines,
        }
    }
}

/// Where the events come from.
enum Source {
    /// This process runs it.
    Here(Box<Handle>, EventStream),
    /// Another one does, or nobody.
    Elsewhere(mpsc::Receiver<Next>),
}

/// The next event; `Err` in it when there will be none, with the reason.
type Next = Result<Result<Arc<Event>, End>, Problem>;

/// What is known of the execution while it is followed.
struct Watch<'a> {
    id: ExecutionId,
    steps: Vec<String>,
    execution: Option<Execution>,
    show: Show,
    output: &'a Output,
    screen: Screen,
    tick: usize,
    next_frame: Instant,
}

/// How following ended.
enum End {
    Ended(Box<Ending>),
    Waits,
    /// The user does not want to look any more; the execution goes on.
    Left,
    /// The process that ran it is gone.
    Abandoned,
}

/// Shows an execution that this process runs, until it ends or only waits, and says how to exit. `steps` are its nodes
/// in order, as far as they are known.
pub(crate) async fn run(
    handle: Handle,
    steps: Vec<String>,
    report: Report,
    host: &Host,
    output: &Output,
) -> Result<Exit, Vec<Problem>> {
    let mut watch = Watch::new(handle.id.clone(), steps, report, output);
    if report == Report::Outputs {
        output.note(&format!("execution {}", watch.id));
    }
    let mut stopped = false;
    let mut end = watch.until_rest(Source::here(handle, 0), &mut stopped).await?;
    if matches!(end, End::Waits) && stopped {
        // It was just being given back when it was asked to stop.
        let stopping = host.engine.stop(&watch.id, INTERRUPTED).await.map_err(|problem| vec![problem])?;
        if let Stopping::Here(handle) = stopping {
            end = watch.until_rest(Source::here(handle, watch.seen()), &mut stopped).await?;
        }
    } else if matches!(end, End::Waits) && report == Report::Events(Stay::UntilItEnds) {
        watch.say_waits();
        end = watch.until_rest(Source::away(host.storage(), &watch.id, watch.seen()), &mut stopped).await?;
    }
    watch.clear();
    host.runtime.take_refused().iter().for_each(|problem| output.warn(problem));
    if matches!(end, End::Waits) && watch.show != Show::Json {
        let usage = watch.execution.as_ref().map(|execution| execution.usage).unwrap_or_default();
        print_waits(&watch.id, &usage, host, output).await?;
    }
    Ok(watch.finish(end, stopped))
}

/// Shows an execution that another process runs, from its first event, until it ends.
pub(crate) async fn follow(id: &ExecutionId, storage: &Storage, output: &Output) -> Result<Exit, Vec<Problem>> {
    let mut watch = Watch::new(id.clone(), Vec::new(), Report::Events(Stay::UntilItEnds), output);
    let end = watch.until_rest(Source::away(storage, id, 0), &mut false).await?;
    watch.clear();
    Ok(watch.finish(end, false))
}

impl Source {
    fn here(handle: Handle, last: u64) -> Self {
        let events = handle.events_after(last);
        Self::Here(Box::new(handle), events)
    }

    /// A task follows the store, so that nothing is asked again because a frame was drawn meanwhile.
    fn away(storage: &Storage, id: &ExecutionId, last: u64) -> Self {
        let (sender, receiver) = mpsc::channel(1);
        let (storage, id) = (storage.clone(), id.clone());
        tokio::spawn(async move {
            tokio::select! {
                over = pass_on(&storage, &id, last, &sender) => {
                    // Whoever asked may be gone.
                    let _unheard = sender.send(over.map(Err)).await;
                }
                () = sender.closed() => {}
            }
        });
        Self::Elsewhere(receiver)
    }

    /// The next event; `Err` when there will be none, with the reason.
    async fn next(&mut self) -> Next {
        match self {
            Self::Here(handle, events) => loop {
                match events.next().await? {
                    Some(Live::Event(event)) => return Ok(Ok(event)),
                    Some(Live::Delta { .. }) => {}
                    None => {
                        return Ok(Err(match handle.rest().await {
                            Rest::Ended(ending) => End::Ended(ending),
                            Rest::Waiting => End::Waits,
                        }));
                    }
                }
            },
            Self::Elsewhere(events) => events.recv().await.unwrap_or(Ok(Err(End::Abandoned))),
        }
    }
}

/// Sends what is stored, by whichever process, until the one that should run it is gone. One that waits for an answer is
/// held by nobody, and not gone. This only looks: whoever claims an execution takes it from a process that is merely
/// slow.
async fn pass_on(
    storage: &Storage,
    id: &ExecutionId,
    mut last: u64,
    sender: &mpsc::Sender<Next>,
) -> Result<End, Problem> {
    let store = &storage.store;
    loop {
        tokio::select! {
            page = store.follow(id, last, PAGE) => {
                for event in page.map_err(|failure| failure.problem)? {
                    last = event.seq;
                    // Nobody hears it when whoever asked is gone; then this task ends.
                    let _unheard = sender.send(Ok(Ok(Arc::new(event)))).await;
                }
            }
            () = storage.clock.sleep(ALIVE_MS) => {
                if store.left(u32::MAX).await.map_err(|failure| failure.problem)?.contains(id) {
                    return Ok(End::Abandoned);
                }
            }
        }
    }
}

impl<'a> Watch<'a> {
    fn new(id: ExecutionId, steps: Vec<String>, report: Report, output: &'a Output) -> Self {
        let show = Show::chosen(report, output);
        let (screen, next_frame) = (Screen::default(), Instant::now());
        Self { id, steps, execution: None, show, output, screen, tick: 0, next_frame }
    }

    /// Number of the newest event that was taken.
    fn seen(&self) -> u64 {
        self.execution.as_ref().map_or(0, |execution| execution.seq)
    }

    async fn until_rest(&mut self, mut source: Source, stopped: &mut bool) -> Result<End, Vec<Problem>> {
        let mut frames = tokio::time::interval(FRAME);
        frames.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                next = source.next() => match next.map_err(|problem| vec![problem])? {
                    Ok(event) => {
                        self.take(&event);
                        if let (Source::Elsewhere(_), Some(ending)) = (&source, ending(std::slice::from_ref(&event))) {
                            return Ok(End::Ended(Box::new(ending)));
                        }
                    }
                    Err(end) => return Ok(end),
                },
                _ = frames.tick(), if self.show == Show::Tree => self.draw(&[]),
                () = interrupt::interrupted(), if !*stopped => {
                    let Source::Here(handle, _) = &source else { return Ok(End::Left) };
                    *stopped = true;
                    interrupt::leave_on_second();
                    self.say("stopping; press Ctrl-C again to leave at once");
                    handle.cancel(INTERRUPTED);
                }
            }
        }
    }

    fn take(&mut self, event: &Arc<Event>) {
        match &mut self.execution {
            Some(execution) => execution.apply(event),
            None => self.execution = replay(std::slice::from_ref(&**event)),
        }
        // Outputs are not shown, and can be large.
        if let (Fact::NodeFinished { .. }, Some(execution)) = (&event.fact, &mut self.execution)
            && let Some(NodeState::Finished { output, .. }) =
                execution.nodes.get_mut(&event.path).map(|node| &mut node.state)
        {
            *output = Value::Null;
        }
        match self.show {
            Show::Json => self.output.line(&serde_json::to_string(&**event).expect("an event prints")),
            Show::Lines => {
                let node = self.execution.as_ref().and_then(|execution| execution.nodes.get(&event.path));
                let took = node.and_then(|node| Some(node.ended?.saturating_sub(node.started?)));
                super::line_of(event, took.unwrap_or(0)).into_iter().for_each(|line| self.output.note(&line));
            }
            Show::Tree => {
                if let Fact::Logged { level, message } = &event.fact
                    && (level == "warn" || level == "error")
                {
                    self.say(&format!("{level} {}: {message}", event.path));
                }
            }
        }
    }

    /// Says something above the tree.
    fn say(&mut self, text: &str) {
        match self.show {
            Show::Tree => {
                let text = waiting::printable(text);
                self.next_frame = Instant::now();
                self.draw(&[text]);
            }
            Show::Lines | Show::Json => self.output.note(text),
        }
    }

    fn say_waits(&mut self) {
        let Some(execution) = &self.execution else { return };
        let name = &execution.name;
        let each = execution.waits.iter().flat_map(|(wait, open)| waiting::lines(wait, open, name));
        for line in each.collect::<Vec<_>>() {
            match self.show {
                Show::Tree => {
                    self.next_frame = Instant::now();
                    self.draw(&[line]);
                }
                Show::Lines | Show::Json => self.output.note(&line),
            }
        }
    }

    fn draw(&mut self, above: &[String]) {
        let begin = Instant::now();
        let Some(execution) = self.execution.as_ref().filter(|_| begin >= self.next_frame) else { return };
        let (width, rows) = Screen::size();
        // The prompt's row stays free, so that the first line of the frame never scrolls away.
        let height = rows.saturating_sub(1).max(1);
        let frame = Frame { width, height, color: self.output.colors(), tick: self.tick };
        let lines = tree(execution, &self.steps, now_ms(), &frame);
        self.screen.draw(above, &lines);
        self.tick += 1;
        self.next_frame = begin + begin.elapsed() * DRAWING_SHARE;
    }

    /// Draws the last frame, which stays.
    fn clear(&mut self) {
        if self.show == Show::Tree {
            self.next_frame = Instant::now();
            self.draw(&[]);
        }
    }

    /// Prints the result, and one line about it.
    fn finish(&self, end: End, stopped: bool) -> Exit {
        let (word, exit) = match &end {
            End::Ended(ending) if self.show == Show::Json => {
                self.result(status(ending), &ending.outputs, ending.problem.as_ref());
                (status(ending).replace('_', " "), exit_of(ending, stopped))
            }
            End::Ended(ending) => (status(ending).replace('_', " "), print(&self.id.0, ending, stopped, self.output)),
            End::Waits => {
                self.result("waiting", &Value::Null, None);
                ("waiting".to_owned(), Exit::Done)
            }
            End::Left => ("still running".to_owned(), Exit::Interrupted),
            End::Abandoned => ("left by its process".to_owned(), Exit::Failed),
        };
        let id = &self.id;
        let hint = match &end {
            End::Ended(_) if exit != Exit::Done => format!("; see `ice executions show {id}`"),
            End::Ended(_) => String::new(),
            End::Waits => format!("; `ice run --follow {id}` shows how it goes on"),
            End::Left => format!("; `ice executions cancel {id}` stops it"),
            End::Abandoned => format!("; go on with `ice executions resume {id}`"),
        };
        self.output.note(&format!("{word}{}{hint}", self.summary(&end)));
        exit
    }

    /// Time, tokens and cost.
    fn summary(&self, end: &End) -> String {
        let Some(execution) = &self.execution else { return String::new() };
        let usage = match end {
            End::Ended(ending) => ending.usage,
            End::Waits | End::Left | End::Abandoned => execution.usage,
        };
        format!(" in {}, {}", duration(execution.updated.saturating_sub(execution.started)), cost(&usage))
    }

    /// The last of the JSON lines.
    fn result(&self, status: &str, outputs: &Value, problem: Option<&Problem>) {
        if self.show != Show::Json {
            return;
        }
        let execution = self.execution.as_ref();
        let waits = execution.map(|execution| &execution.waits).filter(|waits| !waits.is_empty());
        let usage = execution.map(|execution| execution.usage).unwrap_or_default();
        let mut result = json!({
            "event": "result", "execution_id": self.id, "status": status, "outputs": outputs, "usage": usage,
            "problem": problem,
        });
        if let Some(waits) = waits {
            result["waits"] = json!(waits);
        }
        self.output.line(&result.to_string());
    }
}

fn status(ending: &Ending) -> &'static str {
    Status::from(ending.status).as_str()
}

/// Milliseconds since 1970.
fn now_ms() -> u64 {
    let elapsed = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    elapsed.map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}
