//! Swarms: how they decide, what happens when somebody fails, and that nobody is paid twice.

use ice_core::catalog::Effects;
use ice_core::ports::{LlmRequest, Message, Role};

use super::*;
use crate::testing::check_events;

/// A model that answers by what its instructions and its prompt say.
fn by(answer: fn(&str, &str) -> String) -> Answers {
    Answers::by(move |request: &LlmRequest| {
        let said = |role: Role| {
            let of = request.messages.iter().filter(|message| message.role == role);
            of.map(|message| message.content.as_str()).collect::<Vec<_>>().join(" ")
        };
        let content = answer(&said(Role::System), &said(Role::User));
        Message { role: Role::Assistant, content, tool_calls: Vec::new(), answers: None }
    })
}

fn swarm(more: &str) -> String {
    format!(
        "
        nodes:
          - id: s
            type: swarm
            task: name it
            llm_config: {{provider: test, model: m}}
            agents:
              - {{role: writer, system_prompt: W}}
              - {{role: critic, system_prompt: C}}
              - {{role: judge, system_prompt: J}}
              - {{package: guest, role: the guest}}
            {more}
        outputs: {{s: '{{{{ s }}}}'}}
        "
    )
}

/// The guest follows the judge.
fn guest() -> Fakes {
    Fakes::new().agent("guest", |call, _| async move {
        let prompt = call.input["task"].as_str().unwrap_or_default().to_owned();
        match prompt.contains("Vote") {
            true => Ok(json!({ "message": "{\"vote\": \"judge\"}" })),
            false if prompt.contains("Bid") => Ok(json!({ "bid": 0.2, "plan": "none" })),
            false => Ok(json!({ "text": "guest says" })),
        }
    })
}

/// In the first vote two are for the judge, in the second one three.
fn voters(system: &str, user: &str) -> String {
    let vote = |role: &str| {
        format!("I think: {{\"vote\": \"{role}\", \"reason\": \"good\", \"proposal\": \"improved {system}\"}}")
    };
    match (user.contains("Proposals"), user.contains("improved"), system) {
        (false, ..) => format!("{{\"proposal\": \"from {system}\"}}"),
        (true, _, "W") | (true, true, "C") => vote("judge"),
        (true, false, "C") => vote("nobody of that name"),
        _ => "I do not vote".into(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_consensus_is_voted_for_until_enough_agree() {
    let world = World::with_model(guest(), by(voters));
    let ran = world.run(&swarm("coordination_strategy: consensus"), json!({})).await;
    assert_eq!(ran.ending.status, FinalStatus::Completed, "{:?}", ran.ending.problem);
    let output = &ran.ending.outputs["s"];
    assert_eq!(
        (&output["decision"], &output["agreed"], &output["rounds"]),
        (&json!("from J"), &json!(true), &json!(3))
    );
    let votes: Vec<&Value> = output["votes"].as_array().unwrap().iter().map(|vote| &vote["vote"]).collect();
    assert_eq!(votes, [&json!("judge"), &json!("judge"), &Value::Null, &json!("judge")]);
    assert_eq!(output["transcript"].as_array().unwrap().len(), 12);
    assert_eq!((world.outside.llm.asked().len(), world.outside.fakes.count("guest")), (9, 3));
    assert_eq!(ran.state("s[11]/a4-the_guest"), "finished");
    let used: u64 = (ran.events.iter())
        .map(|event| match &event.fact {
            Fact::CapabilityUsed(used) => used.usage.total_tokens(),
            _ => 0,
        })
        .sum();
    assert_eq!(ran.ending.usage.total_tokens(), used);

    let ran = world.run(&swarm("consensus_threshold: 1.0\n            max_rounds: 3"), json!({})).await;
    let output = &ran.ending.outputs["s"];
    assert_eq!((&output["decision"], &output["agreed"], &output["rounds"]), (&Value::Null, &json!(false), &json!(3)));
}

#[tokio::test(start_paused = true)]
async fn a_lead_gives_work_and_decides() {
    let model = by(|system, user| match (system, user.contains("writer (round 1): prose")) {
        ("J", false) => {
            "{\"delegate\": [{\"to\": \"writer\", \"task\": \"write\"}, {\"to\": \"the guest\", \"task\": \"look\"}, \
             {\"to\": \"nobody\", \"task\": \"x\"}, {\"to\": \"judge\", \"task\": \"x\"}]}"
                .into()
        }
        ("J", true) => format!("{{\"decision\": \"after {}\"}}", user.matches("guest says").count()),
        ("W", _) if user.contains("Your part: write") => "prose".into(),
        _ => "?".into(),
    });
    let world = World::with_model(guest(), model);
    let ran = world.run(&swarm("coordination_strategy: hierarchical\n            lead: judge"), json!({})).await;
    let output = &ran.ending.outputs["s"];
    assert_eq!((&output["decision"], &output["rounds"]), (&json!("after 1"), &json!(2)));
    let roles: Vec<&str> =
        output["transcript"].as_array().unwrap().iter().map(|entry| entry["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["judge", "writer", "the guest", "judge"]);
    // A lead that only talks decides with what it says; without a name it is the first agent.
    let world = World::with_model(guest(), by(|_, _| "just this".into()));
    let ran = world.run(&swarm("coordination_strategy: hierarchical"), json!({})).await;
    assert_eq!(ran.ending.outputs["s"]["decision"], "just this");
}

#[tokio::test(start_paused = true)]
async fn the_best_bid_works_and_the_next_best_when_it_cannot() {
    fn bids(system: &str, user: &str) -> String {
        match (user.contains("Bid"), system) {
            (true, "W") => "{\"bid\": 0.5, \"plan\": \"slowly\"}".into(),
            (true, "C") => "{\"bid\": 7, \"plan\": \"too sure\"}".into(),
            (true, _) => "{\"bid\": 0.9}".into(),
            (false, who) => format!("done by {who}"),
        }
    }
    let world = World::with_model(guest(), by(bids));
    let ran = world.run(&swarm("coordination_strategy: marketplace"), json!({})).await;
    let output = &ran.ending.outputs["s"];
    assert_eq!((&output["decision"], &output["rounds"]), (&json!("done by J"), &json!(2)));
    let bids_made: Vec<&Value> = output["bids"].as_array().unwrap().iter().map(|bid| &bid["bid"]).collect();
    assert_eq!(bids_made, [&json!(0.5), &Value::Null, &json!(0.9), &json!(0.2)]);

    let sick = "{package: sick, role: judge}";
    let fakes = guest().agent("sick", |call, _| async move {
        let prompt = call.input["task"].as_str().unwrap_or_default().to_owned();
        if prompt.contains("Bid") { Ok(json!({ "bid": 1 })) } else { Err(permanently_broken()) }
    });
    let world = World::with_model(fakes, by(bids));
    let blueprint = swarm("coordination_strategy: marketplace").replace("{role: judge, system_prompt: J}", sick);
    let ran = world.run(&blueprint, json!({})).await;
    assert_eq!(ran.ending.outputs["s"]["decision"], "done by W");
    assert_eq!(ran.ending.outputs["s"]["rounds"], 3);
}

#[tokio::test(start_paused = true)]
async fn who_cannot_speak_is_left_out_and_nobody_is_not_enough() {
    let fakes = || Fakes::new().agent("guest", |_, _| async { Err(permanently_broken()) });
    let world = World::with_model(fakes(), by(voters));
    let ran = world.run(&swarm("max_rounds: 4\n            consensus_threshold: 0.5"), json!({})).await;
    let output = &ran.ending.outputs["s"];
    assert_eq!(output["decision"], "from J", "half of four agents is two");
    let failed = output["transcript"].as_array().unwrap().iter().filter(|entry| entry.get("failed").is_some()).count();
    assert!(failed >= 2);
    let alone = "
        nodes: [{id: s, type: swarm, agents: [{package: guest, role: a}, {package: guest, role: b}]}]
        ";
    let ran = World::new(fakes()).run(alone, json!({})).await;
    assert_eq!(ran.problem_code(), Some(Code::X024));
}

#[tokio::test(start_paused = true)]
async fn a_swarm_keeps_to_the_budget() {
    let world = World::with_model(guest(), by(voters));
    let blueprint = format!("budget: {{tokens: 1100}}\n{}", swarm("max_rounds: 9").replace("\n        ", "\n"));
    let ran = world.run(&blueprint, json!({})).await;
    assert_eq!(ran.problem_code(), Some(Code::X005));
    assert!(ran.ending.usage.total_tokens() <= 1_100);
}

#[test]
fn turns_are_not_paid_twice_after_a_stop_anywhere() {
    let process = |life: std::pin::Pin<Box<dyn Future<Output = (Outside, Option<Ending>)>>>| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(life)
    };
    let world = || Outside::new(guest().tool("say", Effects::None, Ok), by(voters));
    let blueprint = swarm("coordination_strategy: consensus");
    let text = blueprint.clone();
    let (calm, ending) = process(Box::pin(async move {
        let outside = world();
        let engine = outside.engine(NOW, 1);
        let ending = start(&engine, &text, json!({})).await.finish().await;
        (outside, Some(ending))
    }));
    let calm_ending = ending.unwrap();
    let events = calm.store.events_of(&calm.store.ids()[0]).len();
    for cut in 1..events {
        let text = blueprint.clone();
        let (outside, _) = process(Box::pin(async move {
            let outside = world();
            outside.store.cut(crate::testing::Cut::After(cut));
            let engine = outside.engine(NOW, 1);
            tokio::select! {
                biased;
                () = outside.store.went_dark() => {}
                _ = async { start(&engine, &text, json!({})).await.finish().await } => {}
            }
            outside.store.cut(crate::testing::Cut::Never);
            (outside, None)
        }));
        let ids = outside.store.ids();
        let paid =
            |events: &[Event]| events.iter().filter(|event| matches!(event.fact, Fact::CapabilityUsed(_))).count();
        let kept = paid(&outside.store.events_of(&ids[0]));
        let asked = outside.llm.asked().len();
        let id = ids[0].clone();
        let (outside, ending) = process(Box::pin(async move {
            let engine = outside.engine(NOW + 60_000, 1);
            let ending = engine.resume(&id).await.unwrap().finish().await;
            (outside, Some(ending))
        }));
        let ending = ending.unwrap();
        assert_eq!((ending.status, &ending.outputs), (calm_ending.status, &calm_ending.outputs), "after {cut} events");
        assert_eq!(ending.usage, calm_ending.usage, "after {cut} events");
        assert_eq!(outside.llm.asked().len(), asked + 9 - kept, "what was on record is not asked again");
        check_events(&outside.store.events_of(&ids[0]));
    }
}
