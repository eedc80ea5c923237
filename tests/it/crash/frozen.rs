//! A process that is stopped for longer than its lease: another one goes on, and what it does when it comes back
//! leaves no trace.

use std::sync::Arc;
use std::time::Duration;

use ice_capabilities::SystemClock;
use ice_core::blueprint::parse;
use ice_core::budget::{Budget, Usage};
use ice_core::catalog::Effects;
use ice_core::event::Event;
use ice_core::execution::Ending;
use ice_core::ports::{Clock, Documents, Events, Failure};
use ice_core::problem::{Code, Problem};
use ice_engine::testing::everything::Family;
use ice_engine::testing::{Answers, Effect, Fakes, Refusing, Tally, check_events};
use ice_engine::{Engine, EngineOptions, Ports, StartExecution};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::child::{Deed, Orders, hear, say};
use super::{Place, open, process, who};

/// Short, so that nobody waits long for it to run out; long enough to be renewed on a machine under load.
const LEASE_MS: u64 = 3_000;

const HELD: &str = "
schema_version: '1.2.0'
nodes:
  - {id: first, type: tool, tool_name: note, tool_args: {n: 1}}
  - {id: long, type: tool, tool_name: hold, dependencies: [first]}
  - {id: last, type: tool, tool_name: note, dependencies: [long], tool_args: {n: 2}}
outputs: {by: '{{ long.by }}'}
";

/// The life of a process that holds an execution, or of one that frees it.
pub(super) async fn held(
    orders: &Orders,
    tally: Arc<Tally>,
    events: Arc<dyn Events>,
    documents: Arc<dyn Documents>,
    clock: Arc<dyn Clock>,
) -> Result<Ending, Problem> {
    let holds = orders.deed == Deed::Hold;
    let seen = |tally: &Tally, place: String| {
        let (key, body) = (place.clone(), String::new());
        tally.note(Effect { key, execution: None, place, body, usage: Usage::default() });
    };
    let (noted, stopped) = (Arc::clone(&tally), tally);
    let fakes = Fakes::new()
        .tool("note", Effects::External, move |input| {
            seen(&noted, input.to_string());
            Ok(json!({}))
        })
        .slow_tool("hold", Effects::External, move |_, scope| {
            let tally = Arc::clone(&stopped);
            async move {
                if holds {
                    say("holding");
                    scope.cancelled().await;
                    seen(&tally, "stopped".into());
                    return Err(Failure::never(Problem::new(Code::X002, "it was stopped")));
                }
                Ok(json!({ "by": "the other" }))
            }
        });
    let ports = Ports {
        components: Arc::new(fakes),
        llm: Arc::new(Answers::echo()),
        memory: Arc::new(Refusing),
        http: Arc::new(Refusing),
        events: Arc::clone(&events),
        documents,
        clock,
    };
    let engine = Engine::new(ports, EngineOptions { lease_ms: LEASE_MS, ..EngineOptions::default() });
    let who = who(&orders.case);
    if holds {
        let plan = engine.plan(&parse(HELD, "held.yaml").unwrap()).await.unwrap();
        let (plan, inputs) = (Arc::new(plan), json!({}));
        let start = StartExecution { plan, inputs, identity: who, parent: None, budget: Budget::default() };
        return Ok(engine.start(start).await.unwrap().finish().await);
    }
    let root = Family::read(&*events, &who).await.root.unwrap();
    loop {
        match engine.resume(&root).await {
            // Nobody says when a lease runs out.
            Err(problem) if [Code::X008, Code::X042].contains(&problem.code) => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(problem) => return Err(problem),
            Ok(handle) => return Ok(handle.finish().await),
        }
    }
}

fn what_was_frozen_writes_nothing(place: &Place) {
    let case = "frozen";
    let orders = |deed: Deed| Orders {
        url: place.url.clone(),
        case: case.into(),
        tally: place.tally(case),
        report: place.folder.path().join(format!("{deed:?}")),
        deed,
    };
    let events = || -> Vec<Event> {
        process(async {
            let store = open(&place.url, Arc::new(SystemClock)).await;
            let root = Family::read(&*store, &who(case)).await.root.unwrap();
            Events::read(&*store, &root, 0, u32::MAX).await.unwrap()
        })
    };
    let count = |key: &str| Tally::at(&place.tally(case)).unwrap().counts().get(key).copied();
    let holder = orders(Deed::Hold);
    let mut frozen = holder.spawn();
    hear(&mut frozen, "holding");
    let pid = Pid::from_child(&frozen);
    kill_process(pid, Signal::STOP).unwrap();

    let free = orders(Deed::Free);
    let report = free.reported(free.spawn());
    assert_eq!(report.ended.unwrap().outputs, json!({ "by": "the other" }));
    assert!(report.stored > 0);
    let list = events();
    check_events(&list);
    assert_eq!(count("stopped"), None, "it is frozen");

    kill_process(pid, Signal::CONT).unwrap();
    let report = holder.reported(frozen);
    let lost = report.ended.unwrap().problem.unwrap();
    assert!([Code::X008, Code::X040].contains(&lost.code), "{lost}");
    assert_eq!(events(), list, "it appended nothing");
    assert_eq!(count("stopped"), Some(1), "its guest was stopped");
    assert_eq!((count(r#"{"n":1}"#), count(r#"{"n":2}"#)), (Some(1), Some(1)), "each was done once, by either");
}

#[test]
fn a_process_that_was_stopped_for_longer_than_its_lease_writes_nothing_on_sqlite() {
    what_was_frozen_writes_nothing(&Place::sqlite());
}

#[test]
fn a_process_that_was_stopped_for_longer_than_its_lease_writes_nothing_on_postgres() {
    what_was_frozen_writes_nothing(&Place::postgres());
}
