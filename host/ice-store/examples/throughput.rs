//! How fast events become durable: `cargo run --release -p ice-store --example throughput -- [FOLDER | postgres://…]`.
//!
//! Prints one line a measurement: events of 512 bytes in appends of one and of 64, from one execution and from 64 at
//! once, for both durabilities. FOLDER is where a SQLite database is made; the current folder when it is left out.
//! A URL names a Postgres database, in which the executions stay.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use ice_core::event::{Event, Fact};
use ice_core::id::{ExecutionId, Identity, NodePath, UnixMs};
use ice_core::ports::{Clock, Events};
use ice_store::{Durability, Options, Store};

/// How long one measurement lasts.
const LASTS: Duration = Duration::from_secs(2);

/// Bytes of one fact.
const EVENT_BYTES: usize = 512;

struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now_ms(&self) -> UnixMs {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock after 1970");
        u64::try_from(now.as_millis()).expect("milliseconds fit for 500 million years")
    }

    async fn sleep(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    fn random(&self) -> u64 {
        0
    }
}

fn events(first: u64, count: u64) -> Vec<Event> {
    let event = |seq| Event {
        seq,
        at: 1_700_000_000_000 + seq,
        path: NodePath("price_all[3]/quote".into()),
        attempt: 1,
        fact: Fact::Logged { level: "info".into(), message: "x".repeat(EVENT_BYTES - 50) },
    };
    (first..first + count).map(event).collect()
}

/// One execution that appends until the time is over; returns how long each append took.
async fn append(store: Store, name: String, batch: u64) -> Vec<Duration> {
    let lease = store
        .create(&ExecutionId(name), "throughput", &Identity::local(), &[], 60_000)
        .await
        .expect("a fresh execution");
    let mut took = Vec::new();
    let start = Instant::now();
    let mut next = 1;
    while start.elapsed() < LASTS {
        let events = events(next, batch);
        let before = Instant::now();
        store.append(&lease, &events).await.expect("appended");
        took.push(before.elapsed());
        next += batch;
    }
    took
}

/// Where the events go.
#[derive(Clone)]
enum Target {
    Folder(PathBuf),
    Url(String),
}

async fn measure(target: &Target, durability: Durability, executions: u64, batch: u64) -> std::io::Result<()> {
    let options = Options { durability, ..Options::default() };
    let mut made = None;
    let opened = match target {
        Target::Url(url) => ice_store::open_with(url, Arc::new(SystemClock), options).await,
        Target::Folder(folder) => {
            let folder = made.insert(folder.join(format!("throughput-{}", std::process::id())));
            std::fs::create_dir_all(&*folder)?;
            ice_store::open_path(&folder.join("ice.db"), Arc::new(SystemClock), options).await
        }
    };
    let store = opened.unwrap_or_else(|problem| panic!("{problem}"));
    let start = Instant::now();
    let name = |number| format!("{}-{durability:?}-{executions}-{batch}-{number}", SystemClock.now_ms());
    let running: Vec<_> =
        (0..executions).map(|number| tokio::spawn(append(store.clone(), name(number), batch))).collect();
    let mut took = Vec::new();
    for execution in running {
        took.extend(execution.await.expect("no panic"));
    }
    let total = took.len() as u64 * batch;
    let rate = total as f64 / start.elapsed().as_secs_f64();
    took.sort();
    let at = |part: usize| took[(took.len() - 1) * part / 100].as_micros();
    writeln!(
        std::io::stdout(),
        "{durability:?} executions={executions} batch={batch} events_per_s={rate:.0} append_p50_us={} append_p99_us={}",
        at(50),
        at(99)
    )?;
    store.close().await;
    made.map_or(Ok(()), std::fs::remove_dir_all)
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let target = match std::env::args().nth(1) {
        Some(url) if url.starts_with("postgres") && url.contains("://") => Target::Url(url),
        folder => Target::Folder(folder.unwrap_or_else(|| ".".into()).into()),
    };
    for durability in [Durability::Process, Durability::Power] {
        for (executions, batch) in [(1, 1), (1, 64), (64, 1), (64, 64)] {
            measure(&target, durability, executions, batch).await?;
        }
    }
    Ok(())
}
