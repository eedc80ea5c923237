//! How fast events become durable: `cargo run --release -p ice-store --example throughput -- [FOLDER]`.
//!
//! Prints one line a measurement: events of 512 bytes in appends of one and of 64, from one execution and from 64 at
//! once, for both durabilities. FOLDER is where the database is made; the current folder when it is left out.

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

async fn measure(folder: PathBuf, durability: Durability, executions: u64, batch: u64) -> std::io::Result<()> {
    let folder = folder.join(format!("throughput-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let options = Options { durability, ..Options::default() };
    let store = ice_store::open_path(&folder.join("ice.db"), Arc::new(SystemClock), options).await;
    let store = store.unwrap_or_else(|problem| panic!("{problem}"));
    let start = Instant::now();
    let running: Vec<_> =
        (0..executions).map(|number| tokio::spawn(append(store.clone(), format!("e{number}"), batch))).collect();
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
    std::fs::remove_dir_all(&folder)
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let folder = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    for durability in [Durability::Process, Durability::Power] {
        for (executions, batch) in [(1, 1), (1, 64), (64, 1), (64, 64)] {
            measure(folder.clone(), durability, executions, batch).await?;
        }
    }
    Ok(())
}
