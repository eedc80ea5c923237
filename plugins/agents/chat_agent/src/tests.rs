//! The agent as the host runs it, on a scripted host.

use ice_sdk::llm::Role;
use ice_sdk::testing::{self, Host};
use ice_sdk::{AgentError, Context, llm};
use serde_json::{Value, json};

use crate::AGENT;

fn run(task: Value) -> Result<Value, AgentError> {
    let answer = AGENT.run(&task.to_string(), &Context::default())?;
    Ok(serde_json::from_str(&answer).unwrap())
}

fn hit(text: &str) -> Value {
    json!({
        "key": "doc:tiny.md:3", "text": text, "score": 2.5, "source": "keyword", "file": "tiny.md", "chunk": 3,
        "start": 100, "end": 100 + text.len(), "line": 7,
        "metadata": { "file": "tiny.md", "chunk": 3, "start": 100, "line": 7, "category": "guide" },
    })
}

fn reply(answer: &str, citations: Value) -> String {
    json!({ "answer": answer, "citations": citations }).to_string()
}

#[test]
fn an_answer_cites_the_document_and_not_the_passage() {
    let host = Host::install();
    host.answer_llm_offline(reply("31 metres.", json!([{ "id": 1, "quote": "The tower is\n31 metres high." }])));
    let text = "Granite.\nThe tower is 31 metres high.";
    let answer = run(json!({ "query": "How high is the tower?", "passages": [hit(text)], "model": "" })).unwrap();
    assert_eq!(
        answer,
        json!({
            "answer": "31 metres.",
            "citations": [{
                "file": "tiny.md", "chunk": 3, "start": 109, "end": 137, "line": 8, "quote": "The tower is 31 metres high.",
            }],
            "dropped_citations": 0, "grounded": true, "offline": true, "model": "echo/echo",
        })
    );
}

#[test]
fn the_prompt_follows_the_convention() {
    let host = Host::install();
    host.answer_llm(reply("x", json!([])));
    let history = json!([
        { "role": "user", "content": "When was it built?" }, { "role": "assistant", "content": "In 1871." },
        { "question": "By whom?", "answer": "Ingrid Solheim." },
    ]);
    let task = json!({
        "query": "And how much does\nit cost?", "history": history, "passages": [hit("A ticket costs 12 euros.")],
        "model": "openai/gpt-4o", "max_tokens": 99,
    });
    run(task).unwrap();
    let request = &host.llm_requests()[0];
    assert_eq!((request.model.as_str(), request.max_tokens), ("openai/gpt-4o", Some(99)));
    let roles: Vec<Role> = request.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::User, Role::Assistant, Role::User]);
    assert_eq!(
        request.messages[5].content,
        "<passage id=\"1\" file=\"tiny.md\" chunk=\"3\">A ticket costs 12 euros.</passage>\n\n\
         Context: By whom?\nQuestion: And how much does it cost?"
    );
    let schema = request.output_schema.as_ref().unwrap();
    assert_eq!(schema["required"], json!(["answer", "citations"]));
    assert_eq!(schema["properties"]["citations"]["items"]["required"], json!(["id", "quote"]));
    let instructions = &request.messages[0].content;
    assert!(instructions.contains(ice_sdk::prompt::NOT_THERE));
}

#[test]
fn a_quote_that_is_not_in_its_passage_is_dropped() {
    let host = Host::install();
    let quotes = json!([
        { "id": 1, "quote": "The tower is 32 metres high." }, { "id": 2, "quote": "Granite" },
        { "id": 0, "quote": "Granite" }, { "id": 1, "quote": "" }, { "id": 1, "quote": "Granite" },
        { "id": 1, "quote": "Granite" },
    ]);
    host.answer_llm(reply("High.", quotes));
    let answer = run(json!({ "query": "tower", "passages": [hit("Granite tower")] })).unwrap();
    assert_eq!(answer["citations"].as_array().unwrap().len(), 1);
    assert_eq!((&answer["dropped_citations"], &answer["grounded"]), (&json!(5), &json!(true)));
    assert_eq!(host.log()[0].1, "5 of 6 quotes do not stand in their passage");

    host.answer_llm(reply("Invented.", json!([{ "id": 1, "quote": "nothing of it" }])));
    let invented = run(json!({ "query": "tower", "passages": [hit("Granite tower")] })).unwrap();
    assert_eq!((&invented["grounded"], &invented["citations"]), (&json!(false), &json!([])));
}

#[test]
fn without_a_fitting_passage_no_model_is_asked() {
    let host = Host::install();
    let unrelated = hit("The tower is made of granite.");
    for task in [
        json!({ "query": "Who won the match?" }),
        json!({ "query": "Who won the match?", "passages": [unrelated] }),
        json!({ "query": "granite", "passages": [unrelated], "min_score": 3.0 }),
        json!({ "query": "granite", "passages": [{ "text": "  " }] }),
    ] {
        let answer = run(task).unwrap();
        assert_eq!(answer["answer"], "That is not in your documents.");
        assert_eq!(
            (&answer["citations"], &answer["grounded"], &answer["model"]),
            (&json!([]), &json!(false), &Value::Null)
        );
    }
    assert!(host.llm_requests().is_empty());
}

#[test]
fn passages_found_by_meaning_or_given_by_hand_need_no_common_word() {
    let host = Host::install();
    host.answer_llm(reply("Yes.", json!([{ "id": 1, "quote": "Dogs" }])));
    let by_meaning =
        json!({ "text": "Dogs are welcome.", "source": "hybrid", "metadata": { "file": "a", "start": 5 } });
    let answer = run(json!({ "query": "Kann ich meinen Hund mitbringen?", "passages": [by_meaning] })).unwrap();
    assert_eq!(
        answer["citations"][0],
        json!({ "file": "a", "chunk": 0, "start": 5, "end": 9, "line": null, "quote": "Dogs" })
    );
    let by_hand = json!({ "text": "Dogs are welcome." });
    assert_eq!(run(json!({ "query": "pets?", "passages": [by_hand] })).unwrap()["citations"][0]["file"], "passage");
}

#[test]
fn a_follow_up_is_related_through_the_question_before() {
    let host = Host::install();
    host.answer_llm(reply("1871.", json!([])));
    let history = json!([{ "question": "Who built the lighthouse?", "answer": "Ingrid Solheim." }]);
    run(json!({ "query": "and when?", "history": history, "passages": [hit("The lighthouse was built in 1871.")] }))
        .unwrap();
    assert_eq!(host.llm_requests().len(), 1);
}

#[test]
fn failures_say_what_to_do() {
    let host = Host::install();
    assert_eq!(run(json!({ "query": " " })).unwrap_err().to_string(), "query: is empty");
    assert!(
        run(json!({ "query": "x", "passages": [{}] }))
            .unwrap_err()
            .to_string()
            .starts_with("passages[0]: missing field `text`")
    );
    host.on_llm(|_| Err(llm::Error::OverBudget));
    let ask = || run(json!({ "query": "tower", "passages": [hit("tower")] }));
    assert!(matches!(ask(), Err(AgentError::GaveUp(_))));
    host.answer_llm("not json");
    assert!(ask().unwrap_err().to_string().contains("`test/model` answered with another shape"));
}

#[test]
fn the_agent_is_documented() {
    assert_eq!(testing::undocumented(&[AGENT.describe()]), Vec::<String>::new());
    assert_eq!(AGENT.describe().name, "chat_agent");
}
