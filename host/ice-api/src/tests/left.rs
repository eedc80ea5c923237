//! What a dead process left goes on in the next one.

use ice_engine::testing::Cut;

use super::*;

#[tokio::test(start_paused = true)]
async fn executions_of_a_dead_process_are_taken_up_once_nobody_holds_them() {
    let store = MemoryStore::new(Arc::new(SimClock::at(NOW)) as _);
    let first = World::over(Arc::clone(&store), NOW, |_| {});
    store.cut(Cut::After(2));
    let id = first.start("slow").await;
    // The light goes out after the start of the node; what runs in the first process never gets any further.
    let engine = &first.api.0.parts.engine;
    let handle = engine.running(&ExecutionId(id.clone())).expect("it runs");
    store.went_dark().await;
    drop(handle);
    store.cut(Cut::Never);

    let early = World::over(Arc::clone(&store), NOW + 1, |_| {});
    assert_eq!(early.api.0.parts.engine.take_up_left(10).await.expect("listed").len(), 0, "the lease still holds");
    let later = World::over(Arc::clone(&store), NOW + 7_200_000, |_| {});
    let taken = later.api.0.parts.engine.take_up_left(10).await.expect("listed");
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].0.0, id);
    later.rested(&id).await;
    let shown = later.get(&format!("/api/v1/executions/{id}")).await.json();
    assert_eq!(shown["status"], "completed", "{shown}");
    let kept = store.get(&Digest::of_json(&one("slow"))).await.expect("read");
    assert_eq!(kept, Some(one("slow")));
    assert_eq!(later.api.0.parts.engine.take_up_left(10).await.expect("listed").len(), 0);
}
