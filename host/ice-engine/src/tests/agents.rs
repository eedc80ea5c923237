//! Models and agents: structured answers, repairs, tool calling, and its limits.

use ice_core::catalog::Effects;
use ice_core::ports::{Message, Role, ToolCall};

use super::*;

fn says(text: &str, calls: &[(&str, Value)]) -> Message {
    let call = |(position, (name, arguments)): (usize, &(&str, Value))| ToolCall {
        id: format!("c{position}"),
        name: (*name).into(),
        arguments: arguments.clone(),
    };
    Message {
        role: Role::Assistant,
        content: text.into(),
        tool_calls: calls.iter().enumerate().map(call).collect(),
        answers: None,
    }
}

fn fakes() -> Fakes {
    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"] });
    Fakes::new()
        .tool("add", Effects::External, |input| Ok(json!({ "sum": input["n"].as_i64().unwrap_or(0) + 1 })))
        .schemas("add", schema, json!(true))
        .tool("secret", Effects::External, Ok)
}

const STRUCTURED: &str = "
    nodes:
      - id: l
        type: llm
        prompt: give me a title
        json_schema: {title: str}
        llm_config: {provider: test, model: m}
    ";

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_fit_is_asked_for_again() {
    let world = World::with_model(Fakes::new(), Answers::echo().then("hm").then("```json\n{\"title\": \"T\"}\n```"));
    let ran = world.run(STRUCTURED, json!({})).await;
    let output = &ran.ending.outputs["l"];
    assert_eq!((&output["title"], &output["offline"]), (&json!("T"), &json!(true)));
    let asked = world.outside.llm.asked();
    assert_eq!(asked.len(), 2);
    assert!(asked[1].messages.last().unwrap().content.contains("not JSON"));
    assert_eq!(output["usage"]["total_tokens"], ran.ending.usage.total_tokens(), "both are paid");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_never_fits_fails_the_node() {
    let world = World::with_model(Fakes::new(), Answers::echo());
    let ran = world.run(STRUCTURED, json!({})).await;
    assert_eq!(ran.problem_code(), Some(Code::X007));
    assert_eq!(world.outside.llm.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_question_at_temperature_zero_is_cached() {
    let world = World::with_model(Fakes::new(), Answers::echo());
    let blueprint = "
        nodes:
          - {id: l, type: llm, prompt: hi, use_cache: true, llm_config: {provider: test, model: m, temperature: T}}
        ";
    for (temperature, asked) in [("0", 1), ("0.5", 3)] {
        let blueprint = blueprint.replace('T', temperature);
        world.run(&blueprint, json!({})).await;
        let ran = world.run(&blueprint, json!({})).await;
        assert_eq!(ran.ending.outputs["l"]["text"], "hi");
        assert_eq!(world.outside.llm.asked().len(), asked);
    }
}

const AGENT: &str = "
    inputs: {required: [n]}
    nodes:
      - id: a
        type: agent
        system_prompt: you add
        task: 'add one to {{ n }}'
        tools: [add]
        max_iterations: 3
        llm_config: {provider: test, model: m}
    outputs: {answer: '{{ a.message }}', all: '{{ a }}'}
    ";

#[tokio::test(start_paused = true)]
async fn an_agent_calls_tools_until_it_answers() {
    let llm = Answers::echo()
        .then_message(says("I add", &[("add", json!({ "n": 4 })), ("add", json!({ "n": 5 }))]))
        .then("it is 5");
    let world = World::with_model(fakes(), llm);
    let ran = world.run(AGENT, json!({ "n": 4 })).await;
    assert_eq!(ran.ending.outputs["answer"], "it is 5");
    let all = &ran.ending.outputs["all"];
    assert_eq!((&all["iterations"], &all["reasoning"]), (&json!(2), &json!(["I add"])));
    assert_eq!(all["tool_calls"][1]["answer"], json!({ "sum": 6 }));
    let paths = ["a", "a/step[0]", "a/step[0]/add", "a/step[0]/add[1]", "a/step[1]"];
    assert_eq!(ran.states().into_keys().collect::<Vec<_>>(), paths);
    let components = ran.events.iter().filter_map(|event| match &event.fact {
        Fact::NodeStarted { component, .. } => {
            Some((event.path.as_str(), component.as_ref().map(|component| component.name.as_str())))
        }
        _ => None,
    });
    let expected = [None, None, Some("add"), Some("add"), None];
    assert_eq!(components.collect::<Vec<_>>(), paths.into_iter().zip(expected).collect::<Vec<_>>());
    let told = world.outside.llm.asked().pop().unwrap().messages;
    assert_eq!(told.last().unwrap().content, "{\"sum\":6}");
    assert_eq!(told.last().unwrap().answers.as_deref(), Some("c1"));
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_is_not_on_the_list_is_not_called() {
    let llm =
        Answers::echo().then_message(says("", &[("secret", json!({})), ("add", json!({ "n": "x" }))])).then("sorry");
    let world = World::with_model(fakes(), llm);
    let ran = world.run(AGENT, json!({ "n": 4 })).await;
    assert_eq!(ran.ending.outputs["answer"], "sorry");
    assert_eq!([world.outside.fakes.count("secret"), world.outside.fakes.count("add")], [0, 0]);
    let told = world.outside.llm.asked().pop().unwrap().messages;
    assert!(told[told.len() - 2].content.contains("ICE-X015"));
    assert!(told[told.len() - 1].content.contains("ICE-X006"), "bad arguments are told, not run");
}

#[tokio::test(start_paused = true)]
async fn an_agent_comes_to_an_end() {
    let llm = Answers::by(|_| says("more", &[("add", json!({ "n": 1 }))]));
    let world = World::with_model(fakes(), llm);
    let ran = world.run(AGENT, json!({ "n": 4 })).await;
    assert_eq!(ran.problem_code(), Some(Code::X016));
    assert_eq!(world.outside.llm.asked().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_component_agent_gets_its_settings_and_starts_children() {
    let child = json!({
        "schema_version": "1.2.0",
        "inputs": { "required": ["n"] },
        "nodes": [{ "id": "c", "type": "tool", "tool_name": "add", "tool_args": { "n": "{{ n }}" } }],
        "outputs": { "sum": "{{ c.sum }}" },
    });
    let fakes = fakes().blueprint("kit.child", child).agent("boss", |_, scope| async move {
        let id = scope.start_execution("kit.child", json!({ "n": 1 })).await?;
        loop {
            if let Some(ending) = scope.poll_execution(&id).await? {
                let stranger = ExecutionId("somebody-else".into());
                let refused = scope.poll_execution(&stranger).await.err().map(|failure| failure.problem.code);
                assert_eq!(refused, Some(Code::X013));
                return Ok(ending.outputs);
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    });
    let world = World::new(fakes);
    let ran = world.run("nodes: [{id: b, type: agent, package: boss}]", json!({})).await;
    assert_eq!(ran.ending.outputs["b"], json!({ "sum": 2 }));
}
