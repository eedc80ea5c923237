//! Executions as files: exported, imported, exported again.

use ice_core::catalog::Effects;
use ice_core::id::Identity;
use ice_core::ports::Clock;

use super::*;
use crate::{Import, export};

const PARENT: &str = "
    nodes:
      - {id: a, type: tool, tool_name: post, tool_args: {x: 0.1, y: 1.0, big: 12345678901234567890, text: \"\\u2028é\"}}
      - {id: sub, type: workflow, workflow_ref: kit.child, dependencies: [a]}
      - {id: bad, type: tool, tool_name: bad, retry_policy: {max_attempts: 2, backoff_seconds: 1}}
      - id: each
        type: loop
        items_source: [1, 2]
        body: [{id: one, type: tool, tool_name: post, tool_args: {item: '{{ item / 3 }}'}}]
      - {id: say, type: llm, prompt: hi, llm_config: {provider: test, model: m}}
    ";

fn world() -> World {
    let child = json!({"nodes": [
        {"id": "z", "type": "tool", "tool_name": "post", "tool_args": {"z": 1}},
        {"id": "inner", "type": "workflow", "workflow_ref": "kit.inner"},
    ]});
    let inner = json!({"nodes": [{"id": "n", "type": "tool", "tool_name": "post", "tool_args": {}}]});
    let fakes = Fakes::new().tool("post", Effects::External, Ok).tool("bad", Effects::None, |_| Err(broken()));
    World::new(fakes.blueprint("kit.child", child).blueprint("kit.inner", inner))
}

/// An execution and everything below it, the outermost first.
fn family(world: &World, root: &ExecutionId) -> Vec<ExecutionId> {
    let mut found = vec![root.clone()];
    let mut at = 0;
    while at < found.len() {
        for event in world.outside.store.events_of(&found[at]) {
            let child = crate::keys::child_execution_id(&found[at], &event.path, event.attempt);
            if !found.contains(&child) && world.outside.store.ids().contains(&child) {
                found.push(child);
            }
        }
        at += 1;
    }
    found
}

async fn text(store: &MemoryStore, ids: &[ExecutionId]) -> String {
    let mut text = String::new();
    for id in ids {
        for line in export(store, store, id).await.unwrap() {
            text.push_str(&line);
            text.push('\n');
        }
    }
    text
}

fn other_store() -> Arc<MemoryStore> {
    MemoryStore::new(Arc::new(SimClock::at(NOW)))
}

#[tokio::test(start_paused = true)]
async fn what_is_imported_exports_to_the_same_bytes_and_can_be_forked() {
    let world = world();
    let ran = world.run(PARENT, json!({})).await;
    let ids = family(&world, &ran.id);
    assert_eq!(ids.len(), 3, "the child and its child");
    let file = text(&world.outside.store, &ids).await;
    let import = Import::read(&file).unwrap();
    assert_eq!((import.id(), import.counts().0), (&ran.id, 3));
    let other = other_store();
    import.write(&*other, &*other, &Identity::local()).await.unwrap();
    assert_eq!(text(&other, &ids).await, file);

    let again = import.write(&*other, &*other, &Identity::local()).await.unwrap_err();
    assert_eq!(again.code, Code::X044);
    let rows = ice_core::ports::Events::list(&*other, &Identity::local(), 10).await.unwrap();
    assert!(rows.iter().all(|row| !row.held), "nobody holds what was imported");
}

#[tokio::test(start_paused = true)]
async fn another_id_is_given_to_the_whole_family() {
    let world = world();
    let ran = world.run(PARENT, json!({})).await;
    let ids = family(&world, &ran.id);
    let file = text(&world.outside.store, &ids).await;
    let clock = SimClock::at(NOW + 5_000);
    let import = Import::read(&file).unwrap().renamed(&clock).unwrap();
    assert_ne!(import.id(), &ran.id);
    let store = &world.outside.store;
    import.write(&**store, &**store, &Identity::local()).await.unwrap();
    let copies = family(&world, import.id());
    assert_eq!(copies.len(), 3, "a copy finds its children under the ids that follow from its own");
    assert_eq!(store.events_of(&copies[0])[1..], store.events_of(&ran.id)[1..]);
    assert!(clock.now_ms() >= NOW);
}

#[tokio::test(start_paused = true)]
async fn one_that_has_not_ended_keeps_its_id_and_goes_on_where_it_is_imported() {
    let world = world();
    let blueprint = "nodes:
      - {id: a, type: tool, tool_name: post, tool_args: {}}
      - {id: ask, type: human, prompt_message: ok?, dependencies: [a]}";
    let handle = world.start(blueprint, json!({})).await;
    handle.rest().await;
    let file = text(&world.outside.store, std::slice::from_ref(&handle.id)).await;
    let import = Import::read(&file).unwrap();
    assert_eq!(import.clone().renamed(&SimClock::at(NOW)).unwrap_err().code, Code::X051);
    let outside = Outside {
        store: other_store(),
        fakes: Arc::clone(&world.outside.fakes),
        ..Outside::new(Fakes::new(), Answers::echo())
    };
    import.write(&*outside.store, &*outside.store, &Identity::local()).await.unwrap();
    let engine = outside.engine(NOW + 60_000, 64);
    let waits = engine.waits(&crate::WaitFilter::default()).await.unwrap();
    let yes = ice_core::wait::Answer { approved: Some(true), responder: "anna".into(), ..Default::default() };
    let ending = engine.answer(&waits[0].id, yes).await.unwrap().unwrap().finish().await;
    assert_eq!(ending.status, FinalStatus::Completed);
    assert_eq!(outside.fakes.count("post"), 1, "what was done before is not done again");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_was_changed_is_refused_with_the_line() {
    let world = world();
    let ran = world.run(PARENT, json!({})).await;
    let ids = family(&world, &ran.id);
    let file = text(&world.outside.store, &ids).await;
    let lines: Vec<&str> = file.lines().collect();
    for cut in 0..lines.len() {
        let without = [&lines[..cut], &lines[cut + 1..]].concat().join("\n");
        assert!(Import::read(&without).is_err(), "line {} can be left out", cut + 1);
        let twice = [&lines[..=cut], &lines[cut..]].concat().join("\n");
        assert!(Import::read(&twice).is_err(), "line {} can be there twice", cut + 1);
    }
    let all = file.as_str();
    for (changed, words) in [
        (String::new(), "empty"),
        ("{}\n".into(), "does not name its format"),
        (all.replacen("\"version\":1", "\"version\":9", 1), "version 9"),
        (all.replacen("\"tool_name\":\"post\"", "\"tool_name\":\"other\"", 1), "digest"),
        (all.replacen("{\"seq\":2,", "{\"seq\":2,\"new\":1,", 1), "would lose"),
        (all.replacen("{\"seq\":2,", "{ \"seq\":2,", 1), "would lose"),
        (all.replacen("\"event\":\"node_started\"", "\"event\":\"node_dreamt\"", 1), "cannot be read"),
    ] {
        let problem = Import::read(&changed).unwrap_err();
        assert!(problem.code == Code::X051 && problem.message.contains(words), "{words}: {problem}");
    }
    let shuffled = Import::read(&text(&world.outside.store, &[ids[0].clone(), ids[2].clone()]).await).unwrap_err();
    assert!(shuffled.message.contains("is not inside"), "{shuffled}");
}
