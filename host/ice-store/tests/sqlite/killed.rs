//! A process that dies in the middle of its work, and what its successor finds.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use ice_core::event::Event;
use ice_core::ports::Events;
use ice_store::conformance::{anna, line, lines};

use super::{id, open};

/// The environment variable that turns [`the_child_that_is_killed`] from nothing into the child.
const CHILD: &str = "ICE_STORE_TEST_CHILD";

/// Appends without end and says after every append how far it has come. Runs only as a child of the test below.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child process of `a_killed_process_leaves_a_list_without_holes_and_a_free_lease`"]
async fn the_child_that_is_killed() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    let store = open(Path::new(&path)).await;
    let lease = store.create(&id("e"), "n", &anna(), &[], 3_600_000).await.unwrap();
    let mut next = 1;
    loop {
        let events: Vec<Event> = (next..next + 1 + next % 7).map(|seq| line(seq, &"payload ".repeat(50))).collect();
        store.append(&lease, &events).await.unwrap();
        next += events.len() as u64;
        writeln!(std::io::stderr(), "durable {}", next - 1).unwrap();
    }
}

#[tokio::test]
async fn a_killed_process_leaves_a_list_without_holes_and_a_free_lease() {
    let folder = tempfile::tempdir().unwrap();
    for (round, reports) in [3, 40, 200].into_iter().enumerate() {
        let path = folder.path().join(format!("{round}.db"));
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed::the_child_that_is_killed", "--ignored", "--nocapture"])
            .env(CHILD, &path)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let durable = said.filter_map(|line| line.strip_prefix("durable ")?.parse::<u64>().ok()).nth(reports);
        child.kill().unwrap();
        child.wait().unwrap();
        let durable = durable.expect("the child appended until it was killed");

        let store = open(&path).await;
        let events = Events::read(&store, &id("e"), 0, u32::MAX).await.unwrap();
        assert!(events.iter().map(|event| event.seq).eq(1..=events.len() as u64), "a hole in the list");
        assert!(events.len() as u64 >= durable, "{durable} events were durable, {} are there", events.len());
        assert_eq!(store.check().await, []);
        assert!(!store.list(&anna(), 1).await.unwrap()[0].held);
        let lease = store.claim(&id("e"), 10).await.expect("its holder is dead, though the lease runs for an hour");
        let next = events.len() as u64 + 1;
        store.append(&lease, &lines(next, next)).await.unwrap();
    }
}
