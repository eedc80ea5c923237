//! The scheduler as what it is: inputs in, commands out.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Default, Debug)]
struct TestNode {
    needs: Vec<usize>,
    always: bool,
    fallback: Option<usize>,
    finally: bool,
    attempts: u32,
}

#[derive(Clone, Debug)]
struct TestGraph {
    nodes: Vec<TestNode>,
    dependents: Vec<Vec<usize>>,
    standby: Vec<bool>,
}

impl TestGraph {
    fn new(nodes: Vec<TestNode>) -> Self {
        let mut dependents = vec![Vec::new(); nodes.len()];
        for (index, node) in nodes.iter().enumerate() {
            node.needs.iter().for_each(|needed| dependents[*needed].push(index));
        }
        let mut standby = vec![false; nodes.len()];
        nodes.iter().filter_map(|node| node.fallback).for_each(|stand_in| standby[stand_in] = true);
        Self { nodes, dependents, standby }
    }

    /// Each node needs the one before it.
    fn chain(count: usize) -> Self {
        let needs = |index: usize| index.checked_sub(1).into_iter().collect();
        Self::new((0..count).map(|index| TestNode { needs: needs(index), ..TestNode::default() }).collect())
    }
}

impl Shape for TestGraph {
    fn len(&self) -> usize {
        self.nodes.len()
    }
    fn dependencies(&self, node: usize) -> &[usize] {
        &self.nodes[node].needs
    }
    fn dependents(&self, node: usize) -> &[usize] {
        &self.dependents[node]
    }
    fn always(&self, node: usize) -> bool {
        self.nodes[node].always
    }
    fn fallback(&self, node: usize) -> Option<usize> {
        self.nodes[node].fallback
    }
    fn standby(&self, node: usize) -> bool {
        self.standby[node]
    }
    fn finally(&self, node: usize) -> bool {
        self.nodes[node].finally
    }
    fn retry_delay(&self, node: usize, attempt: u32, _code: Code, _random: u64) -> Option<u64> {
        (attempt < self.nodes[node].attempts).then_some(100)
    }
}

fn needs(needs: &[usize]) -> TestNode {
    TestNode { needs: needs.to_vec(), ..TestNode::default() }
}

fn run(node: usize, attempt: u32) -> Command {
    Command::Run { node, attempt }
}

fn failed(node: usize, retry: Retry) -> Input {
    Input::Failed { node, code: Code::X001, retry, random: 0 }
}

fn started(graph: &TestGraph, window: usize, halt: bool) -> (State, Vec<Command>) {
    let mut state = State::new(graph, window, halt);
    let commands = step(&mut state, graph, Input::Start);
    (state, commands)
}

#[test]
fn a_node_that_rests_leaves_its_place_to_another() {
    let graph = TestGraph::new(vec![needs(&[]), needs(&[]), needs(&[])]);
    let (mut state, commands) = started(&graph, 1, false);
    assert_eq!(commands, [run(0, 1)]);
    assert_eq!(step(&mut state, &graph, Input::Rests { node: 0 }), [run(1, 1)]);
    assert_eq!(step(&mut state, &graph, Input::Rests { node: 0 }), [], "it rests once");
    assert_eq!(step(&mut state, &graph, Input::GoesOn { node: 0 }), [], "two run, and no third one begins");
    assert_eq!(step(&mut state, &graph, Input::Finished { node: 1 }), []);
    assert_eq!(step(&mut state, &graph, Input::Rests { node: 1 }), [], "what is settled does not rest");
    assert_eq!(step(&mut state, &graph, Input::Rests { node: 0 }), [run(2, 1)]);
    assert_eq!(step(&mut state, &graph, Input::Finished { node: 0 }), [], "also while it rests");
    assert_eq!(step(&mut state, &graph, Input::Finished { node: 2 }), [Command::Done]);
}

#[test]
fn an_empty_graph_is_done_at_once() {
    assert_eq!(started(&TestGraph::new(vec![]), 4, false).1, [Command::Done]);
}

#[test]
fn a_node_starts_when_its_own_dependencies_are_done() {
    // 0 → 2, 1 → 3: 2 does not wait for 1, though 1 began before it.
    let graph = TestGraph::new(vec![needs(&[]), needs(&[]), needs(&[0]), needs(&[1])]);
    let (mut state, first) = started(&graph, 4, false);
    assert_eq!(first, [run(0, 1), run(1, 1)]);
    assert_eq!(step(&mut state, &graph, Input::Finished { node: 0 }), [run(2, 1)]);
}

#[test]
fn no_more_run_than_the_window_lets() {
    let graph = TestGraph::new(vec![needs(&[]); 5]);
    let (mut state, first) = started(&graph, 2, false);
    assert_eq!(first, [run(0, 1), run(1, 1)]);
    assert_eq!(step(&mut state, &graph, Input::Finished { node: 1 }), [run(2, 1)]);
}

#[test]
fn what_needs_a_failed_node_is_skipped_and_the_rest_goes_on() {
    let graph = TestGraph::new(vec![needs(&[]), needs(&[]), needs(&[0]), needs(&[2])]);
    let (mut state, _) = started(&graph, 4, false);
    let commands = step(&mut state, &graph, failed(0, Retry::Never));
    let skip = |node, why| Command::Skip { node, why: Why::Dependency(why) };
    assert_eq!(commands, [Command::Fail { node: 0, attempt: 1 }, skip(2, 0), skip(3, 2)]);
    assert_eq!(step(&mut state, &graph, Input::Finished { node: 1 }), [Command::Done]);
    assert_eq!(state.failures().collect::<Vec<_>>(), [0]);
}

#[test]
fn a_node_that_always_runs_waits_for_all_and_runs() {
    let graph = TestGraph::new(vec![
        needs(&[]),
        needs(&[]),
        TestNode { needs: vec![0, 1], always: true, ..TestNode::default() },
    ]);
    let (mut state, _) = started(&graph, 4, false);
    assert_eq!(step(&mut state, &graph, failed(0, Retry::Never)), [Command::Fail { node: 0, attempt: 1 }]);
    assert_eq!(step(&mut state, &graph, Input::Finished { node: 1 }), [run(2, 1)]);
}

#[test]
fn a_declined_node_skips_those_who_need_it() {
    let graph = TestGraph::chain(2);
    let (mut state, _) = started(&graph, 4, false);
    let skipped =
        [Command::Skip { node: 0, why: Why::RunIf }, Command::Skip { node: 1, why: Why::Dependency(0) }, Command::Done];
    assert_eq!(step(&mut state, &graph, Input::Declined { node: 0 }), skipped);
}

#[test]
fn the_first_failure_halts_a_graph_that_asks_for_it() {
    let graph =
        TestGraph::new(vec![needs(&[]), needs(&[]), needs(&[1]), TestNode { finally: true, ..TestNode::default() }]);
    let (mut state, _) = started(&graph, 4, true);
    let commands = step(&mut state, &graph, failed(0, Retry::Never));
    let expected = [
        Command::Fail { node: 0, attempt: 1 },
        Command::Interrupt { node: 1 },
        Command::Skip { node: 2, why: Why::Halted },
    ];
    assert_eq!(commands, expected);
    assert_eq!(step(&mut state, &graph, failed(1, Retry::Maybe)), [Command::Fail { node: 1, attempt: 1 }, run(3, 1)]);
    assert_eq!(step(&mut state, &graph, Input::Finished { node: 3 }), [Command::Done]);
    assert!(state.halted());
    assert_eq!(state.failures().next(), Some(0), "the one that explains the others comes first");
}

#[test]
fn attempts_follow_after_pauses_and_end() {
    let graph = TestGraph::new(vec![TestNode { attempts: 2, ..TestNode::default() }]);
    let (mut state, _) = started(&graph, 4, false);
    let pause = |delay_ms| Command::Pause { node: 0, attempt: 1, delay_ms };
    assert_eq!(step(&mut state.clone(), &graph, failed(0, Retry::AfterMs(700))), [pause(700)], "longer if asked to");
    assert_eq!(step(&mut state, &graph, failed(0, Retry::Maybe)), [pause(100)]);
    assert_eq!(step(&mut state, &graph, Input::Due { node: 0 }), [run(0, 2)]);
    let end = [Command::Fail { node: 0, attempt: 2 }, Command::Done];
    assert_eq!(step(&mut state, &graph, failed(0, Retry::Maybe)), end);
}

#[test]
fn a_permanent_failure_is_not_tried_again() {
    let graph = TestGraph::new(vec![TestNode { attempts: 5, ..TestNode::default() }]);
    let (mut state, _) = started(&graph, 4, false);
    let end = [Command::Fail { node: 0, attempt: 1 }, Command::Done];
    assert_eq!(step(&mut state, &graph, failed(0, Retry::Never)), end);
}

fn with_stand_in() -> TestGraph {
    TestGraph::new(vec![TestNode { fallback: Some(1), ..TestNode::default() }, TestNode::default(), needs(&[0])])
}

#[test]
fn a_stand_in_takes_the_place_of_a_failed_node() {
    let graph = with_stand_in();
    let (mut state, first) = started(&graph, 4, false);
    assert_eq!(first, [run(0, 1)]);
    let commands = step(&mut state, &graph, failed(0, Retry::Never));
    assert_eq!(commands, [Command::Fail { node: 0, attempt: 1 }, run(1, 1)]);
    let commands = step(&mut state, &graph, Input::Finished { node: 1 });
    assert_eq!(commands, [Command::Recover { node: 0, by: 1 }, run(2, 1)]);
    assert_eq!(step(&mut state, &graph, Input::Finished { node: 2 }), [Command::Done]);
    assert_eq!(state.failures().count(), 0);
}

#[test]
fn a_stand_in_nobody_needs_is_skipped() {
    let graph = with_stand_in();
    let (mut state, _) = started(&graph, 4, false);
    let commands = step(&mut state, &graph, Input::Finished { node: 0 });
    assert_eq!(commands, [Command::Skip { node: 1, why: Why::NotNeeded }, run(2, 1)]);
}

#[test]
fn when_the_stand_in_fails_too_both_failed() {
    let graph = with_stand_in();
    let (mut state, _) = started(&graph, 4, false);
    step(&mut state, &graph, failed(0, Retry::Never));
    step(&mut state, &graph, failed(1, Retry::Never));
    assert_eq!(
        [0, 1, 2].map(|node| state.ended(node)),
        [Some(Final::Failed), Some(Final::Failed), Some(Final::Skipped)]
    );
}

#[test]
fn a_stand_in_that_waits_for_the_node_it_stands_in_for_does_not_wait_for_ever() {
    let mut graph = with_stand_in();
    graph.nodes[1].needs = vec![2];
    let graph = TestGraph::new(graph.nodes);
    let (mut state, _) = started(&graph, 4, false);
    let commands = step(&mut state, &graph, failed(0, Retry::Never));
    assert_eq!(commands.last(), Some(&Command::Done));
    assert_eq!(state.failures().collect::<Vec<_>>(), [0]);
}

#[test]
fn a_cancelled_graph_interrupts_skips_and_still_runs_its_finally_nodes() {
    let graph = TestGraph::new(vec![
        needs(&[]),
        needs(&[0]),
        TestNode { finally: true, ..TestNode::default() },
        TestNode { attempts: 2, ..TestNode::default() },
    ]);
    let (mut state, _) = started(&graph, 4, false);
    step(&mut state, &graph, failed(3, Retry::Maybe));
    let commands = step(&mut state, &graph, Input::Stop(Stop::Cancelled));
    let expected = [
        Command::Interrupt { node: 0 },
        Command::Skip { node: 1, why: Why::Halted },
        Command::Fail { node: 3, attempt: 1 },
    ];
    assert_eq!(commands, expected);
    assert_eq!(step(&mut state, &graph, Input::Due { node: 3 }), [], "its pause is over too late");
    let commands = step(&mut state, &graph, failed(0, Retry::Maybe));
    assert_eq!(commands, [Command::Fail { node: 0, attempt: 1 }, run(2, 1)]);
}

#[test]
fn a_lost_graph_runs_nothing_more() {
    let graph = TestGraph::new(vec![needs(&[]), TestNode { finally: true, ..TestNode::default() }]);
    let (mut state, _) = started(&graph, 4, false);
    let commands = step(&mut state, &graph, Input::Stop(Stop::Lost));
    assert_eq!(commands, [Command::Interrupt { node: 0 }, Command::Skip { node: 1, why: Why::Halted }]);
    let end = [Command::Fail { node: 0, attempt: 1 }, Command::Done];
    assert_eq!(step(&mut state, &graph, failed(0, Retry::Maybe)), end);
}

#[test]
fn a_graph_taken_up_again_goes_on_where_it_was() {
    let graph = TestGraph::new(vec![needs(&[]), needs(&[0]), needs(&[0]), needs(&[1, 2])]);
    let mut state = State::new(&graph, 4, false);
    state.restore(0, Past::Finished);
    state.restore(1, Past::Begun { attempt: 2 });
    state.restore(2, Past::Paused { attempt: 1, delay_ms: 30 });
    let commands = step(&mut state, &graph, Input::Start);
    assert_eq!(commands, [Command::Wait { node: 2, delay_ms: 30 }, run(1, 2)]);
    assert_eq!(step(&mut state, &graph, Input::Due { node: 2 }), [run(2, 2)]);
}

#[test]
fn a_long_chain_that_fails_at_its_start_does_not_overflow_the_stack() {
    let graph = TestGraph::chain(100_000);
    let (mut state, _) = started(&graph, 4, false);
    let commands = step(&mut state, &graph, failed(0, Retry::Never));
    assert_eq!(commands.len(), 100_001);
    assert_eq!(commands.last(), Some(&Command::Done));
}

/// What is to happen to the attempts of a node.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Finish,
    Fail,
    FailOnce,
    Decline,
}

fn graphs() -> impl Strategy<Value = (TestGraph, Vec<Fate>)> {
    let fate = prop_oneof![
        6 => Just(Fate::Finish),
        2 => Just(Fate::Fail),
        1 => Just(Fate::FailOnce),
        1 => Just(Fate::Decline),
    ];
    let node = (any::<[u8; 3]>(), 0_u8..8, 0_u8..8, 1_u32..3, fate);
    proptest::collection::vec(node, 1..24).prop_map(|raw| {
        let count = raw.len();
        let mut nodes: Vec<TestNode> = Vec::new();
        for (index, (edges, flavour, ..)) in raw.iter().enumerate() {
            let finally = *flavour == 0;
            let mut needs: Vec<usize> = (edges.iter())
                .filter(|edge| usize::from(**edge) < 128.min(index * 16))
                .map(|edge| usize::from(*edge) % index.max(1))
                .filter(|needed| finally || !nodes[*needed].finally)
                .collect();
            needs.sort_unstable();
            needs.dedup();
            nodes.push(TestNode { needs, always: *flavour == 1, fallback: None, finally, attempts: raw[index].3 });
        }
        // A stand-in comes after the node it stands in for, is needed by nobody else, and runs in the same phase.
        for index in 0..count {
            let stand_in = index + 1 + usize::from(raw[index].2);
            let free = |nodes: &[TestNode]| {
                !nodes.iter().any(|node| node.fallback == Some(stand_in) || node.needs.contains(&stand_in))
            };
            if raw[index].2 < 3 && stand_in < count && !nodes[stand_in].finally && !nodes[index].finally && free(&nodes)
            {
                nodes[index].fallback = Some(stand_in);
            }
        }
        (TestGraph::new(nodes), raw.into_iter().map(|(.., fate)| fate).collect())
    })
}

/// What a crash leaves: what was appended so far.
#[derive(Default, Debug)]
struct World {
    past: BTreeMap<usize, Past>,
    running: Vec<(usize, u32)>,
    due: Vec<usize>,
    finals: BTreeMap<usize, u32>,
    runs: BTreeMap<usize, u32>,
    done: bool,
}

impl World {
    fn take(&mut self, commands: &[Command]) {
        for command in commands {
            assert!(!self.done, "nothing comes after `Done`");
            match *command {
                Command::Run { node, attempt } => {
                    *self.runs.entry(node).or_default() += 1;
                    self.running.push((node, attempt));
                    self.past.insert(node, Past::Begun { attempt });
                }
                Command::Pause { node, attempt, delay_ms } => {
                    self.due.push(node);
                    self.past.insert(node, Past::Paused { attempt, delay_ms });
                }
                Command::Wait { node, .. } => self.due.push(node),
                Command::Fail { node, attempt } => self.settle(node, Past::Failed { attempt }),
                Command::Skip { node, .. } => self.settle(node, Past::Skipped),
                Command::Recover { .. } | Command::Interrupt { .. } => {}
                Command::Done => self.done = true,
            }
        }
    }

    fn settle(&mut self, node: usize, past: Past) {
        *self.finals.entry(node).or_default() += 1;
        self.past.insert(node, past);
    }

    /// The next thing to happen, chosen by `choice`.
    fn next(&mut self, fates: &[Fate], choice: usize) -> Option<Input> {
        let total = self.running.len() + self.due.len();
        if total == 0 {
            return None;
        }
        let chosen = choice % total;
        if chosen >= self.running.len() {
            let node = self.due.remove(chosen - self.running.len());
            return Some(Input::Due { node });
        }
        let (node, attempt) = self.running.remove(chosen);
        Some(match fates[node] {
            Fate::Finish => {
                self.settle(node, Past::Finished);
                Input::Finished { node }
            }
            Fate::FailOnce if attempt > 1 => {
                self.settle(node, Past::Finished);
                Input::Finished { node }
            }
            Fate::Fail | Fate::FailOnce => failed(node, Retry::Maybe),
            Fate::Decline => Input::Declined { node },
        })
    }
}

fn drive(graph: &TestGraph, fates: &[Fate], halt: bool, choices: &[usize], crash: Option<usize>) -> (State, World) {
    let mut world = World::default();
    let mut state = State::new(graph, 3, halt);
    world.take(&step(&mut state, graph, Input::Start));
    let mut turn = 0;
    while let Some(input) = world.next(fates, choices[turn % choices.len()]) {
        world.take(&step(&mut state, graph, input));
        assert!(world.running.len() <= 3);
        for (node, _) in &world.running {
            for needed in graph.dependencies(*node) {
                assert!(state.ended(*needed).is_some(), "{node} runs before {needed} is settled");
            }
        }
        turn += 1;
        if crash == Some(turn) && !world.done {
            state = State::new(graph, 3, halt);
            world.past.iter().for_each(|(node, past)| state.restore(*node, *past));
            world.running.clear();
            world.due.clear();
            world.take(&step(&mut state, graph, Input::Start));
        }
    }
    (state, world)
}

proptest! {
    #[test]
    fn every_node_gets_exactly_one_end(
        (graph, fates) in graphs(),
        halt: bool,
        choices in proptest::collection::vec(any::<usize>(), 1..40),
    ) {
        let (state, world) = drive(&graph, &fates, halt, &choices, None);
        prop_assert!(world.done);
        for node in 0..graph.len() {
            prop_assert_eq!(world.finals.get(&node), Some(&1), "node {}", node);
            let end = state.ended(node).expect("settled");
            let spoiled = graph.dependencies(node).iter().any(|needed| {
                matches!(state.ended(*needed), Some(Final::Failed | Final::Skipped))
            });
            if end == Final::Finished && spoiled {
                prop_assert!(graph.always(node) || graph.finally(node), "node {} ran with holes", node);
            }
            if graph.finally(node) {
                prop_assert!(world.runs.contains_key(&node), "finally node {} did not run", node);
            }
        }
    }

    #[test]
    fn a_crash_anywhere_changes_no_end_and_repeats_no_finished_node(
        (graph, fates) in graphs(),
        choices in proptest::collection::vec(any::<usize>(), 1..40),
        crash in 1_usize..60,
    ) {
        let (calm, _) = drive(&graph, &fates, false, &choices, None);
        let (state, world) = drive(&graph, &fates, false, &choices, Some(crash));
        prop_assert!(world.done);
        for node in 0..graph.len() {
            prop_assert_eq!(state.ended(node), calm.ended(node), "node {}", node);
            prop_assert_eq!(world.finals.get(&node), Some(&1), "node {}", node);
        }
    }
}
