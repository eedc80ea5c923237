//! A person, a document, a question.

use std::path::Path;

use serde_json::Value;

use crate::home::Home;

const QUESTION: &str = "Does this license grant permission to use the trade names of the Licensor?";

fn ask(home: &Home, query: &str, more: &[&str]) -> Value {
    let mut args = vec!["bundle", "run", "chatkit", "--query", query, "--session", "s1", "--json"];
    args.extend(more);
    home.run(&args).exits(0).json()
}

#[test]
fn answers_from_a_real_document_with_citations_and_says_it_is_offline() {
    let home = Home::new();
    let answer = ask(&home, QUESTION, &["--file", "LICENSE", "--note", "The licence was chosen in spring."]);
    let outputs = &answer["outputs"];
    assert_eq!(outputs["offline"], true, "{answer}");
    assert!(outputs["answer"].as_str().unwrap().to_lowercase().contains("offline"), "{answer}");
    let citation = &outputs["citations"][0];
    assert_eq!(citation["file"], "LICENSE");
    assert!(citation["chunk"].is_u64(), "{answer}");
    let quote = citation["quote"].as_str().unwrap();
    assert!(quote.to_lowercase().contains("trade"), "{quote}");
    let document = std::fs::read_to_string(crate::home::root().join("LICENSE")).unwrap();
    assert!(document.contains(quote), "the quote is exact: {quote}");
    let (start, end) = (citation["start"].as_u64().unwrap(), citation["end"].as_u64().unwrap());
    assert!(document[start as usize..end as usize].contains(quote), "the offsets hold the quote");
}

#[test]
fn a_second_question_in_the_session_uses_the_first_turn() {
    let home = Home::new();
    let document = "plugins/bundles/chatkit/examples/tiny_docs.md";
    ask(&home, "Who built the lighthouse at Skarvik?", &["--file", document]);
    let follow_up = "And how high is it?";
    let second = ask(&home, follow_up, &[]);
    assert_eq!(second["outputs"]["turn"], 2, "{second}");
    assert!(second["outputs"]["answer"].as_str().unwrap().contains("31 metres"), "{second}");

    let other = home.run(&["bundle", "run", "chatkit", "--query", follow_up, "--session", "other", "--json"]);
    assert_eq!(other.exits(0).json()["outputs"]["turn"], 1, "another session does not see the turn");
}

#[test]
fn a_note_is_found_like_a_document() {
    let home = Home::new();
    let answer =
        ask(&home, "What is the door code of the archive?", &["--note", "The door code of the archive is 4711."]);
    assert!(answer["outputs"]["answer"].as_str().unwrap().contains("4711"), "{answer}");
}

#[test]
fn what_no_document_says_is_not_answered() {
    let home = Home::new();
    let answer = ask(&home, "Which zebra won the Olympic marathon?", &["--file", "LICENSE"]);
    assert_eq!(answer["outputs"]["citations"], serde_json::json!([]), "{answer}");
    assert!(answer["outputs"]["answer"].as_str().unwrap().contains("not in your documents"), "{answer}");
}

#[test]
fn a_reader_gets_text_and_sources() {
    let home = Home::new();
    let ran =
        home.run(&["bundle", "run", "chatkit", "--file", "LICENSE", "--query", QUESTION, "--session", "s1"]).exits(0);
    assert!(ran.out.contains("[1] LICENSE, chunk "), "{}", ran.out);
    assert!(ran.err.contains("done chat"), "progress goes to standard error: {}", ran.err);
}

#[test]
fn reading_a_document_twice_changes_nothing() {
    let home = Home::new();
    let first = ask(&home, QUESTION, &["--file", "LICENSE"]);
    let second = ask(&home, QUESTION, &["--file", "LICENSE"]);
    assert_eq!(first["outputs"]["citations"], second["outputs"]["citations"]);
    assert_ne!(first["execution_id"], second["execution_id"]);
}

#[test]
fn a_missing_or_binary_file_is_a_clear_problem_and_nothing_runs() {
    let home = Home::new();
    let binary = home.path().join("noise.bin");
    std::fs::write(&binary, [0u8, 159, 146, 150, 0, 1, 2]).unwrap();
    for file in [Path::new("/nowhere/at/all.md"), &binary] {
        let ran = home.run(&["bundle", "run", "chatkit", "--file", file.to_str().unwrap(), "--query", "x"]).exits(2);
        assert!(ran.err.contains("error[ICE-C"), "{}", ran.err);
        assert!(ran.err.contains(file.to_str().unwrap()) || ran.err.contains("noise.bin"), "{}", ran.err);
    }
    assert_eq!(home.run(&["executions", "list", "--json"]).exits(0).json(), serde_json::json!([]));
}
