//! The processes that are killed: this binary again, told by its environment what to do.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ice_capabilities::SystemClock;
use ice_core::execution::Ending;
use ice_core::problem::Problem;
use ice_engine::testing::everything::{Everything, live};
use ice_engine::testing::{Cord, Pull, Tally};
use rustix::process::{Signal, getpid, kill_process};
use serde::{Deserialize, Serialize};

use super::frozen::held;
use super::{open, process, who};

/// The environment variable that turns [`the_process`] from nothing into the child.
const CHILD: &str = "ICE_CRASH_CHILD";

/// What a child does.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub(super) struct Orders {
    pub(super) url: String,
    pub(super) case: String,
    pub(super) tally: PathBuf,
    /// Where it says how it ended.
    pub(super) report: PathBuf,
    pub(super) deed: Deed,
}

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize, Debug)]
pub(super) enum Deed {
    /// Runs everything to its end.
    Live,
    /// Runs everything, and is dead when more than this many events would be stored.
    DieBefore(usize),
    /// Runs everything, and is dead once this many events are stored.
    DieAfter(usize),
    /// Says that it is ready, and runs everything to its end when it is told to.
    Race,
    /// Starts one long call, says so, and goes on with whatever comes.
    Hold,
    /// Goes on with the long call's execution as soon as it may, and finishes it.
    Free,
}

/// How a child ended.
#[derive(Serialize, Deserialize, Debug)]
pub(super) struct Report {
    pub(super) ended: Result<Ending, Problem>,
    /// How many events it stored.
    pub(super) stored: usize,
}

impl Orders {
    pub(super) fn spawn(&self) -> Child {
        let _ = std::fs::remove_file(&self.report);
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::child::the_process", "--ignored", "--nocapture"])
            .env(CHILD, serde_json::to_string(self).unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// What the child reported, once it has ended.
    pub(super) fn reported(&self, mut child: Child) -> Report {
        let status = child.wait().unwrap();
        assert!(status.success(), "{self:?}: {status}");
        serde_json::from_slice(&std::fs::read(&self.report).unwrap()).unwrap()
    }
}

/// Waits until the child says a word on a line of its own.
pub(super) fn hear(child: &mut Child, word: &str) {
    assert!(says(child, word), "the child ended without `{word}`");
}

/// Whether the child says a word on a line of its own before it ends.
pub(super) fn says(child: &mut Child, word: &str) -> bool {
    let said = std::io::BufReader::new(child.stdout.as_mut().unwrap()).lines();
    said.map(Result::unwrap).any(|line| line == word)
}

/// Says a word, and waits until it is told to go on.
fn wait_after(word: &str) {
    say(word);
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

/// Says a word on a line of its own.
pub(super) fn say(word: &str) {
    let mut out = std::io::stdout();
    out.write_all(format!("\n{word}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

fn die() {
    kill_process(getpid(), Signal::KILL).unwrap();
    std::thread::sleep(Duration::MAX);
}

#[test]
#[ignore = "the child process of the tests beside it"]
fn the_process() {
    let Some(orders) = std::env::var_os(CHILD) else { return };
    let orders: Orders = serde_json::from_str(orders.to_str().unwrap()).unwrap();
    let (ended, stored) = process(async {
        let clock = Arc::new(SystemClock);
        let store = open(&orders.url, Arc::clone(&clock) as _).await;
        let pull = match orders.deed {
            Deed::DieBefore(events) => Pull::Before(events),
            Deed::DieAfter(events) => Pull::After(events),
            Deed::Race => Pull::Hold,
            _ => Pull::Never,
        };
        let last = if orders.deed == Deed::Race { || wait_after("holds") } else { die };
        let cord = Cord::new(Arc::clone(&store) as _, pull, last);
        let tally = Arc::new(Tally::at(&orders.tally).unwrap());
        let ended = if matches!(orders.deed, Deed::Hold | Deed::Free) {
            held(&orders, tally, Arc::clone(&cord) as _, store, clock).await
        } else {
            let engine = Everything::new(tally).engine(Arc::clone(&cord) as _, store, clock);
            if orders.deed == Deed::Race {
                wait_after("ready");
            }
            live(&engine, &who(&orders.case)).await
        };
        (ended, cord.stored())
    });
    std::fs::write(&orders.report, serde_json::to_vec(&Report { ended, stored }).unwrap()).unwrap();
}
