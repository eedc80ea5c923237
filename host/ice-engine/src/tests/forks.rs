//! Forks: what is kept does not run again, what differs does, and the new execution is one like any other.

use std::collections::BTreeSet;

use ice_core::budget::{Budget, Usage};
use ice_core::catalog::Effects;
use ice_core::event::Origin;
use ice_core::wait::Answer;

use super::*;
use crate::{ForkExecution, ForkPreview, ForkWhy, WaitFilter};

/// `a` → `b` → `d`, `c` beside them reading the input, and a paid answer after `b`.
const CHAIN: &str = "
    inputs: {required: [who, n]}
    nodes:
      - {id: a, type: tool, tool_name: post, tool_args: {text: '{{ inputs.n }}'}}
      - {id: b, type: tool, tool_name: post, dependencies: [a], tool_args: {text: '{{ a.text }}', extra: 1}}
      - {id: c, type: tool, tool_name: post, tool_args: {text: 'hi {{ who }}'}}
      - {id: d, type: tool, tool_name: post, dependencies: [b, c], tool_args: {text: '{{ b.text }} {{ c.text }}'}}
      - id: e
        type: llm
        prompt: 'about {{ b.text }}'
        llm_config: {provider: test, model: m, max_tokens: 10}
        dependencies: [b]
    outputs: {d: '{{ d.text }}', e: '{{ e.text }}'}
    ";

fn fakes() -> Fakes {
    Fakes::new().tool("post", Effects::External, Ok)
}

pub(super) fn ask(id: &ExecutionId, from: &str) -> ForkExecution {
    ForkExecution {
        execution: id.clone(),
        from: from.into(),
        inputs: serde_json::Map::new(),
        set: BTreeMap::new(),
        pin: BTreeSet::new(),
        blueprint: None,
        budget: Budget::default(),
    }
}

fn names(nodes: &[&str]) -> Vec<String> {
    nodes.iter().map(|node| (*node).to_owned()).collect()
}

fn runs(preview: &ForkPreview) -> Vec<&str> {
    preview.runs.iter().map(|run| run.node.as_str()).collect()
}

impl World {
    pub(super) async fn fork(&self, asked: ForkExecution) -> (ForkPreview, Ran) {
        let fork = self.engine.plan_fork(asked).await.unwrap();
        let preview = fork.preview.clone();
        let handle = self.engine.fork(fork).await.unwrap();
        let ending = handle.finish().await;
        (preview, Ran { ending, events: self.outside.store.events_of(&handle.id), id: handle.id })
    }

    /// The texts that were posted, in order.
    fn posted(&self) -> Vec<String> {
        let calls = self.outside.fakes.calls();
        calls.iter().filter_map(|call| call.input["text"].as_str().map(str::to_owned)).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_node_and_what_comes_after_it_runs_and_is_paid() {
    let world = World::new(fakes());
    let first = world.run(CHAIN, json!({"who": "bob", "n": "1"})).await;
    let before = world.outside.fakes.calls().len();
    let (preview, ran) = world.fork(ask(&first.id, "d")).await;
    assert_eq!((&preview.kept, runs(&preview)), (&names(&["a", "b", "c", "e"]), vec!["d"]));
    assert_eq!(preview.before, Usage::default(), "`d` cost nothing, and `e` is not asked again");
    assert_eq!(world.outside.fakes.calls().len() - before, 1);
    assert_eq!(world.outside.llm.asked().len(), 1);
    assert_eq!(ran.ending.outputs, first.ending.outputs);
    assert_eq!(ran.ending.usage, Usage::default(), "nothing was paid again");
    assert_ne!(ran.id, first.id);

    let view = replay(&ran.events).unwrap();
    let Some(Origin::Fork(forked)) = view.origin.as_deref() else { panic!("it says where it comes from") };
    assert_eq!((&forked.execution, forked.node.as_str()), (&first.id, "d"));
    assert_eq!(forked.kept, preview.kept);
    assert!(ran.events.iter().all(|event| !matches!(event.fact, Fact::ExecutionResumed)));
    assert_eq!(world.outside.store.events_of(&first.id), first.events, "the other one is only read");
}

#[tokio::test(start_paused = true)]
async fn the_cost_of_the_run_is_told_before() {
    let world = World::new(fakes());
    let first = world.run(CHAIN, json!({"who": "bob", "n": "1"})).await;
    let fork = world.engine.plan_fork(ask(&first.id, "b")).await.unwrap();
    assert_eq!(runs(&fork.preview), ["b", "d", "e"]);
    assert_eq!(fork.preview.before, first.ending.usage, "`e` alone asked a model");
    assert!(fork.preview.estimate.cost_micro_usd >= 10, "the model may write ten tokens: {:?}", fork.preview);
    assert_eq!(world.outside.fakes.calls().len(), 4, "looking runs nothing");

    let tight = ForkExecution { budget: Budget { tokens: Some(3), ..Budget::default() }, ..ask(&first.id, "b") };
    let problems = world.engine.plan_fork(tight).await.err().unwrap();
    assert_eq!(problems[0].code, Code::X005);

    // A fork of a fork knows what a kept node had cost where it ran.
    let (_, second) = world.fork(ask(&first.id, "d")).await;
    let third = world.engine.plan_fork(ask(&second.id, "e")).await.unwrap();
    assert_eq!(third.preview.before, first.ending.usage);
}

#[tokio::test(start_paused = true)]
async fn nodes_that_read_a_changed_input_run_too() {
    let world = World::new(fakes());
    let first = world.run(CHAIN, json!({"who": "bob", "n": "1"})).await;
    let mut asked = ask(&first.id, "d");
    asked.inputs.insert("who".into(), json!("eve"));
    let (preview, ran) = world.fork(asked).await;
    assert_eq!(preview.changed_inputs, ["who"]);
    assert_eq!(preview.kept, ["a", "b", "e"]);
    assert_eq!(preview.runs[0].why, ForkWhy::Input { input: "who".into() });
    assert_eq!(ran.ending.outputs["d"], "1 hi eve");

    let mut same = ask(&first.id, "d");
    same.inputs.insert("n".into(), json!("1"));
    let fork = world.engine.plan_fork(same).await.unwrap();
    assert_eq!(runs(&fork.preview), ["d"], "an input with the value it had changes nothing");
    let mut through_root = ask(&first.id, "d");
    through_root.inputs.insert("n".into(), json!("2"));
    let fork = world.engine.plan_fork(through_root).await.unwrap();
    assert_eq!(fork.preview.kept, ["c"], "`inputs.n` is read by `a`, and all but `c` comes after it");
}

#[tokio::test(start_paused = true)]
async fn outputs_can_be_put_in_and_held_fast() {
    let world = World::new(fakes());
    let first = world.run(CHAIN, json!({"who": "bob", "n": "1"})).await;
    let mut set = ask(&first.id, "b");
    set.set.insert("b".into(), json!({"text": "edited"}));
    let before = world.posted().len();
    let (preview, ran) = world.fork(set).await;
    assert_eq!((preview.set.as_slice(), runs(&preview)), (&names(&["b"])[..], vec!["d", "e"]));
    assert_eq!(world.posted()[before..], ["edited hi bob"], "`b` itself does not run");
    assert_eq!(ran.ending.outputs["e"], "about edited");

    let mut pin = ask(&first.id, "a");
    pin.pin.insert("b".into());
    let fork = world.engine.plan_fork(pin).await.unwrap();
    assert_eq!(runs(&fork.preview), ["a"], "what comes after a pinned node sees nothing new");
}

#[tokio::test(start_paused = true)]
async fn a_failed_execution_is_forked_with_what_it_had_done() {
    let broken = std::sync::atomic::AtomicBool::new(true);
    let fakes = fakes().tool("moody", Effects::External, move |input| {
        if broken.swap(false, std::sync::atomic::Ordering::Relaxed) { Err(permanently_broken()) } else { Ok(input) }
    });
    let world = World::new(fakes);
    let blueprint = "
        failure_policy: halt
        nodes:
          - {id: a, type: tool, tool_name: post, tool_args: {text: a}}
          - {id: b, type: tool, tool_name: moody, dependencies: [a], tool_args: {text: b}}
          - {id: c, type: tool, tool_name: post, dependencies: [b], tool_args: {text: c}}
          - {id: z, type: tool, tool_name: post, finally: true, tool_args: {text: z}}
        ";
    let first = world.run(blueprint, json!({})).await;
    assert_eq!(first.ending.status, FinalStatus::Failed);
    let (preview, ran) = world.fork(ask(&first.id, "b")).await;
    assert_eq!(preview.kept, ["a"]);
    assert_eq!(preview.runs[2].why, ForkWhy::Finally, "the end of the execution comes again");
    assert_eq!(ran.ending.status, FinalStatus::Completed);
    assert_eq!(world.posted(), ["a", "b", "z", "b", "c", "z"]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_stood_in_for_stays_so() {
    let fakes = fakes().tool("bad", Effects::External, |_| Err(permanently_broken()));
    let world = World::new(fakes);
    let blueprint = "
        nodes:
          - {id: bad, type: tool, tool_name: bad, fallback: spare}
          - {id: spare, type: tool, tool_name: post, tool_args: {text: spare}}
          - {id: after, type: tool, tool_name: post, dependencies: [bad], tool_args: {text: '{{ bad.text }}!'}}
        ";
    let first = world.run(blueprint, json!({})).await;
    assert_eq!(first.ending.status, FinalStatus::Completed);
    let (preview, ran) = world.fork(ask(&first.id, "after")).await;
    assert_eq!(preview.kept, ["bad", "spare"]);
    assert_eq!((ran.ending.status, world.posted()), (FinalStatus::Completed, names(&["spare", "spare!", "spare!"])));
    let (preview, ran) = world.fork(ask(&first.id, "spare")).await;
    assert_eq!(runs(&preview), ["spare", "after"]);
    assert_eq!(ran.ending.status, FinalStatus::Completed);
    assert_eq!(world.outside.fakes.count("bad"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_parked_execution_is_forked_and_both_go_on_by_themselves() {
    let world = World::new(fakes());
    let blueprint = "
        nodes:
          - {id: a, type: tool, tool_name: post, tool_args: {text: a}}
          - {id: ask, type: human, prompt_message: ok?, approval_type: approve_reject, dependencies: [a]}
          - {id: b, type: tool, tool_name: post, dependencies: [ask], tool_args: {text: '{{ ask.approved }}'}}
        ";
    let first = world.start(blueprint, json!({})).await;
    first.rest().await;
    let fork = world.engine.plan_fork(ask(&first.id, "ask")).await.unwrap();
    assert_eq!(fork.preview.kept, ["a"]);
    let second = world.engine.fork(fork).await.unwrap();
    second.rest().await;
    let waits = world.engine.waits(&WaitFilter::default()).await.unwrap();
    let executions: BTreeSet<&ExecutionId> = waits.iter().map(|wait| &wait.execution).collect();
    assert_eq!(executions, BTreeSet::from([&first.id, &second.id]), "each has its own question");
    let wait = waits.iter().find(|wait| wait.execution == second.id).unwrap();
    let yes = Answer { approved: Some(true), responder: "anna".into(), ..Answer::default() };
    let handle = world.engine.answer(&wait.id, yes).await.unwrap().unwrap();
    assert_eq!(handle.finish().await.status, FinalStatus::Completed);
    assert_eq!(world.outside.fakes.count("post"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_loop_goes_on_where_it_was() {
    let fakes = fakes().slow_tool("last", Effects::External, |call, scope| async move {
        if call.execution.0.is_empty() || call.input["item"] != 3 {
            return Ok(call.input);
        }
        scope.cancelled().await;
        Err(broken())
    });
    let world = World::new(fakes);
    let blueprint = "
        nodes:
          - {id: a, type: tool, tool_name: post, tool_args: {text: a}}
          - id: each
            type: loop
            items_source: [1, 2, 3]
            dependencies: [a]
            body: [{id: one, type: tool, tool_name: last, tool_args: {item: '{{ item }}'}}]
          - {id: b, type: tool, tool_name: post, dependencies: [a], tool_args: {text: b}}
        ";
    let first = world.start(blueprint, json!({})).await;
    let mut live = first.events();
    while let Some(crate::Live::Event(event)) = live.next().await.unwrap() {
        if event.path.as_str() == "each[2]/one" {
            first.cancel("for a test");
            break;
        }
    }
    assert_eq!(first.finish().await.status, FinalStatus::Cancelled);
    let fork = world.engine.plan_fork(ask(&first.id, "b")).await.unwrap();
    let each = fork.preview.runs.iter().find(|run| run.node == "each").unwrap();
    assert_eq!(each.why, ForkWhy::Unfinished);
    let before = world.outside.fakes.count("last");
    let second = world.engine.fork(fork).await.unwrap();
    let mut live = second.events();
    while let Some(crate::Live::Event(event)) = live.next().await.unwrap() {
        if event.path.as_str() == "each[2]/one" && matches!(event.fact, Fact::NodeStarted { .. }) {
            second.cancel("for a test");
            break;
        }
    }
    second.finish().await;
    assert_eq!(world.outside.fakes.count("last") - before, 1, "the first two items are not done again");
}

#[tokio::test(start_paused = true)]
async fn a_fork_that_died_is_resumed_like_any_other() {
    let outside = Outside::new(fakes(), Answers::echo());
    let engine = outside.engine(NOW, 1);
    let first = start(&engine, CHAIN, json!({"who": "bob", "n": "1"})).await;
    let outputs = first.finish().await.outputs;
    let calls = outside.fakes.calls().len();
    let fork = engine.plan_fork(ask(&first.id, "b")).await.unwrap();
    let second = engine.fork(fork).await.unwrap();
    // Nothing of it ran yet: its first events are stored, and its task is left behind.
    let later = outside.engine(NOW + 60_000, 1);
    drop(engine);
    let resumed = later.resume(&second.id).await.unwrap().finish().await;
    assert_eq!(resumed.outputs, outputs);
    let again: Vec<_> = outside.fakes.calls()[calls..].iter().map(|call| call.path.to_string()).collect();
    assert!(!again.iter().any(|path| path == "a" || path == "c"), "kept nodes never run: {again:?}");
}

#[tokio::test(start_paused = true)]
async fn an_edited_blueprint_runs_when_what_is_kept_is_as_it_was() {
    let world = World::new(fakes());
    let first = world.run(CHAIN, json!({"who": "bob", "n": "1"})).await;
    let edited = |from: &str, old: &str, new: &str| {
        let blueprint = Some(parse(&CHAIN.replace(old, new), "edited.yaml").unwrap());
        ForkExecution { blueprint, ..ask(&first.id, from) }
    };
    let (preview, ran) = world.fork(edited("d", "{{ b.text }} {{ c.text }}", "new {{ c.text }}")).await;
    assert_eq!((runs(&preview), &ran.ending.outputs["d"]), (vec!["d"], &json!("new hi bob")));

    let problems = world.engine.plan_fork(edited("d", "extra: 1", "extra: 2")).await.err().unwrap();
    assert!(problems[0].code == Code::X050 && problems[0].message.contains("`b`"), "{problems:?}");
    let gone = "      - {id: c, type: tool, tool_name: post, tool_args: {text: 'hi {{ who }}'}}\n";
    let text = CHAIN.replace(gone, "").replace("[b, c]", "[b]").replace(" {{ c.text }}", "");
    let blueprint = Some(parse(&text, "edited.yaml").unwrap());
    let asked = ForkExecution { blueprint, ..ask(&first.id, "d") };
    let problems = world.engine.plan_fork(asked).await.err().unwrap();
    assert!(problems[0].message.contains("no node `c` any more"), "{problems:?}");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_forked_is_refused_with_every_reason() {
    let world = World::new(fakes());
    let first = world.run(CHAIN, json!({"who": "bob", "n": "1"})).await;
    let mut asked = ask(&first.id, "bb");
    asked.set.insert("x".into(), json!(1));
    asked.set.insert("c".into(), json!(1));
    asked.pin.extend(["bb".to_owned(), "c".to_owned()]);
    let problems = world.engine.plan_fork(asked).await.err().unwrap();
    assert_eq!(problems.len(), 4, "{problems:?}");
    assert!(problems.iter().all(|problem| problem.code == Code::X050));
    for (from, words) in [("b[0]/x", "inside `b`"), ("e/step[1]/t", "inside `e`"), ("nobody", "no node `nobody`")] {
        let problems = world.engine.plan_fork(ask(&first.id, from)).await.err().unwrap();
        assert!(problems[0].message.contains(words), "{problems:?}");
    }
    let mut wrong = ask(&first.id, "d");
    wrong.pin.insert("d".into());
    assert_eq!(world.engine.plan_fork(wrong).await.err().unwrap()[0].code, Code::X050);
    let unknown = world.engine.plan_fork(ask(&ExecutionId("nowhere".into()), "d")).await.err().unwrap();
    assert_eq!(unknown[0].code.http(), 404);
}

#[tokio::test(start_paused = true)]
async fn one_that_runs_is_left_alone() {
    let fakes = Fakes::new().slow_tool("wait", Effects::None, |_, scope| async move {
        scope.cancelled().await;
        Err(broken())
    });
    let world = World::new(fakes);
    let first = world.start("nodes: [{id: a, type: tool, tool_name: wait}]", json!({})).await;
    let problems = world.engine.plan_fork(ask(&first.id, "a")).await.err().unwrap();
    assert!(problems[0].message.contains("runs right now"), "{problems:?}");
    first.cancel("over");
    first.finish().await;
}
