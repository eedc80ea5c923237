//! In one process: the runtime is dropped at every event, and another one goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ice_core::id::UnixMs;
use ice_core::ports::Clock;
use ice_engine::testing::everything::{Everything, Outcome, Over, live};
use ice_engine::testing::{Cord, Pull, Tally};

use super::{Place, calm, open, process, who};

/// Some time in 2026.
const NOW: UnixMs = 1_790_000_000_000;

/// Cases at once: each spends most of its time with the database.
const THREADS: usize = 4;

/// Runs so much faster than the others that pauses take no time to speak of.
const FASTER: u64 = 50;

/// A clock in a hurry.
struct Hurried {
    base: UnixMs,
    began: Instant,
}

impl Hurried {
    fn at(base: UnixMs) -> Arc<Self> {
        Arc::new(Self { base, began: Instant::now() })
    }
}

#[async_trait]
impl Clock for Hurried {
    fn now_ms(&self) -> UnixMs {
        self.base + u64::try_from(self.began.elapsed().as_millis()).unwrap() * FASTER
    }

    async fn sleep(&self, ms: u64) {
        tokio::time::sleep(Duration::from_micros(ms * 1_000 / FASTER)).await;
    }

    fn random(&self) -> u64 {
        ice_capabilities::SystemClock.random()
    }
}

/// Runs everything with the cord pulled, then goes on in a second life. `None` when it ended before that.
fn killed(url: &str, case: &str, pull: Pull) -> Option<Outcome> {
    let (who, tally) = (who(case), Arc::<Tally>::default());
    let mut outside = Everything::new(Arc::clone(&tally));
    // Nobody else is there, and a machine under load may stop for a while.
    outside.options.lease_ms = 600_000;
    let ended = process(async {
        let clock = Hurried::at(NOW);
        let store = open(url, Arc::clone(&clock) as _).await;
        let cord = Cord::new(Arc::clone(&store) as _, pull, || {});
        let engine = outside.engine(Arc::clone(&cord) as _, store, clock);
        tokio::select! {
            biased;
            () = cord.went_dark() => false,
            ending = live(&engine, &who) => ending.is_ok(),
        }
    });
    if ended {
        return None;
    }
    Some(process(async {
        // The leases of the first life are over.
        let clock = Hurried::at(NOW + 86_400_000);
        let store = open(url, Arc::clone(&clock) as _).await;
        let over = Over::now(&*store, &who, &tally).await;
        let engine = outside.engine(Arc::clone(&store) as _, Arc::clone(&store) as _, clock);
        let ending = live(&engine, &who).await.unwrap();
        over.assert_untouched(&tally);
        Outcome::of(ending, &*store, &who, &tally).await
    }))
}

/// Before and after, in turn, over all events: a place for each thread.
fn at_every_event(place: fn() -> Place) {
    let first = place();
    let (calm, events) = process(calm(&first.url, Hurried::at(NOW)));
    let (next, cuts, over) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let place = place();
                while !over.load(Ordering::Relaxed) {
                    let cut = next.fetch_add(1, Ordering::Relaxed);
                    let pull = if cut.is_multiple_of(2) { Pull::After(cut) } else { Pull::Before(cut) };
                    match killed(&place.url, &cut.to_string(), pull) {
                        Some(outcome) => assert_eq!(outcome, calm, "{pull:?}"),
                        None => over.store(true, Ordering::Relaxed),
                    }
                    cuts.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let cuts = cuts.load(Ordering::Relaxed);
    // Nodes overlap otherwise each time: some events come or go with it.
    assert!(cuts + 20 > events, "it was killed at {cuts} of {events} events");
}

#[test]
fn dropped_at_every_event_it_ends_the_same_on_sqlite() {
    at_every_event(Place::sqlite);
}

#[test]
fn dropped_at_every_event_it_ends_the_same_on_postgres() {
    at_every_event(Place::postgres);
}
