//! Waits when processes die, and when many answers come at once.

use super::*;

#[test]
fn waits_survive_a_stop_after_every_event() {
    let process = |life: std::pin::Pin<Box<dyn Future<Output = Outside>>>| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(life)
    };
    let outside = || Outside::new(with_child(), Answers::by(model));
    // Answers everything that waits, until the end.
    async fn live(engine: &Engine, mut handle: Handle) -> Ending {
        loop {
            if let Rest::Ended(ending) = handle.rest().await {
                return *ending;
            }
            let id = handle.id.clone();
            let first = waits(engine).await.remove(0);
            let answer = Answer { response: Some("fine".into()), ..yes() };
            handle = engine.answer(&first.id, answer).await.unwrap().unwrap_or(handle);
            assert_eq!(handle.id, id);
        }
    }
    let (calm_sender, calm) = std::sync::mpsc::channel();
    let calm_outside = process(Box::pin(async move {
        let outside = outside();
        let engine = outside.engine(NOW, 1);
        let ending = live(&engine, start(&engine, NESTED, json!({})).await).await;
        calm_sender.send(ending).unwrap();
        outside
    }));
    let calm = calm.recv().unwrap();
    assert_eq!(calm.status, FinalStatus::Completed, "{:?}", calm.problem);
    let events: usize = calm_outside.store.ids().iter().map(|id| calm_outside.store.events_of(id).len()).sum();
    assert!(events > 60, "{events}");
    for cut in 0..events {
        let cut_off = process(Box::pin(async move {
            let outside = Outside::new(with_child(), Answers::by(model));
            outside.store.cut(crate::testing::Cut::After(cut));
            let engine = outside.engine(NOW, 1);
            tokio::select! {
                biased;
                () = outside.store.went_dark() => {}
                _ = async { live(&engine, start(&engine, NESTED, json!({})).await).await } => {}
            }
            outside.store.cut(crate::testing::Cut::Never);
            outside
        }));
        let (sender, ended) = std::sync::mpsc::channel();
        let root = cut_off
            .store
            .ids()
            .into_iter()
            .find(|id| replay(&cut_off.store.events_of(id)).is_some_and(|view| view.parent.is_none()));
        let after = process(Box::pin(async move {
            let engine = cut_off.engine(NOW + 60_000, 1);
            let handle = match root {
                Some(id) => engine.resume(&id).await.unwrap(),
                None => start(&engine, NESTED, json!({})).await,
            };
            sender.send(live(&engine, handle).await).unwrap();
            cut_off
        }));
        let ending = ended.recv().unwrap();
        assert_eq!((ending.status, &ending.outputs), (calm.status, &calm.outputs), "cut after {cut} events");
        assert_eq!(ending.usage, calm.usage, "the ledger after a cut after {cut} events");
        for id in after.store.ids() {
            check_events(&after.store.events_of(&id));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_component_may_start_what_waits_and_ask_after_it() {
    let fakes = with_child().agent("starter", |_, scope| async move {
        let id = scope.start_execution("kit.child", json!({})).await?;
        loop {
            if let Some(ending) = scope.poll_execution(&id).await? {
                return Ok(ending.outputs);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let world = World::new(fakes);
    let handle = world.start("nodes: [{id: g, type: agent, package: starter}]", json!({})).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let wait = waits(&world.engine).await.remove(0);
    let before = world.outside.store.events_of(&wait.execution).len();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(world.outside.store.events_of(&wait.execution).len(), before, "asking after it does not wake it");
    world.engine.answer(&wait.id, yes()).await.unwrap();
    assert_eq!(handle.finish().await.outputs["g"], json!({ "ok": true }));
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_a_child_is_not_lost_while_its_parent_is_given_back() {
    let world = World::new(with_child());
    let blueprint = "{nodes: [{id: sub, type: workflow, workflow_ref: kit.child}], outputs: {ok: '{{ sub.ok }}'}}";
    let handle = world.start(blueprint, json!({})).await;
    world.outside.store.hold_up(&handle.id).await;
    let wait = waits(&world.engine).await.remove(0);
    assert_ne!(wait.execution, handle.id, "the child asks");
    let engine = world.engine.clone();
    let answered = tokio::spawn(async move { engine.answer(&wait.id, yes()).await.unwrap().unwrap() });
    // Whatever the answer sets going is done, or waits for the parent.
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.outside.store.let_go();
    let goes_on = answered.await.unwrap();
    assert_eq!((goes_on.finish().await.outputs, goes_on.id), (json!({ "ok": true }), handle.id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_answer_is_lost_when_many_come_at_once() {
    let blueprint = "
        nodes:
          - id: each
            type: loop
            items_source: [1, 2]
            parallel: true
            body: [{id: ask, type: human, prompt_message: item}, {id: send, type: tool, tool_name: say, dependencies: [ask]}]
          - {id: sub, type: workflow, workflow_ref: kit.child}
          - {id: other, type: workflow, workflow_ref: kit.child}
        outputs: {ok: '{{ [sub.ok, other.ok] }}'}
        ";
    let world = World::new(with_child());
    let run = |_: usize| async {
        let handle = world.start(blueprint, json!({})).await;
        assert_eq!(handle.rest().await, Rest::Waiting);
        let own = WaitFilter { execution: Some(handle.id.clone()), ..WaitFilter::default() };
        let open = world.engine.waits(&own).await.unwrap();
        assert_eq!(open.len(), 4);
        let answers = open.into_iter().map(|wait| {
            let engine = world.engine.clone();
            tokio::spawn(async move {
                // Whoever is told that another one holds it, or that it is being taken up, comes again.
                while let Err(problem) = engine.answer(&wait.id, yes()).await {
                    assert_eq!(problem.code, Code::X008, "{problem}");
                    tokio::task::yield_now().await;
                }
            })
        });
        for answer in answers.collect::<Vec<_>>() {
            answer.await.unwrap();
        }
        let ended = || ice_core::execution::ending(&world.outside.store.events_of(&handle.id));
        for _ in 0..2_000 {
            if let Some(ending) = ended() {
                return assert_eq!(ending.outputs, json!({ "ok": [true, true] }), "{:?}", ending.problem);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("every wait was answered, and {} does not end: {:?}", handle.id, status(&world, &handle.id));
    };
    for _ in 0..5 {
        futures_util::future::join_all((0..8).map(run)).await;
    }
}
