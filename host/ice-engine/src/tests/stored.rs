//! Blueprints that `workflow` nodes find in the store, by id, name and range.

use ice_core::blueprint::Parsed;
use ice_core::catalog::Effects;
use ice_core::id::Digest;
use ice_core::ports::{Documents, NamedDocument};
use ice_core::wait::Answer;

use super::*;
use crate::WaitFilter;

fn says(text: &str) -> Value {
    json!({
        "schema_version": "1.2.0",
        "nodes": [{ "id": "c", "type": "tool", "tool_name": "say", "tool_args": { "text": text } }],
        "outputs": { "text": "{{ c.text }}" },
    })
}

async fn push(world: &World, name: &str, version: &str) -> Digest {
    let digest = world.outside.store.put("blueprint", &says(version)).await.unwrap();
    let version = version.parse().unwrap();
    let named = NamedDocument { name: name.into(), version, digest, stored: NOW };
    world.outside.store.publish(&named).await.unwrap();
    digest
}

fn world() -> World {
    let say = |input: Value| Ok(json!({ "text": input["text"] }));
    World::new(Fakes::new().tool("say", Effects::None, say).blueprint("kit.child", says("from the bundle")))
}

fn one_node(reference: &str) -> String {
    format!(
        "nodes: [{{id: sub, type: workflow, workflow_ref: '{reference}'}}]\noutputs: {{said: '{{{{ sub.text }}}}'}}"
    )
}

#[tokio::test(start_paused = true)]
async fn a_reference_finds_the_newest_version_that_fits() {
    let world = world();
    for version in ["1.0.0", "1.2.0", "1.10.0", "2.0.0-rc.1"] {
        push(&world, "news", version).await;
    }
    let id = push(&world, "other", "0.1.0").await;
    for (reference, said) in [
        ("news".to_owned(), "1.10.0"),
        ("news@^1".into(), "1.10.0"),
        ("news@=1.2.0".into(), "1.2.0"),
        ("news@~1.2".into(), "1.2.0"),
        ("news@2.0.0-rc.1".into(), "2.0.0-rc.1"),
        (id.to_string(), "0.1.0"),
        ("kit.child".into(), "from the bundle"),
    ] {
        let ran = world.run(&one_node(&reference), json!({})).await;
        assert_eq!(ran.ending.outputs, json!({ "said": said }), "{reference}: {:?}", ran.ending.problem);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_is_refused_with_the_nearest_name() {
    let world = world();
    push(&world, "news", "1.0.0").await;
    push(&world, "letters", "1.0.0").await;
    for (reference, help) in [
        ("newz", "did you mean `news`?"),
        ("leters@^1", "did you mean `letters`?"),
        ("kit.chld", "did you mean `kit.child`?"),
        ("news@^2", "known: kit.child, letters, news@1.0.0"),
        ("sha256:abc", "known: kit.child, letters, news"),
    ] {
        let parsed = parse(&one_node(reference), "test.yaml").unwrap();
        let problems = world.engine.plan(&parsed).await.unwrap_err();
        assert_eq!((problems.len(), problems[0].code), (1, Code::B016), "{reference}: {problems:?}");
        assert_eq!(problems[0].help.as_deref(), Some(help), "{reference}");
    }
}

/// What a reference found at the start is what runs after a resume: versions that come later, bundles that change and
/// withdrawn versions are nothing to an execution that goes on.
#[tokio::test(start_paused = true)]
async fn an_execution_keeps_what_it_started_with() {
    let before = world();
    let old = push(&before, "news", "1.0.0").await;
    let blueprint = "
        nodes:
          - {id: ask, type: human, prompt_message: go on?}
          - {id: sub, type: workflow, workflow_ref: news@^1, dependencies: [ask]}
          - {id: kit, type: workflow, workflow_ref: kit.child, dependencies: [ask]}
        outputs: {said: '{{ sub.text }}', kit: '{{ kit.text }}'}
        ";
    let handle = before.start(blueprint, json!({})).await;
    handle.rest().await;
    let pinned = replay(&before.outside.store.events_of(&handle.id)).unwrap().blueprints;
    let child = Parsed::from_value(says("from the bundle")).unwrap().blueprint.digest();
    assert_eq!(pinned, BTreeMap::from([("kit.child".to_owned(), child), ("news@^1".to_owned(), old)]));

    push(&before, "news", "1.1.0").await;
    before.outside.store.withdraw("news", &"1.0.0".parse().unwrap()).await.unwrap();
    let say = |input: Value| Ok(json!({ "text": input["text"] }));
    let fakes = Fakes::new().tool("say", Effects::None, say).blueprint("kit.child", says("from a newer bundle"));
    let after = Outside { fakes: Arc::new(fakes), ..before.outside };
    let engine = after.engine(NOW + 1_000, 64);
    let wait = engine.waits(&WaitFilter::default()).await.unwrap().remove(0).id;
    let yes = Answer { approved: Some(true), responder: "ann".into(), ..Answer::default() };
    let ending = engine.answer(&wait, yes).await.unwrap().expect("it goes on here").finish().await;
    assert_eq!(ending.outputs, json!({ "said": "1.0.0", "kit": "from the bundle" }), "{:?}", ending.problem);

    let fresh = start(&engine, &one_node("news@^1"), json!({})).await.finish().await;
    assert_eq!(fresh.outputs, json!({ "said": "1.1.0" }), "a new one starts with what there is now");
}
