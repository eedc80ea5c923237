//! Random graphs of up to 200 nodes, with everything that can happen to a node, through the whole engine; and a model
//! that says how each node ends without knowing the engine.

use std::collections::HashMap;
use std::time::Duration;

use ice_core::catalog::Effects;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::testing::{Cut, check_events};

/// What a node does when it runs.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Does {
    Well,
    Sends,
    Fails,
    /// Fails at its first attempt.
    FailsOnce,
    /// Fails at both its attempts.
    FailsTwice,
}

/// What its `run_if` says.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Wanted {
    Unsaid,
    Always,
    Yes,
    No,
}

#[derive(Clone, Debug)]
struct Node {
    needs: Vec<usize>,
    does: Does,
    wanted: Wanted,
    /// For how long it does it.
    ms: u64,
    /// What its stand-in does.
    stand_in: Option<Does>,
    finally: bool,
}

fn does() -> impl Strategy<Value = Does> {
    prop_oneof![
        6 => Just(Does::Well),
        3 => Just(Does::Sends),
        1 => Just(Does::Fails),
        1 => Just(Does::FailsOnce),
        1 => Just(Does::FailsTwice),
    ]
}

fn graphs(most: usize) -> impl Strategy<Value = Vec<Node>> {
    let wanted = prop_oneof![
        12 => Just(Wanted::Unsaid),
        2 => Just(Wanted::Always),
        1 => Just(Wanted::Yes),
        1 => Just(Wanted::No),
    ];
    let needs = proptest::collection::vec(any::<Index>(), 0..4);
    let stand_in = proptest::option::weighted(0.2, does());
    let node = (needs, does(), wanted, 0_u64..40, stand_in, proptest::bool::weighted(0.05));
    proptest::collection::vec(node, 1..=most).prop_map(|raw| {
        let mut nodes: Vec<Node> = Vec::new();
        for (edges, does, wanted, ms, stand_in, finally) in raw {
            // Only what runs at the end may need what runs at the end.
            let known: Vec<usize> = (0..nodes.len()).filter(|index| finally || !nodes[*index].finally).collect();
            let mut needs: Vec<usize> =
                edges.iter().filter(|_| !known.is_empty()).map(|edge| *edge.get(&known)).collect();
            needs.sort_unstable();
            needs.dedup();
            let (wanted, stand_in) = if finally { (Wanted::Unsaid, None) } else { (wanted, stand_in) };
            nodes.push(Node { needs, does, wanted, ms, stand_in, finally });
        }
        nodes
    })
}

/// Each that fails for a while has a tool of its own, so that no breaker opens for the others.
fn tool(id: &str, does: Does) -> String {
    match does {
        Does::Well => "well".into(),
        Does::Sends => "send".into(),
        Does::Fails => "fail".into(),
        Does::FailsOnce => format!("once_{id}"),
        Does::FailsTwice => format!("twice_{id}"),
    }
}

fn written(id: &str, does: Does, node: &Node) -> Value {
    let needs: Vec<String> = node.needs.iter().map(|needed| format!("n{needed}")).collect();
    json!({
        "id": id, "type": "tool", "tool_name": tool(id, does), "dependencies": needs,
        "tool_args": { "ms": node.ms, "id": id }, "retry_policy": { "max_attempts": 2, "backoff_seconds": 0.05 },
    })
}

fn blueprint(graph: &[Node], policy: &str) -> String {
    let mut nodes = Vec::new();
    for (index, node) in graph.iter().enumerate() {
        let mut document = written(&format!("n{index}"), node.does, node);
        match node.wanted {
            Wanted::Unsaid => {}
            Wanted::Always => document["run_if"] = "always".into(),
            Wanted::Yes => document["run_if"] = "{{ 1 == 1 }}".into(),
            Wanted::No => document["run_if"] = "{{ 1 == 2 }}".into(),
        }
        if node.finally {
            document["finally"] = true.into();
        }
        if let Some(does) = node.stand_in {
            document["fallback"] = format!("s{index}").into();
            nodes.push(written(&format!("s{index}"), does, node));
        }
        nodes.push(document);
    }
    json!({ "schema_version": "1.2.0", "failure_policy": policy, "max_parallel": 7, "nodes": nodes }).to_string()
}

/// How each node ends when nothing stops it, by the graph alone.
fn model(graph: &[Node]) -> BTreeMap<String, String> {
    let ends = |does: Does| if matches!(does, Does::Fails | Does::FailsTwice) { "failed X031" } else { "finished" };
    let (mut states, mut good) = (BTreeMap::new(), Vec::new());
    for (index, node) in graph.iter().enumerate() {
        let whole = node.needs.iter().all(|needed| good[*needed]);
        let state = match node.wanted {
            _ if node.finally => ends(node.does),
            Wanted::Unsaid | Wanted::Yes | Wanted::No if !whole => "skipped dependency",
            Wanted::No => "skipped run_if",
            _ => ends(node.does),
        };
        let mut end_well = state == "finished";
        if let Some(does) = node.stand_in {
            let stood_in = match state {
                "failed X031" if whole => ends(does),
                "failed X031" => "skipped dependency",
                _ => "skipped not_needed",
            };
            end_well |= stood_in == "finished";
            states.insert(format!("s{index}"), stood_in.to_owned());
        }
        states.insert(format!("n{index}"), state.to_owned());
        good.push(end_well);
    }
    states
}

fn fakes(graph: &[Node]) -> Fakes {
    /// Does something for as long as its input says, unless it is stopped, and fails at so many first attempts.
    fn for_a_while(fakes: Fakes, name: &str, effects: Effects, failing: u32, failure: fn() -> Failure) -> Fakes {
        fakes.slow_tool(name, effects, move |call, scope| async move {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(call.input["ms"].as_u64().unwrap())) => {}
                () = scope.cancelled() => return Err(broken()),
            }
            if call.attempt <= failing { Err(failure()) } else { Ok(json!({ "id": call.input["id"] })) }
        })
    }
    let mut fakes = for_a_while(Fakes::new(), "well", Effects::None, 0, broken);
    fakes = for_a_while(fakes, "send", Effects::External, 0, broken);
    fakes = for_a_while(fakes, "fail", Effects::External, u32::MAX, permanently_broken);
    for (index, node) in graph.iter().enumerate() {
        let stand_in = node.stand_in.map(|does| (format!("s{index}"), does));
        for (id, does) in stand_in.into_iter().chain([(format!("n{index}"), node.does)]) {
            let failing = match does {
                Does::FailsOnce => 1,
                Does::FailsTwice => 2,
                _ => continue,
            };
            fakes = for_a_while(fakes, &tool(&id, does), Effects::External, failing, broken);
        }
    }
    fakes
}

/// One process: everything it had running is gone afterwards.
fn process<T>(life: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    // Simulated time: what would never end is found out at once.
    let soon = Duration::from_secs(1_000_000);
    runtime.block_on(async { tokio::time::timeout(soon, life).await }).expect("every execution ends")
}

/// Runs it to its end; asks it to stop after so many milliseconds.
fn run(graph: &[Node], policy: &str, cancel: Option<u64>) -> Ran {
    process(async {
        let world = World::new(fakes(graph));
        let handle = world.start(&blueprint(graph, policy), json!({})).await;
        if let Some(ms) = cancel {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            world.engine.cancel(&handle.id, "no longer wanted").await.unwrap();
        }
        let ending = handle.finish().await;
        Ran { ending, events: world.outside.store.events_of(&handle.id), id: handle.id }
    })
}

/// What holds of every execution: one end each, nothing before what it needs, the view is what happened.
fn check(graph: &[Node], ran: &Ran) -> Result<(), TestCaseError> {
    check_events(&ran.events);
    let mut ends: HashMap<&str, u64> = HashMap::new();
    let mut begins: HashMap<&str, u64> = HashMap::new();
    for event in &ran.events {
        match &event.fact {
            Fact::NodeStarted { .. } => drop(begins.entry(event.path.as_str()).or_insert(event.seq)),
            Fact::NodeFinished { .. } | Fact::NodeFailed { .. } | Fact::NodeSkipped { .. } => {
                prop_assert!(ends.insert(event.path.as_str(), event.seq).is_none(), "{} ended twice", event.path);
            }
            _ => {}
        }
    }
    let stand_ins = graph.iter().filter(|node| node.stand_in.is_some()).count();
    prop_assert_eq!(ends.len(), graph.len() + stand_ins, "every node has an end");
    for (index, node) in graph.iter().enumerate() {
        for own in [format!("n{index}"), format!("s{index}")] {
            let Some(begin) = begins.get(own.as_str()) else { continue };
            for needed in &node.needs {
                prop_assert!(ends[format!("n{needed}").as_str()] < *begin, "{} began before n{}", own, needed);
            }
        }
        if node.finally {
            prop_assert!(begins.contains_key(format!("n{index}").as_str()), "n{} runs whatever happened", index);
        }
    }
    let view = replay(&ran.events).unwrap();
    prop_assert_eq!(view.status, ran.ending.status.into());
    prop_assert_eq!(&view.outputs, &ran.ending.outputs);
    prop_assert_eq!(&view.problem, &ran.ending.problem);
    // Read back from what a store writes, and taken in piece by piece, it is the same.
    let text = serde_json::to_string(&ran.events).unwrap();
    let mut again = replay(&serde_json::from_str::<Vec<Event>>(&text).unwrap()[..1]).unwrap();
    ran.events[1..].iter().for_each(|event| again.apply(event));
    prop_assert_eq!(again, view);
    Ok(())
}

/// Runs it with the store cut off, and goes on in another process. Gives what had been called by then, and what was
/// over.
fn killed(graph: &[Node], policy: &str, cut: usize) -> (Ran, Outside, Vec<(NodePath, u32, usize)>) {
    let outside = process(async {
        let outside = Outside::new(fakes(graph), Answers::echo());
        outside.store.cut(Cut::After(cut));
        let engine = outside.engine(NOW, 1);
        tokio::select! {
            biased;
            () = outside.store.went_dark() => {}
            _ = async { start(&engine, &blueprint(graph, policy), json!({})).await.finish().await } => {}
        }
        outside.store.cut(Cut::Never);
        outside
    });
    let called = |path: &NodePath, attempt: u32| {
        outside.fakes.calls().iter().filter(|call| call.path == *path && call.attempt == attempt).count()
    };
    let events = outside.store.ids().first().map(|id| outside.store.events_of(id)).unwrap_or_default();
    let over =
        |fact: &Fact| matches!(fact, Fact::NodeFinished { .. } | Fact::NodeFailed { .. } | Fact::NodeRetried { .. });
    let over = events.iter().filter(|event| over(&event.fact));
    let over = over.map(|event| (event.path.clone(), event.attempt, called(&event.path, event.attempt))).collect();
    let ran = process(async {
        let engine = outside.engine(NOW + 60_000, 1);
        let handle = match outside.store.ids().first() {
            Some(id) => engine.resume(id).await.unwrap(),
            None => start(&engine, &blueprint(graph, policy), json!({})).await,
        };
        let ending = handle.finish().await;
        Ran { ending, events: outside.store.events_of(&handle.id), id: handle.id }
    });
    (ran, outside, over)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn how_every_node_ends_is_decided_by_the_graph_alone(graph in graphs(200), always: bool) {
        let ran = run(&graph, if always { "always" } else { "continue_possible" }, None);
        check(&graph, &ran)?;
        let model = model(&graph);
        prop_assert_eq!(&ran.states(), &model);
        let recovered = |index: usize| model.get(&format!("s{index}")).is_some_and(|state| state == "finished");
        let failed = (0..graph.len()).any(|index| model[&format!("n{index}")].starts_with("failed") && !recovered(index));
        prop_assert_eq!(ran.ending.status == FinalStatus::Completed, !failed);
        prop_assert_eq!(ran.ending.problem.is_some(), failed);
    }

    #[test]
    fn a_halt_stops_it_in_order(graph in graphs(200)) {
        let ran = run(&graph, "halt", None);
        check(&graph, &ran)?;
        let (states, model) = (ran.states(), model(&graph));
        let fails = |index: usize| states[&format!("n{index}")].starts_with("failed")
            && states.get(&format!("s{index}")).is_none_or(|state| state != "finished");
        let failed = (0..graph.len()).any(fails);
        prop_assert_eq!(ran.ending.status == FinalStatus::Completed, !failed);
        for (id, state) in states.iter().filter(|(id, _)| id.starts_with('n')) {
            let node = &graph[id[1..].parse::<usize>().unwrap()];
            // A pause between attempts is cut short, and whoever needs what was stopped is not begun.
            let holes = node.needs.iter().any(|needed| states[&format!("n{needed}")] != "finished");
            let stopped = match state.as_str() {
                "skipped halted" | "failed X002" => true,
                "failed X031" => node.does == Does::FailsOnce,
                "skipped dependency" => holes,
                _ => false,
            };
            prop_assert!(stopped || *state == model[id], "{}: {}, not {}", id, state, model[id]);
            prop_assert!(!stopped || failed || *state == model[id], "{} was stopped, and nothing had failed", id);
        }
    }

    #[test]
    fn a_cancel_at_any_time_ends_it(graph in graphs(120), ms in 0_u64..400) {
        let ran = run(&graph, "continue_possible", Some(ms));
        check(&graph, &ran)?;
        let asked = ran.events.iter().find(|event| matches!(event.fact, Fact::CancelRequested { .. }));
        prop_assert_eq!(asked.is_some(), ran.ending.status == FinalStatus::Cancelled);
        let Some(asked) = asked else { return Ok(()) };
        // What was chosen in the very moment of the cancel is begun and interrupted.
        for event in ran.events.iter().filter(|event| event.seq > asked.seq && event.at > asked.at) {
            if matches!(event.fact, Fact::NodeStarted { .. }) {
                let index: usize = event.path.as_str()[1..].parse().unwrap();
                prop_assert!(graph[index].finally, "{} began after the cancel", event.path);
            }
        }
    }

    #[test]
    fn a_crash_at_any_event_changes_no_end(graph in graphs(60), cut: Index, always: bool) {
        let policy = if always { "always" } else { "continue_possible" };
        let calm = run(&graph, policy, None);
        let cut = cut.index(calm.events.len() + 1);
        let (ran, outside, over) = killed(&graph, policy, cut);
        check(&graph, &ran)?;
        prop_assert_eq!(ran.states(), calm.states());
        prop_assert_eq!((ran.ending.status, &ran.ending.outputs), (calm.ending.status, &calm.ending.outputs));
        let calls = outside.fakes.calls();
        for (path, attempt, before) in over {
            let after = calls.iter().filter(|call| call.path == path && call.attempt == attempt).count();
            prop_assert_eq!(after, before, "{} attempt {} was over and ran again", path, attempt);
        }
    }
}
