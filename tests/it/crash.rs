//! Executions whose processes are killed, raced for and frozen, on real databases: the blueprint with every kind of
//! node, over an outside that counts every effect.

mod child;
mod frozen;
mod killed;
mod matrix;
mod shipped;

use std::path::Path;
use std::sync::Arc;

use ice_capabilities::SystemClock;
use ice_core::execution::Ending;
use ice_core::id::Identity;
use ice_core::ports::Clock;
use ice_engine::testing::Tally;
use ice_engine::testing::everything::{Everything, Family, Outcome, live};
use ice_store::{Options, Store};

/// A database of its own, and a folder for what else a test keeps.
struct Place {
    url: String,
    folder: tempfile::TempDir,
}

impl Place {
    fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { url: format!("sqlite:{}", folder.path().join("ice.db").display()), folder }
    }

    fn postgres() -> Self {
        Self { url: crate::postgres::database(), folder: tempfile::tempdir().unwrap() }
    }

    fn tally(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name).with_extension("tally")
    }
}

/// Whoever a case runs for: what it leaves is found by that.
fn who(case: &str) -> Identity {
    Identity { org: "crash".into(), user: case.into(), session: None }
}

async fn open(url: &str, clock: Arc<dyn Clock>) -> Arc<Store> {
    Arc::new(ice_store::open_with(url, clock, Options::default()).await.unwrap())
}

/// What comes of it when nobody disturbs it, and in how many events.
async fn calm(url: &str, clock: Arc<dyn Clock>) -> (Outcome, usize) {
    let (who, tally) = (who("calm"), Arc::<Tally>::default());
    let store = open(url, Arc::clone(&clock)).await;
    let engine = Everything::new(Arc::clone(&tally)).engine(Arc::clone(&store) as _, Arc::clone(&store) as _, clock);
    let ending = live(&engine, &who).await.unwrap();
    let events = Family::read(&*store, &who).await.len();
    (Outcome::of(ending, &*store, &who, &tally).await, events)
}

/// What a run whose processes are gone came to.
async fn outcome(url: &str, case: &str, ending: Ending, tally: &Path) -> Outcome {
    let store = open(url, Arc::new(SystemClock)).await;
    Outcome::of(ending, &*store, &who(case), &Tally::at(tally).unwrap()).await
}

/// One process: everything it had running is gone afterwards.
fn process<T>(life: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(life)
}
