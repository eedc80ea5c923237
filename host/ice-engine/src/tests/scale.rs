//! Very long, very wide, very many at once: time and memory grow with the graph and no faster.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use ice_core::blueprint::Parsed;
use ice_core::id::{Identity, UnixMs};
use ice_core::ports::{Events, ExecutionRow, Lease};

use super::*;
use crate::testing::Noop;

/// As many nodes as the format is asked to hold.
const NODES: usize = 100_000;

/// Events that may wait for the store at once: the journal's backlog, and what one turn of the driver adds to it.
const WAITING_MAX: usize = 3 * 4096;

/// A store that counts instead of keeping: what the engine itself holds is all that is held.
#[derive(Default)]
struct Counting {
    stored: AtomicUsize,
    largest: AtomicUsize,
}

fn refused() -> Failure {
    Failure::never(Problem::new(Code::X013, "nothing is kept"))
}

#[async_trait]
impl Events for Counting {
    async fn create(
        &self,
        id: &ExecutionId,
        _name: &str,
        _who: &Identity,
        _first: &[Event],
        _lease_ms: u64,
    ) -> Result<Lease, Failure> {
        Ok(Lease { execution: id.clone(), fence: 1, until: UnixMs::MAX })
    }

    async fn claim(&self, _id: &ExecutionId, _lease_ms: u64) -> Result<Lease, Failure> {
        Err(refused())
    }

    async fn renew(&self, lease: &Lease, _lease_ms: u64) -> Result<Lease, Failure> {
        Ok(lease.clone())
    }

    async fn release(&self, _lease: &Lease) -> Result<(), Failure> {
        Ok(())
    }

    async fn append(&self, _lease: &Lease, events: &[Event]) -> Result<(), Failure> {
        self.stored.fetch_add(events.len(), Ordering::Relaxed);
        self.largest.fetch_max(events.len(), Ordering::Relaxed);
        Ok(())
    }

    async fn read(&self, _id: &ExecutionId, _after: u64, _limit: u32) -> Result<Vec<Event>, Failure> {
        Ok(Vec::new())
    }

    async fn follow(&self, _id: &ExecutionId, _after: u64, _limit: u32) -> Result<Vec<Event>, Failure> {
        Err(refused())
    }

    async fn list(&self, _who: &Identity, _limit: u32) -> Result<Vec<ExecutionRow>, Failure> {
        Ok(Vec::new())
    }

    async fn older(&self, _who: &Identity, _than: &ExecutionId, _limit: u32) -> Result<Vec<ExecutionRow>, Failure> {
        Ok(Vec::new())
    }

    async fn left(&self, _limit: u32) -> Result<Vec<ExecutionId>, Failure> {
        Ok(Vec::new())
    }

    async fn request_cancel(&self, _id: &ExecutionId, _reason: &str) -> Result<bool, Failure> {
        Err(refused())
    }

    async fn standing(&self, _ids: &[ExecutionId]) -> Result<Vec<ExecutionRow>, Failure> {
        Ok(Vec::new())
    }

    async fn cancel_requested(&self, _id: &ExecutionId) -> Result<Option<String>, Failure> {
        Ok(None)
    }

    async fn waiting(&self, _who: Option<&Identity>, _limit: u32) -> Result<Vec<ExecutionId>, Failure> {
        Ok(Vec::new())
    }

    async fn due(&self, _now: UnixMs, _limit: u32) -> Result<Vec<ExecutionId>, Failure> {
        Ok(Vec::new())
    }
}

/// Runs nodes that do nothing; says how it ended and what the store saw.
async fn run_noop(needs: impl Fn(usize) -> Vec<String>, output: &str) -> (Ending, Arc<Counting>) {
    let node = |index: usize| json!({ "id": format!("n{index}"), "type": "tool", "tool_name": "noop", "dependencies": needs(index) });
    let nodes: Vec<Value> = (0..NODES).map(node).collect();
    let outputs = json!({ "last": format!("{{{{ {output} }}}}") });
    let document = json!({ "schema_version": "1.2.0", "nodes": nodes, "outputs": outputs });
    let store = Arc::new(Counting::default());
    let outside = Outside::new(Fakes::new(), Answers::echo());
    let ports = Ports {
        components: Arc::new(Noop::new()),
        llm: outside.llm,
        memory: Arc::new(Refusing),
        http: outside.http,
        events: Arc::clone(&store) as _,
        documents: outside.store,
        clock: Arc::new(SimClock::at(NOW)),
    };
    let engine = Engine::new(ports, EngineOptions::default());
    let plan = engine.plan(&Parsed::from_value(document).unwrap()).await.unwrap();
    let handle = engine.start(StartExecution::new(Arc::new(plan), json!({}))).await.unwrap();
    (handle.finish().await, store)
}

fn check(ending: &Ending, store: &Counting) {
    assert_eq!((ending.status, &ending.outputs), (FinalStatus::Completed, &json!({ "last": {} })));
    // Two for each node, one for the end.
    assert_eq!(store.stored.load(Ordering::Relaxed), 2 * NODES + 1);
    let largest = store.largest.load(Ordering::Relaxed);
    assert!(largest <= WAITING_MAX, "{largest} events waited for the store");
}

#[tokio::test(start_paused = true)]
async fn a_chain_of_a_hundred_thousand_nodes_finishes() {
    let before = |index: usize| index.checked_sub(1).map(|before| format!("n{before}")).into_iter().collect();
    let (ending, store) = run_noop(before, &format!("n{}", NODES - 1)).await;
    check(&ending, &store);
}

#[tokio::test(start_paused = true)]
async fn a_fan_out_to_a_hundred_thousand_nodes_finishes() {
    let first = |index: usize| if index == 0 { Vec::new() } else { vec!["n0".to_owned()] };
    let (ending, store) = run_noop(first, "n77777").await;
    check(&ending, &store);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_models_are_asked_as_many_at_once_as_the_blueprint_lets() {
    for (at_once, waves) in [(16, 63), (800, 2), (1_000, 1)] {
        let clock = Arc::new(SimClock::at(NOW));
        let world = World::with_model(Fakes::new(), Answers::echo().slowly(clock, 50));
        let node = |index: usize| {
            let config = json!({ "provider": "test", "model": "m" });
            json!({ "id": format!("n{index}"), "type": "llm", "prompt": format!("say {index}"), "llm_config": config })
        };
        let nodes: Vec<Value> = (0..1_000).map(node).collect();
        let document = json!({ "schema_version": "1.2.0", "max_parallel": at_once, "nodes": nodes });
        let began = tokio::time::Instant::now();
        let ran = world.run(&document.to_string(), json!({})).await;
        assert_eq!(began.elapsed().as_millis(), waves * 50, "{at_once} at once");
        assert_eq!(ran.ending.status, FinalStatus::Completed);
        assert_eq!(world.outside.llm.asked().len(), 1_000);
    }
}
